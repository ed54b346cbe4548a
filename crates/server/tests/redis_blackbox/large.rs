//! Large values and requests that come only in part: what they may hold up, and what is made of
//! their bytes.

use std::time::Duration;

use keyway_testkit::redis::{Asked, FakeRedis, Step, Tiny, redis_server, send};
use keyway_testkit::resp::{bulk, request, words};
use keyway_testkit::wait_until;

use crate::Proxy;

const HUGE: usize = 32 << 20;

/// What would do harm if it were taken for requests.
const VALUE: &[u8] = b"\r\n*1\r\n$8\r\nFLUSHALL\r\n*2\r\n$3\r\nDEL\r\n$4\r\nkept\r\nFLUSHALL\r\n";

/// `SET key value` in bytes.
fn set(key: &str, value: &[u8]) -> Vec<u8> {
    request(&[b"SET".as_slice(), key.as_bytes(), value])
}

#[test]
fn a_huge_value_passes_whole() {
    let (_server, addr) = redis_server(&[]);
    let proxy = Proxy::start(&[addr], "");
    let value: Vec<u8> = (0..HUGE).map(|n| (n % 251) as u8).collect();
    let mut client = proxy.client();
    client.ask(set("huge", &value), "+OK\r\n");
    client.send([words("GET huge"), words("PING")].concat());
    client.expect(format!("${HUGE}\r\n"));
    assert!(client.take(HUGE) == value);
    client.expect("\r\n+PONG\r\n");
}

/// A client that reads slowly holds up nobody, and still gets all of its value, however much more
/// that is than may be kept for it.
#[test]
fn a_slow_reader_gets_its_huge_value_and_stalls_nobody() {
    let (_server, addr) = redis_server(&[]);
    let proxy = Proxy::routed(&format!(
        "[pools.main]\nprotocol = \"redis\"\nservers = [\"{addr}\"]\n\
         [limits]\nclient_bytes_max = \"16m\"\n"
    ));
    let value = vec![b's'; HUGE];
    let mut slow = proxy.client();
    slow.ask(set("huge", &value), "+OK\r\n");
    for hello in ["PING", "HELLO 3"] {
        slow.send(words(hello));
        slow.reply();
        slow.send([words("GET huge"), words("GET none"), words("PING")].concat());
        slow.expect(format!("${HUGE}\r\n"));
        let mut quick = proxy.client();
        for n in 0..200 {
            quick.ask(words(&format!("SET q{n} {n}")), "+OK\r\n");
            quick.ask(words(&format!("GET q{n}")), bulk(n.to_string()));
        }
        assert!(slow.take(HUGE) == value);
        let none = if hello == "PING" { "$-1" } else { "_" };
        slow.expect(format!("\r\n{none}\r\n+PONG\r\n"));
    }
}

/// A write behind a large get is not carried out before the value is read.
#[test]
fn a_write_does_not_overtake_a_large_get() {
    let (_server, addr) = redis_server(&[]);
    let proxy = Proxy::start(&[addr], "");
    let value = vec![b'o'; HUGE / 4];
    let mut client = proxy.client();
    for _ in 0..5 {
        client.ask(set("huge", &value), "+OK\r\n");
        let requests = [words("GET huge"), words("SET huge new"), words("GET huge")];
        client.ask(requests.concat(), [bulk(&value), b"+OK\r\n".to_vec(), bulk("new")].concat());
    }
}

const PAUSE: usize = 64 << 10;
const BIG: usize = PAUSE + 200;

/// A server for values that arrive in three pieces, the last of which takes what is held for the
/// client just over its limit and ends the reply.
fn in_pieces(asked: &Asked) -> Vec<Step> {
    if asked.name() != "get" {
        return send("+PONG\r\n");
    }
    let reply = bulk(vec![b'b'; BIG]);
    let pause = Step::Wait(Duration::from_millis(40));
    vec![
        Step::Send(reply[..30_000].to_vec()),
        pause.clone(),
        Step::Send(reply[30_000..PAUSE - 500].to_vec()),
        pause,
        Step::Send(reply[PAUSE - 500..].to_vec()),
    ]
}

