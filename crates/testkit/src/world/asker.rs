//! A simulated client that knows what it may be told.
//!
//! It pipelines random requests and holds every reply against the request that is due: the key must
//! be the one asked for, the opaque the one sent, and the value must say inside that it belongs to
//! that key and, where only this client writes it, that it is the last one written. A reply that
//! slipped by one place cannot pass.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use keyway_engine::sim::{Incident, Wire};

use crate::random::Random;

/// What all clients of a world found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Replies that were right.
    pub replies: u64,
    /// `SERVER_ERROR` replies among them.
    pub errors: u64,
    /// Errors that are not refusals at a limit.
    pub failures: u64,
    /// Values among them.
    pub values: u64,
    /// Clients at work.
    pub active: usize,
    /// Clients that got every reply.
    pub completed: usize,
    /// Clients whose connection broke before.
    pub broken: usize,
    /// Clients that left on purpose while replies were owed.
    pub departed: usize,
    /// Clients that waited too long for a reply.
    pub gave_up: usize,
    /// The last failure, and what it answered.
    pub last_failure: String,
    /// What was due to the client that gave up last.
    pub last_silence: String,
    /// What must not have happened.
    pub violations: Vec<String>,
}

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Requests it makes in all.
    pub requests: usize,
    /// Most requests it has under way.
    pub window: usize,
    /// Longest value it stores, in bytes.
    pub value_bytes_max: usize,
    /// Classic commands only.
    pub is_classic: bool,
    /// Uses quiet modes: only where no error can come, as an error for a quiet request cannot be
    /// told from one for the next.
    pub is_quiet: bool,
    /// Values that only this client writes must be the last ones it wrote.
    pub is_ordered: bool,
    /// Uses transactions and blocking commands, where the protocol has them.
    pub has_sessions: bool,
    /// Leaves in the middle once in so many receptions; 0 is never.
    pub departs_once_in: usize,
    /// Stops reading for a while once in so many receptions; 0 is never.
    pub pauses_once_in: usize,
}

#[derive(Debug)]
enum Due {
    Get { keys: Vec<String>, found: usize, values: Vec<Option<u64>> },
    Line { allowed: &'static [&'static str] },
    MetaGet { key: String, opaque: String, value: Option<u64>, is_quiet: bool },
    Meta { opaque: String, allowed: &'static [&'static str] },
}

/// One simulated client.
pub struct Asker {
    id: usize,
    manner: Manner,
    random: Random,
    findings: Rc<RefCell<Findings>>,
    due: VecDeque<Due>,
    input: Vec<u8>,
    sent: usize,
    /// When something was last received.
    heard: u64,
    next_look: u64,
    is_over: bool,
    written: HashMap<String, u64>,
}

/// What is said to a request that goes beyond a limit.
const REFUSALS: [&str; 2] = ["SERVER_ERROR busy", "SERVER_ERROR object too large for cache"];

const SECOND: u64 = 1_000_000_000;
/// Silence after which a client gives up: far beyond every time limit of the proxy.
const SILENCE: u64 = 2000 * SECOND;

impl Asker {
    /// A client with its own choices.
    pub fn new(id: usize, seed: u64, manner: Manner, findings: Rc<RefCell<Findings>>) -> Asker {
        findings.borrow_mut().active += 1;
        Asker {
            id,
            manner,
            random: Random::new(seed),
            findings,
            due: VecDeque::new(),
            input: Vec::new(),
            sent: 0,
            heard: 0,
            next_look: 0,
            is_over: false,
            written: HashMap::new(),
        }
    }

    /// The script of its connection.
    pub fn incident(&mut self, incident: Incident<'_>, wire: &mut Wire) {
        if self.is_over {
            return;
        }
        match incident {
            Incident::Connected => {
                self.heard = wire.now();
                self.next_look = wire.now() + SILENCE;
                wire.wake_in(SILENCE);
                self.ask(wire);
            }
            Incident::Received(bytes) => {
                self.heard = wire.now();
                self.input.extend_from_slice(bytes);
                self.read(wire);
            }
            Incident::Woken => {
                wire.resume();
                self.watch(wire);
                if wire.now() >= self.next_look {
                    self.next_look = wire.now() + SILENCE;
                    wire.wake_in(SILENCE);
                }
            }
            Incident::Closed(_) => self.over(|f| f.broken += 1),
        }
    }

    fn over(&mut self, count: impl FnOnce(&mut Findings)) {
        self.is_over = true;
        let mut findings = self.findings.borrow_mut();
        findings.active -= 1;
        count(&mut findings);
    }

    fn violation(&mut self, text: String) {
        let text = format!("client {}: {text}", self.id);
        self.findings.borrow_mut().violations.push(text);
    }

    /// Gives up after too long a silence.
    fn watch(&mut self, wire: &mut Wire) {
        if wire.now() >= self.heard + SILENCE {
            wire.reset();
            let due = self.due.front().map(|d| format!("{d:?}"));
            self.findings.borrow_mut().last_silence = due.unwrap_or_default();
            self.over(|f| f.gave_up += 1);
        }
    }

