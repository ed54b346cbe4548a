//! nutcracker's command line: `getopt_long` as GNU does it, nutcracker's messages and statuses.
//!
//! Mistakes end reading at once, so they go before `-h`, `-V`, `-D`, and those before `-t`. Our own
//! options, `--workers` and `--compat`, must be written in full, so that no abbreviation of one of
//! nutcracker's becomes ambiguous. Everything is written to standard error.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use keyway_proxy::config::Compat;

use super::VERSION;
use super::value;

/// What to do after reading the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Start, or test the file.
    Run(Box<Arguments>),
    /// Write this to standard error and exit with this status.
    Print {
        /// The text, with its line ends. Not all of it need be text: bytes of options are repeated.
        text: Vec<u8>,
        /// Exit status: 0 or 1.
        exit: u8,
    },
}

/// A command line without mistakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// `-t`: test the file and exit.
    pub test_conf: bool,
    /// `-d`: go to the background.
    pub daemonize: bool,
    /// `-v`: level of the log, 0 to 11.
    pub verbosity: u32,
    /// `-o`: the log; `None` is standard error.
    pub output: Option<PathBuf>,
    /// `-c`: the configuration file; `None` is [`CONF_FILES`], the first that exists.
    pub conf_file: Option<PathBuf>,
    /// `-s`: port of the statistics, at least 1.
    pub stats_port: u16,
    /// `-i`: period of the statistics in milliseconds; 0 is allowed.
    pub stats_interval_ms: u32,
    /// `-a`: address of the statistics; a name or an address.
    pub stats_addr: OsString,
    /// `-p`: where to write the process id.
    pub pid_file: Option<PathBuf>,
    /// `-m`: size of a chunk in bytes, 512 to 16777216.
    pub mbuf_bytes: u32,
    /// `--workers`: worker threads, at least 1.
    pub workers: Option<usize>,
    /// `--compat`: how closely nutcracker is kept to.
    pub compat: Option<Compat>,
}

impl Default for Arguments {
    fn default() -> Self {
        Arguments {
            test_conf: false,
            daemonize: false,
            verbosity: 5,
            output: None,
            conf_file: None,
            stats_port: 22222,
            stats_interval_ms: 30_000,
            stats_addr: "0.0.0.0".into(),
            pid_file: None,
            mbuf_bytes: 16_384,
            workers: None,
            compat: None,
        }
    }
}

/// Where the configuration is without `-c`: upstream's place, and that of Debian's package.
pub const CONF_FILES: [&str; 2] = ["conf/nutcracker.yml", "/etc/nutcracker/nutcracker.yml"];

/// Reads a command line; `args` is what follows the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Outcome {
    let args: Vec<Vec<u8>> = args.into_iter().map(OsString::into_vec).collect();
    let mut reading = Reading::default();
    let mut getopt = Getopt { args: &args, next: 0, cluster: b"" };
    while let Some(option) = getopt.next() {
        let taken = match option {
            Ok((flag, value)) => reading.take(flag, value),
            Err(Unknown { optopt }) => Err(refusal(optopt)),
        };
        if let Err(message) = taken {
            let mut text = b"nutcracker: ".to_vec();
            text.extend(message);
            text.push(b'\n');
            text.extend(usage().into_bytes());
            return Outcome::Print { text, exit: 1 };
        }
    }
    reading.finish()
}

/// The word of a compat level, as `--compat` and KEYWAY_COMPAT take it.
pub fn compat_from(text: &str) -> Option<Compat> {
    match text {
        "native" => Some(Compat::Native),
        "nutcracker" => Some(Compat::Nutcracker),
        "strict" => Some(Compat::Strict),
        _ => None,
    }
}

/// A number of workers, as `--workers` and KEYWAY_WORKERS take it: 1 to 1024.
pub fn workers_from(text: &str) -> Option<usize> {
    let (workers, _) = value::number(text)?;
    (1..=1024).contains(&workers).then_some(workers as usize)
}

