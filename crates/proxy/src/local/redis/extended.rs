//! Extended-precision numbers, the arithmetic of `INCRBYFLOAT`.
//!
//! Redis adds in the 80-bit format of x86 (64 bits of mantissa) and writes 17 decimals; clients see
//! every rounding of that, so it is done here in the same precision, with whole numbers only.
//! Reading and adding round to nearest, ties to even.

use super::big::{Big, PART_DIGITS};
use std::cmp::Ordering;

/// Longest text that is read as a number.
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;

/// The weight of the lowest bit of the smallest number.
const EXPONENT_MIN: i32 = -16_445;

/// The weight of the lowest bit of the largest number.
const EXPONENT_MAX: i32 = 16_384 - 64;

/// Beyond so many decimal places a number is infinite, or nothing, whatever its digits are.
const PLACES_MAX: i64 = 5_000;

/// A number: ± `mantissa` × 2^`exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extended {
    is_negative: bool,
    is_infinite: bool,
    mantissa: u64,
    exponent: i32,
}

impl Extended {
    pub(super) const ZERO: Extended =
        Extended { is_negative: false, is_infinite: false, mantissa: 0, exponent: EXPONENT_MIN };

    const INFINITE: Extended = Extended { is_infinite: true, ..Extended::ZERO };

    /// The number nearest to ± `bits` × 2^`exponent`; `has_more` says that the exact one has
    /// further bits below. Infinite if that is too large.
    fn round(is_negative: bool, bits: u128, exponent: i32, has_more: bool) -> Extended {
        let mut exponent = exponent;
        let used = 128 - bits.leading_zeros() as i32;
        let drop = (used - 64).max(EXPONENT_MIN - exponent).max(0);
        let mut mantissa = bits;
        if drop > 0 {
            mantissa = if drop < 128 { bits >> drop } else { 0 };
            let below = match drop {
                ..128 => (bits & ((1 << drop) - 1)).cmp(&(1 << (drop - 1))),
                128 => bits.cmp(&(1 << 127)),
                _ => Ordering::Less,
            };
            let is_odd = mantissa & 1 == 1;
            let is_up = match below {
                Ordering::Less => false,
                Ordering::Equal => has_more || is_odd,
                Ordering::Greater => true,
            };
            mantissa += u128::from(is_up);
            exponent += drop;
        }
        if mantissa >> 64 != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
        if mantissa == 0 {
            return Extended { is_negative, ..Extended::ZERO };
        }
        let mut mantissa = mantissa as u64;
        let up = (mantissa.leading_zeros() as i32).min(exponent - EXPONENT_MIN);
        mantissa <<= up;
        exponent -= up;
        if exponent > EXPONENT_MAX {
            return Extended { is_negative, ..Extended::INFINITE };
        }
        Extended { is_negative, is_infinite: false, mantissa, exponent }
    }

    /// The sum; none if it is no finite number.
    pub(super) fn plus(self, other: Extended) -> Option<Extended> {
        if self.is_infinite || other.is_infinite {
            return None;
        }
        let is_larger = (self.exponent, self.mantissa) >= (other.exponent, other.mantissa);
        let (large, small) = if is_larger { (self, other) } else { (other, self) };
        if large.mantissa == 0 {
            let is_negative = large.is_negative && small.is_negative;
            return Some(Extended { is_negative, ..Extended::ZERO });
        }
        // One bit of room above for the carry, 63 below for what is shifted out.
        const BELOW: i32 = 63;
        let apart = large.exponent - small.exponent;
        let a = u128::from(large.mantissa) << BELOW;
        let b = u128::from(small.mantissa) << BELOW;
        let (b, is_inexact) = match apart {
            0..128 => (b >> apart, b & ((1 << apart) - 1) != 0),
            _ => (0, b != 0),
        };
        // What is lost lies far below the last bit that counts; one bit stands for it.
        let b = b | u128::from(is_inexact);
        let is_sum = large.is_negative == small.is_negative;
        let bits = if is_sum { a + b } else { a - b };
        let is_negative = large.is_negative && bits != 0;
        let sum = Extended::round(is_negative, bits, large.exponent - BELOW, false);
        (!sum.is_infinite).then_some(sum)
    }

    /// Appends it with up to 17 decimals and without trailing zeros. It must be finite.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let start = out.len();
        if self.is_negative {
            out.push(b'-');
        }
        if self.exponent >= 0 {
            let mut whole = Big::from(self.mantissa);
            whole.shift_left(self.exponent as usize);
            whole.write(out);
        } else {
            self.write_fraction(out);
        }
        if out[start..] == *b"-0" {
            out.remove(start);
        }
    }

    fn write_fraction(self, out: &mut Vec<u8>) {
        const UNIT: u128 = 100_000_000_000_000_000;
        let scaled = u128::from(self.mantissa) * UNIT;
        let drop = self.exponent.unsigned_abs();
        let rounded = if drop < 127 {
            let below = scaled & ((1 << drop) - 1);
            let kept = scaled >> drop;
            let half = 1 << (drop - 1);
            kept + u128::from(below > half || below == half && kept & 1 == 1)
        } else {
            0
        };
        Big::from((rounded / UNIT) as u64).write(out);
        let mut decimals = (rounded % UNIT) as u64;
        if decimals == 0 {
            return;
        }
        let mut digits = [b'0'; 17];
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (decimals % 10) as u8;
            decimals /= 10;
        }
        let used = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        out.push(b'.');
        out.extend_from_slice(&digits[..used]);
    }
}

