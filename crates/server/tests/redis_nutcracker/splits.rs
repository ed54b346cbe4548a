//! Commands with several keys: what each server is asked, and how the answers become one.

use std::net::SocketAddr;

use keyway_testkit::port;
use keyway_testkit::redis::{Asked, FakeRedis, Step, Tiny, send};
use keyway_testkit::resp::{request, words};
use keyway_testkit::twemproxy::{Program, named, server};

use crate::{Answer, Side, on_each};

on_each!(
    values_come_in_the_order_of_the_keys,
    parts_have_their_normal_form,
    a_pool_of_one_splits_too,
    existing_is_asked_whole,
    random_splits_count_and_order_right,
    refused_parts,
    late_parts,
    closed_parts,
    parts_that_answer_an_error,
    parts_of_an_ejected_pool,
);

/// Three honest servers, and a key of each for every index.
struct Bench {
    side: Side,
    servers: Vec<FakeRedis>,
}

impl Bench {
    fn start(program: Program) -> Bench {
        let servers: Vec<FakeRedis> = (0..3).map(|_| FakeRedis::honest()).collect();
        let lines: Vec<String> =
            servers.iter().enumerate().map(|(n, s)| named(s.addr, &format!("s{n}"))).collect();
        let side = Side::redis(program, "hash: fnv1a_32\ndistribution: modula", &lines);
        Bench { side, servers }
    }

    /// The commands each server got since the last call.
    fn asked(&self) -> Vec<Vec<String>> {
        let all = self.servers.iter().map(|s| {
            let lines = s.lines();
            s.peer().clear();
            lines
        });
        all.collect()
    }
}

/// 32-bit FNV-1a, which decides about the server where these tests need to know beforehand.
fn owner(key: &str, servers: usize) -> usize {
    let hash =
        key.bytes().fold(2_166_136_261u32, |h, b| (h ^ u32::from(b)).wrapping_mul(16_777_619));
    hash as usize % servers
}

/// The first keys of a name that belong to the given servers, one each.
fn keys(owners: &[usize], servers: usize) -> Vec<String> {
    let mut next = 0..;
    let find = |wanted: &usize| {
        let found = next.by_ref().map(|n| format!("key{n}"));
        let mut found = found.filter(|k| owner(k, servers) == *wanted);
        found.next().expect("there are keys without end")
    };
    owners.iter().map(find).collect()
}

fn values_come_in_the_order_of_the_keys(program: Program) {
    let bench = Bench::start(program);
    let keys = keys(&[2, 0, 1, 1, 2, 0, 0], 3);
    let mut client = bench.side.client();
    let pairs: Vec<String> = keys.iter().flat_map(|k| [k.clone(), format!("of {k}")]).collect();
    let set = [vec!["mset".to_owned()], pairs[..8].to_vec()].concat();
    assert_eq!(client.command(&set), b"+OK\r\n");
    // The last three were never set; one is asked for twice.
    let asked = [&keys[..], &keys[..1]].concat();
    let mut expected = format!("*{}\r\n", asked.len());
    for (n, key) in asked.iter().enumerate() {
        match (4..7).contains(&n) {
            true => expected.push_str("$-1\r\n"),
            false => expected.push_str(&format!("${}\r\nof {key}\r\n", key.len() + 3)),
        }
    }
    let get = [vec!["mget".to_owned()], asked].concat();
    assert_eq!(String::from_utf8_lossy(&client.command(&get)), expected);
    let del = [vec!["del".to_owned()], keys[2..].to_vec()].concat();
    assert_eq!(client.command(&del), b":2\r\n");
    let touch = [vec!["touch".to_owned()], keys.clone()].concat();
    assert_eq!(client.command(&touch), b":2\r\n");
    let unlink = [vec!["unlink".to_owned()], keys].concat();
    assert_eq!(client.command(&unlink), b":2\r\n");
}

fn parts_have_their_normal_form(program: Program) {
    let bench = Bench::start(program);
    let keys = keys(&[2, 0, 2, 1], 3);
    let [a, b, c, d] = [&keys[0], &keys[1], &keys[2], &keys[3]];
    let cases = [
        (
            format!("MGET {a} {b} {c}"),
            [format!("mget {b}"), String::new(), format!("mget {a} {c}")],
        ),
        (format!("DEL {d} {c}"), [String::new(), format!("del {d}"), format!("del {c}")]),
        (
            format!("mSeT {a} 1 {b} 2 {c} 3"),
            [format!("mset {b} 2"), String::new(), format!("mset {a} 1 {c} 3")],
        ),
        (format!("Touch {a} {a}"), [String::new(), String::new(), format!("touch {a} {a}")]),
        (format!("uNLINK {b} {d}"), [format!("unlink {b}"), format!("unlink {d}"), String::new()]),
    ];
    let mut client = bench.side.client();
    for (line, expected) in cases {
        bench.asked();
        client.redis(&line);
        let asked = bench.asked().into_iter().map(|lines| spelled(program, &lines.join("|")));
        assert_eq!(asked.collect::<Vec<_>>(), expected, "{line}");
    }
}

fn a_pool_of_one_splits_too(program: Program) {
    let fake = FakeRedis::honest();
    let side = Side::redis(program, "", &[server(fake.addr)]);
    let mut client = side.client();
    assert_eq!(client.redis("MSET a 1 b 2"), "+OK\\r\\n");
    assert_eq!(client.redis("MGET b a"), "*2\\r\\n$1\\r\\n2\\r\\n$1\\r\\n1\\r\\n");
    let asked = fake.lines().iter().map(|line| spelled(program, line)).collect::<Vec<_>>();
    assert_eq!(asked, ["mset a 1 b 2", "mget b a"]);
}

