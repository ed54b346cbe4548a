//! A hit and an overwrite of the same length allocate nothing.
//!
//! A counting allocator around the system's tells; it counts per thread, because the test
//! harness has threads of its own.

#![allow(clippy::unwrap_used)]

use keyway_store::{ItemBits, New, Now, Options, Store};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn put(store: &Store, key: &[u8], value: &[u8]) {
    let new = New {
        flags: 1,
        exptime: 0,
        exptime_millis: 0,
        cas: None,
        bits: ItemBits::default(),
        value: &[value],
    };
    store.entry(key, Now::from_seconds(3), |entry| entry.put(&new)).unwrap();
}

#[test]
fn hits_and_overwrites_allocate_nothing() {
    let store = Store::new(Options::new(16 << 20));
    for number in 0..10_000u32 {
        put(&store, &number.to_le_bytes(), &[1; 100]);
    }
    put(&store, b"long", &[1; 100_000]);
    let before = ALLOCATIONS.get();
    assert!(before > 0, "the allocator counts");
    let mut sum = 0;
    for number in 0..10_000u32 {
        let key = number.to_le_bytes();
        sum += store.read(&key, Now::from_seconds(4), true, |item| item.value.len()).unwrap();
        put(&store, &key, &[2; 100]);
        let _ = store.read(b"no such key", Now::from_seconds(4), true, |item| item.flags);
    }
    sum += store.read(b"long", Now::from_seconds(4), true, |item| item.value.len()).unwrap();
    put(&store, b"long", &[2; 100_000]);
    assert!(store.hold(b"long", Now::from_seconds(4), true).unwrap().as_ref() == [2; 100_000]);
    assert_eq!(sum, 1_100_000);
    assert_eq!(ALLOCATIONS.get(), before);
}
