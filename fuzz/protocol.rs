//! What the fuzz targets check about the protocol readers.
//!
//! Included by the libFuzzer targets here and by the smoke test of `keyway-proto`, so that both
//! run the same bodies. Each function panics when something that must hold for any input fails.

// Each target uses one of the functions.
#![allow(dead_code)]

use keyway_proto::memcached::{
    Cut, Head, LineLimits, ReplyCut, ReplyHead, StrictCut, ValueLength, Verb, binary, cut_reply,
    cut_strict, cut_text, cut_with, is_valid_key,
};
use keyway_proto::{base64, number, resp};

/// Reads `bytes` as a pipeline of requests and checks every head.
pub fn request(bytes: &[u8]) {
    for limits in [LineLimits::STORE, LineLimits::PROXIED] {
        let mut rest = bytes;
        while let Cut::Head(head) = request_once(rest, &limits) {
            check_head(&head, rest);
            let taken = head.line_bytes as u64 + head.body_bytes();
            rest = usize::try_from(taken).ok().and_then(|taken| rest.get(taken..)).unwrap_or(&[]);
        }
    }
    let mut rest = bytes;
    while let StrictCut::Head(head) = strict_once(rest) {
        check_strict_head(&head, rest);
        let taken = head.line_bytes as u64 + head.body_bytes();
        rest = usize::try_from(taken).ok().and_then(|taken| rest.get(taken..)).unwrap_or(&[]);
    }
}

/// Cuts by twemproxy's grammar, once and in pieces.
fn strict_once(bytes: &[u8]) -> StrictCut<'_> {
    let whole = cut_strict(bytes, &LineLimits::PROXIED, 0);
    for len in prefixes(bytes) {
        let part = cut_strict(&bytes[..len], &LineLimits::PROXIED, 0);
        if part == StrictCut::Partial {
            let resumed = cut_strict(bytes, &LineLimits::PROXIED, len);
            assert_eq!(resumed, whole, "going on gives the same answer");
        } else {
            assert_eq!(part, whole, "more bytes do not change an answer");
        }
    }
    whole
}

/// What twemproxy takes, memcached reads alike.
fn check_strict_head(head: &Head<'_>, bytes: &[u8]) {
    assert!(bytes[..head.line_bytes].ends_with(&[head.line, b"\r\n"].concat()));
    let line = [head.line, b"\r\n"].concat();
    let Cut::Head(plain) = cut_text(&line, &LineLimits::STORE, 0) else {
        panic!("{:?} is a line", head.line.escape_ascii());
    };
    assert_eq!(plain.verb, head.verb);
    assert_eq!(plain.malformed, head.malformed);
    if head.malformed.is_none() {
        assert_eq!((plain.key, plain.key_at, plain.value), (head.key, head.key_at, head.value));
        assert_eq!((plain.more_keys, plain.noreply), (head.more_keys, head.noreply));
    }
}

/// Cuts once, and again in every way that has to give the same answer.
fn request_once<'a>(bytes: &'a [u8], limits: &LineLimits) -> Cut<'a> {
    let whole = cut_with(bytes, limits, 0);
    if whole != Cut::Binary {
        assert_eq!(whole, cut_text(bytes, limits, 0), "the quick and the exact reader agree");
    }
    for len in prefixes(bytes) {
        let part = cut_with(&bytes[..len], limits, 0);
        if part == Cut::Partial {
            assert_eq!(cut_with(bytes, limits, len), whole, "going on gives the same answer");
        } else {
            assert_eq!(part, whole, "more bytes do not change an answer");
        }
    }
    whole
}

fn check_head(head: &Head<'_>, bytes: &[u8]) {
    assert!(bytes.starts_with(head.line));
    assert_eq!(bytes[head.line_bytes - 1], b'\n');
    assert!((1..=2).contains(&(head.line_bytes - head.line.len())));
    assert_eq!(&head.line[head.key_at..head.key_at + head.key.len()], head.key);
    assert_eq!(head.key.is_empty(), head.malformed.is_some() || !head.verb.has_key());
    assert_eq!(head.verb.carries_value(), head.value != ValueLength::None);
    assert_eq!(head.keys().next().unwrap_or(b""), head.key);
    assert_eq!(head.keys().nth(1).is_some() && head.verb.is_retrieval(), head.more_keys);
    assert!(!(head.quiet || head.opaque.is_some() || head.has_ttl_flag) || head.verb.is_meta());
    assert!(!(head.is_http() && head.verb != Verb::Unknown));
    let _ = is_valid_key(head.key);
    for flag in head.meta_flags() {
        assert_eq!(head.line[flag.at], flag.letter);
        assert!(head.malformed.is_some() || flag.letter.is_ascii());
    }
    head.tokens().take(30).for_each(check_number);
    check_base64(head.key);
}

