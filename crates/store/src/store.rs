//! The shared store: shards behind locks, and the search for memory across them.
//!
//! One lock per shard, held for one operation. Whoever needs memory holds the lock of the shard
//! it writes to and may try, never wait for, the lock of another one, so there is no deadlock.

use crate::entry::Entry;
use crate::hash::KeyHash;
use crate::item::{Held, Item};
use crate::lock::{Guard, Lock};
use crate::memory::{Extent, Memory, SEGMENT_BYTES};
use crate::options::{Now, Options};
use crate::record::LAST_ACCESS_MAX;
use crate::shard::{Moment, Queue, Shard};
use crate::stats::{ClassStats, Stats};
use crate::table::Table;
use crate::watch::Watch;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Most shards. Many, so that growing one table never takes long.
const SHARDS_MAX: u32 = 16_384;

/// Memory per shard that a store aims at: enough segments for both queues to be in order.
const SHARD_BYTES: u64 = 4 << 20;

/// Most bytes won from one shard before the next one is asked, so that a very long value does
/// not empty the shard it happens to hash to.
const SHARE_BYTES: u64 = 256 << 10;

/// Expired records looked at before memory is taken from live ones.
const SWEEP_RECORDS: usize = 2_000;

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

/// Why nothing was stored. The old item, if any, is as it was, unless it was evicted in the
/// search for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutError {
    /// Longer than `item_bytes_max`.
    TooLarge,
    /// No room, and nothing may or can be evicted.
    OutOfMemory,
}

/// The cache. Share it by `Arc`; every method takes `&self`.
pub struct Store {
    shards: Box<[Lock<Shard>]>,
    memory: Arc<Memory>,
    watch: Watch,
    pub(crate) item_bytes_max: u32,
    evicts: bool,
    seed: u64,
    cas: AtomicU64,
    flush_mark: AtomicU32,
    /// The shard that is asked for memory next, and the one that is swept next.
    donor: AtomicUsize,
    swept: AtomicUsize,
}

impl Store {
    /// Makes an empty store. Memory is taken from the system as items come.
    pub fn new(options: Options) -> Store {
        let fitting = (options.memory_bytes_max / SHARD_BYTES).next_power_of_two();
        let bound = (options.memory_bytes_max >> 20).max(1).next_power_of_two();
        let wanted = options.shards.map_or(fitting, u64::from).next_power_of_two();
        let count = wanted.clamp(1, u64::from(SHARDS_MAX)).min(bound) as usize;
        let memory = Memory::new(options.memory_bytes_max, options.huge_pages);
        let shard_bytes = size_of::<Lock<Shard>>() + std::mem::size_of_val(&*Shard::new().classes);
        memory.budget.charge_anyway((count * shard_bytes) as u64);
        Store {
            shards: (0..count).map(|_| Lock::new(Shard::new())).collect(),
            memory: Arc::new(memory),
            watch: Watch::default(),
            item_bytes_max: options.item_bytes_max.min(1 << 30),
            evicts: options.evicts,
            seed: options.hash_seed,
            cas: AtomicU64::new(options.cas_start),
            flush_mark: AtomicU32::new(0),
            donor: AtomicUsize::new(0),
            swept: AtomicUsize::new(0),
        }
    }

