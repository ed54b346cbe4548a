//! Runs the bodies of the fuzz targets over the committed corpus and seeded mutations of it.
//!
//! This is the part of fuzzing that needs no nightly toolchain: it replays every finding that
//! became a corpus file and looks a little around each. The hours are libFuzzer's, see `fuzz/`.

use std::panic::catch_unwind;
use std::path::Path;

#[path = "../../../fuzz/protocol.rs"]
mod protocol;

/// Mutated inputs for each target.
const MUTATIONS: u32 = 4000;

/// Texts that decide something in some protocol.
const DICTIONARY: &[&[u8]] = &[
    b" ",
    b"  ",
    b"\r\n",
    b"\n",
    b"\r",
    b"\t",
    b"\0",
    b"\x80",
    b"\x81",
    b"noreply",
    b" q",
    b" O",
    b" T0",
    b" k",
    b" b",
    b"0",
    b"1",
    b"-1",
    b"2147483645",
    b"2147483646",
    b"4294967295",
    b"99999999999",
    b"18446744073709551616",
    b"get ",
    b"gets ",
    b"gat ",
    b"set ",
    b"ms ",
    b"mg ",
    b"md ",
    b"mn\r\n",
    b"VALUE ",
    b"VA ",
    b"HD",
    b"EN\r\n",
    b"END\r\n",
    b"CLIENT_ERROR ",
    b"HTTP/1.1",
    b"$",
    b"*",
    b":",
    b"%",
];

/// A small generator with a fixed seed: the same inputs on every run and every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).expect("the corpus is part of the repository");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a readable file")).collect()
}

fn mutate(inputs: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = inputs[random.below(inputs.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => {
                let word = DICTIONARY[random.below(DICTIONARY.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            2 => {
                let other = &inputs[random.below(inputs.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
            3 => {
                let end = at + random.below(bytes.len() - at + 1).min(8);
                bytes.drain(at..end);
            }
            4 => {
                let end = at + random.below(bytes.len() - at + 1);
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece.iter().copied().cycle().take(piece.len().min(700) * 3));
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    bytes.truncate(20_000);
    bytes
}

fn run(target: &str, body: fn(&[u8])) {
    let inputs = corpus(target);
    assert!(inputs.len() >= 5, "{target} has a corpus to start from");
    let mut random = Random(0x6b65_7977_6179);
    let mutations = (0..MUTATIONS).map(|_| mutate(&inputs, &mut random)).collect::<Vec<_>>();
    for bytes in inputs.iter().chain(&mutations) {
        if catch_unwind(|| body(bytes)).is_err() {
            panic!("{target} fails for b\"{}\"", bytes.escape_ascii());
        }
    }
}

#[test]
fn request() {
    run("request", protocol::request);
}

#[test]
fn reply() {
    run("reply", protocol::reply);
}

#[test]
fn binary() {
    run("binary", protocol::binary);
}

#[test]
fn resp() {
    run("resp", protocol::resp);
}
