//! Exclusive access to several keys at once, for commands that are all or nothing.
//!
//! All shards of the keys are locked before anything happens, always in the order of their
//! numbers, and whoever holds a lock only *tries* others beyond these (`Store::win`), so nobody
//! waits in a circle. Others see either nothing of what is done here or all of it.

use crate::entry::Entry;
use crate::hash::KeyHash;
use crate::item::Item;
use crate::lock::Guard;
use crate::options::Now;
use crate::shard::{Moment, Shard};
use crate::store::{Miss, Store};

/// Some keys, locked.
pub struct Several<'a> {
    store: &'a Store,
    moment: Moment<'a>,
    /// Each with its number, in this order.
    shards: Vec<(usize, Guard<'a, Shard>)>,
}

impl Store {
    /// Locks all of `keys` for `act`. Same rules for `act` as for `visit` in [`Store::read`]; a
    /// key may come twice.
    pub fn several<'k, R>(
        &self,
        keys: impl Iterator<Item = &'k [u8]>,
        now: Now,
        act: impl FnOnce(&mut Several<'_>) -> R,
    ) -> R {
        let mut numbers: Vec<usize> = keys.map(|key| self.shard_of(key)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let shards = numbers.into_iter().map(|number| (number, self.lock(number))).collect();
        act(&mut Several { store: self, moment: self.moment(now), shards })
    }

    fn shard_of(&self, key: &[u8]) -> usize {
        KeyHash::new(self.seed(), key).shard(self.shard_count())
    }
}

impl Several<'_> {
    /// One of the keys, as [`Store::entry`] gives it.
    ///
    /// # Panics
    /// When `key` was not among the keys.
    pub fn entry<R>(&mut self, key: &[u8], act: impl FnOnce(&mut Entry<'_>) -> R) -> R {
        let (store, moment) = (self.store, self.moment);
        let (number, hash, shard) = self.shard(key);
        act(&mut Entry::new(store, shard, number, moment, hash.bits(), key))
    }

    /// Lets `visit` see the live item of one of the keys, as [`Store::read`] does.
    ///
    /// # Errors
    /// Why there is none.
    ///
    /// # Panics
    /// When `key` was not among the keys.
    pub fn read<R>(
        &mut self,
        key: &[u8],
        bump: bool,
        visit: impl FnOnce(Item<'_>) -> R,
    ) -> Result<R, Miss> {
        let moment = self.moment;
        let (_, hash, shard) = self.shard(key);
        let (address, header) = shard.look(&moment, hash.bits(), key)?;
        let answer = visit(shard.item(address, &header));
        if bump {
            shard.bump(address, &header, moment.seconds);
        }
        Ok(answer)
    }

    fn shard(&mut self, key: &[u8]) -> (usize, KeyHash, &mut Shard) {
        let hash = KeyHash::new(self.store.seed(), key);
        let number = hash.shard(self.store.shard_count());
        let at = self.shards.binary_search_by_key(&number, |(number, _)| *number);
        let at = at.expect("only keys that were named are asked for");
        (number, hash, &mut self.shards[at].1)
    }
}
