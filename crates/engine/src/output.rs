//! Bytes waiting to be sent on one connection, and the spare blocks they are copied into.
//!
//! Small writes are copied into one contiguous block, so that the usual flush is one plain `send`.
//! Shared chunks and foreign memory queue up between blocks and make it a gathering send. A
//! connection without output holds no memory: its block is back with the spares, on top, so that
//! the next connection gets it while it is in the cache.

use crate::chunk::Chunk;
use crate::foreign::Foreign;
use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;

/// What one connection still has to send. 40 bytes while there is nothing.
pub(crate) struct Output<S = ()> {
    /// The last piece, which further copies are appended to; usually the only one. Without
    /// capacity if there is none.
    block: Vec<u8>,
    /// Pieces before the block.
    earlier: Option<Box<Earlier>>,
    /// How much of the block is sent; only ever above 0 while there is nothing earlier.
    sent: u32,
    /// The size of block this connection needed lately, as an index into `BLOCK_BYTES`.
    class: u8,
    /// The kernel reads the block just now, so it has to stay where it is.
    pub(crate) frozen: bool,
    /// What the backend notes about the connection. It lives here, in two bytes that would be
    /// padding, so that a connection fits into one cache line.
    pub(crate) state: S,
}

struct Earlier {
    pieces: VecDeque<Piece>,
    bytes: usize,
}

enum Piece {
    Block { bytes: Vec<u8>, sent: usize },
    Chunk { chunk: Chunk, sent: usize },
    Foreign { bytes: Foreign, sent: usize },
}

/// Unused blocks by size, newest on top, and the sum of what all outputs hold.
#[derive(Default)]
pub(crate) struct Blocks {
    /// Unsent bytes of all outputs that use these blocks.
    unsent: usize,
    free: [Vec<Vec<u8>>; BLOCK_BYTES.len()],
}

/// Sizes of blocks. The first holds most replies, the last a busy backend's batch of requests.
const BLOCK_BYTES: [usize; 3] = [2 << 10, 16 << 10, 64 << 10];
/// How many unused blocks of each size are kept: some 4 MiB altogether.
const BLOCKS_KEPT: [usize; 3] = [1024, 64, 16];
/// The largest number of pieces in one gathering send; more are sent with the next call.
pub(crate) const GATHER_MAX: usize = 64;

impl<S> Output<S> {
    pub(crate) fn new(state: S) -> Output<S> {
        Output { block: Vec::new(), earlier: None, sent: 0, class: 0, frozen: false, state }
    }

    #[inline]
    pub(crate) fn unsent(&self) -> usize {
        let earlier = self.earlier.as_ref().map_or(0, |earlier| earlier.bytes);
        earlier + self.block.len() - self.sent as usize
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.block.is_empty() && self.earlier.is_none()
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub(crate) fn copy(&mut self, bytes: &[u8], blocks: &mut Blocks) {
        blocks.unsent += bytes.len();
        if self.block.capacity() - self.block.len() >= bytes.len() {
            self.block.extend_from_slice(bytes);
        } else {
            self.copy_slow(bytes, blocks);
        }
    }

    fn copy_slow(&mut self, bytes: &[u8], blocks: &mut Blocks) {
        let waiting = &self.block[self.sent as usize..];
        let needed = waiting.len() + bytes.len();
        if needed > BLOCK_BYTES[BLOCK_BYTES.len() - 1] || self.frozen {
            // Too much for one block, or the block may not move: start another behind it.
            self.queue_block();
            self.block = blocks.take(self.class.max(class_of(bytes.len())), bytes.len());
        } else {
            // Move to a larger block, so that the output stays contiguous.
            let mut larger = blocks.take(self.class.max(class_of(needed)), needed);
            larger.extend_from_slice(waiting);
            blocks.put(std::mem::replace(&mut self.block, larger));
            self.sent = 0;
            self.class = self.class.max(class_of(needed));
        }
        self.block.extend_from_slice(bytes);
    }

    /// Appends `chunk` without a copy.
    pub(crate) fn share(&mut self, chunk: Chunk, blocks: &mut Blocks) {
        let bytes = chunk.len();
        blocks.unsent += bytes;
        self.queue_block();
        self.queue(Piece::Chunk { chunk, sent: 0 }, bytes);
    }

    /// Appends foreign memory.
    pub(crate) fn own(&mut self, bytes: Box<dyn AsRef<[u8]>>, blocks: &mut Blocks) {
        let bytes = Foreign::new(bytes);
        let length = bytes.len();
        blocks.unsent += length;
        self.queue_block();
        self.queue(Piece::Foreign { bytes, sent: 0 }, length);
    }

    /// Moves the block behind the earlier pieces, so that something else can follow it.
    fn queue_block(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.block);
        let sent = std::mem::take(&mut self.sent) as usize;
        let unsent = bytes.len() - sent;
        self.frozen = false;
        self.queue(Piece::Block { bytes, sent }, unsent);
    }

