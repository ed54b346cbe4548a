//! The command line of `keyway` itself; memcached's own is read by `keyway_config::memcached`.
//!
//! This file only names commands and options. Each command's work is in a module of its own:
//! `serve`, `personality`, `nutcracker`, `cli::check`, `cli::convert`, `cli::explain`, `cli::ctl`,
//! `bench`.

pub mod check;
pub mod convert;
pub mod ctl;
pub mod explain;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use keyway_proxy::config::{CommandClass, Compat, EngineChoice};

use crate::{bench, logging};

/// Keyway: a cache proxy with an embedded cache.
#[derive(Debug, Parser)]
#[command(
    name = "keyway",
    version,
    about,
    args_conflicts_with_subcommands = true,
    after_help = "Without a command: serve. Without a configuration file: the embedded store on \
                  127.0.0.1:11211 and the admin server on 127.0.0.1:9911."
)]
pub struct Cli {
    /// What to do; `serve` when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of `serve`.
    #[command(flatten)]
    pub serve: Serve,
}

/// What `keyway` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve clients (also without the word)
    Serve(Box<Serve>),
    /// Be memcached: its command line, its messages, its signals (also as argv[0])
    #[command(disable_help_flag = true)]
    Memcached {
        /// memcached's own arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Read configuration files and report every mistake with its place
    Check(Check),
    /// Turn nutcracker's configuration file into a native one
    Convert(Convert),
    /// Say where a key goes and why
    Explain(Explain),
    /// Talk to a running instance
    Ctl(Ctl),
    /// Generate load for memcached and Redis servers and measure latency
    Bench(bench::Args),
    /// Be nutcracker (twemproxy): its command line, its file, its signals (also as argv[0])
    #[command(disable_help_flag = true)]
    Nutcracker {
        /// nutcracker's own arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    #[command(hide = true, name = "momento-proxy")]
    MomentoProxy(Absent),
    #[command(hide = true)]
    Plan(Absent),
    #[command(hide = true)]
    Top(Absent),
}

/// Whatever follows a command that this version does not have.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Absent {
    /// Not looked at.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub args: Vec<OsString>,
}

/// Options of `keyway serve`. What is said here goes before what the file says.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Serve {
    /// Native configuration file (TOML); read again on SIGHUP
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Worker threads [default: one for each core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// Kernel interface of the workers; KEYWAY_ENGINE says it too [default: auto]
    #[arg(short, long, value_enum)]
    pub engine: Option<Engine>,
    /// Address of the embedded store, without --config [default: 127.0.0.1:11211]
    #[arg(short, long, value_name = "ADDR", conflicts_with = "config")]
    #[arg(value_parser = listen_address)]
    pub listen: Option<SocketAddr>,
    /// Memory of the embedded store, such as 512m or 4g; overrides the file [default: 64m]
    #[arg(short, long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
    /// Address of the admin server, or `off` [default: 127.0.0.1:9911]
    #[arg(long, value_name = "ADDR", value_parser = admin_address)]
    pub admin: Option<AdminAddress>,
    /// How log lines look
    #[arg(long, value_enum, default_value_t)]
    pub log_format: logging::Format,
    /// Least important level that is logged
    #[arg(long, value_enum, default_value_t)]
    pub log_level: logging::Level,
}

/// Where the admin server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

/// [`EngineChoice`] as words of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// What is best here; today that is epoll.
    Auto,
    /// Level-triggered epoll.
    Epoll,
    /// io_uring where the kernel allows it.
    #[value(name = "io_uring", alias = "io-uring", alias = "uring")]
    Uring,
}

impl From<Engine> for EngineChoice {
    fn from(engine: Engine) -> EngineChoice {
        match engine {
            Engine::Auto => EngineChoice::Auto,
            Engine::Epoll => EngineChoice::Epoll,
            Engine::Uring => EngineChoice::Uring,
        }
    }
}

