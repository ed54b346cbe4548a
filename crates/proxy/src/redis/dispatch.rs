//! From a decided Redis request to a server: by its key, or by all of its keys.
//!
//! A command with several keys goes where all of them live. Where they live in several places it
//! is split if its parts mean the same (`split`), and refused otherwise: a server that has half of
//! the keys would answer as if the others did not exist.

use crate::backend::BackendId;
use crate::config::{CommandClass, RouteId};
use crate::exchange::{ExchangeId, Failure, Voice};
use crate::forward::Request;
use crate::link::{Link, Phase, Role};
use crate::route::Node;
use crate::routes::Routes;
use crate::worker::Worker;
use keyway_proto::memcached::ReplyKind;
use keyway_proto::memcached::strict::PLACEHOLDER_KEY;
use keyway_proto::resp;
use keyway_proto::resp::command::Hashed;
use std::rc::Rc;

/// Stands for the key of commands that have none: they all go to one server of a pool. It is
/// twemproxy's.
pub(crate) const NO_KEY: &[u8] = PLACEHOLDER_KEY;

/// Where a key lives: the route at the end of its way and, in a pool, the backend's position.
pub(crate) type Place = (RouteId, Option<usize>);

/// Keys that live in different places.
pub(crate) const CROSSED: &[u8] =
    b"-CROSSSLOT Keys in request do not live on the same server; give them a common hash tag\r\n";

impl Worker {
    /// Where a key lives; `None` while its pool has no server in the ring.
    #[inline]
    pub(crate) fn place_of(
        &mut self,
        routes: &Routes,
        from: RouteId,
        class: CommandClass,
        key: &[u8],
    ) -> Option<Place> {
        let leaf = routes.table.resolve(from, class, key);
        match routes.table.node(leaf) {
            Node::Pool(pool) => Some((leaf, Some(self.place(&routes.pools[*pool], key)?))),
            _ => Some((leaf, None)),
        }
    }

