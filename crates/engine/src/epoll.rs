//! The backend on level-triggered epoll, which works on every Linux.
//!
//! System calls are what costs here, so: one `epoll_wait` per turn, one receive per readiness (what
//! is left makes the next turn ready again), one send per connection with output per flush, and
//! `epoll_ctl` only where the interest really differs at the end of a turn. All calls carry
//! `MSG_DONTWAIT`, so sockets may be in either mode.

use crate::chunk::{Chunk, Filling, Spares};
use crate::clock::{Nanos, monotonic};
use crate::engine::{Counters, Options};
use crate::event::{CloseReason, ConnId, Event, Tag};
use crate::listen::ListenSocket;
use crate::mailbox::{Bell, Waker};
use crate::output::{Blocks, GATHER_MAX, Output};
use crate::socket::{self, Address, ConnectOptions, Peer, Socket};
use rustix::event::epoll;
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, sockopt};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use table::{State, Table};

mod table;

/// All connections of one thread and the epoll instance that watches them.
pub(crate) struct Epoll {
    epoll: OwnedFd,
    bell: Arc<Bell>,
    now: Nanos,
    options: Options,
    conns: Table,
    listeners: Vec<Option<Listener>>,
    /// What the kernel reported in this turn; `ready_at` is the next one to look at.
    ready: Vec<epoll::Event>,
    ready_at: usize,
    /// Events that the kernel does not report.
    pending: VecDeque<Pending>,
    /// Connections with output to send at the next flush.
    dirty: Vec<u32>,
    /// Connections whose interest may differ from what epoll knows.
    changed: Vec<u32>,
    unflushed: usize,
    hot: Filling,
    large: Filling,
    blocks: Blocks,
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
}

/// What epoll reports for the bell.
const BELL: u64 = u64::MAX;
/// What epoll reports for listener n is this plus n; connections stay below.
const LISTENERS: u32 = 0xffff_0000;
/// Reports taken from the kernel with one wait.
const READY_MAX: usize = 512;
/// Output appended in these states needs no place on the list: it is there, or must wait.
const UNFLUSHABLE: State = State::DIRTY.union(State::BLOCKED).union(State::CONNECTING);
/// Connections accepted from one listener per turn, so that a storm of them does not starve others.
const ACCEPTS_MAX: usize = 32;
/// The kernel takes no longer waits than 2^31 ms; waking once a day for nothing is no burden.
const WAIT_MAX: Nanos = 86_400_000_000_000;
/// Unused chunks and large chunks that are kept for later.
const CHUNK_SPARES: usize = 16;
const LARGE_CHUNK_SPARES: usize = 6;