/// A large reply that has to wait for its turn does not keep its connection from the next user.
#[test]
fn a_connection_for_large_values_is_read_again_for_its_next_user() {
    let fake = FakeRedis::start(in_pieces);
    let slow = FakeRedis::start(|asked| match asked.text(1).as_str() {
        "s:1" => vec![Step::Wait(Duration::from_secs(2)), Step::Send(b"+late\r\n".to_vec())],
        _ => send("+PONG\r\n"),
    });
    let proxy = Proxy::routed(&format!(
        "[pools.main]\nprotocol = \"redis\"\nservers = [\"{}\"]\nlarge_connections_max = 1\n\
         read_timeout = \"8s\"\n\
         [pools.slow]\nprotocol = \"redis\"\nservers = [\"{}\"]\nread_timeout = \"60s\"\n\
         [routes]\ndefault = {{ prefix = {{ \"s:\" = \"slow\" }}, default = \"main\" }}\n\
         [limits]\nclient_bytes_pause = {PAUSE}\nlarge_value_bytes = 30000\n",
        fake.addr, slow.addr
    ));
    let mut waits = proxy.client();
    waits.send([words("GET s:1"), words("GET big1")].concat());
    wait_until("big1 is asked for on a connection of its own", || {
        fake.lines().iter().filter(|line| *line == "GET big1").count() == 2
    });
    let big = bulk(vec![b'b'; BIG]);
    let mut next = proxy.client();
    next.ask(words("GET big2"), &big);
    waits.expect([b"+late\r\n".to_vec(), big].concat());
}

/// A client that does not read holds the only connection for large values. Who waits for it is
/// refused in time; the holder still gets all that it asked for.
#[test]
fn a_large_request_that_waits_for_a_connection_times_out() {
    let (_server, addr) = redis_server(&[]);
    let proxy = Proxy::routed(&format!(
        "[pools.main]\nprotocol = \"redis\"\nservers = [\"{addr}\"]\n\
         large_connections_max = 1\nread_timeout = \"500ms\"\n"
    ));
    let value = vec![b'h'; HUGE];
    let mut holds = proxy.client();
    holds.ask(set("huge", &value), "+OK\r\n");
    holds.send(words("GET huge"));
    holds.expect("$");
    let mut waits = proxy.client();
    for _ in 0..2 {
        waits.send(words("GET huge"));
        let reply = waits.reply();
        assert!(reply.starts_with(b"-ERR "), "{}", reply[..20].escape_ascii());
    }
    waits.ask(words("GET small"), "$-1\r\n");
    holds.expect(format!("{HUGE}\r\n"));
    assert!(holds.take(HUGE + 2).starts_with(&value));
    waits.ask(words("GET huge"), bulk(&value));
}

/// A server that stops in the middle of a large value, or before it, is given up in time; the
/// client gets an error and goes on.
#[test]
fn a_huge_value_for_a_frozen_server_ends_in_an_error() {
    let (server, addr) = redis_server(&[]);
    let pool = "read_timeout = \"500ms\"\nretry = \"20ms\"\nretry_max = \"200ms\"";
    let proxy = Proxy::start(&[addr], pool);
    let mut client = proxy.client();
    for _ in 0..2 {
        wait_until("the server answers", || {
            client.send(words("GET small"));
            client.reply() == b"$-1\r\n"
        });
        server.signal("STOP");
        client.send([set("huge", &vec![b'h'; HUGE]), words("PING")].concat());
        let reply = client.reply();
        assert!(reply.starts_with(b"-ERR "), "{}", reply.escape_ascii());
        client.expect("+PONG\r\n");
        server.signal("CONT");
    }
    wait_until("the server answers again", || {
        client.send(words("GET small"));
        client.reply() == b"$-1\r\n"
    });
    client.ask(words("EXISTS huge"), ":0\r\n");
}

#[test]
fn a_huge_value_for_a_server_without_an_address_is_refused() {
    let proxy =
        Proxy::routed("[pools.main]\nprotocol = \"redis\"\nservers = [\"no-such.invalid\"]\n");
    let mut client = proxy.client();
    for size in [1, 3 << 20, HUGE] {
        client.send([set("huge", &vec![b'h'; size]), words("PING")].concat());
        let reply = client.reply();
        assert!(reply.starts_with(b"-ERR "), "{}", reply.escape_ascii());
        client.expect("+PONG\r\n");
    }
}

