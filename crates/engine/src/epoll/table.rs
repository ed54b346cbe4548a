//! The connections of an epoll engine: small records in slots with generations.
//!
//! Not `Slab`, because a record here carries its own generation and chains the free slots through a
//! field that is idle then: that way it fits into one cache line.

use crate::event::{ConnId, Tag};
use crate::output::{Blocks, Output};
use std::os::fd::OwnedFd;

/// All connections of one engine.
pub(super) struct Table {
    conns: Vec<Conn>,
    /// The first free slot, or `NONE`; the others are chained through `Conn::expected`.
    free: u32,
    open: usize,
}

/// One connection, in exactly one cache line: with a thousand of them, misses are the cost.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Conn {
    pub(super) tag: Tag,
    /// Also holds the state.
    pub(super) output: Output<State>,
    /// Changes whenever the connection goes away, so that its ids and reports find nobody.
    pub(super) generation: u32,
    /// None in a free slot, and after an attempt to connect that failed at once.
    pub(super) fd: Option<OwnedFd>,
    /// Bytes of large values still to come; in a free slot, the next free one.
    pub(super) expected: u32,
    /// The mark for `Drained`, or 0.
    pub(super) drained_below: u32,
}

const _: () = assert!(size_of::<Conn>() == 64, "a connection fills one cache line");

bitflags::bitflags! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct State: u16 {
        /// The result of `connect` is not known yet.
        const CONNECTING = 1;
        /// The owner wants no bytes now.
        const PAUSED = 1 << 1;
        /// The peer sends no more.
        const ENDED = 1 << 2;
        /// The owner wants `Ended` instead of `Closed` at the end of file.
        const HALF_CLOSE = 1 << 3;
        /// To be closed when the output is sent.
        const FINISHING = 1 << 4;
        /// Sending failed because the peer broke the connection; output is dropped from now on.
        const BROKEN = 1 << 5;
        /// `Closed` is pending; nothing else happens any more.
        const DOOMED = 1 << 6;
        /// On the list of connections to flush.
        const DIRTY = 1 << 7;
        /// The kernel took less than we have: waiting for it to take more.
        const BLOCKED = 1 << 8;
        /// On the list of connections whose interest may have changed.
        const CHANGED = 1 << 9;
        /// Not in the epoll set: nothing is wanted, but a hang-up would be reported all the time.
        const DETACHED = 1 << 10;
        /// Epoll is told to watch for bytes to read.
        const WATCHES_IN = 1 << 11;
        /// Epoll is told to watch for room to write.
        const WATCHES_OUT = 1 << 12;
    }
}

/// No slot: the end of the free list.
const NONE: u32 = u32::MAX;

impl Table {
    pub(super) fn new() -> Table {
        Table { conns: Vec::new(), free: NONE, open: 0 }
    }

    pub(super) fn open(&self) -> usize {
        self.open
    }

    pub(super) fn insert(&mut self, fd: Option<OwnedFd>, tag: Tag, state: State) -> ConnId {
        let index = if self.free == NONE {
            self.conns.push(Conn::vacant(0));
            (self.conns.len() - 1) as u32
        } else {
            let index = self.free;
            self.free = self.conns[index as usize].expected;
            index
        };
        let conn = &mut self.conns[index as usize];
        (conn.fd, conn.tag, conn.output.state, conn.expected) = (fd, tag, state, 0);
        self.open += 1;
        ConnId { index, generation: conn.generation }
    }

    /// Closes the socket and frees the slot; from here on its ids are stale.
    pub(super) fn remove(&mut self, index: u32, blocks: &mut Blocks) {
        let conn = &mut self.conns[index as usize];
        conn.output.clear(blocks);
        *conn = Conn::vacant(conn.generation.wrapping_add(1));
        conn.expected = self.free;
        self.free = index;
        self.open -= 1;
    }

    pub(super) fn id(&self, index: u32) -> ConnId {
        ConnId { index, generation: self.conns[index as usize].generation }
    }

    /// The slot with this number, which exists.
    #[inline]
    pub(super) fn at(&mut self, index: u32) -> &mut Conn {
        &mut self.conns[index as usize]
    }

    /// The connection of that id, unless it is gone.
    #[inline]
    pub(super) fn get(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(id.index as usize).filter(|conn| conn.generation == id.generation)
    }

    /// The connection of that id for changing, unless it is gone.
    #[inline]
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.index as usize).filter(|conn| conn.generation == id.generation)
    }
}

impl Conn {
    fn vacant(generation: u32) -> Conn {
        let output = Output::new(State::empty());
        Conn { tag: 0, output, generation, fd: None, expected: 0, drained_below: 0 }
    }

    /// Whether bytes from the peer are wanted.
    #[inline]
    pub(super) fn is_reading(&self) -> bool {
        let not =
            State::CONNECTING | State::PAUSED | State::ENDED | State::FINISHING | State::DOOMED;
        !self.output.state.intersects(not)
    }

    /// Whether there is a point in keeping more output.
    #[inline]
    pub(super) fn takes_output(&self) -> bool {
        !self.output.state.intersects(State::FINISHING | State::BROKEN | State::DOOMED)
    }

    /// What epoll should watch for.
    pub(super) fn wanted(&self) -> State {
        let waits = State::CONNECTING | State::BLOCKED;
        let mut wanted = State::empty();
        wanted.set(State::WATCHES_IN, self.is_reading());
        wanted.set(State::WATCHES_OUT, self.output.state.intersects(waits));
        wanted
    }
}
