//! The flags of the command line: reading them, checking them together, making the configuration.
//!
//! [`Arguments`] first holds what was typed, then is judged as a whole in memcached's order (so
//! that the same mistake is reported first), and last becomes a [`Run`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use keyway_proxy::config::{
    Allow, Bind, Compat, Config, EngineChoice, Limits, Listener, Protocol, Route, RouteKind,
    StoreOptions,
};
use keyway_proxy::local::Settings;

use super::getopt::{Flag, Getopt};
use super::interface::{self, Place};
use super::number::{atof, atoi, is_space, octal, strict_u32};
use super::suboption::SLAB_PAGE_BYTES;
use super::{EX_USAGE, EXIT_FAILURE, ProcessOptions, Resolver, Run, Stop, Stream, usage};

/// What the command line says, before it is judged as a whole.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) settings: Settings,
    pub(super) process: ProcessOptions,
    /// What memcached prints to standard error on the way.
    pub(super) warnings: String,
    /// `-B`.
    pub(super) protocol: Option<Protocol>,
    /// `-o slab_chunk_max` was given.
    pub(super) is_slab_chunk_set: bool,
    pub(super) slab_sizes: Option<String>,
    is_tcp_port_set: bool,
    is_udp_port_set: bool,
    /// `-m`, bytes.
    memory_bytes: u64,
    /// `-I`, bytes, as C's `int`.
    item_bytes: i32,
    /// `-l`.
    interfaces: Option<Vec<u8>>,
    backlog: u32,
    watch: bool,
}

impl Default for Arguments {
    fn default() -> Self {
        Arguments {
            settings: Settings::default(),
            process: ProcessOptions { tcp_port: 11211, ..ProcessOptions::default() },
            warnings: String::new(),
            protocol: None,
            is_slab_chunk_set: false,
            slab_sizes: None,
            is_tcp_port_set: false,
            is_udp_port_set: false,
            memory_bytes: 64 << 20,
            item_bytes: 1 << 20,
            interfaces: None,
            backlog: 1024,
            watch: true,
        }
    }
}

impl Arguments {
    /// Reads all flags; the first that is wrong ends it.
    pub(super) fn read(&mut self, program: &str, args: &[Vec<u8>]) -> Result<(), Stop> {
        let mut getopt = Getopt::new(program, args);
        while let Some(flag) = getopt.next() {
            let read = match flag {
                Ok(flag) => self.flag(flag),
                Err(message) => {
                    Err(Stop::new(EXIT_FAILURE, format!("{message}\nIllegal argument \"?\"")))
                }
            };
            read.map_err(|stop| stop.after(&self.warnings))?;
        }
        Ok(())
    }

    fn flag(&mut self, (flag, value): Flag<'_>) -> Result<(), Stop> {
        let value = value.unwrap_or_default();
        let spaces = value.iter().take_while(|byte| is_space(**byte)).count();
        let value = &value[spaces..];
        match flag {
            b'h' => return Err(print(usage::usage())),
            b'i' => return Err(print(usage::license())),
            b'V' => return Err(print(usage::version())),
            b'A' => self.settings.shutdown_command = true,
            b'M' => self.settings.evictions = false,
            b'C' => self.settings.cas_enabled = false,
            b'F' => self.settings.flush_enabled = false,
            b'X' => self.settings.dump_enabled = false,
            b'W' => self.watch = false,
            b'k' => self.process.lock_memory = true,
            b'r' => self.process.core_dumps = true,
            b'd' => self.process.daemonize = true,
            b'L' => self.process.large_pages = true,
            b'v' => self.process.verbosity += 1,
            b'u' => self.process.user = Some(text(value)),
            b'P' => self.process.pid_file = Some(path(value)),
            b'Y' => self.process.auth_file = Some(path(value)),
            b's' => self.process.unix_socket = Some(path(value)),
            b'a' => self.settings.umask = octal(value) & 0o777,
            b'p' => {
                self.process.tcp_port = atoi(value);
                self.is_tcp_port_set = true;
            }
            b'U' => {
                self.process.udp_port = atoi(value);
                self.is_udp_port_set = true;
            }
            // A negative number becomes a huge one in C, which is "no limit" in effect.
            b'm' => self.memory_bytes = (i64::from(atoi(value)) as u64).wrapping_mul(1 << 20),
            b'I' => self.item_bytes = item_bytes(value),
            b'b' => self.backlog = u32::try_from(atoi(value)).unwrap_or(0),
            b'l' => self.listen(value),
            b'B' => self.protocol = Some(protocol(value)?),
            b'D' => {
                let delimiter =
                    value.first().ok_or(Stop::new(EXIT_FAILURE, "No delimiter specified"))?;
                self.settings.prefix_delimiter = *delimiter;
                self.process.stats_detail = true;
            }
            b'o' => self.words(value)?,
            b'S' | b'Z' | b'e' => return Err(absent(flag)),
            _ => self.positive(flag, value)?,
        }
        Ok(())
    }

