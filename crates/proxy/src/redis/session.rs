//! Sessions: connections of their own for clients whose commands depend on each other.
//!
//! A transaction, watched keys and client-side caching tie a client to one server; a blocking
//! command holds a connection until it is answered. None of that may touch a connection that
//! others share, so such a client gets one from the backend's bounded store of session connections,
//! and it goes back only when nothing of the client is left on it.

use crate::backend::BackendId;
use crate::client::ClientId;
use crate::exchange::{Asked, ExchangeId, Failure};
use crate::forward::Request;
use crate::link::{Link, LinkId, Phase, Role};
use crate::redis::{Pinned, again};
use crate::worker::{Listener, Worker};
use keyway_engine::Id;
use keyway_proto::memcached::ReplyKind;
use keyway_proto::resp::{self, Verb};
use std::rc::Rc;

/// What `MULTI` gets before it is known which server the transaction is for.
pub(crate) const OK: &[u8] = b"+OK\r\n";
/// What `EXEC` gets when a command before it was refused.
const ABORTED: &[u8] = b"-EXECABORT Transaction discarded because of previous errors.\r\n";
/// Keys of a transaction on another server than the first one.
const OTHER_SERVER: &[u8] =
    b"-CROSSSLOT Keys of a transaction must live on one server; give them a common hash tag\r\n";
/// A place that is no Redis server.
const NO_SERVER: &[u8] =
    b"-ERR this command needs a route that leads straight to a pool of Redis servers\r\n";

/// What a command means for its client's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionStep {
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
}

impl SessionStep {
    /// The part that a command has in transactions.
    pub fn of(request: resp::Request<'_>) -> Option<SessionStep> {
        Some(match request.verb()? {
            Verb::Multi => SessionStep::Multi,
            Verb::Exec => SessionStep::Exec,
            Verb::Discard => SessionStep::Discard,
            Verb::Watch => SessionStep::Watch,
            Verb::Unwatch => SessionStep::Unwatch,
            _ => return None,
        })
    }
}

impl Worker {
    /// A connection to this backend for one client alone. It may still have to be made.
    pub(crate) fn open_session(
        &mut self,
        id: BackendId,
        client: ClientId,
        is_resp3: bool,
    ) -> Result<LinkId, Failure> {
        let backend = self.backends.get(id).ok_or(Failure::Refused)?;
        if backend.is_down {
            return Err(backend.last_failure);
        }
        let links = &self.links;
        let is_free = |link: &&LinkId| {
            let link = links.get(**link);
            link.is_some_and(|link| link.client.is_none() && link.is_resp3 == is_resp3)
        };
        if let Some(link) = backend.sessions.iter().find(is_free).copied() {
            self.links.get_mut(link).expect("the link was found above").client = Some(client);
            return Ok(link);
        }
        if backend.sessions.len() >= backend.link().sessions_max && !self.drop_free_session(id) {
            self.backend(id).block.backend.overloads.add(1);
            return Err(Failure::Overloaded);
        }
        let link = self.links.insert(Link {
            is_resp3,
            client: Some(client),
            ..Link::new(id, Phase::Idle, Role::Session)
        });
        self.backend(id).sessions.push(link);
        Ok(link)
    }

    /// Makes room by closing a free session connection (of the other protocol version).
    fn drop_free_session(&mut self, id: BackendId) -> bool {
        let links = &self.links;
        let is_free = |link: &&LinkId| links.get(**link).is_some_and(|link| link.client.is_none());
        let free = self.backend_sessions(id).iter().find(is_free).copied();
        if let Some(link) = free {
            self.drop_session(link);
        }
        free.is_some()
    }

    fn backend_sessions(&self, id: BackendId) -> &[LinkId] {
        self.backends.get(id).map_or(&[], |backend| &backend.sessions)
    }

