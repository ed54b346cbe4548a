//! From bytes of a RESP client to begun exchanges.
//!
//! The counterpart of `crate::intake` for RESP: a request is cut, answered at once if it is about
//! the connection (`answers`), and otherwise goes to the store, a server, or a session.

use crate::backend::BackendId;
use crate::client::{ClientId, Speaks};
use crate::config::{CommandClass, Compat};
use crate::exchange::{Asked, ExchangeId, Voice};
use crate::forward::Request;
use crate::intake::Step;
use crate::local;
use crate::redis::answers::{self, Outcome};
use crate::redis::dispatch::{CROSSED, NO_KEY};
use crate::redis::everywhere::Whole;
use crate::redis::session::SessionStep;
use crate::redis::{Pinned, Redis, again};
use crate::worker::{Listener, Worker};
use keyway_proto::memcached::{ReplyKind, Verb};
use keyway_proto::resp::command::{Command, Count};
use keyway_proto::resp::request::Grammar;
use keyway_proto::resp::{self, Cut, Kind, Limits, Verb as RedisVerb};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What deletes everything and is not allowed on this listener.
const NO_FLUSH: &[u8] =
    b"-ERR flushing is not allowed on this listener; add \"flush\" to its `allow`\r\n";
/// A request that is larger than the limit.
const TOO_LARGE: &[u8] = b"-ERR Protocol error: request is larger than request_bytes_max\r\n";
/// HELLO in the middle of a session.
const NOT_NOW: &[u8] = b"-ERR HELLO cannot change the protocol while keys are watched, channels \
    subscribed or tracking is on; send RESET first\r\n";
/// What concerns more servers than a transaction has.
const NOT_ON_ONE: &[u8] =
    b"-ERR this command concerns all servers of the pool and cannot be in a transaction\r\n";
/// What a transaction cannot contain.
const NOT_IN_MULTI: &[u8] = b"-ERR Command not allowed inside a transaction\r\n";

impl Worker {
    /// One RESP request off the front of `bytes`.
    pub(crate) fn redis_request(
        &mut self,
        id: ClientId,
        listener: &Rc<Listener>,
        bytes: &[u8],
    ) -> Step {
        let now_seconds = self.store_now().seconds;
        let client = self.clients.get_mut(id).expect("consume found the client");
        client.speaks = Speaks::Redis;
        let asks_auth = !listener.config.users.is_empty();
        let number = client.entry.id;
        let redis = client.redis.get_or_insert_with(|| {
            Box::new(Redis::new(answers::Session::new(number, now_seconds, asks_auth)))
        });
        let is_native = listener.config.compat == Compat::Native;
        let request_bytes_max = self.generation.config.limits.request_bytes_max;
        let limits = Limits {
            bulk_bytes_max: request_bytes_max,
            is_authenticated: redis.session.is_authenticated(),
            grammar: if is_native { Grammar::Redis } else { Grammar::Nutcracker },
            ..Limits::REDIS
        };
        match resp::request::cut(bytes, &limits, &mut redis.progress) {
            // A web page can make a browser send requests, but not without these words in front.
            Cut::Request(request) if request.is_http() => self.drop_client(id),
            Cut::Request(request) => self.redis_begin(id, listener, request),
            Cut::Inline(inline) => {
                let mut wire = self.spare();
                inline.render(&mut wire);
                let request = again(&wire);
                let step = if request.is_http() {
                    self.drop_client(id)
                } else {
                    self.redis_begin(id, listener, request)
                };
                self.give_back(wire);
                match step {
                    Step::Took(_) => Step::Took(inline.bytes),
                    other => other,
                }
            }
            Cut::Nothing { bytes, .. } => Step::Took(bytes),
            Cut::Partial => {
                let wanted = redis.progress.bytes_wanted();
                if wanted > request_bytes_max {
                    return self.redis_malformed(id, listener, TOO_LARGE);
                }
                Step::Wait(wanted.saturating_sub(bytes.len()))
            }
            Cut::Malformed(_) if !is_native => self.drop_client(id),
            Cut::Malformed(malformed) => {
                let mut reason = self.spare();
                malformed.render(&mut reason);
                let step = self.redis_malformed(id, listener, &reason);
                self.give_back(reason);
                step
            }
        }
    }

