//! Which bytes of a key are hashed.
//!
//! Users pin related keys to one backend with a tag (`user:{42}:name`) or by cutting a suffix off.
//! twemproxy and memcached's proxy differ only in what an empty match means; both look at the first
//! opening byte only and never try a later one.

use crate::config::KeyPart;

/// Longest key that [`KeyPart::Stop`] looks into; longer ones are hashed whole.
const STOP_KEY_BYTES_MAX: usize = 250;

/// The bytes of `key` that `rule` lets count.
#[inline]
pub fn part<'a>(rule: &KeyPart, key: &'a [u8]) -> &'a [u8] {
    match rule {
        KeyPart::Whole => key,
        KeyPart::Tag { open, close, empty_counts } => {
            tag(*open, *close, *empty_counts, key).unwrap_or(key)
        }
        KeyPart::Stop(mark) => before(mark, key).unwrap_or(key),
    }
}

fn tag(open: u8, close: u8, empty_counts: bool, key: &[u8]) -> Option<&[u8]> {
    let at = key.iter().position(|&byte| byte == open)?;
    let rest = &key[at + 1..];
    let len = rest.iter().position(|&byte| byte == close)?;
    (len > 0 || empty_counts).then(|| &rest[..len])
}

fn before<'a>(mark: &[u8], key: &'a [u8]) -> Option<&'a [u8]> {
    // `windows` wants a length above zero; an empty mark stops nothing.
    if mark.is_empty() || key.len() > STOP_KEY_BYTES_MAX {
        return None;
    }
    let at = key.windows(mark.len()).position(|window| window == mark)?;
    Some(&key[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: &KeyPart, cases: &[(&str, &str)]) {
        for (key, expected) in cases {
            assert_eq!(part(rule, key.as_bytes()), expected.as_bytes(), "{rule:?} of {key}");
        }
    }

    #[test]
    fn twemproxy_tags_ignore_an_empty_match() {
        let rule = KeyPart::Tag { open: b'{', close: b'}', empty_counts: false };
        check(
            &rule,
            &[
                ("user:{1}:ids", "1"),
                ("p{q}r{s}t", "q"),
                ("x{{y}}z", "{y"),
                ("a{}b", "a{}b"),
                ("a{}b{c}", "a{}b{c}"),
                ("{}", "{}"),
                ("a}b{c}", "c"),
                ("a{b", "a{b"),
                ("{", "{"),
                ("", ""),
            ],
        );
    }

    #[test]
    fn one_byte_may_open_and_close() {
        let rule = KeyPart::Tag { open: b'$', close: b'$', empty_counts: false };
        check(&rule, &[("$tag$rest", "tag"), ("a$$b", "a$$b"), ("a$b", "a$b"), ("p$x$y$", "x")]);
    }

    #[test]
    fn memcached_tags_count_an_empty_match() {
        let rule = KeyPart::Tag { open: b'{', close: b'}', empty_counts: true };
        check(&rule, &[("a{}b", ""), ("{}", ""), ("a{", "a{"), ("a{b", "a{b"), ("a{b}", "b")]);
    }

    #[test]
    fn stop_cuts_at_the_first_occurrence() {
        let rule = KeyPart::Stop(b"|#|".to_vec());
        check(&rule, &[("a|#|b|#|c", "a"), ("|#|b", ""), ("a|#b", "a|#b"), ("ab", "ab"), ("", "")]);
        let mut key = [b'k'; 251].to_vec();
        key[10..13].copy_from_slice(b"|#|");
        assert_eq!(part(&rule, &key), &key[..], "keys above 250 bytes count whole");
        assert_eq!(part(&rule, &key[..250]), &key[..10]);
        assert_eq!(part(&KeyPart::Stop(Vec::new()), b"abc"), b"abc");
    }
}
