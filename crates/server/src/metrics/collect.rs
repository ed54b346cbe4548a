//! Reads all counters once for each scrape and hands them to the encoder, family by family.
//!
//! Names, types and help texts come from the table in `metrics`; which counter stands behind a name
//! is said here. Counters are read one by one while workers go on, so sums may be a request apart.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::UNIX_EPOCH;

use keyway_proxy::config::CommandClass;
use keyway_proxy::stats::{
    BUCKETS, BackendCounters, Block, ClassCounters, Counter, HistogramTotal, ListenerCounters,
    PoolCounters, Scope, Scoped, bucket_limit_us,
};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{Family, Process, family};
use crate::control::phase::Phase;
use crate::control::status::{Status, View};

/// Reads everything that `status` leads to.
#[derive(Debug)]
pub struct Collect(pub Arc<Status>);

/// Labels of one sample.
type Labels = Vec<(&'static str, String)>;

impl Collector for Collect {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut out = Out(encoder);
        let Sorted { fronts, backends, listeners, pools } = sorted(self.0.registry.scopes());
        out.classes(&CLASS_FAMILIES_FRONT, "keyway_request_duration_seconds", &fronts)?;
        out.classes(&CLASS_FAMILIES_BACKEND, "keyway_backend_duration_seconds", &backends)?;
        out.summed(&BACKEND_FAMILIES, &backends, |block| &block.backend)?;
        self.ejections(&mut out, &backends)?;
        out.summed(&LISTENER_FAMILIES, &listeners, |block| &block.listener)?;
        out.summed(&POOL_FAMILIES, &pools, |block| &block.pool)?;
        self.workers(&mut out)?;
        self.store(&mut out)?;
        self.clients(&mut out)?;
        self.control(&mut out, &self.0.view())?;
        process(&mut out, &self.0)
    }
}

impl Collect {
    fn workers(&self, out: &mut Out<'_>) -> fmt::Result {
        let workers = self.0.registry.workers();
        let Some(first) = workers.first() else { return Ok(()) };
        for (index, (name, kind, help, _)) in first.table().into_iter().enumerate() {
            let samples = workers.iter().enumerate().map(|(worker, counters)| {
                let labels = vec![("worker", worker.to_string())];
                (labels, counters.table()[index].3.get())
            });
            let name = format!("keyway_worker_{name}");
            let kind = if kind == "gauge" { MetricType::Gauge } else { MetricType::Counter };
            let help = help.trim().trim_end_matches('.');
            out.samples(&name, help, kind, samples)?;
        }
        Ok(())
    }

    /// Times of ejections are not summed: the last one of any worker counts.
    fn ejections(&self, out: &mut Out<'_>, backends: &[Scoped]) -> fmt::Result {
        let samples = backends.iter().map(|scoped| {
            let ejected = self.0.unix_us(scoped.ejected_at());
            (labels(&scoped.scope, None), ejected as f64 / 1e6)
        });
        out.family("keyway_backend_ejected_time_seconds", samples)
    }

    fn store(&self, out: &mut Out<'_>) -> fmt::Result {
        let stats = self.0.store.stats();
        for (name, value) in [
            ("keyway_store_items", stats.items),
            ("keyway_store_item_bytes", stats.item_bytes),
            ("keyway_store_memory_bytes", stats.memory_bytes),
            ("keyway_store_memory_limit_bytes", stats.memory_bytes_max),
            ("keyway_store_items_stored", stats.items_stored),
            ("keyway_store_evictions", stats.evictions),
            ("keyway_store_evicted_unfetched", stats.evicted_unfetched),
            ("keyway_store_expired_unfetched", stats.expired_unfetched),
            ("keyway_store_reclaimed", stats.reclaimed),
            ("keyway_store_out_of_memory", stats.out_of_memory),
        ] {
            out.one(name, value)?;
        }
        Ok(())
    }

    fn clients(&self, out: &mut Out<'_>) -> fmt::Result {
        let (pauses, paused) = self.0.gate.pauses();
        out.one("keyway_clients_rejected", self.0.gate.rejected.load(Relaxed))?;
        out.one("keyway_accept_pauses", pauses)?;
        out.one("keyway_accept_paused_seconds", paused.as_secs_f64())
    }

    fn control(&self, out: &mut Out<'_>, view: &View) -> fmt::Result {
        out.info("keyway_build", vec![vec![("version", env!("CARGO_PKG_VERSION").to_string())]])?;
        let engines = view.engines.iter().enumerate();
        let engines = engines.map(|(worker, engine)| {
            vec![("worker", worker.to_string()), ("engine", engine.to_string())]
        });
        out.info("keyway_engine", engines.collect())?;
        out.one("keyway_ready", u64::from(view.phase == Phase::Ready))?;
        out.one("keyway_generation", view.generation)?;
        let reloads = &view.reloads;
        let results = [("accepted", reloads.accepted), ("refused", reloads.refused)];
        let results = results.map(|(word, count)| (vec![("result", word.to_string())], count));
        out.family("keyway_reloads", results.into_iter())?;
        out.one("keyway_names_failing", view.names_failing)?;
        out.one("keyway_log_lines_suppressed", self.0.lines_suppressed.load(Relaxed))?;
        out.one("keyway_admin_connections_refused", self.0.admin_refused.load(Relaxed))
    }
}