impl Epoll {
    pub(crate) fn new(options: Options) -> io::Result<Epoll> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered, so that it need not be read: each ring of the bell is a new edge.
        let interest = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &eventfd, epoll::EventData::new_u64(BELL), interest)?;
        let hot = Rc::new(Spares::new(options.chunk_bytes.max(4096), CHUNK_SPARES));
        let large = Rc::new(Spares::new(options.large_chunk_bytes.max(4096), LARGE_CHUNK_SPARES));
        Ok(Epoll {
            epoll,
            bell: Arc::new(Bell::new(Some(eventfd))),
            now: monotonic(),
            options,
            conns: Table::new(),
            listeners: Vec::new(),
            ready: Vec::with_capacity(READY_MAX),
            ready_at: 0,
            pending: VecDeque::new(),
            dirty: Vec::new(),
            changed: Vec::new(),
            unflushed: 0,
            hot: Filling::new(hot),
            large: Filling::new(large),
            blocks: Blocks::default(),
            counters: Counters::default(),
        })
    }

    pub(crate) fn poll(&mut self, until: Option<Nanos>) -> io::Result<()> {
        self.apply_changes();
        let wait = match until {
            _ if !self.pending.is_empty() || self.bell.is_rung() => Some(0),
            Some(until) => Some(until.saturating_sub(self.now).min(WAIT_MAX)),
            None => None,
        };
        let timeout = wait.map(|nanos| Timespec {
            tv_sec: (nanos / 1_000_000_000) as i64,
            tv_nsec: (nanos % 1_000_000_000) as _,
        });
        self.ready.clear();
        self.ready_at = 0;
        let spare = rustix::buffer::spare_capacity(&mut self.ready);
        match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.counters.polls += 1;
        self.now = monotonic();
        Ok(())
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(pending) = self.pending.pop_front() {
                if let Some(event) = self.settle(pending) {
                    return Some(event);
                }
            }
            let Some(report) = self.ready.get(self.ready_at).copied() else {
                return (self.bell.is_rung() && self.bell.take()).then_some(Event::Mail);
            };
            self.ready_at += 1;
            if let Some(event) = self.react(report.data.u64(), report.flags) {
                return Some(event);
            }
        }
    }

    /// Turns a pending event into one for the owner, unless the connection is gone.
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
                self.conns.remove(conn.index, &mut self.blocks);
                Some(Event::Closed { conn, tag, reason })
            }
        }
    }

    /// Does what one report of the kernel asks for.
    #[inline]
    fn react(&mut self, data: u64, flags: epoll::EventFlags) -> Option<Event> {
        let (index, generation) = (data as u32, (data >> 32) as u32);
        if index >= LISTENERS {
            return self.react_special(data);
        }
        let conn = self.conns.get(ConnId { index, generation })?;
        if conn.output.state.contains(State::DOOMED) {
            return None;
        }
        let out_or_end = epoll::EventFlags::OUT | epoll::EventFlags::ERR | epoll::EventFlags::HUP;
        if flags.intersects(out_or_end) {
            if conn.output.state.contains(State::CONNECTING) {
                return self.connected(index);
            }
            if flags.contains(epoll::EventFlags::OUT) && conn.output.state.contains(State::BLOCKED)
            {
                self.send(index);
            }
        }
        let conn = self.conns.at(index);
        if conn.is_reading() {
            if flags == epoll::EventFlags::OUT {
                return None;
            }
            return self.receive(index);
        }
        if flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP) {
            self.hung_up(index);
        }
        None
    }

    fn react_special(&mut self, data: u64) -> Option<Event> {
        // The bell only has to end the wait; `next` asks it itself.
        if data != BELL {
            self.accept((data as u32 - LISTENERS) as usize);
        }
        None
    }

    /// The result of a connection attempt is there.
    #[cold]
    fn connected(&mut self, index: u32) -> Option<Event> {
        let conn = self.conns.at(index);
        let fd = conn.fd.as_ref().expect("a connecting socket is open");
        if let Ok(Err(errno)) | Err(errno) = sockopt::socket_error(fd) {
            self.doom(index, CloseReason::from_errno(errno));
            return None;
        }
        conn.output.state.remove(State::CONNECTING);
        if !conn.output.is_empty() {
            self.mark_dirty(index);
        }
        self.mark_changed(index);
        let conn = self.conns.id(index);
        Some(Event::Connected { conn, tag: self.conns.at(index).tag })
    }

    /// Receives once. What is left makes the connection ready again in the next turn.
    #[inline]
    fn receive(&mut self, index: u32) -> Option<Event> {
        let conn = self.conns.at(index);
        let fd = conn.fd.as_ref().expect("a watched connection has a socket");
        let hot_bytes = self.options.chunk_bytes as usize;
        // A value that fits into the hot memory arrives there with the warmest cache.
        let filling =
            if conn.expected as usize > hot_bytes { &mut self.large } else { &mut self.hot };
        let space = filling.space(hot_bytes / 4);
        match rustix::net::recv(fd, space, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => self.ended(index),
            Ok((_, length)) => {
                let chunk = filling.cut(length);
                conn.expected = conn.expected.saturating_sub(length as u32);
                self.counters.receives += 1;
                self.counters.received_bytes += length as u64;
                let id = ConnId { index, generation: conn.generation };
                Some(Event::Received { conn: id, tag: conn.tag, chunk })
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(errno) => {
                self.doom(index, CloseReason::from_errno(errno));
                None
            }
        }
    }

    /// The peer sends no more.
    #[cold]
    fn ended(&mut self, index: u32) -> Option<Event> {
        let conn = self.conns.at(index);
        if conn.output.state.contains(State::BROKEN) {
            self.doom(index, CloseReason::Reset);
            return None;
        }
        if !conn.output.state.contains(State::HALF_CLOSE) {
            self.doom(index, CloseReason::Eof);
            return None;
        }
        conn.output.state.insert(State::ENDED);
        let tag = conn.tag;
        self.mark_changed(index);
        Some(Event::Ended { conn: self.conns.id(index), tag })
    }

    /// Both directions are over, or there is an error, on a connection that does not read now.
    #[cold]
    fn hung_up(&mut self, index: u32) {
        let conn = self.conns.at(index);
        let fd = conn.fd.as_ref().expect("a watched connection has a socket");
        if let Ok(Err(errno)) | Err(errno) = sockopt::socket_error(fd) {
            return self.doom(index, CloseReason::from_errno(errno));
        }
        if !conn.output.state.contains(State::PAUSED) || !conn.output.is_empty() {
            return self.doom(index, CloseReason::Reset);
        }
        // There may be bytes that the owner wants later. Until then nothing is to be done, but a
        // hang-up is reported whatever the interest: leave the set until `resume`.
        if epoll::delete(&self.epoll, fd).is_ok() {
            conn.output.state.insert(State::DETACHED);
            conn.output.state.remove(State::WATCHES_IN | State::WATCHES_OUT);
        }
    }

    #[cold]
    fn accept(&mut self, number: usize) {
        for _ in 0..ACCEPTS_MAX {
            let Some(Some(listener)) = self.listeners.get(number) else { return };
            let tag = listener.tag;
            // Errors are about a connection that is gone already, or pass by themselves.
            let Ok(fd) = rustix::net::accept_with(&listener.socket.fd, SocketFlags::CLOEXEC) else {
                return;
            };
            if listener.socket.is_tcp {
                let _ = socket::tune(fd.as_fd(), None, 0);
            }
            let conn = self.adopt(Socket { fd, is_blocking: true }, tag);
            self.pending.push_back(Pending::Accepted(conn));
        }
    }

    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        self.now
    }

    pub(crate) fn adopt(&mut self, socket: Socket, tag: Tag) -> ConnId {
        let conn = self.conns.insert(Some(socket.fd), tag, State::empty());
        self.watch(conn);
        conn
    }

    pub(crate) fn add_listener(&mut self, socket: ListenSocket, tag: Tag) -> io::Result<()> {
        let number = self.listeners.iter().position(Option::is_none);
        let number = number.unwrap_or(self.listeners.len());
        let data = epoll::EventData::new_u64(u64::from(LISTENERS) + number as u64);
        epoll::add(&self.epoll, &socket.fd, data, epoll::EventFlags::IN)?;
        if number == self.listeners.len() {
            self.listeners.push(None);
        }
        self.listeners[number] = Some(Listener { socket, tag });
        Ok(())
    }

    pub(crate) fn remove_listener(&mut self, tag: Tag) {
        for place in &mut self.listeners {
            if let Some(listener) = place.take_if(|listener| listener.tag == tag) {
                // Explicitly, because another handle on the same socket would keep it in the set.
                let _ = epoll::delete(&self.epoll, &listener.socket.fd);
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
                let conn = self.conns.insert(Some(fd), tag, State::empty());
                self.pending.push_back(Pending::Connected(conn));
                self.watch(conn);
                conn
            }
            Err(Errno::INPROGRESS) => {
                let conn = self.conns.insert(Some(fd), tag, State::CONNECTING);
                self.watch(conn);
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

    /// Notes that `length` bytes were appended to the output of a connection.
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
        self.unflushed = 0;
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            let conn = self.conns.at(index);
            // The slot may have a new tenant, which then either is on the list itself or not dirty.
            if conn.output.state.contains(State::DIRTY) {
                conn.output.state.remove(State::DIRTY);
                self.send(index);
            }
        }
        // Nothing in `send` marks a connection dirty, so the list is handed back with its memory.
        self.dirty = dirty;
    }

    pub(crate) fn unsent_total(&self) -> usize {
        self.blocks.unsent()
    }

    #[inline]
    pub(crate) fn unflushed(&self) -> usize {
        self.unflushed
    }

    pub(crate) fn pause(&mut self, conn: ConnId) {
        if let Some(found) = self.conns.get_mut(conn)
            && !found.output.state.contains(State::PAUSED)
        {
            found.output.state.insert(State::PAUSED);
            self.mark_changed(conn.index);
        }
    }

    pub(crate) fn resume(&mut self, conn: ConnId) {
        if let Some(found) = self.conns.get_mut(conn)
            && found.output.state.contains(State::PAUSED)
        {
            found.output.state.remove(State::PAUSED);
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
            self.conns.remove(conn.index, &mut self.blocks);
        }
    }

    pub(crate) fn expect(&mut self, conn: ConnId, bytes: usize) {
        if let Some(conn) = self.conns.get_mut(conn) {
            conn.expected = u32::try_from(bytes).unwrap_or(u32::MAX);
        }
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker::new(self.bell.clone())
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Sends what the peer takes now.
    fn send(&mut self, index: u32) {
        let conn = self.conns.at(index);
        let Some(fd) = &conn.fd else { return };
        while !conn.output.is_empty() {
            let (result, offered) = send_once(fd.as_fd(), &conn.output);
            match result {
                Ok(taken) => {
                    self.counters.sends += 1;
                    self.counters.sent_bytes += taken as u64;
                    conn.output.advance(taken, &mut self.blocks);
                    if taken < offered {
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => return self.failed_to_send(index, errno),
            }
        }
        let blocked = !conn.output.is_empty();
        if blocked {
            self.counters.short_sends += 1;
            conn.output.detach();
        }
        if blocked != conn.output.state.contains(State::BLOCKED) {
            conn.output.state.toggle(State::BLOCKED);
            self.mark_changed(index);
        }
        self.check_drained(index);
        let conn = self.conns.at(index);
        if !blocked && conn.output.state.contains(State::FINISHING) {
            self.finished(index);
        }
    }

    #[cold]
    fn failed_to_send(&mut self, index: u32, errno: Errno) {
        let conn = self.conns.at(index);
        let broken = matches!(errno, Errno::PIPE | Errno::CONNRESET);
        if broken && conn.is_reading() {
            // What the peer said before it left is still to be read; the end comes with it.
            conn.output.clear(&mut self.blocks);
            conn.output.state.insert(State::BROKEN);
            conn.output.state.remove(State::BLOCKED);
            self.mark_changed(index);
        } else {
            self.doom(index, CloseReason::from_errno(errno));
        }
    }

    /// Reports that the output fell below the mark, if somebody asked.
    #[inline]
    fn check_drained(&mut self, index: u32) {
        let conn = self.conns.at(index);
        if conn.drained_below > 0 && conn.output.unsent() < conn.drained_below as usize {
            conn.drained_below = 0;
            self.pending.push_back(Pending::Drained(self.conns.id(index)));
        }
    }

    /// The last output of a finishing connection is with the kernel.
    #[cold]
    fn finished(&mut self, index: u32) {
        let conn = self.conns.at(index);
        if let Some(fd) = &conn.fd {
            let _ = rustix::net::shutdown(fd, Shutdown::Write);
            // Closing with unread input would send a reset, which can overtake our last reply.
            for _ in 0..LAST_READS_MAX {
                let space = self.hot.space(1);
                match rustix::net::recv(fd, space, RecvFlags::DONTWAIT) {
                    Ok((_, length)) if length > 0 => {}
                    _ => break,
                }
            }
        }
        self.doom(index, CloseReason::Finished);
    }

    /// Makes `Closed` the next and last event of a connection.
    #[cold]
    fn doom(&mut self, index: u32, reason: CloseReason) {
        let conn = self.conns.at(index);
        if conn.output.state.contains(State::DOOMED) {
            return;
        }
        conn.output.state.insert(State::DOOMED);
        conn.output.state.remove(State::DIRTY | State::BLOCKED);
        conn.drained_below = 0;
        conn.output.clear(&mut self.blocks);
        self.pending.push_back(Pending::Closed(self.conns.id(index), reason));
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

    /// Tells epoll what changed in this turn. A pause that was taken back costs nothing.
    fn apply_changes(&mut self) {
        for index in std::mem::take(&mut self.changed) {
            let conn = self.conns.at(index);
            if !conn.output.state.contains(State::CHANGED) {
                continue;
            }
            conn.output.state.remove(State::CHANGED);
            let wanted = conn.wanted();
            let known = conn.output.state & (State::WATCHES_IN | State::WATCHES_OUT);
            if wanted == known || conn.output.state.contains(State::DOOMED) {
                continue;
            }
            let Some(fd) = &conn.fd else { continue };
            let data = u64::from(conn.generation) << 32 | u64::from(index);
            let data = epoll::EventData::new_u64(data);
            let result = if conn.output.state.contains(State::DETACHED) {
                epoll::add(&self.epoll, fd, data, interest(wanted))
            } else {
                epoll::modify(&self.epoll, fd, data, interest(wanted))
            };
            conn.output.state.remove(State::WATCHES_IN | State::WATCHES_OUT | State::DETACHED);
            conn.output.state.insert(wanted);
            if let Err(errno) = result {
                self.doom(index, CloseReason::from_errno(errno));
            }
        }
    }

    /// Adds a new connection to the epoll set.
    fn watch(&mut self, id: ConnId) {
        let conn = self.conns.at(id.index);
        let wanted = conn.wanted();
        conn.output.state.insert(wanted);
        let data = u64::from(id.generation) << 32 | u64::from(id.index);
        let fd = conn.fd.as_ref().expect("a new connection has a socket");
        let data = epoll::EventData::new_u64(data);
        if let Err(errno) = epoll::add(&self.epoll, fd, data, interest(wanted)) {
            self.doom(id.index, CloseReason::from_errno(errno));
        }
    }

    /// Makes a connection that failed before it began, so that the failure arrives as an event.
    #[cold]
    fn insert_doomed(&mut self, tag: Tag, errno: Errno) -> ConnId {
        let conn = self.conns.insert(None, tag, State::empty());
        self.doom(conn.index, CloseReason::from_errno(errno));
        conn
    }
}

impl fmt::Debug for Epoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoll({} connections)", self.conns.open())
    }
}

fn interest(wanted: State) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    flags.set(epoll::EventFlags::IN, wanted.contains(State::WATCHES_IN));
    flags.set(epoll::EventFlags::OUT, wanted.contains(State::WATCHES_OUT));
    flags
}

/// One send of the front of the output; says how much was offered.
#[inline]
fn send_once(fd: BorrowedFd<'_>, output: &Output<State>) -> (rustix::io::Result<usize>, usize) {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    if let Some(bytes) = output.contiguous() {
        return (rustix::net::send(fd, bytes, flags), bytes.len());
    }
    let mut slices = [IoSlice::new(&[]); GATHER_MAX];
    let (count, total) = output.gather(&mut slices);
    let mut control = SendAncillaryBuffer::default();
    (rustix::net::sendmsg(fd, &slices[..count], &mut control, flags), total)
}

/// How often a finished connection is read once more before it is closed.
const LAST_READS_MAX: usize = 4;
