//! Every key of the native file: its kind, limits, default and effect, as rows of tables.
//!
//! The reader takes names, limits and hints from here; the JSON schema and the reference in
//! docs/configuration.md are generated from here. A key that is not a row does not exist.

use std::time::Duration;

/// A table of the file.
pub struct Section {
    /// How it is written, such as `pools.NAME`.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Its keys, in the order of the reference.
    pub keys: &'static [Key],
}

/// One key.
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What holds without it, as it would be written in the file, or in words after a `:`.
    pub default: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// What values a key takes.
#[derive(Clone, Copy)]
pub enum Kind {
    /// A number of bytes within these bounds: `512`, `"64MiB"`.
    Bytes {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A time within these bounds: `"250ms"`, `"3s"`.
    Time {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
        /// Whether `0` is accepted as well, with the meaning "off".
        zero: bool,
    },
    /// A whole number within these bounds.
    Count {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Several of these words, as a list.
    Words(&'static [&'static str]),
    /// A string.
    Text,
    /// Something with a syntax of its own, named here and described in the reference.
    Form(Form),
}

/// Values with a syntax of their own.
#[derive(Clone, Copy)]
pub enum Form {
    /// Where to listen, or a list of that.
    Bind,
    /// `"IP:PORT"` or `false`.
    Admin,
    /// A number or `"auto"`.
    Workers,
    /// A table of user names and passwords.
    Users,
    /// Octal permission bits.
    Mode,
    /// A list of servers.
    Servers,
    /// Two bytes, or a table.
    HashTag,
    /// A number, or a text that is hashed.
    Seed,
    /// `false`, `true`, a time, or a table.
    Eject,
    /// A route: a name or a table.
    Route,
    /// A list of routes.
    Routes,
    /// A table from key prefixes to routes.
    Prefixes,
    /// A table from command classes to routes.
    Commands,
    /// Named tables of this section.
    Named(&'static Section),
    /// One table of this section.
    Table(&'static Section),
}

impl Section {
    /// The row of `name`.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// All sections, in the order of the reference.
pub static SECTIONS: [&Section; 9] =
    [&ROOT, &LISTENER, &POOL, &SERVER, &HASH_TAG, &EJECT, &ROUTE, &STORE, &LIMITS];

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(30 * 86_400);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

const fn time(min: Duration, max: Duration) -> Kind {
    Kind::Time { min, max, zero: false }
}

const fn time_or_off(min: Duration, max: Duration) -> Kind {
    Kind::Time { min, max, zero: true }
}

const fn key(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key { name, kind, default, about }
}

/// The top of the file.
pub static ROOT: Section = Section {
    name: "",
    about: "The top of the file. An empty file is the embedded store on 127.0.0.1:11211.",
    keys: &[
        key(
            "workers",
            Kind::Form(Form::Workers),
            "\"auto\"",
            "Worker threads. Each accepts a share of the clients and has its own connections to \
             every server. `\"auto\"` is the number of processors this process may use.",
        ),
        key(
            "engine",
            Kind::Choice(&["auto", "epoll", "io_uring"]),
            "\"auto\"",
            "Which kernel interface the workers use. `io_uring` that the kernel refuses is logged \
             once, and epoll takes over.",
        ),
        key(
            "admin",
            Kind::Form(Form::Admin),
            "\"127.0.0.1:9911\"",
            "Where the admin HTTP server listens; `false` turns it off. It asks for no password: \
             an address that is not loopback is warned about.",
        ),
        key(
            "drain_timeout",
            time_or_off(MS, DAY),
            "\"10s\"",
            "How long a stopping process waits for replies that are owed before it closes what \
             is left. `0` closes at once.",
        ),
        key(
            "listeners",
            Kind::Form(Form::Named(&LISTENER)),
            ": one named `default` on 127.0.0.1:11211, or 127.0.0.1:6379 where it speaks Redis",
            "Addresses we accept clients on.",
        ),
        key(
            "pools",
            Kind::Form(Form::Named(&POOL)),
            ": none",
            "Groups of servers that share keys by hashing.",
        ),
        key(
            "routes",
            Kind::Form(Form::Named(&ROUTE)),
            ": none",
            "Rules from requests to pools, the embedded store or a policy.",
        ),
        key(
            "store",
            Kind::Form(Form::Table(&STORE)),
            ": all defaults",
            "The embedded store. It exists when a route leads to it.",
        ),
        key("limits", Kind::Form(Form::Table(&LIMITS)), ": all defaults", "Bounds on what grows."),
    ],
};

/// `listeners.NAME`.
pub static LISTENER: Section = Section {
    name: "listeners.NAME",
    about: "An address we accept clients on. NAME is used in metrics and logs.",
    keys: &[
        key(
            "address",
            Kind::Form(Form::Bind),
            ": required",
            "Where to listen: `\"127.0.0.1:11211\"`, `\"[::1]:11211\"`, `\"*:11211\"` (every IPv4 \
             address), `\"unix:/run/keyway.sock\"`, `\"udp:127.0.0.1:11211\"` (embedded store \
             only), or a list of these. Port 0 lets the kernel choose.",
        ),
        key(
            "protocol",
            Kind::Choice(&["memcached", "memcached_text", "memcached_binary", "redis", "auto"]),
            ": what the servers speak that the route leads to; `auto` on the embedded store",
            "What clients speak. `memcached` tells text and binary apart by the first byte; \
             binary is answered only where the route is the embedded store. `redis` is RESP2, and \
             RESP3 after `HELLO 3`. `auto`, for the embedded store only, takes both: `*` as the \
             first byte is Redis.",
        ),
        key(
            "route",
            Kind::Form(Form::Route),
            ": `routes.default`, or else the only route, or else the only pool, or else `store`",
            "Where requests go: the name of a route or pool, `\"store\"`, `\"null\"`, or a route \
             written in place.",
        ),
        key(
            "tag",
            Kind::Text,
            "\"\"",
            "Tag of the listener, at most 8 bytes, as memcached's `-l tag_NAME_:` gives it.",
        ),
        key(
            "backlog",
            Kind::Count { min: 0, max: i32::MAX as u64 },
            "1024",
            "Connections the kernel keeps while they wait to be accepted; beyond it new ones are \
             dropped by the kernel.",
        ),
        key(
            "allow",
            Kind::Words(&["flush", "shutdown", "dump", "watch"]),
            ": `dump` and `watch`; where the route is `\"store\"`, `flush` as well",
            "Administrative commands that clients may use: `flush_all`; `shutdown`; `lru_crawler \
             metadump` and `mgdump`, `stats cachedump`; `watch`. Others are refused with an error.",
        ),
        key(
            "users",
            Kind::Form(Form::Users),
            ": none, no authentication",
            "Users and passwords: `{ app = \"secret\" }`. memcached's clients log in with their \
             first `set` and speak text; Redis' clients with `AUTH` or `HELLO`, where a password \
             alone is that of the user `default`.",
        ),
        key(
            "mode",
            Kind::Form(Form::Mode),
            "\"0700\"",
            "Permission bits of a Unix socket, octal. `\"0\"` leaves them to the umask.",
        ),
        key(
            "requests_per_turn_max",
            Kind::Count { min: 1, max: 100_000 },
            "20",
            "Most requests taken from one client before others get a turn (memcached's `-R`).",
        ),
        key("keepalive", Kind::Flag, "true", "TCP keepalive on connections of clients."),
        key(
            "compat",
            Kind::Choice(&["native", "nutcracker", "strict"]),
            "\"native\"",
            "How closely nutcracker's treatment of clients is kept. `native` answers errors; \
             `nutcracker` has its grammar, its error texts and its closing without a word, but \
             knows more commands; `strict` is nutcracker in everything.",
        ),
    ],
};

/// `pools.NAME`.
pub static POOL: Section = Section {
    name: "pools.NAME",
    about: "Servers that share keys by hashing. NAME can be used wherever a route is expected.",
    keys: &[
        key(
            "servers",
            Kind::Form(Form::Servers),
            ": required",
            "The servers, in the order that placement counts: `\"host:port\"`, \
             `\"host:port:weight\"`, `\"host:port:weight name\"`, `\"unix:/path\"`, or tables. \
             The port may be omitted and is 11211 then.",
        ),
        key(
            "protocol",
            Kind::Choice(&["memcached", "redis"]),
            "\"memcached\"",
            "What the servers speak. Listeners that lead here speak the same.",
        ),
        key(
            "distribution",
            Kind::Choice(&["ketama", "jump", "ring", "modula", "random"]),
            "\"ketama\"",
            "From hash to server. `ketama`, `modula` and `random` are nutcracker's, bit for bit; \
             `jump` and `ring` are those of memcached's proxy.",
        ),
        key(
            "hash",
            Kind::Choice(&HASH_NAMES),
            "\"xxh3\"",
            "From key to hash. `xxh3` and `ring_md5` are those of memcached's proxy, the others \
             nutcracker's, whose default is `fnv1a_64`.",
        ),
        key(
            "hash_seed",
            Kind::Form(Form::Seed),
            "0",
            "Seed of `xxh3`: a number, or a text that is hashed itself as memcached's proxy does \
             with `seed`. An error with other hashes.",
        ),
        key(
            "hash_tag",
            Kind::Form(Form::HashTag),
            ": none, the whole key is hashed",
            "Hash only what stands between these two bytes: `\"{}\"`. A key without them, or with \
             nothing between them, is hashed whole.",
        ),
        key(
            "hash_stop",
            Kind::Text,
            ": none, the whole key is hashed",
            "Hash only what stands before the first occurrence of this text. Excludes `hash_tag`.",
        ),
        key(
            "ring_mode",
            Kind::Choice(&["default", "ketama", "twemproxy", "evcache"]),
            "\"default\"",
            "Which strings make the points of `distribution = \"ring\"`; an error with others.",
        ),
        key(
            "ring_points",
            Kind::Count { min: 1, max: 10_000 },
            "160",
            "Points of each server on the ring; an error with distributions other than `ring`.",
        ),
        key(
            "connections",
            Kind::Count { min: 1, max: 256 },
            "1",
            "Connections to each server from each worker. Requests of all clients share them.",
        ),
        key(
            "large_connections_max",
            Kind::Count { min: 0, max: 256 },
            "4",
            "Most further connections from each worker to each server that carry values above \
             `limits.large_value_bytes`, so that small requests do not wait behind large ones.",
        ),
        key(
            "connect_timeout",
            time_or_off(MS, HOUR),
            "\"1s\"",
            "Longest time for opening a connection; then it counts as failed. `0` leaves it to the \
             kernel, which takes minutes.",
        ),
        key(
            "read_timeout",
            time_or_off(MS, HOUR),
            "\"3s\"",
            "Longest silence of a server that owes replies; then its connection is closed and all \
             who wait on it get an error. Also how long a large value waits for a connection of \
             its own, and for a server that takes nothing of it. `0` is for ever.",
        ),
        key(
            "timeout_of",
            Kind::Choice(&["silence", "request"]),
            "\"silence\"",
            "What `read_timeout` limits: the silence of a server that owes replies, or, as in \
             nutcracker, the time of each request from when it was queued, connecting included.",
        ),
        key(
            "on_demand",
            Kind::Flag,
            "false",
            "`true` connects when a request needs it, and tries anew for each request, as \
             nutcracker does. `false` connects at start and keeps trying in the background, while \
             requests to a server that is away are refused at once.",
        ),
        key(
            "preconnect",
            Kind::Flag,
            "false",
            "With `on_demand`: one connection to each server is made at start nevertheless.",
        ),
        key(
            "handshake",
            Kind::Flag,
            "true",
            "Whether a new connection must answer (`version`, `PING`) before it is used, and idle \
             ones are asked now and then whether they still live.",
        ),
        key(
            "retry",
            time(MS, HOUR),
            "\"100ms\"",
            "First wait before a failed connection is tried again. Doubles, with jitter, up to \
             `retry_max`.",
        ),
        key(
            "retry_max",
            time(MS, DAY),
            "\"1s\"",
            "Longest wait before a failed connection is tried again.",
        ),
        key(
            "failure_limit",
            Kind::Count { min: 1, max: 1_000_000 },
            "3",
            "Failures in a row after which requests to a server are refused at once, while \
             retries go on in the background.",
        ),
        key(
            "eject",
            Kind::Form(Form::Eject),
            "false",
            "`\"30s\"`: a server that reached `failure_limit` leaves the ring for so long and its \
             keys move to others. Values written meanwhile are stale once it is back, which is \
             when it answers again. A table says more.",
        ),
        key(
            "depth_max",
            Kind::Count { min: 1, max: 10_000_000 },
            "32768",
            "Most requests owed by one connection; more are refused at once.",
        ),
        key("keepalive", Kind::Flag, "true", "TCP keepalive on connections to servers."),
        key(
            "user_timeout",
            time_or_off(MS, HOUR),
            "0",
            "Longest time that sent bytes may stay unacknowledged (TCP_USER_TIMEOUT). `0` leaves \
             it to the kernel.",
        ),
        key(
            "multiget_failure",
            Kind::Choice(&["error", "miss"]),
            "\"error\"",
            "What a multi-key get answers when one of its servers fails: `SERVER_ERROR`, or the \
             keys of that server as missing.",
        ),
        key(
            "user",
            Kind::Text,
            ": none",
            "User that Redis servers are logged in to as; needs `password`. Without it, a password \
             is that of the server's default user.",
        ),
        key("password", Kind::Text, ": none", "Password that is sent to Redis servers."),
        key(
            "database",
            Kind::Count { min: 0, max: i32::MAX as u64 },
            "0",
            "Database of the Redis servers. Clients cannot choose another.",
        ),
        key(
            "login_order",
            Kind::Choice(&["auth_first", "select_first"]),
            "\"auth_first\"",
            "`select_first` is nutcracker's mistake: with a password the servers refuse the \
             `SELECT`, over Unix sockets there is none, and data stays in database 0.",
        ),
        key(
            "login_refused",
            Kind::Choice(&["close", "ignore"]),
            "\"close\"",
            "What happens when a Redis server refuses `AUTH` or `SELECT`: the connection is given \
             up, or used nevertheless, as by nutcracker.",
        ),
        key(
            "refusals",
            Kind::Choice(&["pass", "fail"]),
            "\"pass\"",
            "Replies of Redis servers that begin with `-OOM`, `-BUSY` or `-LOADING`: passed on, \
             or, as in nutcracker, the end of the connection and of all requests on it.",
        ),
        key(
            "sessions_max",
            Kind::Count { min: 0, max: 100_000 },
            "256",
            "Most connections to each Redis server from each worker that clients have to \
             themselves (transactions, subscriptions, blocking commands). Beyond it, such commands \
             are refused.",
        ),
    ],
};

/// The words of `hash`.
pub const HASH_NAMES: [&str; 14] = [
    "one_at_a_time",
    "md5",
    "crc16",
    "crc32",
    "crc32a",
    "fnv1_64",
    "fnv1a_64",
    "fnv1_32",
    "fnv1a_32",
    "hsieh",
    "murmur",
    "jenkins",
    "xxh3",
    "ring_md5",
];

/// A table in `servers`.
pub static SERVER: Section = Section {
    name: "pools.NAME.servers[]",
    about: "A server written as a table.",
    keys: &[
        key(
            "address",
            Kind::Text,
            ": required",
            "`\"host:port\"`, `\"host\"` or `\"unix:/path\"`.",
        ),
        key(
            "weight",
            Kind::Count { min: 1, max: i32::MAX as u64 },
            "1",
            "Share of keys relative to the others, with `ketama` and `modula`.",
        ),
        key(
            "name",
            Kind::Text,
            ": `host:port` as written, `host` where the port is 11211, the path of a Unix socket",
            "What `ketama` hashes in place of the address, and what metrics show. With a name, a \
             server can move to another address and keep its keys.",
        ),
    ],
};

/// `hash_tag` as a table.
pub static HASH_TAG: Section = Section {
    name: "pools.NAME.hash_tag",
    about: "`hash_tag` written as a table.",
    keys: &[
        key("open", Kind::Text, ": required", "Opening byte."),
        key("close", Kind::Text, ": required", "Closing byte."),
        key(
            "empty",
            Kind::Choice(&["whole", "empty"]),
            "\"whole\"",
            "What is hashed when nothing stands between the two: the whole key (nutcracker) or \
             the empty string (memcached's proxy).",
        ),
    ],
};

/// `eject` as a table.
pub static EJECT: Section = Section {
    name: "pools.NAME.eject",
    about: "`eject` written as a table.",
    keys: &[
        key(
            "after",
            Kind::Count { min: 0, max: 1_000_000 },
            ": `failure_limit` of the pool",
            "Connections lost in a row after which a server leaves. 0 means 1.",
        ),
        key(
            "time",
            time_or_off(MS, MONTH),
            "\"30s\"",
            "How long it stays out before it is tried again.",
        ),
        key(
            "heartbeat",
            Kind::Flag,
            "true",
            "Whether it returns only once it has answered. Otherwise the next request is the try.",
        ),
        key(
            "idle_close",
            Kind::Choice(&["ignore", "count"]),
            "\"ignore\"",
            "`count`, as in nutcracker: connections that the server closes while it owes nothing \
             count as lost, and what is lost while it is out keeps it out longer.",
        ),
    ],
};

/// `routes.NAME`, or a route in place.
pub static ROUTE: Section = Section {
    name: "routes.NAME",
    about: "A route: a string (the name of a pool or route, `\"store\"`, `\"null\"`), or a table \
            of one of these shapes: `{ prefix, default }`, `{ command, default }`, `{ failover, \
            on, budget }`, `{ all_sync }`, `{ all_fastest }`, `{ error }`. Routes can be written \
            in place wherever one is expected.",
    keys: &[
        key(
            "prefix",
            Kind::Form(Form::Prefixes),
            ":",
            "By the longest matching prefix of the key: `{ \"user:\" = \"users\" }`.",
        ),
        key(
            "command",
            Kind::Form(Form::Commands),
            ":",
            "By command: `{ get = \"replicas\" }`. The classes are `get` (get gets mg), `set` (set \
             add replace append prepend cas ms), `delete` (delete md), `arith` (incr decr ma), \
             `touch` (touch gat gats, mg with T), `other`; Redis' commands by what they do.",
        ),
        key(
            "default",
            Kind::Form(Form::Route),
            ": required with `prefix`, and with `command` unless it names every class",
            "For requests that no case of `prefix` or `command` matches.",
        ),
        key(
            "failover",
            Kind::Form(Form::Routes),
            ":",
            "At least two routes, tried in order until one gives an acceptable reply.",
        ),
        key(
            "on",
            Kind::Words(&["error", "miss"]),
            "[\"error\"]",
            "Which outcomes make `failover` go on: network failures, time-outs and error lines; \
             misses of retrievals.",
        ),
        key(
            "budget",
            Kind::Count { min: 1, max: 100 },
            ": unlimited",
            "Most failovers as a percentage of requests, so that a broken pool does not double \
             the load of the next one.",
        ),
        key(
            "all_sync",
            Kind::Form(Form::Routes),
            ":",
            "At least two routes. Sends to all, answers when all have answered: with the worst \
             reply.",
        ),
        key(
            "all_fastest",
            Kind::Form(Form::Routes),
            ":",
            "At least two routes. Sends to all, answers with the first good reply.",
        ),
        key(
            "error",
            Kind::Text,
            ":",
            "Answers every request with `SERVER_ERROR`, to clients of Redis `-ERR`, and this text.",
        ),
    ],
};

/// `store`.
pub static STORE: Section = Section {
    name: "store",
    about: "The embedded store.",
    keys: &[
        key(
            "memory",
            Kind::Bytes { min: MIB, max: 64 * TIB },
            "\"64MiB\"",
            "Bound on memory for items and their index.",
        ),
        key(
            "item_bytes_max",
            Kind::Bytes { min: KIB, max: GIB },
            "\"1MiB\"",
            "Largest item: key, value and header. At most half of `memory`. Larger ones are \
             refused with `SERVER_ERROR object too large for cache`.",
        ),
        key(
            "evict",
            Kind::Flag,
            "true",
            "`true` makes room by evicting; `false` refuses to store once memory is full.",
        ),
        key("cas", Kind::Flag, "true", "Whether items carry CAS numbers."),
    ],
};

/// `limits`.
pub static LIMITS: Section = Section {
    name: "limits",
    about: "Bounds on what grows. Each has one effect when it is reached.",
    keys: &[
        key(
            "clients_max",
            Kind::Count { min: 1, max: 10_000_000 },
            "10000",
            "Open clients over all listeners. Beyond it, accepting stops until one leaves.",
        ),
        key(
            "owed_max",
            Kind::Count { min: 1, max: 1_000_000 },
            "1024",
            "Requests read ahead from one client. At the limit its socket is not read.",
        ),
        key(
            "client_bytes_pause",
            Kind::Bytes { min: 4 * KIB, max: TIB },
            "\"1MiB\"",
            "Bytes held for one client (unsent and held replies, partial requests) at which its \
             socket is not read any more.",
        ),
        key(
            "client_bytes_max",
            Kind::Bytes { min: 4 * KIB, max: TIB },
            "\"64MiB\"",
            "Bytes held for one client at which it is closed. At least, and by default at least, \
             twice `store.item_bytes_max`.",
        ),
        key(
            "backend_bytes_max",
            Kind::Bytes { min: 4 * KIB, max: TIB },
            "\"64MiB\"",
            "Bytes queued towards one connection to a server. Beyond it, requests are refused at \
             once.",
        ),
        key(
            "worker_bytes_max",
            Kind::Bytes { min: MIB, max: TIB },
            "\"1GiB\"",
            "Bytes held by one worker for all clients together. Beyond it, no request is begun, \
             and the client that holds most is closed.",
        ),
        key(
            "value_bytes_max",
            Kind::Bytes { min: KIB, max: 4 * GIB },
            "\"1GiB\"",
            "Largest value of a proxied request or reply. Larger ones are refused.",
        ),
        key(
            "request_bytes_max",
            Kind::Bytes { min: KIB, max: 4 * GIB },
            "\"512MiB\"",
            "Largest request of a Redis client. A larger one closes the connection.",
        ),
        key(
            "large_value_bytes",
            Kind::Bytes { min: KIB, max: 4 * GIB },
            "\"2MiB\"",
            "Values above this travel on a connection of their own.",
        ),
        key(
            "client_idle",
            time_or_off(Duration::from_secs(1), Duration::from_secs(365 * 86_400)),
            "0",
            "A client that sends nothing for so long is closed. `0` is never.",
        ),
        key(
            "client_user_timeout",
            time_or_off(MS, HOUR),
            "0",
            "Longest time that bytes sent to a client may stay unacknowledged (TCP_USER_TIMEOUT). \
             `0` leaves it to the kernel.",
        ),
    ],
};
