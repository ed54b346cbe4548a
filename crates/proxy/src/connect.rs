//! The life of a connection to a backend: connect, validate, lose, try again.
//!
//! A new connection is used only after it has answered `version`: that keeps requests away from
//! servers that are up but not serving, and from whatever else may listen there. Losing a
//! connection fails every request that is owed on it, in order; nothing is ever sent twice.

use crate::backend::{Backend, BackendId};
use crate::config::{self, Address, LinkProtocol, RedisLogin};
use crate::events::Event as Report;
use crate::exchange::Failure;
use crate::link::{Link, LinkId, Pending, Phase, Role, Shape};
use crate::worker::{Worker, link_tag};
use keyway_engine::{ConnectOptions, Id, Keepalive, Nanos, SECOND};
use keyway_proto::memcached::{ReplyCut, ReplyKind, Verb, cut_reply};
use keyway_proto::resp::reply::{Fed, Follow};
use keyway_proto::resp::{self, Version};

/// Probing of idle connections to backends: dead after 30 s of silence and 3 probes.
const KEEPALIVE: Keepalive = Keepalive { idle_s: 30, interval_s: 10, probes: 3 };

impl Worker {
    /// Starts connecting a link.
    pub(crate) fn connect(&mut self, id: LinkId) {
        let Some(link) = self.links.get(id) else { return };
        let Some(backend) = self.backends.get(link.backend) else { return };
        let options = ConnectOptions {
            keepalive: backend.link().keepalive.then_some(KEEPALIVE),
            user_timeout_ms: backend.link().user_timeout.as_millis() as u32,
            source: None,
        };
        let timeout = backend.link().connect_timeout;
        let address = match &backend.identity.address {
            Some(Address::Tcp(address)) => keyway_engine::Address::Tcp(*address),
            Some(Address::Unix(path)) => keyway_engine::Address::Unix(path.clone()),
            // The name is not resolved yet: the next configuration will bring the address.
            None => return self.lose_link(id, Failure::Unresolved),
        };
        let conn = self.engine.connect(&address, &options, link_tag(id));
        let now = self.now;
        backend.block.backend.connects.add(1);
        backend.block.backend.sockets.add(1);
        let is_redis = backend.link().protocol != LinkProtocol::Memcached;
        let link = self.links.get_mut(id).expect("the link was found above");
        let version = if link.is_resp3 { Version::Three } else { Version::Two };
        link.follow = Follow::new(version);
        link.is_redis = is_redis;
        link.conn = Some(conn);
        link.phase = Phase::Connecting { since: now };
        if !timeout.is_zero() {
            self.expire_by(now + nanos(timeout));
        }
    }

    /// The kernel has connected: says what has to be said before anything else.
    pub(crate) fn validate(&mut self, id: LinkId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(id) else { return };
        let Some(conn) = link.conn else { return };
        link.phase = Phase::Validating { since: now };
        let Some(backend) = self.backends.get(link.backend) else { return };
        let timeout = backend.link().read_timeout;
        self.scratch.clear();
        link.greetings = greet(backend, link.is_resp3, &mut self.scratch);
        if link.greetings == 0 {
            return self.link_ready(id);
        }
        self.engine.write(conn, &self.scratch);
        if !timeout.is_zero() {
            self.expire_by(now + nanos(timeout));
        }
    }

    /// Reads the answers to the first words.
    pub(crate) fn validation_reply(&mut self, id: LinkId, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(id) else { return };
        let Some(backend) = self.backends.get(link.backend) else { return };
        link.partial.extend_from_slice(bytes);
        let verdict = match &backend.link().protocol {
            LinkProtocol::Memcached => version_verdict(&link.partial),
            LinkProtocol::Redis(login) => {
                greeting_verdict(&mut link.partial, &mut link.greetings, login)
            }
        };
        match verdict {
            Verdict::Wait => {}
            Verdict::Ready => {
                link.partial = Vec::new();
                self.link_ready(id);
            }
            Verdict::Unfit => self.lose_link(id, Failure::Malformed),
        }
    }

