//! Placement against what twemproxy did and what memcached's proxy does.
//!
//! The recorded observations of tests/data/twemproxy-placement.txt, all 33,600, and the published
//! vectors of memcached's proxy.

use std::collections::HashMap;

use super::*;
use crate::config::{Backend, Link, RingMode};

const RECORDED: &str = include_str!("../../tests/data/twemproxy-placement.txt");

const FUNCTIONS: [(&str, Hash); 12] = [
    ("one_at_a_time", Hash::OneAtATime),
    ("md5", Hash::Md5),
    ("crc16", Hash::Crc16),
    ("crc32", Hash::Crc32),
    ("crc32a", Hash::Crc32a),
    ("fnv1_64", Hash::Fnv1_64),
    ("fnv1a_64", Hash::Fnv1a64),
    ("fnv1_32", Hash::Fnv1_32),
    ("fnv1a_32", Hash::Fnv1a32),
    ("hsieh", Hash::Hsieh),
    ("murmur", Hash::Murmur),
    ("jenkins", Hash::Jenkins),
];

fn backend(name: &str, host: &str, port: u16, weight: u32) -> Backend {
    Backend { name: name.into(), host: host.into(), port, weight, address: None }
}

fn pool(backends: Vec<Backend>, distribution: Distribution, hash: Hash) -> Pool {
    Pool {
        name: "test".into(),
        backends,
        distribution,
        hash,
        key_part: KeyPart::Whole,
        hash_seed: 0,
        link: Link::default(),
        ejection: None,
    }
}

fn choose(placement: &Placement, key: &[u8]) -> usize {
    placement.choose(key, || panic!("only random placement draws"))
}

/// One server set of the recorded data.
#[derive(Default)]
struct Recorded {
    name: &'static str,
    tag: Option<(u8, u8)>,
    count: usize,
    backends: Vec<Backend>,
    ejected: Vec<bool>,
    points: Vec<usize>,
    /// By function: hash values that differ from the table, by index of the key.
    parts: HashMap<&'static str, HashMap<usize, u32>>,
    ketama: HashMap<&'static str, &'static str>,
    modula: HashMap<&'static str, &'static str>,
}

#[derive(Default)]
struct Expected {
    keys: Vec<Vec<u8>>,
    hashes: HashMap<&'static str, Vec<u32>>,
    sets: Vec<Recorded>,
}

fn data() -> Expected {
    let mut data = Expected::default();
    for line in RECORDED.lines().filter(|line| !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap();
        match word {
            "key" => data.keys.push(unescape(rest)),
            "hash" => {
                let (name, values) = rest.split_once(' ').unwrap();
                let values = (0..values.len() / 8).map(|at| &values[8 * at..8 * at + 8]);
                let values = values.map(|hex| u32::from_str_radix(hex, 16).unwrap());
                data.hashes.insert(name, values.collect());
            }
            "set" => {
                let mut words = rest.split(' ');
                let (name, tag) = (words.next().unwrap(), words.next().unwrap().as_bytes());
                let tag = (tag != b"-").then(|| (tag[0], tag[1]));
                let count = words.next().unwrap().parse().unwrap();
                data.sets.push(Recorded { name, tag, count, ..Recorded::default() });
            }
            _ => data.sets.last_mut().unwrap().read(word, rest),
        }
    }
    data
}

impl Recorded {
    fn read(&mut self, word: &str, rest: &'static str) {
        match word {
            "server" => self.backends.push(server(rest)),
            "order" => {
                self.backends.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
                let names: Vec<_> = self.backends.iter().map(|b| b.name.as_str()).collect();
                assert_eq!(names, rest.split(' ').collect::<Vec<_>>(), "{}", self.name);
            }
            "points" => {
                let ejected = rest.split(' ').map(|number| number == "ejected");
                self.ejected = ejected.collect();
                let points = rest.split(' ').map(|number| number.parse().unwrap_or(0));
                self.points = points.collect();
            }
            "part" => {
                let (name, pairs) = rest.split_once(' ').unwrap();
                let pair = |text: &str| {
                    let (at, hash) = text.split_once('=').unwrap();
                    (at.parse().unwrap(), u32::from_str_radix(hash, 16).unwrap())
                };
                self.parts.insert(name, pairs.split(' ').map(pair).collect());
            }
            "ketama" | "modula" => {
                let (name, letters) = rest.split_once(' ').unwrap();
                assert_eq!(letters.len(), self.count);
                let kind = if word == "ketama" { &mut self.ketama } else { &mut self.modula };
                kind.insert(name, letters);
            }
            _ => panic!("unknown line {word} {rest}"),
        }
    }

    fn placement(&self, distribution: Distribution, function: Hash) -> Placement {
        let mut pool = pool(self.backends.clone(), distribution, function);
        if let Some((open, close)) = self.tag {
            pool.key_part = KeyPart::Tag { open, close, empty_counts: false };
        }
        Placement::new(&pool, |at| !self.ejected[at])
    }
}

