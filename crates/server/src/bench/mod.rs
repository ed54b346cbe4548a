//! `keyway bench`: load for memcached and Redis servers, with latency and with proof.
//!
//! Each thread has an engine and its share of the connections. Every reply is checked against the
//! request it answers: the key if the protocol echoes one, and the value byte by byte, because a
//! value follows from its key (`content`). A proxy or server that mixes up replies is found out,
//! and the exit status says so. Latency counts from when a request was due, not from when it could
//! be sent.

mod content;
mod draw;
mod load;
mod progress;
mod reply;
mod report;
mod request;
mod tally;

use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::Barrier;
use std::time::Duration;

use clap::ValueEnum;
use keyway_engine::{Address, Choice};

use content::Content;
use draw::{KeyDistribution, Keys, ValueSize};
use load::Shared;
use progress::Progress;
use report::Report;
use tally::Tally;

/// Options of `keyway bench`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXIT_STATUS)]
pub struct Args {
    /// What the server speaks
    #[arg(short, long, value_enum, default_value_t)]
    pub protocol: Protocol,
    /// HOST:PORT, or the path of a Unix socket [default: 127.0.0.1 and the protocol's port]
    #[arg(short, long, value_name = "ADDR")]
    pub address: Option<String>,
    /// Connections, over all threads
    #[arg(short, long, value_name = "N", default_value_t = 50, value_parser = at_least_one())]
    pub connections: u32,
    /// Requests in flight on each connection
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = at_least_one())]
    pub depth: u32,
    /// Threads
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = at_least_one())]
    pub threads: u32,
    /// Share of requests that read, from 0 to 1; the others write
    #[arg(short, long, value_name = "SHARE", default_value_t = 0.9, value_parser = share)]
    pub get_ratio: f64,
    /// Keys in each request that reads
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = multiget())]
    pub multiget: u32,
    /// Bytes of a value: 100, 100-1000 (evenly), zipf:100-10k[:EXPONENT] or 100*9,10k*1 (weights)
    #[arg(short = 's', long, value_name = "SIZE", default_value = "100")]
    pub value_size: String,
    /// Different keys
    #[arg(short, long, value_name = "N", default_value_t = 10_000, value_parser = keys())]
    pub keys: u64,
    /// Which keys are popular: uniform, zipf or zipf:EXPONENT
    #[arg(long, value_name = "LAW", default_value = "uniform")]
    pub key_distribution: KeyDistribution,
    /// Requests per second over all connections, each due at its time [default: as fast as it goes]
    #[arg(short, long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    /// How long to measure, such as 500ms, 10s or 2m [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "requests")]
    pub duration: Option<Duration>,
    /// Measure this many requests, however long it takes
    #[arg(short = 'n', long, value_name = "N", value_parser = keys())]
    pub requests: Option<u64>,
    /// Load before the measurement begins
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration)]
    pub warmup: Duration,
    /// Write every key once before anything else
    #[arg(short, long)]
    pub fill: bool,
    /// Longest wait for a reply; then the connection is given up
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub timeout: Duration,
    /// Number from which all chance follows
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Kernel interface of the load generator
    #[arg(long, value_enum, default_value_t)]
    pub engine: Engine,
    /// Report as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What the server under load speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum Protocol {
    /// memcached's classic text commands: get, set.
    #[default]
    Memcached,
    /// memcached's meta commands: mg, ms, mn.
    Meta,
    /// GET, SET and MGET of Redis.
    Redis,
}

/// Kernel interface of the load generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum Engine {
    /// Let the kernel decide.
    #[default]
    Auto,
    /// Level-triggered epoll.
    Epoll,
    /// io_uring where the kernel allows it.
    #[value(name = "io_uring", alias = "io-uring", alias = "uring")]
    Uring,
}

/// Generates the load that `args` describe, reports on standard output, and says how it went.
pub fn run(args: Args) -> ExitCode {
    match measure(&args) {
        Ok(report) => {
            if args.json {
                println!("{}", report.json());
            } else {
                print!("{report}");
            }
            ExitCode::from(report.status())
        }
        Err(problem) => {
            eprintln!("keyway bench: {problem}");
            ExitCode::from(STATUS_INCOMPLETE)
        }
    }
}

fn measure(args: &Args) -> Result<Report, String> {
    let sizes: ValueSize =
        args.value_size.parse().map_err(|problem| format!("--value-size: {problem}"))?;
    if args.connections < args.threads {
        return Err("--threads: more than --connections".into());
    }
    let address = resolve(args)?;
    let shared = Arc::new(Shared {
        content: Content::new(args.seed, sizes, &args.value_size),
        keys: Keys::new(args.key_distribution, args.keys),
        progress: Progress::new(args),
        filled: Barrier::new(args.threads as usize),
        address,
        args: args.clone(),
    });
    let threads: Vec<_> = (0..args.threads)
        .map(|number| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("bench-{number}"))
                .spawn(move || load::run(&shared, number))
        })
        .collect::<Result<_, _>>()
        .map_err(|error| format!("starting a thread: {error}"))?;
    shared.progress.show(|| threads.iter().all(|thread| thread.is_finished()));
    let mut total = Tally::new();
    for thread in threads {
        let tally = thread.join().map_err(|_| "a thread of the load generator broke down")??;
        total.add(&tally);
    }
    Ok(Report::new(args, total))
}

fn resolve(args: &Args) -> Result<Address, String> {
    let default = match args.protocol {
        Protocol::Redis => "127.0.0.1:6379",
        Protocol::Memcached | Protocol::Meta => "127.0.0.1:11211",
    };
    let text = args.address.as_deref().unwrap_or(default);
    let path = text.strip_prefix("unix:").or(text.starts_with('/').then_some(text));
    if let Some(path) = path {
        return Ok(Address::Unix(PathBuf::from(path)));
    }
    let mut found = text.to_socket_addrs().map_err(|error| format!("--address {text}: {error}"))?;
    found.next().map(Address::Tcp).ok_or_else(|| format!("--address {text}: no address found"))
}

impl Args {
    /// How long the measurement takes, where it is not bounded by a number of requests.
    fn measured_time(&self) -> Duration {
        self.duration.unwrap_or(Duration::from_secs(10))
    }
}

impl From<Engine> for Choice {
    fn from(engine: Engine) -> Choice {
        match engine {
            Engine::Auto => Choice::Auto,
            Engine::Epoll => Choice::Epoll,
            Engine::Uring => Choice::Uring,
        }
    }
}

fn at_least_one() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1_000_000)
}

fn multiget() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1000)
}

fn keys() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(1..=1 << 48)
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".into())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| *rate > 0.0 && *rate <= 1e9);
    rate.ok_or_else(|| "expected a number above 0".into())
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        unit => return Err(format!("unknown unit {unit}; use ms, s, m or h")),
    };
    let seconds = digits.parse().ok().map(|number: f64| number * factor);
    let seconds = seconds.filter(|seconds| (0.0..=1e6).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected a time such as 10s".into())
}

/// All requests were answered, and rightly.
const STATUS_FINE: u8 = 0;
/// A reply had another key or value than it should.
const STATUS_WRONG: u8 = 1;
/// There were errors or lost connections, or the load could not be generated.
const STATUS_INCOMPLETE: u8 = 3;

const EXIT_STATUS: &str = "Exit status: 0 all replies were right; 1 a reply had a wrong key or \
    value, or broke the protocol; 2 wrong options; 3 errors, time-outs or lost connections.";