    /// The connection is good: send what has waited for it.
    fn link_ready(&mut self, id: LinkId) {
        let now = self.now;
        let link = self.links.get_mut(id).expect("only live links are validated");
        let conn = link.conn.expect("a validated link has a connection");
        link.phase = Phase::Ready;
        link.progress = now;
        let waiting = std::mem::take(&mut link.waiting);
        let (backend_id, role) = (link.backend, link.role);
        self.engine.write(conn, &waiting);
        let queued = link.pending.len() as u64;
        let backend = self.backends.get_mut(backend_id).expect("a backend outlives its links");
        let counters = &backend.block.backend;
        counters.connections.add(1);
        counters.waiting.sub(queued);
        counters.waiting_bytes.sub(waiting.len() as u64);
        let timeout = nanos(backend.link().read_timeout);
        if backend.is_down {
            backend.is_down = false;
            backend.block.backend.up.set(1);
            let label = backend.label.clone();
            self.report(Report::BackendUp { backend: label });
            self.wake_links(backend_id);
        }
        if timeout > 0 {
            self.expire_by(now + timeout);
        }
        if role == Role::Lane {
            self.lane_ready(id);
        }
    }

    /// One connection works again: the others of the backend need not wait any longer.
    fn wake_links(&mut self, id: BackendId) {
        for link in self.backend(id).links.clone() {
            if self.links.get(link).is_some_and(|link| matches!(link.phase, Phase::Held { .. })) {
                self.connect(link);
            }
        }
    }

    /// Gives a connection up: everyone who waits on it gets an error, and it is tried again later.
    pub(crate) fn lose_link(&mut self, id: LinkId, failure: Failure) {
        let now = self.now;
        let Some(link) = self.links.get_mut(id) else { return };
        let was_ready = link.phase == Phase::Ready;
        let silence = now.saturating_sub(link.progress);
        let had_conn = link.conn.take().map(|conn| self.engine.close(conn)).is_some();
        let pending = std::mem::take(&mut link.pending);
        let unsent = std::mem::take(&mut link.waiting).len() as u64;
        link.asked.clear();
        link.partial = Vec::new();
        link.body = None;
        link.is_begun = false;
        link.paused = false;
        let (backend_id, role) = (link.backend, link.role);
        let owed_bytes: u64 = pending.iter().map(|owed| u64::from(owed.bytes)).sum();
        let backend = self.backend(backend_id);
        backend.last_failure = failure;
        let counters = &backend.block.backend;
        counters.sockets.sub(u64::from(had_conn));
        counters.owed.sub(pending.len() as u64);
        counters.owed_bytes.sub(owed_bytes);
        if was_ready {
            counters.connections.sub(1);
        } else {
            counters.waiting.sub(pending.len() as u64);
            counters.waiting_bytes.sub(unsent);
        }
        match failure {
            Failure::Closed => counters.ended_eof.add(1),
            Failure::TimedOut => counters.ended_timeout.add(1),
            _ => counters.ended_error.add(1),
        }
        let is_idle_close = was_ready && pending.is_empty() && failure == Failure::Closed;
        // Servers close idle connections in good order: that says nothing about their health. Nor
        // does what clients do on connections of their own.
        if role == Role::Shared {
            if !(is_idle_close && silence > SECOND) {
                self.count_loss(backend_id, failure, was_ready, pending.len());
            }
            self.count_for_ring(backend_id, is_idle_close);
        }
        match role {
            Role::Shared => self.hold_link(id),
            Role::Lane => self.lane_lost(id),
            Role::Session => self.session_lost(id),
        }
        for owed in pending {
            self.fail(owed.exchange, failure);
        }
        self.close_if_retired(backend_id);
    }

    fn count_loss(&mut self, id: BackendId, failure: Failure, was_ready: bool, owed: usize) {
        let backend = self.backend(id);
        let counters = &backend.block.backend;
        match failure {
            _ if !was_ready => counters.connect_failures.add(1),
            Failure::TimedOut => counters.timeouts.add(1),
            Failure::Malformed => counters.desyncs.add(1),
            _ => counters.disconnects.add(1),
        }
        backend.failures = backend.failures.saturating_add(1);
        let label = backend.label.clone();
        let link = backend.link();
        let has_failed =
            !link.on_demand && !backend.is_down && backend.failures >= link.failure_limit;
        // While another connection works, its replies say how the server is.
        if has_failed && !self.has_ready_link(id) {
            let backend = self.backend(id);
            backend.is_down = true;
            backend.block.backend.up.set(0);
            self.report(Report::BackendDown { backend: label, cause: failure });
        } else if was_ready || self.backend(id).link().on_demand {
            self.report(Report::BackendFailed { backend: label, cause: failure, owed });
        }
    }

