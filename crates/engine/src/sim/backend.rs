//! The engine's backend on a simulated network.
//!
//! Keeps the same promises as the others with the same buffers, so that what is tested above it is
//! what runs in production; only sockets and time are replaced.

use super::net::{Dialler, End, Machine, Net, Pending};
use crate::chunk::{Chunk, Filling, Spares};
use crate::clock::Nanos;
use crate::engine::{Counters, Options};
use crate::event::{CloseReason, ConnId, Event, Tag};
use crate::mailbox::{Bell, Waker};
use crate::output::{Blocks, GATHER_MAX, Output};
use crate::slab::{Id, Slab};
use crate::socket::{Address, ConnectOptions};
use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// One engine of a world.
pub(crate) struct Sim {
    net: Rc<RefCell<Net>>,
    machine: usize,
    bell: Arc<Bell>,
    now: Nanos,
    options: Options,
    conns: Slab<Conn>,
    /// Connections that had something to do at the last poll, in an order of chance.
    ready: Vec<Id<Conn>>,
    dirty: Vec<Id<Conn>>,
    unflushed: usize,
    hot: Filling,
    blocks: Blocks,
    counters: Counters,
}

#[derive(Default)]
struct State {
    is_connecting: bool,
    is_paused: bool,
    is_ended: bool,
    half_closes: bool,
    finishes: bool,
    is_broken: bool,
    is_doomed: bool,
    is_dirty: bool,
    is_blocked: bool,
}

struct Conn {
    tag: Tag,
    /// None if the attempt to connect failed at once.
    end: Option<End>,
    output: Output<State>,
    drained_below: usize,
}

impl Sim {
    pub(super) fn new(net: Rc<RefCell<Net>>, options: Options) -> Sim {
        let bell = Arc::new(Bell::new(None));
        let machine = Machine { bell: bell.clone(), deadline: None, pending: Default::default() };
        let (number, now) = {
            let mut net = net.borrow_mut();
            net.machines.push(machine);
            (net.machines.len() - 1, net.now)
        };
        let spares = Rc::new(Spares::new(options.chunk_bytes.max(4096), 4));
        Sim {
            net,
            machine: number,
            bell,
            now,
            options,
            conns: Slab::new(),
            ready: Vec::new(),
            dirty: Vec::new(),
            unflushed: 0,
            hot: Filling::new(spares),
            blocks: Blocks::default(),
            counters: Counters::default(),
        }
    }

    pub(super) fn machine(&self) -> usize {
        self.machine
    }