    fn read(&mut self, wire: &mut Wire) {
        let mut at = 0;
        while let Some(used) = self.reply(at) {
            at += used;
        }
        self.input.drain(..at);
        if !self.findings.borrow().violations.is_empty() {
            wire.reset();
            self.over(|_| ());
        } else if self.chance(self.manner.departs_once_in) {
            if self.random.once_in(2) {
                wire.reset()
            } else {
                wire.close()
            }
            self.over(|f| f.departed += 1);
        } else if self.sent == self.manner.requests && self.due.is_empty() {
            wire.close();
            self.over(|f| f.completed += 1);
        } else {
            if self.chance(self.manner.pauses_once_in) {
                wire.pause();
                wire.wake_in(self.random.below(300) as u64 * SECOND / 1000);
            }
            self.ask(wire);
        }
    }

    fn chance(&mut self, once_in: usize) -> bool {
        once_in > 0 && self.random.once_in(once_in)
    }

    // What is asked.

    fn ask(&mut self, wire: &mut Wire) {
        let room = self.manner.window.saturating_sub(self.due.len());
        let left = self.manner.requests - self.sent;
        let count = room.min(left).min(1 + self.random.below(self.manner.window));
        let mut bytes = Vec::new();
        for _ in 0..count {
            self.sent += 1;
            self.request(&mut bytes);
        }
        if count > 0 && self.manner.is_quiet {
            // A burst may end with quiet requests; this says that they were seen.
            bytes.extend(b"mn\r\n");
            self.due.push_back(Due::Line { allowed: &["MN"] });
        }
        if !bytes.is_empty() {
            wire.write(&bytes);
        }
    }

    fn key(&mut self) -> String {
        match self.random.once_in(3) {
            true => format!("own{}-{}", self.id, self.random.below(4)),
            false => format!("shared{}", self.random.below(20)),
        }
    }

    fn value(&mut self, key: &str) -> String {
        let seq = self.sent as u64;
        if key.starts_with("own") {
            self.written.insert(key.to_owned(), seq);
        }
        let most = if self.random.once_in(8) { self.manner.value_bytes_max } else { 60 };
        let padding = "v".repeat(self.random.below(most + 1));
        format!("{key}|{}|{seq}|{padding}|{key}", self.id)
    }

    /// The number that the next value of `key` must have, if we can know.
    fn last_written(&self, key: &str) -> Option<u64> {
        self.written.get(key).copied().filter(|_| self.manner.is_ordered)
    }

    fn request(&mut self, bytes: &mut Vec<u8>) {
        let kinds = if self.manner.is_classic { 60 } else { 100 };
        let key = self.key();
        match self.random.below(kinds) {
            0..20 => self.get(key, bytes),
            20..30 => {
                let count = 1 + self.random.below(12);
                let keys = (0..count).map(|_| self.key()).collect();
                self.get_many(keys, bytes);
            }
            30..52 => {
                let value = self.value(&key);
                let noreply = self.manner.is_quiet && self.random.once_in(4);
                let last = if noreply { " noreply" } else { "" };
                bytes.extend(format!("set {key} 0 0 {}{last}\r\n{value}\r\n", value.len()).bytes());
                if !noreply {
                    self.due.push_back(Due::Line { allowed: &["STORED"] });
                }
            }
            52..60 => {
                self.written.remove(&key);
                bytes.extend(format!("delete {key}\r\n").bytes());
                self.due.push_back(Due::Line { allowed: &["DELETED", "NOT_FOUND"] });
            }
            60..78 => self.meta_get(key, bytes),
            78..90 => {
                let value = self.value(&key);
                let opaque = self.opaque();
                bytes.extend(format!("ms {key} {} {opaque} k\r\n{value}\r\n", value.len()).bytes());
                self.due.push_back(Due::Meta { opaque, allowed: &["HD"] });
            }
            90..96 => {
                self.written.remove(&key);
                let opaque = self.opaque();
                bytes.extend(format!("md {key} k {opaque}\r\n").bytes());
                self.due.push_back(Due::Meta { opaque, allowed: &["HD", "NF"] });
            }
            _ => {
                bytes.extend(b"mn\r\n");
                self.due.push_back(Due::Line { allowed: &["MN"] });
            }
        }
    }

    fn opaque(&mut self) -> String {
        format!("O{}x{}", self.id, self.sent)
    }

    fn get(&mut self, key: String, bytes: &mut Vec<u8>) {
        self.get_many(vec![key], bytes);
    }

    fn get_many(&mut self, keys: Vec<String>, bytes: &mut Vec<u8>) {
        bytes.extend(format!("get {}\r\n", keys.join(" ")).bytes());
        let values = keys.iter().map(|k| self.last_written(k)).collect();
        self.due.push_back(Due::Get { keys, found: 0, values });
    }