fn server(line: &str) -> Backend {
    let (address, label) = line.split_once(' ').unwrap_or((line, ""));
    let (address, weight) = address.rsplit_once(':').unwrap();
    let weight = weight.parse().unwrap();
    let (host, port) = match address.strip_prefix('/') {
        Some(_) => (address, 0),
        None => {
            let (host, port) = address.split_once(':').unwrap();
            (host, port.parse().unwrap())
        }
    };
    let name = match (label, port) {
        ("", 0) => format!("{host}:"),
        ("", 11211) => host.to_string(),
        ("", _) => address.to_string(),
        _ => label.to_string(),
    };
    backend(&name, host, port, weight)
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
        } else if rest[0] == b'x' {
            let hex = std::str::from_utf8(&rest[1..3]).unwrap();
            bytes.push(u8::from_str_radix(hex, 16).unwrap());
            rest = &rest[3..];
        } else {
            assert_eq!(rest, b"e", "the empty key stands alone");
            rest = &rest[1..];
        }
    }
    bytes
}

#[test]
fn every_recorded_key_goes_where_twemproxy_sent_it() {
    let data = data();
    let mut observations = 0;
    for set in &data.sets {
        for (name, function) in FUNCTIONS {
            let parts = set.parts.get(name);
            for (distribution, letters) in
                [(Distribution::Ketama, set.ketama[name]), (Distribution::Modula, set.modula[name])]
            {
                let placement = set.placement(distribution, function);
                for (at, letter) in letters.bytes().enumerate() {
                    let key = &data.keys[at];
                    let expected = usize::from(letter - b'a');
                    let context = || format!("{} {name} {distribution:?} {key:?}", set.name);
                    assert_eq!(choose(&placement, key), expected, "{}", context());
                    let explained = placement.explain(key, || 0);
                    assert_eq!(explained.backend, expected, "{}", context());
                    let own = parts.and_then(|parts| parts.get(&at));
                    let value = *own.unwrap_or(&data.hashes[name][at]);
                    let value = (set.backends.len() > 1).then_some(u64::from(value));
                    assert_eq!(explained.hash, value, "{}", context());
                    observations += 1;
                }
            }
        }
    }
    assert_eq!(observations, 2 * 33_600);
}

#[test]
fn ketama_gives_each_backend_the_recorded_number_of_points() {
    for set in data().sets.iter().filter(|set| set.backends.len() > 1) {
        let mut counts = vec![0; set.backends.len()];
        match &set.placement(Distribution::Ketama, Hash::Md5).choice {
            Choice::Ring(ring) => ring.entries().for_each(|(_, owner)| counts[owner as usize] += 1),
            other => panic!("{} is a ring, not {other:?}", set.name),
        }
        assert_eq!(counts, set.points, "{}", set.name);
    }
}

const PHRASE: &str = "the quick brown fox jumps over the lazy dog";
const KEYS: [&str; 6] = ["a", "foo", "/test/1", "user:1000", PHRASE, ""];

fn numbered(count: u16) -> Vec<Backend> {
    (0..count).map(|at| backend("", "127.0.0.1", 11211 + at, 1)).collect()
}

#[test]
fn jump_agrees_with_memcacheds_proxy() {
    let unseeded: [(u64, [usize; 6]); 6] = [
        (0xe6c6_32b6_1e96_4e1f, [0, 1, 1, 1, 8, 14]),
        (0xab6e_5f64_077e_7d8a, [0, 1, 2, 2, 2, 37]),
        (0x243c_092e_ada4_f7b3, [0, 1, 1, 1, 1, 14]),
        (0xfb68_41b2_068c_0c9f, [0, 1, 2, 2, 7, 43]),
        (0xe454_1a9c_acf5_45aa, [0, 1, 2, 2, 9, 61]),
        (0x2d06_8005_38d3_94c2, [0, 0, 0, 0, 0, 52]),
    ];
    for (column, count) in [1, 2, 3, 5, 10, 100].into_iter().enumerate() {
        let placement =
            Placement::new(&pool(numbered(count), Distribution::Jump, Hash::Xxh3), |_| true);
        for (key, (value, chosen)) in KEYS.iter().zip(unseeded) {
            assert_eq!(choose(&placement, key.as_bytes()), chosen[column], "{key} of {count}");
            let explained = placement.explain(key.as_bytes(), || 0);
            assert_eq!(explained.hash, (count > 1).then_some(value), "{key}");
        }
    }
    let seeded: [(u64, usize, usize); 6] = [
        (0xe437_e900_27de_f3a2, 1, 8),
        (0xbf5b_e637_6a4e_af11, 1, 8),
        (0xe7e6_bc32_fa6b_35d0, 0, 3),
        (0x09ed_38b7_aab5_ee68, 1, 1),
        (0x403b_38f9_bfe4_8091, 2, 9),
        (0xec8f_03b5_d9cb_776b, 0, 3),
    ];
    let seed = hash(Hash::Xxh3, 0, b"failover");
    assert_eq!(seed, 0xfdc6_60d1_498c_5886);
    assert_eq!(hash(Hash::Xxh3, 0, b"hello"), 0x9555_e855_5c62_dcfd);
    for (key, (value, of_three, of_ten)) in KEYS.iter().zip(seeded) {
        for (count, expected) in [(3, of_three), (10, of_ten)] {
            let mut pool = pool(numbered(count), Distribution::Jump, Hash::Xxh3);
            pool.hash_seed = seed;
            let explained = Placement::new(&pool, |_| true).explain(key.as_bytes(), || 0);
            assert_eq!((explained.hash, explained.backend), (Some(value), expected), "{key}");
        }
    }
}

