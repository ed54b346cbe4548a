//! Passwords and databases: from clients, towards servers.

use keyway_testkit::client::Client;
use keyway_testkit::redis::{FakeRedis, Tiny, redis_server, send};
use keyway_testkit::resp::words;
use keyway_testkit::twemproxy::{Program, server};

use crate::{Answer, OURS, Side, on_each};

on_each!(
    clients_must_say_the_password,
    unknown_commands_close_before_it_too,
    a_password_that_nobody_set,
    servers_are_told_the_password_first,
    servers_without_a_password_work,
    servers_with_another_password_say_so,
    servers_are_told_the_database,
    quitting_needs_no_password,
);

const NOAUTH: &str = "-NOAUTH Authentication required\r\n";

fn honest_with_auth(program: Program) -> (Side, FakeRedis) {
    let fake = FakeRedis::honest();
    let side = Side::redis(program, "redis_auth: secret", &[server(fake.addr)]);
    (side, fake)
}

fn clients_must_say_the_password(program: Program) {
    let (side, fake) = honest_with_auth(program);
    let mut client = side.client();
    for line in ["ping", "get a", "mget a b", "set a 1", "command", "lolwut"] {
        client.ask(words(line), NOAUTH);
    }
    for wrong in ["secre", "secrett", "x", "SECRET", "secret "] {
        client.ask(keyway_testkit::resp::request(&["auth", wrong]), "-ERR invalid password\r\n");
        client.ask(words("get a"), NOAUTH);
    }
    client.ask(words("AUTH secret"), "+OK\r\n");
    client.ask(words("ping"), "+PONG\r\n");
    client.ask(words("set a 1"), "+OK\r\n");
    client.ask(words("get a"), "$1\r\n1\r\n");
    client.ask(words("auth secret"), "+OK\r\n");
    // A wrong one takes back what a right one gave.
    client.ask(words("auth wrong"), "-ERR invalid password\r\n");
    client.ask(words("get a"), NOAUTH);
    // Others are not touched.
    let mut other = side.client();
    other.ask([words("auth secret"), words("get a")].concat(), "+OK\r\n$1\r\n1\r\n");
    client.ask(words("ping"), NOAUTH);
    let asked: Vec<String> = fake.lines().into_iter().filter(|l| !l.contains("secret")).collect();
    assert_eq!(asked, ["set a 1", "get a", "get a"]);
}

fn unknown_commands_close_before_it_too(program: Program) {
    let (side, _fake) = honest_with_auth(program);
    for line in ["auth", "auth user secret", "get", "ping a"] {
        // Clients of today say who they are in one word or two.
        if program == OURS && ["auth user secret", "ping a"].contains(&line) {
            continue;
        }
        let mut client = side.client();
        client.send(words(line));
        client.expect_close();
    }
}

fn a_password_that_nobody_set(program: Program) {
    let fake = FakeRedis::honest();
    let side = Side::redis(program, "", &[server(fake.addr)]);
    let text = "-ERR Client sent AUTH, but no password is set\r\n";
    let mut client = side.client();
    client.ask(words("auth secret"), text);
    client.ask(words("set a 1"), "+OK\r\n");
}

fn servers_are_told_the_password_first(program: Program) {
    let (real, addr) = redis_server(&["--requirepass", "secret"]);
    let side = Side::redis(program, "redis_auth: secret", &[server(addr)]);
    let mut client = side.client();
    client.ask(words("auth secret"), "+OK\r\n");
    client.ask([words("set a 1"), words("get a")].concat(), "+OK\r\n$1\r\n1\r\n");
    drop(real);
    let (side, fake) = honest_with_auth(program);
    side.client().ask([words("auth secret"), words("get a")].concat(), "+OK\r\n$-1\r\n");
    assert_eq!(fake.lines()[0].to_lowercase(), "auth secret");
}

fn servers_without_a_password_work(program: Program) {
    let (_real, addr) = redis_server(&[]);
    let side = Side::redis(program, "redis_auth: secret", &[server(addr)]);
    let mut client = side.client();
    client.ask([words("auth secret"), words("set a 1")].concat(), "+OK\r\n+OK\r\n");
}

fn servers_with_another_password_say_so(program: Program) {
    let (_real, addr) = redis_server(&["--requirepass", "other"]);
    let side = Side::redis(program, "redis_auth: secret", &[server(addr)]);
    let mut client = side.client();
    client.ask(words("auth secret"), "+OK\r\n");
    for _ in 0..3 {
        client.ask(words("get a"), "-NOAUTH Authentication required.\r\n");
    }
    // The same through a pool without a password.
    let side = Side::redis(program, "", &[server(addr)]);
    side.client().ask(words("get a"), "-NOAUTH Authentication required.\r\n");
}

fn servers_are_told_the_database(program: Program) {
    let (_real, addr) = redis_server(&[]);
    let side = Side::redis(program, "redis_db: 3", &[server(addr)]);
    side.client().ask(words("set a 1"), "+OK\r\n");
    let mut direct = Client::tcp(addr);
    direct.ask([words("get a"), words("select 3"), words("get a")].concat(), {
        "$-1\r\n+OK\r\n$1\r\n1\r\n"
    });
    // Each connection is told once, before anything else.
    let store = Tiny::default();
    let fake = FakeRedis::start(move |asked| match asked.name().as_str() {
        "select" => send("+OK\r\n"),
        _ => store.answer(asked),
    });
    let side = Side::redis(program, "redis_db: 3", &[server(fake.addr)]);
    let mut client = side.client();
    client.ask([words("get a"), words("get b")].concat(), "$-1\r\n$-1\r\n");
    assert_eq!(fake.lines().join("|").to_lowercase(), "select 3|get a|get b");
}

fn quitting_needs_no_password(program: Program) {
    let (side, _fake) = honest_with_auth(program);
    assert_eq!(side.probe(&words("QUIT")), Answer::closed(""));
}
