//! Following replies and checking each against the request that it answers.
//!
//! An [`Inbox`] holds what one connection is owed. It never trusts the server: a key that was not
//! asked for, an opaque of another request, a value that is not the key's, or a line that cannot
//! answer the oldest request are told apart from plain errors and counted as wrong.

use std::collections::VecDeque;

use keyway_engine::Nanos;
use keyway_proto::memcached::{self, ReplyHead, ReplyKind};
use keyway_proto::resp::{self, Element};

use super::Protocol;
use super::content::Content;

/// Whether a request reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Reads one key or several.
    Get = 0,
    /// Writes one key.
    Set = 1,
}

/// A request whose reply is not complete yet.
#[derive(Clone, Copy, Debug)]
pub struct Owed {
    /// What it does.
    pub op: Op,
    /// When it should have been sent; latency counts from here.
    pub due: Nanos,
    /// When it was sent.
    pub sent: Nanos,
    /// Whether it belongs to the measurement.
    pub is_measured: bool,
    /// How many of [`Inbox`]'s asked keys are its own.
    pub keys: u32,
    /// Its first opaque, for meta requests.
    pub opaque: u32,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Keys that had a value.
    pub hits: u32,
    /// Keys that had none.
    pub misses: u32,
    /// Whether the server answered with an error, or did not store.
    pub is_error: bool,
    /// Wrong keys, opaques or values in the reply.
    pub wrong: u32,
}

/// The connection cannot be understood any further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What came instead of a reply that fits.
    pub line: String,
    /// Whether that is a fault of the server's; an error line before it closes the connection is
    /// not.
    pub is_wrong: bool,
}

/// What one connection is owed, and how far the oldest reply has come.
#[derive(Debug)]
pub struct Inbox {
    protocol: Protocol,
    owed: VecDeque<Owed>,
    /// Keys of all owed requests, oldest first.
    asked: VecDeque<Asked>,
    /// How the oldest request stands.
    outcome: Outcome,
    /// Elements still to come in the array that answers the oldest request (Redis).
    elements: Option<u64>,
    /// A value that is on its way.
    body: Option<Body>,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// A description of the first error or wrong reply since [`Inbox::take_complaint`].
    complaint: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    key: u64,
    is_answered: bool,
}

#[derive(Clone, Copy, Debug)]
struct Body {
    /// `None` where the value's key was wrong already, so that its bytes are only passed over.
    key: Option<u64>,
    len: u64,
    at: u64,
    /// Whether the request is complete after it.
    is_last: bool,
}

enum Step {
    /// That many bytes are done with.
    Took(usize),
    /// That many bytes are done with, and the oldest request is complete.
    Done(usize),
    /// The line has no end yet.
    More,
}

impl Inbox {
    /// For a new connection.
    pub fn new(protocol: Protocol) -> Inbox {
        Inbox {
            protocol,
            owed: VecDeque::new(),
            asked: VecDeque::new(),
            outcome: Outcome::default(),
            elements: None,
            body: None,
            partial: Vec::new(),
            complaint: None,
        }
    }

    /// Requests without a complete reply.
    pub fn owed(&self) -> usize {
        self.owed.len()
    }

    /// When the oldest of them was sent.
    pub fn oldest(&self) -> Option<Nanos> {
        self.owed.front().map(|owed| owed.sent)
    }

    /// Adds a request that is being sent; `keys` are those that it reads or the one it writes.
    pub fn ask(&mut self, mut owed: Owed, keys: &[u64]) {
        owed.keys = keys.len() as u32;
        self.owed.push_back(owed);
        self.asked.extend(keys.iter().map(|&key| Asked { key, is_answered: false }));
    }

    /// Forgets everything, for a connection that is over.
    pub fn clear(&mut self) {
        let complaint = self.complaint.take();
        *self = Inbox { complaint, ..Inbox::new(self.protocol) };
    }

    /// The first error or wrong reply since the last call, in words.
    pub fn take_complaint(&mut self) -> Option<String> {
        self.complaint.take()
    }

    /// Takes bytes as they arrived; calls `done` for each request that they complete.
    ///
    /// # Errors
    /// The bytes answer no owed request. The connection is of no further use.
    pub fn take(
        &mut self,
        content: &Content,
        bytes: &[u8],
        mut done: impl FnMut(Owed, Outcome),
    ) -> Result<(), Broken> {
        if self.partial.is_empty() {
            let used = self.consume(content, bytes, &mut done)?;
            self.partial.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.partial);
        joined.extend_from_slice(bytes);
        let used = self.consume(content, &joined, &mut done)?;
        joined.drain(..used);
        self.partial = joined;
        Ok(())
    }

