//! Numbers as C's library reads them: `atoi`, `atof`, and memcached's checked `strtol` family.
//!
//! The lax forms are part of the command line's behaviour: `-p abc` is port 0, `-m 64mb` is 64.

/// C's `atoi`: leading spaces, a sign, digits; anything else ends the number. Too large numbers
/// lose their upper bits, as where `long` is wider than `int`.
pub(super) fn atoi(text: &[u8]) -> i32 {
    integer(text).value as i32
}

/// C's `atof`, for decimal numbers.
pub(super) fn atof(text: &[u8]) -> f64 {
    float(text).0
}

/// memcached's `safe_strtol`: a whole number up to the end or a space.
pub(super) fn strict_i32(text: &[u8]) -> Option<i32> {
    let number = integer(text);
    number.is_strict(text).then_some(number.value as i32)
}

/// memcached's `safe_strtoul`.
pub(super) fn strict_u32(text: &[u8]) -> Option<u32> {
    let number = integer(text);
    // Negative numbers wrap around in C; memcached refuses those whose result looks negative, and
    // "-0" is the only other one of any length worth typing.
    (number.is_strict(text) && number.value >= 0).then_some(number.value as u32)
}

/// memcached's `safe_strtod`.
pub(super) fn strict_f64(text: &[u8]) -> Option<f64> {
    let (value, end) = float(text);
    ends(text, end).then_some(value)
}

/// C's `strtol` in base 8.
pub(super) fn octal(text: &[u8]) -> u32 {
    let digits = text.iter().take_while(|byte| (b'0'..=b'7').contains(byte));
    digits.fold(0u32, |sum, byte| sum.wrapping_mul(8).wrapping_add(u32::from(byte - b'0')))
}

/// C's `isspace`.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

struct Integer {
    value: i64,
    /// Where the digits end; 0 without any.
    end: usize,
    is_out_of_range: bool,
}

impl Integer {
    fn is_strict(&self, text: &[u8]) -> bool {
        !self.is_out_of_range && ends(text, self.end)
    }
}

fn integer(text: &[u8]) -> Integer {
    let mut at = text.iter().take_while(|byte| is_space(**byte)).count();
    let is_negative = text.get(at) == Some(&b'-');
    if is_negative || text.get(at) == Some(&b'+') {
        at += 1;
    }
    let digits = text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut value: i64 = 0;
    let mut is_out_of_range = false;
    for byte in &text[at..at + digits] {
        let digit = i64::from(byte - b'0');
        let signed = if is_negative { -digit } else { digit };
        match value.checked_mul(10).and_then(|value| value.checked_add(signed)) {
            Some(next) => value = next,
            None => {
                is_out_of_range = true;
                value = if is_negative { i64::MIN } else { i64::MAX };
                break;
            }
        }
    }
    Integer { value, end: if digits == 0 { 0 } else { at + digits }, is_out_of_range }
}

/// The longest decimal number at the beginning, and where it ends; 0 without one.
fn float(text: &[u8]) -> (f64, usize) {
    let start = text.iter().take_while(|byte| is_space(**byte)).count();
    let in_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let mut end = start + text[start..].iter().take_while(|byte| in_number(byte)).count();
    // No number that means anything is longer; and every length is tried below.
    end = end.min(start + FLOAT_BYTES_MAX);
    while end > start {
        let number = std::str::from_utf8(&text[start..end]).ok().and_then(|t| t.parse().ok());
        if let Some(number) = number {
            return (number, end);
        }
        end -= 1;
    }
    (0.0, 0)
}

/// Whether a number that ended there stands alone.
fn ends(text: &[u8], end: usize) -> bool {
    end > 0 && text.get(end).is_none_or(|byte| is_space(*byte))
}

const FLOAT_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_c_does() {
        for (text, value) in [
            ("64", 64),
            (" 64mb", 64),
            ("abc", 0),
            ("", 0),
            ("-5", -5),
            ("+7", 7),
            ("4294967297", 1),
            ("99999999999999999999", -1),
        ] {
            assert_eq!(atoi(text.as_bytes()), value, "{text}");
        }
        for (text, value) in [("1.25", 1.25), ("2x", 2.0), ("abc", 0.0), ("1e", 1.0), (".5", 0.5)] {
            assert_eq!(atof(text.as_bytes()), value, "{text}");
        }
        assert_eq!(octal(b"0770"), 0o770);
        assert_eq!(octal(b"79"), 7);
    }

    #[test]
    fn strict_forms_want_the_whole_text() {
        assert_eq!(strict_u32(b"10"), Some(10));
        assert_eq!(strict_u32(b"10 x"), Some(10));
        for text in ["", "x", "10x", "-1", "99999999999999999999"] {
            assert_eq!(strict_u32(text.as_bytes()), None, "{text}");
        }
        assert_eq!(strict_i32(b"-3"), Some(-3));
        assert_eq!(strict_i32(b"3k"), None);
        assert_eq!(strict_f64(b"0.5"), Some(0.5));
        assert_eq!(strict_f64(b"0.5s"), None);
    }
}
