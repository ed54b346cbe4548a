//! Decimal numbers as memcached reads and writes them.
//!
//! Two families of readers exist because memcached has two. The `strict_*` readers take digits
//! only and check the length of the token first: value lengths, meta flag arguments and most
//! other tokens go through them. The `lenient_*` readers behave as the C library's `strtol`
//! family behind memcached's guards: client flags, expiry times of the store commands and stored
//! counters go through those. `Decimal` writes a number into a small buffer on the stack.

/// Longest token that a strict 32-bit reader looks at, in bytes, sign included.
pub const STRICT_32_BYTES_MAX: usize = 11;

/// Longest token that a strict 64-bit reader looks at, in bytes, sign included.
pub const STRICT_64_BYTES_MAX: usize = 22;

/// Reads an unsigned 32-bit number: digits only, the whole token. An empty token reads as 0,
/// as it does in memcached.
#[inline]
pub fn strict_u32(token: &[u8]) -> Option<u32> {
    if token.len() > STRICT_32_BYTES_MAX {
        return None;
    }
    u32::try_from(digits(token)?).ok()
}

/// Reads an unsigned 64-bit number: digits only, the whole token. An empty token reads as 0.
#[inline]
pub fn strict_u64(token: &[u8]) -> Option<u64> {
    if token.len() > STRICT_64_BYTES_MAX {
        return None;
    }
    digits(token)
}

/// Reads a signed 32-bit number: an optional minus sign and digits. A lone sign reads as 0.
#[inline]
pub fn strict_i32(token: &[u8]) -> Option<i32> {
    if token.len() > STRICT_32_BYTES_MAX {
        return None;
    }
    i32::try_from(signed_digits(token)?).ok()
}

/// Reads a signed 64-bit number: an optional minus sign and digits. A lone sign reads as 0.
#[inline]
pub fn strict_i64(token: &[u8]) -> Option<i64> {
    if token.len() > STRICT_64_BYTES_MAX {
        return None;
    }
    i64::try_from(signed_digits(token)?).ok()
}

/// Reads a number as `strtoull` behind memcached's guard does: leading white space, one sign and
/// trailing bytes after white space or a zero byte are accepted; a result whose top bit is set
/// is refused when the token has a minus sign.
pub fn lenient_u64(token: &[u8]) -> Option<u64> {
    let (negative, magnitude) = c_number(token)?;
    let magnitude = u64::try_from(magnitude).ok()?;
    if !negative {
        return Some(magnitude);
    }
    let wrapped = magnitude.wrapping_neg();
    (wrapped as i64 >= 0).then_some(wrapped)
}

/// Reads a number as `lenient_u64` and keeps its low 32 bits, as memcached does for client flags.
pub fn lenient_u32(token: &[u8]) -> Option<u32> {
    lenient_u64(token).map(|wide| wide as u32)
}

/// Reads a number as `strtoll` behind memcached's guard does; see `lenient_u64`.
pub fn lenient_i64(token: &[u8]) -> Option<i64> {
    let (negative, magnitude) = c_number(token)?;
    let signed = i128::try_from(magnitude).ok()?;
    i64::try_from(if negative { -signed } else { signed }).ok()
}

/// Reads a number as `lenient_i64` and keeps its low 32 bits, as memcached does for expiry times.
pub fn lenient_i32(token: &[u8]) -> Option<i32> {
    lenient_i64(token).map(|wide| wide as i32)
}

/// Value of a token of digits; `None` for another byte or a value above 64 bits.
#[inline]
fn digits(token: &[u8]) -> Option<u64> {
    let mut sum = 0u64;
    // Nineteen digits always fit, so only longer tokens pay for the overflow checks.
    if token.len() < 20 {
        for &byte in token {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            sum = sum * 10 + u64::from(digit);
        }
        return Some(sum);
    }
    for &byte in token {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        sum = sum.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(sum)
}

/// Value of an optional minus sign and digits.
#[inline]
fn signed_digits(token: &[u8]) -> Option<i128> {
    match token.split_first() {
        Some((b'-', rest)) => digits(rest).map(|magnitude| -i128::from(magnitude)),
        _ => digits(token).map(i128::from),
    }
}

/// Sign and magnitude as the C library reads them, with memcached's check on what follows.
fn c_number(token: &[u8]) -> Option<(bool, u128)> {
    let start = token.iter().position(|&byte| !is_c_space(byte))?;
    let mut rest = token.get(start..)?;
    let mut negative = false;
    if let Some((&sign @ (b'-' | b'+'), after)) = rest.split_first() {
        negative = sign == b'-';
        rest = after;
    }
    let mut sum = 0u128;
    let mut seen = 0usize;
    for &byte in rest {
        if !byte.is_ascii_digit() {
            break;
        }
        // Saturates far above 64 bits: the callers refuse it, and a long token stays cheap.
        sum = sum.saturating_mul(10).saturating_add(u128::from(byte - b'0'));
        seen += 1;
    }
    if seen == 0 {
        return None;
    }
    match rest.get(seen) {
        None | Some(0) => Some((negative, sum)),
        Some(&byte) if is_c_space(byte) => Some((negative, sum)),
        Some(_) => None,
    }
}

const fn is_c_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// Longest decimal form of a 64-bit unsigned number, in bytes.
pub const DECIMAL_BYTES_MAX: usize = 20;

/// The decimal digits of a number, on the stack.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    buf: [u8; DECIMAL_BYTES_MAX],
    start: u8,
}

