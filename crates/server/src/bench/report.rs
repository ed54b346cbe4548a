//! What a run found, for people and as JSON.

use std::fmt;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::tally::{OpTally, Tally};
use super::{Args, Protocol, STATUS_FINE, STATUS_INCOMPLETE, STATUS_WRONG};

/// The counts of a run together with the options it ran under.
#[derive(Debug)]
pub struct Report {
    args: Args,
    tally: Tally,
}

const NAMES: [&str; 2] = ["get", "set"];
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

impl Report {
    /// Of `tally`, the sum over all threads.
    pub fn new(args: &Args, tally: Tally) -> Report {
        Report { args: args.clone(), tally }
    }

    /// The exit status: wrong replies weigh most.
    pub fn status(&self) -> u8 {
        let tally = &self.tally;
        if tally.wrong > 0 {
            STATUS_WRONG
        } else if tally.errors() + tally.lost + tally.timed_out + tally.disconnects > 0 {
            STATUS_INCOMPLETE
        } else {
            STATUS_FINE
        }
    }

    /// One JSON object; times in microseconds.
    pub fn json(&self) -> Value {
        let (args, tally) = (&self.args, &self.tally);
        let mut ops = serde_json::Map::new();
        for (name, op) in NAMES.iter().zip(&tally.ops) {
            ops.insert((*name).into(), self.op_json(op));
        }
        json!({
            "protocol": protocol_name(args.protocol),
            "address": args.address,
            "engine": tally.engine,
            "threads": args.threads,
            "connections": args.connections,
            "depth": args.depth,
            "get_ratio": args.get_ratio,
            "multiget": args.multiget,
            "value_size": args.value_size,
            "keys": args.keys,
            "key_distribution": key_distribution_name(args),
            "rate": args.rate,
            "seed": args.seed,
            "seconds": self.seconds(),
            "requests": self.requests(),
            "requests_per_second": self.rate(self.requests()),
            "ops": ops,
            "latency_us": latency_json(&self.all()),
            "wrong": tally.wrong,
            "errors": tally.errors(),
            "lost": tally.lost,
            "timed_out": tally.timed_out,
            "disconnects": tally.disconnects,
            "unsent": tally.unsent,
            "filled": tally.filled,
            "sent_bytes": tally.sent_bytes,
            "received_bytes": tally.received_bytes,
            "complaints": tally.complaints,
        })
    }

    fn op_json(&self, op: &OpTally) -> Value {
        json!({
            "requests": op.requests,
            "requests_per_second": self.rate(op.requests),
            "hits": op.hits,
            "misses": op.misses,
            "errors": op.errors,
            "latency_us": latency_json(&op.latency),
        })
    }

    fn seconds(&self) -> f64 {
        self.tally.nanos as f64 / 1e9
    }

    fn rate(&self, count: u64) -> f64 {
        if self.tally.nanos == 0 { 0.0 } else { count as f64 / self.seconds() }
    }

    fn requests(&self) -> u64 {
        self.tally.ops.iter().map(|op| op.requests).sum()
    }

    fn all(&self) -> Histogram<u64> {
        let mut all = self.tally.ops[0].latency.clone();
        all.add(&self.tally.ops[1].latency).expect("all histograms have the same bounds");
        all
    }

    fn write_row(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        count: u64,
        latency: &Histogram<u64>,
    ) -> fmt::Result {
        write!(f, "{name:<6}{count:>12}{:>12.0}", self.rate(count))?;
        write!(f, "{:>10.1}", latency.mean() / 1e3)?;
        for (_, quantile) in QUANTILES {
            write!(f, "{:>10.1}", latency.value_at_quantile(quantile) as f64 / 1e3)?;
        }
        writeln!(f, "{:>10.1}", latency.max() as f64 / 1e3)
    }

    fn write_trouble(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        let counts = [
            (tally.errors(), "errors"),
            (tally.lost, "requests lost with their connection"),
            (tally.timed_out, "requests timed out"),
            (tally.disconnects, "connections lost or given up"),
            (tally.unsent, "requests due but never sent, for want of a free connection"),
            (tally.wrong, "WRONG replies"),
        ];
        for (count, words) in counts.iter().filter(|(count, _)| *count > 0) {
            writeln!(f, "{count} {words}")?;
        }
        for complaint in &tally.complaints {
            writeln!(f, "  {complaint}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (args, tally) = (&self.args, &self.tally);
        writeln!(
            f,
            "{}, {} connections of depth {}, threads: {}, values of {} bytes, {} keys ({}), {}",
            protocol_name(args.protocol),
            args.connections,
            args.depth,
            args.threads,
            args.value_size,
            args.keys,
            key_distribution_name(args),
            tally.engine,
        )?;
        if let Some(refusal) = &tally.refusal {
            writeln!(f, "{refusal}")?;
        }
        write!(f, "{:<6}{:>12}{:>12}{:>10}", "", "requests", "per second", "mean us")?;
        for (name, _) in QUANTILES {
            write!(f, "{name:>10}")?;
        }
        writeln!(f, "{:>10}", "max us")?;
        for (name, op) in NAMES.iter().zip(&tally.ops).filter(|(_, op)| op.requests > 0) {
            self.write_row(f, name, op.requests, &op.latency)?;
        }
        self.write_row(f, "all", self.requests(), &self.all())?;
        let get = &tally.ops[0];
        writeln!(
            f,
            "{} hits, {} misses; sent {:.2} MB/s, received {:.2} MB/s; {:.3} s",
            get.hits,
            get.misses,
            self.rate(tally.sent_bytes) / 1e6,
            self.rate(tally.received_bytes) / 1e6,
            self.seconds(),
        )?;
        self.write_trouble(f)
    }
}

fn latency_json(latency: &Histogram<u64>) -> Value {
    let mut all = serde_json::Map::new();
    all.insert("mean".into(), json!(latency.mean() / 1e3));
    for (name, quantile) in QUANTILES {
        let value = latency.value_at_quantile(quantile) as f64 / 1e3;
        all.insert(name.into(), json!(value));
    }
    all.insert("max".into(), json!(latency.max() as f64 / 1e3));
    Value::Object(all)
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Memcached => "memcached",
        Protocol::Meta => "meta",
        Protocol::Redis => "redis",
    }
}

fn key_distribution_name(args: &Args) -> String {
    match args.key_distribution {
        super::KeyDistribution::Uniform => "uniform".into(),
        super::KeyDistribution::Zipf(exponent) => format!("zipf:{exponent}"),
    }
}
