//! What one thread counted, and the sum over threads.

use hdrhistogram::Histogram;

use super::reply::Op;

/// Counts of one kind of request.
#[derive(Clone, Debug)]
pub struct OpTally {
    /// Requests with a complete reply.
    pub requests: u64,
    /// Keys found.
    pub hits: u64,
    /// Keys not found.
    pub misses: u64,
    /// Requests answered with an error.
    pub errors: u64,
    /// Latency in nanoseconds.
    pub latency: Histogram<u64>,
}

/// All counts of a run. Apart from `filled`, what failed is counted also outside the measurement.
#[derive(Clone, Debug)]
pub struct Tally {
    /// By [`Op`].
    pub ops: [OpTally; 2],
    /// Wrong keys, opaques, values, and lines that answer nothing.
    pub wrong: u64,
    /// Errors of requests outside the measurement.
    pub other_errors: u64,
    /// Requests whose connection was lost before their reply.
    pub lost: u64,
    /// Requests given up after the time limit.
    pub timed_out: u64,
    /// Connections that were lost or given up.
    pub disconnects: u64,
    /// Requests due during the measurement and never sent, because none of the connections was
    /// free.
    pub unsent: u64,
    /// Keys written before the load.
    pub filled: u64,
    /// Requests answered during the warm-up.
    pub warm: u64,
    /// Bytes sent during the measurement.
    pub sent_bytes: u64,
    /// Bytes received during the measurement.
    pub received_bytes: u64,
    /// Length of the measurement in nanoseconds, to the last reply.
    pub nanos: u64,
    /// Errors and wrong replies in words; the first few.
    pub complaints: Vec<String>,
    /// Which kernel interface was used.
    pub engine: &'static str,
    /// Why the one asked for was not used.
    pub refusal: Option<String>,
}

/// Most complaints that are kept.
const COMPLAINTS_MAX: usize = 5;

impl Tally {
    /// Nothing counted.
    pub fn new() -> Tally {
        let op = || OpTally {
            requests: 0,
            hits: 0,
            misses: 0,
            errors: 0,
            latency: Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, 3)
                .expect("the bounds of the histogram are fixed and valid"),
        };
        Tally {
            ops: [op(), op()],
            wrong: 0,
            other_errors: 0,
            lost: 0,
            timed_out: 0,
            disconnects: 0,
            unsent: 0,
            filled: 0,
            warm: 0,
            sent_bytes: 0,
            received_bytes: 0,
            nanos: 0,
            complaints: Vec::new(),
            engine: "",
            refusal: None,
        }
    }

    /// Counts for one kind of request.
    pub fn op(&mut self, op: Op) -> &mut OpTally {
        &mut self.ops[op as usize]
    }

    /// Keeps a description, if it is new and few were kept so far.
    pub fn complain(&mut self, words: String) {
        if self.complaints.len() < COMPLAINTS_MAX && !self.complaints.contains(&words) {
            self.complaints.push(words);
        }
    }

    /// Errors inside and outside the measurement.
    pub fn errors(&self) -> u64 {
        self.other_errors + self.ops.iter().map(|op| op.errors).sum::<u64>()
    }

    /// Adds another thread's counts.
    pub fn add(&mut self, other: &Tally) {
        for (op, more) in self.ops.iter_mut().zip(&other.ops) {
            op.requests += more.requests;
            op.hits += more.hits;
            op.misses += more.misses;
            op.errors += more.errors;
            op.latency.add(&more.latency).expect("all histograms have the same bounds");
        }
        self.wrong += other.wrong;
        self.other_errors += other.other_errors;
        self.lost += other.lost;
        self.timed_out += other.timed_out;
        self.disconnects += other.disconnects;
        self.unsent += other.unsent;
        self.filled += other.filled;
        self.warm += other.warm;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.nanos = self.nanos.max(other.nanos);
        other.complaints.iter().for_each(|words| self.complain(words.clone()));
        self.engine = other.engine;
        self.refusal = self.refusal.take().or_else(|| other.refusal.clone());
    }
}

/// Longer latencies count as this: ten minutes.
const LATENCY_NANOS_MAX: u64 = 600_000_000_000;
