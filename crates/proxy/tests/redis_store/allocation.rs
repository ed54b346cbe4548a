//! Once warm, ordinary requests allocate nothing. Not ordinary are those that lock several keys
//! at once or lengthen a value, and numbers with a point.

use crate::local::{Local, cut};
use keyway_testkit::{alloc, resp};

#[global_allocator]
static ALLOCATOR: alloc::Counting = alloc::Counting;

#[test]
fn warm_requests_allocate_nothing() {
    let mut local = Local::new();
    let large = "x".repeat(20_000);
    let lines = [
        "set a abc",
        "get a",
        "get none",
        "set b abc PX 100000 GET",
        "set b abc KEEPTTL XX",
        "set b abc NX",
        "mget a b none",
        "incr n",
        "decrby n 3",
        "expire a 100",
        "pttl a",
        "getex a PERSIST",
        "strlen a",
        "getrange a 0 1",
        "setrange a 1 x",
        "setbit a 3 1",
        "getbit a 3",
        "bitcount a",
        "exists a b none",
        "touch a",
        "type a",
        "del a none",
        "getdel b",
        "setex a 10 abc",
        "hset a b c",
        "nonsense 1 2 3",
        "get",
        &format!("set large {large}"),
        "get large",
    ];
    let requests: Vec<Vec<u8>> =
        lines.iter().map(|line| resp::request(&line.split(' ').collect::<Vec<_>>())).collect();
    let mut run = |resp3| {
        for request in &requests {
            local.run(resp3, &cut(request));
        }
    };
    for _ in 0..50 {
        run(false);
        run(true);
    }
    let before = alloc::here();
    for _ in 0..50 {
        run(false);
        run(true);
    }
    let allocated = alloc::here() - before;
    assert_eq!(allocated, 0, "allocations in 100 rounds of {} requests", requests.len());
}
