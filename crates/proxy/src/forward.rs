//! From a decided request to the bytes on a backend connection.
//!
//! A request leaves in its normal form: with a carriage return, and without `noreply` or `q`, so
//! that every request has exactly one reply and the connection can never get out of step. What the
//! client wants muted is muted when the reply is delivered.

use crate::backend::BackendId;
use crate::config::RouteId;
use crate::exchange::{ExchangeId, Failure};
use crate::link::{Link, LinkId, Pending, Phase, Shape};
use crate::route::Node;
use crate::routes::Routes;
use crate::worker::Worker;
use keyway_proto::memcached::{Cut, Head, ReplyKind, Verb, cut};
use keyway_proto::resp;
use std::rc::Rc;

/// A complete request on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    /// memcached's text protocol.
    Text(Text<'a>),
    /// RESP.
    Redis(resp::Request<'a>),
}

impl<'a> Request<'a> {
    /// Cuts what was rendered before.
    pub fn again(wire: &'a [u8], is_redis: bool) -> Request<'a> {
        if is_redis {
            return Request::Redis(crate::redis::again(wire));
        }
        let Cut::Head(head) = cut(wire) else {
            unreachable!("a request that was cut before is cut again");
        };
        Request::Text(Text { head, wire })
    }

    /// All its bytes.
    #[inline]
    pub fn wire(&self) -> &'a [u8] {
        match self {
            Request::Text(text) => text.wire,
            Request::Redis(request) => request.bytes,
        }
    }

    /// Whether the bytes can go out as they came.
    #[inline]
    fn is_normal(&self) -> bool {
        match self {
            Request::Text(text) => text.is_normal(),
            Request::Redis(request) => request.is_normal,
        }
    }

    /// Appends the normal form to `out`.
    pub fn render(&self, out: &mut Vec<u8>) {
        match self {
            Request::Text(text) => text.render(out),
            Request::Redis(request) => request.render(out),
        }
    }
}

/// A complete request of memcached's text protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    pub head: Head<'a>,
    /// All its bytes, line end and value included.
    pub wire: &'a [u8],
}

impl<'a> Text<'a> {
    /// The value with its line end; empty for requests without one.
    #[inline]
    pub fn value(&self) -> &'a [u8] {
        &self.wire[self.head.line_bytes..]
    }

    /// The line without `noreply` and trailing spaces. All of them go: a server would obey the
    /// next.
    fn classic_line(&self) -> &'a [u8] {
        let mut line = trim_spaces(self.head.line);
        while self.head.noreply
            && line.len() > self.head.key_at + self.head.key.len()
            && let Some(rest) = line.strip_suffix(b" noreply")
        {
            line = trim_spaces(rest);
        }
        line
    }

    /// Whether the bytes can go out as they came.
    #[inline]
    fn is_normal(&self) -> bool {
        !self.head.noreply
            && !self.head.quiet
            && self.head.line_bytes == self.head.line.len() + b"\r\n".len()
    }

    /// Appends the normal form to `out`.
    pub fn render(&self, out: &mut Vec<u8>) {
        if self.is_normal() {
            out.extend_from_slice(self.wire);
            return;
        }
        if self.head.quiet {
            let flags_from = flags_from(self.head.verb);
            let tokens = self.head.line.split(|byte| *byte == b' ').filter(|t| !t.is_empty());
            for (index, token) in tokens.enumerate() {
                if index >= flags_from && token[0] == b'q' {
                    continue;
                }
                if index > 0 {
                    out.push(b' ');
                }
                out.extend_from_slice(token);
            }
        } else {
            out.extend_from_slice(self.classic_line());
            if self.head.noreply && self.head.key == b"noreply" {
                // `delete noreply`: the key would be taken for the option.
                out.extend_from_slice(b" 0");
            }
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.value());
    }
}

impl Worker {
    /// Sends a request where `route` leads. The exchange is open already; its reply may be there
    /// when this returns.
    pub(crate) fn dispatch(
        &mut self,
        id: ExchangeId,
        routes: &Rc<Routes>,
        route: RouteId,
        request: &Request<'_>,
    ) {
        let text = match request {
            Request::Text(text) => text,
            Request::Redis(redis) => return self.dispatch_redis(id, routes, route, *redis),
        };
        match routes.table.node(route) {
            Node::Pool(pool) => {
                let pool = &routes.pools[*pool];
                if text.head.more_keys && pool.backends.len() > 1 {
                    return self.gather(id, routes, route, *text);
                }
                match self.place(pool, text.head.key) {
                    Some(index) => self.forward(id, pool.backends[index], request),
                    None => self.fail(id, Failure::Refused),
                }
            }
            Node::Store => self.ask_store(id, *text),
            Node::Null => {
                let (kind, reply) = nothing_stored(text.head.verb);
                self.emit(id, kind, reply, None, true);
            }
            Node::Error(line) => self.emit(id, ReplyKind::ServerError, line, None, true),
            Node::Policy(_) => self.start_policy(id, routes, route, *request),
            Node::Prefix(_) | Node::Command(_) => {
                if text.head.more_keys && routes.table.depends_on_key(route) {
                    return self.gather(id, routes, route, *text);
                }
                let class = crate::route::class(&text.head);
                let leaf = routes.table.resolve(route, class, text.head.key);
                self.dispatch(id, routes, leaf, request);
            }
        }
    }

