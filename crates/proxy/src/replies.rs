//! From bytes of a backend to replies for exchanges.
//!
//! Only the heads of replies are parsed; values are passed over by their length. Whatever lies in
//! one chunk for one exchange is handed on in one piece. A reply that cannot be the answer to what
//! was asked closes the connection: at the first doubt nobody gets anything from it any more.

use crate::exchange::{Failure, is_error, is_miss};
use crate::link::{Body, LinkId, Phase, Role, Shape};
use crate::worker::Worker;
use keyway_engine::Chunk;
use keyway_proto::memcached::{ReplyCut, ReplyHead, ReplyKind, Verb, cut_reply};

/// Values that reach further than this beyond what has arrived are passed on in pieces; shorter
/// ones are worth waiting for.
const WAIT_BYTES_MAX: usize = 8 << 10;

/// How reading a link's bytes goes on.
pub(crate) enum Next {
    /// So many bytes were used.
    Used(usize),
    /// Nothing can be done until more bytes arrive.
    Wait,
    /// The link is gone, and the rest of its bytes with it.
    Gone,
}

impl Worker {
    /// Takes bytes that a backend sent.
    pub(crate) fn replies(&mut self, id: LinkId, chunk: &Chunk) {
        let now = self.now;
        let Some(link) = self.links.get_mut(id) else { return };
        link.progress = now;
        if link.phase != Phase::Ready {
            return self.validation_reply(id, chunk);
        }
        if link.partial.is_empty() {
            let used = self.read_replies(id, chunk, Some(chunk));
            if used < chunk.len()
                && let Some(link) = self.links.get_mut(id)
            {
                link.partial.extend_from_slice(&chunk[used..]);
            }
            return;
        }
        let mut bytes = std::mem::take(&mut link.partial);
        bytes.extend_from_slice(chunk);
        let used = self.read_replies(id, &bytes, None);
        match self.links.get_mut(id) {
            Some(link) if used < bytes.len() => {
                bytes.drain(..used);
                link.partial = bytes;
            }
            _ => self.give_back(bytes),
        }
    }

    /// Reads as many replies as there are; returns how many bytes were used. `chunk` is the memory
    /// that `bytes` lie in, if it can be shared.
    fn read_replies(&mut self, id: LinkId, bytes: &[u8], chunk: Option<&Chunk>) -> usize {
        let mut used = 0;
        while used < bytes.len() {
            match self.read_reply(id, bytes, used, chunk) {
                Next::Used(count) => used += count,
                Next::Wait => break,
                Next::Gone => return bytes.len(),
            }
        }
        used
    }

    fn read_reply(&mut self, id: LinkId, bytes: &[u8], at: usize, chunk: Option<&Chunk>) -> Next {
        let Some(link) = self.links.get_mut(id) else { return Next::Gone };
        if link.is_redis {
            return self.read_resp(id, bytes, at, chunk);
        }
        let Some(pending) = link.pending.front() else {
            // Bytes that nobody asked for.
            return self.out_of_step(id);
        };
        if let Some(body) = link.body {
            return self.read_body(id, body, bytes, at, chunk);
        }
        match pending.shape {
            Shape::Retrieval => self.read_retrieval(id, bytes, at, chunk),
            _ => self.read_line(id, bytes, at, chunk),
        }
    }

    /// `VALUE` blocks and `END`: goes over as much as there is and hands it on in one piece.
    fn read_retrieval(
        &mut self,
        id: LinkId,
        bytes: &[u8],
        start: usize,
        chunk: Option<&Chunk>,
    ) -> Next {
        let mut at = start;
        loop {
            let head = match cut_reply(&bytes[at..]) {
                ReplyCut::Head(head) => head,
                ReplyCut::Partial => return self.hand_on(id, bytes, start..at, chunk),
                ReplyCut::Malformed => return self.out_of_step(id),
            };
            if head.kind != ReplyKind::Value {
                let end = at + head.line_bytes;
                return self.end_of_retrieval(id, &head, bytes, start..end, chunk);
            }
            let link = self.links.get_mut(id).expect("read_reply found the link");
            let value = head.value_bytes.unwrap_or(0);
            let whole = head.line_bytes as u64 + value + 2;
            let there = (bytes.len() - at) as u64;
            if whole > there + WAIT_BYTES_MAX as u64 {
                if !link.matches_key(head.key) {
                    return self.out_of_step(id);
                }
                let left = whole - there;
                return self.begin_body(id, value, left, false, bytes, start, chunk);
            }
            if whole > there {
                return self.hand_on(id, bytes, start..at, chunk);
            }
            let end = at + whole as usize;
            if !bytes[..end].ends_with(b"\r\n") || !link.matches_key(head.key) {
                return self.out_of_step(id);
            }
            at = end;
        }
    }

