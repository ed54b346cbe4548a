//! From a key to its shard and its place in that shard's table.
//!
//! One hash serves all: high bits choose the shard, the low half goes into the record, so that
//! tables can grow and ghosts can be made without looking at keys again.

use twox_hash::XxHash3_64;

/// The hash of a key.
#[derive(Clone, Copy)]
pub(crate) struct KeyHash(u64);

impl KeyHash {
    /// XXH3 with a seed that clients do not know, so they cannot build collisions.
    #[inline]
    pub(crate) fn new(seed: u64, key: &[u8]) -> KeyHash {
        KeyHash(XxHash3_64::oneshot_with_seed(seed, key))
    }

    /// The shard among `shards`, a power of two.
    #[inline]
    pub(crate) fn shard(self, shards: usize) -> usize {
        (self.0 >> 40) as usize & (shards - 1)
    }

    /// What tables, ghosts and records know of it.
    #[inline]
    pub(crate) fn bits(self) -> u32 {
        self.0 as u32
    }
}
