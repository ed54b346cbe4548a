//! Base64 as the meta commands use it for binary keys: the standard alphabet, with padding.
//!
//! Decoding follows memcached's: bytes outside the alphabet are skipped, decoding stops at the
//! first padded group, and a text without a whole number of groups is refused.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Marks a byte outside the alphabet in `VALUES`.
const SKIP: u8 = 0x80;

static VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut table = [SKIP; 256];
    let mut index = 0;
    while index < 64 {
        table[ALPHABET[index] as usize] = index as u8;
        index += 1;
    }
    table[b'=' as usize] = 0;
    table
}

/// Bytes that `bytes` input bytes take when encoded.
pub const fn encoded_bytes(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Encodes `input` into the front of `out` and returns the part written; `None` when `out` is
/// shorter than `encoded_bytes(input.len())`.
pub fn encode<'out>(input: &[u8], out: &'out mut [u8]) -> Option<&'out [u8]> {
    let written = encoded_bytes(input.len());
    let target = out.get_mut(..written)?;
    for (group, slots) in input.chunks(3).zip(target.chunks_exact_mut(4)) {
        let first = group.first().copied().unwrap_or(0);
        let second = group.get(1).copied().unwrap_or(0);
        let third = group.get(2).copied().unwrap_or(0);
        let bits = u32::from(first) << 16 | u32::from(second) << 8 | u32::from(third);
        for (index, slot) in slots.iter_mut().enumerate() {
            *slot = if index > group.len() {
                b'='
            } else {
                ALPHABET[(bits >> (18 - 6 * index)) as usize & 63]
            };
        }
    }
    Some(target)
}

/// Decodes `text` into the front of `out` and returns the part written.
///
/// `None` when the text is empty, has no whole number of groups, is padded by more than two
/// characters, decodes to nothing, or needs more room (three bytes a group) than `out` has.
pub fn decode<'out>(text: &[u8], out: &'out mut [u8]) -> Option<&'out [u8]> {
    let used = text.iter().filter(|&&byte| VALUES[usize::from(byte)] != SKIP).count();
    if used == 0 || !used.is_multiple_of(4) || used / 4 * 3 > out.len() {
        return None;
    }
    let mut bits = 0u32;
    let mut in_group = 0;
    let mut padding = 0;
    let mut written = 0;
    for &byte in text {
        let value = VALUES[usize::from(byte)];
        if value == SKIP {
            continue;
        }
        padding += usize::from(byte == b'=');
        bits = bits << 6 | u32::from(value);
        in_group += 1;
        if in_group < 4 {
            continue;
        }
        let [_, decoded @ ..] = bits.to_be_bytes();
        out.get_mut(written..written + 3)?.copy_from_slice(&decoded);
        written += 3;
        if padding > 0 {
            written -= if padding > 2 { return None } else { padding };
            break;
        }
        bits = 0;
        in_group = 0;
    }
    if written == 0 { None } else { out.get(..written) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn known_texts_encode_and_decode() {
        let cases: [(&[u8], &[u8]); 4] =
            [(b"f", b"Zg=="), (b"fo", b"Zm8="), (b"foo", b"Zm9v"), (b"foobar", b"Zm9vYmFy")];
        for (plain, text) in cases {
            let mut out = [0; 16];
            assert_eq!(encode(plain, &mut out), Some(text));
            assert_eq!(decode(text, &mut out), Some(plain));
        }
    }

    #[test]
    fn foreign_bytes_are_skipped_and_bad_texts_refused() {
        let mut out = [0; 16];
        assert_eq!(decode(b"Zm\n9v", &mut out), Some(b"foo".as_slice()));
        for text in [b"".as_slice(), b"Zm9", b"Z===", b"====", b"!!!!"] {
            assert_eq!(decode(text, &mut out), None, "{text:?}");
        }
        assert_eq!(decode(b"Zm9v", &mut [0; 2]), None);
        assert_eq!(encode(b"foo", &mut [0; 3]), None);
    }

    proptest! {
        #[test]
        fn decoding_gives_back_what_was_encoded(plain in vec(any::<u8>(), 1..200)) {
            let mut text = [0; 300];
            let mut back = [0; 300];
            let text = encode(&plain, &mut text).expect("the buffer is large enough");
            prop_assert_eq!(decode(text, &mut back), Some(plain.as_slice()));
        }

        #[test]
        fn decoding_never_panics(text in vec(any::<u8>(), 0..64), room in 0usize..64) {
            let mut out = [0; 64];
            let _ = decode(&text, &mut out[..room]);
        }
    }
}
