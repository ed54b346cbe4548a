//! Memory from the operating system, as owned slices.
//!
//! The store does not use the process allocator for its bulk: what it counts must be what the
//! kernel counts, so it maps pages itself and gives them back page by page. [`Region`] is one
//! anonymous mapping; [`Span`] is an exclusive part of one that keeps it alive; [`Array`] is a
//! mapping seen as a slice of plain records.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes of a page; the store's figures are multiples of it.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Bytes and alignment of a huge page.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// One private anonymous mapping, zero-filled, unmapped on drop.
struct Region {
    base: NonNull<u8>,
    bytes: usize,
    /// Where the part in use starts: huge pages need their alignment.
    skip: usize,
}

// SAFETY: a `Region` is only an address range; it hands out no access by itself (see `Span`,
// which is the sole user of `base` and is exclusive by construction in `map_spans`).
unsafe impl Send for Region {}
// SAFETY: as above, shared references to a `Region` give no access to its bytes.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `bytes` (a multiple of the page size). None when the system refuses.
    fn map(bytes: usize, huge: bool) -> Option<Region> {
        debug_assert!(bytes > 0 && bytes.is_multiple_of(PAGE_BYTES));
        let bytes = if huge { bytes + HUGE_PAGE_BYTES } else { bytes };
        let base = system::map(bytes)?;
        system::advise_huge(base, bytes, huge);
        let skip = if huge { base.as_ptr().align_offset(HUGE_PAGE_BYTES) } else { 0 };
        Some(Region { base, bytes, skip })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        system::unmap(self.base, self.bytes);
    }
}

/// An exclusive part of a mapping: an owned slice of bytes that keeps the mapping alive.
pub(crate) struct Span {
    base: NonNull<u8>,
    bytes: usize,
    /// Keeps `base` mapped; shared only with the spans of other, disjoint ranges.
    _region: Arc<Region>,
}

// SAFETY: a `Span` owns its range exclusively (`map_spans` gives out disjoint ranges once), so
// moving it to another thread moves the only access, as with `Box<[u8]>`.
unsafe impl Send for Span {}
// SAFETY: `&Span` only gives `&[u8]`.
unsafe impl Sync for Span {}

/// Maps `count` spans of `bytes` each in one mapping. None when the system refuses.
///
/// `huge` asks for huge pages, else they are declined: a huge page under a span of a few
/// kilobytes would make resident memory grow past what was counted.
pub(crate) fn map_spans(bytes: usize, count: usize, huge: bool) -> Option<Vec<Span>> {
    let region = Arc::new(Region::map(bytes * count, huge)?);
    let spans = (0..count).map(|index| {
        // SAFETY: `index * bytes` is below the length given to `Region::map`, which adds what
        // `skip` can be, so the address stays inside the one mapping.
        let base = unsafe { region.base.add(region.skip + index * bytes) };
        Span { base, bytes, _region: Arc::clone(&region) }
    });
    Some(spans.collect())
}

impl Span {
    /// Returns the pages of `range` (page-aligned) to the system; they read as zeros afterwards.
    pub(crate) fn discard(&mut self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.bytes, "discard stays inside");
        assert!(range.start.is_multiple_of(PAGE_BYTES) && range.end.is_multiple_of(PAGE_BYTES));
        if range.is_empty() {
            return;
        }
        // SAFETY: the range was checked to lie inside this span, which `&mut self` owns
        // exclusively; zero bytes are valid `u8`.
        unsafe { system::discard(self.base.add(range.start), range.len()) };
    }
}

impl Deref for Span {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `base..base+bytes` is mapped readable while `_region` lives, initialised by the
        // kernel with zeros, and only reachable through this span (`map_spans`).
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.bytes) }
    }
}

impl DerefMut for Span {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.bytes) }
    }
}

/// Types for which all bit patterns, zeros above all, are values, and that need no drop.
///
/// # Safety
/// Implementors are `repr(C)`, hold only integers, and have an alignment of at most a page.
pub(crate) unsafe trait Plain {}

// SAFETY: an array of integers.
unsafe impl Plain for [u16; 8] {}

/// A mapping seen as a slice of plain records, all zeros at first.
pub(crate) struct Array<T: Plain> {
    span: Option<Span>,
    len: usize,
    record: PhantomData<T>,
}

impl<T: Plain> Array<T> {
    /// An array without elements, and without a mapping.
    pub(crate) fn empty() -> Array<T> {
        Array { span: None, len: 0, record: PhantomData }
    }

    /// Maps an array of `len` zeroed elements. None when the system refuses.
    pub(crate) fn map(len: usize) -> Option<Array<T>> {
        if len == 0 {
            return Some(Array::empty());
        }
        let span = map_spans(Array::<T>::mapped_bytes(len), 1, false)?.pop();
        Some(Array { span, len, record: PhantomData })
    }

    /// What an array of `len` elements takes from the system, in bytes.
    pub(crate) fn mapped_bytes(len: usize) -> usize {
        (len * size_of::<T>()).next_multiple_of(PAGE_BYTES)
    }

    /// Asks the processor to fetch the cache line of an element that is needed soon.
    #[inline]
    pub(crate) fn prefetch(&self, index: usize) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if let Some(element) = self.get(index) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a prefetch reads nothing the program sees, and the address is that of an
            // element (`get`).
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(element).cast()) };
        }
        #[cfg(any(not(target_arch = "x86_64"), miri))]
        let _ = index;
    }

    /// What this array takes from the system, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.span.as_ref().map_or(0, |span| span.bytes)
    }
}

