//! What once upset a worker or crossed clients, each as the shortest story that showed it.

use std::time::Duration;

use keyway_testkit::client::Client;
use keyway_testkit::process::Keyway;
use keyway_testkit::redis::{Asked, FakeRedis, Step, redis_server, send};
use keyway_testkit::resp::{request, words};
use keyway_testkit::{port, wait_until};

use crate::{KEYWAY, Proxy};

fn greeting(asked: &Asked) -> Option<Vec<Step>> {
    match asked.name().as_str() {
        "ping" => Some(send("+PONG\r\n")),
        "hello" => Some(send("%1\r\n+proto\r\n:3\r\n")),
        _ => None,
    }
}

/// Says HELLO 3 and waits for the answer.
fn resp3(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    assert_eq!(client.command(&["HELLO", "3"])[0], b'%');
    client
}

#[test]
fn sessions_on_a_server_without_an_address_are_errors() {
    let addr = port::local();
    let config = format!(
        "workers = 1\n[listeners.main]\naddress = \"{addr}\"\n[pools.main]\nprotocol = \"redis\"\n\
         servers = [\"no-such-host.invalid:6379\"]\n"
    );
    let _keyway = Keyway::start(KEYWAY, &config);
    for line in ["GET a", "WATCH a", "BLPOP a 0", "SUBSCRIBE a", "CLIENT TRACKING ON"] {
        let mut client = Client::tcp(addr);
        client.send(words(line));
        // An error, or the end: never silence, and never the end of the worker.
        let reply = client.try_reply();
        assert!(reply.is_none_or(|r| r[0] == b'-'), "{line}");
        Client::tcp(addr).ask(words("PING"), "+PONG\r\n");
    }
    let mut client = Client::tcp(addr);
    client.send([words("MULTI"), words("GET a")].concat());
    client.expect("+OK\r\n-");
    Client::tcp(addr).ask(words("PING"), "+PONG\r\n");
}

/// Connections of sessions say little about a server: it may have closed them for its own reasons.
#[test]
fn lost_sessions_do_not_take_a_server_down() {
    let (_server, addr) = redis_server(&[]);
    let proxy = Proxy::start(&[addr], "");
    proxy.client().ask(words("SET x 1"), "+OK\r\n");
    let mut direct = Client::tcp(addr);
    for _ in 0..8 {
        let mut client = proxy.client();
        client.send(words("BLPOP none 0"));
        let mut id = None;
        wait_until("the server has a blocked client", || {
            let list = String::from_utf8_lossy(&direct.command(&["CLIENT", "LIST"])).into_owned();
            let line = list.lines().find(|line| line.contains("cmd=blpop"));
            id = line.and_then(|l| Some(l[l.find("id=")? + 3..].split(' ').next()?.to_owned()));
            id.is_some()
        });
        direct.command(&["CLIENT", "KILL", "ID", &id.expect("found above")]);
        assert!(client.try_reply().is_none_or(|r| r[0] == b'-'));
    }
    for _ in 0..20 {
        proxy.client().ask(words("GET x"), "$1\r\n1\r\n");
    }
}

#[test]
fn a_push_on_a_shared_connection_is_nobody_s() {
    let fake = FakeRedis::start(|asked| {
        greeting(asked).unwrap_or_else(|| match asked.text(1).as_str() {
            "push" => send(">2\r\n+message\r\n$1\r\nv\r\n"),
            _ => send("$1\r\nv\r\n"),
        })
    });
    let pool = "read_timeout = \"500ms\"\nretry = \"10ms\"\nretry_max = \"50ms\"";
    let proxy = Proxy::start(&[fake.addr], pool);
    for _ in 0..3 {
        let mut client = resp3(&proxy);
        client.send(words("GET push"));
        assert!(client.try_reply().is_none_or(|r| r[0] == b'-'));
        wait_until("others are served", || resp3(&proxy).redis("GET a") == "$1\\r\\nv\\r\\n");
    }
}

