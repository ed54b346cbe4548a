//! The two readers of request lines agree, and read lines as memcached does.
//!
//! The generator makes lines of the pieces that decide something, so that most come near a rule;
//! arbitrary bytes are left to one test and to the fuzz target `request`.

use proptest::prelude::*;

use super::*;

fn head(bytes: &[u8]) -> Head<'_> {
    match cut(bytes) {
        Cut::Head(head) => head,
        other => panic!("{:?} gives {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn malformed(bytes: &[u8]) -> Option<Malformed> {
    head(bytes).malformed
}

#[test]
fn retrievals_name_their_keys() {
    let one = head(b"get foo\r\nrest");
    assert_eq!((one.verb, one.line, one.line_bytes), (Verb::Get, b"get foo".as_slice(), 9));
    assert_eq!((one.key, one.key_at, one.more_keys), (b"foo".as_slice(), 4, false));
    assert_eq!(one.value, ValueLength::None);
    let many = head(b"gets  a bb   ccc \n");
    assert_eq!((many.verb, many.line_bytes, many.more_keys), (Verb::Gets, 18, true));
    assert_eq!(many.keys().collect::<Vec<_>>(), [b"a".as_slice(), b"bb", b"ccc"]);
    let touch = head(b"gat 10 k noreply\r\n");
    assert_eq!((touch.key, touch.more_keys, touch.noreply), (b"k".as_slice(), true, false));
    assert!(!head(b"get k \r\n").more_keys);
    assert_eq!(head(b"get a\tb\r\n").key, b"a\tb");
    assert_eq!(head(b"get a\rb\r\n").key, b"a\rb");
}

#[test]
fn store_commands_announce_their_value() {
    let set = head(b"set k 1 -2 100\r\n");
    assert_eq!(
        (set.key, set.value, set.noreply),
        (b"k".as_slice(), ValueLength::Bytes(100), false)
    );
    assert_eq!(set.body_bytes(), 102);
    assert!(head(b"set k 1 2 3 noreply\r\n").noreply);
    assert!(!head(b"set k 1 2 3 Noreply\r\n").noreply);
    assert!(head(b"cas k 1 2 3 4 noreply\n").noreply);
    assert_eq!(head(b"append k 0 0 -\r\n").value, ValueLength::Bytes(0));
    assert_eq!(head(b"prepend k x y 7\r\n").value, ValueLength::Bytes(7));
    for length in ["-1", "x", "1x", "2147483646", "99999999999", "000000000001"] {
        let line = format!("replace k 0 0 {length}\r\n");
        let head = head(line.as_bytes());
        assert_eq!(head.malformed, Some(Malformed::ValueLength), "{length}");
        assert_eq!((head.value, head.key), (ValueLength::Invalid, b"".as_slice()));
    }
    assert_eq!(head(b"set k 0 0 2147483645\r\n").value, ValueLength::Bytes(VALUE_BYTES_MAX));
    assert_eq!(malformed(b"set k 0 0\r\n"), Some(Malformed::TooFewTokens));
}

#[test]
fn meta_commands_show_their_flags() {
    let get = head(b"mg key t q v Oabc T30\r\n");
    assert_eq!((get.verb, get.key, get.key_at), (Verb::Mg, b"key".as_slice(), 3));
    assert_eq!((get.quiet, get.has_ttl_flag), (true, true));
    assert_eq!(get.opaque, Some(b"abc".as_slice()));
    let letters: Vec<u8> = get.meta_flags().map(|flag| flag.letter).collect();
    assert_eq!(letters, b"tqvOT");
    let set = head(b"ms key 5 T0  q Ox O2\r\n");
    assert_eq!((set.value, set.opaque), (ValueLength::Bytes(5), Some(b"x".as_slice())));
    assert_eq!(set.meta_flags().map(|flag| flag.at).collect::<Vec<_>>(), [9, 13, 15, 18]);
    assert!(set.quiet);
    assert_eq!(head(b"mn\r\n").verb, Verb::Mn);
    assert_eq!(head(b"md k !\r\n").malformed, Some(Malformed::FlagByte));
    assert_eq!(head(b"ms k\r\n").malformed, Some(Malformed::TooFewTokens));
    assert_eq!(head(b"ms k 2x\r\n").malformed, Some(Malformed::ValueLength));
    assert_eq!(head(b"mg\r\n").malformed, Some(Malformed::TooFewTokens));
    assert_eq!(head(b"mx k\r\n").verb, Verb::Unknown);
}

#[test]
fn flags_beyond_the_last_addressable_token_do_not_count() {
    let mut line = b"mg k".to_vec();
    line.extend(b" v".repeat(21));
    line.extend(b" q !\r\n");
    let head = head(&line);
    assert_eq!((head.quiet, head.malformed), (false, None));
    assert_eq!(head.meta_flags().count(), 21);
    let mut line = b"set k 0 0 1".to_vec();
    line.extend(b" x".repeat(18));
    line.extend(b" noreply\r\n");
    assert!(!super::tests::head(&line).noreply);
}

#[test]
fn other_commands_have_their_shape() {
    assert!(head(b"incr k 1 noreply\r\n").noreply);
    assert_eq!(malformed(b"incr k\r\n"), Some(Malformed::TooFewTokens));
    assert_eq!(malformed(b"touch k\r\n"), Some(Malformed::TooFewTokens));
    assert!(head(b"delete noreply\r\n").noreply);
    assert_eq!(malformed(b"delete\r\n"), Some(Malformed::TooFewTokens));
    assert!(head(b"flush_all noreply\r\n").noreply);
    assert_eq!(head(b"  flush_all 3\r\n").verb, Verb::FlushAll);
    assert_eq!(head(b" get k\r\n").verb, Verb::Unknown);
    assert!(head(b"nonsense noreply\r\n").noreply);
    assert!(!head(b"stats noreply\r\n").noreply);
    assert_eq!(malformed(b"\r\n"), Some(Malformed::LineTooShort));
    assert_eq!(malformed(b"mn\n"), Some(Malformed::LineTooShort));
    assert!(head(b"GET / HTTP/1.1\r\n").is_http());
    assert!(!head(b"get HTTP/1.1\r\n").is_http());
}

#[test]
fn binary_is_seen_by_its_first_byte() {
    assert_eq!(cut(b"\x80"), Cut::Binary);
    assert_eq!(cut(b""), Cut::Partial);
    let text = cut_text(b"\x80abc\r\n", &LineLimits::STORE, 0);
    assert!(matches!(text, Cut::Head(Head { verb: Verb::Unknown, .. })));
}

#[test]
fn lines_are_limited_but_retrievals_are_not() {
    let limits = LineLimits::STORE;
    let max = limits.line_bytes_max;
    let long = |start: &str, before_line_feed: usize| {
        let mut line = start.as_bytes().to_vec();
        line.resize(before_line_feed, b'a');
        line.push(b'\n');
        line
    };
    assert!(matches!(cut(&long("mg ", max)), Cut::Head(_)));
    assert_eq!(cut(&long("mg ", max + 1)), Cut::TooLong);
    assert_eq!(cut(&long("mg ", max + 1)[..=max]), Cut::TooLong);
    assert_eq!(cut(&long("mg ", max + 1)[..max]), Cut::Partial);
    assert!(matches!(cut(&long("get ", 100_000)), Cut::Head(_)));
    assert!(matches!(cut(&long("gat 1 ", 100_000)), Cut::Head(_)));
    assert_eq!(cut(&long("get ", 100_000)[..90_000]), Cut::Partial);
    assert_eq!(cut(&long("get ", limits.retrieval_line_bytes_max + 1)), Cut::TooLong);
    let spaced = format!("{}gets ", " ".repeat(100));
    assert!(matches!(cut(&long(&spaced, 5000)), Cut::Head(_)));
    let spaced = format!("{}gets ", " ".repeat(101));
    assert_eq!(cut(&long(&spaced, 5000)), Cut::TooLong);
    assert_eq!(cut_with(&long("ms ", 1025), &LineLimits::PROXIED, 0), Cut::TooLong);
    assert!(matches!(cut_with(&long("ms ", 1024), &LineLimits::PROXIED, 0), Cut::Head(_)));
}

/// Lines made of the pieces that decide something, so that most of them come near a rule.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(b" ".to_vec()),
        1 => Just(b"  ".to_vec()),
        2 => prop::sample::select(Verb::ALL.to_vec()).prop_map(|verb| verb.name().into()),
        2 => prop::sample::select(vec!["k", "key:1", "0", "100", "-1", "noreply", "q", "O12", "T9"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::sample::select(vec!["\r", "\t", "\0", "\r\n", "\n", "2147483646"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..12),
    ];
    // Half of the lines are tokens with single spaces, so that the quick reader takes them.
    let token = prop::sample::select(vec![
        "k",
        "key:1",
        "0",
        "1",
        "100",
        "-1",
        "noreply",
        "q",
        "O12",
        "T9",
        "v",
        "999999999",
        "9999999999",
    ]);
    let tokens =
        prop::collection::vec(token, 0..8).prop_map(|tokens| vec![tokens.join(" ").into()]);
    let pieces = prop_oneof![prop::collection::vec(piece, 0..14), tokens];
    let verb = prop::sample::select(Verb::ALL.to_vec());
    let end = prop::sample::select(vec!["\r\n", "\n", "", "\r", " \r\n"]);
    (verb, pieces, end).prop_map(|(verb, pieces, end)| {
        let mut line = verb.name().as_bytes().to_vec();
        line.push(b' ');
        line.extend(pieces.concat());
        line.extend(end.as_bytes());
        line
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_quick_reader_never_differs_from_the_exact_one(bytes in line()) {
        for limits in [LineLimits::STORE, LineLimits { line_bytes_max: 20, ..LineLimits::STORE }] {
            if let Some(quick) = quick_head(&bytes, &limits) {
                prop_assert_eq!(Cut::Head(quick), cut_text(&bytes, &limits, 0));
            }
        }
    }

    #[test]
    fn any_prefix_is_partial_until_the_line_is_complete(bytes in line()) {
        let whole = cut(&bytes);
        let line_bytes = match whole {
            Cut::Head(head) => head.line_bytes,
            _ => bytes.len() + 1,
        };
        for len in 0..bytes.len() {
            let part = cut(&bytes[..len]);
            if len < line_bytes {
                prop_assert_eq!(part, Cut::Partial);
                prop_assert_eq!(cut_with(&bytes, &LineLimits::STORE, len), whole);
            } else {
                prop_assert_eq!(part, whole);
            }
        }
    }

    #[test]
    fn a_head_lies_within_its_line(bytes in line()) {
        if let Cut::Head(head) = cut(&bytes) {
            prop_assert!(bytes.starts_with(head.line));
            prop_assert_eq!(bytes[head.line_bytes - 1], b'\n');
            prop_assert_eq!(&head.line[head.key_at..head.key_at + head.key.len()], head.key);
            prop_assert_eq!(head.keys().next().unwrap_or(b""), head.key);
            prop_assert_eq!(head.verb.carries_value(), head.value != ValueLength::None);
            for flag in head.meta_flags() {
                prop_assert_eq!(head.line[flag.at], flag.letter);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        scanned in 0usize..80,
    ) {
        for limits in [LineLimits::STORE, LineLimits::PROXIED] {
            if let Cut::Head(head) = cut_with(&bytes, &limits, scanned) {
                let _ = (head.is_http(), head.arguments().count(), head.body_bytes());
            }
        }
    }
}
