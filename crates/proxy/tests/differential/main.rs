//! The embedded store's commands against a real memcached: the same bytes in, the same bytes out.
//!
//! A seeded stream of commands, sensible and malformed, goes to `local` in this process and to a
//! memcached that the test starts. `KEYWAY_REFERENCE` names another one; `KEYWAY_FIRST_SEED`,
//! `KEYWAY_SEEDS` and `KEYWAY_COMMANDS` make a run longer.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

#[allow(dead_code)] // The conversations in `tests/local` use the rest.
mod driver;

use driver::Local;
use keyway_proxy::local::Settings;
use keyway_store::Options;
use keyway_testkit::differ::{Remote, compare, extent, reference};
use keyway_testkit::process::look_for;

#[test]
fn answers_are_memcacheds_byte_for_byte() {
    if look_for("memcached").is_none() {
        // `./test fast` needs no peers.
        eprintln!("no memcached found: nothing to compare with");
        return;
    }
    let (seeds, commands) = extent(2, 4000);
    for seed in seeds {
        let (_process, addr, features) = reference();
        let mut memcached = Remote::connect(addr);
        let options = Options { cas_start: 100, ..Options::new(64 << 20) };
        let mut local = Local::with(Settings::default(), options);
        let (ours, theirs) = (|bytes: &_| local.exchange(bytes), |b: &_| memcached.exchange(b));
        compare((seed, commands), features, ours, theirs);
    }
}
