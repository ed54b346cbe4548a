//! The embedded cache's memory: a sharded hash table over log-structured segments.
//!
//! All workers share one [`Store`]. A key's hash picks a shard; a shard owns a hash table, its
//! share of the memory and its S3-FIFO queues behind one short lock. The store knows items, not
//! commands: `get`, `set`, `incr` and their replies are built on [`Store::read`],
//! [`Store::hold`] and [`Store::entry`] by the proxy crate.
//!
//! What it promises: memory in use never passes `memory_bytes_max` (values kept by [`Held`]
//! count, and are the only thing that can keep it full); an item is visible from the moment
//! `put` returns until it is removed, overwritten, expired, flushed or evicted, and never again;
//! a hit allocates nothing. All `unsafe` is in map.rs and lock.rs.

mod check;
mod dump;
mod entry;
mod evict;
mod ghost;
mod hash;
mod item;
mod lock;
mod map;
mod memory;
mod options;
mod record;
mod several;
mod shard;
mod stats;
mod store;
mod sweep;
mod table;
mod watch;

pub use dump::Dump;
pub use entry::{Entry, counted_bytes};
pub use item::{Held, Item, ItemBits, New};
pub use options::{Now, Options};
pub use several::Several;
pub use stats::{ClassStats, Stats};
pub use store::{Miss, PutError, Store};
pub use watch::{Eviction, Watch};

/// Longest key in bytes.
pub const KEY_BYTES_MAX: usize = 250;
