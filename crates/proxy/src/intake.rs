//! From received bytes to begun exchanges: cut requests off the front, decide, begin.
//!
//! Complete requests are read where they were received; only what is left over is copied to the
//! client. How far is read ahead has limits: replies owed, bytes held, requests per turn.

use crate::client::{ClientId, Speaks, Stream};
use crate::config::{CommandClass, Compat};
use crate::exchange::{Asked, Exchange, ExchangeId, Failure, Owner, Voice};
use crate::forward::{Request, Text, repeats_quiet};
use crate::local::{self, Admission, Next};
use crate::policy::Target;
use crate::route::{self, Node};
use crate::worker::{Finish, Listener, PARK, Worker};
use keyway_engine::Chunk;
use keyway_proto::memcached::limit::LineLimits;
use keyway_proto::memcached::{Cut, Head, KEY_BYTES_MAX, ReplyKind, ValueLength, Verb, text};
use keyway_proto::memcached::{ReplyCut, cut_reply, cut_text, cut_with};
use std::rc::Rc;

/// Unread input of a client at which its socket is not read any more, unless a value of known
/// length is coming.
const INPUT_BYTES_PAUSE: usize = 128 << 10;

/// What became of the front of a client's bytes.
pub(crate) enum Step {
    /// So many bytes were used.
    Took(usize),
    /// More bytes are needed; how many, as far as is known.
    Wait(usize),
    /// The client cannot go on now.
    Blocked,
    /// The client takes no more requests.
    Closed,
}

impl Worker {
    /// Takes bytes that a client sent.
    pub(crate) fn requests(&mut self, id: ClientId, chunk: &Chunk) {
        let now = self.now;
        let Some(client) = self.clients.get_mut(id) else { return };
        client.seen = now;
        self.local.bytes_read.add(chunk.len() as u64);
        if client.state.closing || matches!(client.stream, Stream::Watch(_)) {
            return;
        }
        let key = client.listener;
        let Some(listener) = self.listener(key) else { return };
        let client = self.clients.get_mut(id).expect("the client was found above");
        if !client.partial.is_empty() || client.state.blocked {
            client.keep(chunk);
            return self.requests_left(id);
        }
        let used = self.consume(id, &listener, chunk);
        if used < chunk.len()
            && let Some(client) = self.clients.get_mut(id)
        {
            if client.partial.capacity() == 0 {
                client.partial = self.spares.pop().unwrap_or_default();
            }
            client.partial.extend_from_slice(&chunk[used..]);
            self.limit_input(id);
        }
    }

    /// Goes on with bytes that a client sent earlier.
    pub(crate) fn requests_left(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.state.queued = false;
        client.state.blocked = false;
        if client.state.closing {
            return;
        }
        let key = client.listener;
        let mut bytes = std::mem::take(&mut client.partial);
        let Some(listener) = self.listener(key) else { return };
        let used = self.consume(id, &listener, &bytes);
        let Some(client) = self.clients.get_mut(id) else { return self.give_back(bytes) };
        if used >= bytes.len() || client.state.closing {
            self.give_back(bytes);
        } else {
            bytes.drain(..used);
            client.partial = bytes;
        }
        self.limit_input(id);
    }

    /// Stops reading from a client whose requests cannot be begun yet, and ends one that has left.
    fn limit_input(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let state = client.state;
        self.held_bytes = self.held_bytes - client.partial_counted + client.partial.len();
        client.partial_counted = client.partial.len();
        if client.partial.len() > INPUT_BYTES_PAUSE && self.is_over_limit() {
            // Everybody waits for room: whoever holds much of it without a whole request goes.
            self.counters.clients_over_limit.add(1);
            return self.close_client(id);
        }
        let Some(client) = self.clients.get_mut(id) else { return };
        if state.blocked {
            if client.partial.len() > INPUT_BYTES_PAUSE && !state.flooded {
                client.state.flooded = true;
                self.engine.pause(client.conn);
            }
            return;
        }
        if state.flooded {
            client.state.flooded = false;
            if !state.paused {
                self.engine.resume(client.conn);
            }
        }
        if state.ended && matches!(client.stream, Stream::None) {
            self.finish_client(id);
        } else if state.paused && client.upload.is_none() {
            self.unpause(id);
        }
    }

