//! `/api/v1/stats`: the counters of `/metrics` as JSON, with quantiles instead of buckets.
//!
//! Sums over workers are made here, at each request. Only names that end in a unit have one other
//! than "times": `_bytes`, `_us`, `_s`.

use keyway_proxy::config::CommandClass;
use keyway_proxy::stats::{BackendCounters, Block, Counter, HistogramTotal, Scope, Scoped};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::control::status::Status;
use crate::metrics::Process;

/// All counters. Durations are in microseconds, sizes in bytes.
pub fn all(status: &Status) -> Value {
    let view = status.view();
    let scopes = status.registry.scopes();
    let fronts = scopes.iter().filter_map(|scoped| match &scoped.scope {
        Scope::Front { listener, route } => Some(json!({
            "listener": listener,
            "route": route,
            "commands": commands(scoped),
        })),
        _ => None,
    });
    let backends = scopes.iter().filter_map(|scoped| match &scoped.scope {
        Scope::Backend { pool, backend } => Some(json!({
            "pool": pool,
            "backend": backend,
            "links": backend_counters(status, scoped),
            "commands": commands(scoped),
        })),
        _ => None,
    });
    let listeners = scopes.iter().filter_map(|scoped| match &scoped.scope {
        Scope::Listener { listener } => Some(listener_counters(listener, scoped)),
        _ => None,
    });
    let pools = scopes.iter().filter_map(|scoped| match &scoped.scope {
        Scope::Pool { pool } => Some(json!({
            "pool": pool,
            "ejections": scoped.sum(|block| &block.pool.ejections),
        })),
        _ => None,
    });
    let process = Process::read();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "phase": view.phase.name(),
        "uptime_s": status.uptime().as_secs(),
        "generation": view.generation,
        "reloads": {
            "accepted": view.reloads.accepted,
            "refused": view.reloads.refused,
            "last_refusal": view.reloads.last_refusal,
        },
        "names_failing": view.names_failing,
        "engines": view.engines,
        "workers": workers(status),
        "fronts": fronts.collect::<Vec<_>>(),
        "backends": backends.collect::<Vec<_>>(),
        "listeners": listeners.collect::<Vec<_>>(),
        "pools": pools.collect::<Vec<_>>(),
        "store": store(status),
        "clients": clients(status),
        "process": {
            "cpu_s": process.cpu_seconds(),
            "resident_bytes": process.resident_bytes,
            "virtual_bytes": process.virtual_bytes,
            "threads": process.threads,
            "open_files": process.open_files,
            "open_files_max": process.open_files_max,
        },
    })
}

fn store(status: &Status) -> Value {
    let stats = status.store.stats();
    json!({
        "items": stats.items,
        "item_bytes": stats.item_bytes,
        "memory_bytes": stats.memory_bytes,
        "memory_bytes_max": stats.memory_bytes_max,
        "items_stored": stats.items_stored,
        "evictions": stats.evictions,
        "evicted_unfetched": stats.evicted_unfetched,
        "expired_unfetched": stats.expired_unfetched,
        "reclaimed": stats.reclaimed,
        "out_of_memory": stats.out_of_memory,
    })
}

fn clients(status: &Status) -> Value {
    let (pauses, paused) = status.gate.pauses();
    json!({
        "connected": status.registry.total(|worker| &worker.clients),
        "limit": status.gate.clients_max.load(Relaxed),
        "rejected": status.gate.rejected.load(Relaxed),
        "accept_pauses": pauses,
        "accept_paused_us": u64::try_from(paused.as_micros()).unwrap_or(u64::MAX),
    })
}

fn workers(status: &Status) -> Vec<Value> {
    let table = |counters: &Arc<keyway_proxy::stats::WorkerCounters>| {
        let pairs = counters.table().into_iter();
        let pairs = pairs.map(|(name, _, _, counter)| (name.to_string(), counter.get().into()));
        Value::Object(pairs.collect())
    };
    status.registry.workers().iter().map(table).collect()
}

fn commands(scoped: &Scoped) -> Value {
    let mut map = Map::new();
    for class in CommandClass::ALL {
        let sum = |pick: fn(&Block, usize) -> &Counter| {
            let values = scoped.blocks.iter().map(|block| pick(block, class as usize).get());
            values.fold(0u64, u64::wrapping_add)
        };
        let requests = sum(|block, class| &block.classes[class].requests);
        if requests == 0 {
            continue;
        }
        let mut latency = HistogramTotal::default();
        for block in &scoped.blocks {
            block.classes[class as usize].latency.add_to(&mut latency);
        }
        let value = json!({
            "requests": requests,
            "errors": sum(|block, class| &block.classes[class].errors),
            "hits": sum(|block, class| &block.classes[class].hits),
            "misses": sum(|block, class| &block.classes[class].misses),
            "request_bytes": sum(|block, class| &block.classes[class].request_bytes),
            "reply_bytes": sum(|block, class| &block.classes[class].reply_bytes),
            "latency_us": {
                "mean": latency.sum_us / latency.count().max(1),
                "p50": latency.quantile_us(0.50),
                "p90": latency.quantile_us(0.90),
                "p99": latency.quantile_us(0.99),
                "p999": latency.quantile_us(0.999),
            },
        });
        map.insert(class.name().to_string(), value);
    }
    Value::Object(map)
}

fn listener_counters(listener: &str, scoped: &Scoped) -> Value {
    json!({
        "listener": listener,
        "clients": scoped.sum(|block| &block.listener.clients),
        "ended_eof": scoped.sum(|block| &block.listener.ended_eof),
        "ended_error": scoped.sum(|block| &block.listener.ended_error),
        "forward_errors": scoped.sum(|block| &block.listener.forward_errors),
    })
}

fn backend_counters(status: &Status, scoped: &Scoped) -> Value {
    let sum = |pick: fn(&BackendCounters) -> &Counter| scoped.sum(|block| pick(&block.backend));
    json!({
        "connections": sum(|backend| &backend.connections),
        "owed": sum(|backend| &backend.owed),
        "owed_bytes": sum(|backend| &backend.owed_bytes),
        "waiting": sum(|backend| &backend.waiting),
        "waiting_bytes": sum(|backend| &backend.waiting_bytes),
        "up": sum(|backend| &backend.up),
        "ejected": sum(|backend| &backend.ejected),
        "ejected_at_us": status.unix_us(scoped.ejected_at()),
        "forwarded": sum(|backend| &backend.requests),
        "forwarded_bytes": sum(|backend| &backend.request_bytes),
        "connects": sum(|backend| &backend.connects),
        "sockets": sum(|backend| &backend.sockets),
        "connect_failures": sum(|backend| &backend.connect_failures),
        "timeouts": sum(|backend| &backend.timeouts),
        "disconnects": sum(|backend| &backend.disconnects),
        "desyncs": sum(|backend| &backend.desyncs),
        "ended_eof": sum(|backend| &backend.ended_eof),
        "ended_error": sum(|backend| &backend.ended_error),
        "ended_timeout": sum(|backend| &backend.ended_timeout),
        "overloads": sum(|backend| &backend.overloads),
        "large_lanes": sum(|backend| &backend.large_lanes),
    })
}
