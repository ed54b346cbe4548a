//! The routes of one configuration with the backends of one worker behind them.
//!
//! Built between turns and swapped as a whole. Backends are matched by identity, so their
//! connections survive a reload; those that no configuration names any more finish what they owe.

use crate::backend::{Backend, BackendId, Identity};
use crate::config::{self, RouteId};
use crate::events::Event as Report;
use crate::health::Health;
use crate::link::{Link, Phase, Role};
use crate::pool::Placement;
use crate::route::Table;
use crate::setup::Generation;
use crate::stats::Scope;
use crate::worker::Worker;
use keyway_engine::Nanos;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// The route table and the pools that it leads to.
#[derive(Debug)]
pub(crate) struct Routes {
    pub table: Table,
    /// By `PoolId`.
    pub pools: Vec<Pool>,
    names: Vec<String>,
    /// Failovers that each route may still start, in hundredths.
    budgets: Vec<Cell<Option<u32>>>,
}

/// One pool with its backends.
#[derive(Debug)]
pub(crate) struct Pool {
    pub config: config::Pool,
    /// In the order of the configuration.
    pub backends: Vec<BackendId>,
    /// Changes when a backend is ejected or returns.
    pub placement: RefCell<Placement>,
    /// What all workers know of the backends, in the same order.
    health: Vec<Arc<Health>>,
    ring: Cell<Ring>,
}

/// Which ring a placement was made for.
#[derive(Clone, Copy, Debug, Default)]
struct Ring {
    /// Epoch of the pool's health.
    epoch: u64,
    /// When the first backend that is out may be tried again; 0 with none out.
    next_return: Nanos,
    /// All are out, and requests are refused.
    is_empty: bool,
}

impl Pool {
    /// Whether the placement still fits what is known of the backends.
    #[inline]
    fn is_current(&self, now: Nanos) -> bool {
        let ring = self.ring.get();
        let epoch = self.health.first().map_or(0, |health| health.epoch());
        ring.epoch == epoch && (ring.next_return == 0 || now <= ring.next_return)
    }

    /// Makes the placement anew from the backends that are in.
    fn rebuild(&self, ejection: &config::Ejection) {
        let epoch = self.health.first().map_or(0, |health| health.epoch());
        let waits = self.health.iter().filter_map(|health| health.out_until());
        let next_return = waits.min().unwrap_or(0);
        let is_empty = self.health.iter().all(|health| !health.is_in());
        self.placement.replace(Placement::new(&self.config, |at| self.health[at].is_in()));
        // With a heartbeat it is not a request that tries first, and servers that are down refuse
        // by themselves.
        let next_return = if ejection.heartbeat { 0 } else { next_return };
        self.ring.set(Ring { epoch, next_return, is_empty: is_empty && !ejection.heartbeat });
    }
}

/// Failovers that a route may save up, in hundredths: a short outage passes whatever the budget.
const FAILOVERS_SAVED_MAX: u32 = 1000;

impl Routes {
    /// Routes that lead nowhere, to begin with.
    pub fn empty() -> Routes {
        Routes {
            table: Table::default(),
            pools: Vec::new(),
            names: Vec::new(),
            budgets: Vec::new(),
        }
    }

    /// A request has come to a failover route: it earns the configured share of a failover.
    pub fn earn_failover(&self, route: RouteId, budget_percent: Option<u8>) {
        let saved = self.budgets[route].get().unwrap_or(FAILOVERS_SAVED_MAX);
        let earned =
            budget_percent.map(|share| (saved + u32::from(share)).min(FAILOVERS_SAVED_MAX));
        self.budgets[route].set(earned);
    }

    /// Whether a failover route may try its next child.
    pub fn spend_failover(&self, route: RouteId) -> bool {
        let Some(saved) = self.budgets[route].get() else { return true };
        let left = saved.checked_sub(100);
        self.budgets[route].set(Some(left.unwrap_or(saved)));
        left.is_some()
    }

    /// The name of a route.
    pub fn name(&self, route: RouteId) -> &str {
        &self.names[route]
    }
}

