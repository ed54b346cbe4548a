//! What all workers together know of a server's failures, so that all of them see one ring.
//!
//! Touched for a request only where a pool ejects servers. The numbers change when connections are
//! lost, not with requests: reading them costs what reading any memory costs. The algorithm is
//! twemproxy's; where it is known to hurt, `config::Ejection` has a switch.

use crate::config::Ejection;
use keyway_engine::Nanos;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Failures of one server of a pool.
#[derive(Debug, Default)]
pub struct Health {
    /// Connections lost since the last reply.
    failures: AtomicU32,
    /// Out of the ring until then, on the clock of the engines; 0 while it is in.
    out_until: AtomicU64,
    /// Changes whenever a server of the pool leaves or returns.
    epoch: Arc<AtomicU64>,
}

impl Health {
    /// Whether the server is in the ring.
    pub fn is_in(&self) -> bool {
        self.out_until.load(Relaxed) == 0
    }

    /// When a server that is out may return.
    pub fn out_until(&self) -> Option<Nanos> {
        Some(self.out_until.load(Relaxed)).filter(|until| *until != 0)
    }

    /// A reply has come: earlier failures do not count any more.
    #[inline]
    pub fn succeed(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// A connection was lost. True when the server leaves the ring now, or stays out longer.
    pub fn fail(&self, ejection: &Ejection, now: Nanos) -> bool {
        if !self.is_in() && !ejection.counts_idle_close {
            return false;
        }
        let failures = self.failures.fetch_add(1, Relaxed) + 1;
        if failures < ejection.failure_limit {
            return false;
        }
        self.failures.store(0, Relaxed);
        let retry = u64::try_from(ejection.retry.as_nanos()).unwrap_or(Nanos::MAX / 4);
        let until = now.saturating_add(retry.min(Nanos::MAX / 4)).max(1);
        self.out_until.store(until, Relaxed);
        self.epoch.fetch_add(1, Relaxed);
        true
    }

    /// Puts a server back whose time is over. True for the one caller whose call it was.
    pub fn bring_back(&self, now: Nanos) -> bool {
        let until = self.out_until.load(Relaxed);
        let is_due = until != 0 && until < now;
        if is_due && self.out_until.compare_exchange(until, 0, Relaxed, Relaxed).is_ok() {
            self.epoch.fetch_add(1, Relaxed);
            return true;
        }
        false
    }

    /// A number that changes whenever the ring of the pool does.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Relaxed)
    }
}

/// The health of all servers, by pool and name. Made once, like counters, and kept across reloads:
/// a server that is out stays out.
#[derive(Debug, Default)]
pub struct Clinic {
    pools: Mutex<Vec<PoolHealth>>,
}

#[derive(Debug)]
struct PoolHealth {
    name: String,
    epoch: Arc<AtomicU64>,
    servers: Vec<(String, usize, Arc<Health>)>,
}

impl Clinic {
    /// The health of a server: of the `occurrence`th one of that name in the pool. Not for the hot
    /// path.
    pub fn server(&self, pool: &str, name: &str, occurrence: usize) -> Arc<Health> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let at = pools.iter().position(|known| known.name == pool).unwrap_or_else(|| {
            pools.push(PoolHealth {
                name: pool.to_owned(),
                epoch: Arc::default(),
                servers: Vec::new(),
            });
            pools.len() - 1
        });
        let pool = &mut pools[at];
        let mut servers = pool.servers.iter();
        match servers.find(|(known, number, _)| known == name && *number == occurrence) {
            Some((_, _, health)) => health.clone(),
            None => {
                let health = Arc::new(Health { epoch: pool.epoch.clone(), ..Health::default() });
                pool.servers.push((name.to_owned(), occurrence, health.clone()));
                health
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ejection(failure_limit: u32, counts_idle_close: bool) -> Ejection {
        let retry = Duration::from_nanos(1000);
        Ejection { retry, failure_limit, heartbeat: false, counts_idle_close }
    }

    #[test]
    fn a_server_leaves_at_the_limit_and_returns_after_its_time() {
        let clinic = Clinic::default();
        let (a, b) = (clinic.server("p", "a", 0), clinic.server("p", "b", 0));
        let rule = ejection(2, false);
        assert!(!a.fail(&rule, 10));
        a.succeed();
        assert!(!a.fail(&rule, 20));
        assert!(a.is_in());
        assert!(a.fail(&rule, 30));
        assert!(!a.is_in());
        assert_eq!(b.epoch(), 1, "the ring of the whole pool changed");
        assert!(!a.fail(&rule, 40), "it is out already");
        assert!(!a.bring_back(1030), "not yet");
        assert!(a.bring_back(1031));
        assert!(!a.bring_back(1031), "once");
        assert_eq!((a.is_in(), b.epoch()), (true, 2));
    }

    #[test]
    fn limits_of_zero_and_one_are_the_same_and_twemproxy_prolongs() {
        for limit in [0, 1] {
            let a = Clinic::default().server("p", "a", 0);
            let rule = ejection(limit, true);
            assert!(a.fail(&rule, 10));
            assert_eq!(a.out_until(), Some(1010));
            assert!(a.fail(&rule, 500));
            assert_eq!(a.out_until(), Some(1500));
        }
    }

    #[test]
    fn the_same_name_twice_is_two_servers() {
        let clinic = Clinic::default();
        let again = clinic.server("p", "a", 0);
        assert!(Arc::ptr_eq(&again, &clinic.server("p", "a", 0)));
        assert!(!Arc::ptr_eq(&again, &clinic.server("p", "a", 1)));
        assert!(!Arc::ptr_eq(&again, &clinic.server("q", "a", 0)));
    }
}
