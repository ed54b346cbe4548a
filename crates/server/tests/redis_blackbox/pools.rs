//! Pools of several Redis servers: keys that live apart, and commands about all of them.

use std::collections::BTreeSet;

use keyway_testkit::client::Client;
use keyway_testkit::process::Process;
use keyway_testkit::redis::redis_server;
use keyway_testkit::resp::{bulk, request, words};
use keyway_testkit::wait_until;

use crate::Proxy;

struct Three {
    proxy: Proxy,
    addrs: Vec<std::net::SocketAddr>,
    _servers: Vec<Process>,
}

impl Three {
    #[track_caller]
    fn start() -> Three {
        let (servers, addrs): (Vec<_>, Vec<_>) = (0..3).map(|_| redis_server(&[])).unzip();
        Three { proxy: Proxy::start(&addrs, ""), addrs, _servers: servers }
    }

    /// How many keys each server has.
    fn sizes(&self) -> Vec<usize> {
        let size = |addr: &std::net::SocketAddr| {
            let reply = Client::tcp(*addr).command(&["DBSIZE"]);
            let text = String::from_utf8_lossy(&reply[1..]).trim().to_owned();
            text.parse().expect("DBSIZE is a number")
        };
        self.addrs.iter().map(size).collect()
    }
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("key{n}")).collect()
}

/// A command with these keys.
fn with_keys(name: &str, keys: &[String]) -> Vec<u8> {
    let args: Vec<&str> = std::iter::once(name).chain(keys.iter().map(String::as_str)).collect();
    request(&args)
}

#[test]
fn several_keys_are_answered_in_their_order() {
    let three = Three::start();
    let keys = keys(60);
    for version in ["2", "3"] {
        let mut client = three.proxy.client();
        client.command(&["HELLO", version]);
        let pairs: Vec<String> = keys.iter().flat_map(|k| [k.clone(), format!("of {k}")]).collect();
        client.ask(with_keys("MSET", &pairs), "+OK\r\n");
        assert!(three.sizes().iter().all(|n| *n > 5), "all have some: {:?}", three.sizes());
        let nothing: &[u8] = if version == "3" { b"_\r\n" } else { b"$-1\r\n" };
        let mut asked = keys.clone();
        asked.insert(7, "none".to_owned());
        let mut expected = b"*61\r\n".to_vec();
        for key in &asked {
            let is_there = key != "none";
            expected.extend(if is_there { bulk(format!("of {key}")) } else { nothing.to_vec() });
        }
        client.ask(with_keys("MGET", &asked), expected);
        client.ask(with_keys("EXISTS", &asked), ":60\r\n");
        client.ask(with_keys("TOUCH", &asked), ":60\r\n");
        client.ask(with_keys("DEL", &asked[..21]), ":20\r\n");
        client.ask(with_keys("UNLINK", &asked), ":40\r\n");
        assert_eq!(three.sizes(), [0, 0, 0]);
    }
}

#[test]
fn commands_about_all_keys_ask_all_servers() {
    let three = Three::start();
    let keys = keys(200);
    let mut client = three.proxy.client();
    for key in &keys {
        client.ask(words(&format!("SET {key} 1")), "+OK\r\n");
    }
    client.ask(words("DBSIZE"), ":200\r\n");
    let elements = |reply: &[u8]| -> BTreeSet<String> {
        let text = String::from_utf8_lossy(reply).into_owned();
        text.split("\r\n").filter(|w| w.starts_with("key")).map(str::to_owned).collect()
    };
    let wanted: BTreeSet<String> = keys.iter().cloned().collect();
    assert_eq!(elements(&client.command(&["KEYS", "*"])), wanted);
    assert_eq!(elements(&client.command(&["KEYS", "key1?"])).len(), 10);
    let mut seen = BTreeSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let reply = client.command(&["SCAN", &cursor, "COUNT", "20"]);
        seen.extend(elements(&reply));
        let text = String::from_utf8_lossy(&reply).into_owned();
        cursor = text.split("\r\n").nth(2).expect("a cursor").to_owned();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen, wanted);
    let random = client.command(&["RANDOMKEY"]);
    assert_eq!(elements(&random).len(), 1, "{}", random.escape_ascii());
    client.ask(words("FLUSHALL"), "+OK\r\n");
    assert_eq!(three.sizes(), [0, 0, 0]);
    client.ask(words("RANDOMKEY"), "$-1\r\n");
    client.ask(words("DBSIZE"), ":0\r\n");
}