    /// Closes a session connection, whatever is going on there, and forgets it.
    pub(crate) fn drop_session(&mut self, id: LinkId) {
        let Some(link) = self.links.remove(id) else { return };
        let backend = self.backend(link.backend);
        backend.sessions.retain(|session| *session != id);
        let counters = &backend.block.backend;
        if link.phase == Phase::Ready {
            counters.connections.sub(1);
        } else {
            counters.waiting.sub(link.pending.len() as u64);
            counters.waiting_bytes.sub(link.waiting.len() as u64);
        }
        counters.owed.sub(link.pending.len() as u64);
        let bytes: u64 = link.pending.iter().map(|owed| u64::from(owed.bytes)).sum();
        counters.owed_bytes.sub(bytes);
        if let Some(conn) = link.conn {
            counters.sockets.sub(1);
            self.engine.close(conn);
        }
        for owed in link.pending {
            self.fail(owed.exchange, Failure::Closed);
        }
        self.close_if_retired(link.backend);
    }

    /// Nobody has needed a session connection for a while.
    pub(crate) fn close_spare_session(&mut self, id: LinkId) {
        match self.links.get_mut(id) {
            Some(link) if link.client.is_some() => link.progress = self.now,
            Some(_) => self.drop_session(id),
            None => {}
        }
    }

    /// The connection of a session is lost already. Its client must learn of it.
    pub(crate) fn session_lost(&mut self, id: LinkId) {
        let Some(link) = self.links.remove(id) else { return };
        if let Some(backend) = self.backends.get_mut(link.backend) {
            backend.sessions.retain(|session| *session != id);
        }
        let Some(client_id) = link.client else { return };
        let Some(client) = self.clients.get_mut(client_id) else { return };
        let Some(redis) = client.redis.as_deref_mut() else { return };
        let listens = redis.subscriber.as_ref().is_some_and(|subscriber| subscriber.link == id);
        let mut is_caching = false;
        if let Some(pinned) = redis.pinned.as_mut()
            && pinned.place.is_some_and(|(_, link)| link == id)
        {
            is_caching = pinned.is_tracking;
            if pinned.is_over() {
                redis.pinned = None;
            }
        }
        if let Some(pinned) = redis.pinned.as_mut()
            && pinned.place.is_some_and(|(_, link)| link == id)
        {
            pinned.place = None;
            // What it queued or watched is gone: its EXEC must not do half of it.
            pinned.is_dirty = true;
            if !pinned.in_multi {
                pinned.is_watching = true;
            }
        }
        if listens || is_caching {
            // It would wait for messages that never come.
            self.close_client(client_id);
        }
    }

    /// A session connection has answered: it is free again if its client needs it no more.
    pub(crate) fn session_answered(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        if !link.pending.is_empty() {
            return;
        }
        let client = link.client.and_then(|client| self.clients.get_mut(client));
        let redis = client.and_then(|client| client.redis.as_deref_mut());
        let Some(redis) = redis else { return self.drop_session(id) };
        if redis.subscriber.as_ref().is_some_and(|subscriber| subscriber.link == id) {
            return;
        }
        let is_pinned = |pinned: &Pinned| pinned.place.is_some_and(|(_, link)| link == id);
        if redis.pinned.as_ref().is_some_and(is_pinned) {
            if !redis.pinned.as_ref().is_some_and(Pinned::is_over) {
                return;
            }
            redis.pinned = None;
        }
        if link.is_spoiled {
            return self.drop_session(id);
        }
        link.client = None;
        link.is_patient = false;
        let backend = link.backend;
        self.close_if_retired(backend);
    }

    /// The client is gone: whatever its sessions were doing, nobody may inherit it.
    pub(crate) fn end_sessions(&mut self, client: ClientId, redis: &super::Redis) {
        if let Some((_, link)) = redis.pinned.as_ref().and_then(|pinned| pinned.place) {
            self.drop_session(link);
        }
        if let Some(subscriber) = &redis.subscriber {
            self.drop_session(subscriber.link);
        }
        if redis.is_blocked {
            let mine = self.links.iter().filter(|(_, link)| link.client == Some(client));
            let mine: Vec<LinkId> = mine.map(|(id, _)| id).collect();
            mine.into_iter().for_each(|link| self.drop_session(link));
        }
    }

