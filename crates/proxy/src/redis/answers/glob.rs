//! Patterns as Redis matches names with: `*`, `?`, `[a-z]`, `[^a]`, `\` before a literal byte.
//!
//! Case does not matter here: only names of commands and settings are matched. The time taken is
//! bounded by the product of the lengths, whatever a client sends.

/// Whether `pattern` matches the whole of `text`.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut rest, mut left) = (pattern, text);
    // Where to go on after the last star: behind it, with one more byte of the text left to it.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some((b'*', after)) = rest.split_first() {
            star = Some((after, left));
            rest = after;
            continue;
        }
        if let Some((&byte, after_byte)) = left.split_first() {
            if let Some(after) = one(rest, byte) {
                (rest, left) = (after, after_byte);
                continue;
            }
        } else if rest.is_empty() {
            return true;
        }
        match star {
            Some((after, from)) if !from.is_empty() => {
                star = Some((after, &from[1..]));
                (rest, left) = (after, &from[1..]);
            }
            _ => return false,
        }
    }
}

/// Matches one byte with the front of a pattern; what follows that front.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (&first, rest) = pattern.split_first()?;
    match first {
        b'?' => Some(rest),
        b'[' => class(rest, byte),
        b'\\' => match rest.split_first() {
            Some((&literal, rest)) => literal.eq_ignore_ascii_case(&byte).then_some(rest),
            None => (byte == b'\\').then_some(rest),
        },
        literal => literal.eq_ignore_ascii_case(&byte).then_some(rest),
    }
}

/// Matches one byte with what follows a `[`; a class that is not closed ends with the pattern.
fn class(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let byte = byte.to_ascii_lowercase();
    let (is_negated, mut rest) = match pattern.strip_prefix(b"^") {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let mut is_in = false;
    loop {
        match rest {
            [] => break,
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [b'\\', literal, after @ ..] => {
                is_in |= literal.to_ascii_lowercase() == byte;
                rest = after;
            }
            [from, b'-', to, after @ ..] => {
                let (from, to) = (from.to_ascii_lowercase(), to.to_ascii_lowercase());
                is_in |= (from.min(to)..=from.max(to)).contains(&byte);
                rest = after;
            }
            [literal, after @ ..] => {
                is_in |= literal.to_ascii_lowercase() == byte;
                rest = after;
            }
        }
    }
    (is_in != is_negated).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, is_match) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "save", true),
            ("SAVE", "save", true),
            ("s?ve", "save", true),
            ("s*e", "save", true),
            ("s*x", "save", false),
            ("*max*x", "maxmemory", false),
            ("m*y", "maxmemory", true),
            ("m*m*y", "maxmemory", true),
            ("[sm]ave", "save", true),
            ("[^s]ave", "save", false),
            ("[a-z]ave", "save", true),
            ("[z-a]ave", "save", true),
            ("[save", "s", true),
            ("\\s?ve", "save", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("\\", "\\", true),
            ("[\\]]", "]", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), is_match, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = [b"*a".repeat(200), b"b".to_vec()].concat();
        assert!(!matches(&pattern, &[b'a'; 2000]));
    }
}
