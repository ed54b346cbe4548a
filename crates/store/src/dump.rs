//! A walk over all items in slices, for `lru_crawler metadump` and `mgdump`.
//!
//! The walk goes in hash order, shard by shard, and keeps only the hash it has come to, so it
//! locks nothing between slices and does not mind tables that grow. An item that exists all
//! along is shown exactly once.

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
}

impl Dump {
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
