//! Lanes: connections that carry one large value at a time, so that nobody waits behind it.
//!
//! A large value on a connection that all clients share would stall them whenever its own client is
//! slow. So a large reply that turns up on a shared connection is thrown away there and fetched
//! again on a lane, and a large upload goes to a lane from the start. A lane is read only as fast
//! as its client takes the bytes, and written only as fast as its server does: memory stays
//! bounded.

use crate::backend::{Backend, BackendId, LANE_QUEUE_MAX, LaneRequest};
use crate::client::{ClientId, Upload};
use crate::exchange::{ExchangeId, Failure, Owner};
use crate::forward::{Request, Text, remember};
use crate::link::{Link, LinkId, Phase, Role, Shape};
use crate::worker::Worker;
use keyway_engine::Id;
use keyway_proto::memcached::{Cut, ReplyCut, Verb, cut, cut_reply};
use keyway_proto::resp;

/// Bytes queued towards a lane at which its client is not read for a while.
const UPLOAD_BYTES_PAUSE: usize = 1 << 20;

impl Worker {
    /// A large value begins on a shared link: fetches it again on a lane, if the request can be
    /// repeated without changing anything. True when the bytes here are of no use any more.
    pub(crate) fn move_to_lane(
        &mut self,
        id: LinkId,
        value: u64,
        bytes: &[u8],
        start: usize,
    ) -> bool {
        let Some(link) = self.links.get(id) else { return false };
        let Some(pending) = link.pending.front().copied() else { return false };
        if link.is_lane() || value <= self.generation.config.limits.large_value_bytes {
            return false;
        }
        let Some(backend) = self.backends.get(link.backend) else { return false };
        let Some(exchange) = self.exchanges.get(pending.exchange) else { return false };
        if backend.link().large_lanes_max == 0 || exchange.kind.is_some() {
            return false;
        }
        let Some((client_id, root)) = self.root_of(pending.exchange) else { return false };
        let client = self.clients.get(client_id).expect("an exchange is owed to a live client");
        if client.writes_owed > 0 {
            // A write behind it may have been carried out already: asked again, it would come late.
            return false;
        }
        let mut wire = Vec::new();
        match pending.shape {
            // The key has been taken off the log; none may be left.
            Shape::Retrieval if pending.asked == 0 => {
                let ReplyCut::Head(head) = cut_reply(&bytes[start..]) else { return false };
                let with_cas = matches!(exchange.asked.verb, Verb::Gets | Verb::Gats);
                wire.extend_from_slice(if with_cas { b"gets " } else { b"get " });
                wire.extend_from_slice(head.key);
                wire.extend_from_slice(b"\r\n");
            }
            Shape::RespGet => {
                let key = link.asked.front(pending.asked);
                resp::render::request(&mut wire, &[b"GET", key]);
            }
            Shape::MetaGet if may_repeat(link.asked.front(pending.asked)) => {
                let line = [link.asked.front(pending.asked), b"\r\n"].concat();
                let Cut::Head(head) = cut(&line) else { return false };
                Text { head, wire: &line }.render(&mut wire);
            }
            _ => return false,
        }
        let backend_id = link.backend;
        let link = self.links.get_mut(id).expect("the link was found above");
        let first = link.pending.front_mut().expect("the request was found above");
        // What is left of the reply belongs to nobody.
        first.exchange = Id::from_bits(u64::MAX);
        self.note_lane(client_id, root);
        self.lane_request(backend_id, pending.exchange, wire);
        true
    }

    /// Remembers that an exchange of this client uses a lane, unless a younger one does already.
    fn note_lane(&mut self, client_id: ClientId, root: ExchangeId) {
        let Some(client) = self.clients.get_mut(client_id) else { return };
        let mut next = Some(root);
        while let Some(id) = next {
            if client.on_lane == Some(id) {
                return;
            }
            next = self.exchanges.get(id).and_then(|exchange| exchange.next);
        }
        client.on_lane = Some(root);
    }

