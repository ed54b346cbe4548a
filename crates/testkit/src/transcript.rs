//! Conversations as text: what clients send, what backends are asked and answer, what comes back.
//!
//! A file holds cases. Each begins with `== name` and goes on with lines, in order of time:
//!
//! ```text
//! C: get a            a client sends this line (C2: another client)
//! R: get a            the backend receives exactly this line (R2: the second backend)
//! B: END              the backend sends this line
//! S: END              the client receives exactly this line
//! X:                  the client's connection is closed, and nothing came before that
//! K:                  the backend closes its connection
//! ```
//!
//! Every line stands for its bytes and CR LF. Small letters (`c:`, `b:`) leave the line end out.
//! `\r`, `\n`, `\0`, `\\`, `\xNN` and `\{N}` (the byte before it, N times in all) are escapes.
//! Lines that begin with `#` are comments.

use std::net::SocketAddr;
use std::path::Path;

use crate::client::Client;
use crate::listener::Scripted;

/// One conversation.
#[derive(Clone, Debug)]
pub struct Case {
    /// File and name.
    pub name: String,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One line of a conversation.
#[derive(Clone, Debug)]
pub struct Step {
    /// Line number in its file.
    pub line: usize,
    /// What happens.
    pub act: Act,
    /// Which client or backend, counted from 0.
    pub index: usize,
    /// The bytes that are sent or awaited.
    pub bytes: Vec<u8>,
}

/// Who does what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A client sends.
    ClientSends,
    /// A client receives.
    ClientGets,
    /// A client's connection is closed.
    ClientClosed,
    /// A backend sends.
    BackendSends,
    /// A backend receives.
    BackendGets,
    /// A backend closes.
    BackendCloses,
}

/// Reads all cases of a file. Panics with the place of what it does not understand.
pub fn load(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    parse(file, &text)
}

/// Reads all files of a folder whose names end in `.txt`.
pub fn load_all(dir: &Path) -> Vec<Case> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "txt"));
    paths.sort();
    paths.iter().flat_map(|p| load(p)).collect()
}

/// Reads cases from text; `file` names it in messages.
pub fn parse(file: &str, text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        if let Some(name) = line.strip_prefix("== ") {
            cases.push(Case { name: format!("{file}: {name}"), steps: Vec::new() });
        } else if !line.is_empty() && !line.starts_with('#') {
            let step = step(line, number).unwrap_or_else(|| panic!("{file}:{number}: {line:?}"));
            let case = cases.last_mut();
            case.unwrap_or_else(|| panic!("{file}:{number}: no case yet")).steps.push(step);
        }
    }
    cases
}

fn step(line: &str, number: usize) -> Option<Step> {
    let (who, rest) = line.split_once(':')?;
    let (letter, index) = who.split_at(1);
    let index = if index.is_empty() { 0 } else { index.parse::<usize>().ok()?.checked_sub(1)? };
    let mut bytes = unescape(rest.strip_prefix(' ').unwrap_or(rest))?;
    let act = match letter {
        "C" | "c" => Act::ClientSends,
        "S" | "s" => Act::ClientGets,
        "X" => Act::ClientClosed,
        "B" | "b" => Act::BackendSends,
        "R" | "r" => Act::BackendGets,
        "K" => Act::BackendCloses,
        _ => return None,
    };
    if letter.as_bytes()[0].is_ascii_uppercase() {
        bytes.extend(b"\r\n");
    }
    Some(Step { line: number, act, index, bytes })
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend(rest[..at].bytes());
        rest = &rest[at + 1..];
        let kind = rest.chars().next()?;
        rest = &rest[kind.len_utf8()..];
        match kind {
            'r' => bytes.push(b'\r'),
            'n' => bytes.push(b'\n'),
            '0' => bytes.push(0),
            '\\' => bytes.push(b'\\'),
            'x' => {
                bytes.push(u8::from_str_radix(rest.get(..2)?, 16).ok()?);
                rest = &rest[2..];
            }
            '{' => {
                let (count, after) = rest.split_once('}')?;
                let last = *bytes.last()?;
                bytes.extend(std::iter::repeat_n(last, count.parse::<usize>().ok()? - 1));
                rest = after;
            }
            _ => return None,
        }
    }
    bytes.extend(rest.bytes());
    Some(bytes)
}

/// Plays one case against a server at `addr`, with `backends` being ours to play. Panics at the
/// first thing that is not as written; the message of the panic says what, a line before it where.
pub fn play(case: &Case, addr: SocketAddr, backends: &mut [Scripted]) {
    let mut clients: Vec<Option<Client>> = Vec::new();
    for step in &case.steps {
        let place = Place(case, step.line);
        let is_client = matches!(step.act, Act::ClientSends | Act::ClientGets | Act::ClientClosed);
        if is_client && clients.len() <= step.index {
            clients.resize_with(step.index + 1, || None);
        }
        match step.act {
            Act::ClientSends => {
                let client = clients[step.index].get_or_insert_with(|| Client::tcp(addr));
                client.send(&step.bytes);
            }
            Act::ClientGets => known(&mut clients[step.index]).expect(&step.bytes),
            Act::ClientClosed => known(&mut clients[step.index]).expect_close(),
            Act::BackendSends => backends[step.index].send(&step.bytes),
            Act::BackendGets => backends[step.index].expect(&step.bytes),
            Act::BackendCloses => backends[step.index].close(),
        }
        drop(place);
    }
    // Nothing may follow what was written down: an extra reply would be somebody else's.
    for client in clients.iter_mut().flatten() {
        client.finish_sending();
        let rest = client.drain();
        assert!(rest.is_empty(), "{}: left over: {}", case.name, rest.escape_ascii());
    }
}

/// Plays all cases, and panics at the end when some went wrong, so that one run shows them all.
pub fn play_all(cases: &[Case], addr: SocketAddr, backends: &mut [Scripted]) {
    let mut wrong = Vec::new();
    for case in cases {
        let played = std::panic::AssertUnwindSafe(|| play(case, addr, &mut *backends));
        if std::panic::catch_unwind(played).is_err() {
            wrong.push(case.name.as_str());
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases: {wrong:#?}", wrong.len(), cases.len());
}

fn known(client: &mut Option<Client>) -> &mut Client {
    client.as_mut().expect("a client sends before it receives")
}

/// Says where we were when something panics.
struct Place<'a>(&'a Case, usize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in {}, line {}", self.0.name, self.1);
        }
    }
}
