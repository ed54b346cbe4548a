//! Keys and values that know each other.
//!
//! Key number n has one name and one value for given options, and the value follows from the number
//! byte for byte. A reply that carries another key's value, a cut value or a spoiled one is seen
//! without remembering anything. The bytes are random, line ends included, so that a proxy which
//! looks for ends of lines inside values is caught as well.

use std::io::Write;

use super::draw::{Random, ValueSize, mix};

/// The key and the value of each key number.
#[derive(Debug)]
pub struct Content {
    prefix: String,
    seed: u64,
    sizes: ValueSize,
    /// Random bytes that all values are pieces of.
    block: Vec<u8>,
}

impl Content {
    /// For values of the given sizes. `sizes_text` is how the user wrote them: together with the
    /// seed it marks the keys, so that what an earlier run with other options left behind is not
    /// met.
    pub fn new(seed: u64, sizes: ValueSize, sizes_text: &str) -> Content {
        let mut mark = mix(seed);
        for byte in sizes_text.bytes() {
            mark = mix(mark ^ u64::from(byte));
        }
        let mut random = Random::new(BLOCK_SEED, 0);
        let block = (0..BLOCK_BYTES).map(|_| random.bits() as u8).collect();
        Content { prefix: format!("bench:{:08x}:", mark as u32), seed: mark, sizes, block }
    }

    /// Appends the key with this number.
    pub fn write_key(&self, number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix.as_bytes());
        write!(out, "{number:010}").expect("writing to memory does not fail");
    }

    /// Length of the key with this number.
    pub fn key_len(&self, number: u64) -> usize {
        self.prefix.len() + number.checked_ilog10().map_or(1, |log| log as usize + 1).max(10)
    }

    /// The number of a key that this content made; `None` for any other key.
    pub fn number(&self, key: &[u8]) -> Option<u64> {
        let digits = key.strip_prefix(self.prefix.as_bytes())?;
        let plain = digits.len() >= 10 && digits.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(digits).ok().filter(|_| plain)?;
        let number = text.parse().ok()?;
        // Another spelling of the same number is another key.
        (self.key_len(number) == key.len()).then_some(number)
    }

    /// Length of the value of the key with this number.
    pub fn value_len(&self, number: u64) -> usize {
        self.sizes.of(self.seed, number) as usize
    }

    /// Appends the value of the key with this number.
    pub fn write_value(&self, number: u64, out: &mut Vec<u8>) {
        let mut left = self.value_len(number);
        let mark = self.mark(number);
        let head = left.min(MARK_BYTES);
        out.extend_from_slice(&mark[..head]);
        left -= head;
        let mut at = self.start(number);
        while left > 0 {
            let piece = &self.block[at..][..left.min(BLOCK_BYTES - at)];
            out.extend_from_slice(piece);
            left -= piece.len();
            at = 0;
        }
    }

    /// Whether `bytes` stand at offset `at` of the value of the key with this number.
    pub fn agrees(&self, number: u64, mut at: usize, mut bytes: &[u8]) -> bool {
        if at + bytes.len() > self.value_len(number) {
            return false;
        }
        if at < MARK_BYTES {
            let head = bytes.len().min(MARK_BYTES - at);
            if bytes[..head] != self.mark(number)[at..at + head] {
                return false;
            }
            at += head;
            bytes = &bytes[head..];
        }
        while !bytes.is_empty() {
            let place = (self.start(number) + at - MARK_BYTES) % BLOCK_BYTES;
            let len = bytes.len().min(BLOCK_BYTES - place);
            if bytes[..len] != self.block[place..place + len] {
                return false;
            }
            at += len;
            bytes = &bytes[len..];
        }
        true
    }

    /// First bytes of the value: no two keys share them.
    fn mark(&self, number: u64) -> [u8; MARK_BYTES] {
        mix(self.seed ^ mix(number)).to_le_bytes()
    }

    /// Where in the block the rest of the value begins.
    fn start(&self, number: u64) -> usize {
        (mix(self.seed.wrapping_add(mix(number))) as usize) % BLOCK_BYTES
    }
}

const MARK_BYTES: usize = 8;
/// Odd, so that long values do not repeat in step with powers of two, such as buffer sizes.
const BLOCK_BYTES: usize = 65_537;
const BLOCK_SEED: u64 = 0x6b65_7977_6179;

#[cfg(test)]
mod tests {
    use super::*;

    fn content(sizes: &str) -> Content {
        Content::new(1, sizes.parse().unwrap(), sizes)
    }

    fn value(content: &Content, number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        content.write_value(number, &mut out);
        out
    }

    #[test]
    fn a_value_agrees_with_its_own_key_only_at_any_cut() {
        for sizes in ["0", "1", "8", "9", "100", "200000"] {
            let content = content(sizes);
            let own = value(&content, 42);
            assert_eq!(own.len(), content.value_len(42));
            for cut in [0, 1, 7, 8, 9, 65_000, 70_000].into_iter().filter(|cut| *cut <= own.len()) {
                assert!(content.agrees(42, 0, &own[..cut]), "{sizes} {cut}");
                assert!(content.agrees(42, cut, &own[cut..]), "{sizes} {cut}");
            }
            if own.len() >= MARK_BYTES {
                assert!(!content.agrees(43, 0, &own), "{sizes}");
            }
        }
    }

    #[test]
    fn a_spoiled_or_longer_value_does_not_agree() {
        let content = content("100000");
        let own = value(&content, 7);
        for at in [0, 7, 8, 50_000, 65_537, 99_999] {
            let mut spoiled = own.clone();
            spoiled[at] ^= 1;
            assert!(!content.agrees(7, 0, &spoiled), "{at}");
            assert!(!content.agrees(7, at, &spoiled[at..]), "{at}");
        }
        let longer = [&own[..], b"x"].concat();
        assert!(!content.agrees(7, 0, &longer));
    }

    #[test]
    fn a_key_gives_its_number_back() {
        let content = content("10");
        for number in [0, 9, 10, 12_345, 9_999_999_999, 10_000_000_000, u64::MAX] {
            let mut key = Vec::new();
            content.write_key(number, &mut key);
            assert_eq!(key.len(), content.key_len(number));
            assert_eq!(content.number(&key), Some(number));
            key.push(b'0');
            assert_ne!(content.number(&key), Some(number));
        }
        assert_eq!(content.number(b"bench:0000000001"), None);
        let mut foreign = Vec::new();
        Content::new(2, "10".parse().unwrap(), "10").write_key(1, &mut foreign);
        assert_eq!(content.number(&foreign), None);
    }
}
