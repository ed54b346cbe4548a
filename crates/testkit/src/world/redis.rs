//! A Redis small enough to be obviously right, for simulated worlds.
//!
//! It knows what simulated clients use: strings, the commands that are split over servers,
//! transactions with watched keys, and a blocking command. Some keys are slow: their connection
//! answers nothing else meanwhile, as with a server that computes. Errors name the key they are
//! about, so that an error that reaches the wrong client can be told as well.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use keyway_engine::sim::{Incident, Script, Wire};

use crate::resp;

/// What one simulated server stores. Lives as long as its world; connections come and go.
#[derive(Debug, Default)]
pub struct Redis {
    items: HashMap<Vec<u8>, Vec<u8>>,
    /// How often each key was written.
    versions: HashMap<Vec<u8>, u64>,
}

/// One connection: its input, what it is in the middle of, and replies whose time has not come.
#[derive(Debug, Default)]
struct Session {
    input: Vec<u8>,
    is_resp3: bool,
    multi: Option<Vec<Vec<Vec<u8>>>>,
    is_dirty: bool,
    watched: Vec<(Vec<u8>, u64)>,
    replies: VecDeque<(u64, Vec<u8>)>,
    /// When the last reply goes out; none goes before it.
    busy_until: u64,
}

/// The script of one connection to a simulated server.
pub fn connection(store: Rc<RefCell<Redis>>) -> Script {
    let mut session = Session::default();
    Box::new(move |incident: Incident<'_>, wire: &mut Wire| match incident {
        Incident::Received(bytes) => {
            session.input.extend_from_slice(bytes);
            session.requests(&store, wire);
            session.flush(wire);
        }
        Incident::Woken => session.flush(wire),
        _ => {}
    })
}

const MILLISECOND: u64 = 1_000_000;

impl Session {
    fn requests(&mut self, store: &Rc<RefCell<Redis>>, wire: &mut Wire) {
        let mut at = 0;
        while let Some(len) = resp::cut_request(&self.input[at..]) {
            let args = resp::args(&self.input[at..at + len]);
            at += len;
            // A proxy sends arguments, and never a line.
            assert!(!args.is_empty(), "a request has a name");
            let delay = match is_slow(&args) {
                true => (1 + wire.random(40)) * MILLISECOND,
                false => 0,
            };
            let reply = self.answer(&mut store.borrow_mut(), &args);
            self.busy_until = self.busy_until.max(wire.now()) + delay;
            self.replies.push_back((self.busy_until, reply));
        }
        self.input.drain(..at);
    }

    fn flush(&mut self, wire: &mut Wire) {
        while let Some((at, reply)) = self.replies.front() {
            if *at > wire.now() {
                wire.wake_in(*at - wire.now());
                return;
            }
            wire.write(reply);
            self.replies.pop_front();
        }
    }

    fn answer(&mut self, store: &mut Redis, args: &[Vec<u8>]) -> Vec<u8> {
        let name = args[0].to_ascii_lowercase();
        match name.as_slice() {
            b"hello" => {
                self.is_resp3 = args.get(1).is_some_and(|v| v == b"3");
                match self.is_resp3 {
                    true => b"%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n".to_vec(),
                    false => b"*2\r\n$6\r\nserver\r\n$5\r\nredis\r\n".to_vec(),
                }
            }
            b"multi" => {
                assert!(self.multi.is_none(), "a shared connection never sees MULTI twice");
                self.multi = Some(Vec::new());
                b"+OK\r\n".to_vec()
            }
            b"discard" => {
                self.leave();
                b"+OK\r\n".to_vec()
            }
            b"exec" => self.exec(store),
            b"watch" => {
                let versions = args[1..].iter().map(|k| (k.clone(), store.version(k)));
                self.watched.extend(versions);
                b"+OK\r\n".to_vec()
            }
            b"unwatch" => {
                self.watched.clear();
                b"+OK\r\n".to_vec()
            }
            _ => match &mut self.multi {
                Some(queue) => {
                    queue.push(args.to_vec());
                    b"+QUEUED\r\n".to_vec()
                }
                None => store.answer(&name, &args[1..], self.is_resp3),
            },
        }
    }

    fn leave(&mut self) {
        self.multi = None;
        self.is_dirty = false;
        self.watched.clear();
    }

    fn exec(&mut self, store: &mut Redis) -> Vec<u8> {
        let queue = self.multi.take().expect("EXEC follows MULTI on its connection");
        let is_changed = self.watched.iter().any(|(key, seen)| store.version(key) != *seen);
        self.leave();
        if is_changed {
            return if self.is_resp3 { b"_\r\n".to_vec() } else { b"*-1\r\n".to_vec() };
        }
        let mut reply = format!("*{}\r\n", queue.len()).into_bytes();
        for args in queue {
            let name = args[0].to_ascii_lowercase();
            reply.extend(store.answer(&name, &args[1..], self.is_resp3));
        }
        reply
    }
}

/// Whether a request takes its time: blocking ones, and those for slow keys.
fn is_slow(args: &[Vec<u8>]) -> bool {
    args[0].eq_ignore_ascii_case(b"blpop") || args.get(1).is_some_and(|k| k.starts_with(b"slow"))
}

impl Redis {
    fn version(&self, key: &[u8]) -> u64 {
        self.versions.get(key).copied().unwrap_or(0)
    }

    fn change(&mut self, key: &[u8]) {
        *self.versions.entry(key.to_vec()).or_default() += 1;
    }

    fn value(&self, key: &[u8], is_resp3: bool) -> Vec<u8> {
        match self.items.get(key) {
            Some(value) => resp::bulk(value),
            None if is_resp3 => b"_\r\n".to_vec(),
            None => b"$-1\r\n".to_vec(),
        }
    }

    fn answer(&mut self, name: &[u8], args: &[Vec<u8>], is_resp3: bool) -> Vec<u8> {
        match (name, args) {
            (b"ping", _) => b"+PONG\r\n".to_vec(),
            (b"select" | b"auth" | b"client", _) => b"+OK\r\n".to_vec(),
            (b"get", [key]) => self.value(key, is_resp3),
            (b"mget", keys) => {
                let values = keys.iter().flat_map(|key| self.value(key, is_resp3));
                format!("*{}\r\n", keys.len()).into_bytes().into_iter().chain(values).collect()
            }
            (b"set" | b"mset", pairs) => {
                for pair in pairs.chunks(2) {
                    self.change(&pair[0]);
                    self.items.insert(pair[0].clone(), pair[1].clone());
                }
                b"+OK\r\n".to_vec()
            }
            (b"del" | b"unlink", keys) => {
                let mut count = 0;
                for key in keys {
                    self.change(key);
                    count += usize::from(self.items.remove(key).is_some());
                }
                format!(":{count}\r\n").into_bytes()
            }
            (b"exists" | b"touch", keys) => {
                let count = keys.iter().filter(|key| self.items.contains_key(*key)).count();
                format!(":{count}\r\n").into_bytes()
            }
            (b"blpop", [key, ..]) => {
                let element = format!("{}|popped", String::from_utf8_lossy(key));
                [b"*2\r\n".to_vec(), resp::bulk(key), resp::bulk(element)].concat()
            }
            (b"lpush", [key, ..]) => {
                let key = String::from_utf8_lossy(key);
                format!("-WRONGTYPE {key} is no list\r\n").into_bytes()
            }
            _ => panic!("not a request of simulated clients: {}", name.escape_ascii()),
        }
    }
}
