//! One request and the one reply it is owed.
//!
//! An exchange is opened before anything is sent and closed when its reply has been given, whatever
//! happens to its client meanwhile: a reply whose client has left is swallowed by the exchange, so
//! replies on a shared connection can never slip by one. Policies are exchanges too: their legs are
//! exchanges that are owed to them instead of to a client.

use crate::client::ClientId;
use crate::config::CommandClass;
use crate::policy::Run;
use keyway_engine::{Id, Nanos};
use keyway_proto::memcached::{ReplyKind, Verb};

/// Names an exchange; stale names find nothing.
pub type ExchangeId = Id<Exchange>;
/// Names a policy's run; stale names find nothing.
pub type RunId = Id<Run>;

/// Why a backend gave no usable reply. Carries no text; [`Failure::reply`] has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No connection could be made, or the backend is held after failing before.
    Refused,
    /// No reply in time.
    TimedOut,
    /// The connection ended in good order while the reply was owed.
    Closed,
    /// The connection was broken while the reply was owed.
    Reset,
    /// The path of its Unix socket does not exist.
    NoSocket,
    /// Its name has no address.
    Unresolved,
    /// There is no way to its network.
    Unreachable,
    /// No file descriptor or port is left for a connection.
    Exhausted,
    /// What came was not a reply to what was asked.
    Malformed,
    /// Too much is queued for the backend already, or too many sessions are open.
    Overloaded,
    /// The request or its reply is larger than the limits allow.
    TooLarge,
}

/// The words in which a client is told of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// As memcached's proxy.
    Memcached,
    /// As twemproxy on a memcached pool.
    NutcrackerMemcached,
    /// `-ERR` and the reason.
    Redis,
    /// As twemproxy on a Redis pool.
    NutcrackerRedis,
    /// As twemproxy on a Redis pool, and requests go where twemproxy sends them.
    StrictRedis,
}

impl Voice {
    /// Whether the client speaks RESP.
    #[inline]
    pub fn is_redis(self) -> bool {
        !matches!(self, Voice::Memcached | Voice::NutcrackerMemcached)
    }
}

/// The same reason as a line of each of the voices that give reasons.
macro_rules! reason {
    ($voice:expr, $words:literal, $nutcracker:literal) => {
        match $voice {
            Voice::Redis => concat!("-ERR ", $words, "\r\n").as_bytes(),
            Voice::NutcrackerRedis | Voice::StrictRedis => {
                concat!("-ERR ", $nutcracker, "\r\n").as_bytes()
            }
            _ => concat!("SERVER_ERROR ", $nutcracker, "\r\n").as_bytes(),
        }
    };
}

impl Failure {
    /// Every failure.
    pub const ALL: [Failure; 11] = [
        Failure::Refused,
        Failure::TimedOut,
        Failure::Closed,
        Failure::Reset,
        Failure::NoSocket,
        Failure::Unresolved,
        Failure::Unreachable,
        Failure::Exhausted,
        Failure::Malformed,
        Failure::Overloaded,
        Failure::TooLarge,
    ];