#[test]
fn a_refused_end_of_tracking_stays_with_its_client() {
    let (_server, addr) = redis_server(&[]);
    let proxy = Proxy::start(&[addr], "sessions_max = 1");
    let mut tracker = resp3(&proxy);
    tracker.ask(words("CLIENT TRACKING ON BCAST"), "+OK\r\n");
    assert_eq!(tracker.command(&["CLIENT", "TRACKING", "OFF", "NONSENSE"])[0], b'-');
    let mut other = proxy.client();
    // Whoever gets a session next, on either worker, hears nothing of what the other tracked.
    let mut next: Vec<Client> = (0..4).map(|_| resp3(&proxy)).collect();
    drop(tracker);
    for client in &mut next {
        client.send(words("WATCH zz"));
        client.reply();
    }
    other.ask(words("SET k 1"), "+OK\r\n");
    for client in &mut next {
        client.ask(words("PING"), "+PONG\r\n");
        client.ask(words("ECHO x"), "$1\r\nx\r\n");
    }
}

/// Whatever HELLO answers, replies are of the version that the client knows to be spoken.
#[test]
fn versions_do_not_change_under_a_session() {
    let (_server, addr) = redis_server(&[]);
    let proxy = Proxy::start(&[addr], "");
    proxy.client().command(&["HSET", "h", "f", "v"]);
    for (before, after) in [("2", "3"), ("3", "2")] {
        for session in ["WATCH h", "CLIENT TRACKING ON"] {
            let mut client = proxy.client();
            client.command(&["HELLO", before]);
            client.send(words(session));
            client.reply();
            let changed = client.command(&["HELLO", after])[0] != b'-';
            let spoken = if changed { after } else { before };
            let map = client.command(&["HGETALL", "h"]);
            assert_eq!(map[0], if spoken == "3" { b'%' } else { b'*' }, "{session}: {spoken}");
            let null: &[u8] = if spoken == "3" { b"_\r\n" } else { b"$-1\r\n" };
            assert_eq!(client.command(&["GET", "none"]), null, "{session}: {spoken}");
        }
    }
}

#[test]
fn a_tracking_client_may_block_as_long_as_it_likes() {
    let (_server, addr) = redis_server(&[]);
    let proxy = Proxy::start(&[addr], "read_timeout = \"200ms\"");
    let mut client = resp3(&proxy);
    client.ask(words("CLIENT TRACKING ON"), "+OK\r\n");
    client.ask(words("BLPOP none 1"), "_\r\n");
    client.ask(words("PING"), "+PONG\r\n");
}

/// A channel that the server's rules forbid: its error, and nothing of what we asked it besides.
#[test]
fn refused_subscriptions_are_the_server_s_errors() {
    let (_server, addr) = redis_server(&[]);
    let mut direct = Client::tcp(addr);
    direct.ask(words("ACL SETUSER default resetchannels"), "+OK\r\n");
    let proxy = Proxy::start(&[addr], "");
    for version in ["2", "3"] {
        let mut client = proxy.client();
        client.command(&["HELLO", version]);
        let reply = client.command(&["SUBSCRIBE", "ch"]);
        assert!(reply.starts_with(b"-NOPERM"), "RESP{version}: {}", reply.escape_ascii());
        client.ask(words("ECHO x"), "$1\r\nx\r\n");
        client.ask(words("SET a 1"), "+OK\r\n");
    }
}

#[test]
fn a_lost_transaction_does_not_spoil_the_next() {
    let fake = FakeRedis::start(|asked| {
        greeting(asked).unwrap_or_else(|| match asked.name().as_str() {
            "multi" => send("+OK\r\n"),
            "exec" if asked.conn < 8 && asked.nth < 5 => vec![Step::Close],
            "exec" => send("*1\r\n+done\r\n"),
            _ => send("+QUEUED\r\n"),
        })
    });
    let proxy = Proxy::start(&[fake.addr], "retry = \"10ms\"\nretry_max = \"50ms\"");
    let mut client = proxy.client();
    let transaction = [words("MULTI"), words("SET a 1"), words("EXEC")].concat();
    for _ in 0..3 {
        client.send(&transaction);
        client.reply();
        client.reply();
        let text = String::from_utf8_lossy(&client.reply()).into_owned();
        assert!(text.starts_with("-ERR ") || text.starts_with("*1"), "{text}");
    }
}

