//! Requests in pieces, odd ones and malformed ones, and their arguments.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn cut_fresh<'a>(bytes: &'a [u8], limits: &Limits) -> Cut<'a> {
    cut(bytes, limits, &mut Progress::default())
}

fn request(bytes: &[u8]) -> Request<'_> {
    match cut_fresh(bytes, &Limits::REDIS) {
        Cut::Request(request) => request,
        other => panic!("{:?} is a request, not {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn rendered(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    render::request(&mut bytes, arguments);
    bytes
}

fn words(line: &str) -> Vec<u8> {
    rendered(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
}

#[test]
fn a_request_tells_its_parts() {
    let bytes = b"*3\r\n$3\r\nsEt\r\n$3\r\nkey\r\n$0\r\n\r\nrest";
    let request = request(bytes);
    assert_eq!(request.bytes, &bytes[..bytes.len() - 4]);
    assert_eq!(request.verb(), Some(Verb::Set));
    assert_eq!((request.name, request.first), (b"sEt".as_slice(), b"key".as_slice()));
    assert_eq!((request.arguments, request.is_normal), (3, true));
    assert_eq!(request.argument(2), Some(b"".as_slice()));
    assert_eq!(request.argument(3), None);
    assert_eq!(request.first_key(), Some(b"key".as_slice()));
    let encoded: Vec<&[u8]> = request.arguments().map(|argument| argument.encoded).collect();
    assert_eq!(encoded, [b"$3\r\nsEt\r\n".as_slice(), b"$3\r\nkey\r\n", b"$0\r\n\r\n"]);
}

#[test]
fn unknown_names_are_requests_without_a_command() {
    for name in ["nope", "get\0", "publish\u{7}", "getrange\0", "georadiusbymember_rox", ""] {
        let bytes = words(name);
        let request = request(&bytes);
        assert_eq!((request.command, request.name), (None, name.as_bytes()));
        assert_eq!(request.first_key(), None);
        assert_eq!(request.keys().next(), None);
    }
}

#[test]
fn what_is_odd_is_rendered_in_normal_form() {
    let odd = b"*2\rx$3\r\nGET\rx$1\r\naxx";
    let cut = request(odd);
    assert_eq!((cut.bytes.len(), cut.is_normal), (odd.len(), false));
    let mut normal = Vec::new();
    cut.render(&mut normal);
    assert_eq!(normal, words("GET a"));
    let again = request(&normal);
    assert!(again.is_normal);
    assert_eq!(again.first, cut.first);
}

#[test]
fn clients_that_have_not_authenticated_get_little() {
    let limits = Limits { is_authenticated: false, ..Limits::REDIS };
    let malformed = |bytes: &[u8]| match cut_fresh(bytes, &limits) {
        Cut::Malformed(malformed) => malformed,
        other => panic!("{other:?} is malformed"),
    };
    assert_eq!(malformed(b"*11\r\n"), Malformed::UnauthenticatedMultibulk);
    assert_eq!(malformed(b"*2\r\n$4\r\nAUTH\r\n$16385\r\n"), Malformed::UnauthenticatedBulk);
    assert_eq!(cut_fresh(b"*10\r\n$16384\r\n", &limits), Cut::Partial);
    assert!(matches!(cut_fresh(&words("AUTH x"), &limits), Cut::Request(_)));
}

#[test]
fn limits_are_kept() {
    let limits = Limits { arguments_max: 3, bulk_bytes_max: 5, ..Limits::REDIS };
    let malformed = |bytes: &[u8]| match cut_fresh(bytes, &limits) {
        Cut::Malformed(malformed) => Some(malformed),
        _ => None,
    };
    assert_eq!(malformed(b"*3\r\n$5\r\n"), None);
    assert_eq!(malformed(b"*4\r\n"), Some(Malformed::MultibulkLength));
    assert_eq!(malformed(&words("a b c d")), Some(Malformed::MultibulkLength));
    assert_eq!(malformed(b"*3\r\n$6\r\n"), Some(Malformed::BulkLength));
    assert_eq!(malformed(&words("abcdef")), Some(Malformed::BulkLength));
}

#[test]
fn nutcracker_has_a_grammar_of_its_own() {
    let cut = |bytes| cut_fresh(bytes, &Limits::NUTCRACKER);
    for accepted in [
        b"*02\r\n$003\r\nGET\r\n$01\r\na\r\n".as_slice(),
        b"*2\r\n$3\r\nGET\r\n$\r\n\r\n",
        b"*00000000000000000000000000002\r\n$3\r\nGET\r\n$1\r\na\r\n",
    ] {
        let Cut::Request(request) = cut(accepted) else { panic!("accepted") };
        assert!(!request.is_normal);
        let mut normal = Vec::new();
        request.render(&mut normal);
        assert_eq!(normal, rendered(&[b"GET", request.first]));
    }
    for refused in [
        b"PING\r\n".as_slice(),
        b"\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$0\r\n\r\n",
        b"*1\rx",
        b"*x",
        b"*1x",
        b"*2\n$3\n",
        b"*1\r\n$4x",
        b"*1\r\n$4\rx",
        b"*1\r\n$4\r\nPING\rx",
    ] {
        let shown = String::from_utf8_lossy(refused);
        assert!(matches!(cut(refused), Cut::Malformed(_)), "{shown:?}");
    }
}

#[test]
fn blocking_depends_on_the_option() {
    for (line, blocks) in [
        ("XREAD STREAMS a 0", false),
        ("XREAD BLOCK 0 STREAMS a 0", true),
        ("XREAD COUNT 1 block 5 STREAMS a 0", true),
        ("XREAD STREAMS BLOCK 0", false),
        ("XREADGROUP GROUP BLOCK BLOCK STREAMS a 0", false),
        ("XREADGROUP GROUP g STREAMS BLOCK 1 STREAMS a 0", true),
        ("XREADGROUP GROUP STREAMS c BLOCK 1 STREAMS a 0", true),
        ("BLPOP a 0", true),
        ("LPOP a", false),
        ("WAIT 1 0", true),
    ] {
        assert_eq!(request(&words(line)).may_block(), blocks, "{line}");
    }
}

#[test]
fn one_key_is_one_key_whatever_the_arguments_are() {
    for command in command::COMMANDS.iter().filter(|command| command.has_one_key) {
        assert!(command.is_keyed_by_first, "{}", command.name);
        let mut line = command.name.to_string();
        for word in ["STORE", "2", "STORE", "STREAMS", "KEYS", "STOREDIST", "a", "b"] {
            line = format!("{line} {word}");
            let bytes = words(&line);
            let request = request(&bytes);
            assert_eq!(request.keys().count(), 1, "{line}");
        }
    }
    let has_one_key = |name: &str| command::find(name.as_bytes()).map(|own| own.has_one_key);
    for name in ["GET", "SET", "INCR", "HSET", "ZADD", "LPUSH", "BITFIELD", "XADD"] {
        assert_eq!(has_one_key(name), Some(true), "{name}");
    }
    for name in ["MGET", "SORT", "GEORADIUS", "ZUNIONSTORE", "BLPOP", "EVAL", "PING", "RENAME"] {
        assert_eq!(has_one_key(name), Some(false), "{name}");
    }
}

#[test]
fn subcommands_are_found() {
    let bytes = words("xgroup CREATE k g $");
    let subcommand = request(&bytes).subcommand().expect("XGROUP CREATE exists");
    assert_eq!((subcommand.name, subcommand.verb), ("xgroup|create", Verb::Xgroup));
    assert_eq!(request(&words("GET a")).subcommand().map(|command| command.name), Some("get"));
    assert_eq!(request(&words("XGROUP nope")).subcommand(), None);
    let alone = words("COMMAND");
    assert_eq!(request(&alone).subcommand().map(|command| command.name), Some("command"));
}

#[test]
fn a_long_request_in_pieces_is_not_read_again() {
    let value = vec![b'v'; 1000];
    let mut arguments: Vec<&[u8]> = vec![b"MSET"];
    for _ in 0..100 {
        arguments.extend([b"key".as_slice(), &value]);
    }
    let bytes = rendered(&arguments);
    let mut progress = Progress::default();
    let mut last = 0;
    for len in 1..bytes.len() {
        assert_eq!(cut(&bytes[..len], &Limits::REDIS, &mut progress), Cut::Partial);
        // What was read stays read: only the part behind it is looked at again.
        assert!(progress.at >= last && progress.at + progress.scanned <= len);
        last = progress.at;
        assert!((len..=bytes.len()).contains(&progress.bytes_wanted()));
    }
    assert!(last > bytes.len() - 1010);
    let (command, first) = progress.peek(&bytes).expect("the name has been read");
    assert_eq!((command.map(|command| command.verb), first), (Some(Verb::Mset), b"key".as_slice()));
    let Cut::Request(request) = cut(&bytes, &Limits::REDIS, &mut progress) else {
        panic!("the request is complete");
    };
    assert_eq!(progress, Progress::default());
    assert_eq!(request.keys().count(), 100);
}

/// Pieces of which requests are made, whole and broken.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        "\\*[0-9]{1,2}\r\n".prop_map(String::into_bytes),
        "\\$[0-9]{1,2}\r\n".prop_map(String::into_bytes),
        "\\$3\r\n[a-z]{3}\r\n".prop_map(String::into_bytes),
        "\\$[0-9]\r\n".prop_map(String::into_bytes),
        "(\r|\n|\r\n|\"|'|\\\\x41| |\\*|\\$|-1|0|a|\\\\)".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..4),
        Just(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".to_vec()),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn limits() -> impl Strategy<Value = Limits> {
    let small = Limits { line_bytes_max: 20, bulk_bytes_max: 12, ..Limits::REDIS };
    let unknown = Limits { is_authenticated: false, ..Limits::REDIS };
    prop_oneof![Just(Limits::REDIS), Just(Limits::NUTCRACKER), Just(small), Just(unknown)]
}

proptest! {
    #[test]
    fn any_split_is_read_alike(bytes in noise(), limits in limits(), step in 1usize..9) {
        let whole = cut_fresh(&bytes, &limits);
        let mut progress = Progress::default();
        let mut len = 0;
        let stepwise = loop {
            match cut(&bytes[..len], &limits, &mut progress) {
                Cut::Partial if len < bytes.len() => len = (len + step).min(bytes.len()),
                other => break other,
            }
        };
        prop_assert_eq!(stepwise, whole);
        if whole != Cut::Partial {
            prop_assert_eq!(progress, Progress::default());
            let more = [&bytes, b"*1\r\n".as_slice()].concat();
            prop_assert_eq!(cut_fresh(&more, &limits), whole, "more bytes change nothing");
        }
    }

    #[test]
    fn the_quick_reader_and_the_exact_one_agree(bytes in noise(), limits in limits()) {
        if let Some(request) = quick(&bytes, &limits) {
            let exactly = exact(&bytes, &limits, &mut Progress::default());
            if limits.is_authenticated {
                prop_assert_eq!(Cut::Request(request), exactly);
            }
        }
    }

    #[test]
    fn what_is_rendered_is_read_back(
        arguments in vec(vec(any::<u8>(), 0..130), 1..12),
        rest in vec(any::<u8>(), 0..10),
    ) {
        let slices: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        let mut bytes = rendered(&slices);
        let len = bytes.len();
        bytes.extend(rest);
        let request = request(&bytes);
        prop_assert_eq!(request.bytes.len(), len);
        prop_assert!(request.is_normal);
        let read: Vec<&[u8]> = request.arguments().map(|argument| argument.bytes).collect();
        prop_assert_eq!(&read, &slices);
        for (at, slice) in slices.iter().enumerate() {
            prop_assert_eq!(request.argument(at as u32), Some(*slice));
        }
        let mut again = Vec::new();
        request.render(&mut again);
        prop_assert_eq!(&again, &bytes[..len]);
        let encoded: Vec<u8> =
            request.arguments().flat_map(|argument| argument.encoded.to_vec()).collect();
        prop_assert!(again.ends_with(&encoded));
    }

    #[test]
    fn lines_of_words_are_read_back(arguments in vec(vec(any::<u8>(), 0..12), 1..6)) {
        let mut line = Vec::new();
        for argument in &arguments {
            line.extend_from_slice(b" \"");
            for byte in argument {
                line.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
            }
            line.push(b'"');
        }
        line.push(b'\n');
        let Cut::Inline(inline) = cut_fresh(&line, &Limits::REDIS) else {
            panic!("the line is complete");
        };
        let mut request = Vec::new();
        inline.render(&mut request);
        let slices: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(request, rendered(&slices));
    }

    #[test]
    fn every_name_is_found_in_any_case(index in 0..command::COMMANDS.len(), upper: u32) {
        let own = &command::COMMANDS[index];
        let name: Vec<u8> = (0u32..).zip(own.name.bytes()).map(|(at, byte)| {
            if upper >> (at % 32) & 1 == 1 { byte.to_ascii_uppercase() } else { byte }
        }).collect();
        prop_assert_eq!(command::find(&name), Some(own));
    }

    #[test]
    fn no_other_name_is_found(name in vec(any::<u8>(), 0..26), index in 0usize..240, at: usize) {
        let slow = |name: &[u8]| {
            let is_name = |command: &&Command| command.name.as_bytes().eq_ignore_ascii_case(name);
            command::COMMANDS.iter().find(is_name)
        };
        prop_assert_eq!(command::find(&name), slow(&name));
        // Names that differ from a command's in one byte, or go on.
        let mut near = command::COMMANDS[index].name.as_bytes().to_vec();
        let len = near.len();
        if let Some(byte) = near.get_mut(at % (len + 1)) {
            *byte = name.first().copied().unwrap_or(0);
        } else {
            near.push(name.first().copied().unwrap_or(0));
        }
        prop_assert_eq!(command::find(&near), slow(&near));
    }

    #[test]
    fn keys_lie_where_they_say(bytes in noise(), name in 0usize..240, count in 0usize..9) {
        let numbers = [b"0".as_slice(), b"1", b"2", b"STORE", b"STREAMS", b"KEYS", b"", &bytes];
        let mut arguments = vec![command::COMMANDS[name].name.as_bytes()];
        arguments.extend((0..count).map(|at| {
            numbers[bytes.get(at).map_or(at, |&byte| usize::from(byte)) % numbers.len()]
        }));
        let rendered = rendered(&arguments);
        let request = request(&rendered);
        for key in request.keys() {
            prop_assert_eq!(arguments.get(key.at as usize), Some(&key.bytes));
        }
        if command::COMMANDS[name].accepts(request.arguments) {
            prop_assert_eq!(request.first_key(), request.keys().next().map(|key| key.bytes));
        }
        let _ = (request.may_block(), request.subcommand());
    }
}