    /// Bytes that are no request: says so and takes no more.
    fn redis_malformed(&mut self, id: ClientId, listener: &Listener, reason: &[u8]) -> Step {
        self.counters.malformed.add(1);
        let asked = asked(listener, false, false, None, 0);
        let exchange = self.open(id, listener, listener.root, asked);
        self.emit(exchange, ReplyKind::ServerError, reason, None, true);
        self.finish_client(id);
        Step::Closed
    }

    fn redis_begin(
        &mut self,
        id: ClientId,
        listener: &Rc<Listener>,
        request: resp::Request<'_>,
    ) -> Step {
        let bytes = request.bytes.len();
        let client = self.clients.get_mut(id).expect("consume found the client");
        let redis = client.redis.as_deref_mut().expect("a client that speaks RESP has this");
        let kind = request.command.map(|command| command.kind);
        let is_ordinary = matches!(kind, Some(Kind::Keyed | Kind::Split));
        if client.owed > 0 && !is_ordinary && changes_connection(redis, request, kind) {
            client.state.blocked = true;
            return Step::Blocked;
        }
        let is_muted = redis.session.begin_request();
        let is_resp3 = redis.session.is_resp3();
        let is_plain = is_ordinary
            && redis.session.is_authenticated()
            && listener.config.compat == Compat::Native
            && request.command.is_some_and(|command| is_right(command, request));
        let pinned = redis.pinned.as_ref();
        let in_multi = pinned.is_some_and(|pinned| pinned.in_multi);
        let kept = pinned.map(|pinned| pinned.listener.clone());
        let listener = kept.as_ref().unwrap_or(listener);
        if redis.subscriber.is_some()
            && !is_resp3
            && let Some(step) = self.for_subscriber(id, request, kind)
        {
            return step;
        }
        if in_multi {
            return self.queue_in_multi(id, listener, request, kind);
        }
        let asked = asked(listener, is_resp3, is_muted, request.command, bytes);
        let class = asked.class;
        if request.verb() == Some(RedisVerb::Hello) && self.hello_would_part(id, request) {
            self.reply_now(id, listener, asked, NOT_NOW);
            return Step::Took(bytes);
        }
        if !is_plain && let Some(step) = self.redis_answer(id, listener, request, asked) {
            return step;
        }
        if listener.is_store {
            return self.redis_store_request(id, listener, request, asked);
        }
        if !is_ordinary && let Some(step) = self.redis_special(id, listener, request, asked, kind) {
            return step;
        }
        let key = request.first_key().unwrap_or(NO_KEY);
        let leaf = listener.routes.table.resolve(listener.root, class, key);
        let exchange = self.open(id, listener, leaf, asked);
        if kept.is_some()
            && let Some(place) = self.place_with_session(id, listener, class, request)
        {
            self.in_transaction(exchange, id, place, request);
        } else if !request.command.is_some_and(|command| command.has_one_key) {
            self.dispatch(exchange, &listener.routes, listener.root, &Request::Redis(request));
        } else {
            // The usual case: its one key has been looked up.
            self.dispatch_leaf(exchange, id.index(), &listener.routes, leaf, request);
        }
        Step::Took(bytes)
    }

    /// Whether HELLO would change the protocol of a client whose own connection to a server keeps
    /// the one it has.
    fn hello_would_part(&self, id: ClientId, request: resp::Request<'_>) -> bool {
        let redis = self.clients.get(id).and_then(|client| client.redis.as_deref());
        let Some(redis) = redis else { return false };
        let own: &[u8] = if redis.session.is_resp3() { b"3" } else { b"2" };
        let has_session = redis.pinned.is_some() || redis.subscriber.is_some();
        has_session && request.arguments > 1 && request.first != own
    }

    /// What a client that is subscribed in RESP2 says. `None` when the request takes its usual way.
    fn for_subscriber(
        &mut self,
        id: ClientId,
        request: resp::Request<'_>,
        kind: Option<Kind>,
    ) -> Option<Step> {
        if matches!(request.verb(), Some(RedisVerb::Quit | RedisVerb::Reset)) {
            return None;
        }
        if kind == Some(Kind::Subscribe) {
            let client = self.clients.get(id)?;
            let link = client.redis.as_deref()?.subscriber.as_ref()?.link;
            let is_sent = self.send_to_subscription(id, link, request);
            return Some(if is_sent { Step::Took(request.bytes.len()) } else { Step::Closed });
        }
        self.subscriber_says(id, request)
    }

