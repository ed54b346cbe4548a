//! S3-FIFO over segments: how a shard wins memory back.
//!
//! Both queues are logs of segments. To evict, the oldest segment of a queue is *drained*: its
//! records are looked at in order, unused ones are dropped, and survivors move to the end of the
//! main queue: into its fill while that has room, else to the front of the segment they are in,
//! which then becomes the main queue's fill itself. So draining never needs memory it does not
//! have. It goes record by record and stops as soon as enough is free.
//!
//! The same drain with nothing dropped *compacts* a segment with many dead records.

use crate::memory::SEGMENT_BYTES;
use crate::record::{self, Header};
use crate::shard::{Moment, Queue, Shard, join, split};
use crate::watch::Eviction;

/// Share of a shard's bytes that the small queue keeps: one in this many. Why not a tenth as in
/// the paper, and the next one: docs/decisions/011-eviction.md.
const SMALL_SHARE: u64 = 5;

/// Uses with which an item leaves the small queue for the main one instead of the cache.
const PROMOTION_USES: u8 = 1;

/// After this many survivors in a row one more use is not enough to survive; bounds how long a
/// caller waits in a cache where everything is in use.
const SURVIVORS_MAX: u32 = 1024;

/// How far eviction looks ahead of the record it deals with.
const LOOK_AHEAD_BYTES: usize = 1024;

/// A segment with at most this many live bytes is worth compacting when memory is short.
const COMPACT_LIVE_MAX: u32 = (SEGMENT_BYTES / 4 * 3) as u32;

/// The same for a cache that may not evict and takes what it can get.
const FRUGAL_LIVE_MAX: u32 = (SEGMENT_BYTES / 16 * 15) as u32;

/// What to do with the unused records of a drained segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drain {
    /// Drop those with at most this many uses beyond what their queue asks for.
    Evict(u8),
    /// Keep all.
    Compact,
}

impl Shard {
    /// Evicts until `bytes` have been given back; false when nothing at all could be.
    pub(crate) fn evict(&mut self, moment: &Moment<'_>, bytes: u64) -> bool {
        let freed = self.freed;
        let mut survivors = 0;
        let mut ahead = (u32::MAX, 0);
        while self.freed - freed < bytes {
            let Some(id) = self.oldest() else { break };
            self.look_ahead(id, &mut ahead);
            let lenience = (survivors / SURVIVORS_MAX).min(3) as u8;
            survivors += u32::from(self.drain_record(moment, id, Drain::Evict(lenience)));
        }
        self.freed > freed
    }

    /// Has the buckets of the next records fetched: the records lie in a row, their places in
    /// the table do not. `ahead` is the segment and the offset it has come to.
    fn look_ahead(&self, id: u32, ahead: &mut (u32, usize)) {
        let segment = self.segment(id);
        let from = segment.from as usize;
        if ahead.0 != id || ahead.1 < from {
            *ahead = (id, from);
        }
        while ahead.1 < (from + LOOK_AHEAD_BYTES).min(segment.end as usize) {
            let header = Header::read(&segment.span[ahead.1..]);
            self.table.prefetch(header.hash);
            ahead.1 += header.record_bytes();
        }
    }

    /// The segment to evict from next.
    fn oldest(&mut self) -> Option<u32> {
        let total = self.small.bytes + self.main.bytes;
        let small_first = self.small.bytes * SMALL_SHARE > total || self.main.order.is_empty();
        let queue =
            if small_first && !self.small.order.is_empty() { Queue::Small } else { Queue::Main };
        self.log(queue).order.front().copied()
    }

    /// Whether dead records take so much that they are worth the copying even while there is
    /// other memory: fresh pages cost more than old ones.
    #[inline]
    pub(crate) fn is_wasteful(&self) -> bool {
        let segments = self.bytes() - self.extent_bytes;
        self.garbage() > segments / 2 + 4 * SEGMENT_BYTES as u64
    }

    /// Bytes of segments without live records in them.
    fn garbage(&self) -> u64 {
        let records = self.small.bytes + self.main.bytes - self.extent_bytes;
        self.bytes() - self.extent_bytes - records
    }

