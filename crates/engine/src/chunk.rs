//! Receive memory that is counted, and the spare blocks it comes from.
//!
//! A [`Chunk`] is a range of bytes in memory that several owners may hold. The engine hands one out
//! with every `Received` event and takes the memory back when the last chunk on it is gone; usually
//! that is before the next event, so that the same cache-warm memory receives again.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::rc::{Rc, Weak};

/// Bytes that arrived, shared by count. Cloning and slicing cost a counter; not `Send`.
#[derive(Clone)]
pub struct Chunk {
    // `start..end` was filled before the chunk was made and is never written again while the chunk
    // lives (see `Filling`).
    start: u32,
    end: u32,
    memory: Rc<Memory>,
}

/// One allocation that chunks point into.
struct Memory {
    bytes: NonNull<u8>,
    capacity: u32,
    /// Where the memory goes with its last chunk, if the engine still lives by then.
    home: Weak<Spares>,
}

/// Unused memory of one size, newest on top.
pub(crate) struct Spares {
    capacity: u32,
    keep: usize,
    free: RefCell<Vec<NonNull<u8>>>,
}

/// Memory that the engine receives into: chunks are cut from its front, the rest is still free.
pub(crate) struct Filling {
    memory: Rc<Memory>,
    filled: u32,
    spares: Rc<Spares>,
}

impl Chunk {
    /// Makes a chunk with its own copy of `bytes`. For tests and simulated peers; the engine's own
    /// chunks come from spare memory.
    ///
    /// # Panics
    /// If `bytes` is 4 GiB or longer.
    pub fn copied_from(bytes: &[u8]) -> Chunk {
        let capacity = u32::try_from(bytes.len()).expect("a chunk is shorter than 4 GiB");
        let spares = Rc::new(Spares::new(capacity.max(1), 0));
        let mut filling = Filling::new(spares);
        filling.space(0)[..bytes.len()].copy_from_slice(bytes);
        filling.cut(bytes.len())
    }

    /// The part `range` of this chunk, sharing its memory.
    ///
    /// # Panics
    /// If `range` reaches beyond the chunk.
    pub fn slice(&self, range: Range<usize>) -> Chunk {
        assert!(range.start <= range.end && range.end <= self.len(), "a slice lies in its chunk");
        Chunk {
            start: self.start + range.start as u32,
            end: self.start + range.end as u32,
            memory: self.memory.clone(),
        }
    }

    /// How many bytes of memory this chunk keeps alive, itself and everything around it.
    pub fn held_bytes(&self) -> usize {
        self.memory.capacity as usize
    }
}

impl Deref for Chunk {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let (start, length) = (self.start as usize, (self.end - self.start) as usize);
        // SAFETY: `Filling::cut` and `Lent::chunk` make chunks only of bytes within the memory that
        // were written before, and `Chunk::slice` only narrows. Nobody writes them while a chunk
        // exists: `Filling::space` hands out only what lies behind the cut part (or everything, if
        // no chunk is left), and a buffer goes back to the kernel only when `Lent::is_kept` says
        // that no chunk is left.
        unsafe { std::slice::from_raw_parts(self.memory.bytes.as_ptr().add(start), length) }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} of {} bytes)", self.len(), self.memory.capacity)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        match self.home.upgrade() {
            Some(spares) => spares.put(self.bytes),
            None => free(self.bytes, self.capacity),
        }
    }
}

impl Spares {
    /// Spares of `capacity` bytes each, of which at most `keep` are kept when unused.
    pub(crate) fn new(capacity: u32, keep: usize) -> Spares {
        Spares { capacity, keep, free: RefCell::new(Vec::new()) }
    }

    fn take(self: &Rc<Spares>) -> Rc<Memory> {
        let bytes = self.free.borrow_mut().pop().unwrap_or_else(|| allocate(self.capacity));
        Rc::new(Memory { bytes, capacity: self.capacity, home: Rc::downgrade(self) })
    }

    fn put(&self, bytes: NonNull<u8>) {
        let mut free_list = self.free.borrow_mut();
        if free_list.len() < self.keep {
            free_list.push(bytes);
        } else {
            free(bytes, self.capacity);
        }
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        for bytes in self.free.borrow_mut().drain(..) {
            free(bytes, self.capacity);
        }
    }
}

impl Filling {
    pub(crate) fn new(spares: Rc<Spares>) -> Filling {
        Filling { memory: spares.take(), filled: 0, spares }
    }

