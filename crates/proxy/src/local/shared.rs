//! What the workers share about the embedded store besides the store itself.
//!
//! Made once by the server. Workers read it on every command, but only plain loads of values that
//! hardly ever change; locks are taken by `stats`, `watch` and when connections open or close.

use super::conns::ConnTable;
use super::counters::{Counters, Totals};
use super::prefix::Prefixes;
use super::settings::Settings;
use super::watch::Hub;
use keyway_store::Now;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Seconds that the clock shows at start. memcached's clock starts late too: it keeps an absolute
/// expiry time in the past (second 1) apart from "never" (0) and from every second that is used.
const CLOCK_START_SECONDS: u32 = 62;

/// What only the process knows, asked for when `stats` needs it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The process id.
    pub pid: u32,
    /// Processor time spent in user mode.
    pub user_time: Duration,
    /// Processor time spent in the kernel.
    pub system_time: Duration,
    /// Whether new connections are accepted now.
    pub is_accepting: bool,
    /// Times that accepting was stopped because there were too many connections.
    pub accept_pauses: u64,
    /// How long accepting was stopped, in all.
    pub accept_paused_time: Duration,
    /// Bytes of receive buffers in use.
    pub read_buffer_bytes: u64,
    /// Additional lines of the general `stats`, such as the proxy's own counters.
    pub more: Vec<(String, String)>,
}

/// Asks for the facts of this moment; called by `stats` only.
pub type FactSource = Box<dyn Fn() -> Facts + Send + Sync>;

/// The embedded store's surroundings.
pub struct Shared {
    /// What the command line said, and what administrative commands changed.
    pub settings: Settings,
    /// Clients of `watch`.
    pub hub: Hub,
    /// Connections, for `stats conns`.
    pub conns: ConnTable,
    /// Counters by key prefix, for `stats detail`.
    pub prefixes: Prefixes,
    counters: Vec<Arc<Counters>>,
    base: Mutex<Totals>,
    facts: FactSource,
    draws: AtomicU64,
    epoch_unix: u64,
    epoch_unix_ms: u64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("workers", &self.counters.len()).finish_non_exhaustive()
    }
}

impl Shared {
    /// Surroundings for so many workers in a process that started at `started` (Unix time).
    pub fn new(
        settings: Settings,
        workers: usize,
        started: Duration,
        facts: FactSource,
    ) -> Arc<Shared> {
        let hub = Hub::new();
        Arc::new(Shared {
            conns: ConnTable::new(hub.clone()),
            hub,
            prefixes: Prefixes::new(settings.prefix_delimiter),
            settings,
            counters: (0..workers).map(|_| Arc::default()).collect(),
            base: Mutex::default(),
            facts,
            draws: AtomicU64::new(started.as_nanos() as u64),
            epoch_unix: started.as_secs().saturating_sub(u64::from(CLOCK_START_SECONDS)),
            epoch_unix_ms: u64::try_from(started.as_millis())
                .unwrap_or(u64::MAX)
                .saturating_sub(u64::from(CLOCK_START_SECONDS) * 1000),
        })
    }

    /// The counters that worker `index` writes.
    ///
    /// # Panics
    /// When there is no such worker.
    pub fn counters(&self, index: usize) -> &Arc<Counters> {
        &self.counters[index]
    }

    /// The store's clock, `uptime` after the start of the process. Expiry times, last uses and
    /// flush marks are all told by it.
    pub fn now(uptime: Duration) -> Now {
        let seconds = u32::try_from(uptime.as_secs()).unwrap_or(u32::MAX);
        let seconds = seconds.saturating_add(CLOCK_START_SECONDS);
        Now { seconds, millis: uptime.subsec_millis() as u16 }
    }

    /// Seconds of uptime at `now`.
    pub(crate) fn uptime(now: Now) -> u32 {
        now.seconds.saturating_sub(CLOCK_START_SECONDS)
    }

    /// Unix time of the clock's second 0 in milliseconds, for commands that tell time so finely.
    /// memcached knows whole seconds only, also of the start: see [`Shared::epoch_unix`].
    pub fn epoch_unix_ms(&self) -> u64 {
        self.epoch_unix_ms
    }

    /// Unix time of the clock's second 0.
    pub fn epoch_unix(&self) -> u64 {
        self.epoch_unix
    }

    /// What an expiry time of a request means on the store's clock.
    ///
    /// 0 is never, negative is at once, up to 30 days is from now, more is Unix time.
    pub fn exptime(&self, asked: i64, now: Now) -> u32 {
        const RELATIVE_MAX: i64 = 60 * 60 * 24 * 30;
        match asked {
            0 => 0,
            ..0 => 1,
            1..=RELATIVE_MAX => now.seconds.wrapping_add(asked as u32),
            _ => (asked as u64).checked_sub(self.epoch_unix).map_or(1, |at| (at as u32).max(1)),
        }
    }

    /// All counters summed over workers, since the last `stats reset`.
    pub fn totals(&self) -> Totals {
        self.sum().since(&self.base.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts all counters from zero again, as seen by [`Shared::totals`].
    pub fn reset_totals(&self) {
        let sum = self.sum();
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = sum;
        self.prefixes.clear();
    }

    /// A number like a random one, for `RANDOMKEY`; not fit for secrets.
    pub(super) fn random(&self) -> u64 {
        let draw = self.draws.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        let mixed = (draw ^ draw >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// The facts of this moment.
    pub(crate) fn facts(&self) -> Facts {
        (self.facts)()
    }

    /// Number of workers.
    pub fn workers(&self) -> usize {
        self.counters.len()
    }

    fn sum(&self) -> Totals {
        let mut totals = Totals::default();
        for counters in &self.counters {
            counters.add_to(&mut totals);
        }
        totals
    }
}