    /// Begins as many requests as there are and may be; returns how many bytes were used.
    fn consume(&mut self, id: ClientId, listener: &Rc<Listener>, bytes: &[u8]) -> usize {
        let mut used = 0;
        let mut budget = listener.config.requests_per_turn_max;
        while used < bytes.len() {
            let Some(client) = self.clients.get(id) else { return bytes.len() };
            if budget == 0 || !client.is_unhindered() || self.is_over_limit() {
                match self.consume_hindered(id, &bytes[used..], budget) {
                    Step::Took(count) => {
                        used += count;
                        continue;
                    }
                    Step::Wait(_) => {}
                    Step::Blocked => break,
                    Step::Closed => return bytes.len(),
                }
            }
            budget -= 1;
            match self.request(id, listener, &bytes[used..], used == 0) {
                Step::Took(count) => used += count,
                Step::Wait(more) => {
                    if more > INPUT_BYTES_PAUSE
                        && let Some(client) = self.clients.get(id)
                    {
                        self.engine.expect(client.conn, more);
                    }
                    break;
                }
                Step::Blocked => break,
                Step::Closed => return bytes.len(),
            }
        }
        used
    }

    /// Something stands in the way of a client's next request: a value that is being thrown away
    /// or passed on, or lack of room. `Wait` when it turns out that nothing does.
    #[cold]
    fn consume_hindered(&mut self, id: ClientId, bytes: &[u8], budget: usize) -> Step {
        let Some(client) = self.clients.get_mut(id) else { return Step::Closed };
        if client.state.closing {
            return Step::Closed;
        }
        if client.swallow > 0 {
            let count = client.swallow.min(bytes.len() as u64);
            client.swallow -= count;
            return Step::Took(count as usize);
        }
        if client.upload.is_some() {
            let count = self.continue_upload(id, bytes);
            let must_wait = count == 0 && self.is_uploading(id);
            return if must_wait { Step::Blocked } else { Step::Took(count) };
        }
        if budget == 0 || self.must_wait(id) {
            self.block(id, budget == 0);
            return Step::Blocked;
        }
        if let Some(client) = self.clients.get_mut(id) {
            // What it named is over: the next request need not look for it again.
            client.on_lane = None;
        }
        Step::Wait(0)
    }

    fn is_uploading(&self, id: ClientId) -> bool {
        self.clients.get(id).is_some_and(|client| client.upload.is_some())
    }

    /// Whether no request of this client may be begun now.
    fn must_wait(&self, id: ClientId) -> bool {
        let Some(client) = self.clients.get(id) else { return true };
        client.state.paused
            || !client.has_window()
            || !matches!(client.stream, Stream::None)
            || client.on_lane.is_some_and(|exchange| self.exchanges.contains(exchange))
            || self.is_over_limit()
    }

    /// The client has requests left for another turn: the next one, if only its share of this one
    /// is used up.
    fn block(&mut self, id: ClientId, next_turn: bool) {
        let over_limit = self.is_over_limit();
        let Some(client) = self.clients.get_mut(id) else { return };
        client.state.blocked = true;
        let waits = client.state.paused || !client.has_window();
        if next_turn {
            self.local.conn_yields.add(1);
        }
        if waits || client.state.queued {
            return;
        }
        if over_limit {
            client.state.queued = true;
            self.parked.push(id);
            self.expire_by(self.now + PARK);
        } else if next_turn {
            client.state.queued = true;
            self.queue.push_back(id);
        }
    }