    /// MULTI, EXEC, DISCARD, WATCH, UNWATCH. The exchange is open already; `place` is where the
    /// keys of WATCH live.
    pub(crate) fn transaction(
        &mut self,
        id: ExchangeId,
        client_id: ClientId,
        listener: &Rc<Listener>,
        step: SessionStep,
        place: Option<BackendId>,
        request: resp::Request<'_>,
    ) {
        let Some(client) = self.clients.get_mut(client_id) else { return };
        let Some(redis) = client.redis.as_deref_mut() else { return };
        let pinned = redis.pinned.get_or_insert_with(|| Pinned::new(listener));
        let link = pinned.place.map(|(_, link)| link);
        let local: &[u8] = match step {
            SessionStep::Multi if pinned.in_multi => b"-ERR MULTI calls can not be nested\r\n",
            SessionStep::Multi => {
                pinned.in_multi = true;
                OK
            }
            SessionStep::Watch if pinned.in_multi => b"-ERR WATCH inside MULTI is not allowed\r\n",
            SessionStep::Watch => {
                return self.watch(id, client_id, place, request);
            }
            SessionStep::Unwatch if pinned.in_multi => {
                return self.in_transaction(id, client_id, place, request);
            }
            SessionStep::Unwatch => {
                pinned.is_watching = false;
                pinned.is_dirty = false;
                OK
            }
            SessionStep::Exec if !pinned.in_multi => b"-ERR EXEC without MULTI\r\n",
            SessionStep::Discard if !pinned.in_multi => b"-ERR DISCARD without MULTI\r\n",
            SessionStep::Exec | SessionStep::Discard => {
                return self.end_transaction(id, client_id, step, request);
            }
        };
        let is_over = pinned.is_over();
        match link {
            // The server is known: it keeps its own account.
            Some(link) if !local.starts_with(b"-") => {
                if is_over {
                    self.hold_behind(id, client_id);
                }
                self.say(id, client_id, link, request, true);
            }
            _ => {
                if is_over {
                    redis.pinned = None;
                }
                let kind =
                    if local.starts_with(b"-") { ReplyKind::ServerError } else { ReplyKind::Ok };
                self.emit(id, kind, local, None, true);
            }
        }
    }

    /// WATCH ties the client to the server of its keys.
    fn watch(
        &mut self,
        id: ExchangeId,
        client_id: ClientId,
        place: Option<BackendId>,
        request: resp::Request<'_>,
    ) {
        match self.pin(id, client_id, place) {
            Ok(link) => {
                if let Some(pinned) = self.pinned(client_id) {
                    pinned.is_watching = true;
                }
                self.say(id, client_id, link, request, true);
            }
            Err(refusal) => {
                self.forget_pin(client_id);
                self.refuse(id, refusal);
            }
        }
    }

    /// EXEC and DISCARD.
    fn end_transaction(
        &mut self,
        id: ExchangeId,
        client_id: ClientId,
        step: SessionStep,
        request: resp::Request<'_>,
    ) {
        let Some(pinned) = self.pinned(client_id) else { return };
        let is_exec = step == SessionStep::Exec;
        if pinned.is_dirty && is_exec {
            return self.abort_transaction(id, client_id, ABORTED);
        }
        let place = pinned.place;
        pinned.end();
        match place {
            Some((_, link)) => {
                self.hold_behind(id, client_id);
                self.say(id, client_id, link, request, true);
            }
            None => {
                self.forget_pin(client_id);
                // Nothing was queued: there is nobody to ask.
                let reply: &[u8] = if is_exec { b"*0\r\n" } else { OK };
                self.emit(id, ReplyKind::Ok, reply, None, true);
            }
        }
    }

