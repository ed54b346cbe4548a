//! The one configuration model: what the data plane runs, whatever file or command line said it.
//!
//! Front-ends (crate `keyway-config`) build these values and validate them; nothing here knows a
//! syntax. Control hands an `Arc<Config>` to every worker, which compiles its own route tables from
//! it.
//! Indices (`PoolId`, `RouteId`, `ListenerId`) are positions in the vectors of the same `Config`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Position of a pool in [`Config::pools`].
pub type PoolId = usize;
/// Position of a route in [`Config::routes`].
pub type RouteId = usize;
/// Position of a listener in [`Config::listeners`].
pub type ListenerId = usize;

/// One loaded configuration, complete and valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Worker threads. At least 1.
    pub workers: usize,
    /// Which kernel interface the workers use.
    pub engine: EngineChoice,
    /// Where the admin HTTP server listens; `None` turns it off.
    pub admin: Option<SocketAddr>,
    /// Addresses we accept clients on.
    pub listeners: Vec<Listener>,
    /// Groups of backends that share keys by hashing.
    pub pools: Vec<Pool>,
    /// Rules from requests to pools, the store or a policy.
    pub routes: Vec<Route>,
    /// The embedded store; `None` when no route uses it.
    pub store: Option<StoreOptions>,
    /// Bounds on everything that grows.
    pub limits: Limits,
    /// How long a drain waits for clients and owed replies before closing what is left.
    pub drain_timeout: Duration,
}

/// Which kernel interface moves the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EngineChoice {
    /// io_uring where the probe at start succeeds and epoll is not known to be cheaper; else epoll.
    #[default]
    Auto,
    /// Level-triggered epoll.
    Epoll,
    /// io_uring; a refusal by the kernel is logged once and epoll takes over.
    Uring,
}

/// An address we accept clients on.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Unique name, used in metrics and logs.
    pub name: String,
    /// Where to listen.
    pub bind: Bind,
    /// What clients speak.
    pub protocol: Protocol,
    /// Tag of memcached's proxy (`-l tag_NAME_:…`); empty when none.
    pub tag: String,
    /// Where requests go.
    pub route: RouteId,
    /// Length of the kernel's accept queue.
    pub backlog: u32,
    /// What administrative commands clients of this listener may use.
    pub allow: Allow,
    /// Users that clients have to authenticate as; empty when no authentication is asked for. The
    /// Redis command `AUTH` with a password alone means the user `default`.
    pub users: Vec<User>,
    /// Most requests taken from one client before others get a turn (memcached's `-R`).
    pub requests_per_turn_max: usize,
    /// How closely twemproxy's treatment of clients is kept.
    pub compat: Compat,
    /// TCP keepalive on client sockets.
    pub keepalive: bool,
}

/// How closely twemproxy's treatment of clients is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compat {
    /// Errors for what cannot be done; a connection is closed only where its bytes make no sense.
    #[default]
    Native,
    /// twemproxy's grammar, error texts and silent closing, but connection commands (`HELLO`,
    /// `CLIENT` …), sessions and other commands with a key work.
    Nutcracker,
    /// As twemproxy in everything: what it does not know closes the connection.
    Strict,
}

/// A user of memcached's text authentication (`-Y`), or of Redis' `AUTH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Name sent by the client.
    pub name: String,
    /// Password sent by the client.
    pub password: String,
}

/// A local address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Bind {
    /// TCP, IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A Unix stream socket and the permission bits of its file.
    Unix {
        /// Path of the socket file; a stale file is replaced.
        path: PathBuf,
        /// Permission bits, such as 0o700.
        mode: u32,
    },
    /// memcached's UDP protocol, answered by the embedded store only.
    Udp(SocketAddr),
}

/// What a listener's clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    /// memcached: told apart by the first byte between text (classic and meta) and binary. Binary
    /// is answered only where the route is the embedded store.
    #[default]
    Memcached,
    /// memcached text (classic and meta) only.
    MemcachedText,
    /// memcached binary only.
    MemcachedBinary,
    /// Redis: RESP2, RESP3 after `HELLO 3`, and inline commands.
    Redis,
    /// By the first byte: `*` is Redis, anything else memcached. Only where the route is the
    /// embedded store.
    Auto,
}

/// Commands that change or disturb more than one key. Each is refused with an error unless allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allow {
    /// `flush_all`: on the store directly, on pools sent to every backend.
    pub flush: bool,
    /// `shutdown` (memcached's `-A`).
    pub shutdown: bool,
    /// `lru_crawler metadump`/`mgdump`, `stats cachedump` (off with memcached's `-X`).
    pub dump: bool,
    /// `watch` (off with memcached's `-W`).
    pub watch: bool,
}

impl Default for Allow {
    fn default() -> Self {
        Allow { flush: false, shutdown: false, dump: true, watch: true }
    }
}

