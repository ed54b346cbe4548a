//! The embedded cache's memory: a sharded hash table over log-structured segments.
//!
//! All workers share one [`Store`]. A key's hash picks a shard; a shard owns a hash table, its
//! share of the memory and its S3-FIFO queues behind one short lock. The store knows items, not
//! commands: `get`, `set`, `incr` and their replies are built on [`Store::read`],
//! [`Store::hold`] and [`Store::entry`] by the proxy crate.
//!
//! What it promises: memory in use never passes `memory_bytes_max` (held values included, see
//! [`Held`]); an item is visible from the moment `put` returns until it is removed, overwritten,
//! expired, flushed or evicted, and never again; a hit allocates nothing.

mod item;
mod options;
mod store;

pub use item::{Held, Item, ItemBits, New};
pub use options::{Now, Options};
pub use store::{Entry, Miss, PutError, Store};

/// Longest key in bytes.
pub const KEY_BYTES_MAX: usize = 250;
