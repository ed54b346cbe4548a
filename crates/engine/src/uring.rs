//! The backend on io_uring, for kernels from 6.1 on that allow it.
//!
//! One `io_uring_enter` per turn submits all sends and waits. Every connection has one multishot
//! receive with the kernel, which fills buffers of a ring and reports each; at most one send is
//! under way per connection, and its memory stays put until the kernel is done. Operations are
//! named by slot, and a slot is used again only when none is left on it (`Table::free`).

mod buffers;
mod probe;
mod receive;
mod send;
mod table;

use crate::chunk::Chunk;
use crate::clock::{Nanos, SECOND, monotonic};
use crate::engine::{Counters, Options, Refusal};
use crate::event::{CloseReason, ConnId, Event, Tag};
use crate::listen::ListenSocket;
use crate::mailbox::{Bell, Waker};
use crate::output::Blocks;
use crate::socket::{self, Address, ConnectOptions, Peer, Socket};
use buffers::Buffers;
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{SocketFlags, sockopt};
use send::Gather;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use table::{State, Table};

/// All connections of one thread and the ring that works for them.
pub(crate) struct Uring {
    ring: IoUring,
    bell: Arc<Bell>,
    now: Nanos,
    options: Options,
    conns: Table,
    /// Operations that the kernel has not finished.
    under_way: usize,
    listeners: Vec<Option<Listener>>,
    /// What the kernel reported; `done_at` is the next one to look at.
    done: Vec<cqueue::Entry>,
    done_at: usize,
    pending: VecDeque<Pending>,
    dirty: Vec<u32>,
    changed: Vec<u32>,
    unflushed: usize,
    /// Small buffers, for clients' requests, and large ones, for servers' replies and values.
    buffers: [Buffers; 2],
    /// The buffer of the event that was returned last, to be given back when its chunk is dropped.
    last: Option<(usize, u16)>,
    /// What arrived for connections that are paused, by slot.
    stash: BTreeMap<u32, VecDeque<Chunk>>,
    blocks: Blocks,
    /// Descriptions of gathering sends under way; a slot's `gather` is an index.
    #[expect(clippy::vec_box, reason = "the kernel holds their addresses while the vector grows")]
    gathers: Vec<Box<Gather>>,
    free_gathers: Vec<u32>,
    spare_line: [u8; 1024],
    counters: Counters,
}

#[derive(Debug)]
struct Listener {
    socket: ListenSocket,
    tag: Tag,
}

/// An event that waits to be taken; the tag is looked up then, so that `retag` reaches it.
#[derive(Debug)]
enum Pending {
    Accepted(ConnId),
    Connected(ConnId),
    Drained(ConnId),
    Closed(ConnId, CloseReason),
    /// The stash of a connection that reads again.
    Stashed(ConnId),
}

/// What an operation was for: the upper half of its user data. The lower half is a slot.
const RECEIVE: u64 = 1 << 32;
const SEND: u64 = 2 << 32;
const CONNECT: u64 = 3 << 32;
const LISTEN: u64 = 4 << 32;
const BELL: u64 = 5 << 32;
const CANCEL: u64 = 6 << 32;

/// Operations that fit into the submission ring; more are submitted in between.
const SUBMISSIONS: u32 = 1024;
/// Reports that fit into the completion ring; the kernel keeps more for itself.
const COMPLETIONS: u32 = 8192;
/// Indices into `Uring::buffers`, which are also the kernel's names of the groups.
const SMALL: usize = 0;
const LARGE: usize = 1;
const SMALL_COUNT: u16 = 1024;
const LARGE_COUNT: u16 = 32;
/// A little more than a page, so that the busy first bytes of the buffers do not all compete for
/// the same few lines of the cache.
const SMALL_BYTES: u32 = 4096 + 64;
/// A value that is still this long is worth large buffers.
const LARGE_EXPECTED: usize = 16 << 10;
/// Output after which a flush submits at once instead of with the next wait.
const SUBMIT_BYTES: usize = 64 << 10;
/// Output appended in these states needs no place on the list: it is there, or must wait.
const UNFLUSHABLE: State = State::DIRTY.union(State::CONNECTING);
const ACCEPTS_MAX: usize = 32;
/// How often a finished connection is read once more before it is closed.
const LAST_READS_MAX: usize = 64;
/// How long the engine waits for the kernel's last reports when it is dropped.
const LAST_WAITS_MAX: usize = 200;