    /// One request off the front of `bytes`.
    fn request(
        &mut self,
        id: ClientId,
        listener: &Rc<Listener>,
        bytes: &[u8],
        is_front: bool,
    ) -> Step {
        let client = self.clients.get_mut(id).expect("consume found the client");
        let limits = if listener.is_store { &LineLimits::STORE } else { &LineLimits::PROXIED };
        let scanned = if is_front { std::mem::take(&mut client.scanned) } else { 0 };
        if listener.config.compat != Compat::Native
            && !listener.is_store
            && !matches!(client.speaks, Speaks::Redis | Speaks::Anything)
        {
            return self.strict_request(id, listener, bytes, scanned);
        }
        let cut = match client.speaks {
            Speaks::Text => {
                if scanned == 0 {
                    // The first byte of a request cannot be that of a binary one any more.
                    match cut_with(bytes, limits, 0) {
                        Cut::Binary => cut_text(bytes, limits, 0),
                        cut => cut,
                    }
                } else {
                    cut_text(bytes, limits, scanned)
                }
            }
            Speaks::Binary => Cut::Binary,
            Speaks::Redis => return self.redis_request(id, listener, bytes),
            Speaks::Anything if bytes.first() == Some(&b'*') => {
                return self.redis_request(id, listener, bytes);
            }
            Speaks::Unknown | Speaks::Anything => cut_with(bytes, limits, scanned),
        };
        match cut {
            Cut::Head(head) => {
                client.speaks = Speaks::Text;
                if listener.is_store {
                    self.store_request(id, listener, head, bytes)
                } else {
                    self.proxied_request(id, listener, head, bytes)
                }
            }
            Cut::Partial => {
                client.scanned = bytes.len();
                Step::Wait(0)
            }
            Cut::TooLong => {
                self.counters.malformed.add(1);
                self.finish_client(id);
                Step::Closed
            }
            Cut::Binary => {
                client.speaks = Speaks::Binary;
                self.binary_request(id, listener, bytes)
            }
        }
    }

    /// A text request on a listener that leads to the store and nowhere else.
    fn store_request(
        &mut self,
        id: ClientId,
        listener: &Rc<Listener>,
        head: Head<'_>,
        bytes: &[u8],
    ) -> Step {
        let now = self.store_now();
        let client = self.clients.get_mut(id).expect("consume found the client");
        let ctx = local::Context {
            store: &self.store,
            shared: &self.shared,
            counters: &self.local,
            now,
            allow: listener.config.allow,
            users: &listener.config.users,
            cfd: client.entry.number,
            is_pipelined: self.engine.unsent(client.conn) > 0,
        };
        let there = bytes.len() - head.line_bytes;
        let body = match local::admit(&ctx, &client.session, &head, there, &mut self.output) {
            Admission::Read(count) => count,
            Admission::Refuse { swallow } => {
                client.swallow = swallow;
                self.send_output(id);
                return Step::Took(head.line_bytes);
            }
            Admission::Close => {
                self.send_output(id);
                self.finish_client(id);
                return Step::Closed;
            }
        };
        if body > there as u64 {
            client.entry.set_state(local::ConnState::Nread);
            return Step::Wait(body as usize - there);
        }
        if body > 0 {
            client.entry.set_state(local::ConnState::Read);
        }
        let end = head.line_bytes + body as usize;
        let value = &bytes[head.line_bytes..end];
        let next = local::execute(&ctx, &mut client.session, &head, value, &mut self.output);
        client.entry.command_at(now.seconds);
        if matches!(next, Next::Close) && head.verb != Verb::Quit {
            client.leaves = "error";
        }
        self.count_store(listener, &head, end);
        self.send_output(id);
        self.obey(id, next, end)
    }