/// Reads a whole word as a number: decimal or hexadecimal, with or without an exponent, or
/// `inf`. None for anything else, and for what is too large or too small to be told.
pub(super) fn read(word: &[u8]) -> Option<Extended> {
    if word.len() > TEXT_BYTES_MAX {
        return None;
    }
    let (is_negative, rest) = match word {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
        return Some(Extended { is_negative, ..Extended::INFINITE });
    }
    let number = match rest {
        [b'0', b'x' | b'X', hex @ ..] => read_hexadecimal(is_negative, hex)?,
        decimal => read_decimal(is_negative, decimal)?,
    };
    (!number.is_infinite).then_some(number)
}

/// Digits with a point, cut at an exponent letter.
struct Written<'a> {
    whole: &'a [u8],
    decimals: &'a [u8],
    exponent: i64,
}

/// Takes a number's text apart; none if it has no digit or something else is in it.
fn take_apart(text: &[u8], letter: u8, is_digit: impl Fn(&u8) -> bool) -> Option<Written<'_>> {
    let whole_end = text.iter().position(|byte| !is_digit(byte)).unwrap_or(text.len());
    let (whole, mut rest) = text.split_at(whole_end);
    let mut decimals: &[u8] = &[];
    if let [b'.', after @ ..] = rest {
        let end = after.iter().position(|byte| !is_digit(byte)).unwrap_or(after.len());
        (decimals, rest) = after.split_at(end);
    }
    if whole.is_empty() && decimals.is_empty() {
        return None;
    }
    let exponent = match rest {
        [] => 0,
        [first, exponent @ ..] if first.to_ascii_lowercase() == letter => read_exponent(exponent)?,
        _ => return None,
    };
    Some(Written { whole, decimals, exponent })
}

/// Reads an exponent; very large ones as some very large number.
fn read_exponent(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let exponent = digits.iter().fold(0i64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(1 << 40)
    });
    Some(if is_negative { -exponent } else { exponent })
}

fn read_hexadecimal(is_negative: bool, text: &[u8]) -> Option<Extended> {
    let written = take_apart(text, b'p', u8::is_ascii_hexdigit)?;
    let mut bits: u128 = 0;
    let mut has_more = false;
    let mut exponent = written.exponent - 4 * written.decimals.len() as i64;
    for &byte in written.whole.iter().chain(written.decimals) {
        let digit = char::from(byte).to_digit(16).unwrap_or(0);
        if bits >> 120 == 0 {
            bits = bits << 4 | u128::from(digit);
        } else {
            has_more |= digit != 0;
            exponent += 4;
        }
    }
    if bits == 0 {
        return Some(Extended { is_negative, ..Extended::ZERO });
    }
    let exponent = exponent.clamp(-100_000, 100_000) as i32;
    let number = Extended::round(is_negative, bits, exponent, has_more);
    (number.mantissa != 0 || number.is_infinite).then_some(number)
}

fn read_decimal(is_negative: bool, text: &[u8]) -> Option<Extended> {
    let written = take_apart(text, b'e', u8::is_ascii_digit)?;
    let mut digits = Big::from(0);
    for part in written.whole.chunks(PART_DIGITS).chain(written.decimals.chunks(PART_DIGITS)) {
        let number = part.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        digits.multiply_add(10u32.pow(part.len() as u32), number);
    }
    if digits.is_zero() {
        return Some(Extended { is_negative, ..Extended::ZERO });
    }
    let exponent = written.exponent - written.decimals.len() as i64;
    if !(-2 * PLACES_MAX..=PLACES_MAX).contains(&exponent) {
        // Only thousands of digits could make up for that, and there are not so many.
        return None;
    }
    let power = Big::power_of_ten(exponent.unsigned_abs());
    let number = if exponent >= 0 {
        digits.multiply(&power);
        divided(digits, Big::from(1), is_negative)
    } else {
        divided(digits, power, is_negative)
    };
    (number.mantissa != 0 || number.is_infinite).then_some(number)
}

