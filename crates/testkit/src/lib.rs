//! Test support: real processes, fake peers, transcripts, simulated worlds, an allocation counter.
//!
//! Nothing but tests depends on this crate. What it starts it stops: every process, thread and
//! socket belongs to a value that ends it when dropped. Every wait has a generous guard
//! ([`PATIENCE`]) whose only purpose is that a broken test ends; no test measures time.

pub mod alloc;
pub mod client;
pub mod commands;
pub mod differ;
pub mod fake;
pub mod listener;
pub mod path;
pub mod peer;
pub mod port;
pub mod process;
pub mod random;
pub mod redis;
pub mod replies;
pub mod resp;
pub mod transcript;
pub mod twemproxy;
pub mod world;

use std::time::{Duration, Instant};

/// How long anything in a test may take before we say that it never comes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `probe` holds. Panics with `what` after [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut probe: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !probe() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