/// Options of `keyway check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Configuration files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How findings are written
    #[arg(long, value_enum, default_value_t)]
    pub format: Output,
}

/// Options of `keyway convert`.
#[derive(Debug, clap::Args)]
pub struct Convert {
    /// Configuration file of nutcracker (YAML)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where to write; the file must not be there yet [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// How closely nutcracker's treatment of clients is kept
    #[arg(long, value_enum, default_value_t)]
    pub compat: CompatLevel,
}

/// [`Compat`] as words of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum CompatLevel {
    /// Errors where nutcracker closes without a word.
    Native,
    /// nutcracker's grammar, error texts and closing, but more commands.
    #[default]
    Nutcracker,
    /// nutcracker in everything.
    Strict,
}

impl From<CompatLevel> for Compat {
    fn from(level: CompatLevel) -> Compat {
        match level {
            CompatLevel::Native => Compat::Native,
            CompatLevel::Nutcracker => Compat::Nutcracker,
            CompatLevel::Strict => Compat::Strict,
        }
    }
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Options of `keyway explain`.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// The key
    #[arg(value_name = "KEY")]
    pub key: OsString,
    /// Configuration file to explain with; nothing is contacted
    #[arg(id = "file", short, long = "config", value_name = "FILE")]
    #[arg(required_unless_present = "instance")]
    pub config: Option<PathBuf>,
    /// Ask the running instance with this admin address instead
    #[arg(id = "instance", long = "admin", value_name = "ADDR", conflicts_with = "file")]
    pub admin: Option<SocketAddr>,
    /// Class of command: get, set, delete, arith, touch, other
    #[arg(long, value_name = "CLASS", default_value = "get", value_parser = command_class)]
    pub command: CommandClass,
    /// Name of the listener the request comes in on [default: the first one]
    #[arg(long, value_name = "NAME")]
    pub listener: Option<String>,
}

/// Options of `keyway ctl`.
#[derive(Debug, clap::Args)]
pub struct Ctl {
    /// Admin address of the instance
    #[arg(
        id = "instance",
        long = "admin",
        value_name = "ADDR",
        default_value = "127.0.0.1:9911",
        global = true
    )]
    pub admin: SocketAddr,
    /// What to tell it
    #[command(subcommand)]
    pub order: Order,
}

/// What a running instance can be told.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Order {
    /// Read the configuration file again
    Reload,
    /// Accept no more clients, finish what is owed, and exit
    Drain,
    /// Print the counters as JSON
    Stats,
}

/// The engine that `KEYWAY_ENGINE` asks for; `None` when it is not set or empty.
pub fn engine_from_environment() -> Result<Option<EngineChoice>, String> {
    let Some(value) = std::env::var_os("KEYWAY_ENGINE").filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    match Engine::from_str(&value.to_string_lossy(), true) {
        Ok(engine) => Ok(Some(engine.into())),
        Err(_) => Err(format!("KEYWAY_ENGINE={value:?}: use auto, epoll or io_uring")),
    }
}

/// Reads a class of commands by its name or by that of a command.
pub fn command_class(word: &str) -> Result<CommandClass, String> {
    // `gets`, `mg`, `incr` and so on are what people type; they mean their class.
    let class = match word {
        "gets" | "mg" => CommandClass::Get,
        "add" | "replace" | "append" | "prepend" | "cas" | "ms" => CommandClass::Set,
        "md" => CommandClass::Delete,
        "incr" | "decr" | "ma" => CommandClass::Arith,
        "gat" | "gats" => CommandClass::Touch,
        _ => {
            let known = CommandClass::ALL.into_iter().find(|class| class.name() == word);
            let classes = "use get, set, delete, arith, touch or other";
            return known.ok_or_else(|| format!("unknown class of commands \"{word}\": {classes}"));
        }
    };
    Ok(class)
}

fn listen_address(word: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = word.parse() {
        return Ok(address);
    }
    // A port alone means this machine only, like the default.
    if let Ok(port) = word.trim_start_matches(':').parse() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    Err("use ADDRESS:PORT, such as 127.0.0.1:11211 or [::1]:11211".into())
}