    /// Queues a request on a connection to this backend, or fails it at once.
    pub(crate) fn forward(&mut self, id: ExchangeId, backend: BackendId, request: &Request<'_>) {
        let affinity = self.exchanges.get(id).map_or(0, |exchange| exchange.affinity);
        let Some(backend) = self.backends.get(backend) else {
            return self.fail(id, Failure::Refused);
        };
        if backend.is_down {
            let failure = backend.last_failure;
            return self.fail(id, failure);
        }
        // A client always uses the same connection, so that its requests stay in order.
        let link = backend.links[affinity as usize % backend.links.len()];
        self.forward_on(id, link, request);
    }

    /// Queues a request on this connection, or fails it at once. Whether it was queued.
    #[inline]
    pub(crate) fn forward_on(
        &mut self,
        id: ExchangeId,
        link_id: LinkId,
        request: &Request<'_>,
    ) -> bool {
        let now = self.now;
        let mut link = self.links.get_mut(link_id).expect("a backend's links live as long as it");
        if link.phase == Phase::Idle {
            self.connect(link_id);
            match self.links.get_mut(link_id) {
                Some(connecting) => link = connecting,
                // A session whose server has no address is gone at once.
                None => {
                    self.fail(id, Failure::Unresolved);
                    return false;
                }
            }
        }
        let backend = self.backends.get(link.backend).expect("a backend outlives its links");
        let Some(conn) = link.conn.filter(|_| link.is_open()) else {
            let failure = backend.last_failure;
            self.fail(id, failure);
            return false;
        };
        let limits = backend.link();
        let (depth_max, timeout) = (limits.depth_max, limits.read_timeout.as_nanos() as u64);
        let bytes = request.wire().len();
        let queued = self.engine.unsent(conn) + link.waiting.len() + bytes;
        let counters = &backend.block.backend;
        if link.pending.len() >= depth_max
            || queued > self.generation.config.limits.backend_bytes_max.max(bytes)
        {
            counters.overloads.add(1);
            self.fail(id, Failure::Overloaded);
            return false;
        }
        counters.owed.add(1);
        counters.owed_bytes.add(bytes as u64);
        counters.requests.add(1);
        counters.request_bytes.add(bytes as u64);
        if link.phase != Phase::Ready {
            let before = link.waiting.len();
            request.render(&mut link.waiting);
            counters.waiting.add(1);
            counters.waiting_bytes.add((link.waiting.len() - before) as u64);
        } else if request.is_normal() {
            self.engine.write(conn, request.wire());
        } else {
            self.scratch.clear();
            request.render(&mut self.scratch);
            self.engine.write(conn, &self.scratch);
        }
        if link.pending.is_empty() {
            link.progress = now;
            if timeout > 0 && now + timeout < self.next_expiry {
                self.next_expiry = now + timeout;
            }
        }
        remember(link, id, request);
        true
    }
}

/// Notes what was asked, so that the reply can be compared with it.
#[inline]
pub(crate) fn remember(link: &mut Link, exchange: ExchangeId, request: &Request<'_>) {
    let bytes = u32::try_from(request.wire().len()).unwrap_or(u32::MAX);
    let head = match request {
        Request::Text(text) => &text.head,
        Request::Redis(request) => {
            let (shape, asked) = match request.verb() {
                Some(resp::Verb::Get) => (Shape::RespGet, link.asked.push(request.first)),
                _ => (Shape::Resp, 0),
            };
            let verb = Verb::Unknown;
            return link.pending.push_back(Pending { exchange, verb, shape, asked, bytes });
        }
    };
    let (shape, asked) = match head.verb {
        Verb::Get | Verb::Gets | Verb::Gat | Verb::Gats => {
            let keys =
                if head.more_keys { trim_spaces(&head.line[head.key_at..]) } else { head.key };
            (Shape::Retrieval, link.asked.push(keys))
        }
        Verb::Mg => (Shape::MetaGet, link.asked.push(head.line)),
        Verb::Ms => (Shape::MetaStored, link.asked.push_meta(head.key, head.opaque)),
        Verb::Md | Verb::Ma => (Shape::Meta, link.asked.push_meta(head.key, head.opaque)),
        // No server repeats its opaque.
        Verb::Me | Verb::Mn => (Shape::Meta, 0),
        _ if head.verb.carries_value() => (Shape::Stored, 0),
        _ => (Shape::Line, 0),
    };
    link.pending.push_back(Pending { exchange, verb: head.verb, shape, asked, bytes });
}

/// A line without the spaces at its end. Other white space is a part of keys.
#[inline]
fn trim_spaces(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    &line[..end]
}

/// How many words of a meta line stand before its flags.
fn flags_from(verb: Verb) -> usize {
    if verb == Verb::Ms { 3 } else { 2 }
}

/// Whether a meta line has the flag `q` more than once. The server would not see it: its normal
/// form has none.
pub(crate) fn repeats_quiet(head: &Head<'_>) -> bool {
    let tokens = head.line.split(|byte| *byte == b' ').filter(|token| !token.is_empty());
    tokens.skip(flags_from(head.verb)).filter(|token| token[0] == b'q').count() > 1
}

/// What a server without any items answers.
fn nothing_stored(verb: Verb) -> (ReplyKind, &'static [u8]) {
    match verb {
        Verb::Mg | Verb::Me => (ReplyKind::En, b"EN\r\n"),
        Verb::Ms => (ReplyKind::Ns, b"NS\r\n"),
        Verb::Md | Verb::Ma => (ReplyKind::Nf, b"NF\r\n"),
        Verb::Get | Verb::Gets | Verb::Gat | Verb::Gats => (ReplyKind::End, b"END\r\n"),
        Verb::Delete | Verb::Incr | Verb::Decr | Verb::Touch | Verb::Cas => {
            (ReplyKind::NotFound, b"NOT_FOUND\r\n")
        }
        _ => (ReplyKind::NotStored, b"NOT_STORED\r\n"),
    }
}
