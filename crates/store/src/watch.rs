//! What happened to items without a command asking for it, for `watch evictions`.
//!
//! Costs one relaxed load per eviction while nobody watches. While someone does, events wait in
//! a short queue that the watcher empties; what does not fit is counted and lost, for a slow
//! watcher must not slow the cache.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Events that wait for the watcher at most.
const EVENTS_MAX: usize = 4096;

/// An item that made room for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// Its key.
    pub key: Box<[u8]>,
    /// Whether the key is binary.
    pub key_is_binary: bool,
    /// Whether it was ever fetched.
    pub fetched: bool,
    /// Second from which it would have been invisible; 0 is never.
    pub exptime: u32,
    /// Second of its last use.
    pub last_access: u32,
    /// Length of its value.
    pub value_bytes: u32,
    /// Its size class, as in [`crate::ClassStats::id`].
    pub class: u8,
}

/// The queue of evictions for a watcher.
#[derive(Default)]
pub struct Watch {
    wanted: AtomicBool,
    events: Mutex<VecDeque<Eviction>>,
    lost: AtomicU64,
}

impl Watch {
    /// Turns recording on or off. Off also drops what waits.
    pub fn set_wanted(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
        if !wanted {
            self.events.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// Whether evictions are recorded.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Moves all waiting events to the end of `events`, oldest first.
    pub fn take(&self, events: &mut Vec<Eviction>) {
        events.extend(self.events.lock().unwrap_or_else(PoisonError::into_inner).drain(..));
    }

    /// Events lost so far because the watcher was slow.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn push(&self, eviction: Eviction) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() < EVENTS_MAX {
            events.push_back(eviction);
        } else {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