/// The lines that `-V` prints.
pub fn version_text() -> String {
    format!("This is nutcracker-{VERSION}\nasync event backend: epoll\n\n")
}

#[derive(Default)]
struct Reading {
    arguments: Arguments,
    help: bool,
    version: bool,
    describe: bool,
}

type Message = Vec<u8>;

impl Reading {
    fn take(&mut self, flag: u8, value: &[u8]) -> Result<(), Message> {
        let into = &mut self.arguments;
        let path = || PathBuf::from(OsString::from_vec(value.to_vec()));
        match flag {
            b'h' => self.help = true,
            b'V' => self.version = true,
            b'D' => self.describe = true,
            b't' => into.test_conf = true,
            b'd' => into.daemonize = true,
            b'v' => into.verbosity = number(flag, value)?.min(VERBOSITY_MAX),
            b'o' => into.output = Some(path()),
            b'c' => into.conf_file = Some(path()),
            b's' => into.stats_port = stats_port(number(flag, value)?)?,
            b'i' => into.stats_interval_ms = number(flag, value)?,
            b'a' => into.stats_addr = OsString::from_vec(value.to_vec()),
            b'p' => into.pid_file = Some(path()),
            b'm' => into.mbuf_bytes = mbuf_bytes(value)?,
            WORKERS => {
                let workers = std::str::from_utf8(value).ok().and_then(workers_from);
                let message = || b"option --workers requires a number from 1 to 1024".to_vec();
                into.workers = Some(workers.ok_or_else(message)?);
            }
            COMPAT => {
                let compat = std::str::from_utf8(value).ok().and_then(compat_from);
                let message = || b"option --compat requires native, nutcracker or strict".to_vec();
                into.compat = Some(compat.ok_or_else(message)?);
            }
            other => return Err(refusal(other)),
        }
        Ok(())
    }

    fn finish(self) -> Outcome {
        if !(self.help || self.version || self.describe) {
            return Outcome::Run(Box::new(self.arguments));
        }
        let mut text = version_text();
        if self.help {
            text.push_str(&usage());
        }
        if self.describe {
            text.push_str(&describe());
        }
        Outcome::Print { text: text.into_bytes(), exit: 0 }
    }
}

fn number(flag: u8, value: &[u8]) -> Result<u32, Message> {
    let number = std::str::from_utf8(value).ok().and_then(value::number);
    match number {
        Some((number, _)) => Ok(number),
        None => Err(format!("option -{} requires a number", char::from(flag)).into_bytes()),
    }
}

fn stats_port(number: u32) -> Result<u16, Message> {
    match u16::try_from(number) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(format!("option -s value {number} is not a valid port").into_bytes()),
    }
}

fn mbuf_bytes(value: &[u8]) -> Result<u32, Message> {
    match std::str::from_utf8(value).ok().and_then(value::number) {
        None | Some((0, _)) => Err(b"option -m requires a non-zero number".to_vec()),
        Some((bytes, _)) if MBUF_BYTES.contains(&bytes) => Ok(bytes),
        Some(_) => {
            let (low, high) = (MBUF_BYTES.start(), MBUF_BYTES.end());
            Err(format!("mbuf chunk size must be between {low} and {high} bytes").into_bytes())
        }
    }
}

/// What nutcracker says about an option that `getopt_long` refused.
fn refusal(optopt: u8) -> Message {
    let shown = char::from(optopt);
    match optopt {
        b'o' | b'c' | b'p' => format!("option -{shown} requires a file name").into_bytes(),
        b'm' | b'v' | b's' | b'i' => format!("option -{shown} requires a number").into_bytes(),
        b'a' => format!("option -{shown} requires a string").into_bytes(),
        WORKERS => b"option --workers requires a number from 1 to 1024".to_vec(),
        COMPAT => b"option --compat requires native, nutcracker or strict".to_vec(),
        _ => {
            let mut message = b"invalid option -- '".to_vec();
            message.push(optopt);
            message.push(b'\'');
            message
        }
    }
}

