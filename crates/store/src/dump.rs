//! A walk over all items in slices, for dumps, `SCAN` and `KEYS`.
//!
//! The walk goes in hash order, shard by shard, and keeps only the hash it has come to, so it
//! locks nothing between slices and does not mind tables that grow. An item that exists all
//! along is shown exactly once. A place in the walk is one number, which a client may keep.

use crate::item::Item;
use crate::options::Now;
use crate::store::Store;

/// How far a walk has come. Made by [`Store::dump`].
#[derive(Clone, Debug, Default)]
pub struct Dump {
    shard: usize,
    hash: u32,
    addresses: Vec<u32>,
}

impl Store {
    /// Starts a walk over all items.
    pub fn dump(&self) -> Dump {
        Dump::default()
    }

    /// Goes on with a walk at a [`Dump::cursor`]; 0 starts one. Any number will do: one that no
    /// walk gave is some place, or the end.
    pub fn dump_from(&self, cursor: u64) -> Dump {
        let shard = usize::try_from(cursor >> 32).unwrap_or(usize::MAX);
        Dump { shard, hash: cursor as u32, addresses: Vec::new() }
    }

    /// Lets `visit` see some live item, chosen by `random`; `None` if there is none. Items with
    /// few neighbours in their part of the table are chosen more often.
    pub fn any<R>(&self, now: Now, random: u64, visit: impl FnOnce(Item<'_>) -> R) -> Option<R> {
        let moment = self.moment(now);
        let mut addresses = Vec::new();
        let first = (random >> 32) as usize;
        for step in 0..self.shard_count() {
            let shard = self.lock((first + step) % self.shard_count());
            let mut from = random as u32;
            // Once around the hashes, from the chosen one on.
            let mut is_second_lap = false;
            loop {
                let next = shard.table.slice(from, &mut addresses);
                addresses.retain(|address| moment.gone(&shard.header(*address)).is_none());
                if !addresses.is_empty() {
                    let at = (random >> 17) as usize % addresses.len();
                    let address = addresses[at];
                    return Some(visit(shard.item(address, &shard.header(address))));
                }
                match next {
                    Some(next) if !is_second_lap || next <= random as u32 => from = next,
                    None if !is_second_lap && shard.table.len() > 0 => {
                        (from, is_second_lap) = (0, true);
                    }
                    _ => break,
                }
            }
        }
        None
    }

    /// Items, expired ones that nobody met yet included. Locks one shard after the other.
    pub fn len(&self) -> u64 {
        (0..self.shard_count()).map(|index| self.lock(index).table.len() as u64).sum()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Dump {
    /// The place the walk has come to, for [`Store::dump_from`]; 0 when it has come to the end
    /// (or has not begun).
    pub fn cursor(&self, store: &Store) -> u64 {
        if self.shard >= store.shard_count() {
            return 0;
        }
        (self.shard as u64) << 32 | u64::from(self.hash)
    }

    /// Shows some live items, about `items_max` of them, with one shard locked; returns whether
    /// there is more to come. Same rules for `visit` as in [`Store::read`].
    pub fn next_slice(
        &mut self,
        store: &Store,
        now: Now,
        items_max: usize,
        mut visit: impl FnMut(Item<'_>),
    ) -> bool {
        if self.shard >= store.shard_count() {
            return false;
        }
        let moment = store.moment(now);
        let shard = store.lock(self.shard);
        let mut shown = 0;
        while shown < items_max {
            let next = shard.table.slice(self.hash, &mut self.addresses);
            for address in &self.addresses {
                let header = shard.header(*address);
                let is_here =
                    header.hash >= self.hash && next.is_none_or(|next| header.hash < next);
                if is_here && moment.gone(&header).is_none() {
                    visit(shard.item(*address, &header));
                    shown += 1;
                }
            }
            // Empty buckets are work too.
            shown += 1;
            match next {
                Some(next) => self.hash = next,
                None => {
                    self.shard += 1;
                    self.hash = 0;
                    return self.shard < store.shard_count();
                }
            }
        }
        true
    }
}
