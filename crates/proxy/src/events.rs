//! What workers tell the control side about: fixed-size events in a bounded queue.
//!
//! Workers never format and never wait: an event that finds the queue full is dropped and counted.
//! Control drains the queue, formats, and limits the rate by kind.

pub use crate::exchange::Failure;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Something an operator may want to read about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A backend accepts requests again.
    BackendUp {
        /// Pool and backend, as `pool/name`.
        backend: Arc<str>,
    },
    /// A backend failed so often in a row that its requests are refused until it answers again.
    BackendDown {
        /// Pool and backend, as `pool/name`.
        backend: Arc<str>,
        /// What happened last.
        cause: Failure,
    },
    /// A connection to a backend was lost or given up.
    BackendFailed {
        /// Pool and backend, as `pool/name`.
        backend: Arc<str>,
        /// What happened.
        cause: Failure,
        /// Replies that were owed on it.
        owed: usize,
    },
    /// A backend left its pool's ring.
    Ejected {
        /// Pool and backend, as `pool/name`.
        backend: Arc<str>,
    },
    /// A backend is back in its pool's ring.
    Returned {
        /// Pool and backend, as `pool/name`.
        backend: Arc<str>,
    },
    /// A client held more bytes than allowed and was closed.
    ClientOverLimit {
        /// Bytes held.
        bytes: usize,
    },
    /// A worker runs a new configuration.
    Configured {
        /// Number of the configuration.
        generation: u64,
    },
}

/// The workers' end of the queue.
#[derive(Clone, Debug)]
pub struct Sender(SyncSender<(usize, Event)>);

impl Sender {
    /// Reports an event of worker `worker`; false when the queue is full or nobody listens.
    pub fn send(&self, worker: usize, event: Event) -> bool {
        self.0.try_send((worker, event)).is_ok()
    }
}

/// A queue for so many events: worker number and event.
pub fn queue(events_max: usize) -> (Sender, Receiver<(usize, Event)>) {
    let (sender, receiver) = sync_channel(events_max);
    (Sender(sender), receiver)
}
