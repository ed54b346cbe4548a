//! The store's memory as a whole: the budget, free segments, and extents for long values.
//!
//! Everything a store keeps is charged to one [`Budget`] before it is touched, so resident
//! memory follows the budget. Records live in segments of 64 KiB that shards take and give back.
//! A value too long for a segment lives in an [`Extent`] of its own: a range of pages cut from a
//! slot whose *address space* is rounded up to a power of two, which costs nothing, while its
//! *pages* are exactly as many as the value needs. So there is no fragmentation to lose memory to.

use crate::map::{PAGE_BYTES, Span, map_spans};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a segment.
pub(crate) const SEGMENT_BYTES: usize = 1 << 16;

/// What a segment is charged: its memory and the entry that describes it.
pub(crate) const SEGMENT_CHARGE: u64 = SEGMENT_BYTES as u64 + 96;

/// What an extent is charged beyond its pages: its description in the process heap.
const EXTENT_CHARGE: u64 = 128;

/// Segments mapped at once: 2 MiB, one huge page where those are wanted.
const SEGMENTS_PER_REGION: usize = 512;

/// Power-of-two slot classes from one page to 1 GiB and its last odd page.
const SLOT_CLASSES: usize = 20;

/// Counts every byte the store keeps against its limit.
pub(crate) struct Budget {
    max: AtomicU64,
    used: AtomicU64,
}

impl Budget {
    fn new(max: u64) -> Budget {
        Budget { max: AtomicU64::new(max), used: AtomicU64::new(0) }
    }

    pub(crate) fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    pub(crate) fn set_max(&self, bytes: u64) {
        self.max.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes above the limit: after the limit was lowered, or through held copies.
    pub(crate) fn excess(&self) -> u64 {
        self.used().saturating_sub(self.max())
    }

    fn try_charge(&self, bytes: u64) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= self.max();
        if !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Charges what cannot be refused; others are evicted for it later.
    pub(crate) fn charge_anyway(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn release(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "only what was charged is released");
    }
}

/// Free memory and the budget; shared by the shards and by every held value.
pub(crate) struct Memory {
    pub(crate) budget: Budget,
    segments: Mutex<FreeSegments>,
    slots: Mutex<FreeSlots>,
    huge_pages: bool,
}

/// Segments nobody uses. `warm` ones are still resident and charged.
#[derive(Default)]
struct FreeSegments {
    warm: Vec<Span>,
    cold: Vec<Span>,
}

/// Extent slots nobody uses, by class. `warm` ones have resident, charged pages at their front.
#[derive(Default)]
struct FreeSlots {
    warm: [Vec<Slot>; SLOT_CLASSES],
    cold: [Vec<Slot>; SLOT_CLASSES],
    warm_bytes: u64,
}

/// Address space for one extent; the first `resident` bytes are charged.
struct Slot {
    span: Span,
    resident: usize,
}

/// Free and used figures, for statistics and checks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MemoryFigures {
    pub(crate) free_segments: u64,
    pub(crate) free_extent_bytes: u64,
}

impl Memory {
    pub(crate) fn new(bytes_max: u64, huge_pages: bool) -> Memory {
        Memory {
            budget: Budget::new(bytes_max),
            segments: Mutex::default(),
            slots: Mutex::default(),
            huge_pages,
        }
    }

    /// Charges `bytes`, giving up free but resident memory for it if need be.
    pub(crate) fn charge(&self, bytes: u64) -> bool {
        if self.budget.try_charge(bytes) {
            return true;
        }
        self.trim(bytes);
        self.budget.try_charge(bytes)
    }

    /// Takes a segment; its contents are whatever they were. None: the budget is exhausted.
    pub(crate) fn take_segment(&self) -> Option<Span> {
        let mut free = lock(&self.segments);
        if let Some(span) = free.warm.pop() {
            return Some(span);
        }
        drop(free);
        if !self.charge(SEGMENT_CHARGE) {
            return None;
        }
        free = lock(&self.segments);
        if free.cold.is_empty() {
            let Some(spans) = map_spans(SEGMENT_BYTES, SEGMENTS_PER_REGION, self.huge_pages) else {
                self.budget.release(SEGMENT_CHARGE);
                return None;
            };
            free.cold.extend(spans);
        }
        free.cold.pop()
    }