    fn meta_get(&mut self, key: String, bytes: &mut Vec<u8>) {
        let opaque = self.opaque();
        let value = self.last_written(&key);
        let is_quiet = self.manner.is_quiet && self.random.once_in(3);
        let quiet = if is_quiet { " q" } else { "" };
        bytes.extend(format!("mg {key} v {opaque}{quiet}\r\n").bytes());
        self.due.push_back(Due::MetaGet { key, opaque, value, is_quiet });
    }

    // What is answered.

    /// Reads one reply, or one value of several, at `at`. Returns how many bytes it has, or `None`
    /// when it is not complete (or is wrong).
    fn reply(&mut self, at: usize) -> Option<usize> {
        let input = &self.input[at..];
        let end = input.iter().position(|b| *b == b'\n')?;
        let line = String::from_utf8_lossy(&input[..end]).trim_end_matches('\r').to_owned();
        let words: Vec<&str> = line.split(' ').collect();
        let length = match words.as_slice() {
            ["VALUE", _, _, length, ..] | ["VA", length, ..] => Some(length.parse::<usize>().ok()?),
            _ => None,
        };
        let used = end + 1 + length.map_or(0, |n| n + 2);
        let value = input.get(end + 1..used)?.to_vec();
        let value = length.map(|n| String::from_utf8_lossy(&value[..n]).into_owned());
        match self.check(&words, value.as_deref()) {
            Ok(()) => Some(used),
            Err(text) => {
                self.violation(format!("{text}; reply {line:?}, value {value:?}"));
                None
            }
        }
    }

    fn check(&mut self, words: &[&str], value: Option<&str>) -> Result<(), String> {
        loop {
            let Some(due) = self.due.pop_front() else {
                return Err("a reply that nobody asked for".into());
            };
            if let Due::MetaGet { opaque, is_quiet: true, value: None, .. } = &due {
                // A quiet miss says nothing: then this reply is for the next request.
                if words[0] != "VA" || !words.contains(&opaque.as_str()) {
                    continue;
                }
            }
            return self.check_due(due, words, value);
        }
    }

    fn check_due(&mut self, due: Due, words: &[&str], value: Option<&str>) -> Result<(), String> {
        self.findings.borrow_mut().replies += 1;
        if words[0] == "SERVER_ERROR" {
            let mut findings = self.findings.borrow_mut();
            findings.errors += 1;
            if !REFUSALS.contains(&words.join(" ").as_str()) {
                findings.failures += 1;
                findings.last_failure = format!("{} to {due:?}", words.join(" "));
            }
            return Ok(());
        }
        let wrong = format!("due was {due:?}");
        match due {
            Due::Line { allowed } | Due::Meta { allowed, .. } if !allowed.contains(&words[0]) => {
                Err(wrong)
            }
            Due::Line { .. } if words.len() == 1 => Ok(()),
            Due::Meta { opaque, .. } if words.contains(&opaque.as_str()) => Ok(()),
            Due::Line { .. } | Due::Meta { .. } => Err(wrong),
            Due::Get { keys, found, values } => self.check_get(keys, found, values, words, value),
            Due::MetaGet { key, value: seq, opaque, .. } => match (words[0], value) {
                ("EN", None) if seq.is_none() => Ok(()),
                ("VA", Some(value)) if words.contains(&opaque.as_str()) => {
                    self.check_value(&key, seq, value)
                }
                _ => Err(wrong),
            },
        }
    }

    fn check_get(
        &mut self,
        keys: Vec<String>,
        found: usize,
        values: Vec<Option<u64>>,
        words: &[&str],
        value: Option<&str>,
    ) -> Result<(), String> {
        match (words, value) {
            (["END"], None) => match values[found..].iter().position(Option::is_some) {
                Some(n) => Err(format!("{} was written and is missing", keys[found + n])),
                None => Ok(()),
            },
            (["VALUE", key, ..], Some(value)) => {
                let Some(n) = keys[found..].iter().position(|k| k == key) else {
                    return Err(format!("{key} was not asked for, or not there: {keys:?}"));
                };
                self.check_value(key, values[found + n], value)?;
                if let Some(missing) = values[found..found + n].iter().position(Option::is_some) {
                    return Err(format!("{} is missing", keys[found + missing]));
                }
                self.due.push_front(Due::Get { keys, found: found + n + 1, values });
                Ok(())
            }
            _ => Err(format!("not a reply to get {keys:?}")),
        }
    }

    fn check_value(&mut self, key: &str, seq: Option<u64>, value: &str) -> Result<(), String> {
        self.findings.borrow_mut().values += 1;
        let parts: Vec<&str> = value.split('|').collect();
        let [first, _, number, _, last] = parts.as_slice() else {
            return Err(format!("a value of {key} that nobody wrote"));
        };
        if *first != key || *last != key {
            return Err(format!("{key} was asked for and the value is of {first} or {last}"));
        }
        match seq {
            Some(seq) if number.parse() != Ok(seq) => {
                Err(format!("{key} was last written as number {seq}"))
            }
            _ => Ok(()),
        }
    }
}
