//! Every command of the table that was observed on nutcracker, with every number of arguments
//! around its bounds: closed or answered, and which servers were asked what.
//!
//! The n-th argument always belongs to the n-th of eight servers, so the server that was asked
//! names the argument that was hashed.

use std::path::Path;

use keyway_testkit::redis::{Asked, FakeRedis, Step, send};
use keyway_testkit::resp::{bulk, request, words};
use keyway_testkit::twemproxy::{Program, named};

use crate::{Answer, Side, on_each};

on_each!(
    table_holds_for_every_number_of_arguments,
    names_outside_the_table_close,
    spelling_of_a_whole_command_is_kept
);

const BACKENDS: usize = 8;
/// Most arguments tried where there is no bound.
const MANY: usize = 6;

/// One row of the table.
struct Row {
    name: String,
    least: usize,
    most: Option<usize>,
    is_even: bool,
    key: String,
    is_split: bool,
}

fn rows() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/redis_nutcracker/commands.tsv");
    let text = std::fs::read_to_string(&path).expect("the table is committed");
    let lines = text.lines().filter(|l| !l.starts_with('#')).skip(1);
    let rows: Vec<Row> = lines
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            let least = cells[1].split(' ').next().expect("a cell has text");
            Row {
                name: cells[0].to_owned(),
                least: least.parse().expect("the least number of arguments"),
                most: cells[2].parse().ok(),
                is_even: cells[1].contains("even"),
                key: cells[3].to_owned(),
                is_split: cells[4] == "frag",
            }
        })
        .collect();
    assert_eq!(rows.len(), 135, "all commands were read");
    rows
}

impl Row {
    fn takes(&self, count: usize) -> bool {
        count >= self.least
            && self.most.is_none_or(|most| count <= most)
            && !(self.is_even && count % 2 == 1)
    }

    fn is_script(&self) -> bool {
        self.name.starts_with("eval")
    }
}

/// A proxy in front of servers that say who they are, and a key of each server.
struct Bench {
    side: Side,
    servers: Vec<FakeRedis>,
    keys: Vec<String>,
    placeholder: usize,
}

/// Answers as the kind of command wants, with the server's number where it fits.
fn answer(asked: &Asked, number: usize) -> Vec<Step> {
    let count = asked.args.len() - 1;
    match asked.name().as_str() {
        "mget" => {
            let element = bulk(format!("s{number}"));
            send([format!("*{count}\r\n").into_bytes(), element.repeat(count)].concat())
        }
        "mset" => send("+OK\r\n"),
        "del" | "unlink" | "touch" => send(format!(":{count}\r\n")),
        _ => send(bulk(format!("s{number}"))),
    }
}

impl Bench {
    fn start(program: Program) -> Bench {
        let servers: Vec<FakeRedis> =
            (0..BACKENDS).map(|n| FakeRedis::start(move |asked| answer(asked, n))).collect();
        let lines: Vec<String> =
            servers.iter().enumerate().map(|(n, s)| named(s.addr, &format!("s{n}"))).collect();
        let side = Side::redis(program, "hash: fnv1a_32\ndistribution: modula", &lines);
        let mut keys = vec![String::new(); BACKENDS];
        let mut client = side.client();
        for n in 0.. {
            let key = format!("key{n}");
            let owner = number_of(&client.redis(&format!("get {key}")));
            if keys[owner].is_empty() {
                keys[owner] = key;
            }
            if keys.iter().all(|k| !k.is_empty()) {
                break;
            }
        }
        let placeholder = number_of(&client.redis("get placeholder"));
        Bench { side, servers, keys, placeholder }
    }

    /// The requests each server got since the last call, without what opens a connection.
    fn asked(&self) -> Vec<Vec<Vec<u8>>> {
        let all = self.servers.iter().map(|server| {
            let log = server.log();
            server.peer().clear();
            log.into_iter().map(|a| a.bytes).collect()
        });
        all.collect()
    }

    /// What must happen to `args` sent as the command of `row`.
    fn expected(&self, row: &Row, args: &[&str]) -> (Answer, Vec<Vec<Vec<u8>>>) {
        let mut asked = vec![Vec::new(); BACKENDS];
        let given = &args[1..];
        if !row.takes(given.len()) || ["move", "quit"].contains(&row.name.as_str()) {
            return (Answer::closed(""), asked);
        }
        if row.is_split && given.len() > 1 + usize::from(row.is_even) {
            let step = 1 + usize::from(row.is_even);
            for (n, part) in given.chunks(step).enumerate() {
                let owner = n * step;
                asked[owner].push(request(&[&[row.name.as_str()], part].concat()));
            }
            return (Answer::Open(self.merged(row, given.len())), asked);
        }
        let owner = match row.key.as_str() {
            "local" => {
                let text = "-ERR Client sent AUTH, but no password is set\r\n";
                return (Answer::open(if row.name == "auth" { text } else { "+PONG\r\n" }), asked);
            }
            "placeholder" => self.placeholder,
            "3" => 2,
            _ => 0,
        };
        asked[owner].push(request(args));
        let reply = match row.name.as_str() {
            "mget" => [b"*1\r\n".to_vec(), bulk("s0")].concat(),
            "mset" => b"+OK\r\n".to_vec(),
            "del" | "unlink" | "touch" => b":1\r\n".to_vec(),
            _ => bulk(format!("s{owner}")),
        };
        (Answer::Open(reply), asked)
    }