/// A named rule from requests to where they are answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Unique name, used in metrics, logs and `explain`.
    pub name: String,
    /// What it does.
    pub kind: RouteKind,
}

/// What a route does with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteKind {
    /// To the backend of this pool that the key hashes to.
    Pool(PoolId),
    /// To the embedded store.
    Store,
    /// Answered as if nothing were stored anywhere: gets miss, writes are "not stored".
    Null,
    /// Answered with `SERVER_ERROR` and this text.
    Error(String),
    /// By the longest matching key prefix.
    Prefix {
        /// Prefixes and where they lead. No prefix occurs twice; order does not matter.
        cases: Vec<(Vec<u8>, RouteId)>,
        /// For keys without any of the prefixes.
        otherwise: RouteId,
    },
    /// By command.
    Command {
        /// For each class of commands that differs. No class occurs twice.
        cases: Vec<(CommandClass, RouteId)>,
        /// For the others.
        otherwise: RouteId,
    },
    /// Tries children in order until one gives an acceptable reply.
    Failover {
        /// At least two.
        children: Vec<RouteId>,
        /// Which outcomes go on to the next child.
        on: FailoverOn,
        /// Most failovers started, as a share of requests (token bucket), so that a broken pool
        /// does not double the load of the next one; `None` is unlimited.
        budget_percent: Option<u8>,
    },
    /// Sends to all children and answers when all have answered: with the worst reply.
    AllSync {
        /// At least two. The first one's reply is given when all succeed.
        children: Vec<RouteId>,
    },
    /// Sends to all children and answers with the first good reply; the others are discarded.
    AllFastest {
        /// At least two.
        children: Vec<RouteId>,
    },
}

/// Which outcomes make a failover route try its next child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailoverOn {
    /// Network failures, time-outs, and error lines.
    pub errors: bool,
    /// A miss of a retrieval (`END`, `EN`).
    pub misses: bool,
}

impl Default for FailoverOn {
    fn default() -> Self {
        FailoverOn { errors: true, misses: false }
    }
}

/// Commands by what they do; the unit of routing by command, of counters and of histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CommandClass {
    /// `get`, `gets`, `mg` without a time to live.
    Get = 0,
    /// `set`, `add`, `replace`, `append`, `prepend`, `cas`, `ms`.
    Set = 1,
    /// `delete`, `md`.
    Delete = 2,
    /// `incr`, `decr`, `ma`.
    Arith = 3,
    /// `touch`, `gat`, `gats`, `mg` with `T`.
    Touch = 4,
    /// Everything else: `version`, `stats`, `mn`, `me`, `flush_all` …
    Other = 5,
}

impl CommandClass {
    /// How many classes there are.
    pub const COUNT: usize = 6;
    /// All classes in order of their numbers.
    pub const ALL: [CommandClass; Self::COUNT] = [
        CommandClass::Get,
        CommandClass::Set,
        CommandClass::Delete,
        CommandClass::Arith,
        CommandClass::Touch,
        CommandClass::Other,
    ];

    /// The word used in configuration files and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            CommandClass::Get => "get",
            CommandClass::Set => "set",
            CommandClass::Delete => "delete",
            CommandClass::Arith => "arith",
            CommandClass::Touch => "touch",
            CommandClass::Other => "other",
        }
    }
}

/// Backends that share keys by hashing.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Unique name.
    pub name: String,
    /// The servers, in the order that placement counts. At least one.
    pub backends: Vec<Backend>,
    /// From hash to backend.
    pub distribution: Distribution,
    /// From key to hash.
    pub hash: Hash,
    /// Which part of a key is hashed.
    pub key_part: KeyPart,
    /// Seed of the XXH3 hash; 0 is the unseeded function.
    pub hash_seed: u64,
    /// How its backends are spoken to.
    pub link: Link,
    /// Whether backends that keep failing leave the ring.
    pub ejection: Option<Ejection>,
}

/// One server of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Name that ketama hashes in place of the address, and that metrics show; as written.
    pub name: String,
    /// Host as written (a name, an address, or the path of a Unix socket); ring hash uses it.
    pub host: String,
    /// Port as written; 0 for Unix sockets.
    pub port: u16,
    /// Weight in ketama and modula. At least 1.
    pub weight: u32,
    /// Where to connect; `None` while the name has not been resolved.
    pub address: Option<Address>,
}

/// A resolved address to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP, IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
}

/// From a hash to a backend of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// twemproxy's ketama: 160 points for each average weight, MD5 of `name-N`.
    Ketama,
    /// Hash modulo total weight.
    Modula,
    /// Any backend, chosen anew for each request.
    Random,
    /// Lamping and Veach's jump consistent hash.
    Jump,
    /// The ring of memcached's proxy.
    Ring {
        /// Which strings make the points.
        mode: RingMode,
        /// Points for each backend. At least 1; memcached's default is 160.
        points: u32,
    },
}

