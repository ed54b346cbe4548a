//! Finding the end of a token eight bytes at a time, in safe code.
//!
//! Requests and replies are mostly one key and a few short numbers, so a call into a vectorised
//! search costs more than the search. One 64-bit word per step needs no set-up and no tail loop.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Position of the first byte at or below the space character (`0x20`) at or after `from`.
///
/// That is where a token ends: a space, a carriage return, a line feed, or a control character
/// that the caller has to look at more closely. `None` when the rest holds no such byte.
#[inline(always)]
pub(crate) fn stop(bytes: &[u8], from: usize) -> Option<usize> {
    find(bytes, from, low_bytes)
}

/// Position of the first space at or after `from`, or the length when there is none.
#[inline(always)]
pub(crate) fn space(bytes: &[u8], from: usize) -> usize {
    find(bytes, from, spaces).unwrap_or(bytes.len())
}

/// Position of the first byte at or after `from` that `marks` marks by its high bit; marks above
/// the lowest one may be false. `marks` never marks `0xff`.
#[inline(always)]
fn find(bytes: &[u8], from: usize, marks: impl Fn(u64) -> u64) -> Option<usize> {
    let mut at = from;
    let mut rest = bytes.get(from..)?;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let hits = marks(u64::from_le_bytes(*chunk));
        if hits != 0 {
            return Some(at + (hits.trailing_zeros() / 8) as usize);
        }
        at += 8;
        rest = tail;
    }
    if rest.is_empty() {
        return None;
    }
    let Some(last) = bytes.last_chunk::<8>() else {
        let hit = |byte: &u8| marks(u64::from(*byte) | !0xff) != 0;
        return rest.iter().position(hit).map(|found| at + found);
    };
    // The last word of the input overlaps bytes already seen: shift those out, and fill up with
    // bytes that are never marked.
    let seen = (8 - rest.len()) as u32 * 8;
    let hits = marks((u64::from_le_bytes(*last) >> seen) | !(u64::MAX >> seen));
    (hits != 0).then(|| at + (hits.trailing_zeros() / 8) as usize)
}

/// Marks, by its high bit, each byte of `word` that is at most `0x20`; marks above the lowest
/// one may be false, the lowest is exact.
#[inline(always)]
const fn low_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x21) & !word & HIGHS
}

/// Marks, by its high bit, each byte of `word` that is a space; the lowest mark is exact.
#[inline(always)]
const fn spaces(word: u64) -> u64 {
    let zeros = word ^ (ONES * 0x20);
    zeros.wrapping_sub(ONES) & !zeros & HIGHS
}

/// Position of the line feed in `bytes`, looking only at what follows the first `from` bytes.
#[inline]
pub(crate) fn line_feed(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr(b'\n', bytes.get(from..)?).map(|found| from + found)
}

/// The number of at most nine digits that starts at `from`, and the position behind it. `None`
/// when there is no digit, when there are more, or when the input ends with one.
#[inline(always)]
pub(crate) fn short_number(bytes: &[u8], from: usize) -> Option<(u64, usize)> {
    let rest = bytes.get(from..)?;
    let Some(chunk) = rest.first_chunk::<8>() else {
        return number_by_digit(bytes, from);
    };
    let digits = u64::from_le_bytes(*chunk) ^ (ONES * 0x30);
    // As in `low_bytes`, the lowest mark is exact: it is the first byte that is no digit.
    let others = (digits.wrapping_add(ONES * 0x76) | digits) & HIGHS;
    if others == 0 {
        return number_by_digit(bytes, from);
    }
    let count = others.trailing_zeros() / 8;
    if count == 0 {
        return None;
    }
    // The digits move up so that zeros stand before them; then neighbours are joined into
    // numbers of two, four and eight digits.
    let aligned = digits << (64 - 8 * count);
    let pairs = (aligned.wrapping_mul(10).wrapping_add(aligned >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let eight = (fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xffff_ffff;
    Some((eight, from + count as usize))
}

/// As `short_number`, for numbers near the end of the input or of eight and nine digits.
#[inline(never)]
fn number_by_digit(bytes: &[u8], from: usize) -> Option<(u64, usize)> {
    let rest = bytes.get(from..)?;
    let count = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    if count == 0 || count > 9 {
        return None;
    }
    let digits = rest.get(..count)?;
    let sum = digits.iter().fold(0, |sum, &digit| sum * 10 + u64::from(digit - b'0'));
    Some((sum, from + count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn short_numbers_are_what_the_standard_library_reads(
            number in "[0-9]{0,11}",
            after in vec(any::<u8>(), 0..10),
            before in vec(any::<u8>(), 0..3),
        ) {
            let bytes = [&before, number.as_bytes(), &after].concat();
            let len = bytes[before.len()..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let end = before.len() + len;
            let text = std::str::from_utf8(&bytes[before.len()..end]).expect("digits are text");
            let is_short = (1..=9).contains(&len) && end < bytes.len();
            let expected = is_short.then(|| (text.parse::<u64>().expect("nine digits fit"), end));
            prop_assert_eq!(short_number(&bytes, before.len()), expected);
        }

        #[test]
        fn stop_finds_what_a_byte_loop_finds(
            bytes in vec(prop_oneof![3 => 0x21u8..=255, 1 => 0u8..=0x21], 0..40),
            from in 0usize..44,
        ) {
            let slow = bytes.iter().enumerate().skip(from).find(|&(_, &b)| b <= b' ');
            prop_assert_eq!(stop(&bytes, from), slow.map(|(i, _)| i));
            let slow = bytes.iter().enumerate().skip(from).find(|&(_, &b)| b == b' ');
            prop_assert_eq!(space(&bytes, from), slow.map_or(bytes.len(), |(i, _)| i));
        }
    }
}
