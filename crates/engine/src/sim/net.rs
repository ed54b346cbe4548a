//! The network of a simulated world: links, what travels on them, and what goes wrong.
//!
//! Everything that happens is on one timeline, ordered by its moment and, within a moment, by when
//! it was scheduled. All choices come from one seeded generator, so a seed is a history.

use super::random::Random;
use super::{Faults, Incident, Script, Wire, WireAction};
use crate::clock::{Nanos, SECOND};
use crate::event::{CloseReason, ConnId, Tag};
use crate::mailbox::Bell;
use crate::slab::{Id, Slab};
use crate::socket::Address;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

/// The whole simulated network.
pub(super) struct Net {
    pub(super) now: Nanos,
    pub(super) random: Random,
    pub(super) faults: Faults,
    pub(super) links: Slab<Link>,
    pub(super) machines: Vec<Machine>,
    places: BTreeMap<Address, Place>,
    timeline: BinaryHeap<Reverse<(Nanos, u64, Happening)>>,
    scheduled: u64,
    /// A moment that a test asked for has come.
    pub(super) stopped: bool,
    /// A running hash of all that happened, to compare histories with.
    pub(super) digest: u64,
}

/// What the network knows about one engine.
pub(super) struct Machine {
    pub(super) bell: Arc<Bell>,
    /// Until when the engine waits; none once that moment was reached or if it does not wait.
    pub(super) deadline: Option<Nanos>,
    pub(super) pending: VecDeque<Pending>,
}

/// An event for an engine that does not follow from the state of a link.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pending {
    Incoming(End, Tag),
    Connected(ConnId),
    Failed(ConnId, CloseReason),
    Drained(ConnId),
}

/// Who listens at an address.
enum Place {
    Engine { machine: usize, tag: Tag },
    Script(Option<Box<dyn FnMut() -> Script>>),
}

/// A connection, or an attempt at one.
pub(super) struct Link {
    pub(super) sides: [Side; 2],
    address: Address,
    /// Nothing arrives any more, in either direction, and nobody is told.
    is_silent: bool,
}

/// One end of a link.
pub(super) struct Side {
    owner: Owner,
    /// Arrived and not read yet.
    pub(super) inbox: VecDeque<u8>,
    /// The peer sends no more.
    pub(super) is_ended: bool,
    /// The peer, or the network, broke the link.
    pub(super) broken: Option<CloseReason>,
    /// What an engine waits for; a script always waits.
    pub(super) wants_in: bool,
    pub(super) wants_out: bool,
    /// Milliseconds without acknowledgement after which a silent link is given up; 0 means long.
    pub(super) user_timeout_ms: u32,
    gives_up: bool,
    /// Travelling to this side.
    arrivals: VecDeque<Arrival>,
    travelling: usize,
    last_arrival: Nanos,
    /// How much may travel and wait unread together.
    window: usize,
    /// Written by a script, still waiting for room in the peer's window.
    outbox: VecDeque<u8>,
    ends_after_outbox: bool,
    is_paused: bool,
    /// Reads at most this many bytes per period, if the script is a slow reader.
    drip: Option<(usize, Nanos)>,
    drips: bool,
}

enum Owner {
    Engine {
        machine: usize,
    },
    /// Taken out while the script runs.
    Script(Option<Script>),
    Gone,
}

enum Arrival {
    Bytes(Vec<u8>),
    End,
    Reset,
}

/// One side of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) link: Id<Link>,
    pub(super) side: usize,
}

/// Something on the timeline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrive(u64, usize),
    Drip(u64, usize),
    Wake(u64, usize),
    Establish(u64, u64),
    Refuse(u64, u64, bool),
    GiveUp(u64, usize),
    Stop,
}

/// How long the kernel tries to connect, and to get bytes acknowledged, if nothing else is said.
const CONNECT_TIMEOUT: Nanos = 130 * SECOND;
const RETRANSMIT_TIMEOUT: Nanos = 900 * SECOND;

impl End {
    pub(super) fn other(self) -> End {
        End { link: self.link, side: 1 - self.side }
    }
}

impl Net {
    pub(super) fn new(seed: u64, faults: Faults) -> Net {
        Net {
            // Not zero, so that "no time yet" and "the first moment" differ in the owner's tables.
            now: SECOND,
            random: Random::new(seed),
            faults,
            links: Slab::new(),
            machines: Vec::new(),
            places: BTreeMap::new(),
            timeline: BinaryHeap::new(),
            scheduled: 0,
            stopped: false,
            digest: seed,
        }
    }

