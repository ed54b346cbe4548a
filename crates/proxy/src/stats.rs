//! Counters and latency histograms: one writer each (the worker), any number of readers.
//!
//! A worker adds with a relaxed load and store, which compile to plain moves; nobody else writes,
//! so nothing is lost. Readers (the admin server, `stats`) sum over workers whenever they like.
//! Blocks are registered by name once and live as long as the process, so totals survive a reload.

use crate::config::CommandClass;
use crate::health::Clinic;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// A number with a single writer. Counts up, or is set as a gauge.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning worker may call this.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Subtracts `n`: for gauges. Only the owning worker may call this.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Sets a gauge. Only the owning worker may call this.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// Reads the value, from any thread.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Number of buckets of a [`Histogram`]: four for each power of two from 1 µs to 67 s.
pub const BUCKETS: usize = 104;

/// Latencies in log-linear buckets: each is at most a quarter wider than the one before.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum_us: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            buckets: [const { Counter(AtomicU64::new(0)) }; BUCKETS],
            sum_us: Counter::default(),
        }
    }
}

impl Histogram {
    /// Counts one latency, in microseconds. More than 67 s counts as 67 s.
    #[inline]
    pub fn record(&self, us: u64) {
        self.buckets[bucket(us)].add(1);
        self.sum_us.add(us);
    }

    /// Adds this histogram to `total`.
    pub fn add_to(&self, total: &mut HistogramTotal) {
        for (sum, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.get();
        }
        total.sum_us += self.sum_us.get();
    }
}

/// A histogram summed over workers, for readers.
#[derive(Clone, Debug)]
pub struct HistogramTotal {
    /// Counts by bucket; see [`bucket_limit_us`].
    pub buckets: [u64; BUCKETS],
    /// Sum of all latencies in microseconds.
    pub sum_us: u64,
}

impl Default for HistogramTotal {
    fn default() -> Self {
        HistogramTotal { buckets: [0; BUCKETS], sum_us: 0 }
    }
}

impl HistogramTotal {
    /// How many latencies were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds another total to this one.
    pub fn merge(&mut self, other: &HistogramTotal) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += bucket;
        }
        self.sum_us += other.sum_us;
    }

    /// The upper limit in microseconds of the bucket that holds the given share (0 to 1) of all
    /// latencies; 0 when nothing was counted.
    pub fn quantile_us(&self, share: f64) -> u64 {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return bucket_limit_us(index);
            }
        }
        0
    }
}

/// The bucket that a latency belongs to.
#[inline]
fn bucket(us: u64) -> usize {
    if us < 4 {
        return us as usize;
    }
    let exponent = 63 - us.leading_zeros() as usize;
    let quarter = (us >> (exponent - 2)) as usize & 3;
    ((exponent - 1) * 4 + quarter).min(BUCKETS - 1)
}

/// The latency in microseconds that a bucket ends before.
pub fn bucket_limit_us(index: usize) -> u64 {
    if index < 4 {
        return index as u64 + 1;
    }
    let (exponent, quarter) = (index / 4 + 1, index as u64 % 4);
    (quarter + 5) << (exponent - 2)
}

/// What one class of commands did in one place.
#[derive(Debug, Default)]
pub struct ClassCounters {
    /// Exchanges completed.
    pub requests: Counter,
    /// Exchanges that ended in an error line or a failure.
    pub errors: Counter,
    /// Retrievals that brought a value.
    pub hits: Counter,
    /// Retrievals that did not.
    pub misses: Counter,
    /// Bytes of requests.
    pub request_bytes: Counter,
    /// Bytes of replies.
    pub reply_bytes: Counter,
    /// Time from reading the request to having its reply.
    pub latency: Histogram,
}