    /// A transaction that must not do anything ends, with this reply.
    pub(crate) fn abort_transaction(&mut self, id: ExchangeId, client_id: ClientId, reply: &[u8]) {
        let Some(pinned) = self.pinned(client_id) else { return };
        let place = pinned.place;
        pinned.end();
        match place {
            Some((_, link)) => {
                // The client's next transaction waits until the server has forgotten this one.
                let discard = again(b"*1\r\n$7\r\nDISCARD\r\n");
                let silent = self.open_silent(id, client_id);
                self.hold_behind(silent, client_id);
                self.say(silent, client_id, link, discard, true);
            }
            None => self.forget_pin(client_id),
        }
        self.emit(id, ReplyKind::ServerError, reply, None, true);
    }

    /// A command of a client that is tied to a server, or is about to be.
    pub(crate) fn in_transaction(
        &mut self,
        id: ExchangeId,
        client_id: ClientId,
        place: Option<BackendId>,
        request: resp::Request<'_>,
    ) {
        let was_known = self.pinned(client_id).is_some_and(|pinned| pinned.place.is_some());
        match self.pin(id, client_id, place) {
            Ok(link) => {
                let in_multi = self.pinned(client_id).is_some_and(|pinned| pinned.in_multi);
                if !was_known && in_multi {
                    let multi = again(b"*1\r\n$5\r\nMULTI\r\n");
                    self.say(NOBODY, client_id, link, multi, true);
                }
                self.say(id, client_id, link, request, false);
            }
            Err(refusal) => self.refuse(id, refusal),
        }
    }

    /// Says something on a client's own connection. What could not be sent spoils the transaction,
    /// and with a command that begins or ends one it is not known any more what holds there.
    pub(crate) fn say(
        &mut self,
        id: ExchangeId,
        client_id: ClientId,
        link: LinkId,
        request: resp::Request<'_>,
        is_control: bool,
    ) {
        let is_there = self.links.contains(link);
        if is_there && self.forward_on(id, link, &Request::Redis(request)) {
            return;
        }
        if !is_there {
            self.fail(id, Failure::Closed);
        }
        if is_control {
            self.drop_session(link);
        }
        let Some(pinned) = self.pinned(client_id) else { return };
        pinned.is_dirty |= pinned.in_multi || pinned.is_watching;
        if is_control {
            pinned.place = None;
            if pinned.is_over() {
                self.forget_pin(client_id);
            }
        }
    }

    /// The connection of a client's tie to a server; made when there is none.
    fn pin(
        &mut self,
        id: ExchangeId,
        client_id: ClientId,
        place: Option<BackendId>,
    ) -> Result<LinkId, Refusal> {
        let is_resp3 = self.exchanges.get(id).is_some_and(|exchange| exchange.asked.is_resp3);
        let Some(pinned) = self.pinned(client_id) else { return Err(Refusal::Line(NO_SERVER)) };
        let Some(backend) = place else {
            pinned.is_dirty = true;
            return Err(Refusal::Line(NO_SERVER));
        };
        match pinned.place {
            Some((known, link)) if known == backend => return Ok(link),
            Some(_) => {
                pinned.is_dirty |= pinned.in_multi;
                return Err(Refusal::Line(OTHER_SERVER));
            }
            None => {}
        }
        let opened = self.open_session(backend, client_id, is_resp3);
        let Some(pinned) = self.pinned(client_id) else { return Err(Refusal::Line(NO_SERVER)) };
        match opened {
            Ok(link) => {
                pinned.place = Some((backend, link));
                Ok(link)
            }
            Err(failure) => {
                pinned.is_dirty |= pinned.in_multi;
                Err(Refusal::Failure(failure))
            }
        }
    }