    /// Flags with a number above zero.
    fn positive(&mut self, flag: u8, value: &[u8]) -> Result<(), Stop> {
        let refused = |what: &str, least| {
            Stop::new(EXIT_FAILURE, format!("{what} must be greater than {least}"))
        };
        if flag == b'f' {
            self.settings.growth_factor = atof(value);
            let is_growing = self.settings.growth_factor > 1.0;
            return if is_growing { Ok(()) } else { Err(refused("Factor", 1)) };
        }
        let number = u32::try_from(atoi(value)).ok().filter(|number| *number > 0);
        let (field, what) = match flag {
            b'c' => (&mut self.settings.maxconns, "Maximum connections"),
            b'R' => (&mut self.settings.reqs_per_event, "Number of requests per event"),
            b'n' => (&mut self.settings.chunk_size, "Chunk size"),
            b't' => (&mut self.settings.num_threads, "Number of threads"),
            _ => (&mut self.settings.num_napi_ids, "Maximum number of NAPI IDs"),
        };
        *field = number.ok_or_else(|| refused(what, 0))?;
        if flag == b't' && *field > THREADS_WARNED_ABOVE {
            self.warnings.push_str(THREADS_WARNING);
        }
        Ok(())
    }

    /// `-l`: appends to the list, unless its text is part of the list already.
    fn listen(&mut self, value: &[u8]) {
        match &mut self.interfaces {
            None => self.interfaces = Some(value.to_vec()),
            Some(list) => {
                let is_part =
                    value.is_empty() || list.windows(value.len()).any(|part| part == value);
                if !is_part {
                    list.push(b',');
                    list.extend_from_slice(value);
                }
            }
        }
    }

    /// Judges the flags together, in memcached's order.
    pub(super) fn check(&mut self) -> Result<(), Stop> {
        let checked = self
            .check_sizes()
            .and_then(|()| self.check_slab_sizes())
            .and_then(|()| self.check_lru())
            .and_then(|()| self.check_ports());
        checked.map_err(|stop| stop.after(&self.warnings))
    }

    fn check_sizes(&self) -> Result<(), Stop> {
        let (ids, threads) = (self.settings.num_napi_ids, self.settings.num_threads);
        let (item, chunk) = (self.item_bytes, self.settings.slab_chunk_max);
        let message = if ids > threads {
            format!("Number of napi_ids({ids}) cannot be greater than number of threads({threads})")
        } else if item < 1024 {
            "Item max size cannot be less than 1024 bytes.".to_owned()
        } else if item as u64 > self.memory_bytes / 2 {
            "Cannot set item size limit higher than 1/2 of memory max.".to_owned()
        } else if item > 1 << 30 {
            "Cannot set item size limit higher than a gigabyte.".to_owned()
        } else if i64::from(chunk) > i64::from(item) {
            format!(
                "slab_chunk_max (bytes: {chunk}) cannot be larger than -I (item_size_max {item})"
            )
        } else if !(item as u32).is_multiple_of(chunk) {
            format!(
                "-I (item_size_max: {item}) must be evenly divisible by slab_chunk_max \
                 (bytes: {chunk})"
            )
        } else if !SLAB_PAGE_BYTES.is_multiple_of(chunk) {
            format!(
                "slab_chunk_max (bytes: {chunk}) must divide evenly into {SLAB_PAGE_BYTES} \
                 (slab_page_size)"
            )
        } else {
            return Ok(());
        };
        Err(Stop::new(EX_USAGE, message))
    }

    fn check_slab_sizes(&self) -> Result<(), Stop> {
        let Some(sizes) = &self.slab_sizes else { return Ok(()) };
        let refused = |message: String| Err(Stop::new(EX_USAGE, message));
        let (least, most) = (self.settings.chunk_size, self.settings.slab_chunk_max);
        let mut last = 0;
        if sizes.is_empty() {
            return Err(Stop { stream: Stream::Stderr, text: String::new(), exit: EX_USAGE });
        }
        for (index, text) in sizes.split('-').filter(|text| !text.is_empty()).enumerate() {
            let size = strict_u32(text.as_bytes()).unwrap_or(0);
            if size < least || size > most {
                return refused(format!("slab size {size} is out of valid range"));
            }
            if last >= size {
                return refused(format!(
                    "slab size {size} cannot be lower than or equal to a previous class size"
                ));
            }
            if size <= last + CHUNK_ALIGN_BYTES {
                return refused(format!(
                    "slab size {size} must be at least {CHUNK_ALIGN_BYTES} bytes larger than \
                     previous class"
                ));
            }
            if index + 2 >= SLAB_CLASSES_MAX {
                return refused("too many slab classes specified".to_owned());
            }
            last = size;
        }
        Ok(())
    }

