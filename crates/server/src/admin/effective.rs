//! `/api/v1/config`: the configuration in effect as JSON, without secrets.
//!
//! `keyway_proxy::config` knows no serialisation; this file gives its values the names that the
//! native file uses where the two agree. Passwords are never written, only that there are some.

use std::time::Duration;

use keyway_proxy::config::{
    Address, Backend, Bind, Compat, Config, Distribution, EngineChoice, KeyPart, Limits, Link,
    LinkProtocol, Listener, Pool, Protocol, Route, RouteKind,
};
use serde_json::{Value, json};

/// The whole configuration. Durations are in milliseconds, sizes in bytes.
pub fn config(config: &Config) -> Value {
    json!({
        "workers": config.workers,
        "engine": engine(config.engine),
        "admin": config.admin.map(|address| address.to_string()),
        "drain_timeout_ms": ms(config.drain_timeout),
        "listeners": config.listeners.iter().map(|it| listener(config, it)).collect::<Vec<_>>(),
        "pools": config.pools.iter().map(pool).collect::<Vec<_>>(),
        "routes": routes(config),
        "store": config.store.as_ref().map(|store| json!({
            "memory_bytes_max": store.memory_bytes_max,
            "item_bytes_max": store.item_bytes_max,
            "evict": store.evict,
            "cas": store.cas,
        })),
        "limits": limits(&config.limits),
    })
}

fn routes(config: &Config) -> Vec<Value> {
    let name = |id: usize| config.routes.get(id).map(|route| route.name.clone());
    config.routes.iter().map(|it| route(config, it, &name)).collect()
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn engine(choice: EngineChoice) -> &'static str {
    match choice {
        EngineChoice::Auto => "auto",
        EngineChoice::Epoll => "epoll",
        EngineChoice::Uring => "io_uring",
    }
}

/// An address to listen on, as logs and the API write it.
pub fn bind(bind: &Bind) -> String {
    match bind {
        Bind::Tcp(address) => address.to_string(),
        Bind::Unix { path, .. } => format!("unix:{}", path.display()),
        Bind::Udp(address) => format!("udp:{address}"),
    }
}

fn listener(config: &Config, listener: &Listener) -> Value {
    json!({
        "name": listener.name,
        "bind": bind(&listener.bind),
        "mode": match &listener.bind {
            Bind::Unix { mode, .. } => Some(format!("{mode:04o}")),
            Bind::Tcp(_) | Bind::Udp(_) => None,
        },
        "protocol": match listener.protocol {
            Protocol::Memcached => "memcached",
            Protocol::MemcachedText => "memcached-text",
            Protocol::MemcachedBinary => "memcached-binary",
            Protocol::Redis => "redis",
            Protocol::Auto => "auto",
        },
        "tag": listener.tag,
        "route": config.routes.get(listener.route).map(|route| &route.name),
        "backlog": listener.backlog,
        "allow": {
            "flush": listener.allow.flush,
            "shutdown": listener.allow.shutdown,
            "dump": listener.allow.dump,
            "watch": listener.allow.watch,
        },
        "users": listener.users.iter().map(|user| &user.name).collect::<Vec<_>>(),
        "requests_per_turn_max": listener.requests_per_turn_max,
        "compat": match listener.compat {
            Compat::Native => "native",
            Compat::Nutcracker => "nutcracker",
            Compat::Strict => "strict",
        },
        "keepalive": listener.keepalive,
    })
}

fn pool(pool: &Pool) -> Value {
    json!({
        "name": pool.name,
        "backends": pool.backends.iter().map(backend).collect::<Vec<_>>(),
        "distribution": match pool.distribution {
            Distribution::Ketama => json!("ketama"),
            Distribution::Modula => json!("modula"),
            Distribution::Random => json!("random"),
            Distribution::Jump => json!("jump"),
            Distribution::Ring { mode, points } => {
                json!({ "ring": format!("{mode:?}").to_lowercase(), "points": points })
            }
        },
        "hash": format!("{:?}", pool.hash).to_lowercase(),
        "hash_seed": pool.hash_seed,
        "key_part": match &pool.key_part {
            KeyPart::Whole => json!("whole"),
            KeyPart::Tag { open, close, empty_counts } => json!({
                "tag": String::from_utf8_lossy(&[*open, *close]),
                "empty_counts": empty_counts,
            }),
            KeyPart::Stop(stop) => json!({ "stop": String::from_utf8_lossy(stop) }),
        },
        "ejection_retry_ms": pool.ejection.map(|ejection| ms(ejection.retry)),
        "ejection": pool.ejection.map(|ejection| json!({
            "after": ejection.failure_limit,
            "time_ms": ms(ejection.retry),
            "heartbeat": ejection.heartbeat,
            "idle_close_counts": ejection.counts_idle_close,
        })),
        "link": link(&pool.link),
    })
}