/// The readers of numbers agree where their rules do.
fn check_number(token: &[u8]) {
    let plain = std::str::from_utf8(token).ok().filter(|_| {
        (1..=10).contains(&token.len()) && token.iter().all(|byte| byte.is_ascii_digit())
    });
    let Some(text) = plain else {
        let _ = (number::lenient_u32(token), number::lenient_i32(token));
        let _ = (number::strict_i64(token), number::strict_i32(token));
        return;
    };
    let expected: u64 = text.parse().expect("ten digits fit 64 bits");
    assert_eq!(number::strict_u64(token), Some(expected));
    assert_eq!(number::lenient_u64(token), Some(expected));
    assert_eq!(number::strict_u32(token), u32::try_from(expected).ok());
    let written = number::Decimal::new(expected);
    assert_eq!(number::strict_u64(written.as_bytes()), Some(expected));
}

fn check_base64(text: &[u8]) {
    let mut out = [0; 256];
    if let Some(plain) = base64::decode(text, &mut out) {
        let mut again = [0; 344];
        let mut back = [0; 258];
        let encoded = base64::encode(plain, &mut again).expect("344 characters hold 256 bytes");
        assert_eq!(base64::decode(encoded, &mut back), Some(plain));
    }
}

/// Reads `bytes` as a pipeline of replies and checks every head.
pub fn reply(bytes: &[u8]) {
    let mut rest = bytes;
    while let ReplyCut::Head(head) = reply_once(rest) {
        check_reply_head(&head, rest);
        let taken = head.line_bytes as u64 + head.body_bytes();
        rest = usize::try_from(taken).ok().and_then(|taken| rest.get(taken..)).unwrap_or(&[]);
    }
}

fn reply_once(bytes: &[u8]) -> ReplyCut<'_> {
    let whole = cut_reply(bytes);
    for len in prefixes(bytes) {
        let part = cut_reply(&bytes[..len]);
        assert!(part == ReplyCut::Partial || part == whole, "more bytes do not change an answer");
    }
    whole
}

fn check_reply_head(head: &ReplyHead<'_>, bytes: &[u8]) {
    assert!(bytes.starts_with(head.line));
    assert_eq!(bytes[head.line_bytes - 1], b'\n');
    if !head.key.is_empty() {
        assert!(head.line[6..].starts_with(head.key));
        assert!(head.client_flags().is_some() && head.value_bytes.is_some());
    }
    let _ = (head.cas(), head.opaque(), head.echoed_key(), head.kind.is_error());
    assert!(head.meta_flags().count() == 0 || head.kind.is_meta());
}

/// Reads `bytes` as binary packets, as requests and as replies.
pub fn binary(bytes: &[u8]) {
    for cut in [binary::cut_request, binary::cut_reply] {
        let mut rest = bytes;
        while let binary::BinaryCut::Head(header) = cut(rest) {
            let (head, body) = rest.split_at(binary::HEADER_BYTES);
            assert!(head == header.render_request() || head == header.render_reply());
            let lengths = u32::from(header.extras_bytes) + u32::from(header.key_bytes);
            assert_eq!(lengths + header.value_bytes(), header.body_bytes);
            if let Some(opcode) = binary::Opcode::from_byte(header.opcode) {
                assert_eq!(opcode.loud().loud(), opcode.loud());
            }
            rest = body.get(header.body_bytes as usize..).unwrap_or(&[]);
        }
    }
}

/// Reads `bytes` as a sequence of RESP elements.
pub fn resp(bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        let whole = resp::cut_reply(rest);
        for len in prefixes(rest) {
            let part = resp::cut_reply(&rest[..len]);
            assert!(part == resp::ReplyCut::Partial || part == whole);
        }
        let resp::ReplyCut::Element { element, head_bytes } = whole else { return };
        assert_eq!(&rest[head_bytes - 2..head_bytes], b"\r\n");
        let body = match element {
            resp::Element::Bulk(_, bytes) => bytes.saturating_add(2),
            _ => 0,
        };
        let taken = body.saturating_add(head_bytes as u64);
        rest = usize::try_from(taken).ok().and_then(|taken| rest.get(taken..)).unwrap_or(&[]);
    }
}

/// Lengths at which to split: all of a short input, the ends of a long one.
fn prefixes(bytes: &[u8]) -> impl Iterator<Item = usize> + use<> {
    let len = bytes.len();
    let near_end = len.saturating_sub(8).max(48)..len;
    (0..len.min(48)).chain(near_end)
}
