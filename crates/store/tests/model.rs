//! Random commands against a plain map: the store may forget by evicting, but never invents,
//! mixes up or keeps what it should not, and its books balance after every run.

#![allow(clippy::unwrap_used)]

use keyway_store::{Held, ItemBits, Miss, New, Now, Options, PutError, Store};
use std::collections::HashMap;

/// A small random generator, so that a failure names its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Known {
    value: Vec<u8>,
    flags: u32,
    cas: u64,
    exptime: u32,
    last_access: u32,
    fetched: bool,
    bits: ItemBits,
}

impl Known {
    fn is_gone(&self, now: u32, mark: u32) -> bool {
        (self.exptime != 0 && self.exptime <= now)
            || (mark != 0 && mark <= now && self.last_access <= mark)
    }
}

struct Model {
    store: Store,
    base: u64,
    random: Random,
    known: HashMap<Vec<u8>, Known>,
    held: Vec<(Held, Vec<u8>)>,
    now: u32,
    mark: u32,
    keys: u64,
    value_bytes_max: u64,
    may_forget: bool,
}

impl Model {
    fn new(seed: u64, options: Options, keys: u64, value_bytes_max: u64) -> Model {
        let may_forget = options.evicts;
        let store = Store::new(options);
        let base = store.stats().memory_bytes;
        Model {
            store,
            base,
            random: Random(seed),
            known: HashMap::new(),
            held: Vec::new(),
            now: 10,
            mark: 0,
            keys,
            value_bytes_max,
            may_forget,
        }
    }

    fn run(&mut self, steps: usize) {
        for step in 0..steps {
            self.step();
            if step % (steps / 20) == 0 {
                self.store.check_invariants();
            }
            let stats = self.store.stats();
            let held: usize = self.held.iter().map(|(held, _)| held.as_ref().len()).sum();
            assert!(
                stats.memory_bytes <= stats.memory_bytes_max + held as u64,
                "{} bytes of {} with {held} held",
                stats.memory_bytes,
                stats.memory_bytes_max
            );
        }
        for (held, value) in self.held.drain(..) {
            assert_eq!(held.as_ref(), value);
        }
        self.store.check_invariants();
        self.store.check_charges(self.base);
        let keys: Vec<Vec<u8>> = self.known.keys().cloned().collect();
        for key in &keys {
            self.compare(key, false);
        }
        let mut shown = 0;
        let mut dump = self.store.dump();
        let now = Now::from_seconds(self.now);
        let mut seen = HashMap::new();
        while dump.next_slice(&self.store, now, 10, |item| {
            shown += 1;
            seen.insert(item.key.to_vec(), item.value.to_vec());
        }) {}
        assert_eq!(shown, seen.len(), "each item is shown once");
        assert_eq!(shown, self.known.len(), "all items are shown");
        for (key, value) in seen {
            assert_eq!(self.known[&key].value, value);
        }
    }

    fn key(&mut self) -> Vec<u8> {
        let number = self.random.below(self.keys);
        let mut key = format!("key-{number}-").into_bytes();
        key.resize(key.len() + (number % 40) as usize, b'k');
        key
    }

    fn value(&mut self) -> Vec<u8> {
        // Lengths of all magnitudes alike.
        let log = self.random.below(u64::from(self.value_bytes_max.ilog2()) + 1);
        let len = self.random.below((2u64 << log).min(self.value_bytes_max + 1));
        let first = self.random.next() as u8;
        (0..len).map(|at| first.wrapping_add(at as u8)).collect()
    }

    fn step(&mut self) {
        let key = self.key();
        match self.random.below(100) {
            0..40 => self.put(&key),
            40..70 => self.compare(&key, true),
            70..74 => self.extend(&key),
            74..80 => self.remove(&key),
            80..86 => self.adjust(&key),
            86..90 => self.rewrite(&key),
            90..93 => self.hold(&key),
            93..95 => self.let_go(),
            95..98 => {
                self.store.tick(Now::from_seconds(self.now), 50);
            }
            98 => self.now += self.random.below(3) as u32,
            _ => self.flush(),
        }
    }

    fn put(&mut self, key: &[u8]) {
        let value = self.value();
        let flags = self.random.next() as u32;
        let exptime = match self.random.below(4) {
            0 => self.now + self.random.below(20) as u32,
            _ => 0,
        };
        let cas = (self.random.below(5) == 0).then(|| self.random.next());
        let bits = ItemBits {
            stale: self.random.below(2) == 0,
            win_sent: self.random.below(2) == 0,
            key_is_binary: self.random.below(2) == 0,
        };
        let cut = self.random.below(value.len() as u64 + 1) as usize;
        let pieces = [&value[..cut], &value[cut..]];
        let new = New { flags, exptime, exptime_millis: 0, cas, bits, value: &pieces };
        let now = Now::from_seconds(self.now);
        let outcome = self.store.entry(key, now, |entry| entry.put(&new));
        match outcome {
            Ok(given) => {
                assert!(cas.is_none_or(|cas| cas == given));
                let known = Known {
                    value,
                    flags,
                    cas: given,
                    exptime,
                    last_access: self.now,
                    fetched: false,
                    bits,
                };
                self.known.insert(key.to_vec(), known);
            }
            Err(PutError::OutOfMemory) => self.compare(key, false),
            Err(PutError::TooLarge) => panic!("no value is too long"),
        }
    }

