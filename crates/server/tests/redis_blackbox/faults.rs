//! Redis servers that fail behind a native listener: an error for each request, no silent close,
//! and never the reply of another.

use std::time::Duration;

use keyway_testkit::client::Client;
use keyway_testkit::redis::{FakeRedis, Step, Tiny, redis_server, send};
use keyway_testkit::resp::{bulk, request, words};
use keyway_testkit::{port, wait_until};

use crate::Proxy;

/// A server that does its part in connecting and leaves the rest to `script`.
fn scripted(
    script: impl Fn(&keyway_testkit::redis::Asked) -> Vec<Step> + Send + Sync + 'static,
) -> FakeRedis {
    FakeRedis::start(move |asked| match asked.name().as_str() {
        "ping" => send("+PONG\r\n"),
        "hello" => send("%1\r\n$5\r\nproto\r\n:3\r\n"),
        _ => script(asked),
    })
}

/// Each failure is an error line and the connection goes on.
#[test]
fn failures_are_errors_and_the_client_goes_on() {
    let pool = "read_timeout = \"300ms\"\nretry = \"10ms\"\nretry_max = \"50ms\"";
    for step in [Step::Close, Step::Reset, Step::Hang, Step::Send(b"garbage\r\n".to_vec())] {
        let bad = step.clone();
        let fake = scripted(move |_| vec![bad.clone()]);
        let proxy = Proxy::start(&[fake.addr], pool);
        let mut client = proxy.client();
        for line in ["GET a", "MGET a b", "DEL a b", "SET a 1", "EVAL x 1 a"] {
            client.send(words(line));
            let reply = client.reply();
            assert!(reply.starts_with(b"-ERR "), "{step:?}: {line}: {}", reply.escape_ascii());
        }
        client.ask(words("PING"), "+PONG\r\n");
    }
    let proxy = Proxy::start(&[port::local()], pool);
    let mut client = proxy.client();
    client.send([words("GET a"), words("PING")].concat());
    assert!(client.reply().starts_with(b"-ERR "));
    client.expect("+PONG\r\n");
}

/// A reply that comes after its time is nobody's.
#[test]
fn late_replies_reach_nobody() {
    let fake = scripted(|asked| {
        let reply = Step::Send(bulk(asked.text(1)));
        match asked.text(1).starts_with("late") {
            true => vec![Step::Wait(Duration::from_millis(400)), reply],
            false => vec![reply],
        }
    });
    let pool = "read_timeout = \"150ms\"\nretry = \"10ms\"\nretry_max = \"50ms\"";
    let proxy = Proxy::start(&[fake.addr], pool);
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    for round in 0..4 {
        clients[0].send(words(&format!("GET late{round}")));
        for n in 0..40 {
            for (index, client) in clients.iter_mut().enumerate().skip(1) {
                let key = format!("k{index}-{n}");
                client.send(words(&format!("GET {key}")));
                let reply = client.reply();
                assert!(reply == bulk(&key) || reply[0] == b'-', "{}", reply.escape_ascii());
            }
        }
        let reply = clients[0].reply();
        let own = bulk(format!("late{round}"));
        assert!(reply == own || reply[0] == b'-', "{}", reply.escape_ascii());
    }
}

/// More replies than requests: the connection is given up before somebody gets one of them.
#[test]
fn replies_too_many_reach_nobody() {
    let fake = scripted(|asked| match asked.text(1).starts_with("twice") {
        true => send([bulk(asked.text(1)), bulk("stray")].concat()),
        false => send(bulk(asked.text(1))),
    });
    let pool = "retry = \"10ms\"\nretry_max = \"50ms\"";
    let proxy = Proxy::start(&[fake.addr], pool);
    let mut client = proxy.client();
    for n in 0..50 {
        let key = if n % 5 == 0 { format!("twice{n}") } else { format!("once{n}") };
        client.send(words(&format!("GET {key}")));
        let reply = client.reply();
        assert!(reply == bulk(&key) || reply[0] == b'-', "{key}: {}", reply.escape_ascii());
    }
}

/// Clients that leave while replies are owed leave nothing behind for the next.
#[test]
fn replies_of_clients_that_left_reach_nobody() {
    let fake = scripted(|asked| {
        vec![Step::Wait(Duration::from_millis(2)), Step::Send(bulk(asked.text(1)))]
    });
    let proxy = Proxy::start(&[fake.addr], "");
    for n in 0..30 {
        let mut leaver = proxy.client();
        leaver.send(words(&format!("GET left{n}")).repeat(3));
        let mut stayer = proxy.client();
        let key = format!("stays{n}");
        stayer.send(words(&format!("GET {key}")));
        drop(leaver);
        stayer.expect(bulk(key));
    }
}

/// Replies in pieces, of any size, are put together.
#[test]
fn replies_come_in_any_pieces() {
    let long = bulk(vec![b'v'; 300_000]);
    let nested = b"*3\r\n*2\r\n:1\r\n$3\r\na\r\n\r\n*0\r\n$-1\r\n".to_vec();
    let (trickled, whole) = (nested.clone(), long.clone());
    let fake = scripted(move |asked| match asked.text(1).as_str() {
        "long" => {
            let (first, rest) = whole.split_at(100_000);
            let pause = Step::Wait(Duration::from_millis(5));
            vec![Step::Send(first.to_vec()), pause, Step::Send(rest.to_vec())]
        }
        _ => vec![Step::Trickle(trickled.clone())],
    });
    let proxy = Proxy::start(&[fake.addr], "");
    let mut client = proxy.client();
    let requests = [words("GET long"), words("LRANGE nested 0 1"), words("GET long")].concat();
    client.ask(requests, [long.clone(), nested, long].concat());
}