    /// An exchange behind all others of the client whose reply it does not get.
    fn open_silent(&mut self, like: ExchangeId, client_id: ClientId) -> ExchangeId {
        let exchange = self.exchanges.get(like).expect("the exchange has just been opened");
        let asked = Asked { noreply: true, ..exchange.asked };
        self.open_at(client_id, exchange.front, asked)
    }

    /// Nothing of the client is begun before this exchange is over: on another connection it could
    /// overtake it.
    pub(crate) fn hold_behind(&mut self, id: ExchangeId, client_id: ClientId) {
        if let Some(client) = self.clients.get_mut(client_id) {
            client.on_lane = Some(id);
        }
    }

    fn refuse(&mut self, id: ExchangeId, refusal: Refusal) {
        match refusal {
            Refusal::Line(line) => self.emit(id, ReplyKind::ServerError, line, None, true),
            Refusal::Failure(failure) => self.fail(id, failure),
        }
    }

    /// A command that may wait on the server: on a connection of its own, and nothing of the client
    /// is begun behind it.
    pub(crate) fn block_on(
        &mut self,
        id: ExchangeId,
        client_id: ClientId,
        place: Option<BackendId>,
        request: resp::Request<'_>,
    ) {
        let is_resp3 = self.exchanges.get(id).is_some_and(|exchange| exchange.asked.is_resp3);
        let Some(backend) = place else { return self.refuse(id, Refusal::Line(NO_SERVER)) };
        match self.open_session(backend, client_id, is_resp3) {
            Ok(link) => {
                if let Some(link) = self.links.get_mut(link) {
                    link.is_patient = true;
                }
                self.hold_behind(id, client_id);
                let client = self.clients.get_mut(client_id);
                if let Some(redis) = client.and_then(|client| client.redis.as_deref_mut()) {
                    redis.is_blocked = true;
                }
                if !self.forward_on(id, link, &Request::Redis(request)) {
                    self.drop_session(link);
                }
            }
            Err(failure) => self.fail(id, failure),
        }
    }

    /// Closes clients with tracking whose server no pool has any more: their commands would go
    /// there for ever. Transactions and blocking commands end by themselves.
    pub(crate) fn leave_gone_servers(&mut self) {
        let open_ended = self.links.iter().filter(|(_, link)| {
            link.role == Role::Session && link.is_spoiled && link.pending.is_empty()
        });
        let open_ended: Vec<(LinkId, BackendId)> =
            open_ended.map(|(id, link)| (id, link.backend)).collect();
        for (id, backend) in open_ended {
            if !self.is_in_routes(backend) {
                self.lose_link(id, Failure::Closed);
            }
        }
    }

    /// Whether a pool of the routes in use has the server that this backend stands for, perhaps
    /// with other settings.
    fn is_in_routes(&self, id: BackendId) -> bool {
        let address = |id: &BackendId| self.backends.get(*id).map(|known| &known.identity.address);
        let own = address(&id);
        let mut named = self.routes.pools.iter().flat_map(|pool| &pool.backends);
        named.any(|other| address(other) == own)
    }

    /// What ties a client to a server.
    pub(crate) fn pinned(&mut self, id: ClientId) -> Option<&mut Pinned> {
        self.clients.get_mut(id)?.redis.as_deref_mut()?.pinned.as_mut()
    }

    /// Nothing ties the client to a server any more; there is no connection to give back.
    fn forget_pin(&mut self, id: ClientId) {
        if let Some(redis) = self.clients.get_mut(id).and_then(|client| client.redis.as_deref_mut())
            && redis.pinned.as_ref().is_some_and(|pinned| pinned.place.is_none())
        {
            redis.pinned = None;
        }
    }
}

/// Why a client cannot be tied to a server.
enum Refusal {
    Line(&'static [u8]),
    Failure(Failure),
}

/// The exchange of commands that we say ourselves: their replies are swallowed.
pub(crate) const NOBODY: ExchangeId = Id::from_bits(u64::MAX);
