//! The embedded store and the real memcached, asked the same: the same bytes.
//!
//! The reference is the memcached on the path (Debian's 1.6.18, compared on what both versions
//! answer alike) or, with `KEYWAY_REFERENCE=/path/to/memcached`, a 1.6.45, compared on everything.
//! `KEYWAY_SEEDS` and `KEYWAY_COMMANDS` make longer runs.

use std::net::SocketAddr;
use std::process::Command;

use keyway_testkit::client::Client;
use keyway_testkit::commands::{Commands, Features};
use keyway_testkit::differ::Differ;
use keyway_testkit::port;
use keyway_testkit::process::{Process, memcached};

use crate::{Embedded, Proxy};

/// Commands that go out together.
const ROUND: usize = 20;

/// Without the threads that hold references to items while they move them: those decide whether a
/// count is padded, so two runs of memcached itself would differ.
const STEADY: [&str; 4] =
    ["-m", "256", "-o", "no_lru_maintainer,no_lru_crawler,no_slab_automove,no_slab_reassign"];

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn reference() -> (Process, SocketAddr, Features) {
    let Ok(path) = std::env::var("KEYWAY_REFERENCE") else {
        let (process, addr) = memcached(&STEADY);
        return (process, addr, Features::Common);
    };
    let addr = port::local();
    let mut command = Command::new(path);
    command.args(["-l", "127.0.0.1", "-p", &addr.port().to_string(), "-u", "root"]);
    let mut process = Process::start(command.args(STEADY));
    process.wait_for_listener(addr);
    (process, addr, Features::Newest)
}

fn compare(
    ours: SocketAddr,
    features: Features,
    reference: SocketAddr,
    seeds: std::ops::Range<u64>,
) {
    let count = number("KEYWAY_COMMANDS", 6000) as usize;
    for seed in seeds {
        let mut commands = Commands::new(seed, features);
        let mut differ = Differ::new(ours, reference, features);
        differ.round(&[b"flush_all\r\n".to_vec()]).expect("both can be emptied");
        for round in 0..count / ROUND {
            let batch: Vec<_> = (0..ROUND).map(|_| commands.command()).collect();
            if let Err(text) = differ.round(&batch) {
                panic!("seed {seed}, round {round}: {text}");
            }
        }
    }
}

#[test]
fn random_commands_are_answered_as_by_memcached() {
    let server = Embedded::start(&["-m", "256"]);
    let (_process, addr, features) = reference();
    compare(server.addr, features, addr, 0..number("KEYWAY_SEEDS", 4));
}

/// A pool of one memcached answers as that memcached, for everything the proxy forwards.
#[test]
fn random_commands_through_a_pool_are_answered_as_by_memcached() {
    let (_behind, backend) = memcached(&STEADY);
    let (_process, addr, _) = reference();
    let proxy = Proxy::with_one_worker(&[backend], "", "");
    compare(proxy.addr, Features::Common, addr, 100..100 + number("KEYWAY_SEEDS", 2));
}

/// The reference itself is sound: two of them agree, so that a difference is ours.
#[test]
fn two_references_agree() {
    let (_one, first, features) = reference();
    let (_two, second, _) = reference();
    Client::tcp(first).ask("mn\r\n", "MN\r\n");
    compare(first, features, second, 7..8);
}
