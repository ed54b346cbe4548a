//! A simulated network with its own clock, for tests of everything above the engine.
//!
//! A [`World`] holds any number of engines and scripted endpoints in one thread. Workers run their
//! turns on simulated engines exactly as on real ones; between turns the test lets time pass with
//! [`World::advance`]. Delays, splits, resets and the other [`Faults`] come from one seeded
//! generator: the same seed and the same calls give the same history, which [`World::digest`]
//! confirms.

mod backend;
mod net;
mod random;

pub(crate) use backend::Sim;

use crate::clock::{MICROSECOND, MILLISECOND, Nanos, SECOND};
use crate::engine::{Engine, Options};
use crate::event::{CloseReason, Tag};
use crate::socket::Address;
use net::{Dialler, Net};
use random::Random;
use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

/// A simulated network. Clones are handles on the same one.
///
/// ```
/// use keyway_engine::sim::{Faults, Incident, World};
/// use keyway_engine::{Address, ConnectOptions, Event};
///
/// let world = World::new(1, Faults::none());
/// let server = Address::Tcp("10.0.0.1:11211".parse().expect("an address"));
/// world.serve(server.clone(), || {
///     Box::new(|incident, wire| {
///         if let Incident::Received(bytes) = incident {
///             wire.write(bytes);
///         }
///     })
/// });
/// let mut engine = world.engine();
/// let conn = engine.connect(&server, &ConnectOptions::default(), 0);
/// engine.write(conn, b"echo");
/// let mut got = Vec::new();
/// while got != b"echo" {
///     world.advance();
///     engine.poll(None).expect("a simulated poll does not fail");
///     while let Some(event) = engine.next() {
///         if let Event::Received { chunk, .. } = event {
///             got.extend_from_slice(&chunk);
///         }
///     }
///     engine.flush();
/// }
/// ```
#[derive(Clone)]
pub struct World {
    net: Rc<RefCell<Net>>,
}

/// What goes wrong, and how often. Chances are per 1000.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// How long each segment travels.
    pub latency: Range<Nanos>,
    /// The chance that a segment, or the wait for a connection, takes `stall` longer.
    pub stall_permille: u16,
    /// How long such a delay is.
    pub stall: Range<Nanos>,
    /// The chance that bytes are cut into segments at an arbitrary place, asked again for the rest;
    /// also that an engine receives only a part of what has arrived.
    pub split_permille: u16,
    /// The chance that a flush of an engine gets rid of only a part of a connection's output.
    pub partial_write_permille: u16,
    /// The chance, per segment, that the connection breaks there.
    pub reset_permille: u16,
    /// The chance, per segment, that the connection goes silent for ever without anybody being
    /// told, as when a machine loses power.
    pub half_open_permille: u16,
    /// The chance that a connection attempt is refused.
    pub refuse_permille: u16,
    /// The chance that a connection attempt is not answered at all.
    pub unanswered_permille: u16,
    /// The chance that a script reads slowly: up to 2000 bytes every up to 20 ms.
    pub slow_reader_permille: u16,
    /// How many bytes may be on their way to, or unread by, each side of a connection.
    pub window_bytes: Range<u64>,
}

