//! What it costs to cut the common request and reply heads.
//!
//! Without arguments each case is timed. With `CASE ROUNDS` only that case runs, that many
//! times: under `valgrind --tool=callgrind` the difference of two runs, divided by the
//! difference of their rounds, is the number of instructions per cut.

use std::hint::black_box;
use std::time::Instant;

use keyway_proto::memcached::{Cut, LineLimits, ReplyCut, cut_reply, cut_with};

const REQUESTS: &[(&str, &[u8])] = &[
    ("get", b"get k:00000000000001\r\n"),
    ("get-pipelined", b"get k:00000000000001\r\nget k:00000000000002\r\n"),
    (
        "get-10",
        b"get k:00000000000001 k:00000000000002 k:00000000000003 k:00000000000004 \
        k:00000000000005 k:00000000000006 k:00000000000007 k:00000000000008 \
        k:00000000000009 k:00000000000010\r\n",
    ),
    ("set", b"set k:00000000000001 0 0 100\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ("set-noreply", b"set k:00000000000001 0 0 100 noreply\r\nxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ("mg", b"mg k:00000000000001 v\r\n"),
    ("mg-flags", b"mg k:00000000000001 s v q O12345 k\r\n"),
    ("ms", b"ms k:00000000000001 100 T60\r\nxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ("delete", b"delete k:00000000000001\r\n"),
    ("incr", b"incr k:00000000000001 1\r\n"),
    ("touch", b"touch k:00000000000001 60\r\n"),
    ("gat", b"gat 60 k:00000000000001\r\n"),
    ("cas", b"cas k:00000000000001 0 0 100 12345\r\nxxxxxxxxxxxxxxxxxx"),
];

const REPLIES: &[(&str, &[u8])] = &[
    ("VALUE", b"VALUE k:00000000000001 0 100\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ("VALUE-cas", b"VALUE k:00000000000001 0 100 1234567\r\nxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ("END", b"END\r\nVALUE"),
    ("STORED", b"STORED\r\n"),
    ("VA", b"VA 100\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ("VA-flags", b"VA 100 s100 O12345\r\nxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    ("HD", b"HD\r\n"),
    ("NF", b"NF\r\n"),
    ("NOT_FOUND", b"NOT_FOUND\r\n"),
];

#[inline(never)]
fn request(bytes: &[u8]) -> u64 {
    match cut_with(bytes, &LineLimits::PROXIED, 0) {
        Cut::Head(head) => {
            let marks = u64::from(head.noreply) + u64::from(head.quiet) + u64::from(head.more_keys);
            head.key.len() as u64
                + head.line_bytes as u64
                + head.body_bytes()
                + marks
                + head.verb as u64
                + u64::from(head.malformed.is_some())
        }
        other => panic!("the case is a complete request, not {other:?}"),
    }
}

#[inline(never)]
fn reply(bytes: &[u8]) -> u64 {
    match cut_reply(bytes) {
        ReplyCut::Head(head) => {
            head.key.len() as u64 + head.line_bytes as u64 + head.body_bytes() + head.kind as u64
        }
        other => panic!("the case is a complete reply, not {other:?}"),
    }
}

/// Cuts and goes over all keys, as a multi-key retrieval that is split by backend does.
#[inline(never)]
fn keys(bytes: &[u8]) -> u64 {
    match cut_with(bytes, &LineLimits::PROXIED, 0) {
        Cut::Head(head) => head.keys().map(|key| key.len() as u64).sum(),
        other => panic!("the case is a complete request, not {other:?}"),
    }
}

/// Cuts and looks for the opaque, as the proxy does to match a meta reply with its request.
#[inline(never)]
fn opaque(bytes: &[u8]) -> u64 {
    match cut_reply(bytes) {
        ReplyCut::Head(head) => head.opaque().map_or(0, |opaque| opaque.len() as u64),
        other => panic!("the case is a complete reply, not {other:?}"),
    }
}

fn repeat(act: fn(&[u8]) -> u64, bytes: &[u8], rounds: u64) -> u64 {
    let mut sum = 0u64;
    for _ in 0..rounds {
        sum = sum.wrapping_add(act(black_box(bytes)));
    }
    sum
}

const KEYS: &[(&str, &[u8])] = &[("keys-10", REQUESTS[2].1)];

const OPAQUES: &[(&str, &[u8])] = &[("opaque", b"VA 100 s100 O12345\r\nxxxxxxxxxxxxxxxx")];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let cases = REQUESTS.iter().map(|case| (case, request as fn(&[u8]) -> u64));
    let cases = cases.chain(REPLIES.iter().map(|case| (case, reply as fn(&[u8]) -> u64)));
    let cases = cases.chain(KEYS.iter().map(|case| (case, keys as fn(&[u8]) -> u64)));
    let cases = cases.chain(OPAQUES.iter().map(|case| (case, opaque as fn(&[u8]) -> u64)));
    for (&(name, bytes), act) in cases {
        if let [case, rounds] = arguments.as_slice() {
            if case == name {
                let rounds = rounds.parse().expect("the second argument is a number of rounds");
                black_box(repeat(act, bytes, rounds));
            }
            continue;
        }
        let rounds = 2_000_000;
        let begun = Instant::now();
        black_box(repeat(act, bytes, rounds));
        println!("{name:>14}  {:6.1} ns", begun.elapsed().as_nanos() as f64 / rounds as f64);
    }
}
