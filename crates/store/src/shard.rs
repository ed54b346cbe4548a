//! One shard: a hash table, the segments its records live in, and their two queues.
//!
//! Everything here happens under the shard's lock, so it is single-threaded code. Records are
//! appended to the youngest segment of a queue (its *fill*) and never change their length;
//! removing one only marks it dead. evict.rs wins the memory back, sweep.rs removes what has
//! expired, check.rs proves that the books balance.

use crate::ghost::Ghost;
use crate::item::Item;
use crate::map::Span;
use crate::memory::{Extent, Memory, SEGMENT_BYTES};
use crate::record::{self, Body, Header};
use crate::stats::{CLASSES, ClassCounts, class_of};
use crate::store::Miss;
use crate::table::{Place, Table};
use crate::watch::Watch;
use std::collections::VecDeque;
use std::sync::Arc;

/// Addresses count in eight bytes within a segment, segments above that.
const OFFSET_BITS: u32 = (SEGMENT_BYTES / 8).trailing_zeros();

/// Most segments of a shard: 32 GiB, a thousand times what a shard is meant to have.
const SEGMENTS_MAX: usize = 1 << (32 - OFFSET_BITS);

/// What every operation on a shard needs to know.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    pub(crate) seconds: u32,
    pub(crate) millis: u16,
    /// Items last used at this second or before are flushed; 0 for none.
    pub(crate) flushed: u32,
    pub(crate) memory: &'a Arc<Memory>,
    pub(crate) watch: &'a Watch,
}

impl Moment<'_> {
    /// Why an item with this header is not to be seen any more.
    #[inline]
    pub(crate) fn gone(&self, header: &Header) -> Option<Miss> {
        if self.flushed != 0 && header.last_access() <= self.flushed {
            return Some(Miss::Flushed);
        }
        if header.exptime == 0 || header.exptime > self.seconds {
            return None;
        }
        self.is_over(header).then_some(Miss::Expired)
    }

    /// Whether an item is over whose second has come. Milliseconds matter in that second only.
    #[cold]
    fn is_over(&self, header: &Header) -> bool {
        header.exptime < self.seconds || header.exptime_millis() <= self.millis
    }
}

/// The two queues of S3-FIFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Where new keys are tried, a tenth of the memory.
    Small,
    /// Where keys that were used again stay.
    Main,
}

/// The segments of one queue, oldest first.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) order: VecDeque<u32>,
    /// The segment records are appended to, the last in `order`; none when that one is closed.
    pub(crate) fill: Option<u32>,
    /// Live records and the extents of long ones, in bytes.
    pub(crate) bytes: u64,
    pub(crate) items: u64,
}

/// One segment. Its records lie in `0..keep` and in `from..end`; what is between was moved away
/// (see evict.rs) and, outside of that, `keep` and `from` are 0.
pub(crate) struct Segment {
    pub(crate) span: Span,
    /// The queue of the records in `from..end`, in whose order the segment stands.
    pub(crate) queue: Queue,
    /// The queue of the records in `0..keep`.
    pub(crate) target: Queue,
    pub(crate) keep: u32,
    pub(crate) from: u32,
    pub(crate) end: u32,
    /// Bytes of the records that are not dead.
    pub(crate) live: u32,
    /// The sweeper need not come before this second.
    pub(crate) expires: u32,
}

pub(crate) struct Shard {
    pub(crate) table: Table,
    /// By the number in addresses; vacant numbers are listed.
    pub(crate) segments: Vec<Option<Segment>>,
    pub(crate) vacant: Vec<u32>,
    pub(crate) small: Log,
    pub(crate) main: Log,
    pub(crate) ghost: Ghost,
    pub(crate) extents: Vec<Option<Arc<Extent>>>,
    pub(crate) vacant_extents: Vec<u32>,
    pub(crate) extent_bytes: u64,
    /// Bytes given back since the beginning, for loops that wait for some.
    pub(crate) freed: u64,
    /// The sweeper need not come before this second.
    pub(crate) expires: u32,
    /// The flush mark up to which the sweeper was here.
    pub(crate) swept_mark: u32,
    pub(crate) counts: ShardCounts,
    pub(crate) classes: Box<[ClassCounts; CLASSES]>,
}