    /// Counts a request that the store has answered at once.
    #[inline]
    fn count_store(&mut self, listener: &Rc<Listener>, head: &Head<'_>, bytes: usize) {
        let front = self.front(listener, listener.root);
        let class = route::class(head);
        let counters = &self.fronts[front as usize].classes[class as usize];
        counters.requests.add(1);
        counters.request_bytes.add(bytes as u64);
        counters.reply_bytes.add(self.output.bytes_total() as u64);
        counters.latency.record(0);
        match self.output.bytes.first() {
            Some(b'V') if matches!(class, CommandClass::Get | CommandClass::Touch) => {
                counters.hits.add(1);
            }
            Some(b'E') if matches!(class, CommandClass::Get | CommandClass::Touch) => {
                counters.misses.add(1);
            }
            _ => {}
        }
    }

    /// Does what the store's executor asks for after a request of so many bytes.
    pub(crate) fn obey(&mut self, id: ClientId, next: Next, used: usize) -> Step {
        let Some(client) = self.clients.get_mut(id) else { return Step::Closed };
        match next {
            Next::Continue => Step::Took(used),
            Next::Close => {
                self.finish_client(id);
                Step::Closed
            }
            Next::More => {
                client.stream = Stream::Dump;
                self.streams.push(id);
                Step::Took(used)
            }
            Next::Watch(watching) => {
                let waker = self.engine.waker();
                watching.wake_by(move || waker.wake());
                client.stream = Stream::Watch(Box::new(watching));
                client.entry.set_state(local::ConnState::Watch);
                self.streams.push(id);
                Step::Took(used)
            }
            Next::Shutdown { graceful } => {
                self.finish = Some(Finish::Shutdown { graceful });
                self.finish_client(id);
                Step::Closed
            }
        }
    }

    /// Writes the executor's output to a client that is owed nothing else.
    pub(crate) fn send_output(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(id) else { return self.output.clear() };
        let conn = client.conn;
        self.local.bytes_written.add(self.output.bytes_total() as u64);
        let engine = &mut self.engine;
        self.output.pieces(|piece| match piece {
            local::Piece::Bytes(bytes) => engine.write(conn, bytes),
            local::Piece::Held(held) => engine.write_owned(conn, Box::new(held)),
        });
        self.limit_output(id);
    }

    /// A text request on a listener with backends behind it.
    pub(crate) fn proxied_request(
        &mut self,
        id: ClientId,
        listener: &Rc<Listener>,
        head: Head<'_>,
        bytes: &[u8],
    ) -> Step {
        let body = match head.value {
            ValueLength::Bytes(count) => count + 2,
            ValueLength::None | ValueLength::Invalid => 0,
        };
        if let Some(reply) = fault(&head) {
            self.counters.malformed.add(1);
            self.answer(id, listener, &head, ReplyKind::ClientError, reply);
            // What stands in the value must never be taken for commands.
            return self.swallow(id, &head, body);
        }
        if body > 0 {
            let there = (bytes.len() - head.line_bytes) as u64;
            if let Some(step) = self.judge_value(id, listener, &head, body, there) {
                return step;
            }
        }
        let is_forwarded = head.verb == Verb::Version && !head.key.is_empty();
        if is_session_command(head.verb) && !is_forwarded {
            return self.session_command(id, listener, head);
        }
        let end = head.line_bytes + body as usize;
        if body > 0 && !bytes[..end].ends_with(b"\r\n") {
            self.counters.malformed.add(1);
            self.answer(id, listener, &head, ReplyKind::ClientError, text::BAD_DATA_CHUNK);
            return Step::Took(end);
        }
        let class = route::class(&head);
        let leaf = listener.routes.table.resolve(listener.root, class, head.key);
        let exchange = self.open_text(id, listener, leaf, &head, class, end);
        let text = Text { head, wire: &bytes[..end] };
        let routes = &listener.routes;
        if head.more_keys && routes.table.depends_on_key(listener.root) {
            self.gather(exchange, routes, listener.root, text);
        } else {
            self.dispatch(exchange, routes, leaf, &Request::Text(text));
        }
        Step::Took(end)
    }

