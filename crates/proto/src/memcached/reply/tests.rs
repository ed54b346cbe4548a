//! Replies are read alike by both readers, and read back as they were written.
//!
//! The generator makes lines of the pieces that decide something, so that most come near a rule;
//! arbitrary bytes are left to one test and to the fuzz target `reply`.

use proptest::prelude::*;

use super::super::render;
use super::*;

fn head(bytes: &[u8]) -> ReplyHead<'_> {
    match cut_reply(bytes) {
        ReplyCut::Head(head) => head,
        other => panic!("{:?} gives {other:?}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn values_announce_their_length() {
    let value = head(b"VALUE foo 17 100\r\nxxx");
    assert_eq!((value.kind, value.line_bytes), (ReplyKind::Value, 18));
    assert_eq!((value.key, value.value_bytes), (b"foo".as_slice(), Some(100)));
    assert_eq!((value.client_flags(), value.cas(), value.body_bytes()), (Some(17), None, 102));
    let value = head(b"VALUE foo 0 0 18446744073709551615\n");
    assert_eq!((value.value_bytes, value.cas()), (Some(0), Some(u64::MAX)));
    let meta = head(b"VA 5 s5 Oq1 kfoo\r\nhello\r\n");
    assert_eq!((meta.kind, meta.value_bytes), (ReplyKind::Va, Some(5)));
    assert_eq!(meta.opaque(), Some(b"q1".as_slice()));
    assert_eq!(meta.echoed_key(), Some(b"foo".as_slice()));
    assert_eq!(meta.meta_flags().map(|flag| flag.letter).collect::<Vec<_>>(), b"sOk");
    assert_eq!(head(b"VA 5\n").value_bytes, Some(5));
    let bare = head(b"HD O9 kx b\r\n");
    assert_eq!((bare.opaque(), bare.value_bytes), (Some(b"9".as_slice()), None));
    assert_eq!(head(b"ME k exp=1 Ox\r\n").opaque(), None);
}

#[test]
fn each_word_has_its_kind() {
    let cases: [(&[u8], ReplyKind); 24] = [
        (b"END\r\n", ReplyKind::End),
        (b"STORED\r\n", ReplyKind::Stored),
        (b"NOT_STORED\r\n", ReplyKind::NotStored),
        (b"EXISTS\r\n", ReplyKind::Exists),
        (b"NOT_FOUND\r\n", ReplyKind::NotFound),
        (b"DELETED\r\n", ReplyKind::Deleted),
        (b"TOUCHED\r\n", ReplyKind::Touched),
        (b"OK\r\n", ReplyKind::Ok),
        (b"42\r\n", ReplyKind::Number),
        (b"VERSION 1.6.45\r\n", ReplyKind::Version),
        (b"STAT pid 1\r\n", ReplyKind::Stat),
        (b"RESET\r\n", ReplyKind::Reset),
        (b"ERROR\r\n", ReplyKind::Error),
        (b"CLIENT_ERROR bad data chunk\r\n", ReplyKind::ClientError),
        (b"SERVER_ERROR out of memory\r\n", ReplyKind::ServerError),
        (b"HD\r\n", ReplyKind::Hd),
        (b"EN\r\n", ReplyKind::En),
        (b"NF O1\r\n", ReplyKind::Nf),
        (b"NS\r\n", ReplyKind::Ns),
        (b"EX\r\n", ReplyKind::Ex),
        (b"MN\r\n", ReplyKind::Mn),
        (b"ME k exp=-1\r\n", ReplyKind::Me),
        (b"XY z\r\n", ReplyKind::OtherMeta),
        (b"END\n", ReplyKind::End),
    ];
    for (line, kind) in cases {
        assert_eq!(head(line).kind, kind, "{:?}", String::from_utf8_lossy(line));
        assert_eq!(head(line).line_bytes, line.len());
    }
}

#[test]
fn what_no_memcached_says_is_malformed() {
    let lines: [&[u8]; 16] = [
        b"\r\n",
        b"E\r\n",
        b"VALUE\r\n",
        b"VALUE k 0\r\n",
        b"VALUE k x 5\r\n",
        b"VALUE k 0 -5\r\n",
        b"VALUE k 0 4294967293\r\n",
        b"VALUE k 0 5 6 7\r\n",
        b"VALUE  k 0 5\r\n",
        b"VALUE k 0 5x\r\n",
        b"VA\r\n",
        b"VA x\r\n",
        b"VA 4294967295\r\n",
        b"value k 0 5\r\n",
        b"STOREDX\r\n",
        b" END\r\n",
    ];
    for line in lines {
        assert_eq!(cut_reply(line), ReplyCut::Malformed, "{:?}", String::from_utf8_lossy(line));
    }
    assert_eq!(cut_reply(&[b'V'; REPLY_LINE_BYTES_MAX]), ReplyCut::Malformed);
    assert_eq!(cut_reply(&[b'V'; REPLY_LINE_BYTES_MAX - 1]), ReplyCut::Partial);
    assert_eq!(cut_reply(b""), ReplyCut::Partial);
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "VALUE ",
        "VA ",
        "HD ",
        "HD",
        "END",
        "EN",
        "STORED",
        "STAT ",
        "NF ",
        "ME ",
        "CLIENT_ERROR ",
    ]);
    let piece = prop_oneof![
        4 => Just(b" ".to_vec()),
        4 => prop::sample::select(vec!["k", "key:1", "0", "100", "1234567890", "O12", "kfoo", "-1"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::sample::select(vec!["\r", "\t", "\0", "\r\n", "\n", "4294967293"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..10),
    ];
    let token = prop::sample::select(vec![
        "k",
        "key:1",
        "0",
        "1",
        "100",
        "-1",
        "Oa",
        "kfoo",
        "999999999",
        "4294967292",
    ]);
    let tokens =
        prop::collection::vec(token, 0..6).prop_map(|tokens| vec![tokens.join(" ").into()]);
    let pieces = prop_oneof![prop::collection::vec(piece, 0..8), tokens];
    let end = prop::sample::select(vec!["\r\n", "\n", "", "\r", " \r\n"]);
    (word, pieces, end).prop_map(|(word, pieces, end)| {
        [word.as_bytes(), &pieces.concat(), end.as_bytes()].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_quick_reader_never_differs_from_the_exact_one(bytes in line()) {
        if let Some(quick) = quick_head(&bytes) {
            prop_assert_eq!(ReplyCut::Head(quick), cut_exact(&bytes));
        }
    }

    #[test]
    fn any_prefix_is_partial_until_the_line_is_complete(bytes in line()) {
        let line_feed = bytes.iter().position(|&byte| byte == b'\n');
        let line_bytes = line_feed.map_or(usize::MAX, |at| at + 1);
        let whole = cut_reply(&bytes);
        for len in 0..bytes.len() {
            let expected = if len < line_bytes { ReplyCut::Partial } else { whole };
            prop_assert_eq!(cut_reply(&bytes[..len]), expected);
        }
    }

    #[test]
    fn a_rendered_value_line_reads_back(
        key in "[!-~]{1,250}", flags: u64, bytes in 0u64..4_294_967_293, cas: Option<u64>,
    ) {
        let tail = render::value_tail(flags, bytes, cas);
        let line = [b"VALUE ", key.as_bytes(), tail.as_bytes()].concat();
        let head = head(&line);
        prop_assert_eq!(head.key, key.as_bytes());
        prop_assert_eq!((head.client_flags(), head.cas()), (Some(flags), cas));
        prop_assert_eq!((head.value_bytes, head.line_bytes), (Some(bytes), line.len()));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let ReplyCut::Head(head) = cut_reply(&bytes) {
            prop_assert!(head.line_bytes <= bytes.len());
            let _ = (head.opaque(), head.echoed_key(), head.cas(), head.client_flags());
        }
    }
}