    /// Sends a request on a lane, now or when one is free.
    fn lane_request(&mut self, backend_id: BackendId, exchange: ExchangeId, wire: Vec<u8>) {
        let since = self.now;
        match self.free_lane(backend_id) {
            Some(lane) => self.use_lane(lane, exchange, &wire),
            None => {
                let backend = self.backend(backend_id);
                if backend.lane_queue.len() >= LANE_QUEUE_MAX {
                    backend.block.backend.overloads.add(1);
                    return self.fail(exchange, Failure::Overloaded);
                }
                backend.lane_queue.push_back(LaneRequest { exchange, wire, since });
            }
        }
    }

    /// A lane without a tenant; a new one if there may be more.
    fn free_lane(&mut self, backend_id: BackendId) -> Option<LinkId> {
        let backend = self.backends.get(backend_id)?;
        let links = &self.links;
        let free = |lane: &&LinkId| links.get(**lane).is_some_and(|link| link.tenant.is_none());
        if let Some(lane) = backend.lanes.iter().find(free) {
            return Some(*lane);
        }
        if backend.lanes.len() >= backend.link().large_lanes_max {
            return None;
        }
        let lane = self.links.insert(Link::new(backend_id, Phase::Idle, Role::Lane));
        self.backend(backend_id).lanes.push(lane);
        Some(lane)
    }

    fn use_lane(&mut self, lane: LinkId, exchange: ExchangeId, wire: &[u8]) {
        let now = self.now;
        let asked = self.exchanges.get(exchange).map(|exchange| exchange.asked);
        let is_redis = asked.is_some_and(|asked| asked.voice.is_redis());
        let link = self.links.get_mut(lane).expect("a free lane was just found");
        link.tenant = Some(exchange);
        link.progress = now;
        remember(link, exchange, &Request::again(wire, is_redis));
        let backend_id = link.backend;
        let waits = link.phase != Phase::Ready;
        let backend = self.backends.get(backend_id).expect("a backend outlives its links");
        backend.block.backend.waiting.add(u64::from(waits));
        self.send_on_lane(lane, wire);
        let backend = self.backend(backend_id);
        backend.block.backend.large_lanes.add(1);
        let counters = &backend.block.backend;
        counters.owed.add(1);
        counters.owed_bytes.add(wire.len() as u64);
        counters.requests.add(1);
        counters.request_bytes.add(wire.len() as u64);
        let due = now + backend.link().read_timeout.as_nanos() as u64;
        self.expire_by(due);
    }

    fn send_on_lane(&mut self, lane: LinkId, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(lane) else { return };
        match (link.phase, link.conn) {
            (Phase::Ready, Some(conn)) => self.engine.write(conn, bytes),
            (phase, _) => {
                link.waiting.extend_from_slice(bytes);
                let backend = self.backends.get(link.backend).expect("it outlives its links");
                backend.block.backend.waiting_bytes.add(bytes.len() as u64);
                if phase == Phase::Idle {
                    self.connect(lane);
                }
            }
        }
    }

    /// A lane (or a link of a retired backend) has answered its request.
    pub(crate) fn link_idle(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        if link.role == Role::Session {
            return self.session_answered(id);
        }
        let backend_id = link.backend;
        let is_lane = link.is_lane();
        if link.upload_left > 0 {
            // It answered before it had the whole value: what it takes the next bytes for is open.
            self.close_lane(id);
        } else {
            let tenant = link.tenant.take();
            if std::mem::take(&mut link.paused)
                && let Some(conn) = link.conn
            {
                // It was stopped for this tenant's client; the next tenant's is another one.
                self.engine.resume(conn);
            }
            let client = tenant.and_then(|tenant| self.client_of(tenant));
            if let Some(client) = client.and_then(|client| self.clients.get_mut(client)) {
                client.stalled_lanes.retain(|lane| *lane != id);
            }
        }
        if is_lane {
            self.next_on_lane(backend_id);
        }
        self.close_if_retired(backend_id);
    }

    /// Gives free lanes to requests that wait for one.
    fn next_on_lane(&mut self, backend_id: BackendId) {
        while let Some(backend) = self.backends.get_mut(backend_id) {
            let Some(request) = backend.lane_queue.pop_front() else { return };
            if self.exchanges.get(request.exchange).is_none_or(|ex| ex.owner == Owner::Nobody) {
                self.drop_exchange(request.exchange);
                continue;
            }
            match self.free_lane(backend_id) {
                Some(lane) => self.use_lane(lane, request.exchange, &request.wire),
                None => {
                    self.backend(backend_id).lane_queue.push_front(request);
                    return;
                }
            }
        }
    }