    /// Compacts one segment if that is worth it; true if it was. `frugal` takes what it gets.
    pub(crate) fn compact(&mut self, moment: &Moment<'_>, frugal: bool) -> bool {
        if !frugal && self.garbage() < self.bytes() / 8 + 2 * SEGMENT_BYTES as u64 {
            return false;
        }
        let live_max = if frugal { FRUGAL_LIVE_MAX } else { COMPACT_LIVE_MAX };
        let Some(id) = self.emptiest(live_max) else { return false };
        while self.segments[id as usize].as_ref().is_some_and(|segment| segment.from < segment.end)
        {
            self.drain_record(moment, id, Drain::Compact);
            // The drain ends by making the segment a fill, which starts over at 0.
            if self.segments[id as usize].as_ref().is_some_and(|segment| segment.from == 0) {
                break;
            }
        }
        true
    }

    /// The closed, whole segment with the fewest live bytes, if they are at most `live_max`. It
    /// has dead records, so compacting it brings the shard forward.
    fn emptiest(&self, live_max: u32) -> Option<u32> {
        let fills = [self.small.fill, self.main.fill];
        let closed = self.segments.iter().enumerate().filter_map(|(id, segment)| {
            let segment = segment.as_ref()?;
            let whole = segment.from == 0 && !fills.contains(&Some(id as u32));
            let has_dead = segment.live < segment.end;
            (whole && has_dead && segment.live <= live_max).then_some((segment.live, id as u32))
        });
        closed.min().map(|(_, id)| id)
    }

    /// Deals with the next record of segment `id`; true if it survived.
    fn drain_record(&mut self, moment: &Moment<'_>, id: u32, drain: Drain) -> bool {
        self.begin_drain(moment, id, drain);
        let segment = self.segment(id);
        let at = segment.from as usize;
        if at >= segment.end as usize {
            // An empty fill whose turn it is.
            self.finish_drain(moment, id);
            return false;
        }
        let header = Header::read(&segment.span[at..]);
        let survived = !header.bits.is_dead() && self.judge(moment, id, at, &header, drain);
        if survived {
            self.carry(id, at, &header, drain);
        }
        let segment = self.segment_mut(id);
        segment.from += header.record_bytes() as u32;
        if segment.from >= segment.end || segment.live == 0 {
            self.finish_drain(moment, id);
        }
        survived
    }

    /// Makes a whole segment ready for draining; one that was begun stays as it is.
    fn begin_drain(&mut self, moment: &Moment<'_>, id: u32, drain: Drain) {
        let segment = self.segment_mut(id);
        if segment.from > 0 {
            return;
        }
        let queue = segment.queue;
        segment.target = if drain == Drain::Compact { queue } else { Queue::Main };
        let log = self.log(queue);
        if log.fill == Some(id) {
            log.fill = None;
        }
        if queue == Queue::Small {
            self.fit_ghost(moment);
        }
    }

    /// Drops the record at `at` unless it is to survive; true if it is.
    fn judge(
        &mut self,
        moment: &Moment<'_>,
        id: u32,
        at: usize,
        header: &Header,
        drain: Drain,
    ) -> bool {
        let gone = moment.gone(header).is_some();
        let queue = self.segment(id).queue;
        if !gone {
            let Drain::Evict(lenience) = drain else { return true };
            let wanted = if queue == Queue::Small { PROMOTION_USES } else { 1 };
            if header.bits.uses() >= wanted + lenience {
                return true;
            }
        }
        let address = join(id, at);
        if gone {
            self.count_reclaimed(header);
        } else {
            self.count_evicted(moment, address, header);
            if queue == Queue::Small {
                self.ghost.insert(header.hash);
            }
        }
        let place = self.table.find_address(header.hash, address);
        self.table.remove(header.hash, place.expect("a live record is in the table"));
        self.bury(address, header);
        false
    }