    fn end_of_retrieval(
        &mut self,
        id: LinkId,
        head: &ReplyHead<'_>,
        bytes: &[u8],
        range: std::ops::Range<usize>,
        chunk: Option<&Chunk>,
    ) -> Next {
        let used = range.len();
        let is_end = head.kind == ReplyKind::End;
        if !is_end && !is_error(head.kind) {
            return self.out_of_step(id);
        }
        let has_values = used > head.line_bytes;
        let kind = if has_values && is_end { ReplyKind::Value } else { head.kind };
        let link = self.links.get(id).expect("read_reply found the link");
        let pending = link.pending.front().expect("read_reply found the request");
        let ends = ends_link(Shape::Retrieval, pending.verb, head.kind);
        self.give(id, kind, bytes, range, chunk);
        if ends {
            self.lose_link(id, Failure::Malformed);
            return Next::Gone;
        }
        Next::Used(used)
    }

    /// A reply of one line, or a meta value.
    fn read_line(&mut self, id: LinkId, bytes: &[u8], at: usize, chunk: Option<&Chunk>) -> Next {
        let head = match cut_reply(&bytes[at..]) {
            ReplyCut::Head(head) => head,
            ReplyCut::Partial => return Next::Wait,
            ReplyCut::Malformed => return self.out_of_step(id),
        };
        let link = self.links.get_mut(id).expect("read_reply found the link");
        let pending = link.pending.front().expect("read_reply found the request");
        let (shape, verb) = (pending.shape, pending.verb);
        if !fits(verb, head.kind) || (is_meta(shape) && !link.matches_meta(&head)) {
            return self.out_of_step(id);
        }
        let Some(value) = head.value_bytes else {
            let range = at..at + head.line_bytes;
            let used = range.len();
            self.give(id, head.kind, bytes, range, chunk);
            if ends_link(shape, verb, head.kind) {
                self.lose_link(id, Failure::Malformed);
                return Next::Gone;
            }
            return Next::Used(used);
        };
        let whole = head.line_bytes as u64 + value + 2;
        let there = (bytes.len() - at) as u64;
        if whole > there + WAIT_BYTES_MAX as u64 {
            return self.begin_body(id, value, whole - there, true, bytes, at, chunk);
        }
        if whole > there {
            return Next::Wait;
        }
        let end = at + whole as usize;
        if !bytes[..end].ends_with(b"\r\n") {
            return self.out_of_step(id);
        }
        self.give(id, head.kind, bytes, at..end, chunk);
        Next::Used(whole as usize)
    }

    /// The front of a value that is passed on while it arrives.
    #[allow(clippy::too_many_arguments)]
    fn begin_body(
        &mut self,
        id: LinkId,
        value: u64,
        left: u64,
        last: bool,
        bytes: &[u8],
        start: usize,
        chunk: Option<&Chunk>,
    ) -> Next {
        let too_large = value > self.generation.config.limits.value_bytes_max;
        let moved = !too_large && self.move_to_lane(id, value, bytes, start);
        let link = self.links.get_mut(id).expect("read_reply found the link");
        link.body = Some(Body { left, last, discard: moved || too_large });
        let pending = *link.pending.front().expect("read_reply found the request");
        if let Some(conn) = link.conn {
            self.engine.expect(conn, left as usize);
        }
        if too_large {
            self.fail(pending.exchange, Failure::TooLarge);
        } else if !moved {
            let kind = if last { ReplyKind::Va } else { ReplyKind::Value };
            let shared = chunk.map(|chunk| (chunk, start));
            self.emit(pending.exchange, kind, &bytes[start..], shared, false);
        }
        Next::Used(bytes.len() - start)
    }

    /// More of a value that is passed on while it arrives.
    fn read_body(
        &mut self,
        id: LinkId,
        mut body: Body,
        bytes: &[u8],
        at: usize,
        chunk: Option<&Chunk>,
    ) -> Next {
        let count = (body.left).min((bytes.len() - at) as u64) as usize;
        let end = at + count;
        body.left -= count as u64;
        let link = self.links.get_mut(id).expect("read_reply found the link");
        link.body = (body.left > 0).then_some(body);
        let conn = link.conn;
        let exchange = link.pending.front().expect("read_reply found the request").exchange;
        if body.left == 0 && !bytes[..end].ends_with(b"\n") {
            return self.out_of_step(id);
        }
        if body.left > 0
            && let Some(conn) = conn
        {
            self.engine.expect(conn, body.left as usize);
        }
        let kind = if body.last { ReplyKind::Va } else { ReplyKind::Value };
        let ends = body.last && body.left == 0;
        if ends {
            self.close_pending(id, kind, count);
        }
        if !body.discard {
            let shared = chunk.map(|chunk| (chunk, at));
            self.emit(exchange, kind, &bytes[at..end], shared, ends);
            if !ends {
                self.slow_down_lane(id, exchange);
            }
        }
        Next::Used(count)
    }