    /// Takes a segment back. It stays resident for the next taker, unless over the limit.
    pub(crate) fn give_segment(&self, mut span: Span) {
        if self.budget.excess() > 0 {
            span.discard(0..SEGMENT_BYTES);
            self.budget.release(SEGMENT_CHARGE);
            lock(&self.segments).cold.push(span);
        } else {
            lock(&self.segments).warm.push(span);
        }
    }

    /// Hands free resident memory back to the system until `bytes` are, or none is left.
    pub(crate) fn trim(&self, bytes: u64) {
        let mut slots = lock(&self.slots);
        let mut given = slots.trim(&self.budget, bytes);
        drop(slots);
        while given < bytes {
            let mut free = lock(&self.segments);
            let Some(mut span) = free.warm.pop() else { return };
            span.discard(0..SEGMENT_BYTES);
            free.cold.push(span);
            self.budget.release(SEGMENT_CHARGE);
            given += SEGMENT_CHARGE;
        }
    }

    pub(crate) fn figures(&self) -> MemoryFigures {
        MemoryFigures {
            free_segments: lock(&self.segments).warm.len() as u64,
            free_extent_bytes: lock(&self.slots).warm_bytes,
        }
    }

    /// Room for a slot of `class` with `resident` bytes charged.
    fn take_slot(&self, class: usize, resident: usize) -> Option<Slot> {
        let warm = lock(&self.slots).pop_warm(class);
        if let Some(mut slot) = warm {
            if slot.resident >= resident {
                slot.shrink(&self.budget, resident);
                return Some(slot);
            }
            if self.charge((resident - slot.resident) as u64) {
                slot.resident = resident;
                return Some(slot);
            }
            lock(&self.slots).push_warm(class, slot);
            return None;
        }
        if !self.charge(resident as u64) {
            return None;
        }
        let slot = lock(&self.slots).pop_cold(class);
        if slot.is_none() {
            self.budget.release(resident as u64);
        }
        slot.map(|slot| Slot { span: slot.span, resident })
    }

    fn give_slot(&self, class: usize, mut slot: Slot) {
        // A little resident memory at hand spares the page faults of the next long value.
        let keep = (self.budget.max() / 64).max(1 << 20);
        let mut slots = lock(&self.slots);
        if slots.warm_bytes + slot.resident as u64 <= keep && self.budget.excess() == 0 {
            slots.push_warm(class, slot);
            return;
        }
        drop(slots);
        slot.shrink(&self.budget, 0);
        lock(&self.slots).cold[class].push(slot);
    }
}

impl FreeSlots {
    fn pop_warm(&mut self, class: usize) -> Option<Slot> {
        let slot = self.warm[class].pop()?;
        self.warm_bytes -= slot.resident as u64;
        Some(slot)
    }

    fn push_warm(&mut self, class: usize, slot: Slot) {
        self.warm_bytes += slot.resident as u64;
        self.warm[class].push(slot);
    }

    fn pop_cold(&mut self, class: usize) -> Option<Slot> {
        if self.cold[class].is_empty() {
            let bytes = PAGE_BYTES << class;
            let count = ((2 << 20) / bytes).max(1);
            let spans = map_spans(bytes, count, false)?;
            self.cold[class].extend(spans.into_iter().map(|span| Slot { span, resident: 0 }));
        }
        self.cold[class].pop()
    }

    fn trim(&mut self, budget: &Budget, bytes: u64) -> u64 {
        let mut given = 0;
        for class in (0..SLOT_CLASSES).rev() {
            while given < bytes {
                let Some(mut slot) = self.pop_warm(class) else { break };
                given += slot.resident as u64;
                slot.shrink(budget, 0);
                self.cold[class].push(slot);
            }
        }
        given
    }
}

impl Slot {
    /// Keeps only the first `resident` bytes resident and charged.
    fn shrink(&mut self, budget: &Budget, resident: usize) {
        self.span.discard(resident..self.resident);
        budget.release((self.resident - resident) as u64);
        self.resident = resident;
    }
}

/// The value of one item that is too long for a segment. Counted by `Arc`: the item holds one
/// count, every [`crate::Held`] another; the memory returns when the last is gone.
pub(crate) struct Extent {
    memory: Arc<Memory>,
    /// Always there until `drop` takes it.
    slot: Option<Slot>,
    class: usize,
    len: usize,
}

