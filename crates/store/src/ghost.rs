//! The ghost queue of S3-FIFO: fingerprints of keys that were evicted lately, unused.
//!
//! A key that comes back while its ghost is here was evicted too early and enters the main
//! queue at once. Two bytes per key in sets of eight, each set a FIFO of its own: that forgets in
//! nearly the order of one long FIFO, needs no list, and errs once in some ten thousand.

use crate::map::Array;

/// Fingerprints per set.
const WAYS: usize = 8;

pub(crate) struct Ghost {
    sets: Array<[u16; WAYS]>,
}

impl Ghost {
    pub(crate) fn new() -> Ghost {
        Ghost { sets: Array::empty() }
    }

    /// Bytes it takes from the system.
    pub(crate) fn bytes(&self) -> usize {
        self.sets.bytes()
    }

    /// Sets for a shard of `items`, when the present number is far off; one ghost per item.
    pub(crate) fn better_len(&self, items: usize) -> Option<usize> {
        let wanted = items.div_ceil(WAYS).max(64);
        let now = self.sets.len();
        (wanted > now + now / 2 || wanted < now / 2).then_some(wanted + wanted / 8)
    }

    /// Bytes that `sets` take from the system.
    pub(crate) fn bytes_of(sets: usize) -> usize {
        Array::<[u16; WAYS]>::mapped_bytes(sets)
    }

    /// Starts anew with `sets` sets. What it remembered is lost; it comes back within one turn
    /// of the small queue.
    pub(crate) fn resize(&mut self, sets: usize) {
        if let Some(array) = Array::map(sets) {
            self.sets = array;
        }
    }

    /// Remembers a key by its hash, forgetting the oldest of its set.
    pub(crate) fn insert(&mut self, hash: u32) {
        if let Some(index) = self.index(hash) {
            let set = &mut self.sets[index];
            set.copy_within(0..WAYS - 1, 1);
            set[0] = fingerprint(hash);
        }
    }

    /// Whether the key is remembered; if so it is forgotten.
    pub(crate) fn take(&mut self, hash: u32) -> bool {
        let Some(index) = self.index(hash) else { return false };
        let set = &mut self.sets[index];
        let Some(way) = set.iter().position(|print| *print == fingerprint(hash)) else {
            return false;
        };
        set.copy_within(way + 1.., way);
        set[WAYS - 1] = 0;
        true
    }

    pub(crate) fn clear(&mut self) {
        self.sets.fill([0; WAYS]);
    }

    fn index(&self, hash: u32) -> Option<usize> {
        let sets = self.sets.len() as u64;
        (sets > 0).then(|| ((u64::from(hash) * sets) >> 32) as usize)
    }
}

/// The low bits (the set comes from the high ones), never 0, which is an empty place.
fn fingerprint(hash: u32) -> u16 {
    (hash as u16).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_latest_and_forgets_what_it_tells() {
        let mut ghost = Ghost::new();
        assert!(!ghost.take(5));
        ghost.insert(5);
        assert!(!ghost.take(5), "without room nothing is remembered");
        ghost.resize(ghost.better_len(512).unwrap());
        assert!(ghost.better_len(512).is_none());
        for hash in 0..9 {
            ghost.insert(0x100 + hash);
        }
        assert!(!ghost.take(0x100), "the ninth pushed the first out of its set");
        for hash in 1..9 {
            assert!(ghost.take(0x100 + hash));
            assert!(!ghost.take(0x100 + hash));
        }
    }
}