/// An option that `getopt_long` refuses, and what it leaves in `optopt`.
struct Unknown {
    optopt: u8,
}

struct Getopt<'a> {
    args: &'a [Vec<u8>],
    next: usize,
    /// What is left of a cluster of short options.
    cluster: &'a [u8],
}

impl<'a> Getopt<'a> {
    fn next(&mut self) -> Option<Result<(u8, &'a [u8]), Unknown>> {
        if !self.cluster.is_empty() {
            return Some(self.short());
        }
        loop {
            let arg = self.args.get(self.next)?.as_slice();
            self.next += 1;
            match arg {
                b"--" => return None,
                [b'-', b'-', name @ ..] => return Some(self.long(name)),
                [b'-', flags @ ..] if !flags.is_empty() => {
                    self.cluster = flags;
                    return Some(self.short());
                }
                // Not an option: passed over, wherever it stands.
                _ => {}
            }
        }
    }

    fn short(&mut self) -> Result<(u8, &'a [u8]), Unknown> {
        let (flag, rest) = self.cluster.split_first().expect("a cluster with options left");
        self.cluster = rest;
        let Some((_, takes_value)) = SHORT.iter().find(|(known, _)| known == flag) else {
            return Err(Unknown { optopt: *flag });
        };
        if !takes_value {
            return Ok((*flag, b""));
        }
        let attached = std::mem::take(&mut self.cluster);
        self.value(*flag, (!attached.is_empty()).then_some(attached))
    }

    fn long(&mut self, arg: &'a [u8]) -> Result<(u8, &'a [u8]), Unknown> {
        let (name, attached) = match arg.iter().position(|byte| *byte == b'=') {
            Some(at) => (&arg[..at], Some(&arg[at + 1..])),
            None => (arg, None),
        };
        let exact = OWN.iter().chain(&LONG).find(|(long, _)| long.as_bytes() == name);
        let mut matches = LONG.iter().filter(|(long, _)| long.as_bytes().starts_with(name));
        let flag = match (exact, matches.next(), matches.next()) {
            (Some((_, flag)), ..) | (None, Some((_, flag)), None) => *flag,
            // Unknown or ambiguous.
            _ => return Err(Unknown { optopt: 0 }),
        };
        let takes_value = OWN.iter().any(|(_, own)| *own == flag) || SHORT.contains(&(flag, true));
        match (takes_value, attached) {
            (false, None) => Ok((flag, b"")),
            (false, Some(_)) => Err(Unknown { optopt: flag }),
            (true, attached) => self.value(flag, attached),
        }
    }

    fn value(&mut self, flag: u8, attached: Option<&'a [u8]>) -> Result<(u8, &'a [u8]), Unknown> {
        if let Some(value) = attached {
            return Ok((flag, value));
        }
        let value = self.args.get(self.next).ok_or(Unknown { optopt: flag })?;
        self.next += 1;
        Ok((flag, value))
    }
}

/// How to call it, without the version.
pub fn usage() -> String {
    let default = Arguments::default();
    let mut text = String::from(
        "Usage: nutcracker [-?hVdDt] [-v LEVEL] [-o FILE] [-c FILE] [-s PORT] [-a ADDRESS]\n\
         \u{20}                 [-i MS] [-p FILE] [-m BYTES] [--workers N] [--compat LEVEL]\n\n\
         Options:\n",
    );
    let mut option = |flags: &str, about: &str| {
        text.push_str(&format!("  {flags:<23}: {about}\n"));
    };
    option("-h, --help", "print this");
    option("-V, --version", "print the version");
    option("-t, --test-conf", "say whether the configuration file is right, and why not");
    option("-d, --daemonize", "go to the background");
    option("-D, --describe-stats", "list the counters of the stats port");
    option(
        "-v, --verbose=N",
        &format!("level of the log, 0 to 11 (default: {})", default.verbosity),
    );
    option("-o, --output=S", "log file (default: standard error)");
    let files = CONF_FILES.join(", or else ");
    option("-c, --conf-file=S", &format!("configuration file (default: {files})"));
    option(
        "-s, --stats-port=N",
        &format!("port of the statistics (default: {})", default.stats_port),
    );
    option("-a, --stats-addr=S", "address of the statistics (default: 0.0.0.0)");
    let interval = default.stats_interval_ms;
    option("-i, --stats-interval=N", &format!("accepted, without effect (default: {interval} ms)"));
    option("-p, --pid-file=S", "file for the process id (default: none)");
    let mbuf = default.mbuf_bytes;
    option("-m, --mbuf-size=N", &format!("checked, limits no memory (default: {mbuf} bytes)"));
    option("    --workers=N", "worker threads; also KEYWAY_WORKERS (default: one per processor)");
    option(
        "    --compat=S",
        "native, nutcracker or strict; also KEYWAY_COMPAT (default: nutcracker)",
    );
    text.push('\n');
    text
}