    fn consume(
        &mut self,
        content: &Content,
        bytes: &[u8],
        done: &mut impl FnMut(Owed, Outcome),
    ) -> Result<usize, Broken> {
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            let step = match self.body {
                Some(body) => self.pass_value(content, body, rest)?,
                None if self.protocol == Protocol::Redis => self.read_element(content, rest)?,
                None => self.read_line(content, rest)?,
            };
            match step {
                Step::More => break,
                Step::Took(len) => used += len,
                Step::Done(len) => {
                    used += len;
                    let owed = self.owed.pop_front().expect("only an owed request completes");
                    self.asked.drain(..owed.keys as usize);
                    self.elements = None;
                    let mut outcome = std::mem::take(&mut self.outcome);
                    if owed.op == Op::Get && !outcome.is_error {
                        outcome.misses = owed.keys.saturating_sub(outcome.hits);
                    }
                    done(owed, outcome);
                }
            }
        }
        Ok(used)
    }

    /// Compares the bytes of a value, and the CR LF behind it, as they come.
    fn pass_value(
        &mut self,
        content: &Content,
        mut body: Body,
        bytes: &[u8],
    ) -> Result<Step, Broken> {
        let left = body.len.saturating_sub(body.at);
        let len = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let is_wrong = |key: &u64| !content.agrees(*key, body.at as usize, &bytes[..len]);
        if let Some(key) = body.key.filter(is_wrong) {
            self.complain(|| format!("the value of key number {key} is another one"));
            body.key = None;
        }
        body.at += len as u64;
        self.body = Some(body);
        if body.at < body.len {
            return Ok(Step::Took(len));
        }
        let end = &bytes[len..bytes.len().min(len + 2)];
        if !b"\r\n".starts_with(end) {
            return Err(broken(end, true));
        }
        if end.len() < 2 {
            // Not even the CR is taken yet: what is left over waits in `partial`.
            return Ok(if len == 0 { Step::More } else { Step::Took(len) });
        }
        self.body = None;
        Ok(if body.is_last { Step::Done(len + 2) } else { Step::Took(len + 2) })
    }

    fn read_line(&mut self, content: &Content, bytes: &[u8]) -> Result<Step, Broken> {
        let head = match memcached::cut_reply(bytes) {
            memcached::ReplyCut::Head(head) => head,
            memcached::ReplyCut::Partial => return Ok(Step::More),
            memcached::ReplyCut::Malformed => return Err(broken(bytes, true)),
        };
        let len = head.line_bytes;
        let Some(&owed) = self.owed.front() else {
            return Err(broken(head.line, !head.kind.is_error()));
        };
        // Quiet meta gets of several keys go on until their `mn`, whatever one of them met.
        let is_batch = self.protocol == Protocol::Meta && owed.keys > 1;
        if head.kind.is_error() {
            self.note_error(head.line);
            return Ok(if is_batch { Step::Took(len) } else { Step::Done(len) });
        }
        match (self.protocol, owed.op, head.kind) {
            (Protocol::Memcached, Op::Get, ReplyKind::End)
            | (Protocol::Memcached, Op::Set, ReplyKind::Stored) => Ok(Step::Done(len)),
            (Protocol::Memcached, Op::Set, ReplyKind::NotStored)
            | (Protocol::Meta, Op::Set, ReplyKind::Ns) => {
                self.note_error(head.line);
                Ok(Step::Done(len))
            }
            (Protocol::Memcached, Op::Get, ReplyKind::Value) => {
                let key = self.answer(content, owed, head.key);
                self.begin(content, key, head.value_bytes, false);
                Ok(Step::Took(len))
            }
            (Protocol::Meta, Op::Get, ReplyKind::Va) => {
                let key = self.answer_meta(content, owed, &head);
                self.begin(content, key, head.value_bytes, !is_batch);
                Ok(Step::Took(len))
            }
            (Protocol::Meta, Op::Get, ReplyKind::En) if !is_batch => Ok(Step::Done(len)),
            (Protocol::Meta, Op::Get, ReplyKind::Mn) if is_batch => Ok(Step::Done(len)),
            (Protocol::Meta, Op::Set, ReplyKind::Hd) => {
                self.answer_meta(content, owed, &head);
                Ok(Step::Done(len))
            }
            _ => Err(broken(head.line, true)),
        }
    }

    fn begin(&mut self, content: &Content, key: Option<u64>, len: Option<u64>, is_last: bool) {
        self.outcome.hits += 1;
        let len = len.unwrap_or(0);
        let is_right = |key: &u64| content.value_len(*key) as u64 == len;
        if let Some(key) = key.filter(|key| !is_right(key)) {
            self.complain(|| format!("the value of key number {key} has {len} bytes"));
        }
        self.body = Some(Body { key: key.filter(is_right), len, at: 0, is_last });
    }

    /// Finds the asked key that `name` answers. Backends of one proxy may answer in any order.
    fn answer(&mut self, content: &Content, owed: Owed, name: &[u8]) -> Option<u64> {
        let number = content.number(name);
        let mut open = self.asked.iter_mut().take(owed.keys as usize);
        let found = open.find(|asked| Some(asked.key) == number && !asked.is_answered);
        match found {
            Some(asked) => {
                asked.is_answered = true;
                number
            }
            None => {
                self.complain(|| format!("key {} was not asked for", name.escape_ascii()));
                None
            }
        }
    }

    /// The same for meta replies, whose opaque must be the one sent with that very key.
    fn answer_meta(&mut self, content: &Content, owed: Owed, head: &ReplyHead<'_>) -> Option<u64> {
        let Some(name) = head.echoed_key() else {
            self.complain(|| format!("no key in {}", head.line.escape_ascii()));
            return None;
        };
        let text = head.opaque().and_then(|opaque| std::str::from_utf8(opaque).ok());
        let opaque: Option<u32> = text.and_then(|text| text.parse().ok());
        let at = opaque.map_or(u32::MAX, |opaque| opaque.wrapping_sub(owed.opaque));
        if at >= owed.keys {
            self.complain(|| {
                format!("expected O{}, got {}", owed.opaque, head.line.escape_ascii())
            });
            return None;
        }
        let asked = &mut self.asked[at as usize];
        if content.number(name) != Some(asked.key) || asked.is_answered {
            self.complain(|| format!("key {} was not asked for", name.escape_ascii()));
            return None;
        }
        asked.is_answered = true;
        Some(asked.key)
    }

    fn read_element(&mut self, content: &Content, bytes: &[u8]) -> Result<Step, Broken> {
        let (element, len) = match resp::cut_reply(bytes) {
            resp::ReplyCut::Element { element, head_bytes } => (element, head_bytes),
            resp::ReplyCut::Partial => return Ok(Step::More),
            resp::ReplyCut::Malformed => return Err(broken(bytes, true)),
        };
        let line = &bytes[..len];
        let Some(&owed) = self.owed.front() else {
            return Err(broken(line, !matches!(element, Element::Error(_))));
        };
        if let Element::Error(text) = element {
            self.note_error(text);
            return Ok(if self.is_last_element() { Step::Done(len) } else { Step::Took(len) });
        }
        match (owed.op, element) {
            (Op::Set, Element::Simple(b"OK")) => Ok(Step::Done(len)),
            (Op::Get, Element::Array(b'*', count))
                if self.elements.is_none() && owed.keys > 1 && count == u64::from(owed.keys) =>
            {
                self.elements = Some(count);
                Ok(Step::Took(len))
            }
            (Op::Get, Element::Bulk(b'$', size)) if self.elements.is_some() == (owed.keys > 1) => {
                let at = u64::from(owed.keys) - self.elements.unwrap_or(1);
                let key = self.asked[at as usize].key;
                let is_last = self.is_last_element();
                self.begin(content, Some(key), Some(size), is_last);
                Ok(Step::Took(len))
            }
            (Op::Get, Element::Null) if self.elements.is_some() == (owed.keys > 1) => {
                Ok(if self.is_last_element() { Step::Done(len) } else { Step::Took(len) })
            }
            _ => Err(broken(line, true)),
        }
    }

    /// Counts one element of an array down; a reply without an array is its own last element.
    fn is_last_element(&mut self) -> bool {
        match &mut self.elements {
            Some(left) => {
                *left -= 1;
                *left == 0
            }
            None => true,
        }
    }

    fn note_error(&mut self, line: &[u8]) {
        self.outcome.is_error = true;
        self.complaint.get_or_insert_with(|| format!("error: {}", line.escape_ascii()));
    }

    fn complain(&mut self, words: impl FnOnce() -> String) {
        self.outcome.wrong += 1;
        self.complaint.get_or_insert_with(words);
    }
}

fn broken(bytes: &[u8], is_wrong: bool) -> Broken {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or(&[]);
    Broken { line: line[..line.len().min(100)].escape_ascii().to_string(), is_wrong }
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