    fn check_lru(&self) -> Result<(), Stop> {
        let settings = &self.settings;
        let share = settings.hot_lru_pct.load(Relaxed) + settings.warm_lru_pct.load(Relaxed);
        if share > 80 {
            let message = "hot_lru_pct + warm_lru_pct cannot be more than 80% combined";
            return Err(Stop::new(EX_USAGE, message));
        }
        if settings.temp_lru.load(Relaxed) && !settings.lru_maintainer_thread {
            let message = "temporary_ttl requires lru_maintainer to be enabled";
            return Err(Stop::new(EX_USAGE, message));
        }
        Ok(())
    }

    fn check_ports(&mut self) -> Result<(), Stop> {
        let with_users = self.process.auth_file.is_some();
        if with_users && self.protocol.is_some_and(|protocol| protocol != Protocol::MemcachedText) {
            let message = "ERROR: You cannot allow the BINARY protocol while using ascii \
                           authentication tokens.";
            return Err(Stop::new(EX_USAGE, message));
        }
        let process = &mut self.process;
        if self.is_udp_port_set && process.udp_port != 0 && !self.is_tcp_port_set {
            process.tcp_port = process.udp_port;
        }
        if process.tcp_port > 65_535 {
            let message = format!("ERROR: Invalid port number {}.", process.tcp_port);
            return Err(Stop::new(EX_USAGE, message));
        }
        if with_users && process.udp_port != 0 {
            let message = "Cannot use UDP with ascii authentication enabled (-U 0 to disable)";
            return Err(Stop::new(EX_USAGE, message));
        }
        Ok(())
    }

    /// Makes the configuration.
    pub(super) fn into_run(mut self, resolver: Resolver<'_>) -> Result<Run, Stop> {
        let places = self.places(resolver)?;
        let mut listeners = Vec::new();
        let mut listen_groups = Vec::new();
        for place in places {
            let first = listeners.len();
            for bind in place.binds {
                let name = listener_name(&bind, &listeners);
                listeners.push(self.listener(name, bind, place.protocol, &place.tag));
            }
            listen_groups.push((first..listeners.len()).collect());
        }
        self.process.listen_groups = listen_groups;
        self.process.drop_privileges = self.settings.drop_privileges;
        self.process.warnings = std::mem::take(&mut self.warnings);
        self.process.interfaces = self.interfaces.take().map(|list| text(&list));
        let config = self.config(listeners);
        let settings = self.reported();
        Ok(Run { config, process: self.process, settings })
    }

    /// Everything to listen on: TCP first, then UDP; or the Unix socket alone.
    fn places(&mut self, resolver: Resolver<'_>) -> Result<Vec<Place>, Stop> {
        let protocol = match (self.protocol, &self.process.auth_file) {
            (Some(protocol), _) => protocol,
            (None, Some(_)) => Protocol::MemcachedText,
            (None, None) => Protocol::Memcached,
        };
        if let Some(path) = &self.process.unix_socket {
            let bind = Bind::Unix { path: path.clone(), mode: self.settings.umask };
            return Ok(vec![Place { binds: vec![bind], protocol, tag: String::new() }]);
        }
        let list = interface::List {
            interfaces: self.interfaces.as_deref(),
            protocol,
            with_users: self.process.auth_file.is_some(),
            resolver,
        };
        let mut places = Vec::new();
        if self.process.tcp_port != 0 {
            places = list.places(self.process.tcp_port, Bind::Tcp, &mut self.warnings)?;
        }
        if self.process.udp_port != 0 {
            places.extend(list.places(self.process.udp_port, Bind::Udp, &mut self.warnings)?);
        }
        Ok(places)
    }

    fn listener(&self, name: String, bind: Bind, protocol: Protocol, tag: &str) -> Listener {
        Listener {
            name,
            bind,
            protocol,
            tag: tag.to_owned(),
            route: 0,
            backlog: self.backlog,
            allow: Allow {
                flush: self.settings.flush_enabled,
                shutdown: self.settings.shutdown_command,
                dump: self.settings.dump_enabled,
                watch: self.watch,
            },
            users: Vec::new(),
            requests_per_turn_max: self.settings.reqs_per_event as usize,
            compat: Compat::Native,
            keepalive: true,
        }
    }