fn backend(backend: &Backend) -> Value {
    json!({
        "name": backend.name,
        "host": backend.host,
        "port": backend.port,
        "weight": backend.weight,
        "address": backend.address.as_ref().map(|address| match address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => format!("unix:{}", path.display()),
        }),
    })
}

fn link(link: &Link) -> Value {
    json!({
        "protocol": match &link.protocol {
            LinkProtocol::Memcached => json!("memcached"),
            LinkProtocol::Redis(login) => json!({ "redis": {
                "user": login.user,
                "has_password": login.password.is_some(),
                "database": login.database,
                "select_first": login.select_first,
                "refusal_is_ignored": login.refusal_is_ignored,
            }}),
        },
        "on_demand": link.on_demand,
        "preconnect": link.preconnect,
        "handshake": link.handshake,
        "timeout_each": link.timeout_each,
        "refusals_fail": link.refusals_fail,
        "sessions_max": link.sessions_max,
        "connections": link.connections,
        "large_lanes_max": link.large_lanes_max,
        "connect_timeout_ms": ms(link.connect_timeout),
        "read_timeout_ms": ms(link.read_timeout),
        "retry_ms": ms(link.retry),
        "retry_max_ms": ms(link.retry_max),
        "failure_limit": link.failure_limit,
        "depth_max": link.depth_max,
        "keepalive": link.keepalive,
        "user_timeout_ms": ms(link.user_timeout),
        "multiget_failure_is_miss": link.multiget_failure_is_miss,
    })
}

fn route(config: &Config, route: &Route, name: &impl Fn(usize) -> Option<String>) -> Value {
    let names = |ids: &[usize]| ids.iter().map(|id| name(*id)).collect::<Vec<_>>();
    let kind = match &route.kind {
        RouteKind::Pool(pool) => json!({ "pool": config.pools.get(*pool).map(|it| &it.name) }),
        RouteKind::Store => json!("store"),
        RouteKind::Null => json!("null"),
        RouteKind::Error(text) => json!({ "error": text }),
        RouteKind::Prefix { cases, otherwise } => json!({
            "prefix": cases.iter().map(|(prefix, id)| json!({
                "prefix": String::from_utf8_lossy(prefix),
                "route": name(*id),
            })).collect::<Vec<_>>(),
            "otherwise": name(*otherwise),
        }),
        RouteKind::Command { cases, otherwise } => json!({
            "command": cases.iter().map(|(class, id)| json!({
                "command": class.name(),
                "route": name(*id),
            })).collect::<Vec<_>>(),
            "otherwise": name(*otherwise),
        }),
        RouteKind::Failover { children, on, budget_percent } => json!({
            "failover": names(children),
            "on_errors": on.errors,
            "on_misses": on.misses,
            "budget_percent": budget_percent,
        }),
        RouteKind::AllSync { children } => json!({ "all_sync": names(children) }),
        RouteKind::AllFastest { children } => json!({ "all_fastest": names(children) }),
    };
    json!({ "name": route.name, "kind": kind })
}

fn limits(limits: &Limits) -> Value {
    json!({
        "clients_max": limits.clients_max,
        "owed_max": limits.owed_max,
        "client_bytes_pause": limits.client_bytes_pause,
        "client_bytes_max": limits.client_bytes_max,
        "backend_bytes_max": limits.backend_bytes_max,
        "worker_bytes_max": limits.worker_bytes_max,
        "value_bytes_max": limits.value_bytes_max,
        "request_bytes_max": limits.request_bytes_max,
        "large_value_bytes": limits.large_value_bytes,
        "client_idle_ms": ms(limits.client_idle),
        "client_user_timeout_ms": ms(limits.client_user_timeout),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyway_proxy::config::User;

    #[test]
    fn passwords_for_servers_stay_secret() {
        let text = "[pools.a]\nservers = [\"h:1\"]\nprotocol = \"redis\"\npassword = \"lovelace\"";
        let loaded = keyway_config::load("keyway.toml", text.as_bytes()).unwrap();
        let shown = config(&loaded.config);
        assert_eq!(shown["pools"][0]["link"]["protocol"]["redis"]["has_password"], true);
        assert!(!shown.to_string().contains("lovelace"));
    }

    #[test]
    fn passwords_stay_secret() {
        let mut with_users = Config::embedded("127.0.0.1:1".parse().unwrap(), 1);
        with_users.listeners[0].users =
            vec![User { name: "ada".into(), password: "lovelace".into() }];
        let text = config(&with_users).to_string();
        assert!(text.contains("ada"));
        assert!(!text.contains("lovelace"));
    }
}