    /// Reads a key and compares all there is.
    fn compare(&mut self, key: &[u8], bump: bool) {
        let now = Now::from_seconds(self.now);
        let found = self.store.read(key, now, bump, |item| {
            assert_eq!(item.key, key);
            Known {
                value: item.value.to_vec(),
                flags: item.flags,
                cas: item.cas,
                exptime: item.exptime,
                last_access: item.last_access,
                fetched: item.fetched,
                bits: item.bits,
            }
        });
        match (found, self.known.get_mut(key)) {
            (Ok(found), Some(known)) => {
                assert_eq!(&found, known);
                assert!(!known.is_gone(self.now, self.mark), "gone items are not seen");
                if bump {
                    known.fetched = true;
                    known.last_access = self.now;
                }
            }
            (Ok(found), None) => panic!("{key:?} came back as {found:?}"),
            (Err(_), None) => {}
            (Err(_), Some(known)) => {
                let gone = known.is_gone(self.now, self.mark);
                assert!(gone || self.may_forget, "{key:?} was forgotten");
                self.known.remove(key);
            }
        }
    }

    fn extend(&mut self, key: &[u8]) {
        self.compare(key, false);
        let Some(known) = self.known.get(key) else { return };
        if known.value.len() as u64 > self.value_bytes_max {
            return;
        }
        let now = Now::from_seconds(self.now);
        let outcome = self.store.entry(key, now, |entry| entry.extend(b"before", b"after", None));
        let known = self.known.get_mut(key).unwrap();
        if let Ok(given) = outcome {
            known.value = [b"before", &known.value[..], b"after"].concat();
            known.cas = given.expect("the item is there");
            known.last_access = self.now;
            known.fetched = false;
        } else {
            self.compare(key, false);
        }
    }

    fn remove(&mut self, key: &[u8]) {
        self.compare(key, false);
        let now = Now::from_seconds(self.now);
        let removed = self.store.entry(key, now, |entry| entry.remove());
        assert_eq!(removed, self.known.remove(key).is_some());
        let miss = self.store.entry(key, now, |entry| entry.miss());
        assert_eq!(miss, Some(Miss::Absent));
    }

    fn adjust(&mut self, key: &[u8]) {
        self.compare(key, false);
        let exptime = self.now + 1 + self.random.below(9) as u32;
        let bits = ItemBits { stale: true, ..ItemBits::default() };
        let now = Now::from_seconds(self.now);
        let cas = self.store.entry(key, now, |entry| {
            entry.set_exptime(exptime);
            entry.set_bits(bits);
            entry.set_flags(99);
            entry.renew_cas()
        });
        assert_eq!(cas.is_some(), self.known.contains_key(key));
        if let Some(known) = self.known.get_mut(key) {
            (known.exptime, known.bits, known.flags) = (exptime, bits, 99);
            known.cas = cas.unwrap();
        }
    }

    fn rewrite(&mut self, key: &[u8]) {
        self.compare(key, false);
        let now = Now::from_seconds(self.now);
        let rewritten = self
            .store
            .entry(key, now, |entry| entry.value_mut().map(|value| value.fill(b'0')).is_some());
        if rewritten {
            self.known.get_mut(key).unwrap().value.fill(b'0');
        }
    }

    fn hold(&mut self, key: &[u8]) {
        self.compare(key, false);
        let now = Now::from_seconds(self.now);
        let held = self.store.hold(key, now, false);
        match (held, self.known.get(key)) {
            (Ok(held), Some(known)) => {
                assert_eq!(held.as_ref(), known.value);
                assert_eq!((held.cas, held.flags), (known.cas, known.flags));
                if self.held.len() < 3 {
                    self.held.push((held, known.value.clone()));
                }
            }
            (Err(_), None) => {}
            _ => panic!("hold and read agree"),
        }
    }

    fn let_go(&mut self) {
        if let Some((held, value)) = self.held.pop() {
            assert_eq!(held.as_ref(), value, "a held value does not change");
        }
    }

    /// Makes store and model forget what is flushed, before the mark changes.
    fn look_at_all(&mut self) {
        let keys: Vec<Vec<u8>> = self.known.keys().cloned().collect();
        for key in keys {
            self.compare(&key, false);
        }
    }

    fn flush(&mut self) {
        match self.random.below(30) {
            0 => {
                self.store.clear();
                self.known.clear();
            }
            1..4 => {
                self.look_at_all();
                self.mark = self.now + self.random.below(4) as u32;
                self.store.set_flush_mark(self.mark);
            }
            _ => {
                self.look_at_all();
                self.mark = 0;
                self.store.set_flush_mark(0);
            }
        }
    }
}

#[test]
fn nothing_is_lost_while_memory_lasts() {
    for seed in 0..6 {
        let options = Options { evicts: false, ..Options::new(64 << 20) };
        Model::new(seed, options, 300, 20_000).run(6_000);
    }
}

#[test]
fn short_items_in_little_memory() {
    for seed in 0..6 {
        let options = Options { shards: Some(1), ..Options::new(1 << 20) };
        Model::new(seed, options, 30_000, 100).run(60_000);
    }
}

#[test]
fn items_of_all_sizes_in_little_memory() {
    for seed in 0..6 {
        Model::new(seed, Options::new(4 << 20), 2_000, 900_000).run(6_000);
    }
}

#[test]
fn items_of_middle_sizes_in_some_shards() {
    for seed in 0..6 {
        let options = Options { shards: Some(4), ..Options::new(8 << 20) };
        Model::new(seed, options, 5_000, 30_000).run(20_000);
    }
}

#[test]
fn without_eviction_the_memory_runs_out() {
    for seed in 0..4 {
        let options = Options { evicts: false, ..Options::new(4 << 20) };
        Model::new(seed, options, 3_000, 60_000).run(10_000);
    }
}
