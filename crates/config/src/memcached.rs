//! memcached's command line: argv and `-o` words become a configuration on the embedded store.
//!
//! [`parse`] mirrors `getopt_long` and memcached 1.6.45's messages and exit codes. What concerns the
//! process (daemonizing, users, files) is returned as [`ProcessOptions`] for the binary to carry out;
//! tuning words that have no meaning for our store are kept in [`Settings`] so that `stats settings`
//! can repeat them.

use std::path::PathBuf;

use keyway_proxy::config::Config;

/// What to do after reading the command line.
#[derive(Clone, Debug, PartialEq)]
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
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// What the data plane runs.
    pub config: Config,
    /// What the process does before and around it.
    pub process: ProcessOptions,
    /// Values that only `stats settings` shows.
    pub settings: Settings,
}

/// What the binary does around serving, in the order of memcached's start-up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessOptions {
    /// Lines for standard error before anything else happens (warnings); each with its line end.
    pub warnings: String,
    /// `-r`: raise the core file limit.
    pub core_dumps: bool,
    /// `-u USER`: whom to become when started as root.
    pub user: Option<String>,
    /// `-d`: go to the background.
    pub daemonize: bool,
    /// `-k`: lock all memory; failure is a warning.
    pub lock_memory: bool,
    /// `-L`: try large pages.
    pub large_pages: bool,
    /// `-Y FILE`: users of the text protocol, read at start and on HUP; see [`users_from`].
    pub auth_file: Option<PathBuf>,
    /// `-P FILE`: where to write the process id.
    pub pid_file: Option<PathBuf>,
    /// Number of `-v`.
    pub verbosity: u32,
    /// The `-l` list as accumulated, for `failed to listen on one of interface(s) LIST`.
    pub interfaces: Option<String>,
    /// `-p` (or `-U` without `-p`), for `failed to listen on TCP port N`. Zero: no TCP listener.
    pub tcp_port: u16,
    /// `-U`, for `failed to listen on UDP port N`. Zero: no UDP listener.
    pub udp_port: u16,
    /// `-o drop_privileges`.
    pub drop_privileges: bool,
}

/// Tuning values that memcached reports in `stats settings` and our store has no use for.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `-f`.
    pub growth_factor: f64,
    /// `-n`, bytes.
    pub chunk_size: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { growth_factor: 1.25, chunk_size: 48 }
    }
}