/// State and troubles of one backend as one worker sees it.
#[derive(Debug, Default)]
pub struct BackendCounters {
    /// Gauge: connections that are validated and in use.
    pub connections: Counter,
    /// Gauge: requests whose reply is owed.
    pub owed: Counter,
    /// Gauge: 1 when requests are accepted, 0 while they fail at once.
    pub up: Counter,
    /// Gauge: 1 while the backend is out of its pool's ring.
    pub ejected: Counter,
    /// Connections that could not be made or validated.
    pub connect_failures: Counter,
    /// Connections closed because no reply came in time.
    pub timeouts: Counter,
    /// Connections closed by the backend or the network.
    pub disconnects: Counter,
    /// Connections closed because a reply did not match what was asked: at the first doubt.
    pub desyncs: Counter,
    /// Requests refused because too much was queued.
    pub overloads: Counter,
    /// Large values fetched or stored on a connection of their own.
    pub large_lanes: Counter,
    /// Connections begun, those that were never established included.
    pub connects: Counter,
    /// Gauge: sockets towards the backend, connecting or connected.
    pub sockets: Counter,
    /// Requests handed to the backend, the parts of split ones each; what the proxy asks on its
    /// own behalf (AUTH, SELECT, HELLO, probes) does not count.
    pub requests: Counter,
    /// Bytes of those requests.
    pub request_bytes: Counter,
    /// Gauge: bytes of the requests in `owed`.
    pub owed_bytes: Counter,
    /// Gauge: requests of `owed` that wait for a connection to be ready.
    pub waiting: Counter,
    /// Gauge: bytes of those requests.
    pub waiting_bytes: Counter,
    /// Connections that the backend closed in good order, idle or not.
    pub ended_eof: Counter,
    /// Connections that ended by an error other than a time-out: refused, reset, not resolved,
    /// replies that make no sense.
    pub ended_error: Counter,
    /// Connections given up because they or a reply on them took too long.
    pub ended_timeout: Counter,
    /// Gauge: when this worker last ejected the backend, on the engine's clock; 0 is never.
    pub ejected_at: Counter,
}

/// Clients of one listener as one worker sees them.
#[derive(Debug, Default)]
pub struct ListenerCounters {
    /// Gauge: clients connected now.
    pub clients: Counter,
    /// Clients that left in good order: end of input, or a command that says so.
    pub ended_eof: Counter,
    /// Clients that ended by an error: input that makes no sense, a reset, a request that could
    /// not be put together.
    pub ended_error: Counter,
    /// Error replies made by the proxy because a request could not be forwarded or answered.
    pub forward_errors: Counter,
}

/// A pool as one worker sees it.
#[derive(Debug, Default)]
pub struct PoolCounters {
    /// Ejections of its backends by this worker, repeated ones included.
    pub ejections: Counter,
}

/// Everything counted in one place by one worker.
#[derive(Debug, Default)]
pub struct Block {
    /// By command class.
    pub classes: [ClassCounters; CommandClass::COUNT],
    /// Used by backends only.
    pub backend: BackendCounters,
    /// Used by listeners only.
    pub listener: ListenerCounters,
    /// Used by pools only.
    pub pool: PoolCounters,
}

/// What a block of counters is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Requests of one listener that one route answered.
    Front {
        /// Name of the listener; empty for the legs of policies.
        listener: String,
        /// Name of the route.
        route: String,
    },
    /// Requests that one pool sent to one backend.
    Backend {
        /// Name of the pool.
        pool: String,
        /// Name of the backend.
        backend: String,
    },
    /// Clients of one listener, whatever routes answer them.
    Listener {
        /// Name of the listener.
        listener: String,
    },
    /// One pool as a whole.
    Pool {
        /// Name of the pool.
        pool: String,
    },
}

