//! Hashes of keys: twemproxy's twelve, bit for bit, and the two of memcached's proxy.
//!
//! Several of the old functions treat bytes as signed, because `char` is signed on x86, where the
//! fleets that we must agree with were built; [`signed`] marks each such place. The functions are
//! kept as they are, oddities included: a better hash would move keys. None of them is meant to
//! resist an attacker who chooses keys.

use md5::{Digest, Md5};
use twox_hash::XxHash3_64;

use crate::config::Hash;

/// Hash of `bytes`, the part of a key that counts. `seed` matters to [`Hash::Xxh3`] only. All
/// others give 32 bits; twemproxy's twelve give 0 for an empty part.
#[inline]
pub fn hash(function: Hash, seed: u64, bytes: &[u8]) -> u64 {
    match function {
        Hash::Xxh3 => XxHash3_64::oneshot_with_seed(seed, bytes),
        Hash::RingMd5 => u64::from(md5(bytes)),
        _ if bytes.is_empty() => 0,
        Hash::OneAtATime => u64::from(one_at_a_time(bytes)),
        Hash::Md5 => u64::from(md5(bytes)),
        Hash::Crc16 => u64::from(crc16(bytes)),
        Hash::Crc32 => u64::from((crc32fast::hash(bytes) >> 16) & 0x7fff),
        Hash::Crc32a => u64::from(crc32fast::hash(bytes)),
        Hash::Fnv1_64 => u64::from(fnv1(FNV_64_START, FNV_64_PRIME, bytes)),
        Hash::Fnv1a64 => u64::from(fnv1a(FNV_64_START, FNV_64_PRIME, bytes)),
        Hash::Fnv1_32 => u64::from(fnv1(FNV_32_START, FNV_32_PRIME, bytes)),
        Hash::Fnv1a32 => u64::from(fnv1a(FNV_32_START, FNV_32_PRIME, bytes)),
        Hash::Hsieh => u64::from(hsieh(bytes)),
        Hash::Murmur => u64::from(murmur(bytes)),
        Hash::Jenkins => u64::from(jenkins(bytes)),
    }
}

/// The first four bytes of the MD5 digest, little-endian.
pub(super) fn md5(bytes: &[u8]) -> u32 {
    md5_words(bytes)[0]
}

/// The MD5 digest as four little-endian words: the four ring points of one label.
pub(super) fn md5_words(bytes: &[u8]) -> [u32; 4] {
    let digest = Md5::digest(bytes);
    std::array::from_fn(|word| word_at(&digest, 4 * word))
}

/// A byte as C's signed `char` widens to 32 bits.
fn signed(byte: u8) -> u32 {
    byte as i8 as u32
}

fn word_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn half_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn one_at_a_time(bytes: &[u8]) -> u32 {
    let mut value = 0u32;
    for &byte in bytes {
        value = value.wrapping_add(signed(byte));
        value = value.wrapping_add(value << 10);
        value ^= value >> 6;
    }
    value = value.wrapping_add(value << 3);
    value ^= value >> 11;
    value.wrapping_add(value << 15)
}

fn crc16(bytes: &[u8]) -> u32 {
    // The state is never cut to 16 bits: from the third byte on the result fills 32.
    bytes
        .iter()
        .fold(0u32, |crc, &byte| (crc << 8) ^ u32::from(CRC16[((crc >> 8) as u8 ^ byte) as usize]))
}

fn fnv1(start: u32, prime: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |value, &byte| value.wrapping_mul(prime) ^ signed(byte))
}

fn fnv1a(start: u32, prime: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |value, &byte| (value ^ signed(byte)).wrapping_mul(prime))
}

fn hsieh(bytes: &[u8]) -> u32 {
    let mut value = 0u32;
    let groups = bytes.chunks_exact(4);
    let rest = groups.remainder();
    for group in groups {
        value = value.wrapping_add(half_at(group, 0));
        let mixed = (half_at(group, 2) << 11) ^ value;
        value = (value << 16) ^ mixed;
        value = value.wrapping_add(value >> 11);
    }
    match rest.len() {
        3 => {
            value = value.wrapping_add(half_at(rest, 0));
            value ^= value << 16;
            value ^= signed(rest[2]) << 18;
            value = value.wrapping_add(value >> 11);
        }
        2 => {
            value = value.wrapping_add(half_at(rest, 0));
            value ^= value << 11;
            value = value.wrapping_add(value >> 17);
        }
        1 => {
            // Unsigned, unlike the last byte of three.
            value = value.wrapping_add(u32::from(rest[0]));
            value ^= value << 10;
            value = value.wrapping_add(value >> 1);
        }
        _ => {}
    }
    value ^= value << 3;
    value = value.wrapping_add(value >> 5);
    value ^= value << 4;
    value = value.wrapping_add(value >> 17);
    value ^= value << 25;
    value.wrapping_add(value >> 6)
}