    /// Lets `visit` see the live item of `key`. `bump` counts it as a use: eviction frequency,
    /// last access, fetched bit (the item shows them as they were before).
    /// `visit` runs under the shard's lock: copy out, do not block, do not call the store.
    #[inline]
    pub fn read<R>(
        &self,
        key: &[u8],
        now: Now,
        bump: bool,
        visit: impl FnOnce(Item<'_>) -> R,
    ) -> Result<R, Miss> {
        let hash = KeyHash::new(self.seed, key);
        let moment = self.moment(now);
        let mut shard = self.lock(hash.shard(self.shards.len()));
        let (address, header) = shard.look(&moment, hash.bits(), key)?;
        let answer = visit(shard.item(address, &header));
        if bump {
            shard.bump(address, &header, now.seconds);
        }
        Ok(answer)
    }

    /// Keeps the value of `key` beyond the lock, for sending a big one without a copy.
    pub fn hold(&self, key: &[u8], now: Now, bump: bool) -> Result<Held, Miss> {
        let hash = KeyHash::new(self.seed, key);
        let moment = self.moment(now);
        let mut shard = self.lock(hash.shard(self.shards.len()));
        let (address, header) = shard.look(&moment, hash.bits(), key)?;
        let extent = header.bits.is_long().then(|| {
            let number = header.extent(shard.record(address));
            shard.extent(number)
        });
        let held = Held::new(&shard.item(address, &header), extent, &self.memory);
        if bump {
            shard.bump(address, &header, now.seconds);
        }
        Ok(held)
    }

    /// Exclusive access to one key: any read-modify-write. Same rule for `act` as for `visit`.
    /// `key` is 1 to 250 bytes (255 work).
    #[inline]
    pub fn entry<R>(&self, key: &[u8], now: Now, act: impl FnOnce(&mut Entry<'_>) -> R) -> R {
        let hash = KeyHash::new(self.seed, key);
        let index = hash.shard(self.shards.len());
        let moment = self.moment(now);
        let mut shard = self.lock(index);
        act(&mut Entry::new(self, &mut shard, index, moment, hash.bits(), key))
    }

    /// Removes everything now (an immediate `flush_all`). The memory is free for new items; it
    /// stays with the process, as after any removal.
    pub fn clear(&self) {
        let moment = self.moment(Now::from_seconds(0));
        for index in 0..self.shards.len() {
            self.lock(index).clear(&moment);
        }
    }

    /// Sets the flush mark (delayed `flush_all`): once the clock reaches `mark`, every item last
    /// used or written at second `mark` or before is invisible. 0 takes the mark away. There is
    /// one mark; a new one replaces it. memcached: `flush_all` is `clear()` with mark
    /// `now - 1`, `flush_all N` is mark `now + N - 1`.
    pub fn set_flush_mark(&self, mark: u32) {
        // A mark that last uses cannot pass would hide every later item too.
        let mark = mark.min(LAST_ACCESS_MAX - 1);
        self.flush_mark.store(mark, Ordering::Relaxed);
    }

    /// The flush mark; 0 for none.
    pub fn flush_mark(&self) -> u32 {
        self.flush_mark.load(Ordering::Relaxed)
    }

    /// A fresh CAS number.
    #[inline]
    pub fn next_cas(&self) -> u64 {
        self.cas.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Changes the memory limit. Raising it works at once; after lowering it, every put and
    /// [`Store::tick`] evict until the new one is met.
    pub fn set_memory_bytes_max(&self, bytes: u64) {
        self.memory.budget.set_max(bytes);
        self.memory.trim(self.memory.budget.excess());
    }

    /// Background work: removes expired items and meets a lowered memory limit. Looks at about
    /// `records_max` records and returns whether there may be more to do. Call it about once a
    /// second, again at once while it says so and there is time.
    pub fn tick(&self, now: Now, records_max: usize) -> bool {
        let moment = self.moment(now);
        let mut looked = 0;
        for _ in 0..self.shards.len() {
            let index = self.swept.load(Ordering::Relaxed) % self.shards.len();
            let mut shard = self.lock(index);
            if shard.wants_sweep(&moment) {
                looked += shard.sweep(&moment, records_max - looked);
                if looked >= records_max {
                    return true;
                }
            }
            if let Some(buckets) = shard.table.shrunk_len() {
                shard.resize_table(&moment, buckets);
            }
            let excess = self.memory.budget.excess();
            if excess > 0 && self.evicts {
                self.memory.trim(excess);
                let share = (excess / self.shards.len() as u64).max(SEGMENT_BYTES as u64);
                shard.evict(&moment, share.min(SHARE_BYTES));
            }
            self.swept.fetch_add(1, Ordering::Relaxed);
        }
        self.memory.budget.excess() > 0 && self.evicts
    }

    /// The queue of evictions, for `watch`.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Totals. Locks one shard after the other, so they are not of one instant.
    pub fn stats(&self) -> Stats {
        let budget = &self.memory.budget;
        let free = self.memory.figures();
        let mut stats = Stats {
            memory_bytes: budget.used(),
            memory_bytes_max: budget.max(),
            segment_bytes: free.free_segments * SEGMENT_BYTES as u64,
            free_bytes: free.free_segments * SEGMENT_BYTES as u64 + free.free_extent_bytes,
            shards: self.shards.len() as u32,
            ..Stats::default()
        };
        for index in 0..self.shards.len() {
            let shard = self.lock(index);
            stats.items += shard.table.len() as u64;
            stats.items_stored += shard.counts.stored;
            stats.found_expired += shard.counts.found_expired;
            stats.found_flushed += shard.counts.found_flushed;
            stats.table_bytes += shard.table.bytes() as u64;
            stats.ghost_bytes += shard.ghost.bytes() as u64;
            stats.segment_bytes += shard.bytes() - shard.extent_bytes;
            stats.extent_bytes += shard.extent_bytes;
            stats.item_bytes += shard.counts.item_bytes;
            stats.evictions += shard.counts.evicted;
            stats.evicted_unfetched += shard.counts.evicted_unfetched;
            stats.expired_unfetched += shard.counts.expired_unfetched;
            stats.reclaimed += shard.counts.reclaimed;
            stats.out_of_memory += shard.counts.out_of_memory;
        }
        stats
    }

    /// Figures of the size classes that were ever used, smallest first.
    pub fn class_stats(&self) -> Vec<ClassStats> {
        let mut classes: Vec<ClassStats> =
            (0..crate::stats::CLASSES).map(ClassStats::new).collect();
        for index in 0..self.shards.len() {
            let shard = self.lock(index);
            for (sum, counts) in classes.iter_mut().zip(shard.classes.iter()) {
                sum.add(counts);
            }
        }
        classes.retain(ClassStats::is_used);
        classes
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    pub(crate) fn moment(&self, now: Now) -> Moment<'_> {
        let mark = self.flush_mark.load(Ordering::Relaxed);
        Moment {
            seconds: now.seconds,
            millis: now.millis,
            flushed: if mark <= now.seconds { mark } else { 0 },
            memory: &self.memory,
            watch: &self.watch,
        }
    }

    #[inline]
    pub(crate) fn lock(&self, index: usize) -> Guard<'_, Shard> {
        self.shards[index].lock()
    }

    /// Room for a record of `bytes` at the end of a queue of `shard`.
    pub(crate) fn room(
        &self,
        shard: &mut Shard,
        index: usize,
        moment: &Moment<'_>,
        queue: Queue,
        bytes: usize,
    ) -> Result<u32, PutError> {
        loop {
            if let Some(address) = shard.room(queue, bytes) {
                return Ok(address);
            }
            if shard.is_wasteful() && shard.compact(moment, false) {
                continue;
            }
            if !shard.can_attach() {
                // Only a limit raised to thousands of times what the store was made for.
                if self.evicts && shard.evict(moment, SEGMENT_BYTES as u64) {
                    continue;
                }
                return Err(PutError::OutOfMemory);
            }
            if let Some(span) = self.memory.take_segment() {
                shard.attach(queue, span);
                continue;
            }
            self.win(shard, index, moment, SEGMENT_BYTES as u64)?;
        }
    }

    /// An extent for a value of `bytes`.
    pub(crate) fn extent(
        &self,
        shard: &mut Shard,
        index: usize,
        moment: &Moment<'_>,
        bytes: usize,
    ) -> Result<Extent, PutError> {
        if bytes as u64 > self.memory.budget.max() {
            return Err(PutError::OutOfMemory);
        }
        loop {
            if let Some(extent) = Extent::new(&self.memory, bytes) {
                return Ok(extent);
            }
            self.win(shard, index, moment, bytes as u64)?;
        }
    }

    /// Makes the table of `shard` large enough for one more item.
    pub(crate) fn table_room(
        &self,
        shard: &mut Shard,
        index: usize,
        moment: &Moment<'_>,
    ) -> Result<(), PutError> {
        while shard.table.is_full() {
            let buckets = shard.table.grown_len();
            if !shard.resize_table(moment, buckets) {
                self.win(shard, index, moment, Table::bytes_of(buckets) as u64)?;
            }
        }
        Ok(())
    }

    /// Wins some memory, about `bytes` if it can: from what has expired, from dead records, and
    /// then from live items, of whichever shard has more than its share.
    fn win(
        &self,
        own: &mut Shard,
        own_index: usize,
        moment: &Moment<'_>,
        bytes: u64,
    ) -> Result<(), PutError> {
        let freed = own.freed;
        if own.wants_sweep(moment) {
            own.sweep(moment, SWEEP_RECORDS);
            if own.freed > freed {
                return Ok(());
            }
        }
        if own.compact(moment, !self.evicts) {
            return Ok(());
        }
        if !self.evicts {
            return Err(PutError::OutOfMemory);
        }
        let bytes = bytes.clamp(1, SHARE_BYTES);
        let fair = self.memory.budget.used() / self.shards.len() as u64 / 8 * 7;
        if bytes <= SEGMENT_BYTES as u64 && own.bytes() >= fair && own.evict(moment, bytes) {
            return Ok(());
        }
        for _ in 0..self.shards.len() {
            let index = self.donor.fetch_add(1, Ordering::Relaxed) % self.shards.len();
            if index == own_index {
                if own.bytes() >= fair && own.evict(moment, bytes) {
                    return Ok(());
                }
                continue;
            }
            if let Some(mut donor) = self.shards[index].try_lock()
                && donor.bytes() >= fair
                && donor.evict(moment, bytes)
            {
                return Ok(());
            }
        }
        // Others were busy, or hold less than their share because readers hold the rest.
        if own.evict(moment, bytes) { Ok(()) } else { Err(PutError::OutOfMemory) }
    }
}