impl Extent {
    /// An extent of `len` bytes with undefined contents. None: the budget is exhausted.
    pub(crate) fn new(memory: &Arc<Memory>, len: usize) -> Option<Extent> {
        let resident = len.next_multiple_of(PAGE_BYTES).max(PAGE_BYTES);
        let class = (resident / PAGE_BYTES).next_power_of_two().trailing_zeros() as usize;
        if class >= SLOT_CLASSES || !memory.charge(EXTENT_CHARGE) {
            return None;
        }
        let Some(slot) = memory.take_slot(class, resident) else {
            memory.budget.release(EXTENT_CHARGE);
            return None;
        };
        Some(Extent { memory: Arc::clone(memory), slot: Some(slot), class, len })
    }

    /// Bytes charged for it.
    pub(crate) fn charged(&self) -> u64 {
        self.slot().resident as u64 + EXTENT_CHARGE
    }

    /// Whether a value of `len` bytes takes as many pages.
    pub(crate) fn suits(&self, len: usize) -> bool {
        len.next_multiple_of(PAGE_BYTES) == self.slot().resident
    }

    /// Replaces the contents by `pieces`, which take as many pages as before.
    pub(crate) fn write(&mut self, pieces: &[&[u8]]) {
        let slot = self.slot.as_mut().expect("a slot stays until the extent is dropped");
        let mut at = 0;
        for piece in pieces {
            slot.span[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
        assert!(at <= slot.resident, "a value fits the pages charged for it");
        self.len = at;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.slot().span[..self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let slot = self.slot.as_mut().expect("a slot stays until the extent is dropped");
        &mut slot.span[..self.len]
    }

    fn slot(&self) -> &Slot {
        self.slot.as_ref().expect("a slot stays until the extent is dropped")
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.memory.give_slot(self.class, slot);
            self.memory.budget.release(EXTENT_CHARGE);
        }
    }
}

/// Locks, ignoring poison: nothing here is left half-done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_never_passed_by_segments() {
        let memory = Memory::new(SEGMENT_CHARGE * 3 + 100, false);
        let taken: Vec<Span> = std::iter::from_fn(|| memory.take_segment()).collect();
        assert_eq!(taken.len(), 3);
        for span in taken {
            memory.give_segment(span);
        }
        assert_eq!(memory.budget.used(), SEGMENT_CHARGE * 3, "free segments stay resident");
        memory.trim(u64::MAX);
        assert_eq!(memory.budget.used(), 0);
        assert!(memory.take_segment().is_some());
    }

    #[test]
    fn extents_charge_their_pages_and_return_them() {
        let memory = Arc::new(Memory::new(10 << 20, false));
        let value = vec![5u8; 100_000];
        let mut extent = Extent::new(&memory, value.len()).unwrap();
        extent.write(&[&value[..50_000], &value[50_000..]]);
        assert_eq!(extent.bytes(), &value[..]);
        assert_eq!(memory.budget.used(), 25 * 4096 + EXTENT_CHARGE);
        drop(extent);
        assert_eq!(memory.budget.used(), 25 * 4096, "kept warm");
        let smaller = Extent::new(&memory, 70_000).unwrap();
        assert_eq!(memory.budget.used(), 18 * 4096 + EXTENT_CHARGE, "reused and cut to size");
        drop(smaller);
        memory.trim(u64::MAX);
        assert_eq!(memory.budget.used(), 0);
    }

    #[test]
    fn a_refused_extent_leaves_no_charge() {
        let memory = Arc::new(Memory::new(1 << 20, false));
        assert!(Extent::new(&memory, 2 << 20).is_none());
        assert_eq!(memory.budget.used(), 0);
        let first = Extent::new(&memory, 700_000).unwrap();
        assert!(Extent::new(&memory, 700_000).is_none());
        drop(first);
        assert!(Extent::new(&memory, 900_000).is_some(), "free pages are given up for others");
    }

    #[test]
    fn a_lowered_limit_returns_memory_at_once() {
        let memory = Memory::new(SEGMENT_CHARGE * 4, false);
        let spans: Vec<Span> = std::iter::from_fn(|| memory.take_segment()).collect();
        memory.budget.set_max(SEGMENT_CHARGE);
        for span in spans {
            memory.give_segment(span);
        }
        assert_eq!(memory.budget.used(), SEGMENT_CHARGE);
    }
}
