//! One connection to a backend: what was asked on it, and how far its replies have been read.
//!
//! Replies match requests in order. What was asked is remembered (keys, opaque), so that a reply
//! that belongs to another request is noticed: at the first doubt the connection is closed and
//! everyone who waits on it gets an error. Pure state; `connect`, `forward` and `replies` use it.

use crate::backend::BackendId;
use crate::client::ClientId;
use crate::exchange::ExchangeId;
use keyway_engine::{ConnId, Id, Nanos};
use keyway_proto::memcached::{ReplyHead, ReplyKind, Verb};
use keyway_proto::resp::Version;
use keyway_proto::resp::reply::Follow;
use std::collections::VecDeque;

/// Names a link; stale names find nothing.
pub type LinkId = Id<Link>;

/// One connection to a backend, or the place for one.
#[derive(Debug)]
pub struct Link {
    pub(crate) backend: BackendId,
    pub(crate) conn: Option<ConnId>,
    pub(crate) phase: Phase,
    pub(crate) role: Role,
    /// It speaks RESP.
    pub(crate) is_redis: bool,
    /// Redis: it speaks RESP3.
    pub(crate) is_resp3: bool,
    /// The exchange that a lane is at work for.
    pub(crate) tenant: Option<ExchangeId>,
    /// Requests whose replies are owed, oldest first.
    pub(crate) pending: VecDeque<Pending>,
    pub(crate) asked: AskedLog,
    /// The front of a reply that is not complete.
    pub(crate) partial: Vec<u8>,
    pub(crate) body: Option<Body>,
    /// Requests that wait for the connection to be validated.
    pub(crate) waiting: Vec<u8>,
    /// When bytes last arrived, or the first request was sent after a silence.
    pub(crate) progress: Nanos,
    /// Bytes of a value that the server still expects on this lane.
    pub(crate) upload_left: u64,
    /// Answers that are still to come to the first words on it.
    pub(crate) greetings: u32,
    /// Redis: how far the oldest reply has been read.
    pub(crate) follow: Follow,
    /// Redis: a part of the oldest reply has been handed on.
    pub(crate) is_begun: bool,
    /// The client that a session belongs to; a session without one is free.
    pub(crate) client: Option<ClientId>,
    /// It carries what no other client may inherit: invalidations go on as long as it lives.
    pub(crate) is_spoiled: bool,
    /// Messages of subscriptions come on it, and nothing is owed.
    pub(crate) is_subscribed: bool,
    /// The client waits as long as it takes: a blocking command, a subscription.
    pub(crate) is_patient: bool,
    /// Reading is stopped for the sake of a slow client; the time-out does not run.
    pub(crate) paused: bool,
}

/// Who uses a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// All clients.
    Shared,
    /// One exchange with a large value at a time.
    Lane,
    /// One client in a session: a transaction, a subscription, a blocking command.
    Session,
}

/// Where a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No connection; the next try is at this moment.
    Held { until: Nanos },
    /// No connection and none wanted until there is something to send (lanes).
    Idle,
    /// The kernel is connecting.
    Connecting { since: Nanos },
    /// The first words were sent (`version`; for Redis `AUTH`, `SELECT`, `HELLO`, `PING`), the
    /// answers decide.
    Validating { since: Nanos },
    /// In use.
    Ready,
}

/// One reply that is owed to us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub exchange: ExchangeId,
    /// The command, which decides which replies are possible.
    pub verb: Verb,
    /// How the reply is read.
    pub shape: Shape,
    /// Bytes in the log of what was asked.
    pub asked: u32,
    /// Bytes of the request.
    pub bytes: u32,
}

/// How a reply is read, and what is in the log for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `VALUE` blocks and `END`; the log has the keys.
    Retrieval,
    /// One line, or `VA` and a value; the log has the key and the opaque.
    Meta,
    /// `mg`: as `Meta`, and the log has the whole line, so that it can be sent again.
    MetaGet,
    /// The version: nobody waits for it but ourselves.
    Probe,
    /// One line; the log has nothing.
    Line,
    /// A reply of a Redis server; the log has nothing.
    Resp,
    /// The reply to a Redis GET; the log has the key, so that it can be sent again.
    RespGet,
    /// One line after a value was sent: an error means that the value may not have been swallowed.
    Stored,
    /// As `Stored`; the log has the key and the opaque.
    MetaStored,
}