impl Worker {
    /// Compiles a configuration, reusing the backends that stay and opening those that are new.
    pub(crate) fn build_routes(&mut self, generation: &Generation) -> Routes {
        let config = &generation.config;
        let mut pools = Vec::with_capacity(config.pools.len());
        let known = std::mem::take(&mut self.identities);
        for pool in &config.pools {
            let mut backends = Vec::with_capacity(pool.backends.len());
            for (position, backend) in pool.backends.iter().enumerate() {
                let same = |other: &&config::Backend| other.name == backend.name;
                let identity = Identity {
                    pool: pool.name.clone(),
                    name: backend.name.clone(),
                    occurrence: pool.backends[..position].iter().filter(same).count(),
                    address: backend.address.clone(),
                    link: pool.link.clone(),
                };
                let found = known.iter().find(|(other, _)| *other == identity).map(|(_, id)| *id);
                let id = found.unwrap_or_else(|| self.open_backend(identity.clone()));
                self.identities.push((identity, id));
                backends.push(id);
            }
            pools.push(self.pool(pool, backends));
        }
        let names = config.routes.iter().map(|route| route.name.clone()).collect();
        let budgets = config.routes.iter().map(|_| Cell::new(None)).collect();
        Routes { table: Table::new(config), pools, names, budgets }
    }

    fn pool(&mut self, config: &config::Pool, backends: Vec<BackendId>) -> Pool {
        let may_leave = config.ejection.is_some();
        let health: Vec<Arc<Health>> = backends
            .iter()
            .map(|id| {
                let backend = self.backend(*id);
                backend.may_leave = may_leave;
                backend.health.clone()
            })
            .collect();
        let placement = RefCell::new(Placement::new(config, |_| true));
        let pool =
            Pool { config: config.clone(), backends, placement, health, ring: Cell::default() };
        if let Some(ejection) = &config.ejection {
            pool.rebuild(ejection);
        }
        pool
    }

    /// The position of the backend of `pool` that has this key; `None` while all are out.
    #[inline]
    pub(crate) fn place(&mut self, pool: &Pool, key: &[u8]) -> Option<usize> {
        if let Some(ejection) = &pool.config.ejection
            && !pool.is_current(self.now)
        {
            self.refresh(pool, ejection);
        }
        if pool.ring.get().is_empty {
            return None;
        }
        Some(pool.placement.borrow().choose(key, || self.random()))
    }

    /// The ring has changed, or a backend that is out may be tried again.
    #[cold]
    fn refresh(&mut self, pool: &Pool, ejection: &config::Ejection) {
        if !ejection.heartbeat {
            for (id, health) in pool.backends.iter().zip(&pool.health) {
                if health.bring_back(self.now) {
                    self.report_return(*id);
                }
            }
        }
        pool.rebuild(ejection);
        self.channels_moved = true;
        for (id, health) in pool.backends.iter().zip(&pool.health) {
            self.backend(*id).block.backend.ejected.set(u64::from(!health.is_in()));
        }
    }

    fn report_return(&mut self, id: BackendId) {
        let label = self.backend(id).label.clone();
        self.report(Report::Returned { backend: label });
    }

    /// Makes a backend and starts its connections.
    fn open_backend(&mut self, identity: Identity) -> BackendId {
        let scope = Scope::Backend { pool: identity.pool.clone(), backend: identity.name.clone() };
        let block = self.registry.block(self.index, &scope);
        let clinic = self.registry.clinic();
        let health = clinic.server(&identity.pool, &identity.name, identity.occurrence);
        let link = &identity.link;
        let connections = link.connections.max(1);
        let at_start = match (link.on_demand, link.preconnect) {
            (false, _) => connections,
            (true, true) => 1,
            (true, false) => 0,
        };
        let id = self.backends.insert(Backend::new(identity, block, health));
        for number in 0..connections {
            let link = self.links.insert(Link::new(id, Phase::Idle, Role::Shared));
            self.backend(id).links.push(link);
            if number < at_start {
                self.connect(link);
            }
        }
        id
    }

