//! The shared store and exclusive access to one key.

use crate::{Held, Item, ItemBits, New, Now, Options};

/// Why nothing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// No such key.
    Absent,
    /// The item had expired; it is gone now.
    Expired,
    /// The item was older than the flush mark; it is gone now.
    Flushed,
}

/// Why nothing was stored. The old item, if any, is untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutError {
    /// Longer than `item_bytes_max`.
    TooLarge,
    /// No room, and nothing may or can be evicted.
    OutOfMemory,
}

/// The cache. Share it by `Arc`; every method takes `&self`.
pub struct Store {}

impl Store {
    /// Makes an empty store.
    pub fn new(options: Options) -> Store {
        let _ = options;
        Store {}
    }

    /// Lets `visit` see the live item of `key`. `bump` counts it as a use: eviction frequency,
    /// last access, fetched bit (the item shows them as they were before).
    /// `visit` runs under the shard's lock: copy out, do not block, do not call the store.
    pub fn read<R>(
        &self,
        key: &[u8],
        now: Now,
        bump: bool,
        visit: impl FnOnce(Item<'_>) -> R,
    ) -> Result<R, Miss> {
        let _ = (key, now, bump, visit);
        Err(Miss::Absent)
    }

    /// Keeps the value of `key` beyond the lock, for sending a big one without a copy.
    pub fn hold(&self, key: &[u8], now: Now, bump: bool) -> Result<Held, Miss> {
        let _ = (key, now, bump);
        Err(Miss::Absent)
    }

    /// Exclusive access to one key: any read-modify-write. Same rule for `act` as for `visit`.
    pub fn entry<R>(&self, key: &[u8], now: Now, act: impl FnOnce(&mut Entry<'_>) -> R) -> R {
        let _ = now;
        act(&mut Entry { key })
    }

    /// Removes everything now (an immediate `flush_all`), and frees the memory.
    pub fn clear(&self) {}

    /// Sets the flush mark (delayed `flush_all`): once the clock reaches `mark`, every item last
    /// used or written at second `mark` or before is invisible. 0 takes the mark away. There is
    /// one mark; a new one replaces it. memcached: `flush_all` is `clear()` with mark
    /// `now - 1`, `flush_all N` is mark `now + N - 1`.
    pub fn set_flush_mark(&self, mark: u32) {
        let _ = mark;
    }

    /// A fresh CAS number.
    pub fn next_cas(&self) -> u64 {
        0
    }
}

/// One key, locked.
pub struct Entry<'a> {
    key: &'a [u8],
}

impl Entry<'_> {
    /// The key.
    pub fn key(&self) -> &[u8] {
        self.key
    }

    /// The live item, if there is one.
    pub fn get(&self) -> Option<Item<'_>> {
        None
    }

    /// Why there is no live item; `None` when there is one.
    pub fn miss(&self) -> Option<Miss> {
        Some(Miss::Absent)
    }

    /// Counts a use: eviction frequency, last access, fetched bit.
    pub fn bump(&mut self) {}

    /// Writes the item, new or in place of the old one, and returns its CAS number.
    pub fn put(&mut self, new: &New<'_>) -> Result<u64, PutError> {
        let _ = new;
        Err(PutError::OutOfMemory)
    }

    /// Lengthens the value of the live item: `before` + old + `after` (prepend, append). Flags,
    /// expiry and bits stay; the CAS number is `cas` or a fresh one. `Ok(None)`: no item.
    pub fn extend(
        &mut self,
        before: &[u8],
        after: &[u8],
        cas: Option<u64>,
    ) -> Result<Option<u64>, PutError> {
        let _ = (before, after, cas);
        Ok(None)
    }

    /// Rewrites the value at its length, keeping all else, for incr and decr. `None`: no item,
    /// or a reader holds this value; then use [`Entry::put`].
    pub fn value_mut(&mut self) -> Option<&mut [u8]> {
        None
    }

    /// Removes the item; tells whether there was one.
    pub fn remove(&mut self) -> bool {
        false
    }

    /// Sets the second from which the item is invisible (0: never). No-op without an item.
    pub fn set_exptime(&mut self, exptime: u32) {
        let _ = exptime;
    }

    /// Sets the client flags. No-op without an item.
    pub fn set_flags(&mut self, flags: u32) {
        let _ = flags;
    }

    /// Sets the CAS number. No-op without an item.
    pub fn set_cas(&mut self, cas: u64) {
        let _ = cas;
    }

    /// Gives the item a fresh CAS number and returns it; `None` without an item.
    pub fn renew_cas(&mut self) -> Option<u64> {
        None
    }

    /// Sets the state bits. No-op without an item.
    pub fn set_bits(&mut self, bits: ItemBits) {
        let _ = bits;
    }
}