    /// Looks at a store command whose value may still be on its way. `None` when it is complete
    /// and in order.
    fn judge_value(
        &mut self,
        id: ClientId,
        listener: &Rc<Listener>,
        head: &Head<'_>,
        body: u64,
        there: u64,
    ) -> Option<Step> {
        let ctx = local::Context {
            store: &self.store,
            shared: &self.shared,
            counters: &self.local,
            now: self.store_now(),
            allow: listener.config.allow,
            users: &[],
            cfd: 0,
            is_pipelined: false,
        };
        if !local::check_write(&ctx, head, &mut self.output) {
            self.counters.malformed.add(1);
            let reply = std::mem::take(&mut self.output.bytes);
            self.answer(id, listener, head, ReplyKind::ClientError, &reply);
            self.output.bytes = reply;
            self.output.clear();
            return Some(self.swallow(id, head, body));
        }
        let limits = &self.generation.config.limits;
        let (large, most) = (limits.large_value_bytes, limits.value_bytes_max);
        let kept_max = limits.client_bytes_max as u64 / 2;
        if body - 2 > most {
            self.answer(id, listener, head, ReplyKind::ServerError, text::TOO_LARGE);
            return Some(self.swallow(id, head, body));
        }
        if body - 2 > large {
            let class = route::class(head);
            let leaf = listener.routes.table.resolve(listener.root, class, head.key);
            if let Node::Pool(pool) = listener.routes.table.node(leaf)
                && listener.routes.pools[*pool].config.link.large_lanes_max > 0
            {
                return Some(self.large_request(id, listener, head, leaf, body));
            }
            // Without a lane, and for routes that may send it twice, the value is kept as a whole.
            if body > kept_max {
                self.answer(id, listener, head, ReplyKind::ServerError, text::TOO_LARGE);
                return Some(self.swallow(id, head, body));
            }
        }
        (body > there).then_some(Step::Wait((body.saturating_sub(there)) as usize))
    }

    fn swallow(&mut self, id: ClientId, head: &Head<'_>, body: u64) -> Step {
        match self.clients.get_mut(id) {
            Some(client) => {
                client.swallow = body;
                Step::Took(head.line_bytes)
            }
            None => Step::Closed,
        }
    }

    /// A store command with a value that is too large for a shared connection.
    fn large_request(
        &mut self,
        id: ClientId,
        listener: &Rc<Listener>,
        head: &Head<'_>,
        leaf: usize,
        body: u64,
    ) -> Step {
        let client = self.clients.get_mut(id).expect("consume found the client");
        if client.owed > 0 {
            // On a lane it could overtake what was asked before.
            client.state.blocked = true;
            return Step::Blocked;
        }
        let class = route::class(head);
        let Node::Pool(pool) = listener.routes.table.node(leaf) else { return Step::Blocked };
        let pool = &listener.routes.pools[*pool];
        let index = self.place(pool, head.key);
        let bytes = head.line_bytes + body as usize;
        let exchange = self.open_text(id, listener, leaf, head, class, bytes);
        let mut line = self.spare();
        let wire = [head.line, b"\r\n"].concat();
        Text { head: Head { line_bytes: wire.len(), ..*head }, wire: &wire }.render(&mut line);
        let begun = match index {
            Some(index) => self.begin_upload(id, exchange, pool.backends[index], &line, body),
            None => {
                self.fail(exchange, Failure::Refused);
                false
            }
        };
        self.give_back(line);
        if begun { Step::Took(head.line_bytes) } else { self.swallow(id, head, body) }
    }

    /// Opens an exchange for a text request.
    fn open_text(
        &mut self,
        id: ClientId,
        listener: &Listener,
        leaf: usize,
        head: &Head<'_>,
        class: CommandClass,
        bytes: usize,
    ) -> ExchangeId {
        let voice = match listener.config.compat {
            Compat::Native => Voice::Memcached,
            Compat::Nutcracker | Compat::Strict => Voice::NutcrackerMemcached,
        };
        let asked = Asked {
            verb: head.verb,
            class,
            voice,
            is_resp3: false,
            may_change: class != CommandClass::Get && head.verb != Verb::Mn,
            noreply: head.noreply,
            quiet: head.quiet,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        };
        self.open(id, listener, leaf, asked)
    }