fn process(out: &mut Out<'_>, status: &Status) -> fmt::Result {
    let process = Process::read();
    let started = status.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    out.one("process_start_time_seconds", started.as_secs())?;
    out.one("process_cpu_seconds", process.cpu_seconds())?;
    out.one("process_resident_memory_bytes", process.resident_bytes)?;
    out.one("process_virtual_memory_bytes", process.virtual_bytes)?;
    out.one("process_open_fds", process.open_files)?;
    out.one("process_max_fds", process.open_files_max)?;
    out.one("process_threads", process.threads)
}

/// Scopes by their kind.
#[derive(Default)]
struct Sorted {
    fronts: Vec<Scoped>,
    backends: Vec<Scoped>,
    listeners: Vec<Scoped>,
    pools: Vec<Scoped>,
}

fn sorted(scopes: Vec<Scoped>) -> Sorted {
    let mut sorted = Sorted::default();
    for scoped in scopes {
        let kind = match scoped.scope {
            Scope::Front { .. } => &mut sorted.fronts,
            Scope::Backend { .. } => &mut sorted.backends,
            Scope::Listener { .. } => &mut sorted.listeners,
            Scope::Pool { .. } => &mut sorted.pools,
        };
        kind.push(scoped);
    }
    sorted
}

type Pick<T> = fn(&T) -> &Counter;

const CLASS_FAMILIES_FRONT: [(&str, Pick<ClassCounters>); 6] = [
    ("keyway_requests", |class| &class.requests),
    ("keyway_request_errors", |class| &class.errors),
    ("keyway_hits", |class| &class.hits),
    ("keyway_misses", |class| &class.misses),
    ("keyway_request_bytes", |class| &class.request_bytes),
    ("keyway_reply_bytes", |class| &class.reply_bytes),
];

const CLASS_FAMILIES_BACKEND: [(&str, Pick<ClassCounters>); 6] = [
    ("keyway_backend_requests", |class| &class.requests),
    ("keyway_backend_request_errors", |class| &class.errors),
    ("keyway_backend_hits", |class| &class.hits),
    ("keyway_backend_misses", |class| &class.misses),
    ("keyway_backend_request_bytes", |class| &class.request_bytes),
    ("keyway_backend_reply_bytes", |class| &class.reply_bytes),
];

const BACKEND_FAMILIES: [(&str, Pick<BackendCounters>); 20] = [
    ("keyway_backend_connections", |backend| &backend.connections),
    ("keyway_backend_owed", |backend| &backend.owed),
    ("keyway_backend_up", |backend| &backend.up),
    ("keyway_backend_ejected", |backend| &backend.ejected),
    ("keyway_backend_connect_failures", |backend| &backend.connect_failures),
    ("keyway_backend_timeouts", |backend| &backend.timeouts),
    ("keyway_backend_disconnects", |backend| &backend.disconnects),
    ("keyway_backend_desyncs", |backend| &backend.desyncs),
    ("keyway_backend_overloads", |backend| &backend.overloads),
    ("keyway_backend_large_lanes", |backend| &backend.large_lanes),
    ("keyway_backend_forwarded", |backend| &backend.requests),
    ("keyway_backend_forwarded_bytes", |backend| &backend.request_bytes),
    ("keyway_backend_owed_bytes", |backend| &backend.owed_bytes),
    ("keyway_backend_waiting", |backend| &backend.waiting),
    ("keyway_backend_waiting_bytes", |backend| &backend.waiting_bytes),
    ("keyway_backend_connects", |backend| &backend.connects),
    ("keyway_backend_sockets", |backend| &backend.sockets),
    ("keyway_backend_ended_eof", |backend| &backend.ended_eof),
    ("keyway_backend_ended_error", |backend| &backend.ended_error),
    ("keyway_backend_ended_timeout", |backend| &backend.ended_timeout),
];

const LISTENER_FAMILIES: [(&str, Pick<ListenerCounters>); 4] = [
    ("keyway_listener_clients", |listener| &listener.clients),
    ("keyway_listener_ended_eof", |listener| &listener.ended_eof),
    ("keyway_listener_ended_error", |listener| &listener.ended_error),
    ("keyway_listener_forward_errors", |listener| &listener.forward_errors),
];

const POOL_FAMILIES: [(&str, Pick<PoolCounters>); 1] =
    [("keyway_pool_ejections", |pool| &pool.ejections)];

