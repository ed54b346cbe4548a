//! The one type a worker sees; it passes every call on to the backend chosen at the start.
//!
//! The choice is made at run time, because whether a system allows io_uring is not ours to decide.
//! This file holds the contract that every backend keeps; it does no work of its own.

use crate::chunk::Chunk;
use crate::clock::Nanos;
use crate::epoll::Epoll;
use crate::event::{ConnId, Event, Tag};
use crate::listen::ListenSocket;
use crate::mailbox::Waker;
use crate::sim::Sim;
use crate::socket::{Address, ConnectOptions, Peer, Socket};
use crate::uring::Uring;
use std::fmt;
use std::io;
use std::ops::Range;

/// Connections, their buffers and the time, for one thread. Not `Send`: make it on its thread.
#[derive(Debug)]
pub struct Engine {
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    Epoll(Box<Epoll>),
    Uring(Box<Uring>),
    Sim(Box<Sim>),
}

/// Which kernel interface to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// What we consider best; today that is epoll (docs/decisions/004-engine-backends.md).
    #[default]
    Auto,
    /// Level-triggered epoll, which works everywhere.
    Epoll,
    /// io_uring, or epoll where the system refuses it.
    Uring,
}

/// Sizes that an engine works with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Memory that connections receive into, in bytes; at least 4096.
    pub chunk_bytes: u32,
    /// The same while a large value is announced with `Engine::expect`.
    pub large_chunk_bytes: u32,
    /// `Engine::write_chunk` shares memory for at least this many bytes and copies fewer.
    pub share_bytes_min: usize,
}

/// Why io_uring is not used although it was asked for.
#[derive(Debug)]
pub struct Refusal {
    /// The call that was refused.
    pub operation: &'static str,
    /// What the system answered.
    pub error: io::Error,
    /// The likely cause, as a sentence for the log.
    pub cause: &'static str,
}

/// Running totals of an engine's work since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Waits for events: `epoll_wait` or `io_uring_enter`.
    pub polls: u64,
    /// Receives that brought bytes.
    pub receives: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Sends that took bytes.
    pub sends: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Sends that the kernel took only in part, or not at all, because a peer reads slowly.
    pub short_sends: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { chunk_bytes: 64 << 10, large_chunk_bytes: 512 << 10, share_bytes_min: 16 << 10 }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring: {}: {}; {}", self.operation, self.error, self.cause)
    }
}

/// Calls the same method on whichever backend is in use.
macro_rules! backend {
    ($engine:expr, $name:ident => $call:expr) => {
        match $engine {
            Backend::Epoll($name) => $call,
            Backend::Uring($name) => $call,
            Backend::Sim($name) => $call,
        }
    };
}

impl Engine {
    /// Makes an engine for the calling thread. The refusal says why io_uring is not used, if it was
    /// chosen; epoll is used then.
    ///
    /// # Errors
    /// The process has no file descriptors left, or less than the kernel interfaces need.
    pub fn new(choice: Choice, options: Options) -> io::Result<(Engine, Option<Refusal>)> {
        let mut refusal = None;
        if choice == Choice::Uring {
            match Uring::new(&options)? {
                Ok(uring) => {
                    return Ok((Engine { backend: Backend::Uring(Box::new(uring)) }, None));
                }
                Err(why) => refusal = Some(why),
            }
        }
        let backend = Backend::Epoll(Box::new(Epoll::new(options)?));
        Ok((Engine { backend }, refusal))
    }

    pub(crate) fn simulated(sim: Sim) -> Engine {
        Engine { backend: Backend::Sim(Box::new(sim)) }
    }

    pub(crate) fn as_simulated(&self) -> Option<&Sim> {
        match &self.backend {
            Backend::Sim(sim) => Some(sim),
            Backend::Epoll(_) | Backend::Uring(_) => None,
        }
    }