    /// Opens an exchange behind those that the client is owed already.
    #[inline]
    pub(crate) fn open(
        &mut self,
        id: ClientId,
        listener: &Listener,
        leaf: usize,
        asked: Asked,
    ) -> ExchangeId {
        let front = self.front(listener, leaf);
        self.open_at(id, front, asked)
    }

    /// As `open`, with the index of the counters.
    #[inline]
    pub(crate) fn open_at(&mut self, id: ClientId, front: u32, asked: Asked) -> ExchangeId {
        let exchange = self.exchanges.insert(Exchange {
            owner: Owner::Client(id),
            next: None,
            asked,
            held: Vec::new(),
            kind: None,
            done: false,
            sent: false,
            front,
            affinity: id.index(),
            run: None,
            reply_bytes: 0,
            started: self.now,
        });
        let client = self.clients.get_mut(id).expect("only live clients send requests");
        client.owed += 1;
        client.writes_owed += u32::from(asked.may_change);
        match client.tail.replace(exchange) {
            None => client.head = Some(exchange),
            Some(tail) => {
                let tail = self.exchanges.get_mut(tail);
                tail.expect("an exchange lives while it is owed").next = Some(exchange);
            }
        }
        exchange
    }

    /// Answers a request in its turn, without asking anybody.
    fn answer(
        &mut self,
        id: ClientId,
        listener: &Listener,
        head: &Head<'_>,
        kind: ReplyKind,
        reply: &[u8],
    ) {
        let class = route::class(head);
        let exchange = self.open_text(id, listener, listener.root, head, class, head.line_bytes);
        self.emit(exchange, kind, reply, None, true);
    }

    /// A command about the connection or the process, not about a key.
    fn session_command(&mut self, id: ClientId, listener: &Rc<Listener>, head: Head<'_>) -> Step {
        match head.verb {
            Verb::Quit => {
                self.finish_client(id);
                return Step::Closed;
            }
            Verb::Mn => {
                self.answer(id, listener, &head, ReplyKind::Mn, text::META_NOOP);
                return Step::Took(head.line_bytes);
            }
            Verb::FlushAll if listener.config.allow.flush => {
                return self.flush_everywhere(id, listener, head);
            }
            _ => {}
        }
        let now = self.store_now();
        let client = self.clients.get_mut(id).expect("consume found the client");
        if matches!(head.verb, Verb::Watch | Verb::LruCrawler) && client.owed > 0 {
            // Its lines would mix with replies: wait until they have gone.
            client.state.blocked = true;
            return Step::Blocked;
        }
        let ctx = local::Context {
            store: &self.store,
            shared: &self.shared,
            counters: &self.local,
            now,
            allow: listener.config.allow,
            users: &[],
            cfd: client.entry.number,
            is_pipelined: false,
        };
        let next = local::execute(&ctx, &mut client.session, &head, &[], &mut self.output);
        let mut output = std::mem::take(&mut self.output);
        output.flatten();
        self.answer(id, listener, &head, ReplyKind::Ok, &output.bytes);
        output.clear();
        self.output = output;
        self.obey(id, next, head.line_bytes)
    }

