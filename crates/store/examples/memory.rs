//! What the store takes from the system, compared with what it was allowed.
//!
//! `cargo run --release -p keyway-store --example memory`
//!
//! Prints the growth of resident memory for a million items, how many stay in 64 MiB, and how
//! resident memory follows the limit while item sizes change.

#![allow(clippy::print_stdout)]

use keyway_store::{ItemBits, New, Now, Options, Store};

const NOW: Now = Now::from_seconds(10);
const MIB: u64 = 1 << 20;

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages: u64 = text.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a number");
    pages * 4096
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn set(store: &Store, number: u64, value: &[u8]) {
    let key = format!("key:{number:012}");
    let new = New {
        flags: 0,
        exptime: 0,
        exptime_millis: 0,
        cas: None,
        bits: ItemBits::default(),
        value: &[value],
    };
    let _ = store.entry(key.as_bytes(), NOW, |entry| entry.put(&new));
}

fn show(name: &str, store: &Store, before: u64) {
    let stats = store.stats();
    let grown = resident() - before;
    let limit = stats.memory_bytes_max;
    println!(
        "{name:40} {:8} items, resident {:7.1} MiB, {:5.1} % of the limit, counted {:5.1} %, \
         {:4.1} % of it item bytes, {:.1} bytes/item",
        stats.items,
        grown as f64 / MIB as f64,
        grown as f64 * 100.0 / limit as f64,
        stats.memory_bytes as f64 * 100.0 / limit as f64,
        stats.item_bytes as f64 * 100.0 / stats.memory_bytes as f64,
        grown as f64 / stats.items as f64,
    );
}

/// Lengths of all magnitudes from 100 bytes to 1 MiB.
fn any_len(random: &mut Random, least_log: u64, most_log: u64) -> usize {
    let log = least_log + random.below(most_log - least_log);
    ((1 << log) + random.below(1 << log)).min(MIB - 200) as usize
}

fn main() {
    let value = vec![b'v'; 1 << 20];
    let before = resident();
    {
        let store = Store::new(Options::new(1024 * MIB));
        (0..1_000_000).for_each(|number| set(&store, number, &value[..100]));
        show("a million items of 16 + 100 bytes", &store, before);
    }
    let before = resident();
    {
        let store = Store::new(Options::new(64 * MIB));
        (0..2_000_000).for_each(|number| set(&store, number, &value[..100]));
        show("64 MiB full of 16 + 100 bytes", &store, before);
    }
    for memory in [64, 512] {
        let before = resident();
        let mut random = Random(88_172_645_463_325_252);
        let store = Store::new(Options::new(memory * MIB));
        for (name, least, most, rounds) in [
            ("100 B .. 200 B", 6, 7, memory * 20_000),
            ("100 B .. 1 MiB", 6, 20, memory * 200),
            ("16 KiB .. 1 MiB", 14, 20, memory * 50),
            ("100 B .. 1 KiB", 6, 10, memory * 10_000),
            ("1 KiB .. 32 KiB", 10, 15, memory * 1_000),
            ("100 B .. 1 MiB again", 6, 20, memory * 200),
        ] {
            for _ in 0..rounds {
                let len = any_len(&mut random, least, most);
                set(&store, random.below(memory * 20_000), &value[..len]);
            }
            store.check_invariants();
            show(&format!("{memory} MiB, {name}"), &store, before);
        }
    }
}