/// The behaviour of a scripted endpoint: called for each incident, acts through the wire. It must
/// not call into its world.
pub type Script = Box<dyn FnMut(Incident<'_>, &mut Wire)>;

/// Something that happens to a scripted endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incident<'a> {
    /// The connection is there.
    Connected,
    /// Bytes arrived; never empty.
    Received(&'a [u8]),
    /// A moment asked for with `Wire::wake_in` has come.
    Woken,
    /// The peer sends no more (`Eof`, after which this side can still write), or the connection
    /// failed or never came to be (any other reason, after which nothing follows).
    Closed(CloseReason),
}

/// What a script can do with its connection.
pub struct Wire {
    now: Nanos,
    random: Random,
    actions: Vec<WireAction>,
}

enum WireAction {
    Write(Vec<u8>),
    Shutdown,
    Close,
    Reset,
    WakeIn(Nanos),
    Pause,
    Resume,
}

impl World {
    /// An empty world; its clock starts at one second.
    pub fn new(seed: u64, faults: Faults) -> World {
        World { net: Rc::new(RefCell::new(Net::new(seed, faults))) }
    }

    /// Makes an engine in this world.
    pub fn engine(&self) -> Engine {
        self.engine_with(Options::default())
    }

    /// The same with sizes of the caller's choice.
    pub fn engine_with(&self, options: Options) -> Engine {
        Engine::simulated(Sim::new(self.net.clone(), options))
    }

    /// Lets `engine`, which must belong to this world, accept connections to `address`. They
    /// arrive as `Event::Accepted` with `tag`.
    ///
    /// # Panics
    /// If the engine is not a simulated one.
    pub fn listen(&self, engine: &Engine, address: Address, tag: Tag) {
        let machine = engine.as_simulated().expect("the engine is simulated").machine();
        self.net.borrow_mut().listen(address, machine, tag);
    }

    /// Puts a scripted server at `address`; `make` gives the script of each connection.
    pub fn serve(&self, address: Address, make: impl FnMut() -> Script + 'static) {
        self.net.borrow_mut().serve(address, Box::new(make));
    }

    /// Takes the listener at `address` away: connection attempts are refused from now on, while
    /// existing connections go on.
    pub fn unserve(&self, address: &Address) {
        self.net.borrow_mut().unserve(address);
    }

    /// Breaks every existing connection to the listener at `address`, as if its process died.
    pub fn sever(&self, address: &Address) {
        self.net.borrow_mut().sever(address);
    }

    /// Lets a scripted client connect to whoever listens at `address`.
    pub fn client(&self, address: &Address, script: Script) {
        self.net.borrow_mut().dial(address, Dialler::Script(script));
    }

    /// Replaces the faults from now on; slow readers and windows of existing connections stay.
    pub fn set_faults(&self, faults: Faults) {
        self.net.borrow_mut().faults = faults;
    }

    /// The time of this world.
    pub fn now(&self) -> Nanos {
        self.net.borrow().now
    }

    /// Lets time pass until something happens for an engine or a deadline comes, whichever is
    /// first; scripts act on the way. Does nothing while an engine has work left. Returns false
    /// if nothing will ever happen any more.
    pub fn advance(&self) -> bool {
        self.advance_until(Nanos::MAX)
    }

    /// Like [`World::advance`], but not beyond the moment `limit`.
    pub fn advance_until(&self, limit: Nanos) -> bool {
        let mut net = self.net.borrow_mut();
        net.catch_up();
        loop {
            if net.has_work() {
                return true;
            }
            let deadline = net.machines.iter().filter_map(|machine| machine.deadline).min();
            let Some(next) = net.next_moment().into_iter().chain(deadline).min() else {
                return false;
            };
            if next > limit {
                net.now = net.now.max(limit);
                return true;
            }
            net.now = net.now.max(next);
            net.catch_up();
            let now = net.now;
            let mut reached = std::mem::take(&mut net.stopped);
            for machine in &mut net.machines {
                reached |= machine.deadline.take_if(|deadline| *deadline <= now).is_some();
            }
            if reached {
                return true;
            }
        }
    }

    /// Makes an `advance` return at the moment `at`, for a test that wants to act then.
    pub fn stop_at(&self, at: Nanos) {
        self.net.borrow_mut().mark(at);
    }

    /// How many connections, complete or in the making, the world holds.
    pub fn open_links(&self) -> usize {
        self.net.borrow().links.len()
    }

    /// A hash of everything that has happened so far: equal for equal histories.
    pub fn digest(&self) -> u64 {
        self.net.borrow().digest
    }

    /// A number from 0 to `limit - 1` from this world's generator, for the test's own choices.
    pub fn random(&self, limit: u64) -> u64 {
        self.net.borrow_mut().random.below(limit)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let net = self.net.borrow();
        write!(f, "World(at {} ns, {} links)", net.now, net.links.len())
    }
}

impl Faults {
    /// A perfect network: 50 µs each way, wide windows.
    pub fn none() -> Faults {
        Faults {
            latency: 50 * MICROSECOND..50 * MICROSECOND,
            stall_permille: 0,
            stall: 0..0,
            split_permille: 0,
            partial_write_permille: 0,
            reset_permille: 0,
            half_open_permille: 0,
            refuse_permille: 0,
            unanswered_permille: 0,
            slow_reader_permille: 0,
            window_bytes: 1 << 20..1 << 20,
        }
    }

    /// A network that delays, cuts and narrows everything but breaks nothing: every byte arrives.
    pub fn rough() -> Faults {
        Faults {
            latency: MICROSECOND..2 * MILLISECOND,
            stall_permille: 5,
            stall: MILLISECOND..50 * MILLISECOND,
            split_permille: 300,
            partial_write_permille: 300,
            slow_reader_permille: 100,
            window_bytes: 200..64 << 10,
            ..Faults::none()
        }
    }

    /// A rough network that also refuses, breaks and silences connections.
    pub fn wild() -> Faults {
        Faults {
            stall: MILLISECOND..3 * SECOND,
            reset_permille: 3,
            half_open_permille: 2,
            refuse_permille: 100,
            unanswered_permille: 20,
            ..Faults::rough()
        }
    }
}

impl Wire {
    fn new(now: Nanos, seed: u64) -> Wire {
        Wire { now, random: Random::new(seed), actions: Vec::new() }
    }

    /// The time of the world.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// A number from 0 to `limit - 1`, repeatable by the world's seed.
    pub fn random(&mut self, limit: u64) -> u64 {
        self.random.below(limit)
    }

    /// Writes `bytes`; they leave as fast as the peer reads.
    pub fn write(&mut self, bytes: &[u8]) {
        self.actions.push(WireAction::Write(bytes.to_vec()));
    }

    /// Says that nothing more will be written; still reads.
    pub fn shutdown(&mut self) {
        self.actions.push(WireAction::Shutdown);
    }

    /// Closes the connection; what was written is still delivered.
    pub fn close(&mut self) {
        self.actions.push(WireAction::Close);
    }

    /// Breaks the connection.
    pub fn reset(&mut self) {
        self.actions.push(WireAction::Reset);
    }

    /// Asks for an `Incident::Woken` after `span`.
    pub fn wake_in(&mut self, span: Nanos) {
        self.actions.push(WireAction::WakeIn(span));
    }

    /// Stops reading: the peer's output fills the window and then stays with the peer.
    pub fn pause(&mut self) {
        self.actions.push(WireAction::Pause);
    }

    /// Reads again.
    pub fn resume(&mut self) {
        self.actions.push(WireAction::Resume);
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire(at {} ns, {} actions)", self.now, self.actions.len())
    }
}
