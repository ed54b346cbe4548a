//! Being memcached: its command line is read by `keyway_config::memcached`; this file does what its
//! process does around serving, in its order and with its messages and exit codes.
//!
//! Order: core files, open files, root, background, locked memory, authentication file; then
//! `control` opens listeners and starts workers; then the port file and the pid file.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use keyway_config::memcached::{self as front, Outcome, ProcessOptions, Run, Stream};
use keyway_proxy::config::{Bind, Config, User};
use keyway_proxy::local::Settings;
use nix::errno::Errno;

use crate::control::listeners::{Bound, Failed, Socket};
use crate::control::{self, End, Manners, Plan, Ready, Source, Trouble, with_users};
use crate::serve::EXIT_SYSTEM;
use crate::{cli, console, logging, privileges};

/// Environment variable that names the file for port numbers.
const PORT_FILE: &str = "MEMCACHED_PORT_FILENAME";
/// Descriptors that are not clients: listeners, engines, backends, files.
const OTHER_FILES: u64 = 64;

/// Runs memcached with these arguments (without `argv[0]`).
pub fn run(program: &str, args: Vec<OsString>) -> ExitCode {
    match front::parse(program, args) {
        Outcome::Run(run) => serve(*run),
        Outcome::Print { text, exit } => {
            print(Stream::Stdout, &text);
            ExitCode::from(exit)
        }
        Outcome::Fail { stream, text, exit } => {
            print(stream, &text);
            ExitCode::from(exit)
        }
    }
}

fn print(stream: Stream, text: &str) {
    match stream {
        Stream::Stdout => console::out_text(text),
        Stream::Stderr => console::err_text(text),
    }
}

fn serve(run: Run) -> ExitCode {
    let Run { mut config, process, settings } = run;
    print(Stream::Stderr, &process.warnings);
    if let Err(refusal) = prepare(&config, &process) {
        console::err(&refusal);
        return ExitCode::from(refusal.exit());
    }
    match cli::engine_from_environment() {
        Ok(Some(engine)) => config.engine = engine,
        Ok(None) => {}
        Err(mistake) => {
            console::err(mistake);
            return ExitCode::FAILURE;
        }
    }
    if process.daemonize
        && privileges::daemonize(process.core_dumps, process.verbosity > 0).is_err()
    {
        console::err("failed to daemon() in order to daemonize");
        return ExitCode::FAILURE;
    }
    if process.lock_memory
        && let Err(error) = privileges::lock_memory()
    {
        console::err(format_args!("warning: -k invalid, mlockall() failed: {}", reason(&error)));
    }
    logging::start(logging::Format::Text, level(process.verbosity));
    let users = match &process.auth_file {
        Some(path) => match read_users(path) {
            Ok(users) => users,
            Err(mistake) => {
                console::err(mistake);
                return ExitCode::FAILURE;
            }
        },
        None => Vec::new(),
    };
    let with_users = with_users(&config, &users);
    start(config, with_users, process, settings)
}

fn start(
    config: Config,
    with_users: Config,
    process: ProcessOptions,
    settings: Settings,
) -> ExitCode {
    let plan = Plan {
        config: with_users,
        source: source(config, process.auth_file.clone()),
        admin_is_optional: true,
        manners: Manners::Memcached { refuse_over_limit: settings.maxconns_fast },
        settings,
        stats_detail: process.stats_detail,
        listen_groups: process.listen_groups.clone(),
        stats: None,
        on_ready: Box::new({
            let process = process.clone();
            move |ready| write_files(ready, &process)
        }),
    };
    let result = control::run(plan);
    if let (true, Some(path)) = (process.daemonize, &process.pid_file)
        && let Err(error) = fs::remove_file(path)
    {
        console::err(format_args!(
            "Could not remove the pid file {}: {}",
            path.display(),
            reason(&error)
        ));
    }
    match result {
        Ok(End::Asked) => {
            if process.verbosity > 0 {
                console::err("Exiting normally");
            }
            ExitCode::SUCCESS
        }
        Ok(End::AskedGracefully) => {
            console::err("Gracefully stopping");
            ExitCode::SUCCESS
        }
        Ok(End::WorkerLost | End::Interrupted) => {
            console::err("Exiting on error");
            ExitCode::FAILURE
        }
        Err(trouble) => {
            complain(&trouble, &process);
            ExitCode::from(EXIT_SYSTEM)
        }
    }
}

/// What must happen while the process is still who started it.
fn prepare(config: &Config, process: &ProcessOptions) -> Result<(), privileges::Refusal> {
    if process.core_dumps {
        privileges::allow_core_files()?;
    }
    let clients = config.limits.clients_max as u64;
    privileges::allow_files(clients, clients + OTHER_FILES)?;
    privileges::leave_root(process.user.as_deref())
}

fn level(verbosity: u32) -> logging::Level {
    match verbosity {
        0 => logging::Level::Error,
        1 => logging::Level::Warn,
        2 => logging::Level::Info,
        _ => logging::Level::Debug,
    }
}

/// HUP reads the authentication file again; without one nothing changes.
fn source(config: Config, auth_file: Option<PathBuf>) -> Source {
    Source::new(move || match &auth_file {
        Some(path) => match read_users(path) {
            Ok(users) => Ok((with_users(&config, &users), Vec::new())),
            Err(mistake) => Err(vec![mistake]),
        },
        None => Ok((config.clone(), Vec::new())),
    })
}