    /// Closes the connection of a lane on which nothing is owed.
    pub(crate) fn close_lane(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        let backend_id = link.backend;
        if let Some(conn) = link.conn.take() {
            self.engine.close(conn);
        }
        let counters = &self.backend(backend_id).block.backend;
        counters.connections.sub(1);
        counters.sockets.sub(1);
        self.lane_lost(id);
    }

    /// A lane's connection is gone: the lane goes with it.
    pub(crate) fn lane_lost(&mut self, id: LinkId) {
        let Some(link) = self.links.remove(id) else { return };
        if let Some(client) = link.tenant.and_then(|tenant| self.client_of(tenant)) {
            // The rest of an upload has to be thrown away.
            self.unpause(client);
        }
        if let Some(backend) = self.backends.get_mut(link.backend) {
            backend.lanes.retain(|lane| *lane != id);
        }
        self.next_on_lane(link.backend);
    }

    /// A lane can be used: an upload that waited for it goes on.
    pub(crate) fn lane_ready(&mut self, id: LinkId) {
        self.lane_drained(id);
    }

    /// The server has taken most of what was written to a lane.
    pub(crate) fn lane_drained(&mut self, id: LinkId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(id) else { return };
        link.progress = now;
        let Some(tenant) = link.tenant else { return };
        let Some(client_id) = self.client_of(tenant) else { return };
        let client = self.clients.get(client_id);
        if client.is_some_and(|client| client.upload.is_some()) {
            self.unpause(client_id);
        }
    }

    /// Stops reading a lane whose client does not take what has come already: what is unsent counts
    /// when it is the client's turn to get this reply, what is held when it is not.
    pub(crate) fn slow_down_lane(&mut self, id: LinkId, exchange: ExchangeId) {
        let Some(link) = self.links.get(id) else { return };
        if !link.is_lane() || link.paused {
            return;
        }
        let Some((client_id, outlet)) = self.outlet_of(exchange) else { return };
        let Some(client) = self.clients.get_mut(client_id) else { return };
        let bytes = if client.head == Some(outlet) {
            self.engine.unsent(client.conn)
        } else {
            self.exchanges.get(outlet).map_or(0, |outlet| outlet.held.len())
        };
        if bytes <= self.generation.config.limits.client_bytes_pause {
            return;
        }
        client.stalled_lanes.push(id);
        let link = self.links.get_mut(id).expect("the link was found above");
        link.paused = true;
        if let Some(conn) = link.conn {
            self.engine.pause(conn);
        }
        self.unstall(client_id);
    }

    /// Reads those lanes again whose reply it is the client's turn to get, once it has taken most
    /// of what it was sent. The others wait for their turn.
    pub(crate) fn unstall(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let (conn, head) = (client.conn, client.head);
        let mut lanes = std::mem::take(&mut client.stalled_lanes);
        let pause = self.generation.config.limits.client_bytes_pause;
        let is_full = self.engine.unsent(conn) > pause;
        let mut waits = false;
        lanes.retain(|lane| {
            let Some(link) = self.links.get(*lane) else { return false };
            let outlet = link.tenant.and_then(|tenant| self.outlet_of(tenant));
            let is_turn = outlet.is_none_or(|(_, outlet)| head == Some(outlet));
            waits |= is_turn && is_full;
            if is_turn && !is_full {
                self.resume_lane(*lane);
            }
            !is_turn || is_full
        });
        let Some(client) = self.clients.get_mut(id) else { return };
        client.stalled_lanes = lanes;
        if waits && !client.state.awaits_drain {
            client.state.awaits_drain = true;
            self.engine.notify_drained(conn, (pause / 2).max(1));
        }
    }

    /// Reads a lane again that was stopped for a slow client.
    pub(crate) fn resume_lane(&mut self, id: LinkId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(id) else { return };
        if link.upload_left > 0 {
            return;
        }
        link.paused = false;
        link.progress = now;
        if let Some(conn) = link.conn {
            self.engine.resume(conn);
        }
        self.expire_by(now + keyway_engine::SECOND);
    }

