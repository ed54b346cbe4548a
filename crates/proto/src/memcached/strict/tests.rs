//! nutcracker's grammar by example, against a second reader written as a grammar, and in pieces.

use proptest::prelude::*;

use super::*;

const LIMITS: LineLimits = LineLimits { line_bytes_max: 2048, retrieval_line_bytes_max: 1 << 20 };

fn cut(bytes: &[u8]) -> StrictCut<'_> {
    cut_strict(bytes, &LIMITS, 0)
}

fn head(bytes: &[u8]) -> Head<'_> {
    match cut(bytes) {
        StrictCut::Head(head) => head,
        other => panic!("{:?} gives {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn assert_refused(bytes: &[u8]) {
    assert_eq!(cut(bytes), StrictCut::Refuse, "{:?}", String::from_utf8_lossy(bytes));
}

fn assert_waits(bytes: &[u8]) {
    assert_eq!(cut(bytes), StrictCut::Partial, "{:?}", String::from_utf8_lossy(bytes));
}

#[test]
fn commands_of_nutcracker_are_taken() {
    let one = head(b"get foo\r\nrest");
    assert_eq!((one.verb, one.line, one.line_bytes), (Verb::Get, b"get foo".as_slice(), 9));
    assert_eq!((one.key, one.key_at, one.more_keys), (b"foo".as_slice(), 4, false));
    let many = head(b"gets a  bb ccc \r\n");
    assert_eq!((many.verb, many.key, many.more_keys), (Verb::Gets, b"a".as_slice(), true));
    assert_eq!(many.keys().collect::<Vec<_>>(), [b"a".as_slice(), b"bb", b"ccc"]);
    for (line, verb) in [
        ("set k 1 2 3", Verb::Set),
        ("add k 1 2 3", Verb::Add),
        ("replace k 1 2 3", Verb::Replace),
        ("append k 1 2 3", Verb::Append),
        ("prepend k 1 2 3", Verb::Prepend),
        ("cas k 1 2 3 4", Verb::Cas),
    ] {
        for (tail, noreply) in [("", false), (" noreply", true), ("  noreply  ", true)] {
            let text = format!("{line}{tail}\r\n");
            let found = head(text.as_bytes());
            assert_eq!((found.verb, found.noreply), (verb, noreply), "{text:?}");
            assert_eq!((found.value, found.malformed), (ValueLength::Bytes(3), None));
        }
    }
    for (line, verb) in [
        ("incr k 1", Verb::Incr),
        ("decr k -1", Verb::Decr),
        ("incr k -", Verb::Incr),
        ("touch k 0", Verb::Touch),
        ("delete k", Verb::Delete),
    ] {
        let text = format!("{line} noreply\r\n");
        let found = head(text.as_bytes());
        assert_eq!((found.verb, found.key, found.noreply), (verb, b"k".as_slice(), true));
        assert!(!head(format!("{line}  \r\n").as_bytes()).noreply);
    }
    for line in [b"version\r\n".as_slice(), b"version   \r\n", b"  version\r\n"] {
        assert_eq!((head(line).verb, head(line).key), (Verb::Version, b"".as_slice()));
    }
    assert_eq!(cut(b"quit\r\nget x"), StrictCut::Quit);
    assert_eq!(cut(b" quit  \r\n"), StrictCut::Quit);
}

#[test]
fn whatever_else_closes() {
    for word in [
        "gat 0 k",
        "gats 0 k",
        "stats",
        "flush_all",
        "verbosity 1",
        "mn",
        "mg k v",
        "ms k 1",
        "watch",
        "shutdown",
        "GET k",
        "Get k",
        "getk",
        "replaces k 1 2 3",
        "get",
        "get ",
        "set",
        "set k",
        "set k ",
        "set k 1",
        "set k 1 2",
        "set k 1 2 ",
        "set k 1 -2 3",
        "set k -1 2 3",
        "set k 1 2 -3",
        "set k 1 2 3x",
        "set k 1x 2 3",
        "set k 1 2 3 nope",
        "set k 1 2 3 noreplyx",
        "set k 1 2 3 Noreply",
        "set k 1 2 3 noreply noreply",
        "set k 1 2 3 4",
        "cas k 1 2 3",
        "cas k 1 2 3 noreply",
        "cas k 1 2 3 -4",
        "incr k",
        "incr k x",
        "incr k 1x",
        "incr k --1",
        "incr k 1 2",
        "incr k noreply",
        "touch k",
        "touch k +1",
        "delete",
        "delete k 0",
        "delete k nor",
        "version x",
        "quit x",
        "",
        "\t",
        "\x7f",
        "1",
    ] {
        assert_refused(format!("{word}\r\n").as_bytes());
    }
    for bytes in [b"\x80".as_slice(), b"G", b"\n", b"\r", b"get k\rx", b"set k 1 2 3\rx", b"stats "]
    {
        assert_refused(bytes);
    }
}

#[test]
fn a_bare_line_feed_ends_nothing() {
    assert_waits(b"get k\n");
    assert_waits(b"get k\nget l\n");
    // A server would answer twice.
    assert_refused(b"get k\n\r\n");
    assert_refused(b"get a b\nc d\r\n");
    assert_refused(b"set k\nx 0 0 1\r\n");
    assert_refused(b"version\n");
    assert_refused(b"set k 0 0 1\n");
    assert_refused(b"delete k \n");
}

#[test]
fn keys_are_any_bytes_up_to_a_limit() {
    for key in [b"a\tb".as_slice(), b"\x01", b"\xff\x80", b"\0", b"k\x7f"] {
        let line = [b"get ".as_slice(), key, b" x\r\n"].concat();
        assert_eq!(head(&line).key, key);
    }
    let longest = [b'k'; KEY_BYTES_MAX];
    let line = [b"get a ".as_slice(), &longest, b" b\r\n"].concat();
    assert_eq!(head(&line).keys().nth(1), Some(longest.as_slice()));
    assert_waits(&line[..6 + KEY_BYTES_MAX]);
    assert_refused(&[b"get a k".as_slice(), &longest].concat());
    assert_refused(&[b"set k".as_slice(), &longest, b" 0 0 1\r\n"].concat());
    // memcached does not answer this one, whatever its key is called.
    assert!(head(b"delete noreply\r\n").noreply);
}

#[test]
fn value_lengths_wrap_around() {
    let length = |digits: &str| {
        let line = format!("set k 0 0 {digits}\r\n");
        let head = head(line.as_bytes());
        (head.value, head.malformed)
    };
    let bad = Some(Malformed::ValueLength);
    assert_eq!(length("0"), (ValueLength::Bytes(0), None));
    assert_eq!(length("0010"), (ValueLength::Bytes(10), None));
    assert_eq!(length("2147483645"), (ValueLength::Bytes(VALUE_BYTES_MAX), None));
    assert_eq!(length("2147483646"), (ValueLength::Bytes(2_147_483_646), bad));
    assert_eq!(length("4294967295"), (ValueLength::Bytes(4_294_967_295), bad));
    assert_eq!(length("4294967297"), (ValueLength::Bytes(1), bad));
    assert_eq!(length("42949672960000000007"), (ValueLength::Bytes(7), bad));
    let long = "9".repeat(500);
    assert_eq!(head(format!("set k {long} {long} 1\r\n").as_bytes()).value, ValueLength::Bytes(1));
}

#[test]
fn leading_spaces_are_left_out_of_the_line() {
    let found = head(b"   set k 0 0 1\r\nx\r\n");
    assert_eq!((found.line, found.line_bytes), (b"set k 0 0 1".as_slice(), 16));
    assert_eq!((found.key, found.key_at), (b"k".as_slice(), 4));
}

#[test]
fn lines_have_limits() {
    let limits = LineLimits { line_bytes_max: 20, retrieval_line_bytes_max: 30 };
    let cut = |text: &str| match cut_strict(text.as_bytes(), &limits, 0) {
        StrictCut::Head(_) => "taken",
        StrictCut::Partial => "partial",
        StrictCut::Quit => "quit",
        StrictCut::Refuse => "refused",
    };
    assert_eq!(cut(&format!("set k 0 0 {}\r\n", "1".repeat(10))), "taken");
    assert_eq!(cut(&format!("set k 0 0 {}\r\n", "1".repeat(11))), "refused");
    assert_eq!(cut(&format!("set k 0 0 {}", "1".repeat(12))), "partial");
    assert_eq!(cut(&format!("set k 0 0 {}", "1".repeat(13))), "refused");
    assert_eq!(cut(&format!("get {}\r\n", "k".repeat(26))), "taken");
    assert_eq!(cut(&format!("get {}\r\n", "k".repeat(27))), "refused");
    assert_eq!(cut(&format!("get {}", "k ".repeat(14))), "partial");
    assert_eq!(cut(&format!("get {}", "k ".repeat(15))), "refused");
    assert_eq!(cut(&format!("{}get k\r\n", " ".repeat(20))), "taken");
    assert_eq!(cut(&" ".repeat(21)), "refused");
    assert_eq!(cut(&format!("{}quit\r\n", " ".repeat(21))), "refused");
}

#[test]
fn a_value_ends_with_cr_lf() {
    for (bytes, is_right) in [
        (b"".as_slice(), true),
        (b"\r", true),
        (b"\r\n", true),
        (b"\r\nget", true),
        (b"\n", false),
        (b"\rx", false),
        (b"x\r\n", false),
    ] {
        assert_eq!(is_value_end(bytes), is_right, "{bytes:?}");
    }
}

#[test]
fn replies_of_other_protocols_are_not_accepted() {
    use super::super::reply::{ReplyCut, cut_reply};
    for (line, is_accepted) in [
        ("17", true),
        ("STORED", true),
        ("NOT_STORED", true),
        ("EXISTS", true),
        ("NOT_FOUND", true),
        ("DELETED", true),
        ("TOUCHED", true),
        ("END", true),
        ("VALUE k 0 1", true),
        ("VALUE k 0 1 99", true),
        ("ERROR", true),
        ("CLIENT_ERROR bad data chunk", true),
        ("SERVER_ERROR busy", true),
        ("VERSION 1.6.18", true),
        ("OK", false),
        ("HD", false),
        ("EN", false),
        ("STAT pid 1", false),
        ("RESET", false),
        ("MN", false),
    ] {
        match cut_reply(format!("{line}\r\n").as_bytes()) {
            ReplyCut::Head(head) => assert_eq!(is_accepted_reply(head.kind), is_accepted, "{line}"),
            other => panic!("{line} gives {other:?}"),
        }
    }
}

/// What the grammar of a whole line says, written without a look at the reader above: the line
/// split at spaces, its words counted and matched.
fn is_in_grammar(line: &[u8]) -> bool {
    let text: Vec<char> = line.iter().map(|&byte| char::from(byte)).collect();
    let text: String = text.into_iter().collect();
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let digits = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
    let signed = |word: &&str| digits(&word.strip_prefix('-').unwrap_or(word));
    let key = |word: &str| word.chars().count() <= 250 && !word.contains(['\r', '\n']);
    let Some((command, rest)) = words.split_first() else { return false };
    if matches!(*command, "version" | "quit") {
        return rest.is_empty();
    }
    let Some((first, rest)) = rest.split_first() else { return false };
    if matches!(*command, "get" | "gets") {
        return key(first) && rest.iter().all(|word| key(word));
    }
    let count = match *command {
        "set" | "add" | "replace" | "append" | "prepend" => 3,
        "cas" => 4,
        "incr" | "decr" | "touch" => 1,
        "delete" => 0,
        _ => return false,
    };
    let Some((numbers, options)) = rest.split_at_checked(count) else { return false };
    let may_be_negative = count == 1;
    let are_numbers = numbers.iter().all(|word| digits(word) || may_be_negative && signed(word));
    key(first) && are_numbers && matches!(options, [] | ["noreply"])
}

/// Lines that are right or nearly so.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        6 => prop::sample::select(vec![
            "get", "gets", "set", "add", "cas", "replace", "append", "prepend", "incr", "decr",
            "delete", "touch", "version", "quit", "gat", "stats", "mg", "Set",
        ])
        .prop_map(|word| word.as_bytes().to_vec()),
        1 => "[a-z]{0,9}".prop_map(String::into_bytes),
    ];
    let token = prop_oneof![
        4 => "[0-9]{1,12}".prop_map(String::into_bytes),
        3 => "k[a-z0-9]{0,3}".prop_map(String::into_bytes),
        2 => Just(b"noreply".to_vec()),
        1 => "-[0-9]{0,2}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..4),
        1 => (249usize..253).prop_map(|count| vec![b'k'; count]),
        1 => "[a-z\t\r\n]{1,3}".prop_map(String::into_bytes),
    ];
    let space = prop_oneof![8 => Just(1usize), 1 => Just(0), 1 => 2usize..4];
    (0usize..3, word, prop::collection::vec((space, token), 0..7), 0usize..3).prop_map(
        |(leading, word, tokens, trailing)| {
            let mut line = vec![b' '; leading];
            line.extend(word);
            for (spaces, token) in tokens {
                line.extend(vec![b' '; spaces]);
                line.extend(token);
            }
            line.extend(vec![b' '; trailing]);
            line
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn lines_are_taken_by_the_grammar(line in line()) {
        prop_assume!(!line.windows(2).any(|pair| pair == b"\r\n"));
        let whole = [line.as_slice(), b"\r\n"].concat();
        let is_taken = is_in_grammar(&line);
        match cut(&whole) {
            StrictCut::Head(head) => {
                prop_assert!(is_taken);
                prop_assert_eq!(head.line, line.trim_ascii_start_spaces());
                prop_assert_eq!(head.line_bytes, whole.len());
                let words = || line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
                if head.verb != Verb::Version {
                    prop_assert_eq!(Some(head.key), words().nth(1));
                }
                prop_assert_eq!(head.more_keys, head.verb.is_retrieval() && words().count() > 2);
            }
            StrictCut::Quit => prop_assert!(is_taken),
            StrictCut::Refuse => prop_assert!(!is_taken),
            StrictCut::Partial => prop_assert!(false, "a line with its end is not partial"),
        }
    }

    #[test]
    fn any_split_is_read_alike(line in line(), value in "[a-z]{0,4}", step in 1usize..9) {
        let whole = [line.as_slice(), b"\r\n", value.as_bytes()].concat();
        let mut scanned = 0;
        let mut end = 0;
        while end < whole.len() {
            end = (end + step).min(whole.len());
            let resumed = cut_strict(&whole[..end], &LIMITS, scanned);
            prop_assert_eq!(resumed, cut(&whole[..end]), "{} of {:?}", end, whole);
            if resumed != StrictCut::Partial {
                prop_assert_eq!(resumed, cut(&whole));
                break;
            }
            scanned = end;
        }
    }

    #[test]
    fn what_is_partial_can_be_completed(line in line(), cut_at in 0usize..300) {
        let front = &line[..cut_at.min(line.len())];
        if cut(front) == StrictCut::Partial {
            let mut endings = vec![b"\n".to_vec()];
            for start in [b"".as_slice(), b"k", b"1"] {
                for count in 0..5 {
                    endings.push([start, &b" 1".repeat(count), b"\r\n"].concat());
                }
            }
            for from in 0..7 {
                endings.push([&b"noreply"[from..], b"\r\n"].concat());
            }
            let is_word = front.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b' ');
            let has_line_feed = front.contains(&b'\n');
            let ends = endings.iter().any(|ending| {
                !matches!(cut(&[front, ending].concat()), StrictCut::Refuse | StrictCut::Partial)
            });
            prop_assert!(ends || is_word || has_line_feed, "{:?}", front);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        scanned in 0usize..80,
    ) {
        let _ = cut_strict(&bytes, &LIMITS, scanned);
    }
}

trait TrimSpaces {
    fn trim_ascii_start_spaces(&self) -> &[u8];
}

impl TrimSpaces for Vec<u8> {
    fn trim_ascii_start_spaces(&self) -> &[u8] {
        let count = self.iter().take_while(|byte| **byte == b' ').count();
        &self[count..]
    }
}
