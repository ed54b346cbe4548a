//! Being nutcracker (twemproxy): its command line and file are read by `keyway_config::nutcracker`;
//! this file does what its process does around serving, in its order and with its texts and codes.
//!
//! Order: options; `-t` ends here; log; background; signals; pid file; banner; configuration; stats
//! socket; then `control` opens listeners and starts workers. Signals are heeded in `signals`,
//! lines are written by `log` and worded in `phrases`, `stats` answers the stats port.

pub mod log;
pub mod phrases;
pub mod signals;
pub mod stats;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use keyway_config::nutcracker::argv::{self, Arguments, Outcome};
use keyway_config::nutcracker::{self as front, Options, Refused, plain};
use keyway_config::{Diagnostic, Loaded};
use keyway_proxy::config::{Bind, Compat, Config, EngineChoice};

use crate::control::listeners::Failed;
use crate::control::{self, End, Manners, Plan, Source, Trouble};
use crate::{cli, console, privileges, serve};

/// Environment variables of ours; nutcracker has none.
const WORKERS: &str = "KEYWAY_WORKERS";
const COMPAT: &str = "KEYWAY_COMPAT";
const ADMIN: &str = "KEYWAY_ADMIN";

/// Runs nutcracker with these arguments (without `argv[0]`).
pub fn run(args: Vec<OsString>) -> ExitCode {
    let arguments = match argv::parse(args) {
        Outcome::Run(arguments) => *arguments,
        Outcome::Print { text, exit } => {
            // A closed stream is the reader's choice.
            let _closed = io::stderr().write_all(&text);
            return ExitCode::from(exit);
        }
    };
    let how = match How::new(&arguments) {
        Ok(how) => how,
        Err(mistake) => {
            console::err(format_args!("nutcracker: {mistake}"));
            return ExitCode::FAILURE;
        }
    };
    if arguments.test_conf {
        return test(&how);
    }
    if let Err(error) = log::open(arguments.output.as_deref(), arguments.verbosity) {
        let path = arguments.output.unwrap_or_default();
        let reason = plain(&error);
        console::err(format_args!("opening log file '{}' failed: {reason}", path.display()));
        return ExitCode::FAILURE;
    }
    if arguments.daemonize
        && let Err(error) = privileges::leave_terminal()
    {
        log::always(format_args!("going to the background failed: {}", plain(&error)));
        return ExitCode::FAILURE;
    }
    if let Err(error) = signals::hold() {
        log::always(format_args!("holding signals back failed: {}", plain(&error)));
        return ExitCode::FAILURE;
    }
    let pid_file = match PidFile::write(arguments.pid_file.clone()) {
        Ok(pid_file) => pid_file,
        Err((path, error)) => {
            let reason = plain(&error);
            log::always(format_args!("opening pid file '{}' failed: {reason}", path.display()));
            return ExitCode::FAILURE;
        }
    };
    banner();
    let exit = start(&arguments, how);
    drop(pid_file);
    exit
}

/// What the command line and the environment say about a file and how to read it.
#[derive(Clone, Debug)]
struct How {
    path: PathBuf,
    workers: usize,
    compat: Compat,
    admin: Option<SocketAddr>,
    engine: EngineChoice,
}

impl How {
    fn new(arguments: &Arguments) -> Result<How, String> {
        let path = match &arguments.conf_file {
            Some(path) => path.clone(),
            None => {
                let known = argv::CONF_FILES.into_iter();
                let found = known.clone().find(|path| Path::new(path).exists());
                // Without any, the message names the first.
                found.or(known.clone().next()).unwrap_or_default().into()
            }
        };
        let workers = environment(WORKERS, "a number from 1 to 1024", argv::workers_from)?;
        let compat = environment(COMPAT, "native, nutcracker or strict", argv::compat_from)?;
        let admin = environment(ADMIN, "ADDRESS:PORT", |text| text.parse().ok())?;
        Ok(How {
            path,
            workers: arguments.workers.or(workers).unwrap_or_else(serve::cores),
            compat: arguments.compat.or(compat).unwrap_or(Compat::Nutcracker),
            admin,
            engine: cli::engine_from_environment()?.unwrap_or_default(),
        })
    }

    /// The file's name as messages show it.
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn load(&self, bytes: &[u8]) -> Result<Loaded, Refused> {
        let resolver = &front::system_resolver;
        let options = Options { workers: self.workers, compat: self.compat, resolver };
        let mut loaded = front::load(&self.name(), bytes, options)?;
        loaded.config.admin = self.admin;
        loaded.config.engine = self.engine;
        Ok(loaded)
    }
}

