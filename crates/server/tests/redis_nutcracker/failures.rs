//! Servers that fail in every way, and the line that the client gets for each.

use keyway_testkit::client::Client;
use keyway_testkit::fake::Fake;
use keyway_testkit::peer::{Step, send};
use keyway_testkit::process::Scratch;
use keyway_testkit::redis::FakeRedis;
use keyway_testkit::resp::words;
use keyway_testkit::twemproxy::{Program, server};
use keyway_testkit::{port, wait_until};

use crate::{Answer, Side, on_each};

on_each!(
    nobody_listens,
    no_reply_in_time,
    a_reset,
    an_end,
    a_name_without_an_address,
    a_socket_that_is_missing,
    replies_that_are_none,
    errors_that_count_as_failures,
    errors_that_pass,
    a_reply_too_many,
    all_pending_fail_together,
    a_dead_server_is_tried_again_for_each_request,
    memcached_lines_begin_with_their_own_word,
    memcached_replies_that_are_none,
    memcached_errors_pass,
    memcached_multigets,
    values_of_clients_that_left_are_written,
    half_closed_clients_get_their_replies,
);

fn ask_redis(side: &Side) -> Answer {
    side.probe(&words("get key"))
}

#[track_caller]
fn redis_says(program: Program, line: &str, reason: &str) {
    let side = Side::redis(program, "timeout: 400", &[line.to_owned()]);
    for _ in 0..3 {
        assert_eq!(ask_redis(&side), Answer::open(format!("-ERR {reason}\r\n")));
    }
}

fn nobody_listens(program: Program) {
    redis_says(program, &server(port::local()), "Connection refused");
}

fn no_reply_in_time(program: Program) {
    let fake = FakeRedis::start(|_| vec![Step::Hang]);
    redis_says(program, &server(fake.addr), "Connection timed out");
}

fn a_reset(program: Program) {
    let fake = FakeRedis::start(|_| vec![Step::Reset]);
    redis_says(program, &server(fake.addr), "Connection reset by peer");
}

fn an_end(program: Program) {
    let fake = FakeRedis::start(|_| vec![Step::Close]);
    redis_says(program, &server(fake.addr), "unknown");
}

fn a_name_without_an_address(program: Program) {
    // A label may not be empty: the resolver knows without asking the network.
    redis_says(program, "no..host:6379:1", "Host is down");
}

fn a_socket_that_is_missing(program: Program) {
    let scratch = Scratch::new();
    let line = format!("{}:1", scratch.file("none.sock").display());
    redis_says(program, &line, "No such file or directory");
}

fn replies_that_are_none(program: Program) {
    let garbage = ["hello\r\n", "\0\0\0\0\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n"];
    let resp3 = ["_\r\n", "#t\r\n", ",1.5\r\n", "%1\r\n+a\r\n+b\r\n", "~1\r\n+a\r\n", "(1\r\n"];
    for bytes in garbage.into_iter().chain(resp3) {
        let fake = FakeRedis::start(move |_| send(bytes));
        let side = Side::redis(program, "", &[server(fake.addr)]);
        let answer = ask_redis(&side);
        assert_eq!(answer, Answer::open("-ERR Invalid argument\r\n"), "{bytes:?}");
        assert!(fake.accepted() >= 1);
        wait_until("the connection is closed", || fake.peer().open() == 0);
    }
}

/// These say that the server is in trouble: nutcracker gives up its connection.
fn errors_that_count_as_failures(program: Program) {
    for text in ["-OOM command not allowed", "-BUSY a script runs", "-LOADING wait"] {
        let fake = FakeRedis::start(move |_| send(format!("{text}\r\n")));
        let side = Side::redis(program, "", &[server(fake.addr)]);
        let answer = ask_redis(&side);
        assert_eq!(answer, Answer::open("-ERR Invalid argument\r\n"), "{text}");
        wait_until("the connection is closed", || fake.peer().open() == 0);
    }
}

fn errors_that_pass(program: Program) {
    let texts = ["-NOAUTH x", "-READONLY x y", "-MOVED 1 a:1", "-BUSYKEY x", "-WRONGTYPE x", "-x"];
    for text in texts {
        let fake = FakeRedis::start(move |_| send(format!("{text}\r\n")));
        let side = Side::redis(program, "", &[server(fake.addr)]);
        let mut client = side.client();
        for _ in 0..3 {
            client.ask(words("get a"), format!("{text}\r\n"));
        }
        assert_eq!(fake.accepted(), 1, "{text}");
    }
}

fn a_reply_too_many(program: Program) {
    let fake = FakeRedis::start(|asked| match asked.text(1).as_str() {
        "twice" => send("$1\r\na\r\n$1\r\nb\r\n"),
        _ => send("$1\r\nc\r\n"),
    });
    let side = Side::redis(program, "", &[server(fake.addr)]);
    let mut client = side.client();
    client.ask(words("get twice"), "$1\r\na\r\n");
    wait_until("the connection is given up", || fake.peer().open() == 0);
    client.ask(words("get once"), "$1\r\nc\r\n");
    assert_eq!(fake.accepted(), 2);
}