impl Uring {
    /// Sets everything up and tries it on a pair of sockets.
    pub(crate) fn new(options: &Options) -> io::Result<Result<Uring, Refusal>> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let built = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .dontfork()
            .build(SUBMISSIONS);
        let ring = match built {
            Ok(ring) => ring,
            Err(error) => return Ok(Err(probe::refusal("setting up a ring", error))),
        };
        let large = options.chunk_bytes.max(4096) + 64;
        let submitter = ring.submitter();
        let registered = Buffers::register(&submitter, SMALL as u16, SMALL_COUNT, SMALL_BYTES)
            .and_then(|small| {
                Ok([small, Buffers::register(&submitter, LARGE as u16, LARGE_COUNT, large)?])
            });
        let buffers = match registered {
            Ok(buffers) => buffers,
            Err(error) => return Ok(Err(probe::refusal("registering buffers", error))),
        };
        let mut uring = Uring {
            ring,
            bell: Arc::new(Bell::new(Some(eventfd))),
            now: monotonic(),
            options: options.clone(),
            conns: Table::new(),
            under_way: 0,
            listeners: Vec::new(),
            done: Vec::with_capacity(COMPLETIONS as usize),
            done_at: 0,
            pending: VecDeque::new(),
            dirty: Vec::new(),
            changed: Vec::new(),
            unflushed: 0,
            buffers,
            last: None,
            stash: BTreeMap::new(),
            blocks: Blocks::default(),
            gathers: Vec::new(),
            free_gathers: Vec::new(),
            spare_line: [0; 1024],
            counters: Counters::default(),
        };
        uring.arm_bell();
        match uring.try_out() {
            Ok(()) => Ok(Ok(uring)),
            Err(error) => Ok(Err(probe::refusal("receiving on a trial socket", error))),
        }
    }

    /// Sends a few bytes through a socket of our own; some systems accept the set-up only.
    fn try_out(&mut self) -> io::Result<()> {
        let (near, far) = UnixStream::pair()?;
        let conn = self.adopt(Socket::from(near), 0);
        rustix::net::send(&far, b"trial", rustix::net::SendFlags::NOSIGNAL)?;
        let deadline = self.now + SECOND;
        let mut outcome = Err(io::ErrorKind::TimedOut.into());
        while self.now < deadline && outcome.is_err() {
            self.poll(Some(deadline))?;
            while let Some(event) = self.next() {
                match event {
                    Event::Received { chunk, .. } if *chunk == *b"trial" => outcome = Ok(()),
                    Event::Closed { .. } => return Err(io::ErrorKind::Unsupported.into()),
                    _ => {}
                }
            }
        }
        self.close(conn);
        self.poll(Some(0))?;
        while self.next().is_some() {}
        self.counters = Counters::default();
        outcome
    }

    pub(crate) fn poll(&mut self, until: Option<Nanos>) -> io::Result<()> {
        self.give_back_last();
        self.apply_changes();
        self.done.drain(..self.done_at);
        self.done_at = 0;
        let has_work = !self.pending.is_empty() || !self.done.is_empty() || self.bell.is_rung();
        let wait = match until {
            _ if has_work => Some(0),
            Some(until) => Some(until.saturating_sub(self.now)),
            None => None,
        };
        let result = match wait {
            Some(nanos) => {
                let timeout = Timespec::new().sec(nanos / SECOND).nsec((nanos % SECOND) as u32);
                let args = SubmitArgs::new().timespec(&timeout);
                self.ring.submitter().submit_with_args(1, &args)
            }
            None => self.ring.submit_and_wait(1),
        };
        match result.map_err(|error| error.raw_os_error()) {
            // Busy means that reports have to be taken before more can be submitted: as below.
            Ok(_) | Err(Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {}
            Err(Some(errno)) => return Err(io::Error::from_raw_os_error(errno)),
            Err(None) => return Err(io::ErrorKind::Other.into()),
        }
        self.done.extend(self.ring.completion());
        self.counters.polls += 1;
        self.now = monotonic();
        Ok(())
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Option<Event> {
        self.give_back_last();
        loop {
            while let Some(pending) = self.pending.pop_front() {
                if let Some(event) = self.settle(pending) {
                    return Some(event);
                }
            }
            let Some(report) = self.done.get(self.done_at) else {
                return (self.bell.is_rung() && self.bell.take()).then_some(Event::Mail);
            };
            let (data, result, flags) = (report.user_data(), report.result(), report.flags());
            self.done_at += 1;
            if let Some(event) = self.react(data, result, flags) {
                return Some(event);
            }
        }
    }

    fn settle(&mut self, pending: Pending) -> Option<Event> {
        match pending {
            Pending::Accepted(conn) => {
                self.conns.get(conn).map(|c| Event::Accepted { listener: c.tag, conn })
            }
            Pending::Connected(conn) => {
                self.conns.get(conn).map(|c| Event::Connected { conn, tag: c.tag })
            }
            Pending::Drained(conn) => {
                self.conns.get(conn).map(|c| Event::Drained { conn, tag: c.tag })
            }
            Pending::Closed(conn, reason) => {
                let tag = self.conns.get(conn)?.tag;
                self.remove(conn.index);
                Some(Event::Closed { conn, tag, reason })
            }
            Pending::Stashed(conn) => self.unstash(conn),
        }
    }

    #[inline]
    fn react(&mut self, data: u64, result: i32, flags: u32) -> Option<Event> {
        let index = data as u32;
        match data & !u64::from(u32::MAX) {
            RECEIVE => return self.received(index, result, flags),
            SEND => self.sent(index, result),
            CONNECT => return self.connected(index),
            LISTEN => self.accept(index),
            BELL => self.arm_bell(),
            _ => {}
        }
        None
    }

    /// The result of a connection attempt is there.
    #[cold]
    fn connected(&mut self, index: u32) -> Option<Event> {
        self.under_way -= 1;
        let conn = self.conns.at(index);
        conn.output.state.remove(State::CONNECTING);
        if conn.output.state.intersects(State::GONE | State::DOOMED) {
            self.free_if_gone(index);
            return None;
        }
        let fd = conn.fd.as_ref().expect("a connecting socket is open");
        if let Ok(Err(errno)) | Err(errno) = sockopt::socket_error(fd) {
            self.doom(index, CloseReason::from_errno(errno));
            return None;
        }
        let _ = make_blocking(fd.as_fd());
        if !conn.output.is_empty() {
            self.mark_dirty(index);
        }
        self.mark_changed(index);
        let tag = self.conns.at(index).tag;
        Some(Event::Connected { conn: self.conns.id(index), tag })
    }

    #[cold]
    fn accept(&mut self, number: u32) {
        self.under_way -= 1;
        for _ in 0..ACCEPTS_MAX {
            let Some(Some(listener)) = self.listeners.get(number as usize) else { return };
            let tag = listener.tag;
            // Errors are about a connection that is gone already, or pass by themselves.
            let Ok(fd) = rustix::net::accept_with(&listener.socket.fd, SocketFlags::CLOEXEC) else {
                break;
            };
            if listener.socket.is_tcp {
                let _ = socket::tune(fd.as_fd(), None, 0);
            }
            let conn = self.adopt(Socket { fd, is_blocking: true }, tag);
            self.pending.push_back(Pending::Accepted(conn));
        }
        self.arm_listener(number);
    }

    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        self.now
    }

    pub(crate) fn adopt(&mut self, socket: Socket, tag: Tag) -> ConnId {
        if !socket.is_blocking {
            // In non-blocking mode the kernel reports "try again" instead of waiting for us.
            let _ = make_blocking(socket.fd.as_fd());
        }
        let conn = self.conns.insert(Some(socket.fd), tag, State::empty());
        self.mark_changed(conn.index);
        conn
    }

    pub(crate) fn add_listener(&mut self, socket: ListenSocket, tag: Tag) -> io::Result<()> {
        self.listeners.push(Some(Listener { socket, tag }));
        self.arm_listener(self.listeners.len() as u32 - 1);
        Ok(())
    }

    pub(crate) fn remove_listener(&mut self, tag: Tag) {
        for number in 0..self.listeners.len() {
            let place = &mut self.listeners[number];
            if place.take_if(|listener| listener.tag == tag).is_some() {
                // The operation refers to the socket, which listens as long as it is under way.
                self.cancel(LISTEN | number as u64);
            }
        }
    }

    pub(crate) fn connect(
        &mut self,
        address: &Address,
        options: &ConnectOptions,
        tag: Tag,
    ) -> ConnId {
        let fd = match socket::prepare(address, options, true) {
            Ok(fd) => fd,
            Err(errno) => return self.insert_doomed(tag, errno),
        };
        let result = match address.any() {
            Ok(address) => rustix::net::connect(&fd, &address),
            Err(_) => Err(Errno::INVAL),
        };
        match result {
            Ok(()) => {
                let conn = self.adopt(Socket { fd, is_blocking: false }, tag);
                self.conns.at(conn.index).output.state.insert(State::WANTS_LARGE);
                self.pending.push_back(Pending::Connected(conn));
                conn
            }
            Err(Errno::INPROGRESS) => {
                let state = State::CONNECTING | State::WANTS_LARGE;
                let conn = self.conns.insert(Some(fd), tag, state);
                let fd = Fd(self.conns.at(conn.index).raw_fd());
                let poll = opcode::PollAdd::new(fd, libc::POLLOUT as u32).build();
                self.submit(poll.user_data(CONNECT | u64::from(conn.index)));
                conn
            }
            // A Unix socket whose backlog is full says so, and there is no way to wait for it.
            Err(Errno::AGAIN) => self.insert_doomed(tag, Errno::CONNREFUSED),
            Err(errno) => self.insert_doomed(tag, errno),
        }
    }

    pub(crate) fn retag(&mut self, conn: ConnId, tag: Tag) {
        if let Some(conn) = self.conns.get_mut(conn) {
            conn.tag = tag;
        }
    }

    pub(crate) fn is_open(&self, conn: ConnId) -> bool {
        self.conns.get(conn).is_some()
    }

    pub(crate) fn open_conns(&self) -> usize {
        self.conns.open()
    }

    pub(crate) fn peer(&self, conn: ConnId) -> Option<Peer> {
        socket::peer_of(self.conns.get(conn)?.fd.as_ref()?.as_fd())
    }

    #[inline]
    pub(crate) fn write(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(to) = self.conns.get_mut(conn) else { return };
        if !to.takes_output() || bytes.is_empty() {
            return;
        }
        to.output.copy(bytes, &mut self.blocks);
        // As `wrote` does, without looking the connection up again: this is the hottest call.
        self.unflushed += bytes.len();
        if !to.output.state.intersects(UNFLUSHABLE) {
            to.output.state.insert(State::DIRTY);
            self.dirty.push(conn.index);
        }
    }

    pub(crate) fn write_chunk(&mut self, conn: ConnId, chunk: &Chunk, range: Range<usize>) {
        if range.len() < self.options.share_bytes_min {
            return self.write(conn, &chunk[range]);
        }
        let length = range.len();
        let part = chunk.slice(range);
        if let Some(to) = self.conns.get_mut(conn)
            && to.takes_output()
        {
            to.output.share(part, &mut self.blocks);
            self.wrote(conn.index, length);
        }
    }

    pub(crate) fn write_owned(&mut self, conn: ConnId, bytes: Box<dyn AsRef<[u8]>>) {
        if let Some(to) = self.conns.get_mut(conn)
            && to.takes_output()
        {
            let before = to.output.unsent();
            to.output.own(bytes, &mut self.blocks);
            let length = to.output.unsent() - before;
            if length > 0 {
                self.wrote(conn.index, length);
            }
        }
    }

    #[inline]
    fn wrote(&mut self, index: u32, length: usize) {
        self.unflushed += length;
        if !self.conns.at(index).output.state.intersects(UNFLUSHABLE) {
            self.mark_dirty(index);
        }
    }

    #[inline]
    pub(crate) fn unsent(&self, conn: ConnId) -> usize {
        self.conns.get(conn).map_or(0, |conn| conn.output.unsent())
    }

    pub(crate) fn flush(&mut self) {
        let submits = self.unflushed >= SUBMIT_BYTES;
        self.unflushed = 0;
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            let state = &mut self.conns.at(index).output.state;
            // The slot may have a new tenant, which then either is on the list itself or not dirty.
            if state.contains(State::DIRTY) {
                state.remove(State::DIRTY);
                self.send(index);
            }
        }
        self.dirty = dirty;
        if submits {
            // The bytes are in the cache now; they would not be after more work.
            let _ = self.ring.submit();
        }
    }

    pub(crate) fn unsent_total(&self) -> usize {
        self.blocks.unsent()
    }

    #[inline]
    pub(crate) fn unflushed(&self) -> usize {
        self.unflushed
    }

    pub(crate) fn pause(&mut self, conn: ConnId) {
        if let Some(found) = self.conns.get_mut(conn) {
            found.output.state.insert(State::PAUSED);
            self.mark_changed(conn.index);
        }
    }

    pub(crate) fn resume(&mut self, conn: ConnId) {
        if let Some(found) = self.conns.get_mut(conn)
            && found.output.state.contains(State::PAUSED)
        {
            found.output.state.remove(State::PAUSED);
            if found.output.state.contains(State::STASHED) {
                self.pending.push_back(Pending::Stashed(conn));
            }
            self.mark_changed(conn.index);
        }
    }

    pub(crate) fn notify_drained(&mut self, conn: ConnId, below: usize) {
        if let Some(found) = self.conns.get_mut(conn) {
            found.drained_below = u32::try_from(below.max(1)).unwrap_or(u32::MAX);
            self.check_drained(conn.index);
        }
    }

    pub(crate) fn allow_half_close(&mut self, conn: ConnId) {
        if let Some(conn) = self.conns.get_mut(conn) {
            conn.output.state.insert(State::HALF_CLOSE);
        }
    }

    pub(crate) fn finish(&mut self, conn: ConnId) {
        let Some(found) = self.conns.get_mut(conn) else { return };
        if found.output.state.intersects(State::FINISHING | State::DOOMED) {
            return;
        }
        found.output.state.insert(State::FINISHING);
        if found.output.is_empty() {
            self.finished(conn.index);
        } else {
            self.mark_changed(conn.index);
        }
    }

    pub(crate) fn close(&mut self, conn: ConnId) {
        if self.conns.get(conn).is_some() {
            self.remove(conn.index);
        }
    }

    pub(crate) fn expect(&mut self, conn: ConnId, bytes: usize) {
        if bytes < LARGE_EXPECTED {
            return;
        }
        // Who sends one large value sends more of them: the connection keeps the large buffers.
        if let Some(found) = self.conns.get_mut(conn)
            && !found.output.state.contains(State::WANTS_LARGE)
        {
            found.output.state.insert(State::WANTS_LARGE);
            self.mark_changed(conn.index);
        }
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker::new(self.bell.clone())
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Makes `Closed` the next and last event of a connection.
    #[cold]
    fn doom(&mut self, index: u32, reason: CloseReason) {
        let conn = self.conns.at(index);
        if conn.output.state.contains(State::DOOMED) {
            return;
        }
        conn.output.state.insert(State::DOOMED);
        conn.output.state.remove(State::DIRTY);
        conn.drained_below = 0;
        if !conn.output.state.contains(State::SENDING) {
            conn.output.clear(&mut self.blocks);
        }
        self.pending.push_back(Pending::Closed(self.conns.id(index), reason));
    }

    /// Ends the owner's view of a connection and everything the kernel does for it.
    fn remove(&mut self, index: u32) {
        self.conns.retire(index);
        let state = self.conns.at(index).output.state;
        if state.contains(State::STASHED) {
            self.stash.remove(&index);
        }
        for (flag, operation) in
            [(State::RECEIVING, RECEIVE), (State::SENDING, SEND), (State::CONNECTING, CONNECT)]
        {
            if state.contains(flag) {
                self.cancel(operation | u64::from(index));
            }
        }
        self.free_if_gone(index);
    }

    fn free_if_gone(&mut self, index: u32) {
        self.conns.free(index, &mut self.blocks);
    }

    #[inline]
    fn mark_dirty(&mut self, index: u32) {
        self.conns.at(index).output.state.insert(State::DIRTY);
        self.dirty.push(index);
    }

    fn mark_changed(&mut self, index: u32) {
        let state = &mut self.conns.at(index).output.state;
        if !state.contains(State::CHANGED) {
            state.insert(State::CHANGED);
            self.changed.push(index);
        }
    }

    #[cold]
    fn insert_doomed(&mut self, tag: Tag, errno: Errno) -> ConnId {
        let conn = self.conns.insert(None, tag, State::empty());
        self.doom(conn.index, CloseReason::from_errno(errno));
        conn
    }

    /// Waits for the bell again. Reading resets it, or it would ring for ever.
    #[cold]
    fn arm_bell(&mut self) {
        let eventfd = self.bell.eventfd().expect("an engine in the kernel has an eventfd");
        let _ = rustix::io::read(eventfd, &mut [0; 8]);
        let poll = opcode::PollAdd::new(Fd(eventfd.as_raw_fd()), libc::POLLIN as u32).build();
        // Not counted: it refers to no memory, and it stays for good.
        self.push(&poll.user_data(BELL));
    }

    #[cold]
    fn arm_listener(&mut self, number: u32) {
        if let Some(Some(listener)) = self.listeners.get(number as usize) {
            let fd = Fd(listener.socket.fd.as_raw_fd());
            let poll = opcode::PollAdd::new(fd, libc::POLLIN as u32).build();
            self.submit(poll.user_data(LISTEN | u64::from(number)));
        }
    }

    fn cancel(&mut self, operation: u64) {
        let cancel = opcode::AsyncCancel::new(operation).build();
        self.push(&cancel.user_data(CANCEL));
    }

    /// Queues an operation that will be reported.
    #[inline]
    fn submit(&mut self, entry: squeue::Entry) {
        self.under_way += 1;
        self.push(&entry);
    }

    #[inline]
    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: what the operation refers to stays valid until it is reported. Sockets and
            // output belong to a slot that `Table::free` keeps while `Conn::is_busy`; the output's
            // pieces do not move while it is frozen (`Output::copy_slow`) and are only dropped by
            // `sent`; gathers are reused only after `sent`; buffers of the ring are governed by
            // `Buffers`. Polls and cancellations refer to no memory. `Uring::drop` waits for all.
            let pushed = unsafe { self.ring.submission().push(entry) };
            if pushed.is_ok() {
                return;
            }
            if self.ring.submit().is_err() {
                // Too many reports wait; taking them makes room.
                self.done.extend(self.ring.completion());
            }
        }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // What was flushed is sent before everything else ends.
        let _ = self.ring.submit();
        let all = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push(&all.user_data(CANCEL));
        let timeout = Timespec::new().nsec(10_000_000);
        for _ in 0..LAST_WAITS_MAX {
            let wait = SubmitArgs::new().timespec(&timeout);
            let _ = self.ring.submitter().submit_with_args(1, &wait);
            self.done.extend(self.ring.completion());
            for report in self.done.drain(self.done_at..) {
                let kind = report.user_data() & !u64::from(u32::MAX);
                let counted = matches!(kind, RECEIVE | SEND | CONNECT | LISTEN);
                if counted && !cqueue::more(report.flags()) {
                    self.under_way -= 1;
                }
            }
            if self.under_way == 0 {
                return;
            }
        }
        // The kernel still uses some memory of ours. Losing it is better than sharing it.
        std::mem::forget(std::mem::replace(&mut self.conns, Table::new()));
        std::mem::forget(std::mem::take(&mut self.gathers));
        self.buffers.iter_mut().for_each(Buffers::leak);
    }
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uring({} connections)", self.conns.open())
    }
}

fn make_blocking(fd: std::os::fd::BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = fcntl_getfl(fd)?;
    if flags.contains(OFlags::NONBLOCK) {
        fcntl_setfl(fd, flags - OFlags::NONBLOCK)?;
    }
    Ok(())
}

fn reason_of(errno: i32) -> CloseReason {
    CloseReason::from_errno(Errno::from_raw_os_error(errno))
}