/// The encoder with what we say to it.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn classes(
        &mut self,
        families: &[(&'static str, Pick<ClassCounters>)],
        duration: &str,
        scopes: &[Scoped],
    ) -> fmt::Result {
        // A class that was never used in a place would only make the text longer.
        let mut used = Vec::new();
        for scoped in scopes {
            for class in CommandClass::ALL {
                let counters = |block: &Arc<Block>| block.classes[class as usize].requests.get();
                if scoped.blocks.iter().map(counters).any(|requests| requests > 0) {
                    used.push((scoped, class));
                }
            }
        }
        for (name, pick) in families {
            let samples = used.iter().map(|(scoped, class)| {
                let blocks = scoped.blocks.iter();
                let values = blocks.map(|block| pick(&block.classes[*class as usize]).get());
                (labels(&scoped.scope, Some(*class)), values.fold(0, u64::wrapping_add))
            });
            self.family(name, samples)?;
        }
        let known = family(duration);
        let mut metric = self.0.encode_descriptor(known.name, known.help, None, known.kind)?;
        for (scoped, class) in &used {
            let mut total = HistogramTotal::default();
            for block in &scoped.blocks {
                block.classes[*class as usize].latency.add_to(&mut total);
            }
            histogram(&mut metric, &labels(&scoped.scope, Some(*class)), &total)?;
        }
        Ok(())
    }

    /// Families of plain counters, summed over workers.
    fn summed<T>(
        &mut self,
        families: &[(&'static str, Pick<T>)],
        scopes: &[Scoped],
        part: fn(&Block) -> &T,
    ) -> fmt::Result {
        for (name, pick) in families {
            let samples = scopes
                .iter()
                .map(|scoped| (labels(&scoped.scope, None), scoped.sum(|it| pick(part(it)))));
            self.family(name, samples)?;
        }
        Ok(())
    }

    fn info(&mut self, name: &str, rows: Vec<Labels>) -> fmt::Result {
        let Family { name, kind, help } = *family(name);
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        rows.iter().try_for_each(|labels| metric.encode_info(labels))
    }

    fn one<N: Into<Number>>(&mut self, name: &str, value: N) -> fmt::Result {
        self.family(name, std::iter::once((Labels::new(), value)))
    }

    fn family<N: Into<Number>>(
        &mut self,
        name: &str,
        samples: impl Iterator<Item = (Labels, N)>,
    ) -> fmt::Result {
        let Family { name, kind, help } = *family(name);
        self.samples(name, help, kind, samples)
    }

    fn samples<N: Into<Number>>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl Iterator<Item = (Labels, N)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            if labels.is_empty() {
                number(&mut metric, kind, value.into())?;
            } else {
                number(&mut metric.encode_family(&labels)?, kind, value.into())?;
            }
        }
        Ok(())
    }
}

/// A value as the encoder knows it.
enum Number {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(value: u64) -> Number {
        Number::Whole(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Number {
        Number::Real(value)
    }
}

fn number(metric: &mut MetricEncoder<'_>, kind: MetricType, value: Number) -> fmt::Result {
    match (kind, value) {
        (MetricType::Counter, Number::Whole(n)) => {
            metric.encode_counter::<NoLabelSet, _, u64>(&n, None)
        }
        (MetricType::Counter, Number::Real(n)) => {
            metric.encode_counter::<NoLabelSet, _, u64>(&n, None)
        }
        (_, Number::Whole(n)) => metric.encode_gauge(&i64::try_from(n).unwrap_or(i64::MAX)),
        (_, Number::Real(n)) => metric.encode_gauge(&n),
    }
}

/// One histogram, with a bucket for each power of two: a quarter of those that are counted, which
/// is as fine as dashboards draw.
fn histogram(
    metric: &mut MetricEncoder<'_>,
    labels: &Labels,
    total: &HistogramTotal,
) -> fmt::Result {
    let mut buckets = Vec::with_capacity(BUCKETS / 4 + 1);
    let mut count = 0;
    for (index, quarter) in total.buckets.iter().enumerate() {
        count += quarter;
        if index % 4 == 3 && index + 1 < BUCKETS {
            buckets.push((bucket_limit_us(index) as f64 / 1e6, count));
            count = 0;
        }
    }
    buckets.push((f64::INFINITY, count));
    let mut metric = metric.encode_family(labels)?;
    let sum = total.sum_us as f64 / 1e6;
    metric.encode_histogram::<NoLabelSet>(sum, total.count(), &buckets, None)
}

fn labels(scope: &Scope, class: Option<CommandClass>) -> Labels {
    let mut labels = match scope {
        Scope::Front { listener, route } => {
            vec![("listener", listener.clone()), ("route", route.clone())]
        }
        Scope::Backend { pool, backend } => {
            vec![("pool", pool.clone()), ("backend", backend.clone())]
        }
        Scope::Listener { listener } => vec![("listener", listener.clone())],
        Scope::Pool { pool } => vec![("pool", pool.clone())],
    };
    if let Some(class) = class {
        labels.push(("command", class.name().to_string()));
    }
    labels
}