    /// Whether one of the connections that all clients share works.
    fn has_ready_link(&self, id: BackendId) -> bool {
        let Some(backend) = self.backends.get(id) else { return false };
        let mut shared = backend.links.iter().chain(&backend.links_resp3);
        shared.any(|link| self.links.get(*link).is_some_and(|link| link.phase == Phase::Ready))
    }

    /// Decides when a shared link is tried again.
    fn hold_link(&mut self, id: LinkId) {
        let random = self.random();
        let now = self.now;
        let Some(link) = self.links.get_mut(id) else { return };
        let Some(backend) = self.backends.get(link.backend) else { return };
        let until = now + backend.pause_before_retry(random);
        link.phase = Phase::Held { until };
        let is_unwanted = backend.is_retired || backend.link().on_demand;
        if is_unwanted || backend.identity.address.is_none() {
            link.phase = Phase::Idle;
            return;
        }
        if until <= now {
            self.connect(id);
        } else {
            self.expire_by(until);
        }
    }

    /// Asks a silent connection for a sign of life: a server that has vanished without a word is
    /// noticed before a request has to wait for it.
    fn probe(&mut self, id: LinkId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(id) else { return };
        let Some(conn) = link.conn else { return };
        match link.role {
            Role::Shared => {}
            // Nobody has needed it for a while.
            Role::Lane => return self.close_lane(id),
            Role::Session => return self.close_spare_session(id),
        }
        link.progress = now;
        let Some(backend) = self.backends.get(link.backend) else { return };
        if !backend.link().handshake {
            return;
        }
        let nobody = Id::from_bits(u64::MAX);
        let (question, shape): (&[u8], Shape) = match backend.link().protocol {
            LinkProtocol::Memcached => (b"version\r\n", Shape::Probe),
            LinkProtocol::Redis(_) => (PING, Shape::Resp),
        };
        let verb = Verb::Version;
        link.pending.push_back(Pending { exchange: nobody, verb, shape, asked: 0, bytes: 0 });
        self.engine.write(conn, question);
        backend.block.backend.owed.add(1);
        let due = now + nanos(backend.link().read_timeout);
        self.expire_by(due);
    }

    /// Gives up links that took too long, and tries held ones again.
    pub(crate) fn expire_links(&mut self) {
        let now = self.now;
        let ids: Vec<LinkId> = self.links.iter().map(|(id, _)| id).collect();
        for id in ids {
            let Some(link) = self.links.get(id) else { continue };
            let Some(backend) = self.backends.get(link.backend) else { continue };
            let Some(due) = self.due(link, backend.link()) else { continue };
            if due > now {
                self.expire_by(due);
            } else if matches!(link.phase, Phase::Held { .. }) {
                self.connect(id);
            } else if link.phase == Phase::Ready && link.pending.is_empty() {
                self.probe(id);
            } else {
                self.lose_link(id, Failure::TimedOut);
            }
        }
        self.expire_lane_queues();
    }

    /// When something has to happen to a link if nothing else does.
    fn due(&self, link: &Link, limits: &config::Link) -> Option<Nanos> {
        let after = |since: Nanos, wait: std::time::Duration| {
            (!wait.is_zero()).then(|| since + nanos(wait))
        };
        let by_request = || {
            let oldest = link.pending.front().filter(|_| limits.timeout_each)?;
            let started = self.exchanges.get(oldest.exchange).map(|exchange| exchange.started);
            after(started.unwrap_or(link.progress), limits.read_timeout)
        };
        match link.phase {
            Phase::Idle => None,
            Phase::Held { until } => Some(until),
            Phase::Connecting { since } => {
                earliest(by_request(), after(since, limits.connect_timeout))
            }
            Phase::Validating { since } => {
                earliest(by_request(), after(since, limits.read_timeout))
            }
            Phase::Ready if link.paused && !self.is_slow_to_take(link) => None,
            Phase::Ready if link.is_patient => None,
            Phase::Ready if link.pending.is_empty() => Some(link.progress + PROBE_AFTER),
            Phase::Ready if limits.timeout_each => by_request(),
            Phase::Ready => after(link.progress, limits.read_timeout),
        }
    }

