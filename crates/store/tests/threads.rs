//! Many threads on few keys: every value proves whose it is and that it is whole.
//!
//! Little memory makes them win it from each other's shards all the time, which is where a
//! mistake in locking would show.

#![allow(clippy::unwrap_used)]

use keyway_store::{ItemBits, New, Now, Options, Store};
use std::sync::Arc;

const NOW: Now = Now::from_seconds(10);

/// A value that names its key, its writer's count and carries a checksum of all of it.
fn value(key: u64, count: u64, len: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(len + 24);
    value.extend(key.to_le_bytes());
    value.extend(count.to_le_bytes());
    value.extend((0..len).map(|at| (key ^ count ^ at as u64) as u8));
    let sum = checksum(&value);
    value.extend(sum.to_le_bytes());
    value
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn assert_whole(key: u64, value: &[u8]) {
    let (body, sum) = value.split_at(value.len() - 8);
    assert_eq!(body[..8], key.to_le_bytes(), "a value belongs to its key");
    assert_eq!(sum, checksum(body).to_le_bytes(), "a value is whole");
}

fn work(store: &Store, thread: u64, rounds: u64, long: bool) {
    let mut state = thread.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut held = Vec::new();
    for round in 0..rounds {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let key = state % 700;
        let name = key.to_le_bytes();
        match state >> 32 & 15 {
            0..5 => {
                let len = if long { (state >> 40) % 24_000 } else { (state >> 40) % 300 };
                let value = value(key, round, len as usize);
                let new = New {
                    flags: 0,
                    exptime: 0,
                    exptime_millis: 0,
                    cas: None,
                    bits: ItemBits::default(),
                    value: &[&value],
                };
                store.entry(&name, NOW, |entry| entry.put(&new)).unwrap();
            }
            5 => {
                store.entry(&name, NOW, |entry| entry.remove());
            }
            6 => {
                if let Ok(value) = store.hold(&name, NOW, true) {
                    held.push((key, value));
                }
                if held.len() > 8 {
                    for (key, value) in held.drain(..) {
                        assert_whole(key, value.as_ref());
                    }
                }
            }
            7 if round % 64 == 0 => {
                store.tick(Now::from_seconds(11), 500);
            }
            8 if round % 1024 == 0 => store.clear(),
            9 if round % 256 == 0 => {
                let mut dump = store.dump();
                while dump.next_slice(store, NOW, 64, |item| {
                    let key = u64::from_le_bytes(item.key.try_into().unwrap());
                    assert_whole(key, item.value);
                }) {}
            }
            _ => {
                let _ = store.read(&name, NOW, true, |item| assert_whole(key, item.value));
            }
        }
    }
}

fn stress(memory: u64, shards: u32, rounds: u64, long: bool) {
    let options = Options { shards: Some(shards), ..Options::new(memory) };
    let store = Arc::new(Store::new(options));
    let base = store.stats().memory_bytes;
    let threads: Vec<_> = (1..5)
        .map(|thread| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || work(&store, thread, rounds, long))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    store.check_invariants();
    store.check_charges(base);
}

#[test]
fn short_values_under_pressure() {
    stress(1 << 20, 1, 30_000, false);
}

#[test]
fn long_values_under_pressure() {
    stress(4 << 20, 4, 10_000, true);
}

#[test]
fn values_in_plenty_of_memory() {
    stress(64 << 20, 16, 10_000, true);
}
