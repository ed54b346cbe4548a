//! The routes of one configuration with the backends of one worker behind them.
//!
//! Built between turns and swapped as a whole. Backends are matched by identity, so their
//! connections survive a reload; those that no configuration names any more finish what they owe.

use crate::backend::{Backend, BackendId, Identity};
use crate::config::{self, RouteId};
use crate::events::Event as Report;
use crate::link::{Link, Phase};
use crate::pool::Placement;
use crate::route::Table;
use crate::setup::Generation;
use crate::stats::Scope;
use crate::worker::Worker;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

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
            let placement = RefCell::new(self.placement(pool, &backends));
            pools.push(Pool { config: pool.clone(), backends, placement });
        }
        let names = config.routes.iter().map(|route| route.name.clone()).collect();
        let budgets = config.routes.iter().map(|_| Cell::new(None)).collect();
        Routes { table: Table::new(config), pools, names, budgets }
    }

    fn placement(&self, pool: &config::Pool, backends: &[BackendId]) -> Placement {
        Placement::new(pool, |index| {
            self.backends
                .get(backends[index])
                .is_some_and(|backend| backend.ejected_until.is_none())
        })
    }

    /// Makes a backend and starts its connections.
    fn open_backend(&mut self, identity: Identity) -> BackendId {
        let scope = Scope::Backend { pool: identity.pool.clone(), backend: identity.name.clone() };
        let block = self.registry.block(self.index, &scope);
        let connections = identity.link.connections.max(1);
        let id = self.backends.insert(Backend::new(identity, block));
        for _ in 0..connections {
            let link = self.links.insert(Link::new(id, Phase::Idle, false));
            self.backend(id).links.push(link);
            self.connect(link);
        }
        id
    }

    /// Lets go of backends that no routes in use name: idle ones at once, the others when their
    /// last reply has come. Policies and the clients of removed listeners keep the routes they
    /// began with.
    pub(crate) fn retire_backends(&mut self) {
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

    /// Closes a retired backend once nothing is owed on it.
    pub(crate) fn close_if_retired(&mut self, id: BackendId) {
        let Some(backend) = self.backends.get(id) else { return };
        let mut links = backend.links.iter().chain(&backend.lanes);
        let links_idle = links.all(|link| {
            let link = self.links.get(*link);
            link.is_none_or(|link| link.pending.is_empty() && link.tenant.is_none())
        });
        if !backend.is_retired || !links_idle || !backend.lane_queue.is_empty() {
            return;
        }
        if let Some(backend) = self.backends.remove(id) {
            backend.block.backend.up.set(0);
            backend.block.backend.connections.set(0);
            for link in backend.links.into_iter().chain(backend.lanes) {
                if let Some(conn) = self.links.remove(link).and_then(|link| link.conn) {
                    self.engine.close(conn);
                }
            }
        }
    }

    /// Takes a failing backend out of the rings it is in, if its pool is configured so.
    pub(crate) fn eject(&mut self, id: BackendId) {
        let routes = self.routes.clone();
        let Some(pool) = routes.pools.iter().find(|pool| pool.backends.contains(&id)) else {
            return;
        };
        let Some(ejection) = pool.config.ejection else { return };
        let until = self.now + ejection.retry.as_nanos() as u64;
        let backend = self.backend(id);
        if backend.ejected_until.replace(until).is_some() {
            return;
        }
        backend.block.backend.ejected.set(1);
        let label = backend.label.clone();
        pool.placement.replace(self.placement(&pool.config, &pool.backends));
        self.expire_by(until);
        self.report(Report::Ejected { backend: label });
    }

    /// Puts ejected backends back whose time is over and that answer again; a backend that does not
    /// answer stays out, since its validation is the heartbeat.
    pub(crate) fn return_ejected(&mut self) {
        let routes = self.routes.clone();
        for pool in routes.pools.iter().filter(|pool| pool.config.ejection.is_some()) {
            for id in &pool.backends {
                let now = self.now;
                let backend = self.backend(*id);
                match backend.ejected_until {
                    Some(until) if until <= now && !backend.is_down => {}
                    _ => continue,
                }
                backend.ejected_until = None;
                backend.block.backend.ejected.set(0);
                let label = backend.label.clone();
                pool.placement.replace(self.placement(&pool.config, &pool.backends));
                self.report(Report::Returned { backend: label });
            }
        }
    }
}