/// A variable of the environment; `None` when it is not set or empty.
fn environment<T>(
    name: &str,
    wanted: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, String> {
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    match value.to_str().and_then(read) {
        Some(value) => Ok(Some(value)),
        None => Err(format!("{name}={value:?}: use {wanted}")),
    }
}

/// `-t`: the verdict in nutcracker's words, and why in ours.
fn test(how: &How) -> ExitCode {
    let name = how.name();
    let verdict = |word| {
        console::err(format_args!("nutcracker: configuration file '{name}' syntax is {word}"));
    };
    let bytes = match std::fs::read(&how.path) {
        Ok(bytes) => bytes,
        Err(error) => {
            console::err(front::open_reason(&name, &error));
            verdict("invalid");
            return ExitCode::FAILURE;
        }
    };
    match how.load(&bytes) {
        Ok(_) => {
            verdict("ok");
            ExitCode::SUCCESS
        }
        Err(refused) => {
            let text = String::from_utf8_lossy(&bytes);
            console::err_text(&keyway_config::to_text(&text, &refused.findings, false));
            // Twice, as nutcracker says it; scripts may count lines.
            verdict("invalid");
            verdict("invalid");
            ExitCode::FAILURE
        }
    }
}

fn banner() {
    let (system, release, machine) = match nix::sys::utsname::uname() {
        Ok(name) => (
            name.sysname().to_string_lossy().into_owned(),
            name.release().to_string_lossy().into_owned(),
            name.machine().to_string_lossy().into_owned(),
        ),
        Err(_) => ("unknown".into(), "unknown".into(), "unknown".into()),
    };
    log::always(format_args!(
        "nutcracker-{} built for {system} {release} {machine} started on pid {}",
        front::VERSION,
        std::process::id()
    ));
    // The words that scripts look for, and what really runs.
    log::always(format_args!("run, rabbit run: this is keyway {}", env!("CARGO_PKG_VERSION")));
}

/// Everything after the banner. Says so when it ends for any reason but SIGINT.
fn start(arguments: &Arguments, how: How) -> ExitCode {
    let end = load_and_serve(arguments, how);
    if !matches!(end, Ok(End::Interrupted)) {
        log::always("done, rabbit done");
    }
    match end {
        Ok(End::Asked | End::AskedGracefully) => ExitCode::SUCCESS,
        Ok(End::Interrupted | End::WorkerLost) | Err(()) => ExitCode::FAILURE,
    }
}

fn load_and_serve(arguments: &Arguments, how: How) -> Result<End, ()> {
    let file = Arc::new(File { how, tried: Mutex::default(), in_force: Mutex::default() });
    let loaded = file.read().map_err(|reasons| {
        for reason in reasons {
            tracing::error!("{reason}");
        }
        // A file that cannot be opened has no syntax.
        if file.how.path.exists() {
            let name = file.how.name();
            console::err(format_args!("nutcracker: configuration file '{name}' syntax is invalid"));
        }
    })?;
    for warning in &loaded.warnings {
        tracing::warn!("conf: {warning}");
    }
    file.accepted();
    let stats = bind_stats(arguments)?;
    tell_of_limits(&loaded.config);
    let plan = Plan {
        settings: serve::settings(&loaded.config),
        config: loaded.config,
        source: source(file),
        admin_is_optional: false,
        manners: Manners::Nutcracker,
        stats_detail: false,
        listen_groups: Vec::new(),
        stats: Some(stats),
        on_ready: Box::new(|ready| {
            let engine = ready.engines.first().copied().unwrap_or("no engine");
            tracing::info!("{} workers on {engine}", ready.engines.len());
            if let Some(admin) = ready.admin {
                tracing::info!("admin and metrics on http://{admin}/");
            }
        }),
    };
    control::run(plan).map_err(|trouble| complain(&trouble))
}

fn tell_of_limits(config: &Config) {
    let allowed = privileges::files_allowed();
    let (clients, is_tight) = budget(config, allowed);
    if is_tight {
        tracing::warn!(
            "{allowed} open files are too few for {} servers and {} workers: room for {clients} \
             clients is kept, raise the limit (ulimit -n, LimitNOFILE=)",
            config.pools.iter().map(|pool| pool.backends.len()).sum::<usize>(),
            config.workers
        );
    }
}

/// How many clients may be connected when so many files may be open, and whether that is less than
/// it should be: what servers, listeners and we ourselves may need is set aside, as in nutcracker,
/// whose sum may fall below zero and then limits nothing.
pub fn budget(config: &Config, files_allowed: u64) -> (usize, bool) {
    let workers = config.workers as u64;
    let pools = config.pools.iter().map(|pool| {
        let connections = (pool.backends.len() * pool.link.connections) as u64;
        connections.saturating_mul(workers).saturating_add(1)
    });
    let pools = pools.fold(0, u64::saturating_add);
    let ours = OWN_FILES + workers.saturating_mul(WORKER_FILES);
    let left = files_allowed.saturating_sub(pools.saturating_add(ours));
    let least = (files_allowed / 8).max(1);
    let clients = usize::try_from(left.max(least)).unwrap_or(usize::MAX);
    (clients.min(config.limits.clients_max), left < least)
}

/// Files that nutcracker sets aside for itself.
const OWN_FILES: u64 = 32;
/// Files of one worker's engine; nutcracker's own is among those above.
const WORKER_FILES: u64 = 4;

/// The file, and which content of it runs.
struct File {
    how: How,
    /// What was read last.
    tried: Mutex<Vec<u8>>,
    /// What runs.
    in_force: Mutex<Vec<u8>>,
}

impl File {
    fn read(&self) -> Result<Loaded, Vec<String>> {
        let bytes = std::fs::read(&self.how.path)
            .map_err(|error| vec![format!("conf: {}", self.unreadable(&error))])?;
        let loaded = self.how.load(&bytes);
        *lock(&self.tried) = bytes;
        loaded.map_err(|refused| reasons(&refused))
    }

    fn unreadable(&self, error: &io::Error) -> String {
        front::open_reason(&self.how.name(), error)
    }

    fn accepted(&self) {
        lock(&self.in_force).clone_from(&lock(&self.tried));
    }

    /// Whether the file says something else than what runs. One that cannot be read does.
    fn is_news(&self) -> bool {
        std::fs::read(&self.how.path).map_or(true, |bytes| bytes != *lock(&self.in_force))
    }
}

fn lock(bytes: &Mutex<Vec<u8>>) -> std::sync::MutexGuard<'_, Vec<u8>> {
    // Nothing panics while it holds the lock.
    bytes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the log says about a refused file: nutcracker's reason, then every finding with its place.
fn reasons(refused: &Refused) -> Vec<String> {
    let reason = refused.reason.iter().map(|reason| format!("conf: {reason}"));
    let findings = refused.findings.iter().map(|finding: &Diagnostic| format!("conf: {finding}"));
    reason.chain(findings).collect()
}

fn source(file: Arc<File>) -> Source {
    let (read, accepted) = (file.clone(), file.clone());
    Source::new(move || {
        let loaded = read.read()?;
        let warnings = loaded.warnings.iter().map(|warning| format!("conf: {warning}"));
        Ok((loaded.config, warnings.collect()))
    })
    .with_memory(move || file.is_news(), move || accepted.accepted())
}

fn bind_stats(arguments: &Arguments) -> Result<TcpListener, ()> {
    let (host, port) = (arguments.stats_addr.to_string_lossy(), arguments.stats_port);
    let addresses = front::system_resolver(&host).and_then(|addresses| match addresses.first() {
        Some(first) => Ok(*first),
        None => Err(io::Error::other("Name or service not known")),
    });
    let mut address = addresses.map_err(|error| {
        let reason = plain(&error);
        let reason = reason.rsplit(": ").next().unwrap_or_default();
        log::always(format_args!(
            "address resolution of node '{host}' service '{port}' failed: {reason}"
        ));
    })?;
    address.set_port(port);
    TcpListener::bind(address).map_err(|error| {
        let reason = plain(&error);
        log::always(format_args!(
            "bind on m 0 to stats server addr '{host}:{port}' failed: {reason}"
        ));
    })
}

fn complain(trouble: &Trouble) {
    match trouble {
        Trouble::Listen(Failed { bind, error, .. }) => {
            let address = match bind {
                Bind::Tcp(address) | Bind::Udp(address) => address.to_string(),
                Bind::Unix { path, .. } => path.display().to_string(),
            };
            let reason = plain(error);
            log::always(format_args!("bind on p 0 to addr '{address}' failed: {reason}"));
        }
        Trouble::Admin(address, error) => {
            log::always(format_args!("bind of the admin server to '{address}' failed: {error}"));
        }
        Trouble::System(what, error) => log::always(format_args!("{what} failed: {error}")),
    }
}

/// The file with the process id, removed when this is dropped.
struct PidFile(Option<PathBuf>);

impl PidFile {
    fn write(path: Option<PathBuf>) -> Result<PidFile, (PathBuf, io::Error)> {
        if let Some(path) = &path {
            let written = log::create(path, false)
                .and_then(|mut file| file.write_all(std::process::id().to_string().as_bytes()));
            written.map_err(|error| (path.clone(), error))?;
        }
        Ok(PidFile(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = std::fs::remove_file(path)
        {
            let (path, reason) = (path.display(), plain(&error));
            log::always(format_args!("removing pid file '{path}' failed: {reason}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(servers: usize, connections: usize, workers: usize) -> Config {
        let list: String = (0..servers).map(|n| format!("   - 127.0.0.1:{}:1\n", n + 1)).collect();
        let text = format!(
            "a:\n  listen: 127.0.0.1:5\n  server_connections: {connections}\n  servers:\n{list}"
        );
        let resolver = &front::system_resolver;
        let options = Options { workers, compat: Compat::Nutcracker, resolver };
        front::load("a.yml", text.as_bytes(), options).unwrap().config
    }

    #[test]
    fn what_servers_may_need_is_set_aside_for_each_worker() {
        assert_eq!(budget(&config(2, 1, 1), 1024), (1024 - 3 - 32 - 4, false));
        assert_eq!(budget(&config(10, 4, 8), 1024), (1024 - 321 - 32 - 32, false));
    }

    #[test]
    fn a_budget_never_falls_below_zero() {
        for files in [0, 1, 30, 34, 40] {
            let (clients, is_tight) = budget(&config(2, 1, 2), files);
            assert!(clients >= 1 && clients as u64 <= files.max(8) / 8 && is_tight, "{files}");
        }
        let many = config(100, 1_000_000, 64);
        assert_eq!(budget(&many, 1024), (128, true));
    }
}