/// Strings that the points of [`Distribution::Ring`] are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingMode {
    /// XXH3 of `host:port-k`.
    Default,
    /// MD5 of `host:port-k`, four points each.
    Ketama,
    /// As `Ketama`, with `host-k` where the port is 11211.
    Twemproxy,
    /// MD5 of `host-k/host:port-k`-style EVCache strings.
    EvCache,
}

/// Hash of a key. All but `Xxh3` and `RingMd5` are twemproxy's, bit for bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Hash {
    OneAtATime,
    Md5,
    Crc16,
    Crc32,
    Crc32a,
    Fnv1_64,
    Fnv1a64,
    Fnv1_32,
    Fnv1a32,
    Hsieh,
    Murmur,
    Jenkins,
    /// 64-bit XXH3 with the pool's seed: memcached's proxy's default.
    Xxh3,
    /// First four bytes of MD5, little-endian, seed ignored: `mcp.dist_ring_hash.hash`.
    RingMd5,
}

/// Which bytes of a key are hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// All of it.
    Whole,
    /// What stands between the first `open` and the next `close`; the whole key where that is
    /// missing. twemproxy's `hash_tag` ignores an empty match, memcached's `tags` hashes the empty
    /// string.
    Tag {
        /// Opening byte.
        open: u8,
        /// Closing byte.
        close: u8,
        /// Whether an empty match counts (memcached's proxy) or means the whole key (twemproxy).
        empty_counts: bool,
    },
    /// What stands before the first occurrence of this string; the whole key where it is missing.
    Stop(Vec<u8>),
}

/// What the servers of a pool speak.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum LinkProtocol {
    /// memcached text.
    #[default]
    Memcached,
    /// RESP2 towards RESP2 clients, RESP3 towards RESP3 clients.
    Redis(RedisLogin),
}

/// What a new connection to a Redis server says first.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RedisLogin {
    /// User for `AUTH`; `None` with a password is the server's default user.
    pub user: Option<String>,
    /// Password for `AUTH`; `None` sends none.
    pub password: Option<String>,
    /// Database to `SELECT`; 0 sends none.
    pub database: u32,
    /// twemproxy's order: `SELECT` before `AUTH`, and never over Unix sockets, so that with a
    /// password data stays in database 0.
    pub select_first: bool,
    /// A refused `AUTH` or `SELECT` is ignored, as by twemproxy: clients then get the server's
    /// errors. Otherwise the connection is given up.
    pub refusal_is_ignored: bool,
}

/// How the backends of a pool are spoken to.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// What they speak.
    pub protocol: LinkProtocol,
    /// Connections are made when a request needs one, and a request for a server that cannot be
    /// reached tries anew each time. Otherwise they are made at start and kept up, with pauses
    /// between tries during which requests are refused at once.
    pub on_demand: bool,
    /// With `on_demand`: one connection to each server is made at start nevertheless.
    pub preconnect: bool,
    /// A new connection is used only after the server has answered (`version`, `PING`), and idle
    /// ones are asked now and then whether they still live.
    pub handshake: bool,
    /// `read_timeout` counts for each request from when it was queued, connecting included.
    /// Otherwise it is the longest silence while replies are owed.
    pub timeout_each: bool,
    /// Replies of Redis servers that begin with `-OOM`, `-BUSY` or `-LOADING` close the connection
    /// and fail all requests on it, as in twemproxy. Otherwise they are passed on.
    pub refusals_fail: bool,
    /// Most connections of their own that clients in a session (transaction, subscription, blocking
    /// command) may hold to one backend from one worker.
    pub sessions_max: usize,
    /// Shared connections to each backend from each worker. At least 1.
    pub connections: usize,
    /// Most connections of their own that large values may open to one backend from one worker.
    pub large_lanes_max: usize,
    /// TCP connect limit. Zero is the kernel's own.
    pub connect_timeout: Duration,
    /// Longest silence while replies are owed; see also `timeout_each`. Zero is no limit.
    pub read_timeout: Duration,
    /// First wait before a connection is tried again; doubles with jitter up to `retry_max`.
    pub retry: Duration,
    /// Longest wait between tries.
    pub retry_max: Duration,
    /// Failures in a row after which requests are refused at once while retries go on.
    pub failure_limit: u32,
    /// Most requests owed by one connection; more are refused at once.
    pub depth_max: usize,
    /// TCP keepalive to backends.
    pub keepalive: bool,
    /// Longest time sent bytes may stay unacknowledged (TCP_USER_TIMEOUT); zero is the kernel's
    /// own.
    pub user_timeout: Duration,
    /// Multi-key retrievals with a failed backend: `true` treats its keys as missing, `false`
    /// answers `SERVER_ERROR backend failure`.
    pub multiget_failure_is_miss: bool,
}