/// A value that is passed on, or thrown away, while it arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body {
    /// Bytes still to come, with the line end.
    pub left: u64,
    /// The reply ends with the value (meta); otherwise `END` or another value follows.
    pub last: bool,
    /// Nobody wants it.
    pub discard: bool,
}

/// What was asked on a link and not answered yet, oldest first, without gaps.
#[derive(Debug, Default)]
pub(crate) struct AskedLog {
    bytes: Vec<u8>,
    start: usize,
}

impl AskedLog {
    /// Appends to the log; returns how many bytes.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> u32 {
        self.bytes.extend_from_slice(bytes);
        bytes.len() as u32
    }

    /// Appends the key and the opaque of a meta request; returns how many bytes.
    #[inline]
    pub fn push_meta(&mut self, key: &[u8], opaque: Option<&[u8]>) -> u32 {
        self.push(key) + self.push(b" ") + self.push(opaque.unwrap_or_default())
    }

    /// The oldest `length` bytes.
    #[inline]
    pub fn front(&self, length: u32) -> &[u8] {
        &self.bytes[self.start..self.start + length as usize]
    }

    /// Forgets the oldest `length` bytes.
    #[inline]
    pub fn pop(&mut self, length: u32) {
        self.start += length as usize;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > COMPACT_BYTES && self.start * 2 > self.bytes.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bytes = Vec::new();
        self.start = 0;
    }

    /// Bytes in the log.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }
}

/// Dead bytes at the front of the log at which moving the rest pays.
const COMPACT_BYTES: usize = 16 << 10;

impl Link {
    pub(crate) fn new(backend: BackendId, phase: Phase, role: Role) -> Link {
        Link {
            backend,
            conn: None,
            phase,
            role,
            is_redis: false,
            is_resp3: false,
            tenant: None,
            pending: VecDeque::new(),
            asked: AskedLog::default(),
            partial: Vec::new(),
            body: None,
            waiting: Vec::new(),
            progress: 0,
            upload_left: 0,
            greetings: 0,
            follow: Follow::new(Version::Two),
            is_begun: false,
            client: None,
            is_spoiled: false,
            is_subscribed: false,
            is_patient: false,
            paused: false,
        }
    }

    /// Takes the key of a `VALUE` line off what the oldest request still expects. Servers answer in
    /// the order of the keys and leave out what they miss, so keys before it were misses. False
    /// when the key was not asked for: the link is out of step.
    pub(crate) fn matches_key(&mut self, key: &[u8]) -> bool {
        let Some(pending) = self.pending.front_mut() else { return false };
        let asked = self.asked.front(pending.asked);
        // The usual case: one key, asked and answered.
        if asked == key {
            let length = pending.asked;
            pending.asked = 0;
            self.asked.pop(length);
            return true;
        }
        let mut at = 0;
        for token in asked.split(|byte| *byte == b' ') {
            at += token.len() + 1;
            if token == key {
                let used = at.min(asked.len()) as u32;
                pending.asked -= used;
                self.asked.pop(used);
                return true;
            }
        }
        false
    }

    /// Whether a meta reply can be the answer to the oldest request: the opaque it was sent with
    /// comes back, and so does the key where it was asked for.
    pub(crate) fn matches_meta(&self, head: &ReplyHead<'_>) -> bool {
        let Some(pending) = self.pending.front() else { return false };
        if pending.asked == 0 || !echoes_flags(head.kind) {
            return true;
        }
        let asked = self.asked.front(pending.asked);
        let (key, opaque) = match pending.shape {
            Shape::MetaGet => key_and_opaque(asked),
            _ => split_at_space(asked),
        };
        let is_ours = opaque.is_empty() || head.opaque() == Some(opaque);
        // A binary key comes back encoded anew, perhaps in other letters.
        let is_binary = || head.meta_flags().any(|flag| flag.letter == b'b');
        is_ours && head.echoed_key().is_none_or(|echo| echo == key || is_binary())
    }