/// The counters of the stats port, in its order.
fn describe() -> String {
    let mut text = String::new();
    for (title, counters) in
        [("pool stats", &POOL_COUNTERS[..]), ("server stats", &SERVER_COUNTERS)]
    {
        text.push_str(&format!("{title}:\n"));
        for (name, about) in counters {
            text.push_str(&format!("  {name:<20}\"{about}\"\n"));
        }
        text.push('\n');
    }
    text
}

/// Counters of a pool: name and meaning, in the order of the stats port.
pub const POOL_COUNTERS: [(&str, &str); 6] = [
    ("client_eof", "client connections that the client ended"),
    ("client_err", "client connections that ended by an error"),
    ("client_connections", "client connections now"),
    ("server_ejects", "servers taken out of the ring"),
    ("forward_error", "requests that could not be forwarded"),
    ("fragments", "parts that multi-key requests were split into"),
];

/// Counters of a server: name and meaning, in the order of the stats port.
pub const SERVER_COUNTERS: [(&str, &str); 13] = [
    ("server_eof", "connections that the server ended"),
    ("server_err", "connections that ended by an error"),
    ("server_timedout", "connections that ended by a time-out"),
    ("server_connections", "connections to the server now"),
    ("server_ejected_at", "when the server was last taken out, in microseconds since 1970"),
    ("requests", "requests sent"),
    ("request_bytes", "bytes of requests sent"),
    ("responses", "replies passed on"),
    ("response_bytes", "bytes of replies passed on"),
    ("in_queue", "requests waiting to be sent now"),
    ("in_queue_bytes", "bytes of requests waiting to be sent now"),
    ("out_queue", "requests waiting for their reply now"),
    ("out_queue_bytes", "bytes of requests waiting for their reply now"),
];

/// Short options and whether they take a value.
const SHORT: [(u8, bool); 13] = [
    (b'h', false),
    (b'V', false),
    (b't', false),
    (b'd', false),
    (b'D', false),
    (b'v', true),
    (b'o', true),
    (b'c', true),
    (b's', true),
    (b'i', true),
    (b'a', true),
    (b'p', true),
    (b'm', true),
];

/// Long names of short options.
const LONG: [(&str, u8); 13] = [
    ("help", b'h'),
    ("version", b'V'),
    ("test-conf", b't'),
    ("daemonize", b'd'),
    ("describe-stats", b'D'),
    ("verbose", b'v'),
    ("output", b'o'),
    ("conf-file", b'c'),
    ("stats-port", b's'),
    ("stats-interval", b'i'),
    ("stats-addr", b'a'),
    ("pid-file", b'p'),
    ("mbuf-size", b'm'),
];

/// Our own options. Their flags cannot be typed as short options.
const OWN: [(&str, u8); 2] = [("workers", WORKERS), ("compat", COMPAT)];
const WORKERS: u8 = 1;
const COMPAT: u8 = 2;

/// Highest level of the log.
const VERBOSITY_MAX: u32 = 11;
const MBUF_BYTES: std::ops::RangeInclusive<u32> = 512..=16_777_216;
