//! From replies to clients: in order, with failures as error lines, and never more than they take.
//!
//! Only the oldest exchange of a client writes to its connection; others hold their replies until
//! it is their turn. This is the one place where replies leave, whoever made them: a backend, the
//! store, a policy.

use crate::client::ClientId;
use crate::events::Event as Report;
use crate::exchange::{Exchange, ExchangeId, Failure, Owner, is_error, is_miss};
use crate::worker::{Worker, keep_spare};
use keyway_engine::Chunk;
use keyway_proto::memcached::ReplyKind;

impl Worker {
    /// A part of the reply to an exchange, perhaps the last. `shared` is the memory that `bytes`
    /// lie in, and where, if it may be kept instead of copied. Exchanges that are over ignore it.
    #[inline]
    pub(crate) fn emit(
        &mut self,
        id: ExchangeId,
        kind: ReplyKind,
        bytes: &[u8],
        shared: Option<(&Chunk, usize)>,
        last: bool,
    ) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        if exchange.done {
            return;
        }
        if exchange.kind.is_none() || is_error(kind) {
            exchange.kind = Some(kind);
        }
        exchange.reply_bytes += bytes.len() as u64;
        match exchange.owner {
            Owner::Client(client) => self.deliver(id, client, kind, bytes, shared, last),
            Owner::Leg(run, number) => {
                self.leg_replied(run, number, id, kind, bytes, shared, last);
            }
            Owner::Nobody => {
                if last {
                    self.drop_exchange(id);
                }
            }
        }
    }

    fn deliver(
        &mut self,
        id: ExchangeId,
        client_id: ClientId,
        kind: ReplyKind,
        bytes: &[u8],
        shared: Option<(&Chunk, usize)>,
        last: bool,
    ) {
        let exchange = self.exchanges.get_mut(id).expect("emit found the exchange");
        let client = self.clients.get_mut(client_id).expect("an exchange is owed to a live client");
        let is_head = client.head == Some(id);
        if exchange.asked.mutes(kind) {
            // Nothing is sent, but the exchange keeps its place until its reply is complete.
        } else if is_head {
            exchange.sent = true;
            self.local.bytes_written.add(bytes.len() as u64);
            match shared {
                Some((chunk, at)) if bytes.len() >= SHARE_BYTES_MIN => {
                    self.engine.write_chunk(client.conn, chunk, at..at + bytes.len());
                }
                _ => self.engine.write(client.conn, bytes),
            }
        } else {
            if exchange.held.capacity() == 0 {
                exchange.held = self.spares.pop().unwrap_or_default();
            }
            exchange.held.extend_from_slice(bytes);
            client.held_bytes += bytes.len();
            self.held_bytes += bytes.len();
        }
        exchange.done = last;
        if last && is_head {
            self.advance(client_id);
        } else {
            self.limit_output(client_id);
        }
    }

    /// The oldest exchange of a client is complete: closes it, and everything behind it that is
    /// complete as well.
    fn advance(&mut self, client_id: ClientId) {
        let limits = &self.generation.config.limits;
        let (owed_max, bytes_max) = (limits.owed_max, limits.client_bytes_max);
        let client = self.clients.get_mut(client_id).expect("the client is being served");
        while let Some(id) = client.head {
            let exchange = self.exchanges.get_mut(id).expect("an exchange lives while it is owed");
            if !exchange.held.is_empty() {
                let held = std::mem::take(&mut exchange.held);
                exchange.sent = true;
                client.held_bytes -= held.len();
                self.held_bytes -= held.len();
                self.local.bytes_written.add(held.len() as u64);
                self.engine.write(client.conn, &held);
                keep_spare(&mut self.spares, held);
            }
            if !exchange.done {
                break;
            }
            client.head = exchange.next;
            client.owed -= 1;
            client.writes_owed -= u32::from(exchange.asked.may_change);
            client.learn(exchange.reply_bytes, owed_max, bytes_max);
            count(&self.fronts, exchange, self.now);
            self.exchanges.remove(id);
        }
        if client.head.is_none() {
            client.tail = None;
        }
        let has_pushes = client.redis.as_ref().is_some_and(|redis| !redis.pushes.is_empty());
        let state = client.state;
        let needs_care = has_pushes || state.closing || state.paused;
        if state.blocked && !state.queued && client.has_window() {
            client.state.queued = true;
            self.queue.push_back(client_id);
        }
        if needs_care || !client.stalled_lanes.is_empty() {
            return self.advance_hindered(client_id, has_pushes);
        }
        self.limit_output(client_id);
    }

    /// What else there may be to do for a client that has got a reply.
    #[cold]
    fn advance_hindered(&mut self, client_id: ClientId, has_pushes: bool) {
        if has_pushes {
            self.send_pushes(client_id);
        }
        let client = self.clients.get_mut(client_id).expect("the client is being served");
        if client.state.closing && client.owed == 0 {
            return self.finish_client(client_id);
        }
        if !client.stalled_lanes.is_empty() {
            self.unstall(client_id);
        }
        let client = self.clients.get_mut(client_id).expect("the client is being served");
        if client.state.paused && !client.state.awaits_drain {
            // What it was paused for may have been held replies that are on their way now.
            self.unpause(client_id);
        }
        self.limit_output(client_id);
    }

    /// Stops reading from a client that does not take its replies, and closes one that holds more
    /// than it may.
    #[inline]
    pub(crate) fn limit_output(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let limits = &self.generation.config.limits;
        let bytes = self.engine.unsent(client.conn) + client.held_bytes + client.leg_bytes;
        if bytes > limits.client_bytes_pause {
            self.limit_full_output(id);
        }
    }

    #[cold]
    fn limit_full_output(&mut self, id: ClientId) {
        // Perhaps the kernel takes it all.
        self.engine.flush();
        let Some(client) = self.clients.get_mut(id) else { return };
        let limits = &self.generation.config.limits;
        let bytes = self.engine.unsent(client.conn) + client.held_bytes + client.leg_bytes;
        if bytes > limits.client_bytes_max {
            self.counters.clients_over_limit.add(1);
            self.report(Report::ClientOverLimit { bytes });
            return self.close_client(id);
        }
        if bytes <= limits.client_bytes_pause || client.state.paused {
            return;
        }
        client.state.paused = true;
        self.counters.client_pauses.add(1);
        self.engine.pause(client.conn);
        if !client.state.awaits_drain && self.engine.unsent(client.conn) > 0 {
            client.state.awaits_drain = true;
            let below = (limits.client_bytes_pause / 2).max(1);
            self.engine.notify_drained(client.conn, below);
        }
    }

    /// A client has taken most of what it was sent.
    pub(crate) fn client_drained(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.state.awaits_drain = false;
        self.unstall(id);
        self.unpause(id);
    }

    /// Reads from a client again, unless it still holds too much.
    pub(crate) fn unpause(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let unsent = self.engine.unsent(client.conn);
        let pause = self.generation.config.limits.client_bytes_pause;
        if !client.state.paused {
            return;
        }
        if unsent + client.held_bytes > pause {
            // Below that it is held replies that fill it: it is looked at again when one is sent.
            let below = (pause / 2).max(1);
            if !client.state.awaits_drain && unsent > below {
                client.state.awaits_drain = true;
                self.engine.notify_drained(client.conn, below);
            }
            return;
        }
        client.state.paused = false;
        if !client.state.flooded {
            self.engine.resume(client.conn);
        }
        if client.state.blocked && !client.state.queued {
            client.state.queued = true;
            self.queue.push_back(id);
        }
    }

    /// An exchange gets no reply from where it was sent.
    pub(crate) fn fail(&mut self, id: ExchangeId, failure: Failure) {
        let Some(exchange) = self.exchanges.get_mut(id) else { return };
        if exchange.done {
            return;
        }
        match exchange.owner {
            Owner::Client(client_id) if exchange.sent => {
                // The client has a part of a reply that will never be complete.
                self.close_client(client_id);
                self.drop_exchange(id);
            }
            Owner::Client(client_id) => {
                let held = std::mem::take(&mut exchange.held);
                exchange.kind = None;
                exchange.reply_bytes = 0;
                if let Some(client) = self.clients.get_mut(client_id) {
                    client.held_bytes -= held.len();
                    self.held_bytes -= held.len();
                    let listener = client.listener;
                    if let Some(listener) = self.listener(listener) {
                        listener.counters.listener.forward_errors.add(1);
                    }
                }
                let exchange = self.exchanges.get_mut(id).expect("the exchange was found above");
                let reply = failure.reply(exchange.asked.voice);
                self.emit(id, ReplyKind::ServerError, reply, None, true);
            }
            Owner::Leg(run, number) => self.leg_failed(run, number, id, failure),
            Owner::Nobody => self.drop_exchange(id),
        }
    }

    /// The client that waits for an exchange in the end.
    pub(crate) fn client_of(&self, id: ExchangeId) -> Option<ClientId> {
        self.root_of(id).map(|(client, _)| client)
    }

    /// The client that waits for an exchange in the end, and its own exchange.
    pub(crate) fn root_of(&self, id: ExchangeId) -> Option<(ClientId, ExchangeId)> {
        let mut at = id;
        loop {
            match self.exchanges.get(at)?.owner {
                Owner::Client(client) => return Some((client, at)),
                Owner::Leg(run, _) => at = self.runs.get(run)?.exchange,
                Owner::Nobody => return None,
            }
        }
    }
}

/// Replies at least so long leave from the memory they were received into. Copying shorter ones
/// costs less than a second piece to send.
const SHARE_BYTES_MIN: usize = 16 << 10;

/// Counts a complete exchange for its listener and route.
#[inline]
fn count(fronts: &[std::sync::Arc<crate::stats::Block>], exchange: &Exchange, now: u64) {
    let Some(block) = fronts.get(exchange.front as usize) else { return };
    let class = &block.classes[exchange.asked.class as usize];
    class.requests.add(1);
    class.request_bytes.add(u64::from(exchange.asked.bytes));
    class.reply_bytes.add(exchange.reply_bytes);
    class.latency.record(now.saturating_sub(exchange.started) / 1000);
    match exchange.kind {
        Some(kind) if is_error(kind) => class.errors.add(1),
        Some(kind) if is_miss(kind) => class.misses.add(1),
        Some(ReplyKind::Value | ReplyKind::Va) => class.hits.add(1),
        _ => {}
    }
}