    /// A request that is answered here: about the connection, or wrong in itself.
    fn redis_answer(
        &mut self,
        id: ClientId,
        listener: &Rc<Listener>,
        request: resp::Request<'_>,
        asked: Asked,
    ) -> Option<Step> {
        let now_seconds = self.store_now().seconds;
        let client = self.clients.get_mut(id).expect("consume found the client");
        let redis = client.redis.as_deref_mut().expect("a client that speaks RESP has this");
        let has_session = redis.pinned.is_some() || redis.subscriber.is_some();
        let needs_clock = request.command.is_some_and(|command| command.kind == Kind::Local);
        let ctx = answers::Context {
            users: &listener.config.users,
            compat: listener.config.compat,
            db: listener.database,
            unix_us: if needs_clock { unix_us() } else { 0 },
            now_seconds,
            shared: &self.shared,
            registry: &self.registry,
            store: listener.is_store.then_some(&*self.store),
            entry: &client.entry,
            has_session,
        };
        self.answer.clear();
        let outcome = answers::answer(&mut redis.session, &ctx, &request, &mut self.answer);
        let bytes = request.bytes.len();
        match outcome {
            Outcome::NotMine => return None,
            Outcome::Drop => return Some(self.drop_client(id)),
            Outcome::OnSession => return Some(self.on_session(id, listener, request, asked)),
            Outcome::Answered | Outcome::Close | Outcome::Reset => {}
        }
        let reply = std::mem::take(&mut self.answer);
        self.reply_now(id, listener, asked, &reply);
        self.answer = reply;
        match outcome {
            Outcome::Close => {
                self.finish_client(id);
                return Some(Step::Closed);
            }
            Outcome::Reset => self.leave_sessions(id),
            _ => {}
        }
        Some(Step::Took(bytes))
    }

    /// Answers in the request's turn, at once if nothing else is owed.
    fn reply_now(&mut self, id: ClientId, listener: &Rc<Listener>, asked: Asked, reply: &[u8]) {
        let is_error = reply.first() == Some(&b'-');
        let kind = if is_error { ReplyKind::ServerError } else { ReplyKind::Ok };
        let asked = Asked { noreply: reply.is_empty(), ..asked };
        let exchange = self.open(id, listener, listener.root, asked);
        self.emit(exchange, kind, reply, None, true);
    }

    /// A request on a listener that leads to the store and nowhere else.
    fn redis_store_request(
        &mut self,
        id: ClientId,
        listener: &Rc<Listener>,
        request: resp::Request<'_>,
        asked: Asked,
    ) -> Step {
        let now = self.store_now();
        let client = self.clients.get_mut(id).expect("consume found the client");
        let ctx = local::Context {
            store: &self.store,
            shared: &self.shared,
            counters: &self.local,
            now,
            allow: listener.config.allow,
            users: &[],
            cfd: client.entry.number,
            is_pipelined: self.engine.unsent(client.conn) > 0,
        };
        local::redis::execute(&ctx, asked.is_resp3, &request, &mut self.output);
        client.entry.command_at(now.seconds);
        self.count_redis_store(listener, asked, request.bytes.len());
        if asked.noreply {
            self.output.clear();
        }
        if self.clients.get(id).is_some_and(|client| client.owed > 0) {
            // Something older is owed: the reply waits for its turn.
            let mut output = std::mem::take(&mut self.output);
            output.flatten();
            let exchange = self.open(id, listener, listener.root, asked);
            self.emit(exchange, ReplyKind::Ok, &output.bytes, None, true);
            output.clear();
            self.output = output;
        } else {
            self.send_output(id);
        }
        Step::Took(request.bytes.len())
    }

    fn count_redis_store(&mut self, listener: &Rc<Listener>, asked: Asked, bytes: usize) {
        let front = self.front(listener, listener.root);
        let counters = &self.fronts[front as usize].classes[asked.class as usize];
        counters.requests.add(1);
        counters.request_bytes.add(bytes as u64);
        counters.reply_bytes.add(self.output.bytes_total() as u64);
        counters.latency.record(0);
        match (self.output.bytes.as_slice(), asked.class) {
            ([b'-', ..], _) => counters.errors.add(1),
            ([b'$', b'-', ..] | [b'_', ..], CommandClass::Get) => counters.misses.add(1),
            ([b'$', ..], CommandClass::Get) => counters.hits.add(1),
            _ => {}
        }
    }

