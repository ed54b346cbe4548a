//! Figures of a store: totals, and by size class for `stats items` and `stats slabs`.
//!
//! Memory is not cut into classes here; a class only groups items by size for people and tools
//! that expect the groups. Four classes per doubling, so a class spans about 19 %.

/// Number of size classes.
pub(crate) const CLASSES: usize = 63;

/// Base-two logarithm of the least size with a class of its own.
const LEAST_LOG: u32 = 5;

/// Counters of one size class in one shard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClassCounts {
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    pub(crate) evicted: u64,
    pub(crate) evicted_nonzero: u64,
    pub(crate) evicted_unfetched: u64,
    pub(crate) evicted_age: u32,
    pub(crate) expired_unfetched: u64,
    pub(crate) reclaimed: u64,
    pub(crate) out_of_memory: u64,
}

/// The class index of an item of `bytes`, header included.
#[inline]
pub(crate) fn class_of(bytes: u64) -> usize {
    let bytes = bytes.max(1 << LEAST_LOG);
    let log = bytes.ilog2();
    let quarter = (bytes >> (log - 2)) & 3;
    (((log - LEAST_LOG) * 4) as usize + quarter as usize).min(CLASSES - 1)
}

/// The largest item of a class in bytes, header included; the last class has no bound.
fn class_bytes_max(class: usize) -> u64 {
    let next = class as u64 + 1;
    (4 + next % 4) << (u64::from(LEAST_LOG) - 2 + next / 4)
}

/// Totals of a store at one moment. Counters count from the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Items in the table, expired ones that nobody met yet included.
    pub items: u64,
    /// Items stored since the start.
    pub items_stored: u64,
    /// Bytes of all items: header, key and value.
    pub item_bytes: u64,
    /// Memory in use in bytes, everything included: what the limit applies to.
    pub memory_bytes: u64,
    /// The limit in bytes.
    pub memory_bytes_max: u64,
    /// Memory of the hash tables in bytes.
    pub table_bytes: u64,
    /// Memory of the ghost queues in bytes.
    pub ghost_bytes: u64,
    /// Memory of segments in bytes, free ones included.
    pub segment_bytes: u64,
    /// Memory of free segments and extents in bytes, resident and ready for use.
    pub free_bytes: u64,
    /// Memory of extents, which hold values of 16 KiB and more, in bytes.
    pub extent_bytes: u64,
    /// Items that made room for others.
    pub evictions: u64,
    /// Evicted items that were never fetched.
    pub evicted_unfetched: u64,
    /// Expired or flushed items that were never fetched.
    pub expired_unfetched: u64,
    /// Items whose memory was won back after they expired or were flushed.
    pub reclaimed: u64,
    /// Lookups that met an expired item.
    pub found_expired: u64,
    /// Lookups that met a flushed item.
    pub found_flushed: u64,
    /// Puts that found no memory.
    pub out_of_memory: u64,
    /// Number of shards.
    pub shards: u32,
}

/// Figures of one size class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassStats {
    /// Number of the class, from 1.
    pub id: u8,
    /// Largest item of the class in bytes, header included.
    pub item_bytes_max: u64,
    /// Items in the class.
    pub items: u64,
    /// Their bytes.
    pub item_bytes: u64,
    /// Items that made room for others.
    pub evicted: u64,
    /// Of these, items with an expiry time.
    pub evicted_nonzero: u64,
    /// Of these, items that were never fetched.
    pub evicted_unfetched: u64,
    /// Seconds between the last use and the eviction of the one evicted last (of some shard).
    pub evicted_age_seconds: u32,
    /// Expired or flushed items that were never fetched.
    pub expired_unfetched: u64,
    /// Items whose memory was won back after they expired or were flushed.
    pub reclaimed: u64,
    /// Puts that found no memory.
    pub out_of_memory: u64,
}

impl ClassStats {
    pub(crate) fn new(class: usize) -> ClassStats {
        ClassStats {
            id: class as u8 + 1,
            item_bytes_max: class_bytes_max(class),
            ..ClassStats::default()
        }
    }

    pub(crate) fn add(&mut self, counts: &ClassCounts) {
        self.items += counts.items;
        self.item_bytes += counts.bytes;
        self.evicted += counts.evicted;
        self.evicted_nonzero += counts.evicted_nonzero;
        self.evicted_unfetched += counts.evicted_unfetched;
        self.expired_unfetched += counts.expired_unfetched;
        self.reclaimed += counts.reclaimed;
        self.out_of_memory += counts.out_of_memory;
        if counts.evicted > 0 {
            self.evicted_age_seconds = counts.evicted_age;
        }
    }

    /// Whether the class was ever used.
    pub(crate) fn is_used(&self) -> bool {
        self.items + self.evicted + self.reclaimed + self.out_of_memory > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_partition_the_sizes() {
        assert_eq!(class_of(0), 0);
        for bytes in 32..100_000u64 {
            let class = class_of(bytes);
            assert!(bytes < class_bytes_max(class), "{bytes} in {class}");
            assert!(class == 0 || bytes >= class_bytes_max(class - 1), "{bytes} in {class}");
        }
        assert_eq!(class_of(1 << 30), CLASSES - 1);
    }
}
