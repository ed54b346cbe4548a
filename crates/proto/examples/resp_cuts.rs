//! What it costs to cut the common Redis requests and to follow the common replies.
//!
//! Without arguments each case is timed. With `CASE ROUNDS` only that case runs, that many
//! times: under `valgrind --tool=callgrind` the difference of two runs, divided by the
//! difference of their rounds, is the number of instructions per cut.

use std::hint::black_box;
use std::time::Instant;

use keyway_proto::resp::reply::{Fed, Follow, elements};
use keyway_proto::resp::{Cut, Limits, Progress, Version, render, request};

type Case = (&'static str, Vec<u8>, fn(&[u8]) -> u64);

fn cases() -> Vec<Case> {
    let key = |at: usize| format!("k:{at:014}").into_bytes();
    let value = vec![b'x'; 100];
    let of = |arguments: &[&[u8]]| {
        let mut bytes = Vec::new();
        render::request(&mut bytes, arguments);
        bytes
    };
    let keys: Vec<Vec<u8>> = (0..10).map(key).collect();
    let mget: Vec<&[u8]> =
        [b"MGET".as_slice()].into_iter().chain(keys.iter().map(Vec::as_slice)).collect();
    let mget = of(&mget);
    let mut bulk = Vec::new();
    render::bulk(&mut bulk, &value);
    let mut array = Vec::new();
    render::array(&mut array, 10);
    (0..10).for_each(|_| render::bulk(&mut array, &value));
    let get = of(&[b"GET", &key(1)]);
    vec![
        ("get", get.clone(), cut),
        ("get-pipelined", [get.clone(), get.clone()].concat(), cut),
        ("get-route", get, route),
        ("set", of(&[b"SET", &key(1), &value]), cut),
        ("setex", of(&[b"SETEX", &key(1), b"60", &value]), cut),
        ("incr", of(&[b"INCR", &key(1)]), cut),
        ("zrangebyscore", of(&[b"ZRANGEBYSCORE", &key(1), b"0", b"10"]), cut),
        ("mget-10", mget.clone(), cut),
        ("mget-10-keys", mget, keys_of),
        ("+OK", b"+OK\r\n".to_vec(), follow),
        (":1", b":1\r\n".to_vec(), follow),
        ("$100", bulk, follow),
        ("$-1", b"$-1\r\n".to_vec(), follow),
        ("*10", array.clone(), follow),
        ("*10-elements", array, elements_of),
    ]
}

#[inline(never)]
fn cut(bytes: &[u8]) -> u64 {
    match request::cut(bytes, &Limits::REDIS, &mut Progress::default()) {
        Cut::Request(request) => {
            let verb = request.verb().expect("the case is a known command");
            verb as u64 + request.bytes.len() as u64 + request.first.len() as u64
        }
        other => panic!("the case is a complete request, not {other:?}"),
    }
}

/// Cuts, and asks what the proxy asks to route a request with one key.
#[inline(never)]
fn route(bytes: &[u8]) -> u64 {
    match request::cut(bytes, &Limits::REDIS, &mut Progress::default()) {
        Cut::Request(request) => {
            let command = request.command.expect("the case is a known command");
            let key = request.first_key().expect("the case has a key");
            command.kind as u64 + u64::from(command.accepts(request.arguments)) + key.len() as u64
        }
        other => panic!("the case is a complete request, not {other:?}"),
    }
}

/// Cuts and goes over all keys, as a multi-key request that is split by server does.
#[inline(never)]
fn keys_of(bytes: &[u8]) -> u64 {
    match request::cut(bytes, &Limits::REDIS, &mut Progress::default()) {
        Cut::Request(request) => request.keys().map(|key| key.bytes.len() as u64).sum(),
        other => panic!("the case is a complete request, not {other:?}"),
    }
}

#[inline(never)]
fn follow(bytes: &[u8]) -> u64 {
    let mut follow = Follow::new(Version::Two);
    match follow.feed(bytes) {
        Fed::Complete(bytes) => bytes as u64 + u64::from(follow.kind().is_some()),
        other => panic!("the case is a complete reply, not {other:?}"),
    }
}

/// Goes over the elements, as merging does.
#[inline(never)]
fn elements_of(bytes: &[u8]) -> u64 {
    let elements = elements(bytes, Version::Two).expect("the case is an array");
    elements.map(|element| element.len() as u64).sum()
}

fn repeat(act: fn(&[u8]) -> u64, bytes: &[u8], rounds: u64) -> u64 {
    let mut sum = 0u64;
    for _ in 0..rounds {
        sum = sum.wrapping_add(act(black_box(bytes)));
    }
    sum
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for (name, bytes, act) in cases() {
        if let [case, rounds] = arguments.as_slice() {
            if case == name {
                let rounds = rounds.parse().expect("the second argument is a number of rounds");
                black_box(repeat(act, &bytes, rounds));
            }
            continue;
        }
        let rounds = 2_000_000;
        let begun = Instant::now();
        black_box(repeat(act, &bytes, rounds));
        println!("{name:>14}  {:6.1} ns", begun.elapsed().as_nanos() as f64 / rounds as f64);
    }
}
