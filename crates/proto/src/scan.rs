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

/// The length on the line of a RESP element that begins with `kind` at `from`, as it should be
/// written, and where the next line begins. `None` when there is anything else, or when the line
/// is not complete.
#[inline(always)]
pub(crate) fn resp_length(bytes: &[u8], from: usize, kind: u8) -> Option<(usize, usize)> {
    let (len, end) = match bytes.get(from..)?.first_chunk::<8>() {
        Some(chunk) => match short_resp_length(u64::from_le_bytes(*chunk), kind) {
            (len, taken @ 1..) => (len, from + taken),
            _ => resp_length_by_digit(bytes, from, kind),
        },
        None => resp_length_by_digit(bytes, from, kind),
    };
    (end > 0).then_some((len, end))
}

/// The length on a line of one to three digits that begins `word`, and the bytes of that line;
/// none of them when it is anything else.
#[inline(always)]
const fn short_resp_length(word: u64, kind: u8) -> (usize, usize) {
    const LINE_END: u64 = u16::from_le_bytes(*b"\r\n") as u64;
    let digits = word ^ 0x3030_3030;
    let (first, second, third) = (digits >> 8 & 0xff, digits >> 16 & 0xff, digits >> 24 & 0xff);
    if word as u8 != kind || first > 9 {
        return (0, 0);
    }
    if word >> 16 & 0xffff == LINE_END {
        return (first as usize, 4);
    }
    if first == 0 || second > 9 {
        return (0, 0);
    }
    let two = first * 10 + second;
    if word >> 24 & 0xffff == LINE_END {
        return (two as usize, 5);
    }
    if third <= 9 && word >> 32 & 0xffff == LINE_END {
        return ((two * 10 + third) as usize, 6);
    }
    (0, 0)
}

/// As `resp_length`, for lines near the end of the input and long numbers. A pair, not an option
/// of one, so that it comes back in registers; an end of 0 is none.
#[inline(never)]
fn resp_length_by_digit(bytes: &[u8], from: usize, kind: u8) -> (usize, usize) {
    if bytes.get(from) != Some(&kind) {
        return (0, 0);
    }
    let Some((len, end)) = short_number(bytes, from + 1) else { return (0, 0) };
    let has_leading_zero = bytes.get(from + 1) == Some(&b'0') && end > from + 2;
    if has_leading_zero || bytes.get(end..end + 2) != Some(b"\r\n") {
        return (0, 0);
    }
    (len as usize, end + 2)
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
        fn lengths_of_resp_are_what_the_standard_library_reads(
            line in "[*$][0-9]{0,10}[\r\n]{0,2}",
            after in vec(any::<u8>(), 0..10),
            before in vec(any::<u8>(), 0..3),
        ) {
            let bytes = [&before, line.as_bytes(), &after].concat();
            let text = line[1..].strip_suffix("\r\n").filter(|text| text.len() <= 9);
            let number = text.and_then(|text| text.parse::<usize>().ok());
            let number = number.filter(|number| Some(number.to_string().as_str()) == text);
            let expected = number.map(|number| (number, before.len() + line.len()));
            let found = resp_length(&bytes, before.len(), line.as_bytes()[0]);
            let goes_on = line.strip_suffix("\r\n").is_none();
            prop_assert!(found == expected || goes_on && expected.is_none());
            prop_assert_eq!(resp_length(&bytes, before.len(), b'~'), None);
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
