//! The hash table of one shard: from 32 bits of a key's hash to the address of its record.
//!
//! A bucket is one cache line: twelve tags (a byte of the hash each) and twelve addresses. Items
//! that find their bucket full go on to the next one and leave a count behind, so a search knows
//! when to stop, and removal leaves no tombstones. A bucket's place grows with the hash, so the
//! table may have any number of buckets (it grows by a quarter, not by doubling) and can be
//! walked in hash order while it changes. Keys and full hashes live in the records; the table
//! asks its caller to look at them.

use crate::map::{Array, Plain};

/// Items per bucket.
const SLOTS: usize = 12;

/// One cache line. All zeros is an empty bucket.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Bucket {
    /// Tag per slot; 0 is a free slot.
    tags: [u8; SLOTS],
    /// How many items that belong here or before went past because it was full; 255 is "many",
    /// and stays so until the table is rebuilt.
    passed: u8,
    spare: [u8; 3],
    addresses: [u32; SLOTS],
}

const _: () = assert!(size_of::<Bucket>() == 64);

// SAFETY: integers only, `repr(C)`, aligned to 64.
unsafe impl Plain for Bucket {}

/// Buckets of a new table: one page.
const BUCKETS_MIN: usize = 64;

pub(crate) struct Table {
    buckets: Array<Bucket>,
    len: usize,
    /// Items at which it must grow: 85 % of the slots.
    len_max: usize,
}

/// Where in the table an item was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    bucket: u32,
    slot: u32,
}

impl Table {
    /// A table without room; see [`Table::grown_len`].
    pub(crate) fn new() -> Table {
        Table { buckets: Array::empty(), len: 0, len_max: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len >= self.len_max
    }

    /// Bytes it takes from the system.
    pub(crate) fn bytes(&self) -> usize {
        self.buckets.bytes()
    }

    /// Buckets of the next larger table.
    pub(crate) fn grown_len(&self) -> usize {
        (self.buckets.len() + self.buckets.len() / 4).max(BUCKETS_MIN)
    }

    /// Buckets of a table that holds its items comfortably, when it is much too large; for
    /// giving memory back.
    pub(crate) fn shrunk_len(&self) -> Option<usize> {
        let wanted = (self.len / 8 + 1).max(BUCKETS_MIN);
        (wanted * 2 < self.buckets.len()).then_some(wanted)
    }

    /// Bytes a table of `buckets` takes from the system.
    pub(crate) fn bytes_of(buckets: usize) -> usize {
        Array::<Bucket>::mapped_bytes(buckets)
    }

    /// Moves everything to a table of `buckets`; `hash_of` tells the hash of the record at an
    /// address. False, and nothing changed, when the system has no memory.
    pub(crate) fn resize(&mut self, buckets: usize, hash_of: impl Fn(u32) -> u32) -> bool {
        debug_assert!(self.len <= buckets * SLOTS);
        let Some(array) = Array::map(buckets) else { return false };
        let old = std::mem::replace(&mut self.buckets, array);
        self.len = 0;
        self.len_max = buckets * SLOTS * 85 / 100;
        for bucket in old.iter() {
            for slot in 0..SLOTS {
                if bucket.tags[slot] != 0 {
                    let address = bucket.addresses[slot];
                    self.place(hash_of(address), address);
                }
            }
        }
        true
    }

    /// Has the bucket of a hash fetched that will be looked at soon.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u32) {
        self.buckets.prefetch(self.home(hash));
    }

    /// Finds the record with this hash that `is_it` recognises by its address.
    #[inline]
    pub(crate) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<(Place, u32)> {
        if self.len == 0 {
            return None;
        }
        let tag = tag_of(hash);
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            let mut matches = bucket.matches(tag);
            while matches != 0 {
                let slot = matches.trailing_zeros() as usize / 8;
                let address = bucket.addresses[slot];
                if is_it(address) {
                    return Some((Place { bucket: at as u32, slot: slot as u32 }, address));
                }
                matches &= matches - 1;
            }
            if bucket.passed == 0 {
                return None;
            }
            at = self.next(at);
        }
        None
    }

    /// Finds an item by its hash and address, both known.
    pub(crate) fn find_address(&self, hash: u32, address: u32) -> Option<Place> {
        self.find(hash, |candidate| candidate == address).map(|(place, _)| place)
    }

    /// Adds an item that is not there. The table must not be full.
    pub(crate) fn insert(&mut self, hash: u32, address: u32) {
        assert!(!self.is_full(), "a table is grown before it is full");
        self.place(hash, address);
    }

    /// Changes the address of an item.
    pub(crate) fn set_address(&mut self, place: Place, address: u32) {
        self.buckets[place.bucket as usize].addresses[place.slot as usize] = address;
    }

    /// Removes the item with this hash at `place`.
    pub(crate) fn remove(&mut self, hash: u32, place: Place) {
        let mut at = self.home(hash);
        while at != place.bucket as usize {
            let passed = &mut self.buckets[at].passed;
            if *passed != u8::MAX {
                *passed -= 1;
            }
            at = self.next(at);
        }
        self.buckets[at].tags[place.slot as usize] = 0;
        self.len -= 1;
    }

    /// Every address, in no order.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = u32> + '_ {
        self.buckets.iter().flat_map(|bucket| {
            (0..SLOTS).filter(|slot| bucket.tags[*slot] != 0).map(|slot| bucket.addresses[slot])
        })
    }

    /// The addresses of all items whose home is the bucket of `hash`, and perhaps some others;
    /// then the first hash of the next bucket, none after the last. The caller keeps those with
    /// hashes between the two.
    pub(crate) fn slice(&self, hash: u32, addresses: &mut Vec<u32>) -> Option<u32> {
        addresses.clear();
        let len = self.buckets.len();
        if len == 0 {
            return None;
        }
        let home = self.home(hash);
        let mut at = home;
        for _ in 0..len {
            let bucket = &self.buckets[at];
            let slots = (0..SLOTS).filter(|slot| bucket.tags[*slot] != 0);
            addresses.extend(slots.map(|slot| bucket.addresses[slot]));
            if bucket.passed == 0 {
                break;
            }
            at = self.next(at);
        }
        // The least hash whose home is the next bucket.
        let next = (((home + 1) as u64) << 32).div_ceil(len as u64);
        u32::try_from(next).ok()
    }

    fn place(&mut self, hash: u32, address: u32) {
        let tag = tag_of(hash);
        let mut at = self.home(hash);
        loop {
            let next = self.next(at);
            let bucket = &mut self.buckets[at];
            let free = bucket.matches(0);
            if free != 0 {
                let slot = free.trailing_zeros() as usize / 8;
                bucket.tags[slot] = tag;
                bucket.addresses[slot] = address;
                self.len += 1;
                return;
            }
            bucket.passed = bucket.passed.saturating_add(1);
            at = next;
        }
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        ((hash as u64 * self.buckets.len() as u64) >> 32) as usize
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() { 0 } else { at + 1 }
    }
}