    fn queue(&mut self, piece: Piece, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let earlier = self
            .earlier
            .get_or_insert_with(|| Box::new(Earlier { pieces: VecDeque::new(), bytes: 0 }));
        earlier.pieces.push_back(piece);
        earlier.bytes += bytes;
    }

    /// All output, if it is one contiguous block.
    #[inline]
    pub(crate) fn contiguous(&self) -> Option<&[u8]> {
        match self.earlier {
            None => Some(&self.block[self.sent as usize..]),
            Some(_) => None,
        }
    }

    /// Fills `slices` with the front of the output; returns how many it used and their bytes.
    pub(crate) fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>; GATHER_MAX]) -> (usize, usize) {
        let earlier = self.earlier.iter().flat_map(|earlier| &earlier.pieces).map(Piece::unsent);
        let block = Some(&self.block[self.sent as usize..]).filter(|bytes| !bytes.is_empty());
        let (mut count, mut total) = (0, 0);
        for (slot, bytes) in slices.iter_mut().zip(earlier.chain(block)) {
            *slot = IoSlice::new(bytes);
            count += 1;
            total += bytes.len();
        }
        (count, total)
    }

    /// Forgets the first `bytes` bytes, which the kernel took.
    pub(crate) fn advance(&mut self, bytes: usize, blocks: &mut Blocks) {
        blocks.unsent -= bytes;
        let mut left = bytes;
        while let Some(earlier) = &mut self.earlier {
            left = earlier.advance(left, blocks);
            if !earlier.pieces.is_empty() {
                return;
            }
            self.earlier = None;
        }
        self.sent += left as u32;
        if self.sent as usize == self.block.len() {
            self.release(blocks);
        }
    }

    /// Gives the block back: all of it is sent, or nobody wants it any more.
    fn release(&mut self, blocks: &mut Blocks) {
        // A connection keeps asking for large blocks only while it fills them.
        if self.class > class_of(self.block.len()) {
            self.class -= 1;
        }
        blocks.put(std::mem::take(&mut self.block));
        self.sent = 0;
        self.frozen = false;
    }

    /// Drops all output.
    pub(crate) fn clear(&mut self, blocks: &mut Blocks) {
        blocks.unsent -= self.unsent();
        if let Some(mut earlier) = self.earlier.take() {
            let bytes = earlier.bytes;
            earlier.advance(bytes, blocks);
        }
        self.release(blocks);
    }

    /// Copies small pieces out of large memory, because the peer is slow to take them.
    ///
    /// Otherwise a client that does not read would keep whole receive chunks for the sake of a part
    /// of each, and its limit on unsent bytes would say nothing about memory.
    pub(crate) fn detach(&mut self) {
        let Some(earlier) = &mut self.earlier else { return };
        for piece in &mut earlier.pieces {
            if let Piece::Chunk { chunk, sent } = piece
                && (chunk.len() - *sent) * DETACH_SHARE < chunk.held_bytes()
            {
                *piece = Piece::Block { bytes: chunk[*sent..].to_vec(), sent: 0 };
            }
        }
    }
}

impl Earlier {
    /// Forgets up to `bytes` bytes; returns how many of them are left for what follows.
    fn advance(&mut self, bytes: usize, blocks: &mut Blocks) -> usize {
        let mut left = bytes;
        while let Some(piece) = self.pieces.front_mut() {
            let unsent = piece.unsent().len();
            if left < unsent {
                piece.skip(left);
                self.bytes -= left;
                return 0;
            }
            left -= unsent;
            self.bytes -= unsent;
            if let Some(Piece::Block { bytes, .. }) = self.pieces.pop_front() {
                blocks.put(bytes);
            }
        }
        left
    }
}

impl Piece {
    fn unsent(&self) -> &[u8] {
        match self {
            Piece::Block { bytes, sent } => &bytes[*sent..],
            Piece::Chunk { chunk, sent } => &chunk[*sent..],
            Piece::Foreign { bytes, sent } => &bytes[*sent..],
        }
    }

    fn skip(&mut self, bytes: usize) {
        match self {
            Piece::Block { sent, .. } | Piece::Chunk { sent, .. } | Piece::Foreign { sent, .. } => {
                *sent += bytes
            }
        }
    }
}

impl<S> fmt::Debug for Output<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({} bytes unsent)", self.unsent())
    }
}

impl Blocks {
    /// Unsent bytes of all outputs together.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent
    }

    /// A block of at least `least` bytes, of the size `class` if that is enough.
    fn take(&mut self, class: u8, least: usize) -> Vec<u8> {
        let class = class as usize;
        if least > BLOCK_BYTES[class] {
            return Vec::with_capacity(least);
        }
        self.free[class].pop().unwrap_or_else(|| Vec::with_capacity(BLOCK_BYTES[class]))
    }

    fn put(&mut self, mut block: Vec<u8>) {
        let Some(class) = BLOCK_BYTES.iter().position(|bytes| *bytes == block.capacity()) else {
            return;
        };
        if self.free[class].len() < BLOCKS_KEPT[class] {
            block.clear();
            self.free[class].push(block);
        }
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.free.iter().map(Vec::len)).finish()
    }
}

