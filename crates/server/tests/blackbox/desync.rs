//! The worst that a proxy can do, looked for on real sockets: a value that reaches the wrong
//! client.
//!
//! The same is done with seeds and virtual time in testkit's simulated worlds; here kernel, threads
//! and real segments take part.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyway_testkit::client::Client;
use keyway_testkit::fake::{Fake, Step};
use keyway_testkit::random::Random;

use crate::Proxy;

/// Answers `get key` with a value that names the key; sometimes late, in pieces, or not to the end.
fn chaos(counter: &AtomicUsize, line: &str) -> Vec<Step> {
    if line == "version" {
        return vec![Step::Send(b"VERSION chaos\r\n".to_vec())];
    }
    let mut random = Random::new(counter.fetch_add(1, Ordering::SeqCst) as u64);
    let mut reply = Vec::new();
    for key in line.split(' ').skip(1) {
        let value = format!("<{key}>{}", "v".repeat(random.below(3000)));
        reply.extend(format!("VALUE {key} 0 {}\r\n{value}\r\n", value.len()).bytes());
    }
    reply.extend(b"END\r\n");
    let cut = random.below(reply.len());
    match random.below(60) {
        0 => vec![Step::Send(reply[..cut].to_vec()), Step::Close],
        1 => vec![Step::Send(reply[..cut].to_vec()), Step::Reset],
        2 => vec![Step::Send(reply.clone()), Step::Send(reply)],
        3 => vec![],
        4..8 => vec![
            Step::Send(reply[..cut].to_vec()),
            Step::Wait(Duration::from_millis(3)),
            Step::Send(reply[cut..].to_vec()),
        ],
        _ => vec![Step::Send(reply)],
    }
}

#[test]
fn values_never_reach_the_wrong_client() {
    let counter = AtomicUsize::new(0);
    let fake = Fake::start(move |asked| chaos(&counter, &asked.line));
    let pool = "read_timeout = \"100ms\"\nretry = \"5ms\"\nretry_max = \"20ms\"\n\
                failure_limit = 1000000\nconnections = 2";
    let proxy = Proxy::start(&[fake.addr], pool, "");
    let values = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for id in 0..8 {
            let (proxy, values) = (&proxy, &values);
            scope.spawn(move || one_client(proxy, id, values));
        }
    });
    let values = values.into_inner();
    assert!(values > 500, "only {values} values got through");
}

fn one_client(proxy: &Proxy, id: usize, values: &AtomicUsize) {
    let mut random = Random::new(id as u64);
    let mut client = proxy.client();
    for round in 0..60 {
        let keys: Vec<String> = (0..8).map(|n| format!("c{id}r{round}n{n}")).collect();
        let requests: String = keys.iter().map(|k| format!("get {k}\r\n")).collect();
        client.send(requests);
        if random.once_in(10) {
            // Gone before the replies come: they must not reach whoever comes next.
            client = proxy.client();
            continue;
        }
        for key in &keys {
            match read_one(&mut client, key) {
                Some(true) => {
                    values.fetch_add(1, Ordering::Relaxed);
                }
                Some(false) => {}
                // A value that had begun cannot be finished: the client is closed with it.
                None => {
                    client = proxy.client();
                    break;
                }
            }
        }
    }
}

/// Reads one reply to `get key`: whether there was a value, `None` when the connection ended.
/// Anything that is not about `key` fails.
fn read_one(client: &mut Client, key: &str) -> Option<bool> {
    let line = client.try_line()?;
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["VALUE", found, _, length] => {
            assert_eq!(*found, key, "{line}");
            let length: usize = length.parse().expect("a length");
            let begin = format!("<{key}>");
            let value = client.try_take(length + 7)?;
            assert!(value.starts_with(begin.as_bytes()), "{key}: {}", value.escape_ascii());
            assert!(value.ends_with(b"\r\nEND\r\n"), "{key}: {}", value.escape_ascii());
            Some(true)
        }
        ["SERVER_ERROR", ..] => Some(false),
        other => panic!("{key} got {other:?}"),
    }
}
