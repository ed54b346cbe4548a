//! `/metrics`: everything that is counted, in the OpenMetrics text format.
//!
//! The format is `prometheus-client`'s; the numbers are ours, read from the workers' counters at
//! each scrape by a collector. [`FAMILIES`] lists every family; docs/operations.md repeats it, by
//! test.

mod collect;
mod process;

use std::sync::Arc;

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::control::status::Status;

pub use process::Process;

/// The content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Renders all metrics.
pub fn render(status: &Arc<Status>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collect::Collect(status.clone())));
    let mut text = String::with_capacity(32 << 10);
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => text,
        // Writing to a string does not fail; an empty exposition is still a valid one.
        Err(std::fmt::Error) => "# EOF\n".into(),
    }
}

/// A metric: its name without the suffix that its type adds, its type, and what it means.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Name; counters get `_total`, information gets `_info`.
    pub name: &'static str,
    /// Type as in OpenMetrics.
    pub kind: MetricType,
    /// One sentence without the full stop.
    pub help: &'static str,
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: MetricType::Counter, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: MetricType::Gauge, help }
}

const fn histogram(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: MetricType::Histogram, help }
}

const fn info(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: MetricType::Info, help }
}

/// Every family that `/metrics` can show, but those of single workers, which
/// `keyway_proxy::stats::WorkerCounters` lists.
pub const FAMILIES: &[Family] = &[
    counter("keyway_requests", "Requests completed, by listener, route and command class"),
    counter("keyway_request_errors", "Requests that ended in an error line or a failure"),
    counter("keyway_hits", "Retrievals that brought a value"),
    counter("keyway_misses", "Retrievals that brought nothing"),
    counter("keyway_request_bytes", "Bytes of requests"),
    counter("keyway_reply_bytes", "Bytes of replies"),
    histogram("keyway_request_duration_seconds", "Time from reading a request to having its reply"),
    counter("keyway_backend_requests", "Requests sent to a backend and completed"),
    counter("keyway_backend_request_errors", "Requests to a backend that failed"),
    counter("keyway_backend_hits", "Retrievals from a backend that brought a value"),
    counter("keyway_backend_misses", "Retrievals from a backend that brought nothing"),
    counter("keyway_backend_request_bytes", "Bytes of requests to a backend"),
    counter("keyway_backend_reply_bytes", "Bytes of replies from a backend"),
    histogram("keyway_backend_duration_seconds", "Time from a backend's request to its reply"),
    gauge("keyway_backend_connections", "Connections to a backend that are in use"),
    gauge("keyway_backend_owed", "Requests whose reply a backend owes"),
    gauge("keyway_backend_up", "Workers that send requests to the backend"),
    gauge("keyway_backend_ejected", "Workers that have taken the backend out of its ring"),
    counter("keyway_backend_connect_failures", "Connections that could not be made or validated"),
    counter("keyway_backend_timeouts", "Connections closed because no reply came in time"),
    counter("keyway_backend_disconnects", "Connections that the backend or the network closed"),
    counter("keyway_backend_desyncs", "Connections closed because a reply did not match"),
    counter("keyway_backend_overloads", "Requests refused because too much was queued"),
    counter("keyway_backend_large_lanes", "Large values moved on a connection of their own"),
    counter("keyway_backend_forwarded", "Requests handed to a backend, parts of split ones each"),
    counter("keyway_backend_forwarded_bytes", "Bytes of requests handed to a backend"),
    gauge("keyway_backend_owed_bytes", "Bytes of requests whose reply a backend owes"),
    gauge("keyway_backend_waiting", "Owed requests that wait for a connection"),
    gauge("keyway_backend_waiting_bytes", "Bytes of requests that wait for a connection"),
    counter("keyway_backend_connects", "Connections begun, those that failed included"),
    gauge("keyway_backend_sockets", "Sockets towards a backend, connecting or connected"),
    counter("keyway_backend_ended_eof", "Connections that a backend closed in good order"),
    counter("keyway_backend_ended_error", "Connections that ended by an error"),
    counter("keyway_backend_ended_timeout", "Connections given up because they took too long"),
    gauge("keyway_backend_ejected_time_seconds", "Last ejection, seconds since 1970; 0 is never"),
    gauge("keyway_listener_clients", "Clients of a listener that are connected"),
    counter("keyway_listener_ended_eof", "Clients of a listener that left in good order"),
    counter("keyway_listener_ended_error", "Clients of a listener that ended by an error"),
    counter("keyway_listener_forward_errors", "Error replies because forwarding failed"),
    counter("keyway_pool_ejections", "Ejections of a pool's backends, by any worker"),
    gauge("keyway_store_items", "Items in the embedded store"),
    gauge("keyway_store_item_bytes", "Bytes of all items: header, key and value"),
    gauge("keyway_store_memory_bytes", "Memory that the limit applies to"),
    gauge("keyway_store_memory_limit_bytes", "The limit on memory"),
    counter("keyway_store_items_stored", "Items stored"),
    counter("keyway_store_evictions", "Items that made room for others"),
    counter("keyway_store_evicted_unfetched", "Evicted items that were never fetched"),
    counter("keyway_store_expired_unfetched", "Expired or flushed items that were never fetched"),
    counter("keyway_store_reclaimed", "Items whose memory was won back after they expired"),
    counter("keyway_store_out_of_memory", "Values that found no memory"),
    counter("keyway_clients_rejected", "Clients closed because too many were connected"),
    counter("keyway_accept_pauses", "Times that accepting stopped because of the limit"),
    counter("keyway_accept_paused_seconds", "Time that accepting was stopped"),
    info("keyway_build", "Version of the running binary"),
    info("keyway_engine", "Kernel interface that a worker uses"),
    gauge("keyway_ready", "1 while clients are accepted, 0 while starting or draining"),
    gauge("keyway_generation", "Number of the configuration that was last taken over"),
    counter("keyway_reloads", "Reloads by result: accepted or refused"),
    gauge("keyway_names_failing", "Names of backends that do not resolve at the moment"),
    counter("keyway_log_lines_suppressed", "Log lines that the rate limit held back"),
    counter("keyway_admin_connections_refused", "Admin connections beyond the limit"),
    gauge("process_start_time_seconds", "Start of the process, in seconds since 1970"),
    counter("process_cpu_seconds", "Processor time of the process, user and system"),
    gauge("process_resident_memory_bytes", "Memory of the process that is in RAM"),
    gauge("process_virtual_memory_bytes", "Address space of the process"),
    gauge("process_open_fds", "Open file descriptors"),
    gauge("process_max_fds", "Limit on open file descriptors"),
    gauge("process_threads", "Threads of the process"),
];

