//! A simulated Redis client that knows what it may be told.
//!
//! It pipelines random requests: answered by the proxy itself, by one server, split over several,
//! slow, failing, in transactions, blocking, and without reply. Values and errors carry their keys,
//! so a reply that slipped by one place cannot pass. Where only this client writes a key and
//! nothing
//! breaks, the value must be the last one it wrote, whatever connection carried the two.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use keyway_engine::sim::{Incident, Wire};

use crate::random::Random;
use crate::resp;
use crate::world::asker::{Findings, Manner};

#[derive(Clone, Debug)]
enum Due {
    /// Exactly these bytes.
    Bytes(Vec<u8>),
    /// Any map or array: the greeting.
    Greeting,
    /// The value of a key, with the number it must have if we can know.
    Value(String, Known),
    /// The values of these keys.
    Values(Vec<(String, Known)>),
    /// How many of so many keys there were.
    Count(usize),
    /// An error that names this key.
    Refusal(String),
    /// What a blocking command got for this key.
    Popped(String),
    /// The replies of a transaction; it may have failed where a watched key was not only ours.
    Executed(Vec<Due>, bool),
}

/// What is known about a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Others write this key, or something may have been lost.
    Nothing,
    /// It is not there.
    Missing,
    /// It has this number.
    Number(u64),
}

/// One simulated client.
pub struct RedisAsker {
    id: usize,
    manner: Manner,
    random: Random,
    findings: Rc<RefCell<Findings>>,
    due: VecDeque<Due>,
    input: Vec<u8>,
    sent: usize,
    heard: u64,
    next_look: u64,
    is_over: bool,
    is_resp3: bool,
    written: HashMap<String, Known>,
}

const SECOND: u64 = 1_000_000_000;
/// Silence after which a client gives up: far beyond every time limit of the proxy.
const SILENCE: u64 = 2000 * SECOND;

