//! The life of a connection to a backend: connect, validate, lose, try again.
//!
//! A new connection is used only after it has answered `version`: that keeps requests away from
//! servers that are up but not serving, and from whatever else may listen there. Losing a
//! connection fails every request that is owed on it, in order; nothing is ever sent twice.

use crate::backend::BackendId;
use crate::config::Address;
use crate::events::Event as Report;
use crate::exchange::Failure;
use crate::link::{Link, LinkId, Pending, Phase, Shape};
use crate::worker::{Worker, link_tag};
use keyway_engine::{ConnectOptions, Id, Keepalive, Nanos, SECOND};
use keyway_proto::memcached::{ReplyCut, ReplyKind, Verb, cut_reply};

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
        let timeout = nanos(backend.link().connect_timeout);
        let address = match &backend.identity.address {
            Some(Address::Tcp(address)) => keyway_engine::Address::Tcp(*address),
            Some(Address::Unix(path)) => keyway_engine::Address::Unix(path.clone()),
            // The name is not resolved yet: the next configuration will bring the address.
            None => return self.lose_link(id, Failure::Refused),
        };
        let conn = self.engine.connect(&address, &options, link_tag(id));
        let now = self.now;
        let link = self.links.get_mut(id).expect("the link was found above");
        link.conn = Some(conn);
        link.phase = Phase::Connecting { since: now };
        self.expire_by(now + timeout);
    }

    /// The kernel has connected: ask for the version before anything else.
    pub(crate) fn validate(&mut self, id: LinkId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(id) else { return };
        let Some(conn) = link.conn else { return };
        link.phase = Phase::Validating { since: now };
        let timeout = self.backends.get(link.backend).map(|backend| backend.link().read_timeout);
        self.engine.write(conn, b"version\r\n");
        self.expire_by(now + nanos(timeout.unwrap_or_default()));
    }

    /// Reads the answer to `version`.
    pub(crate) fn validation_reply(&mut self, id: LinkId, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(id) else { return };
        link.partial.extend_from_slice(bytes);
        match cut_reply(&link.partial) {
            ReplyCut::Partial if link.partial.len() <= VERSION_BYTES_MAX => {}
            ReplyCut::Head(head)
                if head.kind == ReplyKind::Version && head.line_bytes == link.partial.len() =>
            {
                link.partial = Vec::new();
                self.link_ready(id);
            }
            _ => self.lose_link(id, Failure::Malformed),
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
        let (backend_id, is_lane) = (link.backend, link.is_lane);
        self.engine.write(conn, &waiting);
        let backend = self.backend(backend_id);
        backend.block.backend.connections.add(1);
        let timeout = nanos(backend.link().read_timeout);
        if backend.is_down {
            backend.is_down = false;
            backend.block.backend.up.set(1);
            let label = backend.label.clone();
            self.report(Report::BackendUp { backend: label });
            self.wake_links(backend_id);
        }
        self.expire_by(now + timeout);
        if is_lane {
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
        if let Some(conn) = link.conn.take() {
            self.engine.close(conn);
        }
        let pending = std::mem::take(&mut link.pending);
        link.asked.clear();
        link.partial = Vec::new();
        link.waiting = Vec::new();
        link.body = None;
        link.paused = false;
        let (backend_id, is_lane) = (link.backend, link.is_lane);
        if was_ready && pending.is_empty() && failure == Failure::Closed && silence > SECOND {
            // Servers close idle connections in good order: that says nothing about their health.
            self.backend(backend_id).block.backend.connections.sub(1);
        } else {
            self.count_loss(backend_id, failure, was_ready, pending.len());
        }
        if is_lane {
            self.lane_lost(id);
        } else {
            self.hold_link(id);
        }
        for owed in pending {
            self.fail(owed.exchange, failure);
        }
        self.close_if_retired(backend_id);
    }

    fn count_loss(&mut self, id: BackendId, failure: Failure, was_ready: bool, owed: usize) {
        let backend = self.backend(id);
        let counters = &backend.block.backend;
        counters.owed.sub(owed as u64);
        if was_ready {
            counters.connections.sub(1);
        }
        match failure {
            _ if !was_ready => counters.connect_failures.add(1),
            Failure::TimedOut => counters.timeouts.add(1),
            Failure::Malformed => counters.desyncs.add(1),
            _ => counters.disconnects.add(1),
        }
        backend.failures = backend.failures.saturating_add(1);
        let label = backend.label.clone();
        let goes_down = !backend.is_down && backend.failures >= backend.link().failure_limit;
        if goes_down {
            backend.is_down = true;
            backend.block.backend.up.set(0);
            self.report(Report::BackendDown { backend: label, cause: failure });
            self.eject(id);
        } else if was_ready {
            self.report(Report::BackendFailed { backend: label, cause: failure, owed });
        }
    }

    /// Decides when a shared link is tried again.
    fn hold_link(&mut self, id: LinkId) {
        let random = self.random();
        let now = self.now;
        let Some(link) = self.links.get_mut(id) else { return };
        let Some(backend) = self.backends.get(link.backend) else { return };
        let until = now + backend.pause_before_retry(random);
        link.phase = Phase::Held { until };
        if backend.is_retired || backend.identity.address.is_none() {
            link.phase = Phase::Idle;
            return;
        }
        if until <= now {
            self.connect(id);
        } else {
            self.expire_by(until);
        }
    }

    /// Asks a silent connection for the version: a server that has vanished without a word is
    /// noticed before a request has to wait for it.
    fn probe(&mut self, id: LinkId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(id) else { return };
        let Some(conn) = link.conn else { return };
        if link.is_lane {
            // Nobody has needed it for a while.
            return self.close_lane(id);
        }
        let nobody = Id::from_bits(u64::MAX);
        let (verb, shape) = (Verb::Version, Shape::Probe);
        link.pending.push_back(Pending { exchange: nobody, verb, shape, asked: 0 });
        link.progress = now;
        self.engine.write(conn, b"version\r\n");
        let backend = link.backend;
        let backend = self.backend(backend);
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
            let limits = backend.link();
            let due = match link.phase {
                Phase::Idle => continue,
                Phase::Held { until } => until,
                Phase::Connecting { since } => since + nanos(limits.connect_timeout),
                Phase::Validating { since } => since + nanos(limits.read_timeout),
                Phase::Ready if link.paused && !self.is_slow_to_take(link) => continue,
                Phase::Ready if link.pending.is_empty() => link.progress + PROBE_AFTER,
                Phase::Ready => link.progress + nanos(limits.read_timeout),
            };
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

    /// Whether a server has not taken all that has come for it of a large value.
    fn is_slow_to_take(&self, link: &Link) -> bool {
        link.upload_left > 0 && link.conn.is_some_and(|conn| self.engine.unsent(conn) > 0)
    }
}

/// Silence after which a connection is asked whether it still lives.
const PROBE_AFTER: Nanos = 10 * SECOND;

/// Longest answer to `version` that is waited for, in bytes.
const VERSION_BYTES_MAX: usize = 1024;

fn nanos(duration: std::time::Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX / 4).min(Nanos::MAX / 4)
}
