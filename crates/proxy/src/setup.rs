//! What a worker is given: its configuration, its counters, and its mail.

use crate::config::Config;
use crate::events;
use crate::local::{ConnEntry, Shared};
use crate::stats::Registry;
use keyway_engine::{Nanos, Receiver, Socket};
use keyway_store::Store;
use std::sync::Arc;

/// One loaded configuration with what control adds to it.
#[derive(Debug)]
pub struct Generation {
    /// Counts up with every configuration that was put to use; the first is 1.
    pub number: u64,
    /// The configuration, with names resolved as far as possible.
    pub config: Config,
    /// A number for each listener of `config`, in its order. A listener that stays over a reload
    /// keeps its number; numbers are small and never used twice.
    pub listener_keys: Vec<u32>,
}

/// Everything a worker needs to begin.
pub struct Setup {
    /// Which of the workers it is, from 0.
    pub index: usize,
    /// The configuration to begin with.
    pub generation: Arc<Generation>,
    /// The embedded store, shared by all workers. A small one where no route leads to it.
    pub store: Arc<Store>,
    /// The store's surroundings: settings, watchers, the table of connections.
    pub shared: Arc<Shared>,
    /// When the process started, by the engine's clock: the store's clock counts from there.
    pub started: Nanos,
    /// Where its counters are.
    pub registry: Arc<Registry>,
    /// Where its events go.
    pub events: events::Sender,
    /// Where its mail comes from; made with the waker of its engine.
    pub mail: Receiver<Mail>,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("index", &self.index).finish_non_exhaustive()
    }
}

/// What control (or the acceptor) tells a worker.
#[derive(Debug)]
pub enum Mail {
    /// A client was accepted.
    Client {
        /// Its connection.
        socket: Socket,
        /// Number of the listener that accepted it.
        listener_key: u32,
        /// Its entry in the table of connections.
        entry: Arc<ConnEntry>,
    },
    /// Run this configuration from now on. Once done the worker's counter `generation` is its
    /// number.
    Configure(Arc<Generation>),
    /// Close clients as soon as nothing is owed to them, and all that are left at `deadline`
    /// (of the engine's clock); then stop.
    Drain {
        /// When to stop waiting.
        deadline: Nanos,
    },
    /// Stop at once.
    Stop,
}