fn read_users(path: &Path) -> Result<Vec<User>, String> {
    let shown = path.display();
    let text = match fs::metadata(path) {
        Ok(_) => fs::read(path).map_err(|error| {
            let reason = reason(&error);
            format!("Could not open authfile [{shown}] for reading, error {reason}: {reason}")
        })?,
        Err(error) => {
            let reason = reason(&error);
            return Err(format!("Could not stat authfile [{shown}], error {reason}: {reason}"));
        }
    };
    front::users_from(&text).map_err(|mistake| format!("Authfile [{shown}] {mistake}"))
}

fn write_files(ready: &Ready<'_>, process: &ProcessOptions) {
    let has_unix = ready.bound.iter().any(|bound| matches!(bound.bind, Bind::Unix { .. }));
    if let Some(path) = std::env::var_os(PORT_FILE).filter(|_| !has_unix) {
        write_ports(ready.bound, Path::new(&path));
    }
    if let Some(path) = &process.pid_file {
        write_pid(path);
    }
}

/// Lines such as `TCP INET: 11211`, appended under another name first, so that nobody reads half.
fn write_ports(bound: &[Bound], path: &Path) {
    let temporary = with_suffix(path, ".lck");
    let mut text = String::new();
    for bound in bound {
        let transport = match bound.socket {
            Socket::Stream(_) => "TCP",
            Socket::Datagram(_) => "UDP",
        };
        if let Some(address) = bound.address {
            let family = if address.is_ipv4() { "INET" } else { "INET6" };
            text.push_str(&format!("{transport} {family}: {}\n", address.port()));
        }
    }
    let written = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        // memcached does not look at the result either; the reader misses the file.
        Ok(()) => drop(fs::rename(&temporary, path)),
        Err(error) => {
            console::err(format_args!(
                "Failed to open \"{}\": {}",
                temporary.display(),
                reason(&error)
            ));
        }
    }
}

fn write_pid(path: &Path) {
    let running = fs::read_to_string(path).ok();
    let running = running.and_then(|text| text.lines().next()?.trim().parse::<i32>().ok());
    if let Some(pid) = running.filter(|pid| *pid > 0)
        && nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok()
    {
        console::err(format_args!(
            "WARNING: The pid file contained the following (running) pid: {pid}"
        ));
    }
    let temporary = with_suffix(path, ".tmp");
    if let Err(error) = fs::write(&temporary, format!("{}\n", std::process::id())) {
        let reason = reason(&error);
        console::err(format_args!(
            "Could not open the pid file {} for writing: {reason}",
            temporary.display()
        ));
        return;
    }
    if let Err(error) = fs::rename(&temporary, path) {
        console::err(format_args!(
            "Could not rename the pid file from {} to {}: {}",
            temporary.display(),
            path.display(),
            reason(&error)
        ));
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn complain(trouble: &Trouble, process: &ProcessOptions) {
    match trouble {
        Trouble::Listen(failed) => console::err(listen_failure(failed, process)),
        Trouble::Admin(address, error) => {
            console::err(format_args!(
                "failed to listen on admin address {address}: {}",
                reason(error)
            ));
        }
        Trouble::System(what, error) => console::err(format_args!("{what}: {}", reason(error))),
    }
}

fn listen_failure(failed: &Failed, process: &ProcessOptions) -> String {
    let reason = reason(&failed.error);
    if let Bind::Unix { path, .. } = &failed.bind {
        let shown = path.display();
        return format!("bind(): {reason}\nfailed to listen on UNIX socket: {shown}: {reason}");
    }
    // An address in use is only told at the end; other errors are told where they happen, too.
    let in_use = failed.error.kind() == io::ErrorKind::AddrInUse;
    let first = if in_use { String::new() } else { format!("bind(): {reason}\n") };
    let what = match (&failed.bind, &process.interfaces) {
        (_, Some(list)) => format!("failed to listen on one of interface(s) {list}"),
        (Bind::Udp(_), None) => format!("failed to listen on UDP port {}", process.udp_port),
        (_, None) => format!("failed to listen on TCP port {}", process.tcp_port),
    };
    format!("{first}{what}: {reason}")
}

/// The system's text for an error, without Rust's number behind it.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(bind: Bind, number: i32) -> Failed {
        Failed { name: "x".into(), bind, error: io::Error::from_raw_os_error(number) }
    }

    #[test]
    fn listen_failures_read_as_memcacheds() {
        let process = ProcessOptions { tcp_port: 11211, udp_port: 11212, ..Default::default() };
        let tcp = Bind::Tcp("0.0.0.0:11211".parse().unwrap());
        let udp = Bind::Udp("0.0.0.0:11212".parse().unwrap());
        assert_eq!(
            listen_failure(&failed(tcp.clone(), libc_number(Errno::EADDRINUSE)), &process),
            "failed to listen on TCP port 11211: Address already in use"
        );
        assert_eq!(
            listen_failure(&failed(udp, libc_number(Errno::EADDRINUSE)), &process),
            "failed to listen on UDP port 11212: Address already in use"
        );
        assert_eq!(
            listen_failure(&failed(tcp.clone(), libc_number(Errno::EACCES)), &process),
            "bind(): Permission denied\nfailed to listen on TCP port 11211: Permission denied"
        );
        let listed = ProcessOptions { interfaces: Some("a,b".into()), ..process };
        assert_eq!(
            listen_failure(&failed(tcp, libc_number(Errno::EADDRINUSE)), &listed),
            "failed to listen on one of interface(s) a,b: Address already in use"
        );
    }

    fn libc_number(errno: Errno) -> i32 {
        errno as i32
    }
}
