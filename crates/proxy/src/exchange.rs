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
    /// The connection ended while the reply was owed.
    Closed,
    /// What came was not a reply to what was asked.
    Malformed,
    /// Too much is queued for the backend already.
    Overloaded,
    /// The request or its reply is larger than the limits allow.
    TooLarge,
}

impl Failure {
    /// Every failure.
    pub const ALL: [Failure; 6] = [
        Failure::Refused,
        Failure::TimedOut,
        Failure::Closed,
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
            Failure::Malformed => "malformed reply",
            Failure::Overloaded => "overloaded",
            Failure::TooLarge => "too large",
        }
    }

    /// The line that memcached clients get.
    pub fn reply(self) -> &'static [u8] {
        match self {
            Failure::Refused | Failure::TimedOut | Failure::Closed | Failure::Malformed => {
                b"SERVER_ERROR backend failure\r\n"
            }
            Failure::Overloaded => b"SERVER_ERROR busy\r\n",
            Failure::TooLarge => b"SERVER_ERROR object too large for cache\r\n",
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
    /// Classic `noreply`: nothing is ever answered.
    pub noreply: bool,
    /// Meta `q`: the uninteresting outcome is not answered.
    pub quiet: bool,
    /// Bytes of the request with its value.
    pub bytes: u32,
}

impl Asked {
    /// Whether the request may change something, so that its place among others matters.
    #[inline]
    pub fn may_change(&self) -> bool {
        self.class != CommandClass::Get && self.verb != Verb::Mn
    }

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