    pub(super) fn serve(&mut self, address: Address, make: Box<dyn FnMut() -> Script>) {
        self.places.insert(address, Place::Script(Some(make)));
    }

    pub(super) fn listen(&mut self, address: Address, machine: usize, tag: Tag) {
        self.places.insert(address, Place::Engine { machine, tag });
    }

    pub(super) fn unserve(&mut self, address: &Address) {
        self.places.remove(address);
    }

    /// Stops every listener of an engine that has this tag.
    pub(super) fn unlisten(&mut self, of: usize, its_tag: Tag) {
        self.places.retain(|_, place| {
            !matches!(place, Place::Engine { machine, tag } if *machine == of && *tag == its_tag)
        });
    }

    /// An engine is gone: nobody waits for it, and nobody accepts for it.
    pub(super) fn retire(&mut self, of: usize) {
        self.places
            .retain(|_, place| !matches!(place, Place::Engine { machine, .. } if *machine == of));
        let machine = &mut self.machines[of];
        machine.deadline = None;
        let waiting = std::mem::take(&mut machine.pending);
        // Quiet for ever: other threads may still hold wakers.
        machine.bell = Arc::new(Bell::new(None));
        for pending in waiting {
            if let Pending::Incoming(end, _) = pending {
                self.drop_end(end, true);
            }
        }
    }

    /// Breaks all links with the listener at `address`, as if its process died.
    pub(super) fn sever(&mut self, address: &Address) {
        let ends: Vec<End> = (self.links.iter().filter(|(_, link)| link.address == *address))
            .map(|(link, _)| End { link, side: 1 })
            .collect();
        for end in ends {
            self.drop_end(end, true);
        }
    }

    /// Starts a connection. An engine is told the outcome under `conn`, a script by an incident.
    pub(super) fn dial(&mut self, address: &Address, from: Dialler) -> End {
        let (owner, conn) = match from {
            Dialler::Engine { machine, conn } => (Owner::Engine { machine }, Some(conn)),
            Dialler::Script(script) => (Owner::Script(Some(script)), None),
        };
        let sides = [self.new_side(owner), self.new_side(Owner::Gone)];
        let link = self.links.insert(Link { sides, address: address.clone(), is_silent: false });
        let word =
            conn.map_or(u64::MAX, |conn| u64::from(conn.generation) << 32 | u64::from(conn.index));
        if self.random.chance(self.faults.unanswered_permille) {
            let at = self.now + CONNECT_TIMEOUT;
            self.schedule(at, Happening::Refuse(link.to_bits(), word, true));
        } else if self.random.chance(self.faults.refuse_permille) {
            let at = self.now + self.travel();
            self.schedule(at, Happening::Refuse(link.to_bits(), word, false));
        } else {
            let at = self.now + self.travel();
            self.schedule(at, Happening::Establish(link.to_bits(), word));
        }
        End { link, side: 0 }
    }

    fn new_side(&mut self, owner: Owner) -> Side {
        let drip = match owner {
            Owner::Script(_) if self.random.chance(self.faults.slow_reader_permille) => {
                let bytes = 1 + self.random.below(2000) as usize;
                Some((bytes, 1 + self.random.below(20_000_000)))
            }
            _ => None,
        };
        let window = self.random.within(&self.faults.window_bytes).max(1) as usize;
        Side {
            owner,
            inbox: VecDeque::new(),
            is_ended: false,
            broken: None,
            wants_in: false,
            wants_out: false,
            user_timeout_ms: 0,
            gives_up: false,
            arrivals: VecDeque::new(),
            travelling: 0,
            last_arrival: 0,
            window,
            outbox: VecDeque::new(),
            ends_after_outbox: false,
            is_paused: false,
            drip,
            drips: false,
        }
    }