    /// Sends a Redis request where `route` leads.
    pub(crate) fn dispatch_redis(
        &mut self,
        id: ExchangeId,
        routes: &Rc<Routes>,
        route: RouteId,
        request: resp::Request<'_>,
    ) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        let (class, voice) = (exchange.asked.class, exchange.asked.voice);
        let first = match voice {
            Voice::StrictRedis => hashed_by_twemproxy(request),
            _ => request.first_key().unwrap_or(NO_KEY),
        };
        let Some(place) = self.place_of(routes, route, class, first) else {
            return self.fail(id, Failure::Refused);
        };
        if voice == Voice::StrictRedis && request.verb() == Some(resp::Verb::Exists) {
            // twemproxy sends it whole, so that it counts the first key's server only.
            return self.dispatch_to_place(id, routes, place, request);
        }
        if has_many_places(routes, route, place.0) && has_more_keys(request) {
            let Some(is_one) = self.is_one_place(routes, route, class, place, request) else {
                return self.fail(id, Failure::Refused);
            };
            if !is_one && is_split(request) {
                return self.split(id, routes, route, request);
            }
            if !is_one && voice == Voice::Redis {
                return self.emit(id, ReplyKind::ServerError, CROSSED, None, true);
            }
        }
        self.dispatch_to_place(id, routes, place, request);
    }

    /// Sends a request with one key to the route at the end of its way.
    #[inline]
    pub(crate) fn dispatch_leaf(
        &mut self,
        id: ExchangeId,
        affinity: u32,
        routes: &Rc<Routes>,
        leaf: RouteId,
        request: resp::Request<'_>,
    ) {
        let Node::Pool(pool) = routes.table.node(leaf) else {
            return self.dispatch_redis(id, routes, leaf, request);
        };
        let pool = &routes.pools[*pool];
        let first = request.first_key().unwrap_or(NO_KEY);
        match self.place(pool, first) {
            Some(index) => {
                let is_resp3 = self.exchanges.get(id).is_some_and(|ex| ex.asked.is_resp3);
                self.forward_to(id, pool.backends[index], affinity as usize, is_resp3, request);
            }
            None => self.fail(id, Failure::Refused),
        }
    }

    /// Sends a Redis request to the place of its keys.
    pub(crate) fn dispatch_to_place(
        &mut self,
        id: ExchangeId,
        routes: &Rc<Routes>,
        (leaf, index): Place,
        request: resp::Request<'_>,
    ) {
        match (routes.table.node(leaf), index) {
            (Node::Pool(pool), Some(index)) => {
                self.forward_redis(id, routes.pools[*pool].backends[index], request);
            }
            (Node::Store, _) => self.ask_store_redis(id, request),
            (Node::Policy(_), _) => self.start_policy(id, routes, leaf, Request::Redis(request)),
            (Node::Error(line), _) => self.emit_error_route(id, line),
            _ => self.emit_nothing(id),
        }
    }

    /// Whether all keys live at `place`; `None` when one has no place now.
    fn is_one_place(
        &mut self,
        routes: &Routes,
        route: RouteId,
        class: CommandClass,
        place: Place,
        request: resp::Request<'_>,
    ) -> Option<bool> {
        for key in request.keys().skip(1) {
            if self.place_of(routes, route, class, key.bytes)? != place {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Queues a Redis request on a connection to this backend that speaks the client's version of
    /// the protocol.
    pub(crate) fn forward_redis(
        &mut self,
        id: ExchangeId,
        backend_id: BackendId,
        request: resp::Request<'_>,
    ) {
        let Some(exchange) = self.exchanges.get(id) else { return };
        let (affinity, is_resp3) = (exchange.affinity as usize, exchange.asked.is_resp3);
        self.forward_to(id, backend_id, affinity, is_resp3, request);
    }

    #[inline]
    fn forward_to(
        &mut self,
        id: ExchangeId,
        backend_id: BackendId,
        affinity: usize,
        is_resp3: bool,
        request: resp::Request<'_>,
    ) {
        let Some(backend) = self.backends.get(backend_id) else {
            return self.fail(id, Failure::Refused);
        };
        if backend.is_down {
            let failure = backend.last_failure;
            return self.fail(id, failure);
        }
        let link = if is_resp3 {
            if backend.links_resp3.is_empty() {
                self.open_resp3(backend_id);
            }
            let links = &self.backend(backend_id).links_resp3;
            links[affinity % links.len()]
        } else {
            backend.links[affinity % backend.links.len()]
        };
        self.forward_on(id, link, &Request::Redis(request));
    }

    /// The first client that speaks RESP3 has come to this backend.
    fn open_resp3(&mut self, id: BackendId) {
        for _ in 0..self.backend(id).link().connections.max(1) {
            let link = self
                .links
                .insert(Link { is_resp3: true, ..Link::new(id, Phase::Idle, Role::Shared) });
            self.backend(id).links_resp3.push(link);
        }
    }

    /// A route that answers with an error.
    fn emit_error_route(&mut self, id: ExchangeId, line: &[u8]) {
        let text = line.strip_prefix(b"SERVER_ERROR ").unwrap_or(line);
        let reply = [b"-ERR ", text].concat();
        self.emit(id, ReplyKind::ServerError, &reply, None, true);
    }

    /// A route on which nothing is ever stored.
    fn emit_nothing(&mut self, id: ExchangeId) {
        let is_resp3 = self.exchanges.get(id).is_some_and(|exchange| exchange.asked.is_resp3);
        let reply: &[u8] = if is_resp3 { b"_\r\n" } else { b"$-1\r\n" };
        self.emit(id, ReplyKind::End, reply, None, true);
    }

    /// The link that a place stands for, if it is a backend.
    pub(crate) fn backend_at(&self, routes: &Routes, (leaf, index): Place) -> Option<BackendId> {
        match (routes.table.node(leaf), index) {
            (Node::Pool(pool), Some(index)) => Some(routes.pools[*pool].backends[index]),
            _ => None,
        }
    }
}

/// The argument that twemproxy hashes, even where it is no key.
fn hashed_by_twemproxy<'a>(request: resp::Request<'a>) -> &'a [u8] {
    let known = request.command.and_then(|command| command.nutcracker);
    let argument = match known.map(|known| known.hashed) {
        Some(Hashed::First | Hashed::Every | Hashed::Pairs) => request.argument(1),
        Some(Hashed::Third) => request.argument(3),
        Some(Hashed::Placeholder | Hashed::Local) | None => request.first_key(),
    };
    argument.unwrap_or(NO_KEY)
}

/// Whether a request has more keys than the first.
#[inline]
fn has_more_keys(request: resp::Request<'_>) -> bool {
    let Some(command) = request.command else { return false };
    !command.has_one_key && request.keys().nth(1).is_some()
}

/// Whether a request may be split by the places of its keys.
fn is_split(request: resp::Request<'_>) -> bool {
    request.command.is_some_and(|command| command.kind == resp::Kind::Split)
}

/// Whether keys that come to `route` may live in more than one place, when one of them leads to
/// `leaf`.
fn has_many_places(routes: &Routes, route: RouteId, leaf: RouteId) -> bool {
    let has_many = match routes.table.node(leaf) {
        Node::Pool(pool) => routes.pools[*pool].backends.len() > 1,
        _ => false,
    };
    has_many || routes.table.depends_on_key(route)
}
