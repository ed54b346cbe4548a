//! nutcracker, the real one or ours, running one file: for tests that hold them side by side.
//!
//! A test that states a fact about nutcracker runs against [`Program::Reference`] as well, so that
//! a
//! wrong belief about it fails as surely as a wrong answer of ours.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::client::Client;
use crate::port;
use crate::process::{Process, Scratch, find};

/// Whose nutcracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The installed nutcracker.
    Reference,
    /// Our binary in that personality, at a compatibility level.
    Ours {
        /// The binary under test.
        binary: &'static str,
        /// `nutcracker` or `strict`.
        compat: &'static str,
    },
}

impl Program {
    /// Whether it is ours.
    pub fn is_ours(self) -> bool {
        self != Program::Reference
    }

    /// The command, with nothing but what says which program it is.
    pub fn command(self) -> Command {
        match self {
            Program::Reference => Command::new(find("nutcracker")),
            Program::Ours { binary, compat } => {
                let mut command = Command::new(binary);
                command.arg("nutcracker").env("KEYWAY_COMPAT", compat).env("KEYWAY_WORKERS", "1");
                command
            }
        }
    }
}

/// A running nutcracker.
pub struct Nutcracker {
    /// The process.
    pub process: Process,
    /// The file it runs.
    pub config: PathBuf,
    /// Its statistics port.
    pub stats: SocketAddr,
    /// Its log file.
    pub log: PathBuf,
}

impl Nutcracker {
    /// Starts `program` with a file and returns when the pools at `listen` take connections.
    #[track_caller]
    pub fn start(program: Program, yaml: &str, listen: &[SocketAddr]) -> Nutcracker {
        Nutcracker::start_with(program, yaml, listen, &[])
    }

    /// The same with more arguments and variables of the environment (`NAME=value`).
    #[track_caller]
    pub fn start_with(
        program: Program,
        yaml: &str,
        listen: &[SocketAddr],
        args: &[&str],
    ) -> Nutcracker {
        let scratch = Scratch::new();
        let config = scratch.write("nutcracker.yml", yaml);
        let (log, pid) = (scratch.file("log"), scratch.file("pid"));
        let stats = port::local();
        let mut command = program.command();
        command.arg("-c").arg(&config).arg("-o").arg(&log).arg("-p").arg(&pid);
        // Counters are summed up at intervals; nobody wants to wait 30 s for one.
        command.args(["-a", "127.0.0.1", "-s", &stats.port().to_string(), "-i", "20"]);
        for arg in args {
            match arg.split_once('=').filter(|_| !arg.starts_with('-')) {
                Some((name, value)) => command.env(name, value),
                None => command.arg(arg),
            };
        }
        let mut process = Process::start_in(scratch, &mut command);
        for addr in listen {
            process.wait_for_listener(*addr);
        }
        Nutcracker { process, config, stats, log }
    }

    /// The statistics as it writes them, a line of JSON.
    pub fn stats(&self) -> String {
        let text = Client::tcp(self.stats).drain();
        String::from_utf8_lossy(&text).into_owned()
    }
    /// A counter of the statistics, by the names of its objects, such as `["pool", "server",
    /// "requests"]`.
    /// A counter of the statistics, by the names of its objects, such as
    /// `["pool", "server", "requests"]`.
    #[track_caller]
    pub fn counter(&self, path: &[&str]) -> i64 {
        let text = self.stats();
        let mut rest = text.as_str();
        for name in path {
            let quoted = format!("\"{name}\":");
            let at = rest.find(&quoted).unwrap_or_else(|| panic!("no {path:?} in {text}"));
            rest = &rest[at + quoted.len()..];
        }
        let end = rest.find([',', '}']).unwrap_or(rest.len());
        rest[..end].trim().parse().unwrap_or_else(|e| panic!("{path:?} in {text}: {e}"))
    }
}

/// One pool as YAML. `more` are further directives, one a line, without indentation.
pub fn pool(name: &str, listen: SocketAddr, more: &str, servers: &[String]) -> String {
    let mut text = format!("{name}:\n  listen: {listen}\n");
    for line in more.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str("  servers:\n");
    for line in servers {
        text.push_str(&format!("   - {line}\n"));
    }
    text
}

/// A server line of weight 1 without a name.
pub fn server(addr: SocketAddr) -> String {
    format!("{addr}:1")
}

/// A server line of weight 1 with a name.
pub fn named(addr: SocketAddr, name: &str) -> String {
    format!("{addr}:1 {name}")
}
