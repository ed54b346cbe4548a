//! One accepted connection: input that is not a whole request yet, and the replies it is owed.
//!
//! Replies leave in the order of the requests. The exchanges owed to a client form a list through
//! `Exchange::next`; only the one at its head may write to the connection, the others hold theirs.
//! An idle client owns no buffers.

use crate::exchange::ExchangeId;
use crate::link::LinkId;
use crate::local;
use crate::local::ConnEntry;
use crate::redis::Redis;
use keyway_engine::{ConnId, Id, Nanos};
use std::sync::Arc;

/// Names a client; stale names find nothing.
pub type ClientId = Id<Client>;

/// One accepted connection.
#[derive(Debug)]
pub struct Client {
    pub(crate) conn: ConnId,
    /// Number of its listener.
    pub(crate) listener: u32,
    /// Requests whose reply is owed.
    pub(crate) owed: u32,
    /// Oldest exchange owed.
    pub(crate) head: Option<ExchangeId>,
    /// Youngest exchange owed.
    pub(crate) tail: Option<ExchangeId>,
    /// Received but not consumed: the front of a request, or requests that have to wait.
    pub(crate) partial: Vec<u8>,
    /// Bytes of a refused value that are still to come.
    pub(crate) swallow: u64,
    /// Bytes of `partial` that the worker's total has.
    pub(crate) partial_counted: usize,
    /// Bytes of replies held in its exchanges.
    pub(crate) held_bytes: usize,
    /// Bytes of replies that policies collect for it.
    pub(crate) leg_bytes: usize,
    /// How many requests may be owed at once; grows with each reply and shrinks with their size.
    pub(crate) window: u32,
    /// Running average of the size of its replies, in bytes.
    pub(crate) reply_average: u32,
    /// Requests owed that may change something.
    pub(crate) writes_owed: u32,
    /// The youngest exchange that uses a lane. Nothing is begun behind it: it could overtake it.
    pub(crate) on_lane: Option<ExchangeId>,
    /// The connection that its large value is being sent to.
    pub(crate) upload: Option<Upload>,
    /// Lanes that are not read because this client does not take what they brought.
    pub(crate) stalled_lanes: Vec<LinkId>,
    pub(crate) state: State,
    pub(crate) speaks: Speaks,
    pub(crate) session: local::Session,
    /// What is known of it if it speaks RESP.
    pub(crate) redis: Option<Box<Redis>>,
    pub(crate) stream: Stream,
    /// Bytes at the front of `partial` that are known to hold no line end.
    pub(crate) scanned: usize,
    /// Why it goes, in memcached's words.
    pub(crate) leaves: &'static str,
    /// When it last sent something.
    pub(crate) seen: Nanos,
    pub(crate) entry: Arc<ConnEntry>,
}

/// Which protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// Its first byte will tell.
    Unknown,
    Text,
    Binary,
    Redis,
    /// Its first byte will tell, and it may be Redis.
    Anything,
}

/// Output that a client gets without asking again.
#[derive(Debug)]
pub(crate) enum Stream {
    None,
    /// The slices of a dump.
    Dump,
    /// Lines of `watch`.
    Watch(Box<local::Watching>),
}

/// A value that is passed on while it arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upload {
    pub exchange: ExchangeId,
    pub lane: LinkId,
    /// Bytes still to come, with the line end.
    pub left: u64,
}

/// What holds for a client right now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    /// Waits in the worker's queue for another turn.
    pub queued: bool,
    /// Whole requests may lie in `partial` that have not been looked at for lack of room.
    pub blocked: bool,
    /// Its socket is not read, and no request of it is begun, for lack of room.
    pub paused: bool,
    /// Its socket is not read because enough has come that was not looked at yet.
    pub flooded: bool,
    /// A `Drained` event was asked for.
    pub awaits_drain: bool,
    /// No more requests are taken; it is closed once everything owed is sent.
    pub closing: bool,
    /// The client sends no more; what it sent is still served.
    pub ended: bool,
    /// `finish` was called.
    pub finished: bool,
}

/// Window of a new client: enough for any pipeline in practice, little enough that a hostile one
/// cannot ask for gigabytes before the size of its replies is known.
const WINDOW_FIRST: u32 = 24;

impl Client {
    pub(crate) fn new(
        conn: ConnId,
        listener: u32,
        speaks: Speaks,
        entry: Arc<ConnEntry>,
        now: Nanos,
    ) -> Client {
        Client {
            conn,
            listener,
            owed: 0,
            head: None,
            tail: None,
            partial: Vec::new(),
            swallow: 0,
            partial_counted: 0,
            held_bytes: 0,
            leg_bytes: 0,
            window: WINDOW_FIRST,
            reply_average: 0,
            writes_owed: 0,
            on_lane: None,
            upload: None,
            stalled_lanes: Vec::new(),
            state: State::default(),
            speaks,
            session: local::Session::new(),
            redis: None,
            stream: Stream::None,
            scanned: 0,
            leaves: "normal",
            seen: now,
            entry,
        }
    }

    /// Learns from a reply of so many bytes how many requests may be read ahead.
    #[inline]
    pub(crate) fn learn(&mut self, reply_bytes: u64, owed_max: usize, bytes_max: usize) {
        let size = reply_bytes.min(u64::from(u32::MAX >> 4)) as u32;
        // Quick to see large values, slow to forget them.
        if size > self.reply_average {
            self.reply_average += (size - self.reply_average) / 2;
        } else {
            self.reply_average -= (self.reply_average - size) / 8;
        }
        let by_bytes = bytes_max as u64 / 4 / u64::from(self.reply_average.max(64));
        let most = (owed_max as u64).min(by_bytes.max(1)) as u32;
        self.window = (self.window + 1).min(most);
    }

    /// Whether nothing at all stands in the way of its next request.
    #[inline]
    pub(crate) fn is_unhindered(&self) -> bool {
        !self.state.closing
            && !self.state.paused
            && self.swallow == 0
            && self.upload.is_none()
            && self.on_lane.is_none()
            && self.has_window()
            && matches!(self.stream, Stream::None)
    }

    /// Whether another request may be started.
    #[inline]
    pub(crate) fn has_window(&self) -> bool {
        self.owed < self.window
    }

    /// Whether it waits for messages, which may be rare.
    pub(crate) fn is_subscribed(&self) -> bool {
        self.redis.as_ref().is_some_and(|redis| redis.subscriber.is_some())
    }

    /// Keeps bytes that are not a whole request yet.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
    }
}