    /// Commands that are more than a request to the server of a key. `None` for the others.
    fn redis_special(
        &mut self,
        id: ClientId,
        listener: &Rc<Listener>,
        request: resp::Request<'_>,
        asked: Asked,
        kind: Option<Kind>,
    ) -> Option<Step> {
        let bytes = request.bytes.len();
        match kind {
            Some(Kind::Subscribe) => {
                let place = self.session_place(listener, asked.class, request);
                let place = place.unwrap_or(None);
                return Some(self.subscribe(id, listener, place, request, asked));
            }
            Some(Kind::Transaction) => {
                let step = SessionStep::of(request)?;
                let place = self.session_place(listener, asked.class, request);
                let exchange = self.open(id, listener, listener.root, asked);
                match place {
                    Some(place) => self.transaction(exchange, id, listener, step, place, request),
                    None => self.emit(exchange, ReplyKind::ServerError, CROSSED, None, true),
                }
            }
            Some(Kind::Blocking | Kind::BlockingOption)
                if kind == Some(Kind::Blocking) || request.may_block() =>
            {
                let place = self.session_place(listener, asked.class, request);
                let exchange = self.open(id, listener, listener.root, asked);
                match place {
                    Some(_) if self.pinned(id).is_some_and(|pinned| pinned.is_tracking) => {
                        self.in_transaction(exchange, id, place.unwrap_or(None), request);
                    }
                    Some(place) => self.block_on(exchange, id, place, request),
                    None => self.emit(exchange, ReplyKind::ServerError, CROSSED, None, true),
                }
            }
            Some(Kind::Sweep) => {
                let whole = Whole::of(request)?;
                let exchange = self.open(id, listener, listener.root, asked);
                if is_kill(request) && listener.backends == 1 {
                    // On a shared connection it would wait behind what it is to end.
                    let place = self.session_place(listener, asked.class, request).flatten();
                    self.block_on(exchange, id, place, request);
                    return Some(Step::Took(bytes));
                }
                if request.subcommand().is_some_and(answers::is_flush)
                    && !listener.config.allow.flush
                {
                    self.emit(exchange, ReplyKind::ServerError, NO_FLUSH, None, true);
                } else {
                    self.ask_everywhere(exchange, listener, request, whole);
                }
            }
            _ => return None,
        }
        Some(Step::Took(bytes))
    }

    /// A request between MULTI and EXEC: queued by the server of the transaction's keys.
    fn queue_in_multi(
        &mut self,
        id: ClientId,
        listener: &Rc<Listener>,
        request: resp::Request<'_>,
        kind: Option<Kind>,
    ) -> Step {
        let client = self.clients.get_mut(id).expect("consume found the client");
        let redis = client.redis.as_deref_mut().expect("a client that speaks RESP has this");
        let (is_resp3, is_muted) = (redis.session.is_resp3(), redis.session.is_muted());
        let asked = asked(listener, is_resp3, is_muted, request.command, request.bytes.len());
        if matches!(request.verb(), Some(RedisVerb::Quit | RedisVerb::Reset)) {
            let step = self.redis_answer(id, listener, request, asked);
            return step.unwrap_or(Step::Closed);
        }
        self.answer.clear();
        match answers::judge(&request, listener.config.compat, &mut self.answer) {
            answers::Verdict::Proceed => {}
            answers::Verdict::Drop => return self.drop_client(id),
            answers::Verdict::Refused => {
                let reply = std::mem::take(&mut self.answer);
                if request.verb() == Some(RedisVerb::Exec) {
                    let exchange = self.open(id, listener, listener.root, asked);
                    self.abort_transaction(exchange, id, &reply);
                } else {
                    self.refuse_in_multi(id, listener, asked, &reply);
                }
                self.answer = reply;
                return Step::Took(request.bytes.len());
            }
        }
        if let Some(step) = SessionStep::of(request) {
            let exchange = self.open(id, listener, listener.root, asked);
            let place = self.pinned(id).and_then(|pinned| pinned.place);
            let place = place.map(|(backend, _)| backend);
            self.transaction(exchange, id, listener, step, place, request);
        } else if !answers::may_be_queued(&request, listener.database, listener.config.allow.flush)
        {
            self.refuse_in_multi(id, listener, asked, NOT_IN_MULTI);
        } else if kind == Some(Kind::Sweep) && listener.backends > 1 {
            self.refuse_in_multi(id, listener, asked, NOT_ON_ONE);
        } else {
            let place = self.session_place(listener, asked.class, request);
            let exchange = self.open(id, listener, listener.root, asked);
            match place {
                Some(place) => self.in_transaction(exchange, id, place, request),
                None => {
                    self.spoil(id);
                    self.emit(exchange, ReplyKind::ServerError, CROSSED, None, true);
                }
            }
        }
        Step::Took(request.bytes.len())
    }

