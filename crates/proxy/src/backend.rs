//! One server of a pool, as one worker sees it: its connections, its health, its back-off.
//!
//! A backend is *down* after `failure_limit` failures in a row: requests fail at once instead of
//! waiting for a connection, while tries go on with doubling, jittered pauses. It is up again once
//! a new connection has answered `version`.

use crate::config::{self, Address};
use crate::exchange::{ExchangeId, Failure};
use crate::health::Health;
use crate::link::LinkId;
use crate::stats::Block;
use keyway_engine::{Id, Nanos};
use std::collections::VecDeque;
use std::sync::Arc;

/// Names a backend; stale names find nothing.
pub type BackendId = Id<Backend>;

/// One server of a pool.
#[derive(Debug)]
pub struct Backend {
    /// What must stay equal for connections to survive a reload.
    pub(crate) identity: Identity,
    /// `pool/name`, for events.
    pub(crate) label: Arc<str>,
    /// Shared connections, as many as configured.
    pub(crate) links: Vec<LinkId>,
    /// Redis: as many again that speak RESP3, made when the first client that does has come.
    pub(crate) links_resp3: Vec<LinkId>,
    /// Redis: connections of clients in a session, and those that wait for the next one.
    pub(crate) sessions: Vec<LinkId>,
    /// Why the last connection was lost.
    pub(crate) last_failure: Failure,
    /// Connections for large values, made when needed.
    pub(crate) lanes: Vec<LinkId>,
    /// Large requests that wait for a lane.
    pub(crate) lane_queue: VecDeque<LaneRequest>,
    /// Failures since the last reply.
    pub(crate) failures: u32,
    pub(crate) is_down: bool,
    /// Whether its pool takes failing backends out of the ring.
    pub(crate) may_leave: bool,
    /// What all workers know of its failures.
    pub(crate) health: Arc<Health>,
    /// No configuration names it any more: it goes when nothing is owed on it.
    pub(crate) is_retired: bool,
    pub(crate) block: Arc<Block>,
}

/// What must stay equal for a backend to be the same after a reload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Identity {
    pub pool: String,
    pub name: String,
    /// Which of several backends of the pool with the same name, counted from 0.
    pub occurrence: usize,
    pub address: Option<Address>,
    pub link: config::Link,
}

/// A large request that waits for a lane.
#[derive(Debug)]
pub(crate) struct LaneRequest {
    pub exchange: ExchangeId,
    pub wire: Vec<u8>,
    pub since: Nanos,
}

/// Most large requests of one worker that wait for a lane to one backend; more are refused.
pub(crate) const LANE_QUEUE_MAX: usize = 128;

impl Backend {
    pub(crate) fn new(identity: Identity, block: Arc<Block>, health: Arc<Health>) -> Backend {
        let label = format!("{}/{}", identity.pool, identity.name).into();
        block.backend.up.set(1);
        Backend {
            identity,
            label,
            links: Vec::new(),
            links_resp3: Vec::new(),
            sessions: Vec::new(),
            last_failure: Failure::Refused,
            lanes: Vec::new(),
            lane_queue: VecDeque::new(),
            failures: 0,
            is_down: false,
            may_leave: false,
            health,
            is_retired: false,
            block,
        }
    }

    /// All its connections.
    pub(crate) fn all_links(&self) -> impl Iterator<Item = LinkId> + use<'_> {
        let shared = self.links.iter().chain(&self.links_resp3);
        shared.chain(&self.lanes).chain(&self.sessions).copied()
    }

    /// How its connections are to be made and kept.
    #[inline]
    pub(crate) fn link(&self) -> &config::Link {
        &self.identity.link
    }

    /// How long to wait before the next try, after so many failures in a row. The first try comes
    /// at once: most connections are lost to a restart that is already over. `random` spreads the
    /// tries of many workers and proxies over half to all of the pause.
    pub(crate) fn pause_before_retry(&self, random: u32) -> Nanos {
        if self.failures <= 1 {
            return 0;
        }
        let link = self.link();
        let doublings = (self.failures - 2).min(20);
        let pause = link.retry.saturating_mul(1 << doublings).min(link.retry_max);
        let nanos = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX).max(1_000_000);
        let half = nanos / 2;
        half + ((u128::from(half) * u128::from(random)) >> 32) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn backend_that_failed(failures: u32) -> Backend {
        let link = config::Link {
            retry: Duration::from_millis(100),
            retry_max: Duration::from_secs(2),
            ..config::Link::default()
        };
        let identity =
            Identity { pool: "p".into(), name: "b".into(), occurrence: 0, address: None, link };
        Backend { failures, ..Backend::new(identity, Arc::default(), Arc::default()) }
    }

    #[test]
    fn pauses_double_up_to_the_limit_and_keep_half_their_length_at_least() {
        assert_eq!(backend_that_failed(1).pause_before_retry(u32::MAX), 0);
        assert_eq!(backend_that_failed(2).pause_before_retry(0), 50_000_000);
        let fourth = backend_that_failed(4);
        assert_eq!(fourth.pause_before_retry(0), 200_000_000);
        assert!(fourth.pause_before_retry(u32::MAX) <= 400_000_000);
        assert_eq!(backend_that_failed(1000).pause_before_retry(0), 1_000_000_000);
    }
}