impl<T: Plain> Deref for Array<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        let Some(span) = &self.span else { return &[] };
        // SAFETY: `map` made the span at least `len * size_of::<T>()` bytes, page-aligned, zeroed;
        // `T: Plain` makes any bytes valid.
        unsafe { std::slice::from_raw_parts(span.base.as_ptr().cast::<T>(), self.len) }
    }
}

impl<T: Plain> DerefMut for Array<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        let Some(span) = &mut self.span else { return &mut [] };
        // SAFETY: as in `deref`; `&mut self` makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(span.base.as_ptr().cast::<T>(), self.len) }
    }
}

/// The system calls, through rustix.
#[cfg(not(miri))]
mod system {
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
    use std::ptr::NonNull;

    pub(super) fn map(bytes: usize) -> Option<NonNull<u8>> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory
        // that exists.
        let base = unsafe {
            mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, flags)
        };
        NonNull::new(base.ok()?.cast())
    }

    pub(super) fn unmap(base: NonNull<u8>, bytes: usize) {
        // SAFETY: `base` and `bytes` are those of one `map` (`Region`), and the last span that
        // could reach them is gone, because every span holds the region.
        let outcome = unsafe { munmap(base.as_ptr().cast(), bytes) };
        debug_assert!(outcome.is_ok(), "unmapping a whole mapping cannot fail");
    }

    pub(super) fn advise_huge(base: NonNull<u8>, bytes: usize, huge: bool) {
        let advice = if huge { Advice::LinuxHugepage } else { Advice::LinuxNoHugepage };
        // SAFETY: advice about page sizes changes no contents. A kernel without huge pages
        // refuses it, which is as good.
        let _ = unsafe { madvise(base.as_ptr().cast(), bytes, advice) };
    }

    /// # Safety
    /// The range is page-aligned, mapped by `map`, and owned by the caller.
    pub(super) unsafe fn discard(base: NonNull<u8>, bytes: usize) {
        // SAFETY: by the contract above; private anonymous pages read as zeros afterwards.
        let outcome = unsafe { madvise(base.as_ptr().cast(), bytes, Advice::LinuxDontNeed) };
        if outcome.is_err() {
            // The process locked its memory (memcached's `-k`); Linux 5.18 and later want the
            // other word then. Before that the pages stay, as with any locked memory.
            // SAFETY: as above.
            let _ = unsafe { madvise(base.as_ptr().cast(), bytes, Advice::LinuxDontneedLocked) };
        }
    }
}

/// The same from the process allocator, for the interpreter, which has no such calls.
#[cfg(miri)]
mod system {
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::ptr::NonNull;

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, super::PAGE_BYTES).expect("mappings are of sane size")
    }

    pub(super) fn map(bytes: usize) -> Option<NonNull<u8>> {
        // SAFETY: `Region::map` never asks for zero bytes.
        NonNull::new(unsafe { alloc_zeroed(layout(bytes)) })
    }

    pub(super) fn unmap(base: NonNull<u8>, bytes: usize) {
        // SAFETY: `base` came from `map` with the same length (`Region`).
        unsafe { dealloc(base.as_ptr(), layout(bytes)) }
    }

    pub(super) fn advise_huge(_base: NonNull<u8>, _bytes: usize, _huge: bool) {}

    /// # Safety
    /// The range is mapped by `map` and owned by the caller.
    pub(super) unsafe fn discard(base: NonNull<u8>, bytes: usize) {
        // SAFETY: by the contract above.
        unsafe { base.as_ptr().write_bytes(0, bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_disjoint_and_outlive_each_other() {
        let mut spans = map_spans(PAGE_BYTES * 2, 3, false).unwrap();
        for (index, span) in spans.iter_mut().enumerate() {
            span.fill(index as u8 + 1);
        }
        let last = spans.pop().unwrap();
        drop(spans);
        assert!(last.iter().all(|byte| *byte == 3));
    }

    #[test]
    fn discarded_pages_read_as_zeros() {
        let mut span = map_spans(PAGE_BYTES * 4, 1, false).unwrap().pop().unwrap();
        span.fill(7);
        span.discard(PAGE_BYTES..PAGE_BYTES * 3);
        assert!(span[..PAGE_BYTES].iter().all(|byte| *byte == 7));
        assert!(span[PAGE_BYTES..PAGE_BYTES * 3].iter().all(|byte| *byte == 0));
        assert!(span[PAGE_BYTES * 3..].iter().all(|byte| *byte == 7));
    }

    #[test]
    #[cfg(not(miri))]
    fn locked_pages_are_discarded_too() {
        let mut span = map_spans(PAGE_BYTES * 2, 1, false).unwrap().pop().unwrap();
        // SAFETY: locking pages in memory changes no contents.
        let locked = unsafe { rustix::mm::mlock(span.base.as_ptr().cast(), span.bytes) };
        span.fill(7);
        span.discard(0..PAGE_BYTES);
        assert!(locked.is_err() || span[..PAGE_BYTES].iter().all(|byte| *byte == 0));
        assert!(span[PAGE_BYTES..].iter().all(|byte| *byte == 7));
    }

    #[test]
    fn arrays_start_zeroed() {
        let mut array = Array::<[u16; 8]>::map(1000).unwrap();
        assert!(array.iter().all(|cell| *cell == [0; 8]));
        array[999] = [9; 8];
        assert_eq!(array[999], [9; 8]);
        assert_eq!(array.bytes(), 16 * 1024);
        assert!(Array::<[u16; 8]>::map(0).unwrap().is_empty());
    }
}