/// The smallest class that holds `bytes`, or the largest there is.
fn class_of(bytes: usize) -> u8 {
    let last = BLOCK_BYTES.len() - 1;
    BLOCK_BYTES[..last].iter().position(|block| bytes <= *block).unwrap_or(last) as u8
}

/// A piece that is less than one part in this many of the memory it keeps is copied out when the
/// peer is slow.
const DETACH_SHARE: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `bytes` bytes off the front, as a send would.
    fn send(output: &mut Output, blocks: &mut Blocks, bytes: usize) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); GATHER_MAX];
        let (count, _) = output.gather(&mut slices);
        let mut sent: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
        sent.truncate(bytes);
        output.advance(sent.len(), blocks);
        sent
    }

    #[test]
    fn small_writes_make_one_contiguous_block() {
        let (mut output, mut blocks) = (Output::new(()), Blocks::default());
        let mut expected = Vec::new();
        for n in 0..3000u32 {
            output.copy(&n.to_le_bytes(), &mut blocks);
            expected.extend_from_slice(&n.to_le_bytes());
        }
        assert_eq!(output.contiguous(), Some(&expected[..]));
        output.advance(expected.len(), &mut blocks);
        assert!(output.is_empty() && output.unsent() == 0);
        assert_eq!(output.block.capacity(), 0, "an idle connection holds no memory");
    }

    #[test]
    fn pieces_of_all_kinds_keep_their_order() {
        // Every size of partial send must give the same bytes.
        for step in [100, 5000, 1 << 20] {
            let (mut output, mut blocks) = (Output::new(()), Blocks::default());
            let mut expected = Vec::new();
            for round in 0..6u8 {
                let copied = vec![round; 700];
                let shared = vec![round + 50; 1500];
                let owned = vec![round + 100; 900];
                output.copy(&copied, &mut blocks);
                output.share(Chunk::copied_from(&shared).slice(100..1400), &mut blocks);
                output.own(Box::new(owned.clone()), &mut blocks);
                output.own(Box::new(Vec::new()), &mut blocks);
                output.copy(&copied, &mut blocks);
                expected.extend([&copied[..], &shared[100..1400], &owned, &copied].concat());
            }
            assert_eq!(output.unsent(), expected.len());
            let mut sent = Vec::new();
            while !output.is_empty() {
                sent.extend(send(&mut output, &mut blocks, step));
                assert_eq!(output.unsent() + sent.len(), expected.len());
                assert_eq!(blocks.unsent(), output.unsent());
                output.detach();
            }
            assert_eq!(sent, expected);
        }
    }

    #[test]
    fn a_large_copy_and_what_follows_arrive_whole() {
        let (mut output, mut blocks) = (Output::new(()), Blocks::default());
        let large = [7; 250_000];
        output.copy(b"head", &mut blocks);
        output.copy(&large, &mut blocks);
        output.copy(b"tail", &mut blocks);
        let mut sent = Vec::new();
        while !output.is_empty() {
            sent.extend(send(&mut output, &mut blocks, 30_000));
        }
        assert_eq!(sent, [&b"head"[..], &large, b"tail"].concat());
    }

    #[test]
    fn blocks_go_round_and_shrink_again() {
        let (mut output, mut blocks) = (Output::new(()), Blocks::default());
        output.copy(&[1; 40_000], &mut blocks);
        assert_eq!(output.block.capacity(), 64 << 10);
        output.clear(&mut blocks);
        for expected in [64 << 10, 16 << 10, 2 << 10, 2 << 10] {
            output.copy(&[1; 100], &mut blocks);
            assert_eq!(output.block.capacity(), expected);
            output.clear(&mut blocks);
        }
        assert_eq!(blocks.unsent(), 0);
        assert_eq!(blocks.free[0].len() + blocks.free[1].len() + blocks.free[2].len(), 3);
    }

    #[test]
    fn a_frozen_block_does_not_move() {
        let (mut output, mut blocks) = (Output::new(()), Blocks::default());
        output.copy(&[1; 2000], &mut blocks);
        let address = output.contiguous().map(<[u8]>::as_ptr);
        output.frozen = true;
        output.copy(&[2; 2000], &mut blocks);
        let mut slices = [IoSlice::new(&[]); GATHER_MAX];
        output.gather(&mut slices);
        assert_eq!(Some(slices[0].as_ptr()), address);
        assert_eq!(output.unsent(), 4000);
    }

    #[test]
    fn small_parts_do_not_keep_large_chunks() {
        let (mut output, mut blocks) = (Output::new(()), Blocks::default());
        let chunk = Chunk::copied_from(&[7; 10_000]);
        output.share(chunk.slice(0..2000), &mut blocks);
        output.share(chunk.slice(2000..9000), &mut blocks);
        output.detach();
        let pieces = &output.earlier.as_ref().expect("two pieces were queued").pieces;
        assert!(matches!(pieces[0], Piece::Block { .. }));
        assert!(matches!(pieces[1], Piece::Chunk { .. }));
        assert_eq!(send(&mut output, &mut blocks, 9000), vec![7; 9000]);
    }
}