/// Counters of one shard; those that are kept by size class too are here so that totals can be
/// told without walking the classes of thousands of shards.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ShardCounts {
    pub(crate) stored: u64,
    pub(crate) item_bytes: u64,
    pub(crate) evicted: u64,
    pub(crate) evicted_unfetched: u64,
    pub(crate) expired_unfetched: u64,
    pub(crate) reclaimed: u64,
    pub(crate) out_of_memory: u64,
    pub(crate) found_expired: u64,
    pub(crate) found_flushed: u64,
}

impl Shard {
    pub(crate) fn new() -> Shard {
        Shard {
            table: Table::new(),
            segments: Vec::new(),
            vacant: Vec::new(),
            small: Log::default(),
            main: Log::default(),
            ghost: Ghost::new(),
            extents: Vec::new(),
            vacant_extents: Vec::new(),
            extent_bytes: 0,
            freed: 0,
            expires: u32::MAX,
            swept_mark: 0,
            counts: ShardCounts::default(),
            classes: Box::new([ClassCounts::default(); CLASSES]),
        }
    }

    /// Memory this shard keeps from others, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let segments = self.segments.len() - self.vacant.len();
        (segments * SEGMENT_BYTES) as u64 + self.extent_bytes
    }

    /// Finds the record of a key, live or gone.
    #[inline]
    pub(crate) fn find(&self, hash: u32, key: &[u8]) -> Option<(Place, u32)> {
        self.table.find(hash, |address| {
            let record = self.record(address);
            let header = Header::read(record);
            header.hash == hash && header.key(record) == key
        })
    }

    /// Finds the live record of a key; one that is gone is removed on the way.
    #[inline]
    pub(crate) fn look(
        &mut self,
        moment: &Moment<'_>,
        hash: u32,
        key: &[u8],
    ) -> Result<(u32, Header), Miss> {
        let (place, address) = self.find(hash, key).ok_or(Miss::Absent)?;
        let header = self.header(address);
        match moment.gone(&header) {
            None => Ok((address, header)),
            Some(miss) => {
                match miss {
                    Miss::Flushed => self.counts.found_flushed += 1,
                    _ => self.counts.found_expired += 1,
                }
                self.count_reclaimed(&header);
                self.remove(moment, place, address);
                Err(miss)
            }
        }
    }

    /// The bytes from the record at `address` to the end of its segment.
    #[inline]
    pub(crate) fn record(&self, address: u32) -> &[u8] {
        let (id, offset) = split(address);
        &self.segment(id).span[offset..]
    }

    /// The same, for changing it.
    #[inline]
    pub(crate) fn record_mut(&mut self, address: u32) -> &mut [u8] {
        let (id, offset) = split(address);
        &mut self.segment_mut(id).span[offset..]
    }

    #[inline]
    pub(crate) fn header(&self, address: u32) -> Header {
        Header::read(self.record(address))
    }

    #[inline]
    pub(crate) fn segment(&self, id: u32) -> &Segment {
        self.segments[id as usize].as_ref().expect("addresses lead to segments in use")
    }

    #[inline]
    pub(crate) fn segment_mut(&mut self, id: u32) -> &mut Segment {
        self.segments[id as usize].as_mut().expect("addresses lead to segments in use")
    }

    /// The item at `address` as callers see it.
    #[inline]
    pub(crate) fn item(&self, address: u32, header: &Header) -> Item<'_> {
        let record = self.record(address);
        let value = if header.bits.is_long() {
            self.extent(header.extent(record)).bytes()
        } else {
            header.value(record)
        };
        Item {
            key: header.key(record),
            value,
            flags: header.flags,
            cas: header.cas,
            exptime: header.exptime,
            exptime_millis: header.exptime_millis(),
            last_access: header.last_access(),
            fetched: header.bits.is_fetched(),
            bits: header.bits.item_bits(),
        }
    }

    pub(crate) fn extent(&self, number: u32) -> &Arc<Extent> {
        self.extents[number as usize].as_ref().expect("a long record owns its extent")
    }

    /// Counts a use of the item at `address`. Writes only what changes, so that keys in steady
    /// use cost no memory traffic.
    #[inline]
    pub(crate) fn bump(&mut self, address: u32, header: &Header, seconds: u32) {
        let bits = header.bits.with_use();
        if bits != header.bits {
            record::set_bits(self.record_mut(address), bits);
        }
        if header.last_access() != seconds {
            let seconds = seconds.min(record::LAST_ACCESS_MAX);
            record::set_last_access(self.record_mut(address), seconds);
        }
    }

    /// The queue of a record, by where it lies.
    pub(crate) fn queue_of(&self, address: u32) -> Queue {
        let (id, offset) = split(address);
        let segment = self.segment(id);
        if offset < segment.keep as usize { segment.target } else { segment.queue }
    }

    pub(crate) fn log(&mut self, queue: Queue) -> &mut Log {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        }
    }

    /// Takes `bytes` at the end of a queue; none when its fill has no room. The caller writes a
    /// record there at once, with [`Shard::append`].
    #[inline]
    pub(crate) fn room(&mut self, queue: Queue, bytes: usize) -> Option<u32> {
        let id = self.log(queue).fill?;
        let segment = self.segment(id);
        let end = segment.end as usize;
        (end + bytes <= SEGMENT_BYTES).then(|| join(id, end))
    }

    /// Whether one more segment has a number that fits an address.
    pub(crate) fn can_attach(&self) -> bool {
        !self.vacant.is_empty() || self.segments.len() < SEGMENTS_MAX
    }

    /// Makes `span` the fill of a queue.
    pub(crate) fn attach(&mut self, queue: Queue, span: Span) {
        let segment = Segment {
            span,
            queue,
            target: queue,
            keep: 0,
            from: 0,
            end: 0,
            live: 0,
            expires: u32::MAX,
        };
        let id = match self.vacant.pop() {
            Some(id) => {
                self.segments[id as usize] = Some(segment);
                id
            }
            None => {
                self.segments.push(Some(segment));
                assert!(self.segments.len() <= SEGMENTS_MAX, "numbers of segments fit addresses");
                (self.segments.len() - 1) as u32
            }
        };
        let log = self.log(queue);
        log.order.push_back(id);
        log.fill = Some(id);
    }

    /// Writes a record at the place that [`Shard::room`] told.
    #[inline]
    pub(crate) fn append(&mut self, address: u32, header: &Header, key: &[u8], body: Body<'_>) {
        let bytes = header.record_bytes() as u32;
        let (id, offset) = split(address);
        let segment = self.segment_mut(id);
        debug_assert_eq!(segment.end as usize, offset, "records are appended in order");
        record::write(&mut segment.span[offset..], header, key, body);
        segment.end += bytes;
        segment.live += bytes;
        let queue = segment.queue;
        self.note_expiry(address, header.exptime);
        let charged = self.charged(address, header);
        let log = self.log(queue);
        log.bytes += charged;
        log.items += 1;
        self.count_in(header);
    }

    /// Lowers the bounds that tell the sweeper where to look.
    #[inline]
    pub(crate) fn note_expiry(&mut self, address: u32, exptime: u32) {
        if exptime != 0 {
            let segment = self.segment_mut(split(address).0);
            segment.expires = segment.expires.min(exptime);
            self.expires = self.expires.min(exptime);
        }
    }

    /// Bytes of memory that a record occupies, its extent included.
    #[inline]
    pub(crate) fn charged(&self, address: u32, header: &Header) -> u64 {
        let extent = if header.bits.is_long() {
            self.extent(header.extent(self.record(address))).charged()
        } else {
            0
        };
        header.record_bytes() as u64 + extent
    }

    /// Gives an extent a number.
    pub(crate) fn adopt(&mut self, extent: Arc<Extent>) -> u32 {
        self.extent_bytes += extent.charged();
        match self.vacant_extents.pop() {
            Some(number) => {
                self.extents[number as usize] = Some(extent);
                number
            }
            None => {
                self.extents.push(Some(extent));
                (self.extents.len() - 1) as u32
            }
        }
    }

    /// Removes an item from the table and its record from the books.
    pub(crate) fn remove(&mut self, moment: &Moment<'_>, place: Place, address: u32) {
        let header = self.header(address);
        self.table.remove(header.hash, place);
        self.bury(address, &header);
        self.retire(moment, split(address).0);
    }

    /// Marks a record dead that the table no longer leads to. The segment stays, even if that
    /// was its last record.
    pub(crate) fn bury(&mut self, address: u32, header: &Header) {
        let charged = self.charged(address, header);
        if header.bits.is_long() {
            let number = header.extent(self.record(address));
            let extent = self.extents[number as usize].take();
            let extent = extent.expect("a long record owns its extent");
            self.extent_bytes -= extent.charged();
            // A reader may still hold it; then its memory returns when that one is done.
            self.freed += extent.charged();
            self.vacant_extents.push(number);
        }
        let queue = self.queue_of(address);
        let log = self.log(queue);
        log.bytes -= charged;
        log.items -= 1;
        self.segment_mut(split(address).0).live -= header.record_bytes() as u32;
        record::set_bits(self.record_mut(address), header.bits.dead());
        self.count_out(header);
    }

    /// Gives a segment back if nothing in it lives any more.
    pub(crate) fn retire(&mut self, moment: &Moment<'_>, id: u32) {
        let segment = self.segment_mut(id);
        if segment.live > 0 {
            return;
        }
        let queue = segment.queue;
        if self.log(queue).fill == Some(id) {
            // The fill is written from its start again instead.
            let segment = self.segment_mut(id);
            segment.end = 0;
            segment.expires = u32::MAX;
            return;
        }
        let order = &mut self.log(queue).order;
        let at = order.iter().position(|other| *other == id);
        order.remove(at.expect("a segment stands in its queue's order"));
        self.release(moment, id);
    }

    /// Gives a segment back that stands in no order.
    pub(crate) fn release(&mut self, moment: &Moment<'_>, id: u32) {
        let segment = self.segments[id as usize].take().expect("only segments in use are released");
        debug_assert_eq!(segment.live, 0, "nothing lives in a released segment");
        moment.memory.give_segment(segment.span);
        self.vacant.push(id);
        self.freed += SEGMENT_BYTES as u64;
    }

    /// Removes everything.
    pub(crate) fn clear(&mut self, moment: &Moment<'_>) {
        for segment in self.segments.drain(..).flatten() {
            moment.memory.give_segment(segment.span);
        }
        let table_bytes = self.table.bytes() as u64;
        self.table = Table::new();
        moment.memory.budget.release(table_bytes);
        self.ghost.clear();
        self.vacant = Vec::new();
        self.extents = Vec::new();
        self.vacant_extents = Vec::new();
        self.extent_bytes = 0;
        self.small = Log::default();
        self.main = Log::default();
        self.expires = u32::MAX;
        self.counts.item_bytes = 0;
        for class in self.classes.iter_mut() {
            class.items = 0;
            class.bytes = 0;
        }
    }

    /// Moves the table to one of `buckets`; false when there is no memory for it.
    pub(crate) fn resize_table(&mut self, moment: &Moment<'_>, buckets: usize) -> bool {
        let bytes = Table::bytes_of(buckets) as u64;
        if !moment.memory.charge(bytes) {
            return false;
        }
        let old_bytes = self.table.bytes() as u64;
        let mut table = std::mem::replace(&mut self.table, Table::new());
        let moved = table.resize(buckets, |address| self.header(address).hash);
        self.table = table;
        moment.memory.budget.release(if moved { old_bytes } else { bytes });
        moved
    }

    #[inline]
    pub(crate) fn count_in(&mut self, header: &Header) {
        self.counts.item_bytes += header.item_bytes();
        let class = self.class(header);
        class.items += 1;
        class.bytes += header.item_bytes();
    }

    #[inline]
    pub(crate) fn count_out(&mut self, header: &Header) {
        self.counts.item_bytes -= header.item_bytes();
        let class = self.class(header);
        class.items -= 1;
        class.bytes -= header.item_bytes();
    }

    /// Counts an item whose memory was won back after it expired or was flushed.
    pub(crate) fn count_reclaimed(&mut self, header: &Header) {
        let unfetched = u64::from(!header.bits.is_fetched());
        self.counts.reclaimed += 1;
        self.counts.expired_unfetched += unfetched;
        let class = self.class(header);
        class.reclaimed += 1;
        class.expired_unfetched += unfetched;
    }

    #[inline]
    pub(crate) fn class(&mut self, header: &Header) -> &mut ClassCounts {
        &mut self.classes[class_of(header.item_bytes())]
    }
}

/// The segment and the offset in bytes of an address.
#[inline]
pub(crate) fn split(address: u32) -> (u32, usize) {
    let offset = address & ((1 << OFFSET_BITS) - 1);
    (address >> OFFSET_BITS, offset as usize * 8)
}

/// The address of an offset in bytes in a segment.
#[inline]
pub(crate) fn join(id: u32, offset: usize) -> u32 {
    id << OFFSET_BITS | (offset / 8) as u32
}