    /// Hands on what is complete of a retrieval and waits for the rest.
    fn hand_on(
        &mut self,
        id: LinkId,
        bytes: &[u8],
        range: std::ops::Range<usize>,
        chunk: Option<&Chunk>,
    ) -> Next {
        if range.is_empty() {
            return Next::Wait;
        }
        let used = range.len();
        let link = self.links.get_mut(id).expect("read_reply found the link");
        let exchange = link.pending.front().expect("read_reply found the request").exchange;
        let shared = chunk.map(|chunk| (chunk, range.start));
        self.emit(exchange, ReplyKind::Value, &bytes[range], shared, false);
        Next::Used(used)
    }

    /// The oldest request has all of its reply.
    #[inline]
    pub(crate) fn give(
        &mut self,
        id: LinkId,
        kind: ReplyKind,
        bytes: &[u8],
        range: std::ops::Range<usize>,
        chunk: Option<&Chunk>,
    ) {
        if let Some(exchange) = self.close_pending(id, kind, range.len()) {
            let shared = chunk.map(|chunk| (chunk, range.start));
            self.emit(exchange, kind, &bytes[range], shared, true);
        }
    }

    /// Takes the oldest request off the link and counts it; the exchange that the reply is for.
    #[inline]
    fn close_pending(
        &mut self,
        id: LinkId,
        kind: ReplyKind,
        bytes: usize,
    ) -> Option<crate::exchange::ExchangeId> {
        let now = self.now;
        let link = self.links.get_mut(id)?;
        let pending = link.answered().expect("a reply answers the oldest pending request");
        let backend = self.backends.get_mut(link.backend).expect("a backend outlives its links");
        backend.failures = 0;
        if backend.may_leave {
            backend.health.succeed();
        }
        let block = &backend.block;
        block.backend.owed.sub(1);
        block.backend.owed_bytes.sub(u64::from(pending.bytes));
        if let Some(exchange) = self.exchanges.get(pending.exchange) {
            let class = &block.classes[exchange.asked.class as usize];
            class.requests.add(1);
            class.request_bytes.add(u64::from(exchange.asked.bytes));
            class.reply_bytes.add(bytes as u64);
            class.latency.record(now.saturating_sub(exchange.started) / 1000);
            if is_error(kind) {
                class.errors.add(1);
            } else if is_miss(kind) {
                class.misses.add(1);
            } else if matches!(kind, ReplyKind::Value | ReplyKind::Va) {
                class.hits.add(1);
            }
        }
        if link.role == Role::Session && is_error(kind) {
            // What it refused may have been the end of something: nobody inherits that.
            link.is_spoiled = true;
        }
        if link.role != Role::Shared || backend.is_retired {
            self.link_idle(id);
        }
        Some(pending.exchange)
    }

    /// Closes a link whose bytes are not the answer to what was asked on it.
    pub(crate) fn out_of_step(&mut self, id: LinkId) -> Next {
        self.lose_link(id, Failure::Malformed);
        Next::Gone
    }
}

/// Whether this command can be answered so. A server that is one reply off is noticed at the first
/// reply of the wrong kind.
#[inline]
fn fits(verb: Verb, kind: ReplyKind) -> bool {
    use ReplyKind as Kind;
    match kind {
        Kind::Error | Kind::ClientError | Kind::ServerError => true,
        Kind::Stored | Kind::NotStored => verb.carries_value() && verb != Verb::Ms,
        Kind::Exists => verb == Verb::Cas,
        Kind::NotFound => {
            matches!(verb, Verb::Cas | Verb::Delete | Verb::Incr | Verb::Decr | Verb::Touch)
        }
        Kind::Deleted => verb == Verb::Delete,
        Kind::Touched => verb == Verb::Touch,
        Kind::Number => matches!(verb, Verb::Incr | Verb::Decr),
        Kind::Ok => verb == Verb::FlushAll,
        Kind::Version => verb == Verb::Version,
        Kind::Hd => matches!(verb, Verb::Mg | Verb::Ms | Verb::Md | Verb::Ma),
        Kind::Va => matches!(verb, Verb::Mg | Verb::Ma),
        Kind::En => matches!(verb, Verb::Mg | Verb::Me),
        Kind::Me => verb == Verb::Me,
        Kind::Nf | Kind::Ex => matches!(verb, Verb::Ms | Verb::Md | Verb::Ma),
        Kind::Ns => matches!(verb, Verb::Ms | Verb::Ma),
        _ => false,
    }
}

#[inline]
fn is_meta(shape: Shape) -> bool {
    matches!(shape, Shape::Meta | Shape::MetaGet | Shape::MetaStored)
}

/// Whether an error line leaves it open what the server takes the next bytes for: it may not have
/// swallowed a value, or it does not know a command that every server knows.
#[inline]
fn ends_link(shape: Shape, verb: Verb, kind: ReplyKind) -> bool {
    let had_value = matches!(shape, Shape::Stored | Shape::MetaStored);
    match kind {
        ReplyKind::Error => had_value || !(verb.is_meta() || is_newer(verb)),
        ReplyKind::ClientError => had_value,
        _ => false,
    }
}

/// Commands that old servers answer with `ERROR`.
fn is_newer(verb: Verb) -> bool {
    matches!(verb, Verb::Gat | Verb::Gats | Verb::Touch)
}