/// Deleting everything is for those who were allowed to.
#[test]
fn flushing_is_refused_unless_allowed() {
    let (_server, addr) = redis_server(&[]);
    let proxy = Proxy::with(&[addr], "", "");
    let mut client = proxy.client();
    client.ask(words("SET a 1"), "+OK\r\n");
    for line in ["FLUSHALL", "FLUSHDB", "flushall async"] {
        assert!(client.redis(line).starts_with("-ERR "), "{line}");
    }
    client.ask(words("GET a"), bulk("1"));
}

#[test]
fn scripts_are_known_everywhere() {
    let three = Three::start();
    let mut client = three.proxy.client();
    let script = "return redis.call('incr', KEYS[1])";
    let sha = client.command(&["SCRIPT", "LOAD", script]);
    let sha = String::from_utf8_lossy(&sha[5..45]).into_owned();
    for key in keys(30) {
        client.ask(request(&["EVALSHA", &sha, "1", &key]), ":1\r\n");
    }
    client.ask(request(&["SCRIPT", "EXISTS", &sha, "x"]), "*2\r\n:1\r\n:0\r\n");
    client.ask(words("SCRIPT FLUSH"), "+OK\r\n");
    client.ask(request(&["SCRIPT", "EXISTS", &sha]), "*1\r\n:0\r\n");
}

/// Commands whose keys live apart and whose parts would mean something else.
#[test]
fn keys_that_live_apart_are_refused_where_they_must_be_together() {
    let three = Three::start();
    let mut client = three.proxy.client();
    for key in keys(40) {
        client.ask(words(&format!("SADD {key} 1 2")), ":2\r\n");
    }
    let mut refused = 0;
    for n in 0..39 {
        let reply = client.redis(&format!("SINTER key{n} key{}", n + 1));
        match reply.starts_with("-CROSSSLOT") {
            true => refused += 1,
            false => assert_eq!(reply, "*2\\r\\n$1\\r\\n1\\r\\n$1\\r\\n2\\r\\n"),
        }
    }
    assert!((5..39).contains(&refused), "about two thirds live apart: {refused}");
    let mut crossed = 0;
    for n in 0..39 {
        client.ask(words("MULTI"), "+OK\r\n");
        let replies = [
            client.redis(&format!("SCARD key{n}")),
            client.redis(&format!("SCARD key{}", n + 1)),
            client.redis("EXEC"),
        ];
        assert_eq!(replies[0], "+QUEUED\\r\\n");
        match replies[1].starts_with("-CROSSSLOT") {
            true => {
                crossed += 1;
                assert!(replies[2].starts_with("-EXECABORT"), "{replies:?}");
            }
            false => assert_eq!(replies[2], "*2\\r\\n:2\\r\\n:2\\r\\n"),
        }
    }
    assert_eq!(crossed, refused, "the same keys live apart");
}

/// Transactions on different servers follow each other closely.
#[test]
fn transactions_go_from_server_to_server() {
    let three = Three::start();
    let mut client = three.proxy.client();
    let mut expected = Vec::new();
    let mut sent = Vec::new();
    for (n, key) in keys(30).iter().enumerate() {
        sent.extend(words(&format!("SET {key} {n}")));
        sent.extend([words("MULTI"), words(&format!("GET {key}")), words("EXEC")].concat());
        expected.extend(b"+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n");
        expected.extend(bulk(n.to_string()));
        if n % 3 == 0 {
            sent.extend([words("WATCH none"), words("MULTI"), words("DISCARD")].concat());
            expected.extend(b"+OK\r\n+OK\r\n+OK\r\n");
        }
    }
    client.ask(sent, expected);
}

#[test]
fn messages_reach_subscribers_whatever_the_channel() {
    let three = Three::start();
    let mut pattern = three.proxy.client();
    pattern.ask(words("PSUBSCRIBE ch*"), "*3\r\n$10\r\npsubscribe\r\n$3\r\nch*\r\n:1\r\n");
    let mut publisher = three.proxy.client();
    for n in 0..20 {
        let mut subscriber = three.proxy.client();
        let channel = format!("ch{n}");
        subscriber.send(words(&format!("SUBSCRIBE {channel}")));
        subscriber.reply();
        publisher.ask(words(&format!("PUBLISH {channel} {n}")), ":2\r\n");
        let head = b"*3\r\n$7\r\nmessage\r\n".to_vec();
        subscriber.expect([head, bulk(&channel), bulk(n.to_string())].concat());
        let head = b"*4\r\n$8\r\npmessage\r\n$3\r\nch*\r\n".to_vec();
        pattern.expect([head, bulk(&channel), bulk(n.to_string())].concat());
        drop(subscriber);
        wait_until("the subscriber is gone", || {
            publisher.redis(&format!("PUBSUB NUMSUB {channel}")).ends_with(":0\\r\\n")
        });
    }
}