#[test]
fn the_ring_agrees_with_memcacheds_proxy_in_all_modes() {
    type Case = (RingMode, [(u32, u16); 3], [usize; 6], [usize; 6]);
    let cases: [Case; 4] = [
        (
            RingMode::Default,
            [(8431871, 0), (13852813, 2), (33579275, 2)],
            [1, 2, 0, 2, 0, 2],
            [2, 0, 1, 0, 1, 2],
        ),
        (
            RingMode::Ketama,
            [(8275958, 2), (13595443, 0), (58904517, 0)],
            [0, 0, 2, 2, 2, 0],
            [1, 2, 0, 2, 0, 1],
        ),
        (
            RingMode::Twemproxy,
            [(8275958, 2), (16590639, 0), (28619699, 1)],
            [2, 0, 2, 2, 2, 1],
            [0, 0, 1, 2, 2, 2],
        ),
        (
            RingMode::EvCache,
            [(9098405, 1), (11559074, 2), (31977462, 0)],
            [1, 0, 0, 1, 2, 0],
            [0, 1, 0, 0, 0, 0],
        ),
    ];
    let backends = vec![
        backend("", "127.0.0.1", 11211, 1),
        backend("", "127.0.0.2", 11211, 1),
        backend("", "127.0.0.3", 11212, 1),
    ];
    for (mode, first, by_xxh3, by_md5) in cases {
        for (function, expected) in [(Hash::Xxh3, by_xxh3), (Hash::RingMd5, by_md5)] {
            let distribution = Distribution::Ring { mode, points: 160 };
            let placement =
                Placement::new(&pool(backends.clone(), distribution, function), |_| true);
            let Choice::Ring(ring) = &placement.choice else { panic!("{mode:?} is a ring") };
            assert_eq!(ring.entries().count(), 480);
            assert_eq!(ring.entries().take(3).collect::<Vec<_>>(), first, "{mode:?}");
            for (key, expected) in KEYS.iter().zip(expected) {
                assert_eq!(choose(&placement, key.as_bytes()), expected, "{mode:?} {key}");
            }
        }
    }
}

#[test]
fn a_ring_hash_is_cut_to_32_bits_of_md5() {
    let hashes = [3111502092, 3675831724, 3713946122, 781738503, 3587288439, 3649838548];
    for (key, expected) in KEYS.iter().zip(hashes) {
        assert_eq!(hash(Hash::RingMd5, 99, key.as_bytes()), expected, "{key}");
    }
}

#[test]
fn random_takes_live_backends_only_and_ignores_weights() {
    let mut backends = numbered(4);
    backends[1].weight = 1000;
    let placement = Placement::new(&pool(backends, Distribution::Random, Hash::Md5), |at| at != 2);
    let chosen: Vec<_> = (0..6).map(|draw| placement.choose(b"k", || draw)).collect();
    assert_eq!(chosen, [0, 1, 3, 0, 1, 3]);
    assert_eq!(placement.explain(b"k", || 2).backend, 3);
}

#[test]
fn a_pool_without_a_live_backend_is_placed_as_if_all_were() {
    for distribution in [Distribution::Ketama, Distribution::Modula, Distribution::Jump] {
        let pool = pool(numbered(5), distribution, Hash::Fnv1a64);
        let (all, none) = (Placement::new(&pool, |_| true), Placement::new(&pool, |_| false));
        for key in KEYS {
            assert_eq!(choose(&all, key.as_bytes()), choose(&none, key.as_bytes()));
        }
    }
}

#[test]
fn jump_moves_only_keys_of_the_backend_that_left_the_end() {
    let pool = pool(numbered(8), Distribution::Jump, Hash::Xxh3);
    let (all, fewer) = (Placement::new(&pool, |_| true), Placement::new(&pool, |at| at != 7));
    for number in 0..1000 {
        let key = format!("key:{number}");
        let before = choose(&all, key.as_bytes());
        let after = choose(&fewer, key.as_bytes());
        assert!(before == 7 || before == after, "{key} moved from {before} to {after}");
        assert_ne!(after, 7, "{key}");
    }
}
