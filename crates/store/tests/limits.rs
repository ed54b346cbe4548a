//! Limits, expiry, flushing, held values and counters, one by one.
//!
//! Each test states one promise of the store; random mixtures of all of them are in model.rs,
//! and threads.rs does the same from several threads.

#![allow(clippy::unwrap_used)]

use keyway_store::{ItemBits, Miss, New, Now, Options, PutError, Store};

fn at(seconds: u32) -> Now {
    Now::from_seconds(seconds)
}

fn put(store: &Store, key: &[u8], now: u32, exptime: u32, value: &[u8]) -> Result<u64, PutError> {
    let new = New {
        flags: 0,
        exptime,
        exptime_millis: 0,
        cas: None,
        bits: ItemBits::default(),
        value: &[value],
    };
    store.entry(key, at(now), |entry| entry.put(&new))
}

fn read(store: &Store, key: &[u8], now: u32) -> Result<Vec<u8>, Miss> {
    store.read(key, at(now), true, |item| item.value.to_vec())
}

#[test]
fn items_expire_at_their_second() {
    let store = Store::new(Options::new(8 << 20));
    put(&store, b"k", 10, 15, b"v").unwrap();
    assert_eq!(read(&store, b"k", 14).unwrap(), b"v");
    assert_eq!(read(&store, b"k", 15), Err(Miss::Expired));
    assert_eq!(read(&store, b"k", 15), Err(Miss::Absent));
    assert_eq!(store.stats().found_expired, 1);
}

#[test]
fn items_expire_at_their_millisecond() {
    let store = Store::new(Options { shards: Some(1), ..Options::new(8 << 20) });
    let at = |millis: u32| Now { seconds: 10 + millis / 1000, millis: (millis % 1000) as u16 };
    let is_there = |key: &[u8], now| store.read(key, now, true, |_| ()).is_ok();
    for millis in [1u32, 250, 999, 1000, 1001, 5_999] {
        put(&store, b"k", 10, 0, b"v").unwrap();
        let (seconds, rest) = (10 + millis / 1000, (millis % 1000) as u16);
        store.entry(b"k", at(0), |entry| entry.set_expiry(seconds, rest));
        // Using it and rewriting it in every way keeps the time.
        assert!(is_there(b"k", at(millis - 1)));
        store.entry(b"k", at(0), |entry| entry.extend(b"", b"more", None)).unwrap();
        store.entry(b"k", at(0), |entry| entry.renew_cas());
        let told = store.read(b"k", at(0), false, |item| (item.exptime, item.exptime_millis));
        assert_eq!(told, Ok((seconds, rest)));
        assert!(is_there(b"k", at(millis - 1)) && !is_there(b"k", at(millis)), "{millis}");
    }
    put(&store, b"swept", 10, 0, b"v").unwrap();
    store.entry(b"swept", at(0), |entry| entry.set_expiry(10, 700));
    while store.tick(at(699), 100) {}
    assert_eq!(store.len(), 1);
    assert!(is_there(b"swept", at(699)));
    while store.tick(Now::from_seconds(100), 100) {}
    assert!(store.is_empty());
    store.check_invariants();
}

#[test]
fn the_sweeper_removes_what_nobody_asks_for() {
    let store = Store::new(Options { shards: Some(2), ..Options::new(8 << 20) });
    for number in 0..1_000u32 {
        let exptime = if number % 2 == 0 { 20 + number % 7 } else { 0 };
        put(&store, &number.to_le_bytes(), 10, exptime, &[1; 100]).unwrap();
    }
    assert!(!store.tick(at(19), 10_000));
    assert_eq!(store.stats().items, 1_000);
    assert!(store.tick(at(30), 1), "a small step leaves some to do");
    while store.tick(at(30), 100) {}
    store.check_invariants();
    let stats = store.stats();
    assert_eq!((stats.items, stats.reclaimed, stats.expired_unfetched), (500, 500, 500));
}