    /// Lets go of backends that no routes in use name: idle ones at once, the others when their
    /// last reply has come. Policies and the clients of removed listeners keep the routes they
    /// began with.
    pub(crate) fn retire_backends(&mut self) {
        self.forget_listeners();
        // One reference is the list's own.
        self.old_routes.retain(|routes| Rc::strong_count(routes) > 1);
        let named = |id: &BackendId| {
            let routes = self.old_routes.iter().chain([&self.routes]);
            routes.flat_map(|routes| &routes.pools).any(|pool| pool.backends.contains(id))
        };
        let backends = self.backends.iter().filter(|(_, backend)| !backend.is_retired);
        let gone: Vec<BackendId> = backends.map(|(id, _)| id).filter(|id| !named(id)).collect();
        for id in gone {
            self.backend(id).is_retired = true;
            self.close_if_retired(id);
        }
    }

    /// Forgets listeners that are gone from the configuration and have no client left; each holds
    /// on to the routes it had.
    fn forget_listeners(&mut self) {
        let current = &self.generation.listener_keys;
        for key in 0..self.listeners.len() {
            if self.listeners[key].is_none() || current.contains(&(key as u32)) {
                continue;
            }
            if !self.clients.iter().any(|(_, client)| client.listener as usize == key) {
                self.listeners[key] = None;
            }
        }
    }

    /// Closes a retired backend once nothing is owed on it.
    pub(crate) fn close_if_retired(&mut self, id: BackendId) {
        let Some(backend) = self.backends.get(id) else { return };
        let links_idle = backend.all_links().all(|link| {
            let link = self.links.get(link);
            let is_free = |link: &Link| link.tenant.is_none() && link.client.is_none();
            link.is_none_or(|link| link.pending.is_empty() && is_free(link))
        });
        let is_idle = links_idle && backend.lane_queue.is_empty();
        if !backend.is_retired || !is_idle {
            return;
        }
        if let Some(backend) = self.backends.remove(id) {
            let counters = &backend.block.backend;
            for link in backend.all_links() {
                let Some(link) = self.links.remove(link) else { continue };
                counters.connections.sub(u64::from(link.phase == Phase::Ready));
                if let Some(conn) = link.conn {
                    counters.sockets.sub(1);
                    self.engine.close(conn);
                }
            }
            // A backend of the same name may have come in its place, and counts in the same block.
            let mut others = self.backends.iter();
            if !others.any(|(_, other)| Arc::ptr_eq(&other.block, &backend.block)) {
                counters.up.set(0);
            }
        }
    }

    /// A connection to a backend was lost: takes the backend out of its pool's ring once that has
    /// happened too often.
    pub(crate) fn count_for_ring(&mut self, id: BackendId, was_idle_close: bool) {
        if !self.backend(id).may_leave {
            return;
        }
        let routes = self.routes.clone();
        let pool = routes.pools.iter().find(|pool| pool.backends.contains(&id));
        let Some(pool) = pool else { return };
        let Some(ejection) = pool.config.ejection else { return };
        if was_idle_close && !ejection.counts_idle_close {
            return;
        }
        let now = self.now;
        let backend = self.backend(id);
        if !backend.health.fail(&ejection, now) {
            return;
        }
        backend.block.backend.ejected_at.set(now);
        let label = backend.label.clone();
        let scope = Scope::Pool { pool: pool.config.name.clone() };
        self.registry.block(self.index, &scope).pool.ejections.add(1);
        self.refresh(pool, &ejection);
        self.expire_by(now + ejection.retry.as_nanos().min(1 << 62) as u64);
        self.report(Report::Ejected { backend: label });
    }

    /// Puts ejected backends back whose time is over and that answer again: their validation is the
    /// heartbeat. Without one it is a request that tries, in `place`.
    pub(crate) fn return_ejected(&mut self) {
        let routes = self.routes.clone();
        for pool in &routes.pools {
            let Some(ejection) = pool.config.ejection.filter(|ejection| ejection.heartbeat) else {
                continue;
            };
            for (id, health) in pool.backends.iter().zip(&pool.health) {
                if !health.is_in() && !self.backend(*id).is_down && health.bring_back(self.now) {
                    self.report_return(*id);
                }
            }
            if !pool.is_current(self.now) {
                self.refresh(pool, &ejection);
            }
        }
    }
}