impl Bucket {
    /// A mask with the high bit set in byte N where slot N has this tag.
    #[inline]
    fn matches(&self, tag: u8) -> u128 {
        const LOW: u128 = 0x7f7f_7f7f_7f7f_7f7f_7f7f_7f7f;
        const HIGH: u128 = 0x8080_8080_8080_8080_8080_8080;
        let mut bytes = [0u8; 16];
        bytes[..SLOTS].copy_from_slice(&self.tags);
        let pattern = u128::from_le_bytes([tag; 16]) & (LOW | HIGH);
        let differing = u128::from_le_bytes(bytes) ^ pattern;
        // The usual test for zero bytes, in the form without false positives: no carry leaves
        // a byte.
        !(((differing & LOW) + LOW) | differing) & HIGH
    }
}

/// The low byte of the hash (the place comes from the high bits), never 0.
#[inline]
fn tag_of(hash: u32) -> u8 {
    (hash as u8).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cheap scramble, so that address N has a hash that looks random.
    fn hash_of(address: u32) -> u32 {
        let mixed = u64::from(address).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(32) as u32
    }

    fn add(table: &mut Table, address: u32, hash: impl Fn(u32) -> u32) {
        if table.is_full() {
            assert!(table.resize(table.grown_len(), &hash));
        }
        table.insert(hash(address), address);
    }

    #[test]
    fn items_are_found_until_removed() {
        let mut table = Table::new();
        assert!(table.find_address(1, 1).is_none());
        for address in 0..20_000 {
            add(&mut table, address, hash_of);
        }
        for address in (0..20_000).step_by(2) {
            let place = table.find_address(hash_of(address), address).unwrap();
            table.remove(hash_of(address), place);
        }
        for address in 0..20_000 {
            let found = table.find_address(hash_of(address), address).is_some();
            assert_eq!(found, address % 2 == 1, "{address}");
        }
        assert_eq!(table.len(), 10_000);
        assert_eq!(table.addresses().count(), 10_000);
    }

    #[test]
    fn equal_hashes_overflow_and_come_back() {
        let mut table = Table::new();
        let same = |_| 0xffff_ff00u32;
        for address in 0..300 {
            add(&mut table, address, same);
        }
        for address in 0..300 {
            let place = table.find_address(same(address), address).unwrap();
            table.remove(same(address), place);
            assert!(table.find_address(same(address), address).is_none());
        }
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn slices_cover_each_item_once() {
        let mut table = Table::new();
        for address in 0..5_000 {
            add(&mut table, address, hash_of);
        }
        let mut seen = vec![0; 5_000];
        let (mut from, mut addresses) = (0, Vec::new());
        loop {
            let next = table.slice(from, &mut addresses);
            let until = next.unwrap_or(u32::MAX);
            for address in &addresses {
                let hash = hash_of(*address);
                if hash >= from && (hash < until || next.is_none()) {
                    seen[*address as usize] += 1;
                }
            }
            match next {
                Some(next) => from = next,
                None => break,
            }
        }
        assert!(seen.iter().all(|count| *count == 1));
    }

    #[test]
    fn a_table_shrinks_to_its_items() {
        let mut table = Table::new();
        for address in 0..50_000 {
            add(&mut table, address, hash_of);
        }
        assert_eq!(table.shrunk_len(), None);
        for address in 1_000..50_000 {
            let place = table.find_address(hash_of(address), address).unwrap();
            table.remove(hash_of(address), place);
        }
        let before = table.bytes();
        assert!(table.resize(table.shrunk_len().unwrap(), hash_of));
        assert!(table.bytes() * 4 < before);
        assert!((0..1_000).all(|a| table.find_address(hash_of(a), a).is_some()));
    }
}
