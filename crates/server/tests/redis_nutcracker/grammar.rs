//! memcached lines, right and wrong: both programs must send the same to the client and to the
//! server, and close on the same.
//!
//! `KEYWAY_SEEDS` and `KEYWAY_COMMANDS` make longer runs. Each line travels on a connection of its
//! own, followed by a retrieval whose reply says that the line was taken.

use keyway_testkit::client::{Client, show};
use keyway_testkit::peer::{Peer, Place, Received, Step, send};
use keyway_testkit::port;
use keyway_testkit::random::Random;
use keyway_testkit::twemproxy::{Program, server};

use crate::{OURS, STRICT, Side, number};

/// A memcached that takes everything nutcracker may send, as nutcracker understands it.
fn backend() -> (Peer, String) {
    let addr = port::local();
    let peer = Peer::start_at(Place::Tcp(addr), cut, answer);
    (peer, server(addr))
}

/// A line ends in CR LF, and only there; a value follows those that announce one.
fn cut(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|w| w == b"\r\n")? + 2;
    let len = end + value_bytes(&bytes[..end]).map_or(0, |n| n + 2);
    (bytes.len() >= len).then_some(len)
}

fn line_words(bytes: &[u8]) -> Vec<&[u8]> {
    let end = bytes.windows(2).position(|w| w == b"\r\n").unwrap_or(bytes.len());
    bytes[..end].split(|b| *b == b' ').filter(|w| !w.is_empty()).collect()
}

const STORAGE: [&str; 6] = ["set", "add", "replace", "append", "prepend", "cas"];

fn value_bytes(line: &[u8]) -> Option<usize> {
    let words = line_words(line);
    let is_storage = words.first().is_some_and(|w| STORAGE.iter().any(|s| s.as_bytes() == *w));
    let length = words.get(4).filter(|w| is_storage && w.iter().all(u8::is_ascii_digit))?;
    // nutcracker counts in 32 bits, and asks for what that makes of longer numbers.
    let digits = length.iter().map(|b| u32::from(b - b'0'));
    Some(digits.fold(0u32, |n, d| n.wrapping_mul(10).wrapping_add(d)) as usize)
}

fn answer(received: &Received) -> Vec<Step> {
    let words = line_words(&received.bytes);
    let is_retrieval = words.first().is_some_and(|w| w.starts_with(b"get"));
    if !is_retrieval && words.last() == Some(&&b"noreply"[..]) {
        return Vec::new();
    }
    match words.first().copied().unwrap_or_default() {
        b"version" => send("VERSION 1.6.45-scripted\r\n"),
        b"get" | b"gets" => {
            let values =
                words[1..].iter().flat_map(|key| [b"VALUE ", *key, b" 0 1\r\nx\r\n"].concat());
            send(values.chain(b"END\r\n".iter().copied()).collect::<Vec<u8>>())
        }
        b"incr" | b"decr" => send("7\r\n"),
        b"delete" => send("DELETED\r\n"),
        b"touch" => send("TOUCHED\r\n"),
        _ => send("STORED\r\n"),
    }
}

/// A program, its server, and what its server was asked.
struct Rig {
    side: Side,
    peer: Peer,
}

/// All that can be seen of one line.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    client: String,
    server: Vec<String>,
    /// Whether the connection was closed while we still could send.
    was_closed: bool,
}

const AFTER: &[u8] = b"get after\r\n";
const AFTER_REPLY: &[u8] = b"VALUE after 0 1\r\nx\r\nEND\r\n";

impl Rig {
    fn start(program: Program) -> Rig {
        let (peer, line) = backend();
        Rig { side: Side::start(program, "timeout: 20000", &[line]), peer }
    }

    /// Opens a connection and sends a line, and what follows it.
    fn send(&self, line: &[u8]) -> Client {
        self.peer.clear();
        let mut client = self.side.client();
        // The close of the connection may be faster than our second half.
        let _ = client.try_send(&[line, AFTER].concat());
        client
    }

