//! A ring of receive buffers that the kernel picks from.
//!
//! Each buffer is memory of its own. When one comes back filled, a chunk is made of it; if nobody
//! keeps the chunk, the same memory goes back into the ring, otherwise fresh memory takes its place
//! and the chunk keeps the old for itself. So the ring never starves because of slow clients.

use crate::chunk::{Chunk, Lent, Spares};
use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

/// The buffers of one group.
pub(super) struct Buffers {
    group: u16,
    entries: NonNull<BufRingEntry>,
    /// A power of two.
    count: u16,
    tail: u16,
    /// The memory behind each buffer id.
    lent: Vec<Lent>,
    spares: Rc<Spares>,
    is_leaked: bool,
}

/// The kernel wants the ring on a page of its own.
const PAGE: usize = 4096;

impl Buffers {
    /// Makes `count` buffers, a power of two, of `bytes` bytes each, and tells the kernel.
    pub(super) fn register(
        submitter: &Submitter<'_>,
        group: u16,
        count: u16,
        bytes: u32,
    ) -> io::Result<Buffers> {
        assert!(count.is_power_of_two(), "the kernel counts buffers in powers of two");
        let layout = layout(count);
        // SAFETY: the layout is not empty, because `count` is a power of two.
        let entries = NonNull::new(unsafe { alloc_zeroed(layout) })
            .unwrap_or_else(|| handle_alloc_error(layout));
        let spares = Rc::new(Spares::new(bytes, usize::from(count)));
        let mut buffers = Buffers {
            group,
            entries: entries.cast(),
            count,
            tail: 0,
            lent: (0..count).map(|_| Lent::new(&spares)).collect(),
            spares,
            is_leaked: false,
        };
        for id in 0..count {
            buffers.offer(id);
        }
        buffers.publish();
        // SAFETY: the ring is `count` zeroed and then filled entries on pages of its own, which
        // stay until `Drop`; the owner drops its buffers only when the kernel is done with them
        // (`Uring::drop`).
        unsafe {
            submitter.register_buf_ring_with_flags(entries.as_ptr() as u64, count, group, 0)?;
        }
        Ok(buffers)
    }

    pub(super) fn group(&self) -> u16 {
        self.group
    }

    /// Makes a chunk of the first `length` bytes of a buffer that the kernel filled.
    #[inline]
    pub(super) fn filled(&self, id: u16, length: usize) -> Chunk {
        self.lent[usize::from(id)].chunk(length)
    }

    /// Gives a buffer back to the kernel; with other memory if somebody keeps a chunk of it.
    #[inline]
    pub(super) fn give_back(&mut self, id: u16) {
        let lent = &mut self.lent[usize::from(id)];
        if lent.is_kept() {
            *lent = Lent::new(&self.spares);
        }
        self.offer(id);
        self.publish();
    }

    /// Gives all memory up for lost, because the kernel may still write to it.
    pub(super) fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.lent));
        self.is_leaked = true;
    }

    fn offer(&mut self, id: u16) {
        let place = usize::from(self.tail & (self.count - 1));
        let (address, length) = self.lent[usize::from(id)].address();
        // SAFETY: `place` is below `count`, so this is an entry of ours. It is not among those the
        // kernel may read: at most `count` buffers are offered at a time, because `offer` is called
        // once per buffer at first and then once for each that the kernel gave up. The entries'
        // setters leave the tail alone, which the kernel only reads.
        let entry = unsafe { &mut *self.entries.as_ptr().add(place) };
        entry.set_addr(address as u64);
        entry.set_len(length);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: the tail lies in the first entry, which is aligned and lives as long as `self`;
        // the kernel and this thread access it as an atomic.
        let tail =
            unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast_mut().cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if self.is_leaked {
            return;
        }
        // SAFETY: allocated in `register` with the same layout, and the kernel is done with it, as
        // the owner promises there.
        unsafe { dealloc(self.entries.as_ptr().cast(), layout(self.count)) }
    }
}

fn layout(count: u16) -> Layout {
    let bytes = usize::from(count) * size_of::<BufRingEntry>();
    Layout::from_size_align(bytes, PAGE).expect("a ring is at most 512 KiB")
}
