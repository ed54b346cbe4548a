//! Redis' commands on the embedded store: the same replies as a real redis-server gives, and
//! what the two cannot be compared in (time, memory, several clients at once).
//!
//! `KEYWAY_DIFFERENTIAL_SEED` (the first), `KEYWAY_DIFFERENTIAL_SEEDS` (how many) and
//! `KEYWAY_DIFFERENTIAL_COMMANDS` make a run longer than the default few thousand commands.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod allocation;
mod atomic;
mod hostile;
mod limits;
mod local;
mod scan;
mod stream;
mod time;

use keyway_testkit::client::{Client, show};
use keyway_testkit::redis::redis_server;
use keyway_testkit::resp;
use local::Local;
use std::time::{SystemTime, UNIX_EPOCH};
use stream::{Stream, Words};

/// How far expiry times may be apart that the two derive from their own clocks, in milliseconds.
/// A slow machine, not a difference in behaviour; times set by different commands are further
/// apart than that.
const CLOCKS_APART_MAX: i64 = 200_000;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The store and a redis-server, side by side.
struct Pair {
    ours: Local,
    /// In RESP2 and in RESP3.
    theirs: [Client; 2],
}

#[test]
fn replies_are_those_of_redis_byte_for_byte() {
    let (_process, addr) = redis_server(&["--databases", "1"]);
    let mut theirs = [Client::tcp(addr), Client::tcp(addr)];
    theirs[1].command(&["hello", "3"]);
    let mut pair = Pair { ours: Local::new(), theirs };
    let commands = from_env("KEYWAY_DIFFERENTIAL_COMMANDS", 4000);
    let first = from_env("KEYWAY_DIFFERENTIAL_SEED", 1);
    for seed in first..first + from_env("KEYWAY_DIFFERENTIAL_SEEDS", 2) {
        pair.both(0, &words("flushall"));
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut stream = Stream::new(seed, started);
        let mut before: Vec<Words> = Vec::new();
        for number in 0..commands {
            let command = stream.command();
            if let Err(difference) = pair.compare((number % 2) as usize, &command) {
                let before =
                    before.iter().filter(|old| old[1..].iter().any(|w| command[1..].contains(w)));
                let before: Vec<String> = before.map(line_of).collect();
                let before = &before[before.len().saturating_sub(12)..];
                panic!("seed {seed}, command {number}: {difference}\nbefore: {before:#?}");
            }
            before.push(command);
        }
    }
}

