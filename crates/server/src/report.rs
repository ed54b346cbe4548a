//! Turns workers' events into log lines, not more often than people can read.
//!
//! Each kind of event about each backend has a small budget of lines that fills up again with time;
//! what is beyond it is counted, and the count is told with the next line of that kind.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use keyway_proxy::events::Event;

use crate::control::Manners;
use crate::control::status::Status;
use crate::nutcracker::phrases;

/// Lines of one kind about one thing that may follow each other at once.
const BURST: u32 = 5;
/// Time after which one more line is allowed.
const REFILL: Duration = Duration::from_secs(10);
/// Events taken from the queue in one go, so that a flood cannot keep control from its work.
const EVENTS_PER_ROUND: usize = 4096;

/// Reads the queue of events.
#[derive(Debug)]
pub struct Reporter {
    events: Receiver<(usize, Event)>,
    limiter: Limiter,
    manners: Manners,
}

impl Reporter {
    /// Reports what comes through `events`, in the words of these manners.
    pub fn new(events: Receiver<(usize, Event)>, manners: Manners) -> Reporter {
        Reporter { events, limiter: Limiter::default(), manners }
    }

    /// Writes what has come in since the last call. Never waits.
    pub fn round(&mut self, status: &Status) {
        let now = Instant::now();
        for (worker, event) in self.events.try_iter().take(EVENTS_PER_ROUND) {
            match self.limiter.admit(about(&event), now) {
                Some(suppressed) if self.manners == Manners::Nutcracker => {
                    phrases::tell(&status.view().config, worker, &event, suppressed);
                }
                Some(suppressed) => write(worker, &event, suppressed),
                None => {
                    status.lines_suppressed.fetch_add(1, Relaxed);
                }
            }
        }
        for ((kind, what), suppressed) in self.limiter.forget(now) {
            tracing::info!(kind, %what, suppressed, "more lines of this kind were suppressed");
        }
    }
}

/// The kind of an event and the thing it is about.
type About = (&'static str, Arc<str>);

fn about(event: &Event) -> About {
    match event {
        Event::BackendUp { backend } => ("backend up", backend.clone()),
        Event::BackendDown { backend, .. } => ("backend down", backend.clone()),
        Event::BackendFailed { backend, .. } => ("backend connection failed", backend.clone()),
        Event::Ejected { backend } => ("backend ejected", backend.clone()),
        Event::Returned { backend } => ("backend returned", backend.clone()),
        Event::ClientOverLimit { .. } => ("client over limit", Arc::from("clients")),
        Event::Configured { .. } => ("configured", Arc::from("workers")),
    }
}

fn write(worker: usize, event: &Event, suppressed: u64) {
    match event {
        Event::BackendUp { backend } => {
            tracing::info!(%backend, worker, suppressed, "backend is up");
        }
        Event::BackendDown { backend, cause } => {
            tracing::warn!(%backend, worker, suppressed, cause = cause.name(), "backend is down");
        }
        Event::BackendFailed { backend, cause, owed } => {
            let cause = cause.name();
            tracing::warn!(%backend, worker, suppressed, cause, owed, "lost a backend connection");
        }
        Event::Ejected { backend } => {
            tracing::warn!(%backend, worker, suppressed, "backend left its ring");
        }
        Event::Returned { backend } => {
            tracing::info!(%backend, worker, suppressed, "backend is back in its ring");
        }
        Event::ClientOverLimit { bytes } => {
            tracing::warn!(worker, suppressed, bytes, "closed a client that does not read");
        }
        Event::Configured { generation } => {
            tracing::debug!(worker, generation, "runs the configuration");
        }
    }
}

/// A budget of lines for each kind and thing.
#[derive(Debug, Default)]
struct Limiter {
    budgets: HashMap<About, Budget>,
}

#[derive(Debug)]
struct Budget {
    lines: u32,
    filled: Instant,
    suppressed: u64,
}

impl Limiter {
    /// Whether a line may be written now; then with the number of those that were not.
    fn admit(&mut self, about: About, now: Instant) -> Option<u64> {
        let fresh = || Budget { lines: BURST, filled: now, suppressed: 0 };
        let budget = self.budgets.entry(about).or_insert_with(fresh);
        budget.fill(now);
        if budget.lines == 0 {
            budget.suppressed += 1;
            return None;
        }
        budget.lines -= 1;
        Some(std::mem::take(&mut budget.suppressed))
    }

    /// Drops budgets that are full again, and tells those that suppressed something since. This
    /// also keeps the table as small as the number of things that make noise.
    fn forget(&mut self, now: Instant) -> Vec<(About, u64)> {
        let mut told = Vec::new();
        self.budgets.retain(|about, budget| {
            budget.fill(now);
            let is_full = budget.lines == BURST;
            if is_full && budget.suppressed > 0 {
                told.push((about.clone(), budget.suppressed));
            }
            !is_full
        });
        told
    }
}

impl Budget {
    fn fill(&mut self, now: Instant) {
        while self.lines < BURST && now.duration_since(self.filled) >= REFILL {
            self.filled += REFILL;
            self.lines += 1;
        }
        if self.lines == BURST {
            self.filled = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(what: &str) -> About {
        ("kind", Arc::from(what))
    }

    #[test]
    fn a_burst_is_written_and_the_rest_is_counted() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        let admitted = (0..20).filter_map(|_| limiter.admit(about("a"), start)).count();
        assert_eq!(admitted, BURST as usize);
        assert_eq!(limiter.admit(about("a"), start + REFILL), Some(15));
        assert_eq!(limiter.admit(about("a"), start + REFILL), None);
    }

    #[test]
    fn things_do_not_use_each_others_budget() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        for _ in 0..20 {
            limiter.admit(about("a"), start);
        }
        assert_eq!(limiter.admit(about("b"), start), Some(0));
    }

    #[test]
    fn quiet_things_are_forgotten_and_their_silence_is_told() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        for _ in 0..7 {
            limiter.admit(about("a"), start);
        }
        limiter.admit(about("b"), start);
        assert!(limiter.forget(start).is_empty());
        let later = start + REFILL * BURST;
        assert_eq!(limiter.forget(later), [(about("a"), 2)]);
        assert!(limiter.budgets.is_empty());
    }
}