fn murmur(bytes: &[u8]) -> u32 {
    const FACTOR: u32 = 0x5bd1_e995;
    let len = bytes.len() as u32;
    let mut value = 0xdead_beef_u32.wrapping_mul(len) ^ len;
    let groups = bytes.chunks_exact(4);
    let rest = groups.remainder();
    for group in groups {
        let mut word = word_at(group, 0).wrapping_mul(FACTOR);
        word ^= word >> 24;
        word = word.wrapping_mul(FACTOR);
        value = value.wrapping_mul(FACTOR) ^ word;
    }
    if !rest.is_empty() {
        for (at, &byte) in rest.iter().enumerate() {
            value ^= u32::from(byte) << (8 * at);
        }
        value = value.wrapping_mul(FACTOR);
    }
    value ^= value >> 13;
    value = value.wrapping_mul(FACTOR);
    value ^ (value >> 15)
}

fn jenkins(bytes: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32).wrapping_add(13);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut rest = bytes;
    while rest.len() > 12 {
        a = a.wrapping_add(word_at(rest, 0));
        b = b.wrapping_add(word_at(rest, 4));
        c = c.wrapping_add(word_at(rest, 8));
        // Three words, two rounds; the words swap roles from step to step.
        for turns in [[4, 6, 8], [16, 19, 4]] {
            a = a.wrapping_sub(c) ^ c.rotate_left(turns[0]);
            c = c.wrapping_add(b);
            b = b.wrapping_sub(a) ^ a.rotate_left(turns[1]);
            a = a.wrapping_add(c);
            c = c.wrapping_sub(b) ^ b.rotate_left(turns[2]);
            b = b.wrapping_add(a);
        }
        rest = &rest[12..];
    }
    let mut last = [0u8; 12];
    last[..rest.len()].copy_from_slice(rest);
    a = a.wrapping_add(word_at(&last, 0));
    b = b.wrapping_add(word_at(&last, 4));
    c = c.wrapping_add(word_at(&last, 8));
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// Low halves of FNV-64's offset and prime: the low half of a product needs low halves only.
const FNV_64_START: u32 = 0x8422_2325;
const FNV_64_PRIME: u32 = 0x1b3;
const FNV_32_START: u32 = 2_166_136_261;
const FNV_32_PRIME: u32 = 16_777_619;

/// CCITT's polynomial, most significant bit first.
const CRC16: [u16; 256] = crc16_table();

const fn crc16_table() -> [u16; 256] {
    let mut table = [0u16; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            let carry = value & 0x8000 != 0;
            value <<= 1;
            if carry {
                value ^= 0x1021;
            }
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_part_hashes_to_zero_in_twemproxys_functions_only() {
        for function in [Hash::OneAtATime, Hash::Md5, Hash::Crc16, Hash::Hsieh, Hash::Jenkins] {
            assert_eq!(hash(function, 7, b""), 0, "{function:?}");
        }
        assert_eq!(hash(Hash::Xxh3, 0, b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(hash(Hash::RingMd5, 0, b""), 3_649_838_548);
    }

    #[test]
    fn bytes_above_127_count_as_signed_where_they_do_on_x86() {
        let key = b"caf\xc3\xa9";
        assert_eq!(hash(Hash::OneAtATime, 0, key), 0xd99c_709e);
        assert_eq!(hash(Hash::Fnv1_32, 0, key), 0xd682_f171);
        assert_eq!(hash(Hash::Murmur, 0, key), 0xda11_981f);
        assert_eq!(hash(Hash::Hsieh, 0, b"abc\xe9"), 0xf989_9142);
        assert_eq!(hash(Hash::Hsieh, 0, b"\xff"), 0x02a6_dba8);
    }
}
