//! The same file, the same keys: both programs must ask the same server for each.
//!
//! `KEYWAY_KEYS` and `KEYWAY_CONFIGS` make longer runs, `KEYWAY_FIRST_SEED` repeats one.

use std::net::SocketAddr;

use keyway_testkit::client::{Client, show};
use keyway_testkit::peer::send;
use keyway_testkit::port;
use keyway_testkit::process::Scratch;
use keyway_testkit::random::Random;
use keyway_testkit::redis::FakeRedis;
use keyway_testkit::resp::{bulk, request};
use keyway_testkit::twemproxy::{Nutcracker, Program, pool};

use crate::{OURS, number};

const HASHES: [&str; 12] = [
    "one_at_a_time",
    "md5",
    "crc16",
    "crc32",
    "crc32a",
    "fnv1_64",
    "fnv1a_64",
    "fnv1_32",
    "fnv1a_32",
    "hsieh",
    "murmur",
    "jenkins",
];

/// Keys that are asked for together.
const BATCH: usize = 500;

/// One random pool: its directives, its server lines, and its servers, which run.
struct Setting {
    directives: String,
    lines: Vec<String>,
    /// Kept alive.
    _servers: Vec<FakeRedis>,
    _sockets: Scratch,
}

impl Setting {
    fn new(random: &mut Random) -> Setting {
        let sockets = Scratch::new();
        let mut directives = String::from("redis: true\n");
        directives.push_str(&format!("hash: {}\n", random.pick(&HASHES)));
        directives.push_str(&format!("distribution: {}\n", random.pick(&["ketama", "modula"])));
        directives.push_str(random.pick(&["", "", "hash_tag: \"{}\"\n", "hash_tag: \"$$\"\n"]));
        let count = *random.choose(&[1, 2, 3, 5, 7, 10, 25]);
        let has_weights = random.once_in(2);
        let (mut lines, mut servers) = (Vec::new(), Vec::new());
        for n in 0..count {
            let weight = if has_weights { 1 + random.below(20) } else { 1 };
            let name = format!("server {n}");
            if random.once_in(8) {
                let path = sockets.file(&format!("s{n}"));
                let reply = bulk(&name);
                servers.push(FakeRedis::start_on_socket(&path, move |_| send(&reply)));
                lines.push(format!("{}:{weight}", path.display()));
            } else {
                servers.push(FakeRedis::named(&name));
                lines.push(format!("{}:{weight}", servers[n].addr));
            }
            if random.once_in(2) {
                let label = "x".repeat(random.below(12));
                lines[n].push_str(&format!(" {label}{n}"));
            }
        }
        servers.iter().for_each(|s| s.peer().forget());
        // The order in the file must not matter, so it is any.
        for n in (1..lines.len()).rev() {
            lines.swap(n, random.below(n + 1));
        }
        Setting { directives, lines, _servers: servers, _sockets: sockets }
    }

    fn start(&self, program: Program) -> (Nutcracker, SocketAddr) {
        let addr = port::local();
        let yaml = pool("alpha", addr, &self.directives, &self.lines);
        (Nutcracker::start(program, &yaml, &[addr]), addr)
    }
}

/// Any bytes a key may have, often with something like a tag in it.
fn key(random: &mut Random) -> Vec<u8> {
    let len = if random.once_in(20) { random.below(300) } else { random.below(24) };
    let kind = random.below(4);
    (0..len)
        .map(|_| match kind {
            0 => random.below(256) as u8,
            1 => *random.choose(b"{}$ab"),
            _ => *random.choose(b"abcdefghijklmnopqrstuvwxyz0123456789:"),
        })
        .collect()
}

/// Which server answers for each key.
fn ask(client: &mut Client, keys: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let requests: Vec<u8> = keys.iter().flat_map(|k| request(&[b"get", k.as_slice()])).collect();
    client.send(requests);
    keys.iter().map(|_| client.reply()).collect()
}

fn compare(first: Program, second: Program, seed: u64, keys: usize) {
    let mut random = Random::new(seed);
    let setting = Setting::new(&mut random);
    let (_one, first) = setting.start(first);
    let (_two, second) = setting.start(second);
    let (mut first, mut second) = (Client::tcp(first), Client::tcp(second));
    let mut wrong = Vec::new();
    for _ in 0..keys / BATCH {
        let keys: Vec<Vec<u8>> = (0..BATCH).map(|_| key(&mut random)).collect();
        let wanted = ask(&mut first, &keys);
        let got = ask(&mut second, &keys);
        for ((key, wanted), got) in keys.iter().zip(wanted).zip(got) {
            if wanted != got {
                wrong.push(format!("{}: {} not {}", show(key), show(&got), show(&wanted)));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "seed {seed}: {} of {keys} keys elsewhere, such as {:#?}, with\n{}{:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)],
        setting.directives,
        setting.lines
    );
}

fn compare_all(first: Program, second: Program, configs: u64) {
    let seed = number("KEYWAY_FIRST_SEED", 0);
    for seed in seed..seed + number("KEYWAY_CONFIGS", configs) {
        compare(first, second, seed, number("KEYWAY_KEYS", 4000) as usize);
    }
}

#[test]
fn random_keys_are_where_nutcracker_puts_them() {
    compare_all(Program::Reference, OURS, 8);
}

/// Two of the same agree, so that a difference is ours.
#[test]
fn two_references_agree() {
    compare_all(Program::Reference, Program::Reference, 1);
}
