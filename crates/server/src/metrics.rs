//! `/metrics`: everything that is counted, in the OpenMetrics text format.
//!
//! The format is `prometheus-client`'s; the numbers are ours, read from the workers' counters at each
//! scrape by a collector. [`FAMILIES`] lists every family; docs/operations.md repeats it, by test.

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