    fn merged(&self, row: &Row, count: usize) -> Vec<u8> {
        match row.name.as_str() {
            "mget" => {
                let elements = (0..count).flat_map(|n| bulk(format!("s{n}")));
                format!("*{count}\r\n").into_bytes().into_iter().chain(elements).collect()
            }
            "mset" => b"+OK\r\n".to_vec(),
            _ => format!(":{count}\r\n").into_bytes(),
        }
    }
}

/// The number in a bulk string such as `s3`.
fn number_of(reply: &str) -> usize {
    let digit = reply.strip_prefix("$2\\r\\ns").and_then(|r| r.chars().next());
    digit.and_then(|d| d.to_digit(10)).unwrap_or_else(|| panic!("a server's name: {reply}"))
        as usize
}

fn table_holds_for_every_number_of_arguments(program: Program) {
    let bench = Bench::start(program);
    bench.asked();
    let mut wrong = Vec::new();
    for row in rows() {
        let most = row.most.map_or(MANY, |most| most + 1);
        for count in row.least.saturating_sub(1)..=most {
            let mut args = vec![row.name.as_str()];
            args.extend(bench.keys.iter().take(count).map(String::as_str));
            if row.is_script() && count > 1 {
                args[2] = "1";
            }
            let expected = bench.expected(&row, &args);
            let got = (bench.side.probe(&request(&args)), bench.asked());
            if got != expected && !is_ours_alone(program, &row, &got.0) {
                wrong.push(format!("{args:?}: {}\n not {}", shown(&got), shown(&expected)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} rows differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// What we do better than nutcracker, on purpose, unless we are to be strict.
fn is_ours_alone(program: Program, row: &Row, got: &Answer) -> bool {
    let is_better = match row.name.as_str() {
        // Clients ask for the table of commands when they connect, and log in with two words.
        "command" | "auth" | "ping" | "lolwut" => true,
        // Keys of one command are asked for where they are, not all where the first one is.
        "exists" => true,
        // The count of keys is no key.
        "zdiff" | "zinter" | "zunion" => true,
        // Redis takes more words than it did, and a script may have no key.
        "expire" | "expireat" | "pexpire" | "pexpireat" | "eval" | "evalsha" => true,
        _ => false,
    };
    program == crate::OURS && is_better && matches!(got, Answer::Open(_))
}

fn shown((answer, asked): &(Answer, Vec<Vec<Vec<u8>>>)) -> String {
    let mut text = format!("{answer:?}");
    for (n, requests) in asked.iter().enumerate() {
        for request in requests {
            text.push_str(&format!(" s{n}<{}>", request.escape_ascii()));
        }
    }
    text
}

/// Commands that nutcracker has no name for, with arguments they would take elsewhere.
const UNKNOWN: [&str; 60] = [
    "select 0",
    "info",
    "echo a",
    "time",
    "scan 0",
    "keys *",
    "randomkey",
    "dbsize",
    "flushdb",
    "flushall",
    "multi",
    "exec",
    "discard",
    "watch a",
    "unwatch",
    "subscribe a",
    "unsubscribe",
    "psubscribe a",
    "publish a b",
    "pubsub channels",
    "blpop a 1",
    "brpop a 1",
    "blmove a b left left 1",
    "bzpopmin a 1",
    "lmpop 1 a left",
    "zmpop 1 a min",
    "xadd a * b c",
    "xread streams a 0",
    "hello",
    "hello 3",
    "reset",
    "client id",
    "config get a",
    "cluster slots",
    "readonly",
    "asking",
    "object encoding a",
    "rename a b",
    "renamenx a b",
    "msetnx a b",
    "bitop and a b",
    "sort_ro a",
    "georadius_ro a 1 1 1 m",
    "eval_ro a 1 b",
    "fcall a 1 b",
    "function list",
    "script load a",
    "wait 0 0",
    "expiretime a",
    "pexpiretime a",
    "sintercard 1 a",
    "lcs a b",
    "substr a 0 1",
    "memory usage a",
    "debug sleep 0",
    "monitor",
    "slowlog get",
    "acl whoami",
    "role",
    "nosuchcommand a",
];

/// What closes at the level of ours that lets new commands pass.
const UNKNOWN_TO_ALL: [&str; 8] = [
    "scan 0",
    "keys *",
    "randomkey",
    "dbsize",
    "flushdb",
    "flushall",
    "msetnx a b",
    "nosuchcommand a",
];

fn names_outside_the_table_close(program: Program) {
    let bench = Bench::start(program);
    bench.asked();
    let commands = if program == crate::OURS { &UNKNOWN_TO_ALL[..] } else { &UNKNOWN[..] };
    let mut wrong = Vec::new();
    for command in commands {
        let answer = bench.side.probe(&words(command));
        let asked = bench.asked();
        if answer != Answer::closed("") || asked.iter().any(|a| !a.is_empty()) {
            wrong.push(format!("{command}: {}", shown(&(answer, asked))));
        }
    }
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), commands.len());
}

fn spelling_of_a_whole_command_is_kept(program: Program) {
    let bench = Bench::start(program);
    for name in ["GET", "gEt", "MGET", "Mget", "DEL", "Unlink", "TOUCH"] {
        bench.asked();
        let bytes = request(&[name, &bench.keys[3]]);
        let answer = bench.side.probe(&bytes);
        assert!(matches!(answer, Answer::Open(_)), "{name}: {answer:?}");
        assert_eq!(bench.asked()[3], [bytes], "{name}");
    }
}
