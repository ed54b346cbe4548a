//! What an engine tells its worker.
//!
//! Events carry the owner's tag, so that a worker finds its own record without a table from
//! connections to owners. None of them borrows from the engine.

use crate::chunk::Chunk;
use rustix::io::Errno;

/// A word of the owner's that comes back with each event of a connection. The engine never looks
/// at it; it usually holds an id of the owner's own table.
pub type Tag = u64;

/// Names one connection of one engine. Once the connection is gone the id is stale: every call
/// with it is a no-op, also after the slot has a new tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// One thing that happened, returned by `Engine::next`.
#[derive(Debug)]
pub enum Event {
    /// A listener of this engine accepted a connection, which has the listener's tag until
    /// `Engine::retag`. Reading starts at once.
    Accepted {
        /// The tag given with `Engine::add_listener`.
        listener: Tag,
        /// The new connection.
        conn: ConnId,
    },
    /// A connection attempt succeeded; what was written meanwhile goes out with the next flush.
    Connected {
        /// The connection.
        conn: ConnId,
        /// Its tag.
        tag: Tag,
    },
    /// Bytes arrived; never empty.
    Received {
        /// The connection.
        conn: ConnId,
        /// Its tag.
        tag: Tag,
        /// The bytes. Drop it before the next call of `Engine::next` wherever possible: then the
        /// same memory receives again while it is in the cache.
        chunk: Chunk,
    },
    /// The peer will send no more but can still read. Only for connections that asked with
    /// `Engine::allow_half_close`; others are closed with [`CloseReason::Eof`] instead.
    Ended {
        /// The connection, which stays open for writing.
        conn: ConnId,
        /// Its tag.
        tag: Tag,
    },
    /// The unsent output fell below the mark of `Engine::notify_drained`.
    Drained {
        /// The connection.
        conn: ConnId,
        /// Its tag.
        tag: Tag,
    },
    /// The connection, or the attempt at one, is over. Its id is stale from now on.
    Closed {
        /// The connection, for comparing only.
        conn: ConnId,
        /// Its tag.
        tag: Tag,
        /// Why.
        reason: CloseReason,
    },
    /// A `Waker` of this engine was used: look into the mailbox.
    Mail,
}

/// Why a connection or an attempt to connect ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The peer closed in good order.
    Eof,
    /// `Engine::finish` was called and all output is with the kernel.
    Finished,
    /// Nobody listens there.
    Refused,
    /// The path of the Unix socket does not exist.
    Missing,
    /// The peer broke the connection.
    Reset,
    /// The peer or the way to it did not answer in time (as the kernel counts; connecting has no
    /// other limit than the kernel's).
    TimedOut,
    /// There is no route to the peer.
    Unreachable,
    /// The network's buffers or this process's file descriptors are used up.
    Exhausted,
    /// Another error of the operating system, by its number.
    Other(i32),
}

impl CloseReason {
    pub(crate) fn from_errno(errno: Errno) -> CloseReason {
        match errno {
            Errno::CONNREFUSED => CloseReason::Refused,
            Errno::NOENT => CloseReason::Missing,
            Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED => CloseReason::Reset,
            Errno::TIMEDOUT => CloseReason::TimedOut,
            Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::NETDOWN | Errno::HOSTDOWN => {
                CloseReason::Unreachable
            }
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL => {
                CloseReason::Exhausted
            }
            other => CloseReason::Other(other.raw_os_error()),
        }
    }
}
