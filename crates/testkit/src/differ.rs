//! Two servers, one stream of commands: are the answers the same, byte for byte?
//!
//! Commands go out in rounds; each round ends with a `ms` whose opaque is unique, so that the end
//! of its replies is certain even when a command before it was broken. What two right servers may
//! say differently is made equal first: CAS numbers, and times that count seconds.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::client::{Client, show};
use crate::commands::Features;

/// One server and what it has shown us.
struct Side {
    addr: SocketAddr,
    client: Client,
    cas: HashMap<String, String>,
}

/// Compares two servers.
pub struct Differ {
    sides: [Side; 2],
    features: Features,
    round: u64,
}

impl Differ {
    /// Connects to both.
    ///
    /// With [`Features::Common`] the texts of error lines may differ: memcached changed them.
    pub fn new(ours: SocketAddr, reference: SocketAddr, features: Features) -> Differ {
        let side = |addr| Side { addr, client: Client::tcp(addr), cas: HashMap::new() };
        Differ { sides: [side(ours), side(reference)], features, round: 0 }
    }

    /// Sends `commands` to both. Returns a description of the first difference.
    pub fn round(&mut self, commands: &[Vec<u8>]) -> Result<(), String> {
        let mut rest = commands;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(until_counting(rest));
            self.part(now)?;
            rest = later;
        }
        Ok(())
    }

    fn part(&mut self, commands: &[Vec<u8>]) -> Result<(), String> {
        self.round += 1;
        let sentinel = format!("O{}", 1_000_000 + self.round);
        let [ours, reference] = &mut self.sides;
        let on_panic = Shown(commands);
        let got = ours.exchange(commands, &sentinel);
        let wanted = reference.exchange(commands, &sentinel);
        drop(on_panic);
        compare(&got, &wanted, self.features)
            .map_err(|text| format!("{text}\ncommands of the round:{}", listed(commands)))
    }
}

/// How many commands may go out together: counting waits until earlier values have been sent.
///
/// memcached counts in place, padding with spaces, unless the item is still on its way to a client;
/// then it makes a new item without padding. What it answers later depends on how fast it sent.
fn until_counting(commands: &[Vec<u8>]) -> usize {
    let counts = |c: &Vec<u8>| [b"inc", b"dec", b"ma "].iter().any(|v| c.starts_with(*v));
    let set_and_counts = |c: &Vec<u8>| c.starts_with(b"set") && c.windows(5).any(|w| w == b"cr ke");
    commands
        .iter()
        .skip(1)
        .position(|c| counts(c) || set_and_counts(c))
        .map_or(commands.len(), |n| n + 1)
}

/// Prints the commands of a round in which a server never answered.
struct Shown<'a>(&'a [Vec<u8>]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("commands of the round:{}", listed(self.0));
        }
    }
}

fn listed(commands: &[Vec<u8>]) -> String {
    commands.iter().map(|c| format!("\n  {}", show(c))).collect()
}

impl Side {
    /// Sends one round and returns everything up to its sentinel, as lines, or up to the close.
    fn exchange(&mut self, commands: &[Vec<u8>], sentinel: &str) -> Vec<String> {
        let mut bytes = Vec::new();
        for command in commands {
            bytes.extend(self.with_cas(command));
        }
        // A command that lacks its value swallows the beginning of what follows.
        bytes.extend(b"mn\r\nmn\r\nmn\r\n");
        bytes.extend(format!("ms sentinel 1 {sentinel}\r\nx\r\n").bytes());
        let mut lines = Vec::new();
        // A server that has closed in the middle shows in what we read; sending may fail then.
        let _ = self.client.try_send(&bytes);
        loop {
            let Some(line) = self.client.try_line() else {
                lines.push("(closed)".to_owned());
                self.client = Client::tcp(self.addr);
                return lines;
            };
            if line == format!("HD {sentinel}") {
                return lines;
            }
            self.learn(&line);
            // 1.6.45 ends the error for a retrieval with too long a key with two line ends.
            if !line.is_empty() || !lines.last().is_some_and(|l| is_error(l)) {
                lines.push(line);
            }
        }
    }

    fn with_cas(&self, command: &[u8]) -> Vec<u8> {
        let end = command.iter().position(|b| *b == b'\n').map_or(command.len(), |n| n + 1);
        let Ok(head) = std::str::from_utf8(&command[..end]) else { return command.to_vec() };
        if !head.contains("{CAS}") {
            return command.to_vec();
        }
        let key = head.split(' ').nth(1).unwrap_or_default();
        let cas = self.cas.get(key).map_or("123456789", String::as_str);
        let mut bytes = head.replace("{CAS}", cas).into_bytes();
        bytes.extend_from_slice(&command[end..]);
        bytes
    }

    /// Remembers the CAS number of a `gets` reply.
    fn learn(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["VALUE", key, _, _, cas] = words.as_slice() {
            self.cas.insert((*key).to_owned(), (*cas).to_owned());
        }
    }
}

fn compare(got: &[String], wanted: &[String], features: Features) -> Result<(), String> {
    for at in 0..got.len().max(wanted.len()) {
        let (ours, theirs) = (got.get(at), wanted.get(at));
        let same = match (ours, theirs) {
            (Some(a), Some(b)) => {
                is_same(a, b) || (features == Features::Common && is_error(a) && is_error(b))
            }
            _ => false,
        };
        if !same {
            let near = wanted[..at.min(wanted.len())].iter().rev().take(5).rev();
            let before: Vec<String> = near.map(|l| show(l.as_bytes())).collect();
            let name = |l: Option<&String>| l.map_or("nothing".into(), |l| show(l.as_bytes()));
            return Err(format!(
                "reply line {at}: got {:?}, the reference says {:?}\nlines before it: {before:?}",
                name(ours),
                name(theirs)
            ));
        }
    }
    Ok(())
}

/// Whether two lines say the same, CAS numbers and seconds aside.
fn is_same(a: &str, b: &str) -> bool {
    if a == b || (a.starts_with("VERSION ") && b.starts_with("VERSION ")) {
        return true;
    }
    let (left, right): (Vec<&str>, Vec<&str>) = (a.split(' ').collect(), b.split(' ').collect());
    if left.len() != right.len() || left[0] != right[0] {
        return false;
    }
    let is_value = left[0] == "VALUE" && left.len() == 5;
    let is_meta = ["HD", "VA"].contains(&left[0]);
    left.iter().zip(&right).enumerate().all(|(at, (l, r))| {
        l == r
            || (is_value && at == 4 && both_numbers(l, r))
            || (is_meta && at > 0 && is_same_flag(l, r))
    })
}

fn is_error(line: &str) -> bool {
    line.starts_with("CLIENT_ERROR ") || line == "ERROR"
}

fn both_numbers(a: &str, b: &str) -> bool {
    a.parse::<u64>().is_ok() && b.parse::<u64>().is_ok()
}

fn is_same_flag(a: &str, b: &str) -> bool {
    if a.is_empty() || b.is_empty() || a.as_bytes()[0] != b.as_bytes()[0] || !a.is_ascii() {
        return false;
    }
    match (a.as_bytes()[0], a[1..].parse::<i64>(), b[1..].parse::<i64>()) {
        (b'c', Ok(_), Ok(_)) => true,
        // Time to live and time since the last access: the two servers are asked one after the
        // other, and their seconds do not begin at the same moment.
        (b't' | b'l', Ok(x), Ok(y)) => (x - y).abs() <= 3 && (x < 0) == (y < 0),
        _ => false,
    }
}