macro_rules! worker_counters {
    ($($(#[doc = $help:literal])+ $kind:ident $name:ident,)+) => {
        /// What one worker did as a whole.
        #[derive(Debug, Default)]
        pub struct WorkerCounters {
            $($(#[doc = $help])+ pub $name: Counter,)+
        }

        impl WorkerCounters {
            /// Name, kind (`counter` or `gauge`), help text and counter of each.
            pub fn table(&self) -> Vec<(&'static str, &'static str, &'static str, &Counter)> {
                vec![$((stringify!($name), stringify!($kind), concat!($($help),+), &self.$name),)+]
            }
        }
    };
}

worker_counters! {
    /// Passes of the event loop.
    counter turns,
    /// Clients accepted.
    counter clients_accepted,
    /// Clients connected now.
    gauge clients,
    /// Requests whose reply is still owed.
    gauge exchanges,
    /// Requests that the protocol does not allow.
    counter malformed,
    /// Clients closed because they held more bytes than allowed.
    counter clients_over_limit,
    /// Clients closed because they were silent too long.
    counter clients_idle_closed,
    /// Times a client was not read for a while because of its unread replies.
    counter client_pauses,
    /// Failovers to another leg.
    counter failovers,
    /// Failovers that the budget refused.
    counter failovers_refused,
    /// Waits of the engine for events; told about once a second, as all of the engine's.
    counter engine_polls,
    /// Receives that brought bytes.
    counter engine_receives,
    /// Bytes received from clients and backends.
    counter engine_received_bytes,
    /// Sends that took bytes.
    counter engine_sends,
    /// Bytes sent to clients and backends.
    counter engine_sent_bytes,
    /// Sends that the kernel took only in part.
    counter engine_short_sends,
    /// Events that the log could not take.
    counter events_dropped,
    /// Number of the configuration that this worker runs.
    gauge generation,
}

/// All counters of the process, by worker and scope.
#[derive(Debug)]
pub struct Registry {
    workers: Vec<Arc<WorkerCounters>>,
    inner: Mutex<Inner>,
    clinic: Clinic,
}

#[derive(Debug, Default)]
struct Inner {
    scopes: Vec<Scope>,
    /// By scope, then by worker.
    blocks: Vec<Vec<Arc<Block>>>,
}

/// The counters of one scope, one block for each worker.
#[derive(Clone, Debug)]
pub struct Scoped {
    /// What they are about.
    pub scope: Scope,
    /// One for each worker.
    pub blocks: Vec<Arc<Block>>,
}

impl Scoped {
    /// Sum of one counter over all workers.
    pub fn sum<'a>(&'a self, pick: impl Fn(&'a Block) -> &'a Counter) -> u64 {
        self.blocks.iter().map(|block| pick(block).get()).fold(0, u64::wrapping_add)
    }

    /// When any worker last ejected this backend, on the engine's clock; 0 is never.
    pub fn ejected_at(&self) -> u64 {
        self.blocks.iter().map(|block| block.backend.ejected_at.get()).max().unwrap_or(0)
    }
}

impl Registry {
    /// Counters for so many workers.
    pub fn new(workers: usize) -> Arc<Registry> {
        let workers = (0..workers).map(|_| Arc::default()).collect();
        Arc::new(Registry { workers, inner: Mutex::default(), clinic: Clinic::default() })
    }

    /// What all workers together know of the servers' failures.
    pub fn clinic(&self) -> &Clinic {
        &self.clinic
    }

    /// The counters of one worker.
    ///
    /// # Panics
    /// When there is no such worker.
    pub fn worker(&self, index: usize) -> &Arc<WorkerCounters> {
        &self.workers[index]
    }

    /// The counters of all workers.
    pub fn workers(&self) -> &[Arc<WorkerCounters>] {
        &self.workers
    }

    /// The block that `worker` writes for `scope`; made at the first call. Not for the hot path.
    pub fn block(&self, worker: usize, scope: &Scope) -> Arc<Block> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match inner.scopes.iter().position(|known| known == scope) {
            Some(slot) => slot,
            None => {
                inner.scopes.push(scope.clone());
                let blocks = self.workers.iter().map(|_| Arc::default()).collect();
                inner.blocks.push(blocks);
                inner.scopes.len() - 1
            }
        };
        inner.blocks[slot][worker].clone()
    }

    /// All scopes with their blocks, in the order they were first used.
    pub fn scopes(&self) -> Vec<Scoped> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = inner.scopes.iter().zip(&inner.blocks);
        pairs
            .map(|(scope, blocks)| Scoped { scope: scope.clone(), blocks: blocks.clone() })
            .collect()
    }

    /// Sum of one worker counter over all workers.
    pub fn total(&self, pick: impl Fn(&WorkerCounters) -> &Counter) -> u64 {
        self.workers.iter().map(|worker| pick(worker).get()).fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_lies_below_the_limit_of_its_bucket_and_not_below_the_one_before() {
        for us in (0..5000).chain([1 << 20, (1 << 26) - 1, 1 << 26, 90_000_000]) {
            let index = bucket(us);
            assert!(index < BUCKETS);
            if index + 1 < BUCKETS {
                assert!(us < bucket_limit_us(index), "{us} in bucket {index}");
            }
            if index > 0 {
                assert!(us >= bucket_limit_us(index - 1), "{us} in bucket {index}");
            }
        }
    }

    #[test]
    fn quantiles_name_the_bucket_that_holds_them() {
        let histogram = Histogram::default();
        for us in 1..=100 {
            histogram.record(us);
        }
        let mut total = HistogramTotal::default();
        histogram.add_to(&mut total);
        assert_eq!(total.count(), 100);
        assert_eq!(total.sum_us, 5050);
        assert_eq!(total.quantile_us(0.5), 56);
        assert_eq!(total.quantile_us(1.0), 112);
    }

    #[test]
    fn a_scope_keeps_its_block_across_registrations() {
        let registry = Registry::new(2);
        let scope = Scope::Backend { pool: "p".into(), backend: "b".into() };
        registry.block(0, &scope).backend.timeouts.add(3);
        registry.block(1, &scope).backend.timeouts.add(4);
        registry.block(0, &scope).backend.timeouts.add(1);
        let sums: Vec<u64> =
            registry.scopes()[0].blocks.iter().map(|b| b.backend.timeouts.get()).collect();
        assert_eq!(sums, [4, 4]);
    }
}
