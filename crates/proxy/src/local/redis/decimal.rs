//! Integers as Redis reads them: digits only, no sign but `-`, no leading zeros, no blanks.

/// Longest integer: a sign and 19 digits.
const BYTES_MAX: usize = 20;

/// Reads a whole word as an integer.
pub(super) fn read(word: &[u8]) -> Option<i64> {
    if word.is_empty() || word.len() > BYTES_MAX {
        return None;
    }
    if word == b"0" {
        return Some(0);
    }
    let (is_negative, digits) = match word.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    if !matches!(digits.first(), Some(b'1'..=b'9')) {
        return None;
    }
    // Downwards, because the least number is further from zero than the greatest.
    let mut negative: i64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        negative = negative.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if is_negative { Some(negative) } else { negative.checked_neg() }
}

/// The digits of an integer, with their sign.
pub(super) struct Text {
    bytes: [u8; BYTES_MAX],
    from: usize,
}

impl Text {
    /// Writes `number`.
    pub(super) fn new(number: i64) -> Text {
        let mut bytes = [0; BYTES_MAX];
        let mut from = BYTES_MAX;
        let mut rest = number.unsigned_abs();
        loop {
            from -= 1;
            bytes[from] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            from -= 1;
            bytes[from] = b'-';
        }
        Text { bytes, from }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.from..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_read_back() {
        for number in [0, 1, -1, 10, -10, 12_345_678_901, i64::MAX, i64::MIN, i64::MIN + 1] {
            let text = number.to_string();
            assert_eq!(Text::new(number).as_bytes(), text.as_bytes());
            assert_eq!(read(text.as_bytes()), Some(number));
        }
    }

    #[test]
    fn other_spellings_are_no_integers() {
        let words: [&[u8]; 14] = [
            b"",
            b"-",
            b"+1",
            b"01",
            b"-0",
            b"-01",
            b" 1",
            b"1 ",
            b"1.0",
            b"0x1",
            b"1e3",
            b"\0",
            b"9223372036854775808",
            b"-9223372036854775809",
        ];
        for word in words {
            assert_eq!(read(word), None, "{word:?}");
        }
    }
}