    /// Which backend runs: `epoll`, `io_uring` or `simulated`.
    pub fn name(&self) -> &'static str {
        match &self.backend {
            Backend::Epoll(_) => "epoll",
            Backend::Uring(_) => "io_uring",
            Backend::Sim(_) => "simulated",
        }
    }

    /// Waits until something happens, at most until the moment `until` of this engine's clock (with
    /// none, for as long as it takes), then reads the clock once. Returns at once if events are
    /// pending. May return without any event, and a little later than `until`.
    ///
    /// # Errors
    /// Only when the kernel refuses to wait at all, which leaves nothing to do but stop.
    pub fn poll(&mut self, until: Option<Nanos>) -> io::Result<()> {
        backend!(&mut self.backend, b => b.poll(until))
    }

    /// The next event of this turn. Receiving happens here, so a worker that stops asking leaves
    /// the rest in the kernel.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "an event may depend on calls in between")]
    pub fn next(&mut self) -> Option<Event> {
        backend!(&mut self.backend, b => b.next())
    }

    /// The moment of the last `poll`.
    #[inline]
    pub fn now(&self) -> Nanos {
        backend!(&self.backend, b => b.now())
    }

    /// Takes over a connected socket and starts reading from it.
    pub fn adopt(&mut self, socket: Socket, tag: Tag) -> ConnId {
        match &mut self.backend {
            Backend::Epoll(epoll) => epoll.adopt(socket, tag),
            Backend::Uring(uring) => uring.adopt(socket, tag),
            Backend::Sim(sim) => sim.adopt_nothing(tag),
        }
    }

    /// Accepts connections from `listener` on this engine, reported as `Event::Accepted` with
    /// `tag`. An alternative to `Acceptor`, with one listening socket per engine.
    ///
    /// # Errors
    /// The kernel cannot watch one more socket.
    pub fn add_listener(&mut self, listener: ListenSocket, tag: Tag) -> io::Result<()> {
        match &mut self.backend {
            Backend::Epoll(epoll) => epoll.add_listener(listener, tag),
            Backend::Uring(uring) => uring.add_listener(listener, tag),
            Backend::Sim(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Stops accepting from the listeners that were added with `tag` and closes them.
    pub fn remove_listener(&mut self, tag: Tag) {
        backend!(&mut self.backend, b => b.remove_listener(tag));
    }

    /// Starts connecting to `address`. `Connected` or `Closed` follows, also for errors that are
    /// known at once. Output may be written before; there is no limit to the time but the kernel's,
    /// so the owner closes what takes too long.
    pub fn connect(&mut self, address: &Address, options: &ConnectOptions, tag: Tag) -> ConnId {
        backend!(&mut self.backend, b => b.connect(address, options, tag))
    }

    /// Changes the tag of later events, including those that are already pending.
    pub fn retag(&mut self, conn: ConnId, tag: Tag) {
        backend!(&mut self.backend, b => b.retag(conn, tag));
    }

    /// Whether `conn` is still open (or connecting).
    pub fn is_open(&self, conn: ConnId) -> bool {
        backend!(&self.backend, b => b.is_open(conn))
    }

    /// How many connections are open or connecting.
    pub fn open_conns(&self) -> usize {
        backend!(&self.backend, b => b.open_conns())
    }

    /// Who is at the other end. A system call; meant for logs and listings.
    pub fn peer(&self, conn: ConnId) -> Option<Peer> {
        match &self.backend {
            Backend::Epoll(epoll) => epoll.peer(conn),
            Backend::Uring(uring) => uring.peer(conn),
            Backend::Sim(_) => None,
        }
    }

    /// Appends a copy of `bytes` to the output, to leave with the next `flush`.
    #[inline]
    pub fn write(&mut self, conn: ConnId, bytes: &[u8]) {
        backend!(&mut self.backend, b => b.write(conn, bytes));
    }

    /// Appends `chunk[range]` to the output: from `Options::share_bytes_min` bytes on without a
    /// copy, which keeps the chunk's memory until the peer took the bytes.
    ///
    /// # Panics
    /// If `range` reaches beyond the chunk.
    pub fn write_chunk(&mut self, conn: ConnId, chunk: &Chunk, range: Range<usize>) {
        backend!(&mut self.backend, b => b.write_chunk(conn, chunk, range));
    }

    /// Appends foreign memory to the output without a copy; it is dropped once sent. Worth it from
    /// about the same size on as sharing a chunk. It is asked for its bytes once, now.
    pub fn write_owned(&mut self, conn: ConnId, bytes: Box<dyn AsRef<[u8]>>) {
        backend!(&mut self.backend, b => b.write_owned(conn, bytes));
    }

    /// How many bytes of output the kernel has not taken yet; 0 for stale ids.
    #[inline]
    pub fn unsent(&self, conn: ConnId) -> usize {
        backend!(&self.backend, b => b.unsent(conn))
    }

    /// How many bytes of output the kernel has not taken yet, over all connections.
    #[inline]
    pub fn unsent_total(&self) -> usize {
        backend!(&self.backend, b => b.unsent_total())
    }

    /// Sends all output written since the last flush, as far as the peers take it; the rest follows
    /// by itself. io_uring submits small amounts only with the next `poll`, so a worker that stops
    /// after flushing polls once more or drops the engine. Errors arrive later as `Closed`.
    pub fn flush(&mut self) {
        backend!(&mut self.backend, b => b.flush());
    }

    /// Bytes written since the last flush over all connections. A worker that sees more than the
    /// caches hold (some 128 KiB) flushes early.
    #[inline]
    pub fn unflushed(&self) -> usize {
        backend!(&self.backend, b => b.unflushed())
    }

    /// Stops reading from `conn`; the kernel's buffer fills and the peer has to wait. No byte is
    /// lost. At most what was already received still arrives as events of this turn.
    pub fn pause(&mut self, conn: ConnId) {
        backend!(&mut self.backend, b => b.pause(conn));
    }

    /// Reads again after `pause`.
    pub fn resume(&mut self, conn: ConnId) {
        backend!(&mut self.backend, b => b.resume(conn));
    }

    /// Asks for one `Drained` event as soon as fewer than `below` bytes are unsent (at least 1; at
    /// once if that is so now). A second call replaces the first.
    pub fn notify_drained(&mut self, conn: ConnId, below: usize) {
        backend!(&mut self.backend, b => b.notify_drained(conn, below));
    }

    /// Reports the peer's end of sending as `Ended` instead of `Closed`, so that replies can still
    /// be written; the owner then calls `finish` or `close`.
    pub fn allow_half_close(&mut self, conn: ConnId) {
        backend!(&mut self.backend, b => b.allow_half_close(conn));
    }

    /// Reads no more and closes once the output is sent; then one `Closed` event follows.
    pub fn finish(&mut self, conn: ConnId) {
        backend!(&mut self.backend, b => b.finish(conn));
    }

    /// Closes at once (on io_uring with the next `poll`), dropping unsent output. No event follows.
    pub fn close(&mut self, conn: ConnId) {
        backend!(&mut self.backend, b => b.close(conn));
    }

    /// Says that `bytes` bytes of a value are still to come, so that they are received in large
    /// pieces. A hint: wrong numbers cost some memory or speed, nothing else.
    pub fn expect(&mut self, conn: ConnId, bytes: usize) {
        match &mut self.backend {
            Backend::Epoll(epoll) => epoll.expect(conn, bytes),
            Backend::Uring(uring) => uring.expect(conn, bytes),
            Backend::Sim(_) => {}
        }
    }

    /// A handle that makes `poll` return with `Event::Mail`, for other threads.
    pub fn waker(&self) -> Waker {
        backend!(&self.backend, b => b.waker())
    }

    /// What this engine has done so far.
    pub fn counters(&self) -> Counters {
        backend!(&self.backend, b => b.counters())
    }
}
