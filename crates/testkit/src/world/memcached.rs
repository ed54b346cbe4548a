//! A memcached small enough to be obviously right, for simulated worlds.
//!
//! It knows the commands that simulated clients use, in the forms in which a proxy may pass them
//! on: with any order of meta flags, several keys in a get, or `q` turned off.

use std::collections::HashMap;

/// What one simulated server stores. Lives as long as its world; connections come and go.
#[derive(Debug, Default)]
pub struct Memcached {
    items: HashMap<Vec<u8>, (Vec<u8>, Vec<u8>)>,
}

/// Input of one connection that was not complete yet.
#[derive(Debug, Default)]
pub struct Input {
    bytes: Vec<u8>,
}

impl Memcached {
    /// Takes bytes of one connection and returns one element for each complete request: its reply,
    /// which is empty for quiet ones. Panics when a proxy sends what no memcached understands.
    pub fn feed(&mut self, input: &mut Input, bytes: &[u8]) -> Vec<Vec<u8>> {
        input.bytes.extend_from_slice(bytes);
        let mut replies = Vec::new();
        let mut at = 0;
        while let Some((reply, used)) = self.one(&input.bytes[at..]) {
            replies.push(reply);
            at += used;
        }
        input.bytes.drain(..at);
        replies
    }

    fn one(&mut self, bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
        let end = bytes.iter().position(|b| *b == b'\n')?;
        let line = std::str::from_utf8(&bytes[..end]).expect("simulated clients send plain text");
        let words: Vec<&str> =
            line.trim_end_matches('\r').split(' ').filter(|w| !w.is_empty()).collect();
        let length = match words.as_slice() {
            ["set", _, _, _, length, ..] | ["ms", _, length, ..] => Some(length),
            _ => None,
        };
        let Some(length) = length else { return Some((self.answer(&words, &[]), end + 1)) };
        let length: usize = length.parse().expect("lengths were checked before they came here");
        let value = bytes.get(end + 1..end + 1 + length + 2)?;
        assert!(value.ends_with(b"\r\n"), "a value ends where its head says: {line}");
        Some((self.answer(&words, &value[..length]), end + 1 + length + 2))
    }

    fn answer(&mut self, words: &[&str], value: &[u8]) -> Vec<u8> {
        match words {
            ["version"] => b"VERSION 1.6.45-simulated\r\n".to_vec(),
            ["mn"] => b"MN\r\n".to_vec(),
            ["get" | "gets", keys @ ..] => self.get(keys, words[0] == "gets"),
            ["set", key, flags, ..] => {
                let item = (flags.as_bytes().to_vec(), value.to_vec());
                self.items.insert(key.as_bytes().to_vec(), item);
                let is_quiet = words.last() == Some(&"noreply");
                if is_quiet { Vec::new() } else { b"STORED\r\n".to_vec() }
            }
            ["delete", key, ..] => match self.items.remove(key.as_bytes()) {
                Some(_) => b"DELETED\r\n".to_vec(),
                None => b"NOT_FOUND\r\n".to_vec(),
            },
            ["mg", key, flags @ ..] => self.meta_get(key, flags),
            ["ms", key, _, flags @ ..] => {
                self.items.insert(key.as_bytes().to_vec(), (b"0".to_vec(), value.to_vec()));
                meta("HD", key, flags, true)
            }
            ["md", key, flags @ ..] => match self.items.remove(key.as_bytes()) {
                Some(_) => meta("HD", key, flags, true),
                None => meta("NF", key, flags, true),
            },
            _ => panic!("not a request that a proxy may pass on: {words:?}"),
        }
    }

    fn get(&self, keys: &[&str], with_cas: bool) -> Vec<u8> {
        let mut reply = Vec::new();
        for key in keys {
            let Some((flags, value)) = self.items.get(key.as_bytes()) else { continue };
            reply.extend(format!("VALUE {key} ").bytes());
            reply.extend_from_slice(flags);
            reply.extend(
                format!(" {}{}\r\n", value.len(), if with_cas { " 1" } else { "" }).bytes(),
            );
            reply.extend_from_slice(value);
            reply.extend(b"\r\n");
        }
        reply.extend(b"END\r\n");
        reply
    }

    fn meta_get(&self, key: &str, flags: &[&str]) -> Vec<u8> {
        let Some((_, value)) = self.items.get(key.as_bytes()) else {
            return meta("EN", key, flags, true);
        };
        if !flags.contains(&"v") {
            return meta("HD", key, flags, false);
        }
        let mut reply = meta(&format!("VA {}", value.len()), key, flags, false);
        reply.extend_from_slice(value);
        reply.extend(b"\r\n");
        reply
    }
}

/// A meta reply with what the flags want back; nothing if they want quiet and `expected` holds.
fn meta(code: &str, key: &str, flags: &[&str], expected: bool) -> Vec<u8> {
    if expected && flags.contains(&"q") && code != "NF" {
        return Vec::new();
    }
    let mut line = code.to_owned();
    for flag in flags {
        if *flag == "k" {
            line.push_str(&format!(" k{key}"));
        } else if flag.starts_with('O') {
            line.push_str(&format!(" {flag}"));
        }
    }
    line.push_str("\r\n");
    line.into_bytes()
}
