//! Patterns of keys, as `KEYS` and `SCAN` match them.
//!
//! `*` is any bytes, `?` one, `[a-z]` and `[^a]` one of a set, `\` takes the next byte as it is. A
//! set without end reaches to the end of the pattern. Matching takes at most the product of both
//! lengths: only the last `*` is ever tried again.

/// Whether all of `text` matches `pattern`.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // Behind the last star, and how much of the text it covers up to.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if t == text.len() {
            if pattern[p..].iter().all(|byte| *byte == b'*') {
                return true;
            }
        } else if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, t));
            continue;
        } else if let Some(next) = one(pattern, p, text[t]) {
            (p, t) = (next, t + 1);
            continue;
        }
        // Let the last star cover one more byte. What comes behind it needs at least one.
        match star {
            Some((behind, covered)) if covered < text.len() => {
                star = Some((behind, covered + 1));
                (p, t) = (behind, covered + 1);
            }
            _ => return false,
        }
    }
}

/// Matches one byte with what stands at `at`, which is no star; the place behind that.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    let is_match = match (*pattern.get(at)?, pattern.get(at + 1)) {
        (b'?', _) => true,
        (b'[', _) => return set(pattern, at + 1, byte),
        (b'\\', Some(escaped)) => return (*escaped == byte).then_some(at + 2),
        (literal, _) => literal == byte,
    };
    is_match.then_some(at + 1)
}

/// Matches one byte with the set whose inside begins at `at`; the place behind the set.
fn set(pattern: &[u8], mut at: usize, byte: u8) -> Option<usize> {
    let is_inverted = pattern.get(at) == Some(&b'^');
    if is_inverted {
        at += 1;
    }
    let mut is_in = false;
    let behind = loop {
        match pattern.get(at..).unwrap_or_default() {
            [] => break pattern.len(),
            [b'\\', escaped, ..] => {
                is_in |= *escaped == byte;
                at += 2;
            }
            [b']', ..] => break at + 1,
            [from, b'-', to, ..] => {
                // Bytes are signed numbers here, as on the machines that Redis runs on.
                let (from, to, byte) = (*from as i8, *to as i8, byte as i8);
                is_in |= (from.min(to)..=from.max(to)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                is_in |= *literal == byte;
                at += 1;
            }
        }
    };
    (is_in != is_inverted).then_some(behind)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_whole_keys() {
        let yes: [(&[u8], &[u8]); 16] = [
            (b"*", b"abc"),
            (b"a*c", b"abbc"),
            (b"a?c", b"abc"),
            (b"h[ae]llo", b"hello"),
            (b"h[^e]llo", b"hallo"),
            (b"h[a-c]llo", b"hbllo"),
            (b"h[c-a]llo", b"hbllo"),
            (b"a\\*", b"a*"),
            (b"[\\]]", b"]"),
            (b"**a**", b"xa"),
            (b"[abc", b"b"),
            (b"a\\", b"a\\"),
            (b"", b""),
            (b"*a*b*", b"xaxbx"),
            (b"[\x80-\x7f]", b"\x05"),
            (b"abc*", b"abc"),
        ];
        for (pattern, text) in yes {
            assert!(matches(pattern, text), "{pattern:?} {text:?}");
        }
        let no: [(&[u8], &[u8]); 10] = [
            (b"*", b""),
            (b"a", b""),
            (b"", b"a"),
            (b"a?c", b"ac"),
            (b"h[^e]llo", b"hello"),
            (b"abc", b"abcd"),
            (b"abcd", b"abc"),
            (b"*a", b"ab"),
            (b"[]a]", b"a"),
            (b"[", b"["),
        ];
        for (pattern, text) in no {
            assert!(!matches(pattern, text), "{pattern:?} {text:?}");
        }
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = b"*a".repeat(5_000);
        let mut text = vec![b'a'; 250];
        text.push(b'b');
        assert!(!matches(&pattern, &text));
        let pattern = [&b"a*".repeat(60)[..], b"b"].concat();
        assert!(!matches(&pattern, &[b'a'; 250]));
    }
}