fn all_pending_fail_together(program: Program) {
    let fake = FakeRedis::start(|asked| match asked.text(1).as_str() {
        "end" => vec![Step::Close],
        _ => Vec::new(),
    });
    let side = Side::redis(program, "", &[server(fake.addr)]);
    let mut clients: Vec<Client> = (0..3).map(|_| side.client()).collect();
    for client in &mut clients {
        client.send([words("get a"), words("get b")].concat());
    }
    wait_until("all wait", || fake.log().len() == 6);
    let mut last = side.client();
    last.ask(words("get end"), "-ERR unknown\r\n");
    for client in &mut clients {
        client.expect("-ERR unknown\r\n-ERR unknown\r\n");
    }
}

/// Without ejection there is no back-off: who comes back is found by the next request.
fn a_dead_server_is_tried_again_for_each_request(program: Program) {
    let addr = port::local();
    let side = Side::redis(program, "", &[server(addr)]);
    let mut client = side.client();
    for _ in 0..20 {
        client.ask(words("get a"), "-ERR Connection refused\r\n");
    }
    let _fake = FakeRedis::start_at(addr, |_| send("$1\r\na\r\n"));
    client.ask(words("get a"), "$1\r\na\r\n");
}

// memcached pools.

fn memcached(program: Program, line: &str) -> Side {
    Side::start(program, "timeout: 400", &[line.to_owned()])
}

fn memcached_lines_begin_with_their_own_word(program: Program) {
    let cases = [
        (Step::Close, "unknown"),
        (Step::Reset, "Connection reset by peer"),
        (Step::Hang, "Connection timed out"),
    ];
    for (step, reason) in cases {
        let fake = scripted(move |_| vec![step.clone()]);
        let side = memcached(program, &server(fake.addr));
        let mut client = side.client();
        client.ask("get a\r\n", format!("SERVER_ERROR {reason}\r\n"));
        client.ask("set a 0 0 1\r\nx\r\n", format!("SERVER_ERROR {reason}\r\n"));
    }
    let side = memcached(program, &server(port::local()));
    side.client().ask("incr a 1\r\n", "SERVER_ERROR Connection refused\r\n");
}

/// A memcached that answers the question of a new connection, if it is asked one, and else
/// `script`.
fn scripted(script: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static) -> Fake {
    Fake::start(move |asked| match asked.is_version() {
        true => send("VERSION 1.6.45-scripted\r\n"),
        false => script(&asked.line),
    })
}

fn memcached_replies_that_are_none(program: Program) {
    for bytes in ["OK\r\n", "HD\r\n", "STAT a b\r\n", "BUSY\r\n", "VALUE b 0 x\r\n"] {
        let fake = scripted(move |_| send(bytes));
        let side = memcached(program, &server(fake.addr));
        side.client().ask("get a\r\n", "SERVER_ERROR Invalid argument\r\n");
    }
}

fn memcached_errors_pass(program: Program) {
    for bytes in ["ERROR\r\n", "CLIENT_ERROR bad\r\n", "SERVER_ERROR out of memory\r\n"] {
        let fake = scripted(move |_| send(bytes));
        let side = memcached(program, &server(fake.addr));
        let mut client = side.client();
        for _ in 0..3 {
            client.ask("get a\r\n", bytes);
        }
    }
}

/// A multiget of which a part failed: an error line, after which nutcracker hangs up and we do not.
fn memcached_multigets(program: Program) {
    let good = Fake::honest();
    let addrs = [good.addr, port::local()];
    let side = Side::start(program, "hash: fnv1a_32\ndistribution: modula", &addrs.map(server));
    let mut client = side.client();
    let keys: Vec<String> = (0..8).map(|n| format!("key{n}")).collect();
    client.ask(format!("get {}\r\n", keys.join(" ")), "SERVER_ERROR Connection refused\r\n");
    if program.is_ours() {
        client.send("get\r\n");
    }
    client.expect_close();
}

// Clients that leave.

fn values_of_clients_that_left_are_written(program: Program) {
    let fake = FakeRedis::honest();
    let side = Side::redis(program, "", &[server(fake.addr)]);
    for n in 0..20 {
        side.client().send(words(&format!("set key{n} x")));
    }
    wait_until("all were written", || fake.lines().len() == 20);
}

fn half_closed_clients_get_their_replies(program: Program) {
    let fake = FakeRedis::start(|asked| {
        let pause = std::time::Duration::from_millis(100);
        [vec![Step::Wait(pause)], send(format!("+{}\r\n", asked.text(1)))].concat()
    });
    let side = Side::redis(program, "", &[server(fake.addr)]);
    let mut client = side.client();
    client.send([words("get a"), words("get b"), b"*2\r\n$3\r\nget\r\n$1".to_vec()].concat());
    client.finish_sending();
    client.expect("+a\r\n+b\r\n");
    client.expect_close();
}