impl Default for Link {
    fn default() -> Self {
        Link {
            protocol: LinkProtocol::Memcached,
            on_demand: false,
            preconnect: false,
            handshake: true,
            timeout_each: false,
            refusals_fail: false,
            sessions_max: 256,
            connections: 1,
            large_lanes_max: 4,
            connect_timeout: Duration::from_secs(1),
            read_timeout: Duration::from_secs(3),
            retry: Duration::from_millis(100),
            retry_max: Duration::from_secs(1),
            failure_limit: 3,
            depth_max: 32_768,
            keepalive: true,
            user_timeout: Duration::ZERO,
            multiget_failure_is_miss: false,
        }
    }
}

/// Taking failing backends out of the ring. Keys then move to others, and move back later: values
/// written meanwhile are stale after that. Off by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ejection {
    /// How long a backend stays out before it is tried again.
    pub retry: Duration,
    /// Lost connections in a row after which it leaves. 0 means the same as 1.
    pub failure_limit: u32,
    /// A backend returns only once it has answered; otherwise the first request after `retry` is
    /// the try.
    pub heartbeat: bool,
    /// Connections that the server closes while nothing is owed on them count as failures, and
    /// failures of a backend that is out already keep it out longer, as in twemproxy.
    pub counts_idle_close: bool,
}

impl Ejection {
    /// Out for `retry` after `failure_limit` failures; back once it answers.
    pub fn with_heartbeat(retry: Duration, failure_limit: u32) -> Ejection {
        Ejection { retry, failure_limit, heartbeat: true, counts_idle_close: false }
    }
}

/// The embedded store.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreOptions {
    /// Bound on memory for items and their index, in bytes.
    pub memory_bytes_max: u64,
    /// Largest item (key, value and header), in bytes; memcached's `-I`, default 1 MiB.
    pub item_bytes_max: u64,
    /// `true`: make room by eviction. `false` (memcached's `-M`): refuse to store.
    pub evict: bool,
    /// Whether items carry CAS numbers (off with memcached's `-C`).
    pub cas: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions { memory_bytes_max: 64 << 20, item_bytes_max: 1 << 20, evict: true, cas: true }
    }
}

/// Bounds on what grows. Each names its one effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Open clients over all listeners; beyond it accepting stops until one leaves.
    pub clients_max: usize,
    /// Requests read ahead from one client; at the limit its socket is not read.
    pub owed_max: usize,
    /// Bytes held for one client (unsent replies, held replies, partial requests) at which its
    /// socket is not read any more.
    pub client_bytes_pause: usize,
    /// Bytes held for one client at which it is closed.
    pub client_bytes_max: usize,
    /// Bytes queued towards one backend connection; beyond it requests are refused at once.
    pub backend_bytes_max: usize,
    /// Bytes held by one worker for all clients together; beyond it no request is begun, and the
    /// client that holds most is closed.
    pub worker_bytes_max: usize,
    /// Largest value a proxied request may carry or a reply may bring; larger ones are refused.
    pub value_bytes_max: u64,
    /// Largest request of a Redis client, in bytes; a larger one closes the connection.
    pub request_bytes_max: usize,
    /// Values above this travel on a connection of their own.
    pub large_value_bytes: u64,
    /// A client that sends nothing for so long is closed; zero is never.
    pub client_idle: Duration,
    /// TCP_USER_TIMEOUT of client sockets; zero is the kernel's own.
    pub client_user_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            clients_max: 10_000,
            owed_max: 1024,
            client_bytes_pause: 1 << 20,
            client_bytes_max: 64 << 20,
            backend_bytes_max: 64 << 20,
            worker_bytes_max: 1 << 30,
            value_bytes_max: 1 << 30,
            request_bytes_max: 512 << 20,
            large_value_bytes: 2 << 20,
            client_idle: Duration::ZERO,
            client_user_timeout: Duration::ZERO,
        }
    }
}

impl Config {
    /// The configuration of `keyway` started without a file: the embedded store on `bind`.
    pub fn embedded(bind: SocketAddr, workers: usize) -> Config {
        let listener = Listener {
            name: "default".into(),
            bind: Bind::Tcp(bind),
            protocol: Protocol::Auto,
            tag: String::new(),
            route: 0,
            backlog: 1024,
            allow: Allow { flush: true, ..Allow::default() },
            users: Vec::new(),
            requests_per_turn_max: 20,
            compat: Compat::Native,
            keepalive: true,
        };
        Config {
            workers,
            engine: EngineChoice::Auto,
            admin: None,
            listeners: vec![listener],
            pools: Vec::new(),
            routes: vec![Route { name: "store".into(), kind: RouteKind::Store }],
            store: Some(StoreOptions::default()),
            limits: Limits::default(),
            drain_timeout: Duration::from_secs(10),
        }
    }
}
