//! Proof that a store's books balance, for tests and fuzzers: everything is counted twice, once
//! by the running figures and once by looking at every record.

use crate::record::Header;
use crate::shard::{Queue, Segment, Shard, join};
use crate::store::Store;
use std::collections::HashSet;

impl Store {
    /// Checks every structure of every shard.
    ///
    /// # Panics
    /// When an invariant does not hold; that is a bug in this crate.
    pub fn check_invariants(&self) {
        for index in 0..self.shard_count() {
            self.lock(index).check_invariants();
        }
    }

    /// Checks that what is charged is what exists; only while no other thread uses the store
    /// and nothing is held.
    ///
    /// # Panics
    /// When it does not; that is a bug in this crate.
    pub fn check_charges(&self, base: u64) {
        let stats = self.stats();
        let segments = stats.segment_bytes / crate::memory::SEGMENT_BYTES as u64;
        let free_extents = self.memory().figures().free_extent_bytes;
        let counted = base
            + segments * crate::memory::SEGMENT_CHARGE
            + stats.extent_bytes
            + free_extents
            + stats.table_bytes
            + stats.ghost_bytes;
        assert_eq!(stats.memory_bytes, counted, "charges are those of what exists");
    }
}

impl Shard {
    fn check_invariants(&self) {
        let mut sums = Sums::default();
        for (id, segment) in self.segments.iter().enumerate() {
            if let Some(segment) = segment {
                self.check_segment(id as u32, segment, &mut sums);
            } else {
                assert!(self.vacant.contains(&(id as u32)), "a free number is listed");
            }
        }
        assert_eq!(sums.small.0, self.small.bytes, "bytes of the small queue");
        assert_eq!(sums.main.0, self.main.bytes, "bytes of the main queue");
        assert_eq!(sums.small.1, self.small.items, "items of the small queue");
        assert_eq!(sums.main.1, self.main.items, "items of the main queue");
        assert_eq!(sums.small.1 + sums.main.1, self.table.len() as u64, "items in the table");
        assert_eq!(self.table.addresses().count(), self.table.len(), "slots in use");
        let extents = self.extents.iter().flatten();
        assert_eq!(sums.extents.len(), extents.clone().count(), "each extent has an item");
        let bytes: u64 = extents.map(|extent| extent.charged()).sum();
        assert_eq!(bytes, self.extent_bytes, "bytes of extents");
        let classes = self.classes.iter().map(|class| (class.items, class.bytes));
        let classes = classes.fold((0, 0), |sum, class| (sum.0 + class.0, sum.1 + class.1));
        assert_eq!(classes.1, self.counts.item_bytes, "bytes of all classes");
        assert_eq!(classes, (sums.small.1 + sums.main.1, sums.item_bytes), "sums of classes");
        for (log, queue) in [(&self.small, Queue::Small), (&self.main, Queue::Main)] {
            for id in &log.order {
                assert_eq!(self.segment(*id).queue, queue, "a segment stands in its queue");
            }
            assert!(log.fill.is_none_or(|fill| log.order.back() == Some(&fill)), "fill is last");
        }
        let standing = self.small.order.len() + self.main.order.len();
        assert_eq!(standing, self.segments.len() - self.vacant.len(), "segments in order");
    }

    fn check_segment(&self, id: u32, segment: &Segment, sums: &mut Sums) {
        let (keep, from) = (segment.keep as usize, segment.from as usize);
        assert!(keep <= from && segment.from <= segment.end, "the two parts do not overlap");
        let mut live = 0;
        let mut at = if keep > 0 { 0 } else { from };
        while at < segment.end as usize {
            let header = Header::read(&segment.span[at..]);
            if !header.bits.is_dead() {
                self.check_record(segment, join(id, at), &header, sums);
                live += header.record_bytes() as u32;
            }
            at += header.record_bytes();
            assert!(at <= keep || at >= from, "records end where their part ends");
            if at == keep {
                at = at.max(from);
            }
        }
        assert_eq!(at.max(from), segment.end as usize, "records fill the segment");
        assert_eq!(live, segment.live, "live bytes of a segment");
        let is_fill = [self.small.fill, self.main.fill].contains(&Some(id));
        assert!(live > 0 || is_fill, "a segment without live records is given back");
    }

    fn check_record(&self, segment: &Segment, address: u32, header: &Header, sums: &mut Sums) {
        let place = self.table.find_address(header.hash, address);
        assert!(place.is_some(), "a live record is in the table");
        let key = header.key(self.record(address));
        let found = self.find(header.hash, key).map(|(_, address)| address);
        assert_eq!(found, Some(address), "a key has one record");
        if header.exptime != 0 {
            let latest = header.exptime.saturating_add(crate::sweep::PAUSE_SECONDS_MAX);
            assert!(segment.expires <= latest, "a segment knows when to sweep it");
            assert!(self.expires <= segment.expires, "a shard knows when to sweep it");
        }
        if header.bits.is_long() {
            let number = header.extent(self.record(address));
            assert!(sums.extents.insert(number), "an extent has one item");
            assert_eq!(self.extent(number).bytes().len(), header.value_len() as usize);
        }
        let charged = self.charged(address, header);
        let sum = match self.queue_of(address) {
            Queue::Small => &mut sums.small,
            Queue::Main => &mut sums.main,
        };
        sum.0 += charged;
        sum.1 += 1;
        sums.item_bytes += header.item_bytes();
    }
}

/// What the records add up to: bytes and items by queue.
#[derive(Default)]
struct Sums {
    small: (u64, u64),
    main: (u64, u64),
    item_bytes: u64,
    extents: HashSet<u32>,
}
