//! The embedded store's commands against a real memcached: the same bytes in, the same bytes out.
//!
//! A seeded stream of requests, sensible and malformed, goes to `local` in this process and to a
//! memcached that the test starts: the program that `KEYWAY_MEMCACHED` names, or `memcached` in the
//! path; without one the test says so and passes. CAS numbers and seconds are made equal first.
//! `KEYWAY_DIFFERENTIAL_SEED` (the first), `KEYWAY_DIFFERENTIAL_SEEDS` (how many) and
//! `KEYWAY_DIFFERENTIAL_COMMANDS` make a run longer than the default few thousand commands.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

#[allow(dead_code)] // The conversations in `tests/local` use the rest.
mod driver;
mod replies;
mod server;
mod stream;

use driver::Local;
use keyway_proxy::local::Settings;
use keyway_store::Options;
use replies::{Learned, normal};
use server::Memcached;
use stream::Stream;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn answers_are_memcacheds_byte_for_byte() {
    let Some(program) = server::program() else {
        eprintln!("no memcached found: nothing to compare with");
        return;
    };
    let commands = from_env("KEYWAY_DIFFERENTIAL_COMMANDS", 4000);
    let first = from_env("KEYWAY_DIFFERENTIAL_SEED", 1);
    for seed in first..first + from_env("KEYWAY_DIFFERENTIAL_SEEDS", 2) {
        let mut memcached = Memcached::start(&program);
        if let Err(difference) = compare(seed, commands, &mut memcached) {
            panic!("seed {seed}: {difference}");
        }
        let version = memcached.version();
        eprintln!("seed {seed}: {commands} commands answered alike by memcached {version}");
    }
}

/// Sends one stream to both. Describes the first difference.
fn compare(seed: u64, commands: u64, memcached: &mut Memcached) -> Result<(), String> {
    let is_same_version = memcached.version() == keyway_proxy::local::COMPAT_VERSION;
    let mut stream = Stream::new(seed, is_same_version);
    let options = Options { cas_start: 100, ..Options::new(64 << 20) };
    let mut local = Local::with(Settings::default(), options);
    let (mut ours_learned, mut theirs_learned) = (Learned::default(), Learned::default());
    let mut sent = 0;
    while sent < commands {
        let round = stream.round();
        sent += round.len() as u64;
        let (to_theirs, to_ours) = (theirs_learned.fill(&round), ours_learned.fill(&round));
        let theirs = memcached.exchange(&to_theirs);
        let ours = local.exchange(&to_ours);
        let wanted = normal(&theirs, is_same_version, &mut theirs_learned);
        let got = normal(&ours, is_same_version, &mut ours_learned);
        if got != wanted {
            let shown: Vec<String> = round.iter().map(|request| show(request)).collect();
            return Err(format!(
                "after {sent} commands\nrequests:\n  {}\nmemcached:\n{}\nhere:\n{}\n\
                 (raw: {} and {})",
                shown.join("\n  "),
                listed(&wanted),
                listed(&got),
                show(&theirs),
                show(&ours)
            ));
        }
    }
    Ok(())
}

fn listed(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

/// Bytes for people, cut short.
fn show(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 300;
    let front = &bytes[..bytes.len().min(SHOWN_MAX)];
    let rest = if bytes.len() > SHOWN_MAX { "…" } else { "" };
    format!("{}{rest}", front.escape_ascii())
}