    /// Refuses a command between MULTI and EXEC.
    fn refuse_in_multi(
        &mut self,
        id: ClientId,
        listener: &Rc<Listener>,
        asked: Asked,
        reply: &[u8],
    ) {
        self.spoil(id);
        // A client that wants no replies gets no errors either.
        let reply = if asked.noreply { b"" } else { reply };
        self.reply_now(id, listener, asked, reply);
    }

    /// A command of the client's transaction was refused: EXEC will not do anything.
    fn spoil(&mut self, id: ClientId) {
        if let Some(pinned) = self.pinned(id) {
            pinned.is_dirty = true;
        }
    }

    /// The backend of a request's keys; within it, the one that the client is tied to if it has
    /// none. The outer `None` is for keys in several places, the inner for places that are no
    /// backend.
    fn session_place(
        &mut self,
        listener: &Rc<Listener>,
        class: CommandClass,
        request: resp::Request<'_>,
    ) -> Option<Option<BackendId>> {
        let routes = &listener.routes;
        let first = request.first_key().unwrap_or(NO_KEY);
        let Some(place) = self.place_of(routes, listener.root, class, first) else {
            return Some(None);
        };
        for key in request.keys().skip(1) {
            if self.place_of(routes, listener.root, class, key.bytes) != Some(place) {
                return None;
            }
        }
        Some(self.backend_at(routes, place))
    }

    /// Where a request of a client that watches keys, or caches, goes if it belongs on its own
    /// connection: it would otherwise see and do things from the side.
    fn place_with_session(
        &mut self,
        id: ClientId,
        listener: &Rc<Listener>,
        class: CommandClass,
        request: resp::Request<'_>,
    ) -> Option<Option<BackendId>> {
        let place = self.session_place(listener, class, request).flatten();
        let pinned = self.pinned(id)?;
        let (backend, _) = pinned.place?;
        (pinned.is_tracking || place == Some(backend)).then_some(place)
    }

    /// A command that is about the client's own connection to a server.
    fn on_session(
        &mut self,
        id: ClientId,
        listener: &Rc<Listener>,
        request: resp::Request<'_>,
        asked: Asked,
    ) -> Step {
        let place = self.session_place(listener, asked.class, request).flatten();
        let is = |at: u32, word: &[u8]| {
            request.argument(at).is_some_and(|argument| argument.eq_ignore_ascii_case(word))
        };
        let exchange = self.open(id, listener, listener.root, asked);
        let client = self.clients.get_mut(id).expect("the client was found above");
        let redis = client.redis.as_deref_mut().expect("a client that speaks RESP has this");
        let begins = is(1, b"TRACKING") && is(2, b"ON");
        if begins {
            redis.pinned.get_or_insert_with(|| Pinned::new(listener)).is_tracking = true;
        } else if is(1, b"TRACKING") && is(2, b"OFF") && request.arguments == 3 {
            // Anything longer is refused by the server, which then goes on.
            if let Some(pinned) = redis.pinned.as_mut() {
                pinned.is_tracking = false;
            }
        }
        match redis.pinned.as_ref().and_then(|pinned| pinned.place) {
            Some((_, link)) => self.say(exchange, id, link, request, true),
            None if redis.pinned.is_some() => self.in_transaction(exchange, id, place, request),
            None => {
                self.dispatch(exchange, &listener.routes, listener.root, &Request::Redis(request))
            }
        }
        if begins
            && let Some((_, link)) = self.pinned(id).and_then(|pinned| pinned.place)
            && let Some(link) = self.links.get_mut(link)
        {
            link.is_spoiled = true;
            link.is_patient = true;
        }
        Step::Took(asked.bytes as usize)
    }

