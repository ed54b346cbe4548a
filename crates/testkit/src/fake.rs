//! A memcached that misbehaves on request: real TCP, one thread for each connection.
//!
//! A test gives a function from what was asked to the steps of the answer. [`Fake::honest`] is the
//! function that answers as memcached would for `get`, `set`, `delete` and `version`, so that a
//! test only writes down where its backend is different.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use crate::peer::{Peer, Place, Received};
pub use crate::peer::{Step, send};
use crate::port;

/// One request as the fake received it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which connection, counted from 0.
    pub conn: usize,
    /// Which request of that connection, counted from 0; the handshake's `version` counts.
    pub nth: usize,
    /// The line without its end.
    pub line: String,
    /// The value, for commands that carry one.
    pub value: Vec<u8>,
}

impl Asked {
    fn new(received: &Received) -> Asked {
        let bytes = &received.bytes;
        let end = bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| n + 1);
        let line = String::from_utf8_lossy(&bytes[..end]).trim_end_matches(['\r', '\n']).to_owned();
        let value = bytes[end..].strip_suffix(b"\r\n").unwrap_or(&bytes[end..]).to_vec();
        Asked { conn: received.conn, nth: received.nth, line, value }
    }

    /// The words of the line.
    pub fn words(&self) -> Vec<&str> {
        self.line.split(' ').filter(|w| !w.is_empty()).collect()
    }

    /// Whether this is the handshake of a new connection.
    pub fn is_version(&self) -> bool {
        self.line == "version"
    }
}

/// A fake backend. It stops when dropped.
pub struct Fake {
    /// Where it listens.
    pub addr: SocketAddr,
    peer: Peer,
}

impl Fake {
    /// Starts a backend that answers with what `script` says, on a free port.
    pub fn start(script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static) -> Fake {
        Fake::start_at(port::local(), script)
    }

    /// Starts it at a given address.
    #[track_caller]
    pub fn start_at(
        addr: SocketAddr,
        script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
    ) -> Fake {
        let peer = Peer::start_at(Place::Tcp(addr), cut, move |r| script(&Asked::new(r)));
        Fake { addr, peer }
    }

    /// A backend that stores and answers like memcached, for the commands that tests use.
    pub fn honest() -> Fake {
        let store = Honest::default();
        Fake::start(move |asked| store.answer(asked))
    }

    /// Everything asked so far, handshakes included, in order of arrival.
    pub fn log(&self) -> Vec<Asked> {
        self.peer.log().iter().map(Asked::new).collect()
    }

    /// The lines asked so far, without handshakes.
    pub fn lines(&self) -> Vec<String> {
        self.log().into_iter().filter(|a| !a.is_version()).map(|a| a.line).collect()
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> usize {
        self.peer.accepted()
    }
}

/// The store of an honest fake; scripts use it for what they do not change.
#[derive(Default)]
pub struct Honest {
    items: Mutex<HashMap<String, (String, Vec<u8>)>>,
}

impl Honest {
    /// The right answer to `get`, `gets`, `set`, `delete`, `mg … v`, `ms`, `mn` and `version`.
    pub fn answer(&self, asked: &Asked) -> Vec<Step> {
        let words = asked.words();
        let mut items = self.items.lock().expect("answering never panics");
        let reply = match words.as_slice() {
            ["version", ..] => b"VERSION 1.6.45-fake\r\n".to_vec(),
            ["mn"] => b"MN\r\n".to_vec(),
            ["get" | "gets", keys @ ..] => {
                let mut reply = Vec::new();
                for key in keys {
                    if let Some((flags, value)) = items.get(*key) {
                        reply.extend(format!("VALUE {key} {flags} {}\r\n", value.len()).bytes());
                        reply.extend_from_slice(value);
                        reply.extend(b"\r\n");
                    }
                }
                reply.extend(b"END\r\n");
                reply
            }
            ["mg", key, flags @ ..] => match items.get(*key) {
                None => b"EN\r\n".to_vec(),
                Some((_, value)) => {
                    let echo: Vec<&str> =
                        flags.iter().copied().filter(|f| f.starts_with('O')).collect();
                    let echo: String = echo.iter().map(|f| format!(" {f}")).collect();
                    let mut reply = format!("VA {}{echo}\r\n", value.len()).into_bytes();
                    reply.extend_from_slice(value);
                    reply.extend(b"\r\n");
                    reply
                }
            },
            ["set", key, flags, ..] => {
                items.insert((*key).to_owned(), ((*flags).to_owned(), asked.value.clone()));
                b"STORED\r\n".to_vec()
            }
            ["ms", key, ..] => {
                items.insert((*key).to_owned(), ("0".to_owned(), asked.value.clone()));
                b"HD\r\n".to_vec()
            }
            ["delete", key, ..] => match items.remove(*key) {
                Some(_) => b"DELETED\r\n".to_vec(),
                None => b"NOT_FOUND\r\n".to_vec(),
            },
            _ => b"ERROR\r\n".to_vec(),
        };
        vec![Step::Send(reply)]
    }
}

/// A request is a line, and the value that it announces.
fn cut(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|b| *b == b'\n')?;
    let line = String::from_utf8_lossy(&bytes[..end]).trim_end_matches('\r').to_owned();
    let len = end + 1 + value_bytes(&line).map_or(0, |n| n + 2);
    (bytes.len() >= len).then_some(len)
}

/// The length of the value that follows a line, if one follows.
fn value_bytes(line: &str) -> Option<usize> {
    let words: Vec<&str> = line.split(' ').filter(|w| !w.is_empty()).collect();
    match words.as_slice() {
        ["set" | "add" | "replace" | "append" | "prepend" | "cas", _, _, _, len, ..] => {
            len.parse().ok()
        }
        ["ms", _, len, ..] => len.parse().ok(),
        _ => None,
    }
}