/// nutcracker writes the names of parts in small letters; we keep the client's spelling, which only
/// MONITOR would show.
fn spelled(program: Program, line: &str) -> String {
    if program.is_ours() { line.to_lowercase() } else { line.to_owned() }
}

fn existing_is_asked_whole(program: Program) {
    let bench = Bench::start(program);
    let keys = keys(&[1, 0, 1], 3);
    let mut client = bench.side.client();
    for key in &keys {
        client.redis(&format!("set {key} x"));
    }
    bench.asked();
    let [a, b, c] = [&keys[0], &keys[1], &keys[2]];
    let reply = client.redis(&format!("exists {a} {b} {c}"));
    // The sum over all servers is right, and what the first key's server knows is nutcracker's.
    let expected: &[&str] =
        if program == crate::OURS { &[":2\\r\\n", ":3\\r\\n"] } else { &[":2\\r\\n"] };
    assert!(expected.contains(&reply.as_str()), "{reply}");
}

/// Many keys, some often, some missing, over three servers: compared with one honest store.
fn random_splits_count_and_order_right(program: Program) {
    let bench = Bench::start(program);
    let single = Tiny::default();
    let mut random = keyway_testkit::random::Random::new(7);
    let mut client = bench.side.client();
    for _ in 0..crate::number("KEYWAY_COMMANDS", 300) {
        let name = random.pick(&["mget", "mget", "mset", "del", "unlink", "touch"]);
        let mut args = vec![name.as_bytes().to_vec()];
        for _ in 0..1 + random.below(12) {
            args.push(format!("key{}", random.below(30)).into_bytes());
            if name == "mset" {
                args.push(vec![b'v'; random.below(2000)]);
            }
        }
        let asked = Asked { conn: 0, nth: 0, bytes: request(&args), args };
        let Some(Step::Send(expected)) = single.answer(&asked).pop() else {
            panic!("an honest server sends");
        };
        let got = client.command(&asked.args);
        assert!(got == expected, "{}: {}", asked.line(), got.escape_ascii());
    }
}

// Parts that fail.

const SPLIT: [&str; 5] = ["mget", "del", "touch", "unlink", "mset"];

/// A pool of an honest server and another; a request of `name` for both.
fn with_a_bad_one(program: Program, bad: SocketAddr, more: &str) -> (Side, FakeRedis) {
    let good = FakeRedis::honest();
    let lines = [named(good.addr, "s0"), named(bad, "s1")];
    let more = format!("hash: fnv1a_32\ndistribution: modula\n{more}");
    (Side::redis(program, &more, &lines), good)
}

fn request_of(name: &str) -> Vec<u8> {
    let keys = keys(&[0, 1], 2);
    match name {
        "mset" => request(&["mset", &keys[0], "x", &keys[1], "y"]),
        _ => request(&[name, &keys[0], &keys[1]]),
    }
}

/// nutcracker closes after the error of an MGET; we say the same and go on.
fn error(program: Program, name: &str, text: &str) -> Answer {
    let line = format!("-ERR {text}\r\n");
    match name == "mget" && !program.is_ours() {
        true => Answer::closed(line),
        false => Answer::open(line),
    }
}

fn refused_parts(program: Program) {
    let (side, _good) = with_a_bad_one(program, port::local(), "");
    for name in SPLIT {
        let answer = side.ask(&request_of(name));
        assert_eq!(answer, error(program, name, "Connection refused"), "{name}");
    }
}

fn late_parts(program: Program) {
    let bad = FakeRedis::start(|_| vec![Step::Hang]);
    let (side, _good) = with_a_bad_one(program, bad.addr, "timeout: 200");
    for name in SPLIT {
        let answer = side.ask(&request_of(name));
        assert_eq!(answer, error(program, name, "Connection timed out"), "{name}");
    }
}

fn closed_parts(program: Program) {
    let bad = FakeRedis::start(|_| vec![Step::Close]);
    let (side, _good) = with_a_bad_one(program, bad.addr, "");
    for name in SPLIT {
        let answer = side.ask(&request_of(name));
        assert_eq!(answer, error(program, name, "unknown"), "{name}");
    }
}

fn parts_that_answer_an_error(program: Program) {
    let bad = FakeRedis::start(|_| send("-NOAUTH Authentication required.\r\n"));
    let (side, _good) = with_a_bad_one(program, bad.addr, "");
    for name in SPLIT {
        let answer = side.probe(&request_of(name));
        assert_eq!(answer, Answer::open("-ERR Invalid argument\r\n"), "{name}");
    }
}

/// Nobody is left: the parts are refused at once, where nutcracker drops the client of an MGET.
fn parts_of_an_ejected_pool(program: Program) {
    let more = "auto_eject_hosts: true\nserver_failure_limit: 1\nserver_retry_timeout: 600000";
    let side = Side::redis(program, more, &[server(port::local()), server(port::local())]);
    // Each server refuses one request and is gone.
    (0..50).for_each(|n| drop(side.probe(&words(&format!("get key{n}")))));
    side.counts(&["alpha", "server_ejects"], 2);
    for name in SPLIT {
        let answer = side.probe(&request_of(name));
        let expected = match name == "mget" && !program.is_ours() {
            true => Answer::closed(""),
            false => Answer::open("-ERR Connection refused\r\n"),
        };
        assert_eq!(answer, expected, "{name}");
    }
}
