//! A thread that accepts connections for all workers.

use crate::event::Tag;
use crate::listen::ListenSocket;
use crate::socket::{Keepalive, Peer, Socket};
use std::io;

/// A connection that came in.
#[derive(Debug)]
pub struct Accepted {
    /// The tag of the listener it came through.
    pub listener: Tag,
    /// The connection, ready for `Engine::adopt`.
    pub socket: Socket,
    /// Who connected.
    pub peer: Peer,
}

/// How an acceptor prepares connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acceptor {
    /// Probing of idle TCP clients; none means the kernel does not probe.
    pub keepalive: Option<Keepalive>,
    /// How long bytes to a TCP client may stay unacknowledged, in milliseconds; 0 leaves the
    /// kernel's default.
    pub user_timeout_ms: u32,
}

/// Steers a running acceptor, from any thread; dropping the last clone does not stop it.
#[derive(Clone, Debug)]
pub struct AcceptorHandle {}

impl Acceptor {
    /// Starts the thread; `deliver` is called on it for each connection and should pass it on to a
    /// worker's mailbox.
    pub fn spawn(
        self,
        deliver: impl FnMut(Accepted) + Send + 'static,
    ) -> io::Result<AcceptorHandle> {
        drop(deliver);
        Ok(AcceptorHandle {})
    }
}

impl AcceptorHandle {
    /// Accepts from `listener` from now on.
    pub fn add(&self, tag: Tag, listener: ListenSocket) {
        drop((tag, listener));
    }

    /// Stops listening on the sockets that were added with `tag`. Connections that the kernel
    /// already queued for them are lost unless another handle on the same socket exists.
    pub fn remove(&self, tag: Tag) {
        let _ = tag;
    }

    /// Stops accepting everywhere; new connections wait in the kernel's backlog.
    pub fn pause(&self) {}

    /// Accepts again after `pause`.
    pub fn resume(&self) {}

    /// Ends the thread, closes all its listeners and waits until that is done.
    pub fn stop(&self) {}
}
