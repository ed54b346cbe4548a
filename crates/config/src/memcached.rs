//! memcached's command line: argv and `-o` words become a configuration on the embedded store.
//!
//! [`parse`] mirrors `getopt_long` and the messages and exit codes of memcached 1.6.45. What
//! concerns the process (daemonizing, users, files) is returned as [`ProcessOptions`] for the
//! binary to carry out. Tuning words that have no meaning for our store are checked and kept in
//! `Settings`, so that `stats settings` repeats them. What is not there yet is refused by name,
//! with the way out.

mod flag;
mod getopt;
mod interface;
mod number;
mod suboption;
mod usage;
mod users;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use keyway_proxy::config::{Config, ListenerId};
use keyway_proxy::local::Settings;

use flag::Arguments;
pub use users::{UsersError, users_from};

/// What to do after reading the command line.
#[derive(Debug)]
pub enum Outcome {
    /// Serve.
    Run(Box<Run>),
    /// Print this to standard output and exit with this status.
    Print {
        /// The text, with its line ends.
        text: String,
        /// Exit status.
        exit: u8,
    },
    /// Print this and exit with this status.
    Fail {
        /// Where memcached writes it.
        stream: Stream,
        /// The text, with its line ends.
        text: String,
        /// Exit status.
        exit: u8,
    },
}

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A command line that asks for serving.
#[derive(Debug)]
pub struct Run {
    /// What the data plane runs.
    pub config: Config,
    /// What the process does before and around it.
    pub process: ProcessOptions,
    /// What `stats settings` shows.
    pub settings: Settings,
}

/// What the binary does around serving, in the order of memcached's start-up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessOptions {
    /// Lines for standard error before anything else happens; each has its line end.
    pub warnings: String,
    /// `-r`: raise the core file limit.
    pub core_dumps: bool,
    /// `-u USER`: whom to become when started as root.
    pub user: Option<String>,
    /// `-d`: go to the background.
    pub daemonize: bool,
    /// `-k`: lock all memory; failure is a warning.
    pub lock_memory: bool,
    /// `-L`: large pages are wished for. The kernel gives them where it is set to; there is nothing
    /// to be done.
    pub large_pages: bool,
    /// `-Y FILE`: users of the text protocol, read at start and on HUP; see [`users_from`]. All
    /// listeners of the configuration get them.
    pub auth_file: Option<PathBuf>,
    /// `-P FILE`: where to write the process id.
    pub pid_file: Option<PathBuf>,
    /// Number of `-v`.
    pub verbosity: u32,
    /// `-D`: collect statistics by key prefix from the start (`stats detail on`).
    pub stats_detail: bool,
    /// `-o drop_privileges`: give up what is not needed once listening.
    pub drop_privileges: bool,
    /// `-s PATH`, for `failed to listen on UNIX socket: PATH`.
    pub unix_socket: Option<PathBuf>,
    /// The `-l` list as accumulated, for `failed to listen on one of interface(s) LIST`.
    pub interfaces: Option<String>,
    /// `-p` (or `-U` without `-p`), for `failed to listen on TCP port N`. -1: the kernel chooses.
    pub tcp_port: i32,
    /// `-U`, for `failed to listen on UDP port N`. Zero: no UDP.
    pub udp_port: i32,
    /// Listeners that stand for one place, such as the IPv4 and IPv6 address of `*`. Of each group
    /// one must come up; for the others, an address in use or an address family that this machine
    /// does not have is no failure.
    pub listen_groups: Vec<Vec<ListenerId>>,
}

/// Finds the addresses of a host name.
pub type Resolver<'r> = &'r dyn Fn(&str) -> io::Result<Vec<SocketAddr>>;

/// Reads a command line. `args` is what follows the program's name, `program` is that name as
/// `getopt` messages show it. Host names of `-l` are looked up, which may take as long as the
/// system's resolver does.
pub fn parse(program: &str, args: impl IntoIterator<Item = OsString>) -> Outcome {
    parse_with(program, args, &system_resolver)
}

/// As [`parse`], with host names looked up by `resolver` (its ports are ignored).
pub fn parse_with(
    program: &str,
    args: impl IntoIterator<Item = OsString>,
    resolver: Resolver<'_>,
) -> Outcome {
    let args: Vec<Vec<u8>> = args.into_iter().map(OsString::into_vec).collect();
    let mut arguments = Arguments::default();
    let outcome = arguments.read(program, &args).and_then(|()| arguments.check()).and_then(|()| {
        let warnings = arguments.warnings.clone();
        arguments.into_run(resolver).map_err(|stop| stop.after(&warnings))
    });
    match outcome {
        Ok(run) => Outcome::Run(Box::new(run)),
        Err(stop) => stop.into_outcome(),
    }
}

fn system_resolver(host: &str) -> io::Result<Vec<SocketAddr>> {
    use std::net::ToSocketAddrs;
    Ok((host, 0).to_socket_addrs()?.collect())
}

/// Why reading ends without serving.
#[derive(Debug, PartialEq, Eq)]
struct Stop {
    stream: Stream,
    text: String,
    exit: u8,
}

impl Stop {
    /// A message on standard error, as one line.
    fn new(exit: u8, message: impl Into<String>) -> Stop {
        let mut text = message.into();
        text.push('\n');
        Stop { stream: Stream::Stderr, text, exit }
    }

    /// With what memcached would have printed before.
    fn after(mut self, warnings: &str) -> Stop {
        if self.stream == Stream::Stderr {
            self.text.insert_str(0, warnings);
        }
        self
    }

    fn into_outcome(self) -> Outcome {
        if self.stream == Stream::Stdout && self.exit == 0 {
            return Outcome::Print { text: self.text, exit: 0 };
        }
        Outcome::Fail { stream: self.stream, text: self.text, exit: self.exit }
    }
}

/// Ordinary failure.
const EXIT_FAILURE: u8 = 1;
/// `EX_USAGE` of sysexits.
const EX_USAGE: u8 = 64;
/// `EX_OSERR` of sysexits.
const EX_OSERR: u8 = 71;

#[cfg(test)]
mod tests;
