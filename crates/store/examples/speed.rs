//! Processor nanoseconds per operation of the store, the best of several rounds.
//!
//! `cargo run --release -p keyway-store --example speed -- [items] [value bytes] [memory MiB]`
//!
//! Keys are 16 bytes. Every thread works on all keys in an order of its own. `get` copies the
//! value out and counts the use; `set` overwrites with the same length, `resize` with another
//! one, `insert` writes new keys into a full cache, so each one evicts.

#![allow(clippy::print_stdout)]

use keyway_store::{ItemBits, New, Now, Options, Store};
use std::hint::black_box;
use std::sync::Barrier;

const NOW: Now = Now::from_seconds(10);
const ROUNDS: usize = 9;

struct Setup {
    store: Store,
    items: u64,
    value: Vec<u8>,
}

fn key(number: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let mut rest = number;
    for at in (4..16).rev() {
        key[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

fn scramble(number: u64) -> u64 {
    let mixed = (number ^ (number >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11
}

fn set(store: &Store, key: &[u8], value: &[u8]) {
    let new = New {
        flags: 0,
        exptime: 0,
        exptime_millis: 0,
        cas: None,
        bits: ItemBits::default(),
        value: &[value],
    };
    let _ = black_box(store.entry(key, NOW, |entry| entry.put(&new)));
}

thread_local! {
    static OUT: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// A get as a worker does it: the value is appended to a buffer that stays.
fn copy_out(store: &Store, key: &[u8]) {
    OUT.with_borrow_mut(|out| {
        out.clear();
        let found = store.read(key, NOW, true, |item| out.extend_from_slice(item.value));
        black_box((found.is_ok(), &out));
    });
}

/// Keeps this thread on one processor, so that two threads do run at the same time.
fn pin(processor: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(processor);
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// Processor time of this thread in nanoseconds: other processes do not count.
fn processor_nanos() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Runs `operations` on each thread and tells the time per operation of the slowest.
fn round(threads: u64, operations: u64, act: impl Fn(u64, u64) + Sync) -> f64 {
    let barrier = Barrier::new(threads as usize);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let (barrier, act) = (&barrier, &act);
                scope.spawn(move || {
                    pin(thread as usize);
                    barrier.wait();
                    let start = processor_nanos();
                    for step in 0..operations {
                        act(thread, step);
                    }
                    (processor_nanos() - start) / operations as f64
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("no thread panics"))
            .fold(0.0, f64::max)
    })
}

fn measure(name: &str, operations: u64, act: impl Fn(u64, u64, u64) + Sync) {
    for threads in [1, 2] {
        let best = (0..ROUNDS as u64)
            .map(|number| round(threads, operations, |thread, step| act(number, thread, step)))
            .fold(f64::MAX, f64::min);
        println!("{name:28} {threads} thread(s): {best:6.1} ns/op per thread");
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let items = arguments.next().unwrap_or(100_000);
    let value_bytes = arguments.next().unwrap_or(100) as usize;
    let memory = arguments.next().unwrap_or(1024) << 20;
    let huge_pages = arguments.next().unwrap_or(0) == 1;
    let options = Options { hash_seed: 77, huge_pages, ..Options::new(memory) };
    let setup = Setup { store: Store::new(options), items, value: vec![b'v'; value_bytes] };
    let Setup { store, items, value } = &setup;
    for number in 0..*items {
        set(store, &key(number), value);
    }
    let stats = store.stats();
    let operations = 1_000_000;
    let pick = |round: u64, thread: u64, step: u64| {
        scramble(step.wrapping_add(round << 40).wrapping_add(thread << 50)) % items
    };
    measure("(loop and key only)", operations, |round, thread, step| {
        black_box(key(pick(round, thread, step)));
    });
    measure("get, all keys", operations, |round, thread, step| {
        copy_out(store, &key(pick(round, thread, step)));
    });
    measure("get, one key", operations, |_, _, _| {
        copy_out(store, &key(7));
    });
    let elapsed = (0..ROUNDS * 10)
        .map(|_| {
            let start = std::time::Instant::now();
            round(2, operations / 20, |_, _| copy_out(store, &key(7)));
            start.elapsed().as_nanos() as f64 / (operations / 20) as f64
        })
        .fold(f64::MAX, f64::min);
    println!("{:28} 2 thread(s): {elapsed:6.1} ns/op per thread, elapsed", "get, one key");
    measure("get, miss", operations, |round, thread, step| {
        let key = key(pick(round, thread, step) + items);
        black_box(store.read(&key, NOW, true, |item| item.value.len()).is_ok());
    });
    measure("set, same length", operations, |round, thread, step| {
        set(store, &key(pick(round, thread, step)), value);
    });
    measure("set, other length", operations, |round, thread, step| {
        let number = pick(round, thread, step);
        set(store, &key(number), &value[..value.len() - (step % 64) as usize]);
    });
    let full = Store::new(Options { hash_seed: 77, ..Options::new(64 << 20) });
    for number in 0..600_000 {
        set(&full, &key(number), value);
    }
    measure("insert into full 64 MiB", operations, |round, thread, step| {
        set(&full, &key(1_000_000 + (round * 2 + thread) * operations + step), value);
    });
    println!(
        "{} items, {} bytes each, {} shards",
        stats.items,
        stats.memory_bytes / stats.items,
        stats.shards
    );
}