    /// Whether a server has not taken all that has come for it of a large value.
    fn is_slow_to_take(&self, link: &Link) -> bool {
        link.upload_left > 0 && link.conn.is_some_and(|conn| self.engine.unsent(conn) > 0)
    }
}

/// Silence after which a connection is asked whether it still lives.
const PROBE_AFTER: Nanos = 10 * SECOND;

/// Longest answers to the first words that are waited for, in bytes.
const GREETING_BYTES_MAX: usize = 8 << 10;

fn earliest(one: Option<Nanos>, other: Option<Nanos>) -> Option<Nanos> {
    [one, other].into_iter().flatten().min()
}

/// The command that asks a Redis server for a sign of life.
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// What the answers to the first words mean.
enum Verdict {
    Wait,
    Ready,
    Unfit,
}

/// Writes the first words on a new connection; returns how many replies they will have.
fn greet(backend: &Backend, is_resp3: bool, out: &mut Vec<u8>) -> u32 {
    let link = backend.link();
    let login = match &link.protocol {
        LinkProtocol::Memcached if link.handshake => {
            out.extend_from_slice(b"version\r\n");
            return 1;
        }
        LinkProtocol::Memcached => return 0,
        LinkProtocol::Redis(login) => login,
    };
    let mut count = 0;
    let mut say = |words: &[&[u8]]| {
        resp::render::request(out, words);
        count += 1;
    };
    let database = login.database.to_string();
    let is_unix = matches!(backend.identity.address, Some(Address::Unix(_)));
    let selects = login.database != 0 && !(login.select_first && is_unix);
    if selects && login.select_first {
        say(&[b"SELECT", database.as_bytes()]);
    }
    match (&login.user, &login.password) {
        (Some(user), Some(password)) => say(&[b"AUTH", user.as_bytes(), password.as_bytes()]),
        (None, Some(password)) => say(&[b"AUTH", password.as_bytes()]),
        _ => {}
    }
    if is_resp3 {
        say(&[b"HELLO", b"3"]);
    }
    if selects && !login.select_first {
        say(&[b"SELECT", database.as_bytes()]);
    }
    if link.handshake {
        say(&[b"PING"]);
    }
    count
}

/// Whether a memcached server has told its version, and nothing else.
fn version_verdict(bytes: &[u8]) -> Verdict {
    match cut_reply(bytes) {
        ReplyCut::Partial if bytes.len() <= GREETING_BYTES_MAX => Verdict::Wait,
        ReplyCut::Head(head)
            if head.kind == ReplyKind::Version && head.line_bytes == bytes.len() =>
        {
            Verdict::Ready
        }
        _ => Verdict::Unfit,
    }
}

/// Takes the answers of a Redis server off the front of `bytes`. A server that asks for a login
/// that we do not have, or that is busy with a script, is used all the same: its error says more
/// than ours would.
fn greeting_verdict(bytes: &mut Vec<u8>, left: &mut u32, login: &RedisLogin) -> Verdict {
    let mut at = 0;
    while *left > 0 {
        // Simple strings and errors are the same in both versions, and maps come in RESP3 only.
        let used = match Follow::new(Version::Three).feed(&bytes[at..]) {
            Fed::Complete(used) => used,
            Fed::Partial => {
                bytes.drain(..at);
                let is_short = bytes.len() <= GREETING_BYTES_MAX;
                return if is_short { Verdict::Wait } else { Verdict::Unfit };
            }
            Fed::Malformed => return Verdict::Unfit,
        };
        let reply = &bytes[at..at + used];
        let code = resp::reply::error_code(reply);
        let says_not_yet = matches!(code, Some(b"LOADING" | b"MASTERDOWN"));
        let is_alive = matches!(code, Some(b"NOAUTH" | b"NOPERM" | b"BUSY"));
        if code.is_some() && (says_not_yet || !(login.refusal_is_ignored || is_alive)) {
            return Verdict::Unfit;
        }
        at += used;
        *left -= 1;
    }
    if at == bytes.len() { Verdict::Ready } else { Verdict::Unfit }
}

fn nanos(duration: std::time::Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX / 4).min(Nanos::MAX / 4)
}
