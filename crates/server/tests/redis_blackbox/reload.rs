//! Reloads under the load of Redis clients: no error, no connection lost, nothing left behind.
//!
//! `KEYWAY_RELOADS=1000` makes the long run.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use keyway_testkit::client::Client;
use keyway_testkit::process::{Keyway, http};
use keyway_testkit::redis::redis_server;
use keyway_testkit::resp::{bulk, words};
use keyway_testkit::{port, wait_until};

use crate::{KEYWAY, number};

fn configuration(addr: SocketAddr, servers: [SocketAddr; 2], pool: &str, rest: &str) -> String {
    let [one, two] = servers;
    format!(
        "workers = 2\n[listeners.main]\naddress = \"{addr}\"\n[pools.main]\nprotocol = \"redis\"\n\
         servers = [\"{one}\", \"{two}\"]\n{pool}\n{rest}"
    )
}

/// Reloads; panics when that is refused.
#[track_caller]
fn reload(keyway: &Keyway, text: &str) {
    std::fs::write(&keyway.config, text).expect("the scratch folder is writable");
    let (status, answer) = http(keyway.admin, "POST", "/api/v1/reload");
    assert_eq!(status, 200, "{answer}");
}

/// Pipelines of split commands and transactions on its own keys until told to stop; every reply
/// must be right.
fn load(addr: SocketAddr, id: usize, stop: &AtomicBool, done: &AtomicU64) {
    let mut client = Client::tcp(addr);
    let mut n = 0u64;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let (a, b) = (format!("a{id}-{}", n % 50), format!("b{id}-{}", n % 50));
        let lines = [
            format!("MSET {a} {n:08} {b} {n:08}"),
            format!("MGET {a} none {b}"),
            "MULTI".to_owned(),
            format!("SET {a} x"),
            format!("GET {a}"),
            "EXEC".to_owned(),
            format!("DEL {a} {b}"),
        ];
        client.send(lines.iter().flat_map(|line| words(line)).collect::<Vec<u8>>());
        let value = bulk(format!("{n:08}"));
        let mget = [b"*3\r\n".to_vec(), value.clone(), b"$-1\r\n".to_vec(), value].concat();
        client.expect("+OK\r\n");
        client.expect(mget);
        client.expect("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n$1\r\nx\r\n:2\r\n");
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ends the load also when the test fails, so that its threads do.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn reloads_under_load_lose_no_request_and_no_subscription() {
    let (_one, first) = redis_server(&[]);
    let (_two, second) = redis_server(&[]);
    let addr = port::local();
    let servers = [first, second];
    // Where keys live does not change, or a key could rightly be missing.
    let variants = [
        configuration(addr, servers, "", ""),
        configuration(addr, servers, "read_timeout = \"20s\"", ""),
        configuration(addr, servers, "connections = 2", ""),
        configuration(addr, servers, "sessions_max = 100", "[limits]\nowed_max = 100\n"),
    ];
    let keyway = Keyway::start(KEYWAY, &variants[0]);
    let mut subscriber = Client::tcp(addr);
    subscriber.ask(words("SUBSCRIBE news"), "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let stop_at_end = Stop(&stop);
        for id in 0..4 {
            let (stop, done) = (&stop, &done);
            scope.spawn(move || load(addr, id, stop, done));
        }
        wait_until("the load runs", || done.load(Ordering::Relaxed) > 100);
        let files = keyway.process.open_files();
        for round in 1..=number("KEYWAY_RELOADS", 60) as usize {
            reload(&keyway, &variants[round % variants.len()]);
            let seen = done.load(Ordering::Relaxed);
            wait_until("the load goes on", || done.load(Ordering::Relaxed) > seen);
        }
        reload(&keyway, &variants[0]);
        wait_until("connections of old generations are closed", || {
            keyway.process.open_files() <= files + 8
        });
        let mut publisher = Client::tcp(addr);
        publisher.ask(words("PUBLISH news hello"), ":1\r\n");
        subscriber.expect("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
        drop(stop_at_end);
    });
}