    /// The moment of the next thing on the timeline.
    pub(super) fn next_moment(&self) -> Option<Nanos> {
        self.timeline.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Lets everything happen that is due by now.
    pub(super) fn catch_up(&mut self) {
        while self.next_moment().is_some_and(|at| at <= self.now) {
            if let Some(Reverse((at, number, happening))) = self.timeline.pop() {
                self.note(at ^ number);
                self.happen(happening);
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive(link, side) => self.arrive(End { link: Id::from_bits(link), side }),
            Happening::Drip(link, side) => self.drip(End { link: Id::from_bits(link), side }),
            Happening::Wake(link, side) => {
                self.run_script(End { link: Id::from_bits(link), side }, Incident::Woken);
            }
            Happening::Establish(link, conn) => self.establish(Id::from_bits(link), conn),
            Happening::Refuse(link, conn, late) => {
                let reason = if late { CloseReason::TimedOut } else { CloseReason::Refused };
                self.refuse(Id::from_bits(link), conn, reason);
            }
            Happening::GiveUp(link, side) => self.give_up(End { link: Id::from_bits(link), side }),
            Happening::Stop => self.stopped = true,
        }
    }

    fn establish(&mut self, id: Id<Link>, conn: u64) {
        let Some(link) = self.links.get(id) else { return };
        if matches!(link.sides[0].owner, Owner::Gone) {
            self.links.remove(id);
            return;
        }
        let accepting = End { link: id, side: 1 };
        let owner = match self.places.get_mut(&link.address) {
            None => return self.refuse(id, conn, CloseReason::Refused),
            Some(Place::Engine { machine, tag }) => {
                let (machine, tag) = (*machine, *tag);
                self.machines[machine].pending.push_back(Pending::Incoming(accepting, tag));
                Owner::Engine { machine }
            }
            Some(Place::Script(make)) => {
                let make = make.as_mut().expect("a server's closure does not connect by itself");
                Owner::Script(Some(make()))
            }
        };
        let side = self.new_side(owner);
        if let Some(link) = self.links.get_mut(id) {
            link.sides[1] = side;
        }
        self.run_script(accepting, Incident::Connected);
        if let Some(Link { sides: [Side { owner: Owner::Engine { machine }, .. }, _], .. }) =
            self.links.get(id)
        {
            self.machines[*machine].pending.push_back(Pending::Connected(conn_of(conn)));
        }
        self.run_script(End { link: id, side: 0 }, Incident::Connected);
    }

    fn refuse(&mut self, id: Id<Link>, conn: u64, reason: CloseReason) {
        let Some(link) = self.links.get_mut(id) else { return };
        match &link.sides[0].owner {
            Owner::Engine { machine } => {
                let failed = Pending::Failed(conn_of(conn), reason);
                self.machines[*machine].pending.push_back(failed);
            }
            Owner::Script(_) => {
                self.run_script(End { link: id, side: 0 }, Incident::Closed(reason))
            }
            Owner::Gone => {}
        }
        self.links.remove(id);
    }

    /// How many bytes `from` may send now.
    pub(super) fn room(&self, from: End) -> usize {
        let Some(link) = self.links.get(from.link) else { return usize::MAX };
        let to = &link.sides[1 - from.side];
        if matches!(to.owner, Owner::Gone) {
            // Nobody reads there; the answer will be a reset.
            return usize::MAX;
        }
        to.window.saturating_sub(to.inbox.len() + to.travelling)
    }

    /// Puts bytes on their way. The caller keeps to `room`.
    pub(super) fn send(&mut self, from: End, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = match rest.len() {
                1 => 1,
                most if self.random.chance(self.faults.split_permille) => {
                    1 + self.random.below(most as u64 - 1) as usize
                }
                most => most,
            };
            let (segment, after) = rest.split_at(length);
            rest = after;
            if self.random.chance(self.faults.reset_permille) {
                return self.break_link(from.link);
            }
            if self.random.chance(self.faults.half_open_permille)
                && let Some(link) = self.links.get_mut(from.link)
            {
                link.is_silent = true;
            }
            self.post(from.other(), Arrival::Bytes(segment.to_vec()));
        }
        self.watch_silence(from);
    }

    /// On a silent link, the sender's kernel gives up some time after the first lost byte.
    fn watch_silence(&mut self, from: End) {
        let now = self.now;
        let Some(link) = self.links.get_mut(from.link) else { return };
        let side = &mut link.sides[from.side];
        if !link.is_silent || side.gives_up {
            return;
        }
        side.gives_up = true;
        let wait = match side.user_timeout_ms {
            0 => RETRANSMIT_TIMEOUT,
            ms => Nanos::from(ms) * 1_000_000,
        };
        self.schedule(now + wait, Happening::GiveUp(from.link.to_bits(), from.side));
    }

    fn give_up(&mut self, end: End) {
        let Some(link) = self.links.get_mut(end.link) else { return };
        let side = &mut link.sides[end.side];
        side.broken = Some(CloseReason::TimedOut);
        if let Owner::Script(_) = side.owner {
            self.run_script(end, Incident::Closed(CloseReason::TimedOut));
            self.drop_end(end, true);
        }
    }

    /// Sends the end of the stream behind everything sent before.
    pub(super) fn send_end(&mut self, from: End) {
        self.post(from.other(), Arrival::End);
    }

    fn break_link(&mut self, link: Id<Link>) {
        for side in 0..2 {
            self.post(End { link, side }, Arrival::Reset);
        }
    }

    /// Schedules an arrival behind all others of that side.
    fn post(&mut self, to: End, arrival: Arrival) {
        let travel = self.travel();
        let Some(link) = self.links.get_mut(to.link) else { return };
        let side = &mut link.sides[to.side];
        if let Arrival::Bytes(bytes) = &arrival {
            side.travelling += bytes.len();
        }
        side.arrivals.push_back(arrival);
        if link.is_silent {
            // Lost: it stays on its way for ever, as unacknowledged bytes do.
            return;
        }
        let at = side.last_arrival.max(self.now + travel);
        side.last_arrival = at;
        self.schedule(at, Happening::Arrive(to.link.to_bits(), to.side));
    }

    fn arrive(&mut self, to: End) {
        let Some(link) = self.links.get_mut(to.link) else { return };
        if link.is_silent {
            return;
        }
        let side = &mut link.sides[to.side];
        let Some(arrival) = side.arrivals.pop_front() else { return };
        if side.broken.is_some() {
            return;
        }
        match arrival {
            Arrival::Bytes(bytes) => {
                side.travelling -= bytes.len();
                if matches!(side.owner, Owner::Gone) {
                    self.post(to.other(), Arrival::Reset);
                } else {
                    side.inbox.extend(bytes);
                }
            }
            Arrival::End => side.is_ended = true,
            Arrival::Reset => {
                side.broken = Some(CloseReason::Reset);
                // A reset may or may not overtake what was sent before it.
                if self.random.chance(500) {
                    side.inbox.clear();
                }
            }
        }
        self.read_script(to);
        self.forget_if_over(to.link);
    }

    /// Lets a script have what arrived for it, at its pace.
    fn read_script(&mut self, end: End) {
        let now = self.now;
        let Some(link) = self.links.get_mut(end.link) else { return };
        let side = &mut link.sides[end.side];
        if !matches!(side.owner, Owner::Script(_)) || side.is_paused {
            return;
        }
        match side.drip {
            Some((_, period)) if !side.inbox.is_empty() => {
                if !std::mem::replace(&mut side.drips, true) {
                    let happening = Happening::Drip(end.link.to_bits(), end.side);
                    self.schedule(now + period, happening);
                }
            }
            _ => self.feed_script(end, usize::MAX),
        }
    }

    fn drip(&mut self, end: End) {
        let Some(link) = self.links.get_mut(end.link) else { return };
        let side = &mut link.sides[end.side];
        side.drips = false;
        if side.is_paused {
            return;
        }
        if let Some((bytes, _)) = side.drip {
            self.feed_script(end, bytes);
            self.read_script(end);
        }
    }

    fn feed_script(&mut self, end: End, most: usize) {
        let Some(link) = self.links.get_mut(end.link) else { return };
        let side = &mut link.sides[end.side];
        let count = side.inbox.len().min(most);
        if count > 0 {
            let bytes: Vec<u8> = side.inbox.drain(..count).collect();
            self.note(bytes.len() as u64);
            self.has_read(end);
            self.run_script(end, Incident::Received(&bytes));
        }
        let Some(link) = self.links.get_mut(end.link) else { return };
        let side = &mut link.sides[end.side];
        if !side.inbox.is_empty() || matches!(side.owner, Owner::Gone) {
            return;
        }
        if let Some(reason) = side.broken {
            self.run_script(end, Incident::Closed(reason));
            self.drop_end(end, true);
        } else if side.is_ended {
            side.is_ended = false;
            self.run_script(end, Incident::Closed(CloseReason::Eof));
        }
    }

    /// Something was read at `end`: its peer may send more.
    pub(super) fn has_read(&mut self, end: End) {
        self.pump(end.other());
    }

    /// Sends what a script wrote, as far as the peer's window allows.
    fn pump(&mut self, from: End) {
        let room = self.room(from);
        let Some(link) = self.links.get_mut(from.link) else { return };
        let side = &mut link.sides[from.side];
        let count = side.outbox.len().min(room);
        let bytes: Vec<u8> = side.outbox.drain(..count).collect();
        let ends = side.ends_after_outbox && side.outbox.is_empty();
        if ends {
            side.ends_after_outbox = false;
        }
        if !bytes.is_empty() {
            self.send(from, &bytes);
        }
        if ends {
            self.send_end(from);
        }
    }

    /// Runs a script, if one owns `end`, and does what it wants.
    fn run_script(&mut self, end: End, incident: Incident<'_>) {
        let Some(link) = self.links.get_mut(end.link) else { return };
        let Owner::Script(place) = &mut link.sides[end.side].owner else { return };
        let Some(mut script) = place.take() else { return };
        let mut wire = Wire::new(self.now, self.random.next());
        script(incident, &mut wire);
        if let Some(link) = self.links.get_mut(end.link) {
            link.sides[end.side].owner = Owner::Script(Some(script));
        }
        for action in wire.actions {
            self.act(end, action);
        }
    }

    fn act(&mut self, end: End, action: WireAction) {
        let now = self.now;
        let Some(link) = self.links.get_mut(end.link) else { return };
        let side = &mut link.sides[end.side];
        if matches!(side.owner, Owner::Gone) {
            return;
        }
        match action {
            WireAction::Write(bytes) => {
                side.outbox.extend(bytes);
                self.pump(end);
            }
            WireAction::Shutdown => {
                side.ends_after_outbox = true;
                self.pump(end);
            }
            WireAction::Close => self.drop_end(end, false),
            WireAction::Reset => self.drop_end(end, true),
            WireAction::WakeIn(span) => {
                self.schedule(now + span, Happening::Wake(end.link.to_bits(), end.side));
            }
            WireAction::Pause => side.is_paused = true,
            WireAction::Resume => {
                side.is_paused = false;
                self.read_script(end);
            }
        }
    }

    /// The owner of `end` is gone: its peer gets the end of the stream, or a reset if there was
    /// unread input or `breaks` says so.
    pub(super) fn drop_end(&mut self, end: End, breaks: bool) {
        let Some(link) = self.links.get_mut(end.link) else { return };
        let side = &mut link.sides[end.side];
        if matches!(side.owner, Owner::Gone) {
            return;
        }
        let unread = !side.inbox.is_empty();
        side.owner = Owner::Gone;
        side.inbox.clear();
        let left: Vec<u8> = side.outbox.drain(..).collect();
        if !left.is_empty() && !breaks {
            // The kernel goes on sending what a closed process wrote.
            self.send(end, &left);
        }
        let arrival = if breaks || unread { Arrival::Reset } else { Arrival::End };
        self.post(end.other(), arrival);
        self.forget_if_over(end.link);
    }

    fn forget_if_over(&mut self, id: Id<Link>) {
        let Some(link) = self.links.get(id) else { return };
        if link.sides.iter().all(|side| matches!(side.owner, Owner::Gone)) {
            self.links.remove(id);
        }
    }

    /// Whether an engine has something to do on one of its links.
    pub(super) fn is_ready(&self, id: Id<Link>, side: usize) -> (bool, bool) {
        let Some(link) = self.links.get(id) else { return (false, false) };
        let this = &link.sides[side];
        let readable = !this.inbox.is_empty() || this.is_ended || this.broken.is_some();
        let writable = this.broken.is_some() || self.room(End { link: id, side }) > 0;
        (this.wants_in && readable || this.broken.is_some(), this.wants_out && writable)
    }

    /// Whether any engine has something to do without time passing.
    pub(super) fn has_work(&self) -> bool {
        let pending = self.machines.iter().any(|m| !m.pending.is_empty() || m.bell.is_rung());
        pending
            || self.links.iter().any(|(id, link)| {
                (0..2).any(|side| {
                    matches!(link.sides[side].owner, Owner::Engine { .. })
                        && matches!(self.is_ready(id, side), (true, _) | (_, true))
                })
            })
    }

    /// Puts a moment on the timeline at which nothing happens, for the test's sake.
    pub(super) fn mark(&mut self, at: Nanos) {
        self.schedule(at, Happening::Stop);
    }

    fn schedule(&mut self, at: Nanos, happening: Happening) {
        self.scheduled += 1;
        self.timeline.push(Reverse((at, self.scheduled, happening)));
    }

    fn travel(&mut self) -> Nanos {
        let stall = match self.random.chance(self.faults.stall_permille) {
            true => self.random.within(&self.faults.stall),
            false => 0,
        };
        stall + self.random.within(&self.faults.latency)
    }

    /// Adds to the history's hash.
    pub(super) fn note(&mut self, word: u64) {
        self.digest = (self.digest ^ word).wrapping_mul(0x100_0000_01b3).rotate_left(23);
    }
}

/// Who starts a connection.
pub(super) enum Dialler {
    Engine { machine: usize, conn: ConnId },
    Script(Script),
}

fn conn_of(word: u64) -> ConnId {
    ConnId { index: word as u32, generation: (word >> 32) as u32 }
}