fn admin_address(word: &str) -> Result<AdminAddress, String> {
    match word {
        "off" => Ok(AdminAddress::Off),
        _ => listen_address(word).map(AdminAddress::At),
    }
}

fn size(word: &str) -> Result<u64, String> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match &word[digits.len()..].to_ascii_lowercase()[..] {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err("use a number with k, m, g or t, such as 512m".into()),
    };
    let number: u64 = digits.parse().map_err(|_| "use a number with k, m, g or t, such as 512m")?;
    let bytes = number.checked_mul(factor).ok_or("that is more than any machine has")?;
    if bytes < 1 << 20 {
        return Err("the store needs at least 1m".into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["keyway"], words].concat())
    }

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_needs_no_word() {
        let cli = parse(&["--workers", "2", "--memory", "1g", "--engine", "io_uring"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.serve.workers, Some(2));
        assert_eq!(cli.serve.memory, Some(1 << 30));
        assert_eq!(cli.serve.engine, Some(Engine::Uring));
        let Some(Command::Serve(serve)) = parse(&["serve", "-c", "a.toml"]).unwrap().command else {
            panic!("serve is a command");
        };
        assert_eq!(serve.config, Some("a.toml".into()));
    }

    #[test]
    fn addresses_may_be_a_port() {
        let serve = parse(&["-l", "7000", "--admin", "off"]).unwrap().serve;
        assert_eq!(serve.listen, Some("127.0.0.1:7000".parse().unwrap()));
        assert_eq!(serve.admin, Some(AdminAddress::Off));
        assert!(parse(&["-l", "localhost"]).is_err());
    }

    #[test]
    fn a_file_and_an_address_contradict_each_other() {
        assert!(parse(&["-c", "a.toml", "-l", "7000"]).is_err());
    }

    #[test]
    fn sizes_have_units_and_bounds() {
        assert_eq!(size("64m"), Ok(64 << 20));
        assert_eq!(size("1048576"), Ok(1 << 20));
        for wrong in ["", "m", "5x", "1k", "99999999999t", "-1m", "1.5g"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn memcached_gets_its_arguments_untouched() {
        let words = ["memcached", "-p", "0", "-h", "--help", "-l", "x,y", "-o", "a,b=c", "-vv"];
        let Some(Command::Memcached { args }) = parse(&words).unwrap().command else {
            panic!("memcached is a command");
        };
        assert_eq!(args, words[1..]);
    }

    #[test]
    fn commands_of_other_versions_are_recognised_with_any_arguments() {
        for word in ["momento-proxy", "plan", "top"] {
            assert!(parse(&[word, "-c", "x", "--help", "y"]).is_ok(), "{word}");
        }
    }

    #[test]
    fn explain_wants_a_file_or_an_instance() {
        assert!(parse(&["explain", "k"]).is_err());
        assert!(parse(&["explain", "k", "--config", "a", "--admin", "127.0.0.1:1"]).is_err());
        let Some(Command::Explain(explain)) =
            parse(&["explain", "k", "--config", "a", "--command", "incr"]).unwrap().command
        else {
            panic!("explain is a command");
        };
        assert_eq!(explain.command, CommandClass::Arith);
    }

    #[test]
    fn ctl_speaks_to_the_default_address() {
        let Some(Command::Ctl(ctl)) = parse(&["ctl", "drain"]).unwrap().command else {
            panic!("ctl is a command");
        };
        assert_eq!(ctl.admin.port(), 9911);
        for words in [["--admin", "[::1]:5", "stats"], ["stats", "--admin", "[::1]:5"]] {
            let cli = parse(&[&["ctl"][..], &words[..]].concat()).unwrap();
            let Some(Command::Ctl(ctl)) = cli.command else { panic!("ctl is a command") };
            assert_eq!(ctl.admin.port(), 5);
        }
    }
}