    pub(crate) fn poll(&mut self, until: Option<Nanos>) -> io::Result<()> {
        let mut net = self.net.borrow_mut();
        net.catch_up();
        self.now = net.now;
        net.machines[self.machine].deadline = until.map(|until| until.max(self.now));
        self.ready.clear();
        for (id, conn) in self.conns.iter() {
            if let Some(end) = conn.end
                && let (true, _) | (_, true) = net.is_ready(end.link, end.side)
            {
                self.ready.push(id);
            }
        }
        for last in (1..self.ready.len()).rev() {
            let other = net.random.below(last as u64 + 1) as usize;
            self.ready.swap(last, other);
        }
        self.counters.polls += 1;
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            let pending = self.net.borrow_mut().machines[self.machine].pending.pop_front();
            if let Some(pending) = pending {
                match self.settle(pending) {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            let Some(id) = self.ready.pop() else {
                return (self.bell.is_rung() && self.bell.take()).then_some(Event::Mail);
            };
            if let Some(event) = self.react(id) {
                return Some(event);
            }
        }
    }

    fn settle(&mut self, pending: Pending) -> Option<Event> {
        match pending {
            Pending::Incoming(end, tag) => {
                let id = self.conns.insert(Conn::new(tag, Some(end), State::default()));
                self.announce(id);
                Some(Event::Accepted { listener: tag, conn: public(id) })
            }
            Pending::Connected(conn) => {
                let id = private(conn);
                let found = self.conns.get_mut(id)?;
                found.output.state.is_connecting = false;
                let tag = found.tag;
                if !found.output.is_empty() {
                    self.mark_dirty(id);
                }
                self.announce(id);
                Some(Event::Connected { conn, tag })
            }
            Pending::Failed(conn, reason) => {
                let tag = self.conns.get(private(conn))?.tag;
                self.remove(private(conn));
                Some(Event::Closed { conn, tag, reason })
            }
            Pending::Drained(conn) => {
                let tag = self.conns.get(private(conn))?.tag;
                Some(Event::Drained { conn, tag })
            }
        }
    }

    /// Does what the state of a connection's link asks for.
    fn react(&mut self, id: Id<Conn>) -> Option<Event> {
        let conn = self.conns.get(id)?;
        let end = conn.end?;
        if conn.output.state.is_doomed {
            return None;
        }
        let (readable, writable) = self.net.borrow().is_ready(end.link, end.side);
        if writable && conn.output.state.is_blocked {
            self.send(id);
        }
        if readable { self.receive(id, end) } else { None }
    }

    fn receive(&mut self, id: Id<Conn>, end: End) -> Option<Event> {
        let conn = self.conns.get_mut(id)?;
        let reads = conn.reads();
        let mut net = self.net.borrow_mut();
        let net = &mut *net;
        let split = net.random.chance(net.faults.split_permille);
        let side = &mut net.links.get_mut(end.link)?.sides[end.side];
        if !reads || side.inbox.is_empty() {
            let reason = match side.broken {
                Some(reason) => reason,
                None if !reads || !side.is_ended => return None,
                None if conn.output.state.is_broken => CloseReason::Reset,
                None if conn.output.state.half_closes => {
                    conn.output.state.is_ended = true;
                    side.wants_in = false;
                    return Some(Event::Ended { conn: public(id), tag: conn.tag });
                }
                None => CloseReason::Eof,
            };
            conn.doom(&mut self.blocks);
            net.machines[self.machine].pending.push_back(Pending::Failed(public(id), reason));
            return None;
        }
        let space = self.hot.space(self.options.chunk_bytes as usize / 4);
        let mut count = side.inbox.len().min(space.len());
        if split {
            count = 1 + net.random.below(count as u64) as usize;
        }
        for (to, from) in space.iter_mut().zip(side.inbox.drain(..count)) {
            *to = from;
        }
        net.note(count as u64 ^ end.link.to_bits());
        net.has_read(end);
        self.counters.receives += 1;
        self.counters.received_bytes += count as u64;
        Some(Event::Received { conn: public(id), tag: conn.tag, chunk: self.hot.cut(count) })
    }

    pub(crate) fn now(&self) -> Nanos {
        self.now
    }

    /// A real socket has no place in a simulated world: the connection is closed at once.
    pub(crate) fn adopt_nothing(&mut self, tag: Tag) -> ConnId {
        let id = self.conns.insert(Conn::new(tag, None, State::default()));
        let failed = Pending::Failed(public(id), CloseReason::Unreachable);
        self.net.borrow_mut().machines[self.machine].pending.push_back(failed);
        public(id)
    }

    pub(crate) fn remove_listener(&mut self, tag: Tag) {
        self.net.borrow_mut().unlisten(self.machine, tag);
    }

    pub(crate) fn connect(
        &mut self,
        address: &Address,
        options: &ConnectOptions,
        tag: Tag,
    ) -> ConnId {
        let state = State { is_connecting: true, ..State::default() };
        let id = self.conns.insert(Conn::new(tag, None, state));
        let mut net = self.net.borrow_mut();
        let dialler = Dialler::Engine { machine: self.machine, conn: public(id) };
        let end = net.dial(address, dialler);
        if let Some(link) = net.links.get_mut(end.link) {
            link.sides[end.side].user_timeout_ms = options.user_timeout_ms;
        }
        if let Some(conn) = self.conns.get_mut(id) {
            conn.end = Some(end);
        }
        public(id)
    }

    pub(crate) fn retag(&mut self, conn: ConnId, tag: Tag) {
        if let Some(conn) = self.conns.get_mut(private(conn)) {
            conn.tag = tag;
        }
    }

    pub(crate) fn is_open(&self, conn: ConnId) -> bool {
        self.conns.contains(private(conn))
    }

    pub(crate) fn open_conns(&self) -> usize {
        self.conns.len()
    }

    pub(crate) fn write(&mut self, conn: ConnId, bytes: &[u8]) {
        let id = private(conn);
        if let Some(to) = self.conns.get_mut(id)
            && to.takes_output()
            && !bytes.is_empty()
        {
            to.output.copy(bytes, &mut self.blocks);
            self.wrote(id, bytes.len());
        }
    }

    pub(crate) fn write_chunk(&mut self, conn: ConnId, chunk: &Chunk, range: Range<usize>) {
        if range.len() < self.options.share_bytes_min {
            return self.write(conn, &chunk[range]);
        }
        let (id, length) = (private(conn), range.len());
        let part = chunk.slice(range);
        if let Some(to) = self.conns.get_mut(id)
            && to.takes_output()
        {
            to.output.share(part, &mut self.blocks);
            self.wrote(id, length);
        }
    }

    pub(crate) fn write_owned(&mut self, conn: ConnId, bytes: Box<dyn AsRef<[u8]>>) {
        let id = private(conn);
        if let Some(to) = self.conns.get_mut(id)
            && to.takes_output()
        {
            let before = to.output.unsent();
            to.output.own(bytes, &mut self.blocks);
            let length = to.output.unsent() - before;
            if length > 0 {
                self.wrote(id, length);
            }
        }
    }

    fn wrote(&mut self, id: Id<Conn>, length: usize) {
        self.unflushed += length;
        self.mark_dirty(id);
    }

    fn mark_dirty(&mut self, id: Id<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let state = &mut conn.output.state;
        if !state.is_dirty && !state.is_blocked && !state.is_connecting {
            state.is_dirty = true;
            self.dirty.push(id);
        }
    }

    pub(crate) fn unsent(&self, conn: ConnId) -> usize {
        self.conns.get(private(conn)).map_or(0, |conn| conn.output.unsent())
    }

    pub(crate) fn flush(&mut self) {
        self.unflushed = 0;
        for id in std::mem::take(&mut self.dirty) {
            if let Some(conn) = self.conns.get_mut(id)
                && std::mem::take(&mut conn.output.state.is_dirty)
            {
                self.send(id);
            }
        }
    }

    pub(crate) fn unsent_total(&self) -> usize {
        self.blocks.unsent()
    }

    pub(crate) fn unflushed(&self) -> usize {
        self.unflushed
    }

    fn send(&mut self, id: Id<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Some(end) = conn.end else { return };
        let unsent = conn.output.unsent();
        let mut net = self.net.borrow_mut();
        let broken =
            net.links.get(end.link).is_none_or(|link| link.sides[end.side].broken.is_some());
        if broken {
            // The end comes with the next receive, after what the peer said before.
            conn.output.clear(&mut self.blocks);
            conn.output.state.is_broken = true;
        } else {
            let mut count = net.room(end).min(unsent);
            let partial = net.faults.partial_write_permille;
            if count > 1 && net.random.chance(partial) {
                count = 1 + net.random.below(count as u64 - 1) as usize;
            }
            let bytes = conn.front(count);
            let count = bytes.len();
            net.send(end, &bytes);
            conn.output.advance(count, &mut self.blocks);
            self.counters.sends += u64::from(count > 0);
            self.counters.sent_bytes += count as u64;
        }
        let blocked = !conn.output.is_empty();
        if blocked {
            self.counters.short_sends += 1;
            conn.output.detach();
        }
        conn.output.state.is_blocked = blocked;
        let done = !blocked && conn.output.state.finishes;
        drop(net);
        self.announce(id);
        self.check_drained(id);
        if done {
            self.finished(id);
        }
    }

    fn check_drained(&mut self, id: Id<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.drained_below > 0 && conn.output.unsent() < conn.drained_below {
            conn.drained_below = 0;
            let drained = Pending::Drained(public(id));
            self.net.borrow_mut().machines[self.machine].pending.push_back(drained);
        }
    }

    fn finished(&mut self, id: Id<Conn>) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        conn.doom(&mut self.blocks);
        let mut net = self.net.borrow_mut();
        if let Some(end) = conn.end
            && let Some(link) = net.links.get_mut(end.link)
        {
            // As on real sockets: unread input is thrown away, so that closing does not reset.
            link.sides[end.side].inbox.clear();
        }
        let failed = Pending::Failed(public(id), CloseReason::Finished);
        net.machines[self.machine].pending.push_back(failed);
    }

