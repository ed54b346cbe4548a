//! An inbox against right, split, wrong and hostile replies.

use super::super::request;
use super::*;

/// An operation, its opaque and its keys.
type Asking<'a> = (Op, u32, &'a [u64]);

fn content() -> Content {
    Content::new(1, "20".parse().unwrap(), "20")
}

fn value(content: &Content, key: u64) -> Vec<u8> {
    let mut out = Vec::new();
    content.write_value(key, &mut out);
    out
}

fn name(content: &Content, key: u64) -> String {
    let mut out = Vec::new();
    content.write_key(key, &mut out);
    String::from_utf8(out).unwrap()
}

fn owed(op: Op, opaque: u32) -> Owed {
    Owed { op, due: 0, sent: 0, is_measured: true, keys: 0, opaque }
}

fn classic(content: &Content, key: u64, value_key: u64) -> Vec<u8> {
    let mut out = format!("VALUE {} 0 20\r\n", name(content, key)).into_bytes();
    out.extend(value(content, value_key));
    out.extend(b"\r\n");
    out
}

fn meta(content: &Content, key: u64, value_key: u64, opaque: u32) -> Vec<u8> {
    let mut out = format!("VA 20 k{} O{opaque}\r\n", name(content, key)).into_bytes();
    out.extend(value(content, value_key));
    out.extend(b"\r\n");
    out
}