/// A transaction that did not fit is carried out for nobody, and its replies reach nobody.
#[test]
fn a_transaction_beyond_the_limit_is_carried_out_for_nobody() {
    let (_server, addr) = redis_server(&["--enable-debug-command", "yes"]);
    let listen = port::local();
    let config = format!(
        "workers = 1\n[listeners.main]\naddress = \"{listen}\"\n[pools.main]\nprotocol = \
         \"redis\"\nservers = [\"{addr}\"]\nread_timeout = \"20s\"\n[limits]\nbackend_bytes_max = \
         \"1MiB\"\n"
    );
    let _keyway = Keyway::start(KEYWAY, &config);
    let mut busy = Client::tcp(addr);
    busy.send(words("DEBUG SLEEP 1"));
    let mut first = Client::tcp(listen);
    let part = request(&["APPEND", "secret", &"x".repeat(100_000)]);
    let all = [words("MULTI"), words("SET secret 1"), part.repeat(20), words("EXEC")].concat();
    first.send(all);
    let replies: Vec<Vec<u8>> = (0..23).map(|_| first.reply()).collect();
    let is_refused = |r: &Vec<u8>| r[0] == b'-';
    let mut second = Client::tcp(listen);
    second.send([words("MULTI"), words("SET b 1"), words("EXEC")].concat());
    second.expect("+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    if replies[..22].iter().any(is_refused) {
        assert!(is_refused(&replies[22]), "half a transaction is none");
        Client::tcp(addr).ask(words("EXISTS secret"), ":0\r\n");
    }
}

/// A subscriber whose server does not read costs no more than the limit.
#[test]
fn subscriptions_to_a_server_that_does_not_read_are_bounded() {
    let fake = FakeRedis::start(|asked| greeting(asked).unwrap_or_else(|| vec![Step::Hang]));
    let addr = port::local();
    let config = format!(
        "workers = 1\n[listeners.main]\naddress = \"{addr}\"\n[pools.main]\nprotocol = \"redis\"\n\
         servers = [\"{}\"]\n[limits]\nbackend_bytes_max = \"4MiB\"\n",
        fake.addr
    );
    let keyway = Keyway::start(KEYWAY, &config);
    let before = keyway.process.rss_bytes();
    let mut client = Client::tcp(addr);
    let bytes = request(&["SUBSCRIBE", &"c".repeat(1 << 20)]);
    let (mut sent, mut idle) = (0, 0);
    while sent < 150 << 20 && idle < 200 {
        match client.send_some(&bytes[sent % bytes.len()..]) {
            None => break,
            Some(0) => {
                idle += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            Some(n) => {
                idle = 0;
                sent += n;
            }
        }
    }
    let grown = keyway.process.rss_bytes().saturating_sub(before);
    assert!(grown < 60 << 20, "{sent} bytes cost {grown}");
    Client::tcp(addr).ask(words("PING"), "+PONG\r\n");
}

/// The server of a pool's channels changes with the file: subscribers of the old one are told by
/// the end of their connections, and hear everything when they come back.
#[test]
fn subscribers_of_a_server_that_left_are_closed() {
    let (_one, first) = redis_server(&[]);
    let (_two, second) = redis_server(&[]);
    let addr = port::local();
    let config = |server| {
        format!(
            "workers = 2\n[listeners.main]\naddress = \"{addr}\"\n[pools.main]\n\
             protocol = \"redis\"\nservers = [\"{server}\"]\n"
        )
    };
    let keyway = Keyway::start(KEYWAY, &config(first));
    let mut subscribers: Vec<Client> = ["2", "3"]
        .iter()
        .map(|version| {
            let mut client = Client::tcp(addr);
            client.command(&["HELLO", version]);
            client.command(&["SUBSCRIBE", "news"]);
            client
        })
        .collect();
    keyway.rewrite(&config(second));
    for client in &mut subscribers {
        client.expect_close();
    }
    let mut again = Client::tcp(addr);
    again.ask(words("SUBSCRIBE news"), "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    Client::tcp(addr).ask(words("PUBLISH news x"), ":1\r\n");
    again.expect("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n");
}