    /// Moves a survivor to the end of the queue its segment is drained to.
    fn carry(&mut self, id: u32, at: usize, header: &Header, drain: Drain) {
        let old = join(id, at);
        let place = self.table.find_address(header.hash, old);
        let place = place.expect("a live record is in the table");
        let (queue, target) = (self.segment(id).queue, self.segment(id).target);
        let charged = self.charged(old, header);
        if drain != Drain::Compact {
            let uses = if queue == Queue::Small { 0 } else { header.bits.uses().max(1) - 1 };
            record::set_bits(self.record_mut(old), header.bits.with_uses(uses));
        }
        let bytes = header.record_bytes();
        let new = match self.room(target, bytes) {
            Some(new) => {
                let (fill, offset) = split(new);
                let pair = self.segments.get_disjoint_mut([id as usize, fill as usize]);
                let [Some(here), Some(there)] = pair.expect("a drained segment is no fill") else {
                    unreachable!("both segments are in use");
                };
                there.span[offset..offset + bytes].copy_from_slice(&here.span[at..at + bytes]);
                there.end += bytes as u32;
                there.live += bytes as u32;
                if header.exptime != 0 {
                    there.expires = there.expires.min(here.expires);
                }
                here.live -= bytes as u32;
                new
            }
            None => {
                let segment = self.segment_mut(id);
                let keep = segment.keep as usize;
                segment.span.copy_within(at..at + bytes, keep);
                segment.keep += bytes as u32;
                join(id, keep)
            }
        };
        self.table.set_address(place, new);
        if queue != target {
            let log = self.log(queue);
            log.bytes -= charged;
            log.items -= 1;
            let log = self.log(target);
            log.bytes += charged;
            log.items += 1;
        }
    }

    /// Ends the drain of a segment: it is given back, or it is the youngest of its new queue.
    fn finish_drain(&mut self, moment: &Moment<'_>, id: u32) {
        let segment = self.segment_mut(id);
        let (queue, target) = (segment.queue, segment.target);
        segment.end = segment.keep;
        segment.queue = target;
        segment.keep = 0;
        segment.from = 0;
        let is_empty = segment.live == 0;
        let order = &mut self.log(queue).order;
        let at = order.iter().position(|other| *other == id);
        order.remove(at.expect("a segment stands in its queue's order"));
        if is_empty {
            self.release(moment, id);
            return;
        }
        let end = self.segment(id).end;
        let fill = self.log(target).fill;
        let roomier = fill.is_some_and(|fill| self.segment(fill).end < end);
        let order = &mut self.log(target).order;
        if roomier {
            order.insert(order.len() - 1, id);
        } else {
            order.push_back(id);
            self.log(target).fill = Some(id);
        }
    }

    /// Gives the ghost the size that the number of items asks for, if there is memory for it.
    fn fit_ghost(&mut self, moment: &Moment<'_>) {
        let Some(sets) = self.ghost.better_len(self.table.len()) else { return };
        let (old, new) = (self.ghost.bytes() as u64, crate::ghost::Ghost::bytes_of(sets) as u64);
        // A short cache works without; it may be paid for from the next segment given back.
        if moment.memory.charge(new) {
            self.ghost.resize(sets);
            moment.memory.budget.release(old);
        }
    }

    fn count_evicted(&mut self, moment: &Moment<'_>, address: u32, header: &Header) {
        let fetched = header.bits.is_fetched();
        self.counts.evicted += 1;
        self.counts.evicted_unfetched += u64::from(!fetched);
        let class = self.class(header);
        class.evicted += 1;
        class.evicted_nonzero += u64::from(header.exptime != 0);
        class.evicted_unfetched += u64::from(!fetched);
        class.evicted_age = moment.seconds.saturating_sub(header.last_access());
        if moment.watch.is_wanted() {
            let key = header.key(self.record(address));
            moment.watch.push(Eviction {
                key: key.into(),
                key_is_binary: header.bits.item_bits().key_is_binary,
                fetched,
                exptime: header.exptime,
                last_access: header.last_access(),
                value_bytes: header.value_len(),
                class: crate::stats::class_of(header.item_bytes()) as u8 + 1,
            });
        }
    }
}