    /// The oldest request has its reply.
    #[inline]
    pub(crate) fn answered(&mut self) -> Option<Pending> {
        let pending = self.pending.pop_front()?;
        if pending.asked > 0 {
            self.asked.pop(pending.asked);
        }
        Some(pending)
    }

    /// Whether it carries one exchange at a time.
    #[inline]
    pub(crate) fn is_lane(&self) -> bool {
        self.role == Role::Lane
    }

    /// Whether the link can take a request now, even if it has to wait for its connection.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Held { .. } | Phase::Idle)
    }
}

/// Whether replies of this kind repeat the opaque of their request.
fn echoes_flags(kind: ReplyKind) -> bool {
    matches!(
        kind,
        ReplyKind::Hd
            | ReplyKind::Va
            | ReplyKind::En
            | ReplyKind::Nf
            | ReplyKind::Ns
            | ReplyKind::Ex
    )
}

/// The key in the line of a meta request, and its opaque without the `O`; empty if it has none.
fn key_and_opaque(line: &[u8]) -> (&[u8], &[u8]) {
    let mut tokens = line.split(|byte| *byte == b' ').filter(|token| !token.is_empty());
    let key = tokens.by_ref().nth(1).unwrap_or_default();
    let opaque = tokens.find(|token| token[0] == b'O').map(|token| &token[1..]);
    (key, opaque.unwrap_or_default())
}

/// What [`AskedLog::push_meta`] put together.
fn split_at_space(asked: &[u8]) -> (&[u8], &[u8]) {
    let at = asked.iter().position(|byte| *byte == b' ').unwrap_or(asked.len());
    (&asked[..at], asked.get(at + 1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link_that_asked(keys: &[u8]) -> Link {
        let mut link = Link::new(Id::from_bits(0), Phase::Ready, Role::Shared);
        let asked = link.asked.push(keys);
        let (exchange, verb) = (Id::from_bits(7), Verb::Get);
        link.pending.push_back(Pending {
            exchange,
            verb,
            shape: Shape::Retrieval,
            asked,
            bytes: 0,
        });
        link
    }

    #[test]
    fn values_may_skip_missing_keys_but_never_go_back_or_elsewhere() {
        let mut link = link_that_asked(b"a bb ccc bb d");
        assert!(link.matches_key(b"bb"));
        assert!(!link.matches_key(b"a"));
        assert!(link.matches_key(b"bb"));
        assert!(!link.matches_key(b"ccc"));
        assert!(link.matches_key(b"d"));
        assert!(!link.matches_key(b"d"));
        assert_eq!(link.asked.len(), 0);
    }

    #[test]
    fn a_part_of_a_key_is_not_the_key() {
        let mut link = link_that_asked(b"user:1 user:10");
        assert!(!link.matches_key(b"user:"));
        assert!(link.matches_key(b"user:10"));
        assert_eq!(link.asked.len(), 0);
    }

    #[test]
    fn the_log_gives_back_what_was_pushed_across_compaction() {
        let mut log = AskedLog::default();
        let mut lengths = VecDeque::new();
        for round in 0..5000_u32 {
            let entry = round.to_string().repeat(3);
            lengths.push_back((log.push(entry.as_bytes()), entry));
            if round % 3 != 0 {
                let (length, entry) = lengths.pop_front().expect("one was just pushed");
                assert_eq!(log.front(length), entry.as_bytes());
                log.pop(length);
            }
        }
        assert!(log.bytes.len() < log.len() + 2 * COMPACT_BYTES + 16);
    }

    #[test]
    fn the_opaque_is_found_behind_the_key_only() {
        assert_eq!(key_and_opaque(b"mg Okey v Oab1 k"), (&b"Okey"[..], &b"ab1"[..]));
        assert_eq!(key_and_opaque(b"mg  Okey v k"), (&b"Okey"[..], &b""[..]));
        assert_eq!(split_at_space(b"key ab1"), (&b"key"[..], &b"ab1"[..]));
        assert_eq!(split_at_space(b"key "), (&b"key"[..], &b""[..]));
    }
}