#[test]
fn a_flush_mark_hides_what_is_older() {
    let store = Store::new(Options::new(8 << 20));
    put(&store, b"old", 10, 0, b"v").unwrap();
    store.set_flush_mark(12);
    assert!(read(&store, b"old", 11).is_ok(), "the mark lies ahead");
    put(&store, b"same", 12, 0, b"v").unwrap();
    assert_eq!(read(&store, b"same", 12), Err(Miss::Flushed));
    assert_eq!(read(&store, b"old", 13), Err(Miss::Flushed));
    put(&store, b"new", 13, 0, b"v").unwrap();
    assert!(read(&store, b"new", 13).is_ok());
    put(&store, b"unseen", 13, 0, b"v").unwrap();
    store.set_flush_mark(13);
    while store.tick(at(20), 100) {}
    assert_eq!(store.stats().items, 0);
    assert_eq!(store.stats().found_flushed, 2);
}

#[test]
fn clearing_returns_the_memory() {
    let store = Store::new(Options::new(16 << 20));
    let base = store.stats().memory_bytes;
    for number in 0..10_000u32 {
        put(&store, &number.to_le_bytes(), 10, 0, &vec![1; number as usize % 30_000]).unwrap();
    }
    let full = store.stats();
    assert!(full.evictions > 0);
    store.clear();
    store.check_invariants();
    store.check_charges(base);
    assert_eq!(store.stats().items, 0);
    let clear = store.stats();
    assert_eq!(clear.memory_bytes - clear.free_bytes / 65536 * 96, {
        base + clear.free_bytes + clear.ghost_bytes
    });
}

#[test]
fn limits_count_as_memcached_does() {
    let store = Store::new(Options::new(64 << 20));
    let longest = (1 << 20) - 59 - 3;
    assert!(put(&store, b"key", 1, 0, &vec![0; longest]).is_ok());
    assert_eq!(put(&store, b"key", 1, 0, &vec![0; longest + 1]), Err(PutError::TooLarge));
    assert_eq!(read(&store, b"key", 1).unwrap().len(), longest, "the old item is untouched");
}

#[test]
fn values_of_many_megabytes_fit_if_allowed() {
    let options = Options { item_bytes_max: 1 << 30, ..Options::new(64 << 20) };
    let store = Store::new(options);
    for round in 0..20u8 {
        put(&store, &[b'k', round], 1, 0, &vec![round; 30 << 20]).unwrap();
        assert!(read(&store, &[b'k', round], 1).unwrap().iter().all(|byte| *byte == round));
        assert!(store.stats().memory_bytes <= 64 << 20);
    }
    assert_eq!(store.stats().items, 2);
    assert_eq!(put(&store, b"k", 1, 0, &vec![0; 65 << 20]), Err(PutError::OutOfMemory));
    store.check_invariants();
}

#[test]
fn held_values_stay_valid_and_counted() {
    let store = Store::new(Options::new(8 << 20));
    put(&store, b"long", 1, 0, &vec![7; 3 << 20].as_slice()[..1_000_000]).unwrap();
    put(&store, b"short", 1, 0, b"abc").unwrap();
    let long = store.hold(b"long", at(1), true).unwrap();
    let short = store.hold(b"short", at(1), true).unwrap();
    let before = store.stats().memory_bytes;
    store.entry(b"long", at(1), |entry| {
        assert!(entry.value_mut().is_none(), "a held value does not change in place");
        entry.remove()
    });
    assert_eq!(store.stats().memory_bytes, before, "held memory stays counted");
    for number in 0..200_000u32 {
        put(&store, &number.to_le_bytes(), 1, 0, &[1; 100]).unwrap();
        put(&store, b"short", 1, 0, &[2; 10]).unwrap();
    }
    assert!(long.as_ref().iter().all(|byte| *byte == 7) && long.as_ref().len() == 1_000_000);
    assert_eq!(short.as_ref(), b"abc");
    let full = store.stats();
    assert!(full.memory_bytes <= full.memory_bytes_max);
    drop((long, short));
    let after = store.stats();
    let returned = full.memory_bytes - after.memory_bytes + after.free_bytes - full.free_bytes;
    assert!(returned >= 1_000_000, "{returned} bytes came back");
    store.check_invariants();
}