    pub(crate) fn pause(&mut self, conn: ConnId) {
        self.set_paused(conn, true);
    }

    pub(crate) fn resume(&mut self, conn: ConnId) {
        self.set_paused(conn, false);
    }

    fn set_paused(&mut self, conn: ConnId, is_paused: bool) {
        if let Some(conn) = self.conns.get_mut(private(conn)) {
            conn.output.state.is_paused = is_paused;
        }
        self.announce(private(conn));
    }

    pub(crate) fn notify_drained(&mut self, conn: ConnId, below: usize) {
        if let Some(conn) = self.conns.get_mut(private(conn)) {
            conn.drained_below = below.max(1);
        }
        self.check_drained(private(conn));
    }

    pub(crate) fn allow_half_close(&mut self, conn: ConnId) {
        if let Some(conn) = self.conns.get_mut(private(conn)) {
            conn.output.state.half_closes = true;
        }
    }

    pub(crate) fn finish(&mut self, conn: ConnId) {
        let id = private(conn);
        let Some(conn) = self.conns.get_mut(id) else { return };
        let state = &mut conn.output.state;
        if std::mem::replace(&mut state.finishes, true) || state.is_doomed {
            return;
        }
        if conn.output.is_empty() {
            self.finished(id);
        } else {
            self.announce(id);
        }
    }