    fn config(&self, listeners: Vec<Listener>) -> Config {
        let settings = &self.settings;
        let default = Limits::default();
        // An item passes through one client's memory whole, on its way in and on its way out.
        let item_bytes = self.item_bytes as usize;
        let limits = Limits {
            client_bytes_max: default.client_bytes_max.max(2 * item_bytes),
            worker_bytes_max: default.worker_bytes_max.max(4 * item_bytes),
            clients_max: settings.maxconns as usize,
            client_idle: Duration::from_secs(u64::from(settings.idle_timeout)),
            ..default
        };
        let store = StoreOptions {
            memory_bytes_max: self.memory_bytes,
            item_bytes_max: self.item_bytes as u64,
            evict: settings.evictions,
            cas: settings.cas_enabled,
        };
        Config {
            workers: settings.num_threads as usize,
            engine: EngineChoice::Auto,
            admin: None,
            listeners,
            pools: Vec::new(),
            routes: vec![Route { name: "store".into(), kind: RouteKind::Store }],
            store: Some(store),
            limits,
            drain_timeout: Duration::ZERO,
        }
    }

    /// The settings with what is kept elsewhere.
    fn reported(&mut self) -> Settings {
        let mut settings = std::mem::take(&mut self.settings);
        let process = &self.process;
        settings.maxbytes = AtomicU64::new(self.memory_bytes);
        settings.item_size_max = self.item_bytes as u64;
        settings.tcpport = process.tcp_port.max(0) as u16;
        settings.udpport = process.udp_port.max(0) as u16;
        settings.inter = process.interfaces.clone();
        settings.verbosity = AtomicU32::new(process.verbosity);
        settings.domain_socket = process.unix_socket.as_ref().map(|path| text_of(path));
        settings.tcp_backlog = self.backlog;
        settings.auth_file = process.auth_file.as_ref().map(|path| text_of(path));
        settings.binding_protocol = match (self.protocol, &process.auth_file) {
            (Some(Protocol::MemcachedText), _) | (None, Some(_)) => "ascii",
            (Some(Protocol::MemcachedBinary), _) => "binary",
            _ => "auto-negotiate",
        }
        .to_owned();
        settings
    }
}

/// A name for a listener that no other has: its kind, and a number from the second of a kind on.
fn listener_name(bind: &Bind, others: &[Listener]) -> String {
    let kind = |bind: &Bind| match bind {
        Bind::Tcp(_) => "tcp",
        Bind::Udp(_) => "udp",
        Bind::Unix { .. } => "unix",
    };
    let number = others.iter().filter(|other| kind(&other.bind) == kind(bind)).count() + 1;
    if number == 1 { kind(bind).to_owned() } else { format!("{}-{number}", kind(bind)) }
}

fn print(text: String) -> Stop {
    Stop { stream: Stream::Stdout, text, exit: 0 }
}

/// `-I`: a number with `k` or `m`; the arithmetic is C's, overflow included.
fn item_bytes(value: &[u8]) -> i32 {
    let (number, factor) = match value.split_last() {
        Some((b'k' | b'K', number)) => (number, 1 << 10),
        Some((b'm' | b'M', number)) => (number, 1 << 20),
        _ => (value, 1),
    };
    atoi(number).wrapping_mul(factor)
}

fn protocol(value: &[u8]) -> Result<Protocol, Stop> {
    match value {
        b"auto" => Ok(Protocol::Memcached),
        b"ascii" => Ok(Protocol::MemcachedText),
        b"binary" => Ok(Protocol::MemcachedBinary),
        _ => {
            let message = format!(
                "Invalid value for binding protocol: {}\n -- should be one of auto, binary, or \
                 ascii",
                text(value)
            );
            Err(Stop::new(EX_USAGE, message))
        }
    }
}

/// What is not there yet, and the way out.
fn absent(flag: u8) -> Stop {
    let message = match flag {
        b'S' => {
            "-S: SASL is not there yet. Leave it out; -Y FILE asks users of the text protocol for \
             a password."
        }
        b'Z' => "-Z: TLS is not there yet. Leave it out, or put a TLS terminator in front.",
        _ => {
            "-e: a cache in a memory file that survives a restart is not there yet. Leave it out; \
             the cache starts empty."
        }
    };
    Stop::new(EXIT_FAILURE, message)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn text_of(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

const THREADS_WARNED_ABOVE: u32 = 64;
const THREADS_WARNING: &str = concat!(
    "WARNING: Setting a high number of workerthreads is not recommended.\n",
    " Set this value to the number of cores in your machine or less.\n",
);
/// memcached aligns the chunks of slab classes to this.
const CHUNK_ALIGN_BYTES: u32 = 8;
/// Slab classes of memcached, its two special ones included.
const SLAB_CLASSES_MAX: usize = 64;