impl Decimal {
    /// Writes `number`.
    #[inline]
    pub fn new(number: u64) -> Self {
        let mut buf = [b'0'; DECIMAL_BYTES_MAX];
        let start = write_u64(&mut buf, number);
        Decimal { buf, start: start as u8 }
    }

    /// The digits, most significant first; at least one.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.buf.get(usize::from(self.start)..).unwrap_or(&[])
    }
}

impl AsRef<[u8]> for Decimal {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// Writes `number` at the end of `buf` and returns where its first digit is.
#[inline]
pub fn write_u64(buf: &mut [u8; DECIMAL_BYTES_MAX], number: u64) -> usize {
    let mut rest = number;
    let mut at = DECIMAL_BYTES_MAX;
    for slot in buf.iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
        at -= 1;
        if rest == 0 {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn strict_readers_take_digits_only() {
        assert_eq!(strict_u32(b"4294967295"), Some(u32::MAX));
        assert_eq!(strict_u32(b"4294967296"), None);
        assert_eq!(strict_u32(b"00000000001"), Some(1));
        assert_eq!(strict_u32(b"000000000001"), None);
        assert_eq!(strict_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(strict_u64(b"18446744073709551616"), None);
        assert_eq!(strict_u64(b"0018446744073709551615"), Some(u64::MAX));
        assert_eq!(strict_u64(b"00018446744073709551615"), None);
        assert_eq!(strict_i32(b"-2147483648"), Some(i32::MIN));
        assert_eq!(strict_i32(b"2147483648"), None);
        assert_eq!(strict_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!((strict_i32(b""), strict_i32(b"-")), (Some(0), Some(0)));
        for token in [b"+1".as_slice(), b"1 ", b" 1", b"1x", b"--1", b"1-"] {
            assert_eq!((strict_u64(token), strict_i32(token)), (None, None), "{token:?}");
        }
        assert_eq!(strict_u32(b"-1"), None);
    }

    #[test]
    fn lenient_readers_follow_the_c_library() {
        assert_eq!(lenient_u64(b"12"), Some(12));
        assert_eq!(lenient_u64(b"+12\tx"), Some(12));
        assert_eq!(lenient_u64(b"\t12\0x"), Some(12));
        assert_eq!(lenient_u64(b"-1"), None);
        assert_eq!(lenient_u64(b"-18446744073709551615"), Some(1));
        assert_eq!(lenient_u64(b"18446744073709551616"), None);
        assert_eq!(lenient_u32(b"4294967297"), Some(1));
        assert_eq!(lenient_i32(b"4294967295"), Some(-1));
        assert_eq!(lenient_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(lenient_i64(b"9223372036854775808"), None);
        for token in [b"".as_slice(), b"-", b"x", b"1x", b"+-1", b" "] {
            assert_eq!((lenient_u64(token), lenient_i64(token)), (None, None), "{token:?}");
        }
        assert_eq!(lenient_u64(&[b'9'; 2000]), None);
    }

    proptest! {
        #[test]
        fn decimals_are_what_the_standard_library_writes(number: u64) {
            let text = number.to_string();
            let decimal = Decimal::new(number);
            prop_assert_eq!(decimal.as_bytes(), text.as_bytes());
            prop_assert_eq!(strict_u64(text.as_bytes()), Some(number));
            prop_assert_eq!(lenient_u64(text.as_bytes()), Some(number));
        }

        #[test]
        fn strict_signed_readers_read_what_is_written(number: i64) {
            let text = number.to_string();
            prop_assert_eq!(strict_i64(text.as_bytes()), Some(number));
            prop_assert_eq!(strict_i32(text.as_bytes()).map(i64::from),
                i32::try_from(number).is_ok().then_some(number));
        }

        #[test]
        fn no_token_panics(token in proptest::collection::vec(any::<u8>(), 0..30)) {
            let _ = (strict_u32(&token), strict_i32(&token), strict_u64(&token));
            let _ = (strict_i64(&token), lenient_u32(&token), lenient_i32(&token));
        }
    }
}
