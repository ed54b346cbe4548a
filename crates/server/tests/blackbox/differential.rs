//! The embedded store and the real memcached, asked the same: the same bytes.
//!
//! The reference is the memcached on the path (Debian's 1.6.18, compared on what both versions
//! answer alike) or, with `KEYWAY_REFERENCE=/path/to/memcached`, a 1.6.45, compared on everything.
//! `KEYWAY_FIRST_SEED`, `KEYWAY_SEEDS` and `KEYWAY_COMMANDS` make longer runs.

use std::net::SocketAddr;

use keyway_testkit::commands::Features;
use keyway_testkit::differ::{Remote, STEADY, compare, extent, reference};

use crate::{Embedded, Proxy};

fn compare_both(run: (u64, u64), features: Features, ours: SocketAddr, theirs: SocketAddr) {
    let (mut ours, mut theirs) = (Remote::connect(ours), Remote::connect(theirs));
    compare(run, features, |bytes| ours.exchange(bytes), |bytes| theirs.exchange(bytes));
}

#[test]
fn random_commands_are_answered_as_by_memcached() {
    let (seeds, commands) = extent(4, 6000);
    for seed in seeds {
        let (_process, addr, features) = reference();
        let server = Embedded::start(&STEADY);
        compare_both((seed, commands), features, server.addr, addr);
    }
}

/// A pool of one memcached answers as that memcached, for everything the proxy forwards.
#[test]
fn random_commands_through_a_pool_are_answered_as_by_memcached() {
    let (seeds, commands) = extent(2, 6000);
    for seed in seeds {
        let (_behind, backend, _) = reference();
        let (_process, addr, features) = reference();
        let features = match features {
            Features::Newest => Features::Forwarded,
            other => other,
        };
        let proxy = Proxy::with_one_worker(&[backend], "", "");
        compare_both((seed, commands), features, proxy.addr, addr);
    }
}

/// The reference itself is sound: two of them agree, so that a difference is ours.
#[test]
fn two_references_agree() {
    let (_one, first, features) = reference();
    let (_two, second, _) = reference();
    compare_both((7, extent(1, 6000).1), features, first, second);
}