    /// Refuses requests that have waited too long for a lane: its tenants may never be done, when
    /// their clients do not read.
    pub(crate) fn expire_lane_queues(&mut self) {
        let now = self.now;
        let waiting = self.backends.iter().filter(|(_, backend)| !backend.lane_queue.is_empty());
        let waiting: Vec<BackendId> = waiting.map(|(id, _)| id).collect();
        for id in waiting {
            while let Some(backend) = self.backends.get_mut(id) {
                let wait = backend.link().read_timeout.as_nanos() as u64;
                let is_late = |request: &mut LaneRequest| request.since + wait <= now;
                let Some(request) = backend.lane_queue.pop_front_if(is_late) else { break };
                backend.block.backend.overloads.add(1);
                self.fail(request.exchange, Failure::Overloaded);
            }
            self.close_if_retired(id);
        }
    }

    /// Begins to pass on a large value while it arrives. `head` is the request's line in normal
    /// form, `left` the bytes of the value with its line end. False when no lane is free.
    pub(crate) fn begin_upload(
        &mut self,
        client_id: ClientId,
        exchange: ExchangeId,
        backend_id: BackendId,
        line: &[u8],
        left: u64,
    ) -> bool {
        let usable = |backend: &Backend| !backend.is_down && backend.identity.address.is_some();
        if !self.backends.get(backend_id).is_some_and(usable) {
            self.fail(exchange, Failure::Refused);
            return false;
        }
        let Some(lane) = self.free_lane(backend_id) else {
            self.backend(backend_id).block.backend.overloads.add(1);
            self.fail(exchange, Failure::Overloaded);
            return false;
        };
        self.use_lane(lane, exchange, line);
        // While the client sends, the server owes nothing: the time-out begins with the last byte.
        let link = self.links.get_mut(lane).expect("the lane is in use");
        link.paused = true;
        link.upload_left = left;
        let client = self.clients.get_mut(client_id).expect("the client sent the request");
        client.upload = Some(Upload { exchange, lane, left });
        client.on_lane = Some(exchange);
        true
    }

    /// Passes on more of a large value; returns how many bytes were used. With 0 the client has to
    /// wait until the server has taken more.
    pub(crate) fn continue_upload(&mut self, client_id: ClientId, bytes: &[u8]) -> usize {
        let Some(client) = self.clients.get_mut(client_id) else { return bytes.len() };
        let Some(mut upload) = client.upload else { return 0 };
        let link = self.links.get_mut(upload.lane);
        let Some(link) = link.filter(|link| link.tenant == Some(upload.exchange)) else {
            // The server has gone or has answered early: the rest of the value is of no use.
            client.upload = None;
            client.swallow = upload.left;
            return 0;
        };
        let unsent = link.conn.map_or(0, |conn| self.engine.unsent(conn)) + link.waiting.len();
        if unsent >= UPLOAD_BYTES_PAUSE {
            client.state.blocked = true;
            if !client.state.paused {
                client.state.paused = true;
                self.engine.pause(client.conn);
            }
            if let (Phase::Ready, Some(conn)) = (link.phase, link.conn) {
                self.engine.notify_drained(conn, UPLOAD_BYTES_PAUSE / 2);
            }
            return 0;
        }
        let count = (bytes.len() as u64).min(upload.left) as usize;
        let count = count.min(UPLOAD_BYTES_PAUSE);
        upload.left -= count as u64;
        client.upload = (upload.left > 0).then_some(upload);
        link.paused = upload.left > 0;
        link.upload_left = upload.left;
        link.progress = self.now;
        self.send_on_lane(upload.lane, &bytes[..count]);
        if upload.left == 0 {
            let due = self.now + keyway_engine::SECOND;
            self.expire_by(due);
        }
        count
    }

    /// The client left in the middle of its value: the server must not take what it has for all.
    pub(crate) fn abandon_upload(&mut self, upload: Upload) {
        let tenant = self.links.get(upload.lane).and_then(|link| link.tenant);
        if tenant == Some(upload.exchange) {
            self.lose_link(upload.lane, Failure::Closed);
        }
    }
}

/// Whether an `mg` line means the same when it is sent again: it must not win tokens or create
/// items.
fn may_repeat(line: &[u8]) -> bool {
    let flags = line.split(|byte| *byte == b' ').filter(|token| !token.is_empty()).skip(2);
    flags.into_iter().all(|flag| !matches!(flag[0], b'N' | b'R' | b'E'))
}