/// The family with this name.
///
/// # Panics
/// When [`FAMILIES`] lacks it, which a test that renders everything would show.
fn family(name: &str) -> &'static Family {
    FAMILIES.iter().find(|family| family.name == name).expect("every family is in the table")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::deal::{Excess, Gate};
    use keyway_proxy::config::{CommandClass, Config};
    use keyway_proxy::stats::{self, Scope, WorkerCounters};
    use keyway_store::{Options, Store};
    use std::collections::{BTreeMap, BTreeSet};

    /// A process of two workers in which everything was counted at least once.
    fn busy() -> Arc<Status> {
        let config = Arc::new(Config::embedded("127.0.0.1:1".parse().unwrap(), 2));
        let registry = stats::Registry::new(2);
        let scopes = [
            Scope::Front { listener: "odd \"name\"\\".into(), route: "r".into() },
            Scope::Backend { pool: "p".into(), backend: "new\nline".into() },
            Scope::Listener { listener: "l".into() },
            Scope::Pool { pool: "p".into() },
        ];
        for scope in &scopes {
            for worker in 0..2 {
                let block = registry.block(worker, scope);
                for class in CommandClass::ALL {
                    block.classes[class as usize].requests.add(3);
                    block.classes[class as usize].latency.record(5);
                    block.classes[class as usize].latency.record(100_000_000);
                }
                block.backend.connections.add(1);
            }
        }
        let store = Arc::new(Store::new(Options::new(1 << 20)));
        let status = Status::new(config, registry, store, Gate::new(10, Excess::Waits));
        status.change(|view| view.engines = vec!["epoll", "epoll"]);
        status
    }

    /// One sample: its name, its labels, its value.
    type Sample = (String, BTreeMap<String, String>, f64);

    /// Reads one line of samples; a stricter reader than any scraper.
    fn sample(line: &str) -> Sample {
        let (name, mut rest) = match line.find('{') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => {
                let (name, value) = line.split_once(' ').expect("a name and a value");
                return (name.into(), BTreeMap::new(), value.parse().expect("a number"));
            }
        };
        let mut labels = BTreeMap::new();
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label");
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().expect("the value's closing quote") {
                    (at, '"') => break at,
                    (_, '\\') => match chars.next().expect("an escaped character").1 {
                        'n' => value.push('\n'),
                        other => value.push(other),
                    },
                    (_, other) => value.push(other),
                }
            };
            assert!(labels.insert(label.to_string(), value).is_none(), "{label} twice in {line}");
            rest = &after[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        let value = rest.strip_prefix("} ").expect("the end of the labels");
        (name.into(), labels, value.parse().expect("a number"))
    }

    #[test]
    fn every_family_is_described_once_and_every_sample_belongs_to_one() {
        let text = render(&busy());
        assert!(text.ends_with("# EOF\n"));
        let mut families: BTreeMap<&str, &str> = BTreeMap::new();
        let mut helped = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut current = "";
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(helped.insert(name), "HELP of {name} twice");
                assert!(help.len() > 10, "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(families.insert(name, kind).is_none(), "TYPE of {name} twice");
                assert!(helped.contains(name), "HELP comes before TYPE of {name}");
                current = name;
            } else {
                let (name, labels, value) = sample(line);
                let suffixes: &[&str] = match families[current] {
                    "counter" => &["_total"],
                    "gauge" => &[""],
                    "info" => &["_info"],
                    "histogram" => &["_bucket", "_sum", "_count"],
                    other => panic!("type {other}"),
                };
                let known = suffixes.iter().any(|suffix| format!("{current}{suffix}") == name);
                assert!(known, "{line} stands under {current}");
                assert!(value >= 0.0, "{line}");
                assert!(seen.insert((name, labels)), "{line} twice");
            }
        }
        for family in FAMILIES {
            assert!(families.contains_key(family.name), "{} is rendered", family.name);
        }
        assert_eq!(families.len(), FAMILIES.len() + WorkerCounters::default().table().len());
    }

    #[test]
    fn workers_are_summed_and_labels_survive() {
        let text = render(&busy());
        let samples: Vec<Sample> =
            text.lines().filter(|line| !line.starts_with('#')).map(sample).collect();
        let find = |name: &str, label: &str, value: &str| {
            let mut found = samples.iter().filter(|(known, labels, _)| {
                known == name
                    && labels.get(label).is_some_and(|found| found == value)
                    && labels.get("command").is_none_or(|command| command == "get")
            });
            found.next().unwrap_or_else(|| panic!("{name} with {label}={value:?}")).2
        };
        assert_eq!(find("keyway_requests_total", "listener", "odd \"name\"\\"), 6.0);
        assert_eq!(find("keyway_backend_requests_total", "backend", "new\nline"), 6.0);
        assert_eq!(find("keyway_backend_connections", "backend", "new\nline"), 2.0);
        assert_eq!(find("keyway_backend_duration_seconds_count", "pool", "p"), 4.0);
    }

    #[test]
    fn buckets_add_up_and_end_in_infinity() {
        let text = render(&busy());
        let of_get = |line: &&str| {
            line.starts_with("keyway_request_duration_seconds_bucket")
                && line.contains("command=\"get\"")
        };
        let buckets: Vec<(String, f64)> = text
            .lines()
            .filter(of_get)
            .map(sample)
            .map(|(_, labels, value)| (labels["le"].clone(), value))
            .collect();
        assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{buckets:?}");
        let at = |le: &str| buckets.iter().find(|(known, _)| known == le).unwrap().1;
        assert_eq!((at("0.000004"), at("0.000008"), at("+Inf")), (0.0, 2.0, 4.0));
        assert_eq!(buckets.last().unwrap().0, "+Inf");
        let limits: Vec<f64> = buckets.iter().map(|(le, _)| le.parse().unwrap()).collect();
        assert!(limits.windows(2).all(|pair| pair[0] < pair[1]), "{limits:?}");
    }

    #[test]
    fn the_operations_guide_names_every_metric() {
        let guide = include_str!("../../../docs/operations.md");
        let suffixed = |family: &Family| match family.kind {
            MetricType::Counter => format!("`{}_total`", family.name),
            MetricType::Info => format!("`{}_info`", family.name),
            _ => format!("`{}`", family.name),
        };
        for name in FAMILIES.iter().map(suffixed) {
            assert!(guide.contains(&name), "docs/operations.md lacks {name}");
        }
        for (name, kind, ..) in WorkerCounters::default().table() {
            let suffix = if kind == "counter" { "_total" } else { "" };
            let name = format!("`keyway_worker_{name}{suffix}`");
            assert!(guide.contains(&name), "docs/operations.md lacks {name}");
        }
    }
}