    /// Room to receive into, at least `least` bytes of it (or the whole capacity, if less).
    ///
    /// Starts again at the front when nobody kept a chunk: the usual case, and the warmest memory.
    #[inline]
    pub(crate) fn space(&mut self, least: usize) -> &mut [u8] {
        if Rc::strong_count(&self.memory) == 1 {
            self.filled = 0;
        } else if ((self.memory.capacity - self.filled) as usize) < least {
            self.memory = self.spares.take();
            self.filled = 0;
        }
        let length = (self.memory.capacity - self.filled) as usize;
        // SAFETY: the memory is `capacity` bytes that `allocate` zeroed, so they are initialised.
        // Chunks cover only bytes before `filled` (`Filling::cut`), this `Filling` is the only
        // writer (it alone takes the memory from `Spares::take`), and `&mut self` makes the slice
        // the only access to what lies behind.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.memory.bytes.as_ptr().add(self.filled as usize),
                length,
            )
        }
    }

    /// Makes a chunk of the first `length` bytes of the last `space`.
    #[inline]
    pub(crate) fn cut(&mut self, length: usize) -> Chunk {
        let start = self.filled;
        assert!(length <= (self.memory.capacity - start) as usize, "a chunk lies in its memory");
        self.filled += length as u32;
        Chunk { start, end: self.filled, memory: self.memory.clone() }
    }
}

/// Memory that the kernel receives into by itself, as one buffer of a ring.
pub(crate) struct Lent {
    memory: Rc<Memory>,
}

impl Lent {
    pub(crate) fn new(spares: &Rc<Spares>) -> Lent {
        Lent { memory: spares.take() }
    }

    /// Where the kernel may write, and how much, as long as no chunk exists.
    pub(crate) fn address(&self) -> (*mut u8, u32) {
        (self.memory.bytes.as_ptr(), self.memory.capacity)
    }

    /// Makes a chunk of the first `length` bytes, which the kernel has written.
    #[inline]
    pub(crate) fn chunk(&self, length: usize) -> Chunk {
        assert!(length <= self.memory.capacity as usize, "a chunk lies in its memory");
        Chunk { start: 0, end: length as u32, memory: self.memory.clone() }
    }

    /// Whether a chunk exists, so that the kernel must not write here.
    #[inline]
    pub(crate) fn is_kept(&self) -> bool {
        Rc::strong_count(&self.memory) > 1
    }
}

fn layout(capacity: u32) -> Layout {
    Layout::from_size_align(capacity as usize, 64).expect("a chunk's size is far below isize::MAX")
}

fn allocate(capacity: u32) -> NonNull<u8> {
    assert!(capacity > 0, "chunk memory is not empty");
    // SAFETY: the layout is not empty, as asserted above.
    let bytes = unsafe { alloc_zeroed(layout(capacity)) };
    NonNull::new(bytes).unwrap_or_else(|| handle_alloc_error(layout(capacity)))
}

fn free(bytes: NonNull<u8>, capacity: u32) {
    // SAFETY: `bytes` came from `allocate` with this capacity: `Spares` holds one size only, and
    // `Memory::drop` passes its own. Each block is freed once, by the one who owned it last.
    unsafe { dealloc(bytes.as_ptr(), layout(capacity)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filling(capacity: u32, keep: usize) -> (Filling, Rc<Spares>) {
        let spares = Rc::new(Spares::new(capacity, keep));
        (Filling::new(spares.clone()), spares)
    }

    #[test]
    fn memory_is_reused_only_when_nobody_keeps_it() {
        let (mut filling, _spares) = filling(100, 4);
        filling.space(10)[..3].copy_from_slice(b"one");
        let first = filling.cut(3);
        let at = first.as_ptr();
        drop(first);
        filling.space(10)[..3].copy_from_slice(b"two");
        let second = filling.cut(3);
        assert_eq!(second.as_ptr(), at, "the same memory, nobody kept it");
        filling.space(10)[..5].copy_from_slice(b"three");
        let third = filling.cut(5);
        assert_eq!((&*second, &*third), (&b"two"[..], &b"three"[..]));
        assert_eq!(filling.space(93).len(), 100, "too little is left: other memory");
        filling.space(93)[..4].copy_from_slice(b"four");
        let fourth = filling.cut(4).slice(1..3);
        drop(filling);
        assert_eq!((&*second, &*third, &*fourth), (&b"two"[..], &b"three"[..], &b"ou"[..]));
    }

    #[test]
    fn spares_are_kept_up_to_their_limit() {
        let (mut filling, spares) = filling(64, 2);
        let mut chunks = Vec::new();
        for round in 0..5u8 {
            filling.space(64).fill(round);
            chunks.push(filling.cut(64));
        }
        assert!(chunks.iter().zip(0..).all(|(chunk, round)| **chunk == [round; 64]));
        chunks.clear();
        assert_eq!(spares.free.borrow().len(), 2);
    }

    #[test]
    fn chunks_outlive_their_engine() {
        let (mut filling, spares) = filling(64, 2);
        filling.space(1)[0] = 9;
        let chunk = filling.cut(1);
        drop((filling, spares));
        assert_eq!(*chunk.clone(), [9]);
        assert_eq!(*Chunk::copied_from(b""), []);
    }

    #[test]
    #[should_panic(expected = "a slice lies in its chunk")]
    fn slices_stay_inside() {
        Chunk::copied_from(b"abc").slice(0..2).slice(1..3);
    }
}