/// Outcomes of the replies to `asked`, fed in pieces of `step` bytes.
fn outcomes(
    protocol: Protocol,
    asked: &[Asking<'_>],
    bytes: &[u8],
    step: usize,
) -> (Vec<Outcome>, Option<Broken>, Option<String>) {
    let content = content();
    let mut inbox = Inbox::new(protocol);
    for (op, opaque, keys) in asked {
        inbox.ask(owed(*op, *opaque), keys);
    }
    let mut seen = Vec::new();
    for piece in bytes.chunks(step) {
        if let Err(broken) = inbox.take(&content, piece, |_, outcome| seen.push(outcome)) {
            return (seen, Some(broken), inbox.take_complaint());
        }
    }
    assert_eq!(inbox.owed(), asked.len() - seen.len());
    (seen, None, inbox.take_complaint())
}

fn check(protocol: Protocol, asked: &[Asking<'_>], bytes: &[u8], expected: &[Outcome]) {
    for step in [1, 2, 3, 7, 40, 10_000] {
        let (seen, broken, _) = outcomes(protocol, asked, bytes, step);
        assert_eq!(seen, expected, "in steps of {step}");
        assert_eq!(broken, None, "in steps of {step}");
    }
}

fn hits(hits: u32, misses: u32, wrong: u32) -> Outcome {
    Outcome { hits, misses, is_error: false, wrong }
}

const ERROR: Outcome = Outcome { hits: 0, misses: 0, is_error: true, wrong: 0 };

#[test]
fn right_classic_replies_are_right_however_they_are_split() {
    let content = content();
    let mut bytes = classic(&content, 3, 3);
    bytes.extend(b"END\r\nEND\r\nSTORED\r\nNOT_STORED\r\nSERVER_ERROR no\r\n");
    // Two of three keys, in another order than asked.
    bytes.extend(classic(&content, 9, 9));
    bytes.extend(classic(&content, 7, 7));
    bytes.extend(b"END\r\n");
    let asked: [Asking<'_>; 6] = [
        (Op::Get, 0, &[3]),
        (Op::Get, 0, &[4]),
        (Op::Set, 0, &[5]),
        (Op::Set, 0, &[5]),
        (Op::Get, 0, &[6]),
        (Op::Get, 0, &[7, 8, 9]),
    ];
    let expected = [hits(1, 0, 0), hits(0, 1, 0), hits(0, 0, 0), ERROR, ERROR, hits(2, 1, 0)];
    check(Protocol::Memcached, &asked, &bytes, &expected);
}

#[test]
fn crossed_replies_are_seen() {
    let content = content();
    let end = b"END\r\n";
    let another_key = [&classic(&content, 4, 4)[..], end].concat();
    check(Protocol::Memcached, &[(Op::Get, 0, &[3])], &another_key, &[hits(1, 0, 1)]);
    let another_value = [&classic(&content, 3, 4)[..], end].concat();
    check(Protocol::Memcached, &[(Op::Get, 0, &[3])], &another_value, &[hits(1, 0, 1)]);
    let twice = [&classic(&content, 3, 3)[..], &classic(&content, 3, 3), end].concat();
    check(Protocol::Memcached, &[(Op::Get, 0, &[3, 4])], &twice, &[hits(2, 0, 1)]);
    let another_opaque = meta(&content, 3, 3, 8);
    check(Protocol::Meta, &[(Op::Get, 7, &[3])], &another_opaque, &[hits(1, 0, 1)]);
    let another_key = meta(&content, 4, 4, 7);
    check(Protocol::Meta, &[(Op::Get, 7, &[3])], &another_key, &[hits(1, 0, 1)]);
    let stored = format!("HD k{} O7\r\n", name(&content, 4));
    check(Protocol::Meta, &[(Op::Set, 7, &[3])], stored.as_bytes(), &[hits(0, 0, 1)]);
    let no_key = b"HD O7\r\n";
    check(Protocol::Meta, &[(Op::Set, 7, &[3])], no_key, &[hits(0, 0, 1)]);
}

#[test]
fn a_value_of_another_length_is_wrong() {
    let content = content();
    let key = name(&content, 3);
    let short = format!("VALUE {key} 0 2\r\nab\r\nEND\r\n");
    check(Protocol::Memcached, &[(Op::Get, 0, &[3])], short.as_bytes(), &[hits(1, 0, 1)]);
    let mut cut = format!("VALUE {key} 0 19\r\n").into_bytes();
    cut.extend(&value(&content, 3)[..19]);
    cut.extend(b"\r\nEND\r\n");
    check(Protocol::Memcached, &[(Op::Get, 0, &[3])], &cut, &[hits(1, 0, 1)]);
}

#[test]
fn meta_batches_end_with_their_mn() {
    let content = content();
    let mut bytes = meta(&content, 5, 5, 10);
    bytes.extend(meta(&content, 6, 6, 12));
    bytes.extend(b"MN\r\nMN\r\n");
    bytes.extend(b"SERVER_ERROR no\r\nMN\r\n");
    bytes.extend(format!("HD k{} O2\r\n", name(&content, 6)).bytes());
    bytes.extend(b"EN\r\n");
    let asked: [Asking<'_>; 5] = [
        (Op::Get, 10, &[5, 5, 6]),
        (Op::Get, 1, &[1, 2]),
        (Op::Get, 1, &[1, 2]),
        (Op::Set, 2, &[6]),
        (Op::Get, 2, &[6]),
    ];
    let expected = [hits(2, 1, 0), hits(0, 2, 0), ERROR, hits(0, 0, 0), hits(0, 1, 0)];
    check(Protocol::Meta, &asked, &bytes, &expected);
}

#[test]
fn redis_replies_are_followed_by_their_position() {
    let content = content();
    let bulk = |key: u64| [b"$20\r\n", &value(&content, key)[..], b"\r\n"].concat();
    let mut bytes = bulk(3);
    bytes.extend(b"$-1\r\n+OK\r\n-ERR no\r\n*3\r\n");
    bytes.extend(bulk(1));
    bytes.extend(b"$-1\r\n");
    bytes.extend(bulk(3));
    bytes.extend(b"*2\r\n$-1\r\n-LOADING\r\n*2\r\n");
    bytes.extend([bulk(2), bulk(1)].concat());
    let asked: [Asking<'_>; 7] = [
        (Op::Get, 0, &[3]),
        (Op::Get, 0, &[3]),
        (Op::Set, 0, &[3]),
        (Op::Get, 0, &[3]),
        (Op::Get, 0, &[1, 2, 3]),
        (Op::Get, 0, &[1, 2]),
        (Op::Get, 0, &[1, 2]),
    ];
    let expected =
        [hits(1, 0, 0), hits(0, 1, 0), hits(0, 0, 0), ERROR, hits(2, 1, 0), ERROR, hits(2, 0, 2)];
    check(Protocol::Redis, &asked, &bytes, &expected);
}

#[test]
fn lines_that_answer_nothing_break_the_connection() {
    let get: &[Asking<'_>] = &[(Op::Get, 0, &[3])];
    let cases: [(Protocol, &[Asking<'_>], &[u8], bool); 9] = [
        (Protocol::Memcached, &[], b"END\r\n", true),
        (Protocol::Memcached, &[], b"ERROR Too many open connections\r\n", false),
        (Protocol::Memcached, get, b"STORED\r\n", true),
        (Protocol::Memcached, get, b"HD\r\n", true),
        (Protocol::Meta, get, b"HD\r\n", true),
        (Protocol::Redis, get, b"+OK\r\n", true),
        (Protocol::Redis, get, b"*1\r\n", true),
        (Protocol::Redis, get, b"hello\r\n", true),
        (Protocol::Redis, &[], b"-ERR max number of clients reached\r\n", false),
    ];
    for (protocol, asked, bytes, is_wrong) in cases {
        let (seen, broken, _) = outcomes(protocol, asked, bytes, 100);
        let broken = broken.unwrap_or_else(|| panic!("{} is no reply", bytes.escape_ascii()));
        assert_eq!((seen.len(), broken.is_wrong), (0, is_wrong), "{}", bytes.escape_ascii());
    }
    let content = content();
    let mut unended = classic(&content, 3, 3);
    let len = unended.len();
    unended[len - 2..].copy_from_slice(b"xx");
    let (_, broken, _) = outcomes(Protocol::Memcached, get, &unended, 10_000);
    assert!(broken.is_some_and(|broken| broken.is_wrong), "a value ends with CR LF");
}

#[test]
fn any_bytes_are_survived() {
    let mut random = super::super::draw::Random::new(5, 5);
    let content = content();
    let words: [&[u8]; 8] =
        [b"VALUE ", b"END\r\n", b"VA 20 ", b"$20\r\n", b"*3\r\n", b"\r\n", b"-1", b"99999999999"];
    for round in 0..3000 {
        let protocol = [Protocol::Memcached, Protocol::Meta, Protocol::Redis][round % 3];
        let mut inbox = Inbox::new(protocol);
        inbox.ask(owed(Op::Get, 0), &[1]);
        inbox.ask(owed(Op::Get, 1), &[1, 2, 3]);
        for _ in 0..20 {
            let mut bytes = words[random.below(8) as usize].to_vec();
            bytes.extend((0..random.below(30)).map(|_| random.bits() as u8));
            if inbox.take(&content, &bytes, |_, _| ()).is_err() {
                break;
            }
        }
    }
}

#[test]
fn a_rendered_request_and_its_reply_fit() {
    let content = content();
    let mut out = Vec::new();
    request::write_set(Protocol::Memcached, &content, 3, 0, &mut out);
    let start = out.len() - 22;
    assert_eq!(&out[start..start + 20], &value(&content, 3)[..]);
    assert!(content.agrees(3, 0, &out[start..start + 20]));
}
