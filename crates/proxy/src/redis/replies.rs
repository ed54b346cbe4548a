//! From bytes of a Redis server to replies for exchanges.
//!
//! A reply is followed element by element, however deep it is nested, and handed on in one piece
//! where it is short; a long one is handed on while it arrives. Replies carry nothing that says
//! what they answer: only the order counts, so bytes that nobody asked for close the connection.

use crate::link::LinkId;
use crate::redis::pubsub::FREE;
use crate::replies::Next;
use crate::worker::Worker;
use keyway_engine::Chunk;
use keyway_proto::memcached::ReplyKind;
use keyway_proto::resp;
use keyway_proto::resp::reply::{Fed, Follow, Kind};

/// Incomplete replies that are longer than this are handed on in pieces; shorter ones are worth
/// waiting for.
const WAIT_BYTES_MAX: usize = 16 << 10;

/// So are those of which more than this is known to be missing: waiting would mean copying it.
const MISSING_BYTES_MIN: u64 = 8 << 10;

impl Worker {
    /// Reads one reply, or a part of a long one.
    pub(crate) fn read_resp(
        &mut self,
        id: LinkId,
        bytes: &[u8],
        at: usize,
        chunk: Option<&Chunk>,
    ) -> Next {
        let Some(link) = self.links.get_mut(id) else { return Next::Gone };
        let there = &bytes[at..];
        let before = link.follow;
        let used = match link.follow.feed(there) {
            Fed::Complete(used) => used,
            Fed::Partial
                if !link.is_begun
                    && there.len() < WAIT_BYTES_MAX
                    && link.follow.bytes_left() < MISSING_BYTES_MIN =>
            {
                // Read again from its front when there is more of it.
                link.follow = before;
                return Next::Wait;
            }
            Fed::Partial => return self.read_resp_part(id, before, bytes, at, chunk),
            Fed::Malformed => return self.out_of_step(id),
        };
        let kind = link.follow.kind();
        let was_begun = std::mem::take(&mut link.is_begun);
        // In RESP3 messages are pushes, and only our question is owed; anything else is what the
        // server says to a subscription that it refuses.
        let is_message = link.is_subscribed && (!link.is_resp3 || &there[..used] != FREE);
        if is_message || kind == Some(Kind::Push) {
            return self.read_push(id, &there[..used], used);
        }
        let is_error = kind == Some(Kind::Error);
        if link.pending.is_empty() || (is_error && self.is_refusal(id, there)) {
            return self.out_of_step(id);
        }
        let outcome = if was_begun { ReplyKind::Value } else { outcome(kind, there) };
        if outcome == ReplyKind::End && self.is_lane_of_resp3(id) {
            // Lanes speak RESP2, and a large value may have gone since it was seen.
            self.give(id, outcome, b"_\r\n", 0.."_\r\n".len(), None);
            return Next::Used(used);
        }
        self.give(id, outcome, bytes, at..at + used, chunk);
        Next::Used(used)
    }

    /// A long reply of which more is to come: hands on what is there.
    fn read_resp_part(
        &mut self,
        id: LinkId,
        before: Follow,
        bytes: &[u8],
        at: usize,
        chunk: Option<&Chunk>,
    ) -> Next {
        let count = bytes.len() - at;
        let link = self.links.get_mut(id).expect("read_resp found the link");
        if link.is_subscribed || link.follow.kind() == Some(Kind::Push) {
            // A message is never mixed with anything else: it is kept until it is whole.
            link.follow = before;
            let is_too_long = count > self.generation.config.limits.client_bytes_max;
            return if is_too_long { self.out_of_step(id) } else { Next::Wait };
        }
        let Some(pending) = link.pending.front().copied() else { return self.out_of_step(id) };
        let is_first = !std::mem::replace(&mut link.is_begun, true);
        let value = link.follow.bytes_left();
        let wants = usize::try_from(value).unwrap_or(usize::MAX);
        if let Some(conn) = link.conn
            && wants > 0
        {
            self.engine.expect(conn, wants);
        }
        if is_first && self.move_to_lane(id, value, bytes, at) {
            return Next::Used(count);
        }
        let shared = chunk.map(|chunk| (chunk, at));
        self.emit(pending.exchange, ReplyKind::Value, &bytes[at..], shared, false);
        self.slow_down_lane(id, pending.exchange);
        Next::Used(count)
    }

    /// Whether the reply on a lane is for a client that speaks RESP3.
    fn is_lane_of_resp3(&self, id: LinkId) -> bool {
        let Some(link) = self.links.get(id).filter(|link| link.is_lane()) else { return false };
        let tenant = link.tenant.and_then(|tenant| self.exchanges.get(tenant));
        tenant.is_some_and(|exchange| exchange.asked.is_resp3)
    }

    /// Whether an error says that the server cannot serve now, on a link where that counts as a
    /// failure of the connection.
    fn is_refusal(&self, id: LinkId, reply: &[u8]) -> bool {
        let Some(link) = self.links.get(id) else { return false };
        let Some(backend) = self.backends.get(link.backend) else { return false };
        backend.link().refusals_fail
            && matches!(resp::reply::error_code(reply), Some(b"OOM" | b"BUSY" | b"LOADING"))
    }
}

/// A reply in the terms that counters and policies know: an error, nothing found, or something.
fn outcome(kind: Option<Kind>, reply: &[u8]) -> ReplyKind {
    match kind {
        Some(Kind::Error | Kind::BulkError) => ReplyKind::ServerError,
        Some(Kind::Null) => ReplyKind::End,
        Some(Kind::Bulk) if reply.starts_with(b"$-") => ReplyKind::End,
        Some(Kind::Bulk) => ReplyKind::Value,
        _ => ReplyKind::Ok,
    }
}
