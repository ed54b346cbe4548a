//! What a store is made with, and the time it is told.
//!
//! The store reads no clock and no configuration itself: its owner does both, which is also what
//! makes it testable.

/// How a [`crate::Store`] is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Hard limit in bytes for everything the store keeps: items, tables, queues, ghosts.
    pub memory_bytes_max: u64,
    /// Longest record in bytes (header, key and value together, as memcached's `-I`), at most
    /// 1 GiB.
    pub item_bytes_max: u32,
    /// Whether old items make room for new ones. Off is memcached's `-M`: a put that finds no
    /// room answers [`crate::PutError::OutOfMemory`].
    pub evicts: bool,
    /// Number of shards, a power of two up to 16384; none chooses one that suits the memory.
    pub shards: Option<u32>,
    /// Seed of the key hash: a random one per process keeps clients from building collisions.
    pub hash_seed: u64,
    /// First CAS number minus one; the counter only grows.
    pub cas_start: u64,
    /// Whether to ask the system for huge pages under short items. Faster in large caches; the
    /// memory limit is then met only in steps of a huge page.
    pub huge_pages: bool,
}

impl Options {
    /// Options with memcached's defaults for the rest: 1 MiB items, eviction on, seed 0.
    pub fn new(memory_bytes_max: u64) -> Options {
        Options {
            memory_bytes_max,
            item_bytes_max: 1 << 20,
            evicts: true,
            shards: None,
            hash_seed: 0,
            cas_start: 0,
            huge_pages: false,
        }
    }
}

/// The caller's clock.
///
/// Its origin is about the start of the process (last uses are told for eight and a half years).
/// Expiry times, flush marks and this clock share it, and it never goes back. Second 0 is
/// reserved: an expiry time of 0 means never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Seconds since the origin.
    pub seconds: u32,
    /// Milliseconds beyond that, 0..=999.
    pub millis: u16,
}

impl Now {
    /// The beginning of a second.
    pub const fn from_seconds(seconds: u32) -> Now {
        Now { seconds, millis: 0 }
    }
}