/// A client that does not read holds up nobody else.
#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let value = bulk(vec![b'v'; 1 << 20]);
    let fake = scripted(move |asked| match asked.text(1).as_str() {
        "large" => vec![Step::Send(value.clone())],
        _ => send("+small\r\n"),
    });
    let proxy = Proxy::start(&[fake.addr], "");
    let mut idle = proxy.client();
    idle.send(words("GET large").repeat(40));
    wait_until("much was asked", || fake.log().len() > 10);
    let mut client = proxy.client();
    for _ in 0..100 {
        client.ask(words("GET small"), "+small\r\n");
    }
}

/// What is hostile may cost its sender the connection; nobody else notices.
#[test]
fn hostile_bytes_do_no_harm() {
    let store = Tiny::default();
    let fake = scripted(move |asked| store.answer(asked));
    let proxy = Proxy::start(&[fake.addr], "");
    let mut good = proxy.client();
    good.ask(words("SET good 1"), "+OK\r\n");
    let hostile: [Vec<u8>; 12] = [
        b"*2147483647\r\n".to_vec(),
        b"*1000000\r\n$1\r\na\r\n".to_vec(),
        b"*2\r\n$3\r\nGET\r\n$536870912\r\n".to_vec(),
        b"*2\r\n$3\r\nGET\r\n$-1\r\n".to_vec(),
        b"*99999999999999999999999\r\n".to_vec(),
        vec![b'x'; 200_000],
        [b"*3\r\n$3\r\nSET\r\n".to_vec(), vec![b'0'; 70_000]].concat(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET good 2\r\n".to_vec(),
        [0u8, 255, 13, 10].repeat(1000),
        b"*1\r\n$4\r\nPING\r\n*0\r\n*-1\r\n\r\n\r\n*1\r\n$-9\r\n".to_vec(),
        request(&[vec![b'n'; 100_000], vec![0; 10]]),
    ];
    for bytes in hostile {
        let mut client = proxy.client();
        // It may be closed before all of it was sent.
        let _ = client.try_send(&bytes);
        let _ = client.try_finish_sending();
        client.drain();
        good.ask(words("GET good"), bulk("1"));
    }
    assert_eq!(proxy.keyway.process.output().matches("panicked").count(), 0);
}

/// Bytes of a request that was refused are never taken for requests of their own.
#[test]
fn refused_requests_are_never_taken_for_commands() {
    let store = Tiny::default();
    let fake = scripted(move |asked| store.answer(asked));
    let proxy = Proxy::start(&[fake.addr], "");
    let hidden = request(&["SET", "hidden", "1"]);
    let refused: [&[&[u8]]; 5] = [
        &[b"NOSUCH", &hidden],
        &[b"SET", &hidden],
        &[b"FLUSHALL", &hidden],
        &[b"SHUTDOWN", &hidden],
        &[b"CONFIG", b"SET", b"a", &hidden],
    ];
    for args in refused {
        let mut client = proxy.client();
        client.send([request(args), words("PING")].concat());
        assert_eq!(client.reply()[0], b'-', "{}", request(args).escape_ascii());
        client.expect("+PONG\r\n");
    }
    // A browser that was told to send a form here.
    for first in ["POST / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\n", "Host: a\r\n"] {
        let mut client = proxy.client();
        let _ = client.try_send(&[first.as_bytes(), b"\r\nSET hidden 1\r\n", &hidden].concat());
        let _ = client.try_finish_sending();
        client.drain();
    }
    let asked = fake.lines();
    assert!(!asked.iter().any(|line| line.starts_with("SET hidden")), "{asked:?}");
}

/// A server that does not move is given up in time, and used again when it does.
#[test]
fn a_frozen_server_is_given_up_in_time() {
    let (server, addr) = redis_server(&[]);
    let pool = "read_timeout = \"300ms\"\nretry = \"10ms\"\nretry_max = \"50ms\"";
    let proxy = Proxy::start(&[addr], pool);
    let mut client = proxy.client();
    client.ask(words("SET a 1"), "+OK\r\n");
    server.signal("STOP");
    client.send(words("GET a"));
    assert!(client.reply().starts_with(b"-ERR "));
    server.signal("CONT");
    wait_until("the server is used again", || client.redis("GET a") == "$1\\r\\n1\\r\\n");
}

/// What is announced and never sent costs nothing.
#[test]
fn announced_sizes_cost_nothing() {
    let fake = scripted(|_| send("+OK\r\n"));
    let proxy = Proxy::start(&[fake.addr], "");
    let before = proxy.keyway.process.rss_bytes();
    let announced: [&[u8]; 3] = [
        b"*1000000\r\n$1\r\na\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$500000000\r\nx",
        b"*2\r\n$4\r\nMGET\r\n$400000000\r\n",
    ];
    let clients: Vec<Client> = (0..150)
        .map(|n| {
            let mut client = proxy.client();
            let _ = client.try_send(announced[n % 3]);
            client
        })
        .collect();
    let mut last = proxy.client();
    last.ask(words("SET a 1"), "+OK\r\n");
    let grown = proxy.keyway.process.rss_bytes().saturating_sub(before);
    assert!(grown < 40 << 20, "{} clients cost {grown} bytes", clients.len());
}