    /// The word for logs.
    pub fn name(self) -> &'static str {
        match self {
            Failure::Refused => "refused",
            Failure::TimedOut => "timed out",
            Failure::Closed => "closed",
            Failure::Reset => "reset",
            Failure::NoSocket => "no such socket",
            Failure::Unresolved => "name not resolved",
            Failure::Unreachable => "unreachable",
            Failure::Exhausted => "out of file descriptors",
            Failure::Malformed => "malformed reply",
            Failure::Overloaded => "overloaded",
            Failure::TooLarge => "too large",
        }
    }

    /// The line that clients get. twemproxy's words are those of the C library for the error
    /// number that it met.
    pub fn reply(self, voice: Voice) -> &'static [u8] {
        if voice == Voice::Memcached {
            return match self {
                Failure::Overloaded => b"SERVER_ERROR busy\r\n",
                Failure::TooLarge => b"SERVER_ERROR object too large for cache\r\n",
                _ => b"SERVER_ERROR backend failure\r\n",
            };
        }
        match self {
            Failure::Refused => reason!(voice, "Connection refused", "Connection refused"),
            Failure::TimedOut => reason!(voice, "Connection timed out", "Connection timed out"),
            Failure::Closed => reason!(voice, "Connection closed by server", "unknown"),
            Failure::Reset => {
                reason!(voice, "Connection reset by peer", "Connection reset by peer")
            }
            Failure::NoSocket => {
                reason!(voice, "No such file or directory", "No such file or directory")
            }
            Failure::Unresolved => reason!(voice, "Name not resolved", "Host is down"),
            Failure::Unreachable => reason!(voice, "No route to host", "No route to host"),
            Failure::Exhausted => reason!(voice, "Too many open files", "Too many open files"),
            Failure::Malformed => reason!(voice, "Invalid reply from server", "Invalid argument"),
            Failure::Overloaded => reason!(voice, "busy", "busy"),
            Failure::TooLarge => reason!(voice, "too large", "too large"),
        }
    }
}

/// To whom the reply is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A client, in its order.
    Client(ClientId),
    /// A policy's run: the exchange is its leg with this number.
    Leg(RunId, u16),
    /// Nobody any more: the reply is swallowed when it comes.
    Nobody,
}

/// What was asked, as far as the reply depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// The command.
    pub verb: Verb,
    /// Its class, for counters.
    pub class: CommandClass,
    /// How failures are told.
    pub voice: Voice,
    /// It may change something, so that its place among others matters.
    pub may_change: bool,
    /// Classic `noreply`, or `CLIENT REPLY OFF`: nothing is ever answered.
    pub noreply: bool,
    /// The client speaks RESP3.
    pub is_resp3: bool,
    /// Meta `q`: the uninteresting outcome is not answered.
    pub quiet: bool,
    /// Bytes of the request with its value.
    pub bytes: u32,
}

impl Asked {
    /// Whether a one-line reply of this kind is kept from the client.
    #[inline]
    pub fn mutes(&self, kind: ReplyKind) -> bool {
        if self.noreply {
            return true;
        }
        self.quiet
            && match self.verb {
                Verb::Mg => kind == ReplyKind::En,
                Verb::Ma => matches!(kind, ReplyKind::Hd | ReplyKind::Va),
                _ => kind == ReplyKind::Hd,
            }
    }
}

/// One request and the reply it is owed.
#[derive(Debug)]
pub struct Exchange {
    pub(crate) owner: Owner,
    /// The next one owed to the same client.
    pub(crate) next: Option<ExchangeId>,
    pub(crate) asked: Asked,
    /// Reply bytes that cannot be sent yet: an older reply is still owed, or a policy wants them.
    pub(crate) held: Vec<u8>,
    /// What the reply began with.
    pub(crate) kind: Option<ReplyKind>,
    /// The reply is complete.
    pub(crate) done: bool,
    /// Bytes of the reply have been written to the client.
    pub(crate) sent: bool,
    /// Index of the block of counters of listener and route.
    pub(crate) front: u32,
    /// The same number for all requests of a client: chooses among connections.
    pub(crate) affinity: u32,
    /// The policy at work, when the exchange has one.
    pub(crate) run: Option<RunId>,
    pub(crate) reply_bytes: u64,
    pub(crate) started: Nanos,
}

/// Whether a reply of this kind is an error line.
pub(crate) fn is_error(kind: ReplyKind) -> bool {
    matches!(kind, ReplyKind::Error | ReplyKind::ClientError | ReplyKind::ServerError)
}

/// Whether a reply of this kind says that nothing was found by a retrieval.
pub(crate) fn is_miss(kind: ReplyKind) -> bool {
    matches!(kind, ReplyKind::End | ReplyKind::En)
}
