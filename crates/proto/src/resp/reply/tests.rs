//! Replies in pieces, of every kind, and the parts that merging reads.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::resp::render;

fn feed(bytes: &[u8], version: Version) -> (Fed, Option<Kind>) {
    let mut follow = Follow::new(version);
    let fed = follow.feed(bytes);
    (fed, follow.kind())
}

#[test]
fn each_kind_is_followed_to_its_end() {
    let cases: [(&[u8], Kind); 28] = [
        (b"+\r\n", Kind::Simple),
        (b"+OK\r\n", Kind::Simple),
        (b"-ERR no\r\n", Kind::Error),
        (b":0\r\n", Kind::Integer),
        (b":-9223372036854775808\r\n", Kind::Integer),
        (b":+12345678901\r\n", Kind::Integer),
        (b"$0\r\n\r\n", Kind::Bulk),
        (b"$5\r\na\r\nbc\r\n", Kind::Bulk),
        (b"$-1\r\n", Kind::Bulk),
        (b"*0\r\n", Kind::Array),
        (b"*-1\r\n", Kind::Array),
        (b"*2\r\n*2\r\n$1\r\na\r\n$-1\r\n*1\r\n*0\r\n", Kind::Array),
        (b"*2\r\n*-1\r\n-ERR x\r\n", Kind::Array),
        (b"_\r\n", Kind::Null),
        (b"#t\r\n", Kind::Boolean),
        (b",-1.5e10\r\n", Kind::Double),
        (b",inf\r\n", Kind::Double),
        (b",-nan\r\n", Kind::Double),
        (b"(-349239482394823948234982348\r\n", Kind::BigNumber),
        // What a script says is a big number.
        (b"(123  x.5\r\n", Kind::BigNumber),
        (b"!5\r\nERR x\r\n", Kind::BulkError),
        (b"=7\r\ntxt:abc\r\n", Kind::Verbatim),
        (b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n_\r\n", Kind::Map),
        (b"~1\r\n#f\r\n", Kind::Set),
        (b">2\r\n+message\r\n$1\r\nx\r\n", Kind::Push),
        (b"|1\r\n+ttl\r\n:5\r\n$1\r\nv\r\n", Kind::Bulk),
        (b"*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n", Kind::Array),
        (b"%0\r\n", Kind::Map),
    ];
    for (bytes, kind) in cases {
        let shown = String::from_utf8_lossy(bytes);
        let complete = (Fed::Complete(bytes.len()), Some(kind));
        assert_eq!(feed(bytes, Version::Three), complete, "{shown:?}");
        for len in 0..bytes.len() {
            assert_eq!(feed(&bytes[..len], Version::Three).0, Fed::Partial, "{shown:?} {len}");
        }
        let is_old = bytes.iter().all(|byte| !b"_#,(!=%~>|".contains(byte));
        assert_eq!(feed(bytes, Version::Two).0 == complete.0, is_old, "{shown:?}");
    }
}

#[test]
fn what_is_no_resp_is_malformed() {
    for bytes in [
        b"\r\n".as_slice(),
        b"END\r\n",
        b"HTTP/1.1 400\r\n",
        b"+OK\n",
        b"+OK\rx",
        b":\r\n",
        b":-\r\n",
        b":1x\r\n",
        b":9223372036854775808\r\n",
        b"$\r\n",
        b"$-2\r\n",
        b"$-01\r\n",
        b"$--1\r\n",
        b"$+1\r\na\r\n",
        b"$1\r\nabc",
        b"$1\r\na\rx",
        b"$99999999999999999999\r\n",
        b"$2000000000000\r\n",
        b"*-2\r\n",
        b"*1\r\nx",
        b"*2000000000000\r\n",
        b"#x\r\n",
        b"#\r\n",
        b"#tt\r\n",
        b"_x\r\n",
        b",\r\n",
        b",one\r\n",
        b"(\r\n",
        b"=3\r\ntxt\r\n",
        b"%-1\r\n",
        b"~-1\r\n",
        b"*?\r\n",
        b"$?\r\n",
    ] {
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(feed(bytes, Version::Three).0, Fed::Malformed, "{shown:?}");
        let mut follow = Follow::new(Version::Three);
        let by_byte = bytes.chunks(1).map(|byte| follow.feed(byte));
        assert!(by_byte.into_iter().any(|fed| fed == Fed::Malformed), "{shown:?}");
    }
}

#[test]
fn hostile_nesting_costs_nothing() {
    let mut follow = Follow::new(Version::Two);
    for _ in 0..100_000 {
        assert_eq!(follow.feed(b"*1\r\n"), Fed::Partial);
    }
    assert_eq!(follow.feed(b":1\r\n:2\r\n"), Fed::Complete(4));
    // Arrays that announce ever more elements come to an end.
    let mut follow = Follow::new(Version::Two);
    let fed = (0..3000).map(|_| follow.feed(b"*999999999\r\n"));
    assert!(fed.into_iter().any(|fed| fed == Fed::Malformed));
    assert_eq!(feed(&vec![b'+'; LINE_BYTES_MAX + 2], Version::Two).0, Fed::Malformed);
}

#[test]
fn large_bulks_are_passed_over_by_length() {
    let mut follow = Follow::new(Version::Two);
    assert_eq!(follow.feed(b"*2\r\n$1000000\r\nabc"), Fed::Partial);
    assert_eq!(follow.bytes_left(), 1_000_000 - 3 + 2);
    assert_eq!(follow.feed(&[b'\r'; 999_997]), Fed::Partial);
    assert_eq!((follow.bytes_left(), follow.kind()), (2, Some(Kind::Array)));
    assert_eq!(follow.feed(b"\r"), Fed::Partial);
    assert_eq!(follow.feed(b"\n:7\r\n+next"), Fed::Complete(5));
    assert!(follow.is_between());
    assert_eq!(follow.feed(b"+n"), Fed::Partial);
    assert_eq!((follow.kind(), follow.is_between()), (Some(Kind::Simple), false));
}

#[test]
fn merging_reads_the_parts() {
    assert_eq!(integer(b":-42\r\n"), Some(-42));
    assert_eq!(integer(b":+7\r\n"), Some(7));
    assert_eq!((integer(b"+OK\r\n"), integer(b":\r\n"), integer(b":-\r\n")), (None, None, None));
    assert_eq!(text(b"$3\r\na\nb\r\n"), Some(b"a\nb".as_slice()));
    assert_eq!(text(b"=7\r\ntxt:abc\r\n"), Some(b"abc".as_slice()));
    assert_eq!(text(b"+OK\r\n"), Some(b"OK".as_slice()));
    assert_eq!((text(b"$-1\r\n"), text(b":1\r\n")), (None, None));
    assert_eq!(error_code(b"-LOADING Redis is\r\n"), Some(b"LOADING".as_slice()));
    assert_eq!(error_code(b"-OOM\r\n"), Some(b"OOM".as_slice()));
    assert_eq!(error_code(b"!9\r\nERR a b c\r\n"), Some(b"ERR".as_slice()));
    assert_eq!((error_code(b"-BUS"), error_code(b"+OK x\r\n")), (None, None));
    assert!(is_null(b"$-1\r\n") && is_null(b"_\r\n") && !is_null(b"$0\r\n\r\n"));
    let reply = b"*3\r\n$1\r\na\r\n*1\r\n:1\r\n$-1\r\n";
    let parts: Vec<&[u8]> = elements(reply, Version::Two).expect("an array").collect();
    assert_eq!(parts, [b"$1\r\na\r\n".as_slice(), b"*1\r\n:1\r\n", b"$-1\r\n"]);
    let pairs = elements(b"%1\r\n+a\r\n:1\r\n", Version::Three).expect("a map");
    assert_eq!((pairs.left(), pairs.count()), (2, 2));
    for none in [b"*-1\r\n".as_slice(), b":1\r\n", b"*\r\n", b"", b"%1\r\n+a\r\n:1\r\n"] {
        assert!(elements(none, Version::Two).is_none());
    }
}

/// Writes a value of a random shape; `plan` is used up.
fn write_value(out: &mut Vec<u8>, plan: &mut impl Iterator<Item = u8>, depth: u32) {
    let version = Version::Three;
    let byte = plan.next().unwrap_or(0);
    let size = u64::from(plan.next().unwrap_or(0) % 4);
    match byte % 14 {
        0 => render::simple(out, b"OK\r\nno"),
        1 => render::error(out, b"ERR \r\n"),
        2 => render::integer(out, i64::from(byte) * -1_000_000_007),
        3 => render::null(out, version),
        4 => render::boolean(out, size > 1, version),
        5 => render::double(out, f64::from(byte) / 3.0 - 40.0, version),
        6 => render::verbatim(out, *b"txt", &[byte, b'\r', b'\n'], version),
        7 => render::bulk(out, &vec![b'\n'; size as usize * 7]),
        _ if depth == 0 => render::null(out, Version::Two),
        8 | 9 => {
            render::array(out, size);
            (0..size).for_each(|_| write_value(out, plan, depth - 1));
        }
        10 => {
            render::map(out, size, version);
            (0..size * 2).for_each(|_| write_value(out, plan, depth - 1));
        }
        11 => {
            render::set(out, size, version);
            (0..size).for_each(|_| write_value(out, plan, depth - 1));
        }
        12 => {
            render::push(out, size, version);
            (0..size).for_each(|_| write_value(out, plan, depth - 1));
        }
        _ => render::null_array(out, Version::Two),
    }
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "[*$:%~>|!=][0-9]{0,2}(\r\n|\r|\n)".prop_map(String::into_bytes),
        "[+,(#_-][a-z0-9.]{0,3}\r\n".prop_map(String::into_bytes),
        "[*$]-1\r\n".prop_map(String::into_bytes),
        "\\$2\r\nab\r\n".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

/// Feeds in pieces of `step` bytes.
fn feed_in_steps(bytes: &[u8], step: usize, version: Version) -> (Fed, Option<Kind>) {
    let mut follow = Follow::new(version);
    let mut at = 0;
    for piece in bytes.chunks(step) {
        match follow.feed(piece) {
            Fed::Complete(bytes) => return (Fed::Complete(at + bytes), follow.kind()),
            Fed::Partial => at += piece.len(),
            Fed::Malformed => return (Fed::Malformed, follow.kind()),
        }
    }
    (Fed::Partial, follow.kind())
}

proptest! {
    #[test]
    fn any_split_is_followed_alike(bytes in noise(), step in 1usize..7, is_new: bool) {
        let version = if is_new { Version::Three } else { Version::Two };
        let whole = feed(&bytes, version);
        let stepwise = feed_in_steps(&bytes, step, version);
        prop_assert_eq!(stepwise.0, whole.0);
        if whole.0 != Fed::Malformed && !bytes.is_empty() {
            prop_assert_eq!(stepwise.1, whole.1);
        }
    }

    #[test]
    fn what_is_rendered_is_followed_to_its_end(
        plan in vec(any::<u8>(), 1..60),
        step in 1usize..7,
        rest in vec(any::<u8>(), 0..4),
    ) {
        let mut bytes = Vec::new();
        write_value(&mut bytes, &mut plan.into_iter(), 4);
        let len = bytes.len();
        bytes.extend(rest);
        prop_assert_eq!(feed(&bytes, Version::Three).0, Fed::Complete(len));
        prop_assert_eq!(feed_in_steps(&bytes, step, Version::Three).0, Fed::Complete(len));
        if let Some(parts) = elements(&bytes[..len], Version::Three) {
            let count = parts.left();
            let parts: Vec<&[u8]> = parts.collect();
            prop_assert_eq!(parts.len() as u64, count);
            prop_assert!(bytes[..len].ends_with(&parts.concat()));
        }
    }

    #[test]
    fn the_helpers_never_panic(bytes in noise()) {
        let _ = (integer(&bytes), text(&bytes), error_code(&bytes), is_null(&bytes));
        for version in [Version::Two, Version::Three] {
            let _ = elements(&bytes, version).map(Iterator::count);
        }
    }
}
