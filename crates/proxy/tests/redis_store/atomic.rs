//! What several clients at once may see of commands with several keys: all of it, or nothing.

use crate::local::cut;
use keyway_proxy::config::Allow;
use keyway_proxy::local::{Context, Facts, Output, Settings, Shared, redis};
use keyway_store::{Now, Options, Store};
use keyway_testkit::resp;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Names of keys that lie in many shards.
const KEYS: [&str; 6] = ["a", "bb", "ccc", "dddd", "eeeee", "ffffff"];

const ROUNDS: u64 = 20_000;

struct World {
    store: Store,
    shared: Arc<Shared>,
}

impl World {
    fn new() -> World {
        let store = Store::new(Options { shards: Some(64), ..Options::new(64 << 20) });
        let facts = Box::new(Facts::default);
        World { store, shared: Shared::new(Settings::default(), 4, Duration::ZERO, facts) }
    }

    /// What a worker's client is answered.
    fn ask(&self, worker: usize, args: &[&str]) -> String {
        let ctx = Context {
            store: &self.store,
            shared: &self.shared,
            counters: self.shared.counters(worker),
            now: Now::from_seconds(100),
            allow: Allow::default(),
            users: &[],
            cfd: 1,
            is_pipelined: false,
        };
        let mut out = Output::new();
        redis::execute(&ctx, false, &cut(&resp::request(args)), &mut out);
        String::from_utf8(out.bytes).unwrap()
    }

    fn number(&self, worker: usize, key: &str) -> u64 {
        let reply = self.ask(worker, &["get", key]);
        reply.split("\r\n").nth(1).unwrap().parse().unwrap()
    }
}

#[test]
fn others_see_all_of_an_mset_or_nothing() {
    let world = World::new();
    let is_done = AtomicBool::new(false);
    let mset = |number: u64| {
        let number = number.to_string();
        let args: Vec<&str> = KEYS.iter().flat_map(|key| [key, number.as_str()]).collect();
        world.ask(0, &[&["mset"], &args[..]].concat());
    };
    mset(0);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            (1..ROUNDS).for_each(mset);
            is_done.store(true, Ordering::Relaxed);
        });
        for (worker, order) in [(1, [0, 5]), (2, [5, 0])] {
            let (world, is_done) = (&world, &is_done);
            threads.spawn(move || {
                while !is_done.load(Ordering::Relaxed) {
                    let first = world.number(worker, KEYS[order[0]]);
                    let second = world.number(worker, KEYS[order[1]]);
                    assert!(second >= first, "{second} was written with or before {first}");
                }
            });
        }
    });
}

#[test]
fn of_two_msetnx_that_share_a_key_one_stores() {
    let world = World::new();
    for _ in 0..ROUNDS / 20 {
        let stored: usize = std::thread::scope(|threads| {
            let tries = [("x", ["a", "bb", "ccc"]), ("y", ["ccc", "dddd", "eeeee"])];
            let tries = tries.map(|(value, keys)| {
                let args: Vec<&str> = keys.into_iter().flat_map(|key| [key, value]).collect();
                let world = &world;
                threads.spawn(move || world.ask(1, &[&["msetnx"], &args[..]].concat()))
            });
            tries.into_iter().map(|thread| usize::from(thread.join().unwrap() == ":1\r\n")).sum()
        });
        assert_eq!(stored, 1);
        let found = world.ask(0, &[&["del"], &KEYS[..]].concat());
        assert_eq!(found, ":3\r\n", "all keys of the one that stored");
    }
}

#[test]
fn a_renamed_item_is_always_in_one_place() {
    let world = World::new();
    world.ask(0, &["set", "here", "x"]);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for _ in 0..ROUNDS {
                assert_eq!(world.ask(0, &["rename", "here", "there"]), "+OK\r\n");
                assert_eq!(world.ask(0, &["renamenx", "there", "here"]), ":1\r\n");
            }
            is_done.store(true, Ordering::Relaxed);
        });
        threads.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                let keys = [b"here" as &[u8], b"there"];
                let now = Now::from_seconds(100);
                let places = world.store.several(keys.into_iter(), now, |several| {
                    keys.iter().filter(|key| several.read(key, false, |_| ()).is_ok()).count()
                });
                assert_eq!(places, 1);
            }
        });
    });
}