    /// What the server was asked, when all of it has arrived.
    fn asked(&self) -> Vec<String> {
        // Another client's request takes the same connection, behind all that was sent before.
        self.side.client().ask("get barrier\r\n", "VALUE barrier 0 1\r\nx\r\nEND\r\n");
        let log = self.peer.log();
        let lines = log.iter().filter(|r| !r.bytes.starts_with(b"get barrier"));
        // Ours asks new connections for their version; nothing of a client's comes before that.
        let lines = lines.filter(|r| r.nth > 0 || r.bytes != b"version\r\n");
        lines.map(|r| plain(&r.bytes)).collect()
    }
}

/// A request as text, without what makes no difference: nutcracker leaves a blank behind the last
/// key of a part, and we want replies of servers even where the client does not.
fn plain(request: &[u8]) -> String {
    let end = request.windows(2).position(|w| w == b"\r\n").unwrap_or(request.len());
    let (line, rest) = request.split_at(end);
    let line = line.escape_ascii().to_string();
    let words: Vec<&str> = line.split(' ').filter(|w| !w.is_empty()).collect();
    let is_retrieval = words.first().is_some_and(|w| w.starts_with("get"));
    let words = match words.as_slice() {
        [words @ .., "noreply"] if !is_retrieval => words,
        words => words,
    };
    format!("{}{}", words.join(" "), rest.escape_ascii())
}

/// Whether a client has all that it will get: the reply to what followed, or the end.
fn is_settled(client: &mut Client, closed: &mut bool) -> bool {
    if !*closed && client.try_more().is_some_and(|n| n == 0) {
        *closed = true;
    }
    *closed || client.waiting().ends_with(AFTER_REPLY)
}