impl RedisAsker {
    /// A client with its own choices.
    pub fn new(id: usize, seed: u64, manner: Manner, findings: Rc<RefCell<Findings>>) -> Self {
        findings.borrow_mut().active += 1;
        let mut random = Random::new(seed);
        RedisAsker {
            id,
            manner,
            is_resp3: random.once_in(2),
            random,
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
                if self.is_resp3 {
                    wire.write(&resp::request(&["HELLO", "3"]));
                    self.due.push_back(Due::Greeting);
                }
                self.ask(wire);
            }
            Incident::Received(bytes) => {
                self.heard = wire.now();
                self.input.extend_from_slice(bytes);
                self.read(wire);
            }
            Incident::Woken => {
                wire.resume();
                if wire.now() >= self.heard + SILENCE {
                    wire.reset();
                    let due = self.due.front().map(|d| format!("{d:?}"));
                    self.findings.borrow_mut().last_silence = due.unwrap_or_default();
                    self.over(|f| f.gave_up += 1);
                } else if wire.now() >= self.next_look {
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

    fn read(&mut self, wire: &mut Wire) {
        let mut at = 0;
        while let Some(len) = resp::cut_reply(&self.input[at..]) {
            let reply = self.input[at..at + len].to_vec();
            at += len;
            if let Err(text) = self.check(&reply) {
                let text = format!("client {}: {text}; got {}", self.id, reply.escape_ascii());
                self.findings.borrow_mut().violations.push(text);
                wire.reset();
                return self.over(|_| ());
            }
        }
        self.input.drain(..at);
        if self.chance(self.manner.departs_once_in) {
            if self.random.once_in(2) {
                wire.reset()
            } else {
                wire.close()
            }
            self.over(|f| f.departed += 1);
        } else if self.sent >= self.manner.requests && self.due.is_empty() {
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
        let left = self.manner.requests.saturating_sub(self.sent);
        let count = room.min(left).min(1 + self.random.below(self.manner.window));
        let mut bytes = Vec::new();
        for _ in 0..count {
            self.sent += 1;
            self.request(&mut bytes);
        }
        if !bytes.is_empty() {
            wire.write(&bytes);
        }
    }

    fn request(&mut self, bytes: &mut Vec<u8>) {
        let due = match self.random.below(100) {
            0..8 => self.local(bytes),
            8..14 if self.manner.has_sessions => self.transaction(bytes),
            14..18 if self.manner.has_sessions => {
                let key = format!("list{}", self.random.below(10));
                bytes.extend(resp::request(&["BLPOP", &key, "0"]));
                Due::Popped(key)
            }
            18..24 => return self.unanswered(bytes),
            _ => {
                let (args, due) = self.command();
                bytes.extend(resp::request(&args));
                due
            }
        };
        self.due.push_back(due);
    }

    /// Something that the proxy answers itself.
    fn local(&mut self, bytes: &mut Vec<u8>) -> Due {
        let text = format!("{}x{}", self.id, self.sent);
        match self.random.below(3) {
            0 => {
                bytes.extend(resp::request(&["PING"]));
                Due::Bytes(b"+PONG\r\n".to_vec())
            }
            1 => {
                bytes.extend(resp::request(&["echo", &text]));
                Due::Bytes(resp::bulk(text))
            }
            _ => {
                bytes.extend(resp::request(&["CLIENT", "SETNAME", &text]));
                Due::Bytes(b"+OK\r\n".to_vec())
            }
        }
    }

    /// A request whose reply the client does not want.
    fn unanswered(&mut self, bytes: &mut Vec<u8>) {
        let (args, _) = self.command();
        bytes.extend(resp::request(&["CLIENT", "REPLY", "SKIP"]));
        bytes.extend(resp::request(&args));
        // Says that both were seen.
        let text = format!("skipped{}x{}", self.id, self.sent);
        bytes.extend(resp::request(&["ECHO", &text]));
        self.due.push_back(Due::Bytes(resp::bulk(text)));
    }

    /// A transaction on one key: what it says must be what it sees.
    fn transaction(&mut self, bytes: &mut Vec<u8>) -> Due {
        let key = self.key();
        let watches = self.random.once_in(3);
        if watches {
            bytes.extend(resp::request(&["WATCH", &key]));
            self.due.push_back(Due::Bytes(b"+OK\r\n".to_vec()));
        }
        bytes.extend(resp::request(&["MULTI"]));
        self.due.push_back(Due::Bytes(b"+OK\r\n".to_vec()));
        // A connection that was lost may have missed a change as well.
        let may_fail = watches && !(key.starts_with("own") && self.manner.is_ordered);
        let before = self.known(&key);
        let mut dues = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let (args, due) = match self.random.once_in(2) {
                true => self.set(&key),
                false => {
                    (vec!["get".into(), key.clone()], Due::Value(key.clone(), self.known(&key)))
                }
            };
            bytes.extend(resp::request(&args));
            self.due.push_back(Due::Bytes(b"+QUEUED\r\n".to_vec()));
            dues.push(due);
        }
        if self.random.once_in(5) {
            bytes.extend(resp::request(&["DISCARD"]));
            self.written.insert(key, before);
            return Due::Bytes(b"+OK\r\n".to_vec());
        }
        bytes.extend(resp::request(&["EXEC"]));
        Due::Executed(dues, may_fail)
    }

    /// A command for servers, and what is due for it.
    fn command(&mut self) -> (Vec<String>, Due) {
        let key = self.key();
        match self.random.below(12) {
            0..4 => {
                let known = self.known(&key);
                (vec!["GET".into(), key.clone()], Due::Value(key, known))
            }
            4..6 => self.set(&key),
            6 => {
                let key = format!("slow{}", self.random.below(5));
                (vec!["get".into(), key.clone()], Due::Value(key, Known::Nothing))
            }
            7..9 => {
                let keys = self.keys();
                let values = keys.iter().map(|k| (k.clone(), self.known(k))).collect();
                let args = std::iter::once("mget".to_owned()).chain(keys).collect();
                (args, Due::Values(values))
            }
            9 => {
                let mut args = vec!["MSET".to_owned()];
                for key in self.keys() {
                    let (mut set, _) = self.set(&key);
                    args.extend(set.drain(1..));
                }
                (args, Due::Bytes(b"+OK\r\n".to_vec()))
            }
            10 => {
                let name = self.random.pick(&["del", "UNLINK", "exists", "touch"]);
                let keys = self.keys();
                if ["del", "UNLINK"].contains(&name) {
                    keys.iter().for_each(|k| self.note(k, Known::Missing));
                }
                let count = keys.len();
                let args = std::iter::once(name.to_owned()).chain(keys).collect();
                (args, Due::Count(count))
            }
            _ => (vec!["lpush".into(), key.clone(), "x".into()], Due::Refusal(key)),
        }
    }

    fn key(&mut self) -> String {
        match self.random.once_in(3) {
            true => format!("own{}-{}", self.id, self.random.below(4)),
            false => format!("shared{}", self.random.below(20)),
        }
    }

    fn keys(&mut self) -> Vec<String> {
        let count = 1 + self.random.below(8);
        let mut keys: Vec<String> = (0..count).map(|_| self.key()).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    fn set(&mut self, key: &str) -> (Vec<String>, Due) {
        let seq = self.random.bits() >> 20;
        self.note(key, Known::Number(seq));
        let most = if self.random.once_in(8) { self.manner.value_bytes_max } else { 60 };
        let padding = "v".repeat(self.random.below(most + 1));
        let value = format!("{key}|{}|{seq}|{padding}|{key}", self.id);
        (vec!["set".into(), key.into(), value], Due::Bytes(b"+OK\r\n".to_vec()))
    }

    fn note(&mut self, key: &str, known: Known) {
        if key.starts_with("own") {
            self.written.insert(key.to_owned(), known);
        }
    }

    fn known(&self, key: &str) -> Known {
        let known = self.written.get(key).copied().unwrap_or(Known::Nothing);
        if self.manner.is_ordered { known } else { Known::Nothing }
    }

    // What is answered.

    fn check(&mut self, reply: &[u8]) -> Result<(), String> {
        let Some(due) = self.due.pop_front() else {
            return Err("a reply that nobody asked for".into());
        };
        self.findings.borrow_mut().replies += 1;
        // A failure: of one request, or of the transaction it belongs to.
        if reply[0] == b'-' && !matches!(due, Due::Refusal(_)) {
            return self.failed(reply, &due);
        }
        self.check_due(&due, reply).map_err(|text| format!("due was {due:?}: {text}"))
    }

    fn failed(&mut self, reply: &[u8], due: &Due) -> Result<(), String> {
        let text = String::from_utf8_lossy(reply).into_owned();
        // A server's own error is for the request that it names.
        if text.starts_with("-WRONGTYPE") {
            return Err(format!("due was {due:?}"));
        }
        let mut findings = self.findings.borrow_mut();
        findings.errors += 1;
        findings.failures += 1;
        findings.last_failure = format!("{text} to {due:?}");
        Ok(())
    }

    fn check_due(&mut self, due: &Due, reply: &[u8]) -> Result<(), String> {
        let claim = |holds: bool| if holds { Ok(()) } else { Err(String::new()) };
        match due {
            Due::Bytes(bytes) => claim(reply == bytes),
            Due::Greeting => claim(reply[0] == b'%'),
            Due::Count(most) => {
                let text = String::from_utf8_lossy(&reply[1..]);
                claim(reply[0] == b':' && text.trim().parse::<usize>().is_ok_and(|n| n <= *most))
            }
            Due::Refusal(key) => {
                let text = String::from_utf8_lossy(reply);
                let is_failure = text.starts_with("-ERR");
                if is_failure {
                    return self.failed(reply, due);
                }
                claim(text == format!("-WRONGTYPE {key} is no list\r\n"))
            }
            Due::Popped(key) => {
                let element = format!("{key}|popped");
                claim(reply == [b"*2\r\n".to_vec(), resp::bulk(key), resp::bulk(element)].concat())
            }
            Due::Value(key, known) => self.check_value(key, *known, reply),
            Due::Values(values) => {
                let elements = elements(reply).ok_or("no array")?;
                claim(elements.len() == values.len())?;
                let mut pairs = values.iter().zip(elements);
                pairs.try_for_each(|((key, known), value)| self.check_value(key, *known, value))
            }
            Due::Executed(_, true) if is_null(reply) => Ok(()),
            Due::Executed(dues, _) => {
                let elements = elements(reply).ok_or("no array")?;
                claim(elements.len() == dues.len())?;
                let mut pairs = dues.iter().zip(elements);
                pairs.try_for_each(|(due, element)| self.check_due(due, element))
            }
        }
    }

    fn check_value(&mut self, key: &str, known: Known, reply: &[u8]) -> Result<(), String> {
        if is_null(reply) {
            // Each version of the protocol has its own.
            if (reply == b"_\r\n") != self.is_resp3 {
                return Err(format!("a null of the other version for {key}"));
            }
            let is_right = !matches!(known, Known::Number(_));
            return if is_right { Ok(()) } else { Err(format!("{key} is missing")) };
        }
        if known == Known::Missing {
            return Err(format!("{key} was deleted"));
        }
        let text = String::from_utf8_lossy(reply);
        let value = text.split_once("\r\n").map_or("", |(_, value)| value.trim_end());
        let parts: Vec<&str> = value.split('|').collect();
        let [first, _, number, _, last] = parts.as_slice() else {
            return Err(format!("a value of {key} that nobody wrote"));
        };
        self.findings.borrow_mut().values += 1;
        if *first != key || *last != key {
            return Err(format!("{key} was asked for and the value is of {first} or {last}"));
        }
        match known {
            Known::Number(seq) if number.parse() != Ok(seq) => {
                Err(format!("{key} was last written as number {seq}"))
            }
            _ => Ok(()),
        }
    }
}

fn is_null(reply: &[u8]) -> bool {
    [b"$-1\r\n".as_slice(), b"*-1\r\n", b"_\r\n"].contains(&reply)
}

/// The elements of an array.
fn elements(reply: &[u8]) -> Option<Vec<&[u8]>> {
    let head = reply.iter().position(|b| *b == b'\n')? + 1;
    if reply[0] != b'*' {
        return None;
    }
    let mut rest = &reply[head..];
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (element, more) = rest.split_at(resp::cut_reply(rest)?);
        all.push(element);
        rest = more;
    }
    Some(all)
}