    /// RESET: the client's sessions end.
    fn leave_sessions(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Some(redis) = client.redis.as_deref_mut() else { return };
        let pinned: Option<Pinned> = redis.pinned.take();
        if let Some((_, link)) = pinned.and_then(|pinned| pinned.place) {
            self.drop_session(link);
        }
        self.end_subscriptions(id);
    }

    /// Lets the store answer a Redis exchange.
    pub(crate) fn ask_store_redis(&mut self, id: ExchangeId, request: resp::Request<'_>) {
        let is_resp3 = self.exchanges.get(id).is_some_and(|exchange| exchange.asked.is_resp3);
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
        local::redis::execute(&ctx, is_resp3, &request, &mut self.output);
        let mut output = std::mem::take(&mut self.output);
        output.flatten();
        let kind = match output.bytes.as_slice() {
            [b'-', ..] => ReplyKind::ServerError,
            [b'$', b'-', ..] | [b'_', ..] => ReplyKind::End,
            [b'$', ..] => ReplyKind::Value,
            _ => ReplyKind::Ok,
        };
        self.emit(id, kind, &output.bytes, None, true);
        output.clear();
        self.output = output;
    }
}

impl Redis {
    /// A client that has said nothing yet.
    fn new(session: answers::Session) -> Redis {
        Redis {
            session,
            progress: Default::default(),
            pinned: None,
            subscriber: None,
            is_blocked: false,
            pushes: Vec::new(),
        }
    }
}

/// Whether a request changes which connection the client's commands take: it waits until nothing
/// is owed to the client, or what follows could overtake what came before.
fn changes_connection(redis: &Redis, request: resp::Request<'_>, kind: Option<Kind>) -> bool {
    let is_tied = redis.pinned.is_some();
    match kind {
        Some(Kind::Transaction | Kind::Blocking | Kind::BlockingOption) => !is_tied,
        Some(Kind::Subscribe) => true,
        Some(Kind::Local) => match request.verb() {
            Some(RedisVerb::Hello | RedisVerb::Reset) => true,
            Some(RedisVerb::Client) => request.first.eq_ignore_ascii_case(b"TRACKING"),
            _ => false,
        },
        _ => false,
    }
}

/// Whether nothing in the request itself stands against sending it to a server.
#[inline]
fn is_right(command: &Command, request: resp::Request<'_>) -> bool {
    let is_odd = matches!(command.verb, RedisVerb::Mset | RedisVerb::Msetnx | RedisVerb::Migrate);
    command.accepts(request.arguments) && command.subcommands.is_empty() && !is_odd
}

/// Whether a request ends a script or function that keeps its server busy.
fn is_kill(request: resp::Request<'_>) -> bool {
    let name = request.subcommand().map(|command| command.name);
    matches!(name, Some("script|kill" | "function|kill"))
}

/// Whether a command changes nothing, wherever it is carried out.
#[inline]
fn only_looks(command: &Command) -> bool {
    command.is_readonly() || command.kind == Kind::Local
}

/// What is noted of a request.
#[inline]
fn asked(
    listener: &Listener,
    is_resp3: bool,
    is_muted: bool,
    command: Option<&Command>,
    bytes: usize,
) -> Asked {
    let voice = match listener.config.compat {
        Compat::Native => Voice::Redis,
        Compat::Nutcracker => Voice::NutcrackerRedis,
        Compat::Strict => Voice::StrictRedis,
    };
    Asked {
        verb: Verb::Unknown,
        class: command.map_or(CommandClass::Other, class),
        voice,
        is_resp3,
        may_change: !command.is_some_and(only_looks),
        noreply: is_muted,
        quiet: false,
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
    }
}

/// The class that a command is counted and routed by.
#[inline]
fn class(command: &Command) -> CommandClass {
    match command.count {
        Count::Get => CommandClass::Get,
        Count::Set => CommandClass::Set,
        Count::Delete => CommandClass::Delete,
        Count::Arith => CommandClass::Arith,
        Count::Touch => CommandClass::Touch,
        Count::Other => CommandClass::Other,
    }
}

fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
