//! Runs the body of a fuzz target over its committed corpus and seeded mutations of it.
//!
//! Included by tests on the stable toolchain, so that `./test` replays every finding that became
//! a corpus file and looks a little around each. The hours are libFuzzer's, see `README.md`.

use std::panic::catch_unwind;
use std::path::Path;

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

/// Runs `body` over the corpus of `target` in `root` and `mutations` of it, made with the words
/// of `dictionary`. Fails with the input for which the body fails.
pub fn run(root: &Path, target: &str, mutations: u32, dictionary: &[&[u8]], body: fn(&[u8])) {
    let inputs = corpus(&root.join("fuzz/corpus").join(target));
    assert!(inputs.len() >= 5, "{target} has a corpus to start from");
    let mut random = Random(0x6b65_7977_6179);
    let mutated = (0..mutations).map(|_| mutate(&inputs, dictionary, &mut random));
    for bytes in inputs.iter().cloned().chain(mutated) {
        if catch_unwind(|| body(&bytes)).is_err() {
            panic!("{target} fails for b\"{}\"", bytes.escape_ascii());
        }
    }
}

fn corpus(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("the corpus is part of the repository");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a readable file")).collect()
}

fn mutate(inputs: &[Vec<u8>], dictionary: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut bytes = inputs[random.below(inputs.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = at + random.below(bytes.len() - at + 1);
        match random.below(7) {
            0 => bytes.truncate(at),
            1 => {
                let word = dictionary[random.below(dictionary.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            2 => {
                let other = &inputs[random.below(inputs.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
            3 => drop(bytes.drain(at..end.min(at + 8))),
            4 => {
                let piece = bytes[at..end.min(at + 700)].to_vec();
                bytes.splice(at..at, piece.repeat(3));
            }
            5 => {
                let other = &inputs[random.below(inputs.len())];
                bytes.splice(at..at, other.iter().copied());
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
