//! The connections of an io_uring engine.
//!
//! Like the epoll backend's table, with one difference: a slot stays occupied after its connection
//! is gone until the kernel has finished every operation on it, because those operations still use
//! its output and its socket.

use crate::event::{ConnId, Tag};
use crate::output::{Blocks, Output};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// All connections of one engine.
pub(super) struct Table {
    conns: Vec<Conn>,
    /// The first free slot, or `NONE`; the others are chained through `Conn::gather`.
    free: u32,
    open: usize,
}

/// One connection, in exactly one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Conn {
    pub(super) tag: Tag,
    /// Also holds the state.
    pub(super) output: Output<State>,
    /// Changes when the owner's view of the connection ends, so that its ids find nobody.
    pub(super) generation: u32,
    /// None in a free slot, and after an attempt to connect that failed at once.
    pub(super) fd: Option<OwnedFd>,
    /// The gathering send that is under way, or `NONE`; in a free slot, the next free one.
    pub(super) gather: u32,
    /// The mark for `Drained`, or 0.
    pub(super) drained_below: u32,
}

const _: () = assert!(size_of::<Conn>() == 64, "a connection fills one cache line");

bitflags::bitflags! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct State: u16 {
        /// Waits for the result of `connect`; an operation of the kernel's.
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
        /// On the list of connections whose receiving may have to start or stop.
        const CHANGED = 1 << 8;
        /// A receive is with the kernel.
        const RECEIVING = 1 << 9;
        /// That receive uses the large buffers.
        const RECEIVES_LARGE = 1 << 10;
        /// That receive is asked to stop.
        const STOPPING = 1 << 11;
        /// Large buffers should be used.
        const WANTS_LARGE = 1 << 12;
        /// A send is with the kernel, which reads the output.
        const SENDING = 1 << 13;
        /// Bytes that arrived during a pause wait in the stash.
        const STASHED = 1 << 14;
        /// The owner has let go; the slot waits for the kernel.
        const GONE = 1 << 15;
    }
}

/// No slot, or nothing.
pub(super) const NONE: u32 = u32::MAX;

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
            self.free = self.conns[index as usize].gather;
            index
        };
        let conn = &mut self.conns[index as usize];
        (conn.fd, conn.tag, conn.output.state, conn.gather) = (fd, tag, state, NONE);
        self.open += 1;
        ConnId { index, generation: conn.generation }
    }

    /// Ends the owner's view: from here on the ids are stale. The slot stays until `free`.
    pub(super) fn retire(&mut self, index: u32) {
        let conn = &mut self.conns[index as usize];
        conn.generation = conn.generation.wrapping_add(1);
        conn.drained_below = 0;
        conn.output.state.insert(State::GONE);
        self.open -= 1;
    }

    /// Closes the socket of a retired connection and frees its slot, if the kernel is done with it.
    /// Says whether it was.
    pub(super) fn free(&mut self, index: u32, blocks: &mut Blocks) -> bool {
        let conn = &mut self.conns[index as usize];
        if conn.is_busy() || !conn.output.state.contains(State::GONE) {
            return false;
        }
        conn.output.clear(blocks);
        *conn = Conn::vacant(conn.generation);
        conn.gather = self.free;
        self.free = index;
        true
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
        Conn { tag: 0, output, generation, fd: None, gather: NONE, drained_below: 0 }
    }

    /// Whether the kernel works on this connection.
    pub(super) fn is_busy(&self) -> bool {
        self.output.state.intersects(State::CONNECTING | State::RECEIVING | State::SENDING)
    }

    /// Whether bytes from the peer are wanted.
    #[inline]
    pub(super) fn is_reading(&self) -> bool {
        let not = State::CONNECTING
            | State::PAUSED
            | State::ENDED
            | State::FINISHING
            | State::DOOMED
            | State::GONE;
        !self.output.state.intersects(not)
    }

    /// Whether there is a point in keeping more output.
    #[inline]
    pub(super) fn takes_output(&self) -> bool {
        !self.output.state.intersects(State::FINISHING | State::BROKEN | State::DOOMED)
    }

    /// The socket, which every connection that the kernel works on has.
    pub(super) fn raw_fd(&self) -> RawFd {
        self.fd.as_ref().expect("a connection under way has a socket").as_raw_fd()
    }
}