/// A client leaves in the middle of its value: no server takes the bytes of others for the rest.
#[test]
fn a_client_that_leaves_in_its_value_poisons_nothing() {
    let fake = FakeRedis::honest();
    let proxy = Proxy::start(&[fake.addr], "");
    let mut stays = proxy.client();
    stays.ask(set("kept", VALUE), "+OK\r\n");
    for size in [VALUE.len(), 100_000, 5 << 20] {
        let whole = set("left", &VALUE.repeat(size / VALUE.len()));
        for sent in [40, whole.len() / 2, whole.len() - 1] {
            let mut leaves = proxy.client();
            leaves.send(&whole[..sent]);
            stays.ask(words("GET kept"), bulk(VALUE));
            drop(leaves);
            stays.ask(words("GET kept"), bulk(VALUE));
        }
    }
    let others: Vec<String> = fake.lines();
    let others: Vec<&String> = others.iter().filter(|line| !line.contains("kept")).collect();
    assert!(others.iter().all(|line| !line.contains("left")), "{others:?}");
}

/// A request is refused before its end has come, or for its form: nothing of it is taken for
/// requests.
#[test]
fn what_was_refused_is_never_taken_for_requests() {
    let fake = FakeRedis::honest();
    let proxy = Proxy::with(&[fake.addr], "", "allow = [\"flush\"]");
    let mut other = proxy.client();
    other.ask(words("SET kept 1"), "+OK\r\n");
    let head = |length: &str| {
        [format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n{length}").as_bytes(), VALUE].concat()
    };
    // Not RESP: said so, and closed before anything that follows.
    for length in ["$-1", "$x", "$", "5", "$99999999999999999999", "$536870913"] {
        let mut client = proxy.client();
        client.send(head(length));
        let reply = client.drain();
        let text = String::from_utf8_lossy(&reply);
        assert!(text.starts_with("-ERR Protocol error"), "{length}: {text}");
        assert_eq!(text.matches("\r\n").count(), 1, "{length}: {text}");
    }
    // RESP, but no command or too few arguments: an error, and the client goes on.
    let wrong = [
        request(&[b"NOSUCH".as_slice(), VALUE]),
        request(&[b"GET".as_slice(), b"a", VALUE]),
        request(&[b"SET".as_slice(), VALUE]),
        request(&[b"MSET".as_slice(), b"a", VALUE, b"b"]),
        request(&[VALUE]),
    ];
    for bytes in wrong {
        let mut client = proxy.client();
        client.send([&bytes[..], &words("GET kept")].concat());
        let reply = client.reply();
        assert!(reply.starts_with(b"-ERR "), "{}", reply.escape_ascii());
        client.expect(bulk("1"));
    }
    other.ask(words("GET kept"), bulk("1"));
    let names: Vec<String> = fake.log().iter().map(|asked| asked.name()).collect();
    assert!(!names.iter().any(|name| name == "flushall" || name == "del"), "{names:?}");
}

/// Replies that wait for those of other servers count for the client: beyond its limit it is
/// closed.
#[test]
fn what_splits_collect_counts_for_the_client() {
    let value = vec![b'v'; 100_000];
    let reply = [b"*1\r\n".to_vec(), bulk(&value)].concat();
    let store = Tiny::default();
    let full = FakeRedis::start(move |asked| match asked.name().as_str() {
        "mget" => send(&reply),
        _ => store.answer(asked),
    });
    let silent = FakeRedis::start(|asked| match asked.name().as_str() {
        "ping" => send("+PONG\r\n"),
        _ => vec![Step::Wait(Duration::from_secs(2)), Step::Send(b"*1\r\n$-1\r\n".to_vec())],
    });
    let proxy = Proxy::routed(&format!(
        "[pools.full]\nprotocol = \"redis\"\nservers = [\"{}\"]\n\
         [pools.silent]\nprotocol = \"redis\"\nservers = [\"{}\"]\nread_timeout = \"60s\"\n\
         [routes]\ndefault = {{ prefix = {{ \"s:\" = \"silent\" }}, default = \"full\" }}\n\
         [limits]\nclient_bytes_pause = \"256k\"\nclient_bytes_max = \"1m\"\n",
        full.addr, silent.addr
    ));
    let (mut greedy, mut modest) = (proxy.client(), proxy.client());
    modest.send(words("MGET big s:1"));
    wait_until("its part was asked for", || silent.lines().contains(&"MGET s:1".to_owned()));
    greedy.send(words("MGET big s:1").repeat(24));
    greedy.expect_close();
    modest.expect([b"*2\r\n".to_vec(), bulk(&value), b"$-1\r\n".to_vec()].concat());
}