    /// `flush_all` to every backend that the listener's routes lead to.
    fn flush_everywhere(&mut self, id: ClientId, listener: &Rc<Listener>, head: Head<'_>) -> Step {
        let routes = &listener.routes;
        let mut pools = Vec::new();
        routes.table.pools_from(listener.root, &mut pools);
        let mut targets: Vec<Target> = Vec::new();
        for pool in pools {
            targets.extend(routes.pools[pool].backends.iter().map(|id| Target::Backend(*id)));
        }
        if routes.table.reaches_store(listener.root) {
            targets.push(Target::Store);
        }
        let class = route::class(&head);
        let exchange = self.open_text(id, listener, listener.root, &head, class, head.line_bytes);
        let wire = [head.line, b"\r\n"].concat();
        let text = Text { head: Head { line_bytes: wire.len(), ..head }, wire: &wire };
        let request = Request::Text(text);
        if targets.is_empty() {
            self.emit(exchange, ReplyKind::Ok, text::OK, None, true);
        } else {
            self.start_everywhere(exchange, routes, &targets, request);
        }
        Step::Took(head.line_bytes)
    }

    /// Lets the store answer an exchange.
    pub(crate) fn ask_store(&mut self, id: ExchangeId, request: Text<'_>) {
        let ctx = local::Context {
            store: &self.store,
            shared: &self.shared,
            counters: &self.local,
            now: self.store_now(),
            // What is allowed was decided on the way here.
            allow: crate::config::Allow { flush: true, ..Default::default() },
            users: &[],
            cfd: 0,
            is_pipelined: true,
        };
        let mut session = local::Session::new();
        local::execute(&ctx, &mut session, &request.head, request.value(), &mut self.output);
        let mut output = std::mem::take(&mut self.output);
        output.flatten();
        let kind = match cut_reply(&output.bytes) {
            ReplyCut::Head(head) => head.kind,
            ReplyCut::Partial | ReplyCut::Malformed => ReplyKind::Ok,
        };
        self.emit(id, kind, &output.bytes, None, true);
        output.clear();
        self.output = output;
    }
}

/// Commands that are not about a key.
#[inline]
fn is_session_command(verb: Verb) -> bool {
    !matches!(
        verb,
        Verb::Get
            | Verb::Gets
            | Verb::Gat
            | Verb::Gats
            | Verb::Set
            | Verb::Add
            | Verb::Replace
            | Verb::Append
            | Verb::Prepend
            | Verb::Cas
            | Verb::Incr
            | Verb::Decr
            | Verb::Touch
            | Verb::Delete
            | Verb::Mg
            | Verb::Ms
            | Verb::Md
            | Verb::Ma
            | Verb::Me
    )
}

/// What is wrong with a line, so that no server needs to be asked. What a server could take for
/// something else, or answer by closing, must not get on a connection that others share.
#[inline]
fn fault(head: &Head<'_>) -> Option<&'static [u8]> {
    if head.malformed.is_some() {
        return Some(text::BAD_LINE_FORMAT);
    }
    if head.quiet && head.verb != Verb::Mn && repeats_quiet(head) {
        return Some(text::META_DUPLICATE_FLAG);
    }
    if !head.more_keys {
        return (!is_fit(head.key)).then_some(text::BAD_LINE_FORMAT);
    }
    if matches!(head.verb, Verb::Gat | Verb::Gats) && head.line.len() > TOUCH_LINE_BYTES_MAX {
        return Some(b"CLIENT_ERROR line too long\r\n");
    }
    // In a short line no key is too long, and one look finds any NUL.
    let all_fit = if head.line.len() <= KEY_BYTES_MAX {
        !has_nul(head.line)
    } else {
        crate::gather::keys(head.line, head.key_at).all(is_fit)
    };
    (!all_fit).then_some(text::BAD_LINE_FORMAT)
}

/// Whether there is a NUL. No branch for each byte: lines are short and hardly ever have one.
#[inline]
fn has_nul(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, byte| found | (*byte == 0))
}

/// Whether every server reads this key as we do: older ones end it at a NUL.
#[inline]
fn is_fit(key: &[u8]) -> bool {
    key.len() <= KEY_BYTES_MAX && !has_nul(key)
}

/// memcached closes connections on which a longer line comes in parts, unless it is `get` or
/// `gets`.
const TOUCH_LINE_BYTES_MAX: usize = 2000;
