//! Hit ratio of the store against plain LRU, FIFO and the best possible policy, in equal memory.
//!
//! `cargo run --release -p keyway-store --example hit_ratio`
//!
//! The store runs its real code: a get, and after a miss a set. The others are simulated with as
//! many items as the store held at the end, so that only the policy differs. Traces are drawn
//! from Zipf distributions over keys, some with scans of keys that never return, or with a
//! popular set that drifts. "Best" is Belady's: drop what is needed again last.

#![allow(clippy::print_stdout)]

use keyway_store::{ItemBits, New, Now, Options, Store};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Ranks with probability proportional to 1 / rank^skew, by a table of cumulated weights.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(keys: usize, skew: f64) -> Zipf {
        let mut sum = 0.0;
        Zipf(
            (1..=keys)
                .map(|rank| {
                    sum += (rank as f64).powf(-skew);
                    sum
                })
                .collect(),
        )
    }

    fn draw(&self, random: &mut Random) -> u64 {
        let total = self.0.last().copied().unwrap_or(0.0);
        let target = random.unit() * total;
        self.0.partition_point(|sum| *sum < target) as u64
    }
}

/// A trace of `len` keys.
fn trace(keys: usize, skew: f64, len: usize, kind: &str) -> Vec<u64> {
    let zipf = Zipf::new(keys, skew);
    let mut random = Random(42);
    let (mut scan, mut scan_left) = (1 << 40, 0);
    (0..len)
        .map(|at| {
            if scan_left > 0 {
                scan_left -= 1;
                scan += 1;
                return scan;
            }
            match kind {
                // A run of new keys as long as a tenth of all keys, for a third of the requests.
                "scans" if random.next().is_multiple_of(keys as u64 / 5) => {
                    scan_left = keys / 10;
                    scan
                }
                // Every other request is for a key that never returns.
                "one-hit wonders" if random.next().is_multiple_of(2) => {
                    scan += 1;
                    scan
                }
                // The most popular keys fade and new ones come, all the time: twenty thousand of
                // a million during the trace.
                "drift" => zipf.draw(&mut random) + (at * (keys / 50) / len) as u64,
                // The popular keys are all others after each tenth of the trace.
                "upheavals" => zipf.draw(&mut random) + (at * 10 / len * keys / 20) as u64,
                _ => zipf.draw(&mut random),
            }
        })
        .collect()
}

/// Hits of the store in the second half of the trace, and the items it held.
fn store_hits(trace: &[u64], memory: u64) -> (usize, usize) {
    let store = Store::new(Options { hash_seed: 5, ..Options::new(memory) });
    let now = Now::from_seconds(1);
    let mut hits = 0;
    for (at, number) in trace.iter().enumerate() {
        let key = number.to_be_bytes();
        if store.read(&key, now, true, |_| ()).is_ok() {
            hits += usize::from(at >= trace.len() / 2);
            continue;
        }
        let new = New {
            flags: 0,
            exptime: 0,
            exptime_millis: 0,
            cas: None,
            bits: ItemBits::default(),
            value: &[&[b'v'; 100]],
        };
        store.entry(&key, now, |entry| entry.put(&new)).expect("old items make room");
    }
    (hits, store.stats().items as usize)
}

fn lru_hits(trace: &[u64], items_max: usize) -> usize {
    let (mut last_use, mut order) = (HashMap::new(), BTreeSet::new());
    let mut hits = 0;
    for (at, key) in trace.iter().enumerate() {
        if let Some(before) = last_use.insert(*key, at) {
            order.remove(&(before, *key));
            hits += usize::from(at >= trace.len() / 2);
        }
        order.insert((at, *key));
        if order.len() > items_max
            && let Some((_, oldest)) = order.pop_first()
        {
            last_use.remove(&oldest);
        }
    }
    hits
}

fn fifo_hits(trace: &[u64], items_max: usize) -> usize {
    let (mut present, mut order) = (HashSet::new(), VecDeque::new());
    let mut hits = 0;
    for (at, key) in trace.iter().enumerate() {
        if !present.insert(*key) {
            hits += usize::from(at >= trace.len() / 2);
            continue;
        }
        order.push_back(*key);
        if order.len() > items_max
            && let Some(oldest) = order.pop_front()
        {
            present.remove(&oldest);
        }
    }
    hits
}

fn best_hits(trace: &[u64], items_max: usize) -> usize {
    let mut next_use = vec![usize::MAX; trace.len()];
    let mut seen = HashMap::new();
    for (at, key) in trace.iter().enumerate().rev() {
        if let Some(next) = seen.insert(*key, at) {
            next_use[at] = next;
        }
    }
    let (mut present, mut order) = (HashMap::new(), BTreeSet::new());
    let mut hits = 0;
    for (at, key) in trace.iter().enumerate() {
        if let Some(was) = present.insert(*key, next_use[at]) {
            order.remove(&(was, *key));
            hits += usize::from(at >= trace.len() / 2);
        }
        order.insert((next_use[at], *key));
        if order.len() > items_max
            && let Some((_, last)) = order.pop_last()
        {
            present.remove(&last);
        }
    }
    hits
}

fn main() {
    let (keys, len) = (1_000_000, 6_000_000);
    println!("trace                       memory   items   store     LRU    FIFO    best");
    for (kind, skew) in [
        ("plain", 0.7),
        ("plain", 0.9),
        ("plain", 1.1),
        ("scans", 0.9),
        ("one-hit wonders", 0.9),
        ("drift", 0.9),
        ("upheavals", 0.9),
    ] {
        let trace = trace(keys, skew, len, kind);
        for memory in [4 << 20, 16 << 20, 64 << 20] {
            let (hits, items) = store_hits(&trace, memory);
            let percent = |hits: usize| hits as f64 * 200.0 / trace.len() as f64;
            println!(
                "{kind:16} skew {skew:3.1}  {:4} MiB  {items:6}  {:5.2} %  {:5.2} %  {:5.2} %  \
                 {:5.2} %",
                memory >> 20,
                percent(hits),
                percent(lru_hits(&trace, items)),
                percent(fifo_hits(&trace, items)),
                percent(best_hits(&trace, items)),
            );
        }
    }
}
