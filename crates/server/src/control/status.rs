//! What the process is doing, for everyone who asks: the admin API, metrics, tests.
//!
//! Control writes it, the admin server reads copies. Nothing here is touched by a worker.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyway_engine::{Nanos, monotonic};
use keyway_proxy::config::Config;
use keyway_proxy::stats::Registry;
use keyway_store::Store;

use super::deal::Gate;
use super::phase::Phase;

/// What the process is doing. Shared between control and the admin server.
pub struct Status {
    /// All counters of the workers.
    pub registry: Arc<Registry>,
    /// The embedded store; hardly used where no route leads to it.
    pub store: Arc<Store>,
    /// The limit on clients.
    pub gate: Arc<Gate>,
    /// When the process started, for the calendar.
    pub started_at: SystemTime,
    /// When the process started, by the engine's clock.
    pub started: Nanos,
    /// Log lines about workers' events that the rate limit held back.
    pub lines_suppressed: AtomicU64,
    /// Admin connections turned away because too many were open.
    pub admin_refused: AtomicU64,
    view: Mutex<View>,
}

/// One consistent look at what changes together.
#[derive(Clone, Debug)]
pub struct View {
    /// Where the process is in its life.
    pub phase: Phase,
    /// Number of the configuration that was last taken over; the first is 1.
    pub generation: u64,
    /// That configuration, with names resolved as far as they could be.
    pub config: Arc<Config>,
    /// How reloads ended so far.
    pub reloads: Reloads,
    /// Names of backends that do not resolve at the moment.
    pub names_failing: u64,
    /// Sockets for listening opened so far.
    pub listeners_opened: u32,
    /// Which kernel interface each worker really uses.
    pub engines: Vec<&'static str>,
}

/// How reloads ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloads {
    /// New configurations taken over.
    pub accepted: u64,
    /// Files refused; the old configuration went on.
    pub refused: u64,
    /// Why the last one was refused; empty when it was accepted.
    pub last_refusal: String,
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").field("view", &self.view()).finish_non_exhaustive()
    }
}

impl Status {
    /// The state of a process that has just started with `config`.
    pub fn new(
        config: Arc<Config>,
        registry: Arc<Registry>,
        store: Arc<Store>,
        gate: Arc<Gate>,
    ) -> Arc<Status> {
        let view = View {
            phase: Phase::Starting,
            generation: 1,
            config,
            reloads: Reloads::default(),
            names_failing: 0,
            listeners_opened: 0,
            engines: Vec::new(),
        };
        Arc::new(Status {
            registry,
            store,
            gate,
            started_at: SystemTime::now(),
            started: monotonic(),
            lines_suppressed: AtomicU64::new(0),
            admin_refused: AtomicU64::new(0),
            view: Mutex::new(view),
        })
    }

    /// How long the process has been running.
    pub fn uptime(&self) -> Duration {
        Duration::from_nanos(monotonic().saturating_sub(self.started))
    }

    /// A moment of the engine's clock as microseconds since 1970; 0 stays 0 and means never.
    pub fn unix_us(&self, moment: Nanos) -> u64 {
        if moment == 0 {
            return 0;
        }
        let started = self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since_start = Duration::from_nanos(moment.saturating_sub(self.started));
        u64::try_from((started + since_start).as_micros()).unwrap_or(u64::MAX)
    }

    /// A copy of the present state.
    pub fn view(&self) -> View {
        self.lock().clone()
    }

    /// Changes the state.
    pub fn change(&self, act: impl FnOnce(&mut View)) {
        act(&mut self.lock());
    }

    /// Counts a connection that the admin server turned away.
    pub fn count_admin_refused(&self) {
        self.admin_refused.fetch_add(1, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        // Nothing panics while it holds the lock; the value is whole in any case.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