#[test]
fn readers_that_hold_everything_stop_puts_not_the_process() {
    let store = Store::new(Options::new(8 << 20));
    let mut held = Vec::new();
    for round in 0u8..40 {
        if put(&store, &[round], 1, 0, &vec![round; 500_000]).is_ok() {
            held.push(store.hold(&[round], at(1), true).unwrap());
        }
    }
    assert!(held.len() >= 10 && held.len() < 20);
    assert_eq!(put(&store, b"k", 1, 0, &vec![1; 500_000]), Err(PutError::OutOfMemory));
    let refused: u64 = store.class_stats().iter().map(|class| class.out_of_memory).sum();
    assert!(refused > 0 && refused == store.stats().out_of_memory);
    held.clear();
    put(&store, b"k", 1, 0, &vec![1; 500_000]).unwrap();
    store.check_invariants();
}

#[test]
fn a_lowered_limit_is_met() {
    let store = Store::new(Options::new(32 << 20));
    for number in 0..300_000u32 {
        put(&store, &number.to_le_bytes(), 1, 0, &[1; 100]).unwrap();
    }
    store.set_memory_bytes_max(8 << 20);
    while store.tick(at(1), 10_000) {}
    let stats = store.stats();
    assert!(stats.memory_bytes <= 8 << 20, "{}", stats.memory_bytes);
    assert!(stats.items > 30_000);
    store.check_invariants();
    store.set_memory_bytes_max(32 << 20);
    for number in 0..300_000u32 {
        put(&store, &number.to_le_bytes(), 1, 0, &[1; 100]).unwrap();
    }
    assert!(store.stats().items > stats.items * 2);
}

#[test]
fn evictions_are_counted_and_told() {
    let store = Store::new(Options::new(2 << 20));
    store.watch().set_wanted(true);
    for number in 0..20_000u32 {
        put(&store, &number.to_le_bytes(), 5, 100, &[1; 100]).unwrap();
    }
    let stats = store.stats();
    assert!(stats.evictions > 1_000);
    assert_eq!(stats.evictions, stats.evicted_unfetched);
    let mut events = Vec::new();
    store.watch().take(&mut events);
    assert_eq!(events.len() as u64 + store.watch().lost(), stats.evictions);
    assert_eq!((events[0].exptime, events[0].value_bytes), (100, 100));
    let classes = store.class_stats();
    assert_eq!(classes.len(), 1);
    assert_eq!(classes[0].evicted_nonzero, stats.evictions);
    assert_eq!((classes[0].evicted, classes[0].item_bytes), (stats.evictions, stats.item_bytes));
    assert_eq!(u64::from(events[0].class), u64::from(classes[0].id));
    assert_eq!(classes[0].items, stats.items);
}

#[test]
fn keys_in_use_survive_a_scan() {
    let store = Store::new(Options::new(4 << 20));
    let hot = 2_000u32;
    for round in 0..3 {
        for number in 0..hot {
            let key = [b"hot", &number.to_le_bytes()[..]].concat();
            if round == 0 {
                put(&store, &key, 5, 0, &[1; 100]).unwrap();
            }
            read(&store, &key, 5).unwrap();
        }
    }
    for number in 0..200_000u32 {
        put(&store, &number.to_le_bytes(), 5, 0, &[1; 100]).unwrap();
    }
    let alive = (0..hot)
        .filter(|number| read(&store, &[b"hot", &number.to_le_bytes()[..]].concat(), 5).is_ok());
    assert_eq!(alive.count() as u32, hot);
}

#[test]
fn overwriting_in_other_sizes_wastes_little() {
    let store = Store::new(Options::new(16 << 20));
    let keys = 60_000u32;
    for round in 0..10u32 {
        for number in 0..keys {
            let len = (number.wrapping_mul(2_654_435_761).rotate_left(round) % 200) as usize;
            put(&store, &number.to_le_bytes(), 5, 0, &vec![1; len]).unwrap();
        }
        store.check_invariants();
    }
    // 60 000 items of 36 + 100 + 4 bytes on average, and 7 of table, are 8.8 MB.
    assert_eq!(store.stats().evictions, 0);
    assert_eq!(store.stats().items, u64::from(keys));
}
