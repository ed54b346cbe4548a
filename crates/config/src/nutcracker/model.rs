//! From a file to the model: one listener, route and pool for each pool of the file.
//!
//! Pools and servers are put in nutcracker's order, which modula, random and the statistics count
//! by. What nutcracker does without being told (connections on demand, one clock for each request,
//! failures that close) is said here; how much of it is kept depends on [`Compat`].

use std::time::Duration;

use keyway_proxy::config::{
    Allow, Backend, Compat, Config, Distribution, Ejection, EngineChoice, Hash, KeyPart, Limits,
    Link, LinkProtocol, Listener, Pool, Protocol, RedisLogin, Route, RouteKind, User,
};

use super::Options;
use super::file::{self, File};

/// The configuration that a file means.
pub(super) fn config(file: &File, options: Options<'_>) -> Config {
    let mut pools: Vec<&file::Pool> = file.pools.iter().collect();
    pools.sort_by(|a, b| file::order(&a.name, &b.name));
    let compat = options.compat;
    Config {
        workers: options.workers,
        engine: EngineChoice::Auto,
        admin: None,
        listeners: pools
            .iter()
            .enumerate()
            .map(|(route, pool)| listener(pool, route, compat))
            .collect(),
        pools: pools.iter().map(|pool| self::pool(pool, compat)).collect(),
        routes: pools
            .iter()
            .enumerate()
            .map(|(id, pool)| Route { name: pool.name.clone(), kind: RouteKind::Pool(id) })
            .collect(),
        store: None,
        limits: limits(),
        drain_timeout: Duration::from_secs(10),
    }
}

/// nutcracker has no limits but memory and descriptors. Ours are far above what its users have.
fn limits() -> Limits {
    Limits {
        clients_max: 1_000_000,
        client_bytes_max: 1 << 30,
        backend_bytes_max: 1 << 30,
        worker_bytes_max: 4 << 30,
        ..Limits::default()
    }
}

fn listener(pool: &file::Pool, route: usize, compat: Compat) -> Listener {
    let listen = pool.listen.as_ref().expect("a file that was accepted has `listen` in each pool");
    let password = pool.redis_auth.iter();
    Listener {
        name: pool.name.clone(),
        bind: listen.bind.clone(),
        protocol: if pool.is_redis() { Protocol::Redis } else { Protocol::Memcached },
        tag: String::new(),
        route,
        backlog: pool.backlog.unwrap_or(BACKLOG),
        allow: Allow::default(),
        users: password
            .map(|password| User { name: "default".to_owned(), password: password.clone() })
            .collect(),
        requests_per_turn_max: 20,
        compat,
        keepalive: pool.tcpkeepalive.unwrap_or(false),
    }
}

fn pool(pool: &file::Pool, compat: Compat) -> Pool {
    let mut servers: Vec<&file::Server> = pool.servers.iter().collect();
    servers.sort_by(|a, b| file::order(&a.name, &b.name));
    let link = link(pool, compat);
    Pool {
        name: pool.name.clone(),
        backends: servers.into_iter().map(backend).collect(),
        distribution: pool.distribution.unwrap_or(Distribution::Ketama),
        hash: pool.hash.unwrap_or(Hash::Fnv1a64),
        key_part: match pool.hash_tag {
            Some([open, close]) => KeyPart::Tag { open, close, empty_counts: false },
            None => KeyPart::Whole,
        },
        hash_seed: 0,
        ejection: ejection(pool, compat),
        link,
    }
}

pub(super) fn backend(server: &file::Server) -> Backend {
    Backend {
        name: server.name.clone(),
        host: server.host.clone(),
        port: server.port,
        weight: server.weight,
        address: server.address.clone(),
    }
}

fn link(pool: &file::Pool, compat: Compat) -> Link {
    let timeout = Duration::from_millis(u64::from(pool.timeout_ms.unwrap_or(0)));
    Link {
        protocol: match pool.is_redis() {
            true => LinkProtocol::Redis(login(pool, compat)),
            false => LinkProtocol::Memcached,
        },
        on_demand: true,
        preconnect: pool.preconnect.unwrap_or(false),
        handshake: false,
        timeout_each: true,
        refusals_fail: pool.is_redis() && compat != Compat::Native,
        connections: pool.server_connections.unwrap_or(1) as usize,
        // `server_connections` is a promise to the server; values of any size share them.
        large_lanes_max: 0,
        connect_timeout: timeout,
        read_timeout: timeout,
        failure_limit: failure_limit(pool),
        depth_max: DEPTH_MAX,
        keepalive: pool.tcpkeepalive.unwrap_or(false),
        ..Link::default()
    }
}

fn login(pool: &file::Pool, compat: Compat) -> RedisLogin {
    RedisLogin {
        user: None,
        password: pool.redis_auth.clone(),
        database: pool.redis_db.unwrap_or(0),
        // nutcracker's order leaves data in database 0 where there is a password.
        select_first: compat == Compat::Strict,
        refusal_is_ignored: true,
    }
}

fn ejection(pool: &file::Pool, compat: Compat) -> Option<Ejection> {
    if pool.auto_eject_hosts != Some(true) {
        return None;
    }
    let retry_ms = pool.server_retry_timeout_ms.unwrap_or(RETRY_TIMEOUT_MS);
    let retry = Duration::from_millis(u64::from(retry_ms));
    let is_native = compat == Compat::Native;
    Some(Ejection {
        retry,
        failure_limit: failure_limit(pool),
        heartbeat: is_native,
        counts_idle_close: !is_native,
    })
}

fn failure_limit(pool: &file::Pool) -> u32 {
    pool.server_failure_limit.unwrap_or(FAILURE_LIMIT).clamp(1, FAILURE_LIMIT_MAX)
}

/// nutcracker's `backlog`.
const BACKLOG: u32 = 512;
/// nutcracker's `server_retry_timeout`.
const RETRY_TIMEOUT_MS: u32 = 30_000;
/// nutcracker's `server_failure_limit`.
const FAILURE_LIMIT: u32 = 2;
/// Nobody waits for more.
const FAILURE_LIMIT_MAX: u32 = 1_000_000;
/// nutcracker queues without a limit; bytes are limited anyway.
const DEPTH_MAX: usize = 10_000_000;