    pub(crate) fn close(&mut self, conn: ConnId) {
        self.remove(private(conn));
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker::new(self.bell.clone())
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Tells the network what a connection waits for.
    fn announce(&mut self, id: Id<Conn>) {
        let Some(conn) = self.conns.get(id) else { return };
        let Some(end) = conn.end else { return };
        if let Some(link) = self.net.borrow_mut().links.get_mut(end.link) {
            let side = &mut link.sides[end.side];
            side.wants_in = conn.reads();
            side.wants_out = conn.output.state.is_blocked;
        }
    }

    fn remove(&mut self, id: Id<Conn>) {
        if let Some(mut conn) = self.conns.remove(id) {
            conn.output.clear(&mut self.blocks);
            if let Some(end) = conn.end {
                self.net.borrow_mut().drop_end(end, false);
            }
        }
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let ids: Vec<_> = self.conns.iter().map(|(id, _)| id).collect();
        for id in ids {
            self.remove(id);
        }
        self.net.borrow_mut().retire(self.machine);
    }
}

impl Conn {
    fn new(tag: Tag, end: Option<End>, state: State) -> Conn {
        Conn { tag, end, output: Output::new(state), drained_below: 0 }
    }

    fn reads(&self) -> bool {
        let state = &self.output.state;
        !(state.is_connecting
            || state.is_paused
            || state.is_ended
            || state.finishes
            || state.is_doomed)
    }

    fn takes_output(&self) -> bool {
        let state = &self.output.state;
        !(state.finishes || state.is_broken || state.is_doomed)
    }

    /// A copy of at most `most` bytes from the front of the output.
    fn front(&self, most: usize) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); GATHER_MAX];
        let (count, _) = self.output.gather(&mut slices);
        let bytes = slices[..count].iter().flat_map(|slice| slice.iter().copied());
        bytes.take(most).collect()
    }

    fn doom(&mut self, blocks: &mut Blocks) {
        self.output.state.is_doomed = true;
        self.output.state.is_blocked = false;
        self.drained_below = 0;
        self.output.clear(blocks);
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sim(machine {}, {} connections)", self.machine, self.conns.len())
    }
}

fn public(id: Id<Conn>) -> ConnId {
    ConnId { index: id.index(), generation: id.generation() }
}

fn private(conn: ConnId) -> Id<Conn> {
    Id::from_parts(conn.index, conn.generation)
}
