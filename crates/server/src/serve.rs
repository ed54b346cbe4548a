//! `keyway serve`: the native way to run.
//!
//! Turns options, environment and a file into a plan for `control`, says what runs where once it
//! does, and what to do when it cannot.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use keyway_config::Diagnostic;
use keyway_proxy::config::{Bind, Config, EngineChoice, Protocol, RouteKind, StoreOptions};
use keyway_proxy::local::Settings;

use crate::admin::bind_text;
use crate::cli::{self, AdminAddress, Serve};
use crate::control::deal::places;
use crate::control::{self, End, Manners, Plan, Ready, Source, Trouble};
use crate::{console, logging, privileges};

/// Where the embedded store listens when nothing else is said.
const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 11211);
/// Where the admin server listens when nothing else is said.
const DEFAULT_ADMIN: ([u8; 4], u16) = ([127, 0, 0, 1], 9911);

/// Exit status: the configuration was refused.
const EXIT_REFUSED: u8 = 1;
/// Exit status: the command line makes no sense, as clap says it.
const EXIT_USAGE: u8 = 2;
/// Exit status: the operating system refused something (EX_OSERR).
pub const EXIT_SYSTEM: u8 = 71;

/// Serves until told to stop.
pub fn run(options: &Serve) -> ExitCode {
    logging::start(options.log_format, options.log_level);
    let overrides = match Overrides::new(options) {
        Ok(overrides) => overrides,
        Err(mistake) => {
            console::err(format_args!("keyway: {mistake}"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let config = match &options.config {
        Some(path) => match load(path, &overrides) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    tracing::warn!("{warning}");
                }
                loaded.config
            }
            Err(mistakes) => {
                mistakes.show();
                return ExitCode::from(EXIT_REFUSED);
            }
        },
        None => {
            let listen = options.listen.unwrap_or_else(|| SocketAddr::from(DEFAULT_LISTEN));
            overrides.apply(Config::embedded(listen, cores()))
        }
    };
    serve(options, config, overrides)
}

fn serve(options: &Serve, config: Config, overrides: Overrides) -> ExitCode {
    check_file_limit(&config);
    let source = match options.config.clone() {
        Some(path) => Source::new(move || match load(&path, &overrides) {
            Ok(loaded) => {
                Ok((loaded.config, loaded.warnings.iter().map(ToString::to_string).collect()))
            }
            Err(mistakes) => Err(mistakes.lines()),
        }),
        None => Source::new(|| Err(vec!["started without --config: nothing to read again".into()])),
    };
    let without_file = options.config.is_none();
    let told = config.clone();
    let plan = Plan {
        settings: settings(&config),
        config,
        source,
        admin_is_optional: without_file && options.admin.is_none(),
        manners: Manners::Keyway,
        stats_detail: false,
        listen_groups: Vec::new(),
        stats: None,
        on_ready: Box::new(move |ready| welcome(&told, ready, without_file)),
    };
    match control::run(plan) {
        Ok(End::Asked | End::AskedGracefully) => ExitCode::SUCCESS,
        Ok(End::WorkerLost | End::Interrupted) => ExitCode::from(EXIT_SYSTEM),
        Err(trouble) => {
            explain_trouble(&trouble, without_file);
            ExitCode::from(EXIT_SYSTEM)
        }
    }
}

/// What the command line and the environment say over the file.
#[derive(Clone, Debug)]
struct Overrides {
    workers: Option<usize>,
    engine: Option<EngineChoice>,
    memory: Option<u64>,
    admin: Option<AdminAddress>,
    has_file: bool,
}

impl Overrides {
    fn new(options: &Serve) -> Result<Overrides, String> {
        let engine = match options.engine {
            Some(engine) => Some(engine.into()),
            None => cli::engine_from_environment()?,
        };
        Ok(Overrides {
            workers: options.workers.map(usize::from),
            engine,
            memory: options.memory,
            admin: options.admin,
            has_file: options.config.is_some(),
        })
    }

    fn apply(&self, mut config: Config) -> Config {
        if let Some(workers) = self.workers {
            config.workers = workers;
        }
        if let Some(engine) = self.engine {
            config.engine = engine;
        }
        if let (Some(memory), Some(store)) = (self.memory, &mut config.store) {
            store.memory_bytes_max = memory;
        }
        match self.admin {
            Some(AdminAddress::At(address)) => config.admin = Some(address),
            Some(AdminAddress::Off) => config.admin = None,
            None if !self.has_file => config.admin = Some(SocketAddr::from(DEFAULT_ADMIN)),
            None => {}
        }
        config
    }
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A usable file.
struct Loaded {
    config: Config,
    warnings: Vec<Diagnostic>,
}

/// Why a file cannot be used.
enum Mistakes {
    /// It cannot be read.
    Unreadable(PathBuf, std::io::Error),
    /// It says something wrong.
    Wrong { text: String, findings: Vec<Diagnostic> },
}

fn load(path: &Path, overrides: &Overrides) -> Result<Loaded, Mistakes> {
    let bytes =
        std::fs::read(path).map_err(|error| Mistakes::Unreadable(path.to_path_buf(), error))?;
    match keyway_config::load(&path.display().to_string(), &bytes) {
        Ok(loaded) => {
            let config = overrides.apply(loaded.config);
            Ok(Loaded { config, warnings: loaded.warnings })
        }
        Err(findings) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Err(Mistakes::Wrong { text, findings })
        }
    }
}

impl Mistakes {
    /// On standard error, for people.
    fn show(&self) {
        match self {
            Mistakes::Unreadable(path, error) => {
                console::err(format_args!("keyway: cannot read {}: {error}", path.display()));
            }
            Mistakes::Wrong { text, findings } => {
                let color = std::io::stderr().is_terminal();
                console::err_text(&keyway_config::to_text(text, findings, color));
                console::err("keyway: the configuration cannot be used");
            }
        }
    }

    /// One line each, for logs and the admin API.
    fn lines(&self) -> Vec<String> {
        match self {
            Mistakes::Unreadable(path, error) => {
                vec![format!("cannot read {}: {error}", path.display())]
            }
            Mistakes::Wrong { findings, .. } => findings.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Loads a file for commands that do not serve.
pub fn load_quietly(path: &Path) -> Result<Config, ExitCode> {
    let overrides =
        Overrides { workers: None, engine: None, memory: None, admin: None, has_file: true };
    match load(path, &overrides) {
        Ok(loaded) => Ok(loaded.config),
        Err(mistakes) => {
            mistakes.show();
            Err(ExitCode::from(EXIT_REFUSED))
        }
    }
}

fn check_file_limit(config: &Config) {
    let allowed = privileges::allow_files_to_hard_limit();
    let (places, wanted) = (places(config, allowed), config.limits.clients_max);
    if places < wanted {
        tracing::warn!(
            allowed,
            places,
            wanted,
            "the limit on open files leaves fewer places for clients than configured: raise it \
             (ulimit -n, LimitNOFILE=) or lower clients_max"
        );
    }
}

/// What `stats settings` tells, as far as the native configuration knows it.
pub fn settings(config: &Config) -> Settings {
    let store = config.store.clone().unwrap_or_default();
    let first = config.listeners.first();
    let port = match first.map(|listener| &listener.bind) {
        Some(Bind::Tcp(address)) => address.port(),
        _ => 0,
    };
    Settings {
        maxbytes: store.memory_bytes_max.into(),
        maxconns: u32::try_from(config.limits.clients_max).unwrap_or(u32::MAX),
        maxconns_fast: false,
        tcpport: port,
        evictions: store.evict,
        cas_enabled: store.cas,
        item_size_max: store.item_bytes_max,
        num_threads: u32::try_from(config.workers).unwrap_or(u32::MAX),
        tcp_backlog: first.map_or(0, |listener| listener.backlog),
        flush_enabled: first.is_some_and(|listener| listener.allow.flush),
        dump_enabled: first.is_some_and(|listener| listener.allow.dump),
        shutdown_command: first.is_some_and(|listener| listener.allow.shutdown),
        idle_timeout: u32::try_from(config.limits.client_idle.as_secs()).unwrap_or(u32::MAX),
        ..Settings::default()
    }
}

/// Says what runs where, and with the defaults also one line to try.
fn welcome(config: &Config, ready: &Ready<'_>, without_file: bool) {
    let engine = ready.engines.first().copied().unwrap_or("no engine");
    let workers = ready.engines.len();
    let plural = if workers == 1 { "" } else { "s" };
    console::out(format_args!(
        "Keyway {} with {workers} worker{plural} on {engine}",
        env!("CARGO_PKG_VERSION")
    ));
    for listener in &config.listeners {
        let bound = ready.bound.iter().find(|bound| bound.bind == listener.bind);
        let address = match bound.and_then(|bound| bound.address) {
            Some(address) if matches!(listener.bind, Bind::Udp(_)) => format!("udp:{address}"),
            Some(address) => address.to_string(),
            None => bind_text(&listener.bind),
        };
        let target =
            config.routes.get(listener.route).map_or_else(String::new, |route| match &route.kind {
                RouteKind::Store => store_text(config.store.as_ref()),
                _ => format!("route {}", route.name),
            });
        let speaks = match listener.protocol {
            Protocol::Redis => "Redis",
            Protocol::Auto => "memcached and Redis",
            _ => "memcached",
        };
        console::out(format_args!("  {address:<24} {speaks}, {target}"));
    }
    match ready.admin {
        Some(admin) => {
            console::out(format_args!("  {:<24} admin and metrics", format!("http://{admin}/")))
        }
        None => console::out("  the admin server is off"),
    }
    let tcp = ready.bound.iter().find(|bound| matches!(bound.bind, Bind::Tcp(_)));
    if let (true, Some(address)) = (without_file, tcp.and_then(|bound| bound.address)) {
        console::out(format_args!(
            "Try it: printf 'set hello 0 0 5\\r\\nworld\\r\\nget hello\\r\\nquit\\r\\n' | nc {} {}",
            address.ip(),
            address.port()
        ));
    }
}

fn store_text(store: Option<&StoreOptions>) -> String {
    let bytes = store.map_or(0, |store| store.memory_bytes_max);
    match bytes {
        0 => "embedded store".into(),
        _ if bytes.is_multiple_of(1 << 30) => format!("embedded store of {} GiB", bytes >> 30),
        _ => format!("embedded store of {} MiB", bytes >> 20),
    }
}

fn explain_trouble(trouble: &Trouble, without_file: bool) {
    match trouble {
        Trouble::Listen(failed) => {
            let address = bind_text(&failed.bind);
            console::err(format_args!(
                "keyway: listener \"{}\" cannot listen on {address}: {}",
                failed.name, failed.error
            ));
            let way_out = if without_file { "--listen ADDR" } else { "the configuration file" };
            match failed.error.kind() {
                std::io::ErrorKind::AddrInUse => console::err(format_args!(
                    "  another process, perhaps memcached, listens there: stop it, or choose \
                     another address with {way_out}"
                )),
                std::io::ErrorKind::PermissionDenied => console::err(
                    "  ports below 1024 need the right to use them (CAP_NET_BIND_SERVICE), socket \
                     files need a directory that can be written",
                ),
                std::io::ErrorKind::AddrNotAvailable => {
                    console::err(format_args!(
                        "  this machine has no such address: choose one with {way_out}"
                    ));
                }
                _ => {}
            }
        }
        Trouble::Admin(address, error) => {
            console::err(format_args!(
                "keyway: the admin server cannot listen on {address}: {error}"
            ));
            console::err(
                "  choose another address with --admin ADDR, or turn it off with --admin off",
            );
        }
        Trouble::System(what, error) => console::err(format_args!("keyway: {what}: {error}")),
    }
}