/// One line through both programs.
fn see(rigs: &[Rig; 2], line: &[u8]) -> [Seen; 2] {
    let mut clients = [rigs[0].send(line), rigs[1].send(line)];
    let mut closed = [false; 2];
    // A line that waits for more never settles. Only how long we watch for a difference depends on
    // time: both are asked to finish once nothing has happened for a while.
    let mut quiet = 0;
    loop {
        let settled: Vec<bool> = clients
            .iter_mut()
            .zip(&mut closed)
            .map(|(client, closed)| is_settled(client, closed))
            .collect();
        if settled == [true, true] || quiet > 50 && settled == [false, false] || quiet > 5000 {
            break;
        }
        quiet += 1;
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let mut both = clients.into_iter().zip(closed).zip(rigs).map(|((mut client, closed), rig)| {
        if !closed {
            // It may have been closed just now; the comparison will show what came of it.
            let _ = client.try_finish_sending();
        }
        let client = show(&client.drain());
        Seen { client, server: rig.asked(), was_closed: closed }
    });
    [both.next().expect("two rigs"), both.next().expect("two rigs")]
}

/// A line that may be right, or nearly.
fn line(random: &mut Random) -> Vec<u8> {
    let mut line = Vec::new();
    if random.once_in(10) {
        line.extend(b" ".repeat(1 + random.below(3)));
    }
    let mut value = None;
    match random.below(10) {
        0..3 => {
            line.extend_from_slice(random.pick(&["get", "gets"]).as_bytes());
            (0..1 + random.below(4)).for_each(|_| word(&mut line, &key(random), random));
        }
        3..6 => {
            let verb = random.pick(&STORAGE);
            line.extend_from_slice(verb.as_bytes());
            word(&mut line, &key(random), random);
            word(&mut line, digits(random).as_bytes(), random);
            word(&mut line, digits(random).as_bytes(), random);
            let len = random.below(20);
            word(&mut line, len.to_string().as_bytes(), random);
            if verb == "cas" {
                word(&mut line, digits(random).as_bytes(), random);
            }
            value = Some(len);
        }
        6 => {
            line.extend_from_slice(random.pick(&["incr", "decr", "touch"]).as_bytes());
            word(&mut line, &key(random), random);
            word(&mut line, digits(random).as_bytes(), random);
        }
        7 => {
            line.extend_from_slice(b"delete");
            word(&mut line, &key(random), random);
        }
        8 => line.extend_from_slice(b"version"),
        _ => line.extend_from_slice(random.pick(&OTHER).as_bytes()),
    }
    if random.once_in(5) {
        word(&mut line, b"noreply", random);
    }
    if random.once_in(10) {
        line.extend(b" ".repeat(1 + random.below(3)));
    }
    line.extend_from_slice(b"\r\n");
    if let Some(len) = value {
        let real = if random.once_in(12) { random.below(20) } else { len };
        line.extend(b"valuevaluevaluevaluevalue"[..real].iter());
        line.extend_from_slice(b"\r\n");
    }
    if random.once_in(4) {
        spoil(&mut line, random);
    }
    line
}

const OTHER: [&str; 22] = [
    "gat 0 a",
    "gats 0 a",
    "stats",
    "flush_all",
    "verbosity 1",
    "slabs automove 0",
    "lru mode flat",
    "mn",
    "me a",
    "mg a v",
    "ms a 1",
    "md a",
    "ma a",
    "GET a",
    "Set a 0 0 1",
    "quit x",
    "version x",
    "\u{80}",
    "",
    "ge a",
    "gett a",
    "delete a 0",
];

fn word(line: &mut Vec<u8>, word: &[u8], random: &mut Random) {
    line.extend(b" ".repeat(if random.once_in(10) { 2 } else { 1 }));
    line.extend_from_slice(word);
}

fn key(random: &mut Random) -> Vec<u8> {
    match random.below(30) {
        0 => vec![b'k'; 250],
        1 => vec![b'k'; 251],
        2 => b"tab\tkey".to_vec(),
        3 => b"nul\0\x01key".to_vec(),
        4 => b"line\nkey".to_vec(),
        5 => b"\x80\xff\xfe".to_vec(),
        _ => format!("key{}", random.below(5)).into_bytes(),
    }
}

fn digits(random: &mut Random) -> String {
    let all =
        ["0", "1", "42", "007", "4294967296", "99999999999999999999999", "-1", "+1", "1x", "0x10"];
    if random.once_in(5) { random.pick(&all).to_owned() } else { random.below(1000).to_string() }
}

/// Changes, drops or doubles a byte.
fn spoil(line: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(line.len());
    match random.below(4) {
        0 => {
            line.remove(at);
        }
        1 => line.insert(at, line[at]),
        2 => line[at] = *random.choose(b" \r\n\tA0-\0"),
        _ => line[at] = random.below(256) as u8,
    }
}

/// Lines that we refuse on purpose: servers end a line at LF, and some at NUL, wherever nutcracker
/// says it ends; what came behind would be read as commands of its own.
fn is_excepted(line: &[u8]) -> bool {
    let is_bare = |w: &[u8]| w[1] == b'\n' && w[0] != b'\r';
    // Numbers that memcached does not take are refused before it sees them.
    let is_large = |w: &[u8]| w.iter().all(u8::is_ascii_digit);
    line.windows(10).any(is_large)
        || line.contains(&0)
        || line.first() == Some(&b'\n')
        || line.windows(2).any(is_bare)
}

fn compare(program: Program) {
    let rigs = [Rig::start(Program::Reference), Rig::start(program)];
    let mut wrong = Vec::new();
    let first = number("KEYWAY_FIRST_SEED", 0);
    for seed in first..first + number("KEYWAY_SEEDS", 2) {
        let mut random = Random::new(seed);
        for _ in 0..number("KEYWAY_COMMANDS", 400) {
            let line = line(&mut random);
            if program.is_ours() && is_excepted(&line) {
                continue;
            }
            let [wanted, got] = see(&rigs, &line);
            if wanted != got {
                wrong.push(format!("{}\n  {got:?}\n  not {wanted:?}", show(&line)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} lines differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn random_lines_do_what_they_do_in_nutcracker() {
    compare(OURS);
}

#[test]
fn random_lines_do_what_they_do_in_nutcracker_strictly() {
    compare(STRICT);
}

/// Two of the same agree, so that a difference is ours.
#[test]
fn two_references_agree_on_random_lines() {
    compare(Program::Reference);
}