fn words(line: &str) -> Words {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

impl Pair {
    /// Both replies, theirs first. `version` is 0 for RESP2, 1 for RESP3.
    fn both(&mut self, version: usize, command: &Words) -> (Vec<u8>, Vec<u8>) {
        let theirs = self.theirs[version].command(command);
        (theirs, self.ours.ask(version == 1, command))
    }

    fn compare(&mut self, version: usize, command: &Words) -> Result<(), String> {
        let name = command[0].to_ascii_lowercase();
        match name.as_slice() {
            b"dbsize" if command.len() == 1 => return self.compare_sizes(version, command),
            b"randomkey" if command.len() == 1 => return self.compare_random(version),
            b"scan" => return self.compare_scans(version, command),
            _ => {}
        }
        let (theirs, ours) = self.both(version, command);
        let is_same = match name.as_slice() {
            b"ttl" | b"expiretime" => is_near(&theirs, &ours, CLOCKS_APART_MAX / 1000),
            b"pttl" | b"pexpiretime" => is_near(&theirs, &ours, CLOCKS_APART_MAX),
            b"keys" => sorted(&theirs) == sorted(&ours),
            _ => theirs == ours,
        };
        if is_same { Ok(()) } else { Err(describe(command, &theirs, &ours)) }
    }

    /// redis-server's own figure counts expired keys until somebody meets them; its list of keys
    /// does not.
    fn compare_sizes(&mut self, version: usize, command: &Words) -> Result<(), String> {
        let keys = resp::args(&self.theirs[0].command(&["keys", "*"])).len();
        let ours = self.ours.ask(version == 1, command);
        let theirs = format!(":{keys}\r\n").into_bytes();
        if theirs == ours { Ok(()) } else { Err(describe(command, &theirs, &ours)) }
    }

    fn compare_random(&mut self, version: usize) -> Result<(), String> {
        let command = words("randomkey");
        let (theirs, ours) = self.both(version, &command);
        let null: &[u8] = if version == 1 { b"_\r\n" } else { b"$-1\r\n" };
        let mut is_key = || {
            let key = resp::args(&[b"*1\r\n", &ours[..]].concat()).remove(0);
            self.theirs[0].command(&[b"exists" as &[u8], &key]) == b":1\r\n"
        };
        let is_same = if theirs == null { ours == null } else { ours != null && is_key() };
        if is_same { Ok(()) } else { Err(describe(&command, &theirs, &ours)) }
    }

    /// Compares what whole walks give; errors as they are.
    fn compare_scans(&mut self, version: usize, command: &Words) -> Result<(), String> {
        let (theirs, ours) = self.both(version, command);
        if theirs[0] == b'-' || ours[0] == b'-' {
            let is_same = theirs == ours;
            return if is_same { Ok(()) } else { Err(describe(command, &theirs, &ours)) };
        }
        let theirs = walk(command, |words| self.theirs[version].command(words));
        let mut theirs: Vec<_> = theirs.into_iter().flatten().collect();
        theirs.sort();
        theirs.dedup();
        let ours = walk(command, |words| self.ours.ask(version == 1, words));
        let mut ours: Vec<_> = ours.into_iter().flatten().collect();
        ours.sort();
        if theirs == ours { Ok(()) } else { Err(format!("{theirs:?} but {ours:?}")) }
    }
}

/// Calls `SCAN` until it has come around; the keys of each call.
fn walk(command: &Words, mut ask: impl FnMut(&Words) -> Vec<u8>) -> Vec<Words> {
    let mut command = command.clone();
    let mut all = Vec::new();
    loop {
        let (cursor, keys) = cursor_and_keys(&ask(&command));
        all.push(keys);
        if cursor == b"0" {
            return all;
        }
        command[1] = cursor;
    }
}

/// The two parts of a reply to `SCAN`.
fn cursor_and_keys(reply: &[u8]) -> (Vec<u8>, Words) {
    let rest = reply.strip_prefix(b"*2\r\n").unwrap();
    let (cursor, keys) = rest.split_at(resp::cut_reply(rest).unwrap());
    let cursor = resp::args(&[b"*1\r\n", cursor].concat()).remove(0);
    (cursor, resp::args(keys))
}

/// The elements of an array of values, in order.
fn sorted(reply: &[u8]) -> Vec<Vec<u8>> {
    if reply.first() != Some(&b'*') {
        return vec![reply.to_vec()];
    }
    let mut elements = resp::args(reply);
    elements.sort();
    elements
}

/// Whether two replies are the same number, or two numbers above 0 that are near each other.
fn is_near(theirs: &[u8], ours: &[u8], apart_max: i64) -> bool {
    let number = |reply: &[u8]| -> Option<i64> {
        let text = std::str::from_utf8(reply).ok()?.strip_prefix(':')?.strip_suffix("\r\n")?;
        text.parse().ok().filter(|number| *number > 0)
    };
    match (number(theirs), number(ours)) {
        (Some(theirs), Some(ours)) => (theirs - ours).abs() <= apart_max,
        _ => theirs == ours,
    }
}

fn describe(command: &Words, theirs: &[u8], ours: &[u8]) -> String {
    let command = line_of(command);
    format!("{command}\nredis: {}\nours:  {}", cut_short(theirs), cut_short(ours))
}

fn line_of(command: &Words) -> String {
    let words: Vec<String> = command.iter().map(|word| cut_short(word)).collect();
    words.join(" ")
}

fn cut_short(bytes: &[u8]) -> String {
    show(&bytes[..bytes.len().min(300)])
}