/// The quotient by `divisor`, rounded. Neither is 0.
fn divided(mut number: Big, mut divisor: Big, is_negative: bool) -> Extended {
    // So far to the left that the quotient has 66 or 67 bits: more than will be kept.
    const QUOTIENT_BITS: usize = 66;
    let (own, others) = (number.bits(), divisor.bits());
    let wanted = others + QUOTIENT_BITS;
    number.shift_left(wanted.saturating_sub(own));
    divisor.shift_left(own.saturating_sub(wanted));
    let exponent = own as i32 - wanted as i32;
    divisor.shift_left(QUOTIENT_BITS);
    let mut quotient: u128 = 0;
    for _ in 0..=QUOTIENT_BITS {
        quotient <<= 1;
        if number.is_at_least(&divisor) {
            number.subtract(&divisor);
            quotient |= 1;
        }
        divisor.halve();
    }
    // The remainder is less than the divisor; that it is there is all that counts. Two more
    // bits make room for it below.
    let quotient = quotient << 2 | u128::from(!number.is_zero());
    Extended::round(is_negative, quotient, exponent - 2, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(word: &[u8]) -> String {
        let mut out = Vec::new();
        read(word).expect("a number").write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn sum(a: &str, b: &str) -> String {
        let mut out = Vec::new();
        let (a, b) = (read(a.as_bytes()).unwrap(), read(b.as_bytes()).unwrap());
        a.plus(b).expect("a finite number").write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_with_seventeen_decimals() {
        // What a C program prints for the same long double with "%.17Lf", without the zeros.
        assert_eq!(written(b"3.0e3"), "3000");
        assert_eq!(written(b"10.50"), "10.5");
        assert_eq!(written(b"0.1"), "0.1");
        assert_eq!(written(b"-.5"), "-0.5");
        assert_eq!(written(b"1e-18"), "0");
        assert_eq!(written(b"-1e-18"), "0");
        assert_eq!(written(b"0x1p-1"), "0.5");
        assert_eq!(written(b"123456789012345678901234567890"), "123456789012345678899921813504");
        assert_eq!(written(b"1e30"), "1000000000000000000024696061952");
        assert_eq!(written(b"18446744073709551615"), "18446744073709551615");
        assert_eq!(written(b"18446744073709551617"), "18446744073709551616");
    }

    #[test]
    fn sums_round_as_in_extended_precision() {
        assert_eq!(sum("1.5", "1.5"), "3");
        assert_eq!(sum("10.5", "0.1"), "10.6");
        assert_eq!(sum("5.0e3", "2.0e2"), "5200");
        assert_eq!(sum("1", "-1.1"), "-0.1");
        assert_eq!(sum("18446744073709551615", "1"), "18446744073709551616");
        assert_eq!(sum("0.5", "-0.5"), "0");
        assert_eq!(sum("-0", "-0"), "0");
        assert_eq!(sum("1000000", "-0"), "1000000");
        assert_eq!(sum("0", "1000000"), "1000000");
        assert_eq!(sum("-1000000", "0"), "-1000000");
        assert!(read(b"inf").unwrap().plus(Extended::ZERO).is_none());
        assert!(read(b"1e4932").unwrap().plus(read(b"1e4932").unwrap()).is_none());
    }

    #[test]
    fn any_word_is_read_or_refused() {
        // Whatever is read can be added and written, and a written number reads back as itself.
        let alphabet = b"0123456789.eE+-xXpPinfa ";
        let mut state = 1u64;
        for length in (0..4_000).map(|round| round % 37) {
            let word: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    alphabet[(state >> 33) as usize % alphabet.len()]
                })
                .collect();
            let Some(number) = read(&word).and_then(|number| number.plus(Extended::ZERO)) else {
                continue;
            };
            let mut text = Vec::new();
            number.write(&mut text);
            let mut again = Vec::new();
            read(&text).expect("a written number is one").write(&mut again);
            assert_eq!(text.escape_ascii().to_string(), again.escape_ascii().to_string());
        }
        for word in [vec![b'9'; 5_119], [&b"0."[..], &[b'0'; 4_900], b"1"].concat()] {
            let _ = read(&word);
        }
        assert_eq!(read(&[b'1'; 5_120]), None, "too long to be looked at");
    }

    #[test]
    fn other_words_are_no_numbers() {
        let words: [&[u8]; 17] = [
            b"",
            b" 1",
            b"1 ",
            b"nan",
            b"abc",
            b"1e",
            b"1e+",
            b".",
            b"-",
            b"0x",
            b"1.2.3",
            b"1\0",
            b"1e4933",
            b"1e-4960",
            b"1e999999999999999999999",
            b"0x1p99999",
            b"--1",
        ];
        for word in words {
            assert_eq!(read(word), None, "{:?}", String::from_utf8_lossy(word));
        }
    }

    #[test]
    fn the_smallest_and_the_largest_numbers_are_read() {
        assert_eq!(read(b"3.6451995318824746025e-4951").unwrap().mantissa, 1);
        let largest = read(b"1.18973149535723176502e4932").unwrap();
        assert_eq!((largest.mantissa, largest.exponent), (u64::MAX, EXPONENT_MAX));
        assert_eq!(read(b"0e99999999").unwrap(), Extended::ZERO);
    }
}
