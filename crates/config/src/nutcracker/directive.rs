//! Every directive of a pool, as rows: its name, what it takes, and what it does.
//!
//! The reader finds directives here, hints come from here, and the table in docs/nutcracker.md is
//! compared with it. What is not a row is unknown, and unknown directives make a file unusable.

use keyway_proxy::config::{Distribution, Hash};

/// A directive of a pool.
pub struct Directive {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub(super) kind: Kind,
    /// What holds without it.
    pub default: &'static str,
}

/// What a directive takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Listen,
    Hash,
    HashTag,
    Distribution,
    Number(Number),
    Flag(Flag),
    Auth,
    Servers,
}

/// Directives that take a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Timeout,
    Backlog,
    ClientConnections,
    RedisDb,
    ServerConnections,
    ServerRetryTimeout,
    ServerFailureLimit,
}

/// Directives that take `true` or `false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flag {
    TcpKeepalive,
    ReusePort,
    Redis,
    Preconnect,
    AutoEjectHosts,
}

const fn row(name: &'static str, kind: Kind, default: &'static str) -> Directive {
    Directive { name, kind, default }
}

/// All directives.
pub static DIRECTIVES: [Directive; 17] = [
    row("listen", Kind::Listen, "required"),
    row("hash", Kind::Hash, "fnv1a_64"),
    row("hash_tag", Kind::HashTag, "none"),
    row("distribution", Kind::Distribution, "ketama"),
    row("timeout", Kind::Number(Number::Timeout), "none"),
    row("backlog", Kind::Number(Number::Backlog), "512"),
    row("client_connections", Kind::Number(Number::ClientConnections), "none"),
    row("tcpkeepalive", Kind::Flag(Flag::TcpKeepalive), "false"),
    row("reuseport", Kind::Flag(Flag::ReusePort), "false"),
    row("redis", Kind::Flag(Flag::Redis), "false"),
    row("redis_auth", Kind::Auth, "none"),
    row("redis_db", Kind::Number(Number::RedisDb), "0"),
    row("preconnect", Kind::Flag(Flag::Preconnect), "false"),
    row("auto_eject_hosts", Kind::Flag(Flag::AutoEjectHosts), "false"),
    row("server_connections", Kind::Number(Number::ServerConnections), "1"),
    row("server_retry_timeout", Kind::Number(Number::ServerRetryTimeout), "30000"),
    row("server_failure_limit", Kind::Number(Number::ServerFailureLimit), "2"),
];

/// The sequence of servers, which is a directive as well.
pub(super) const SERVERS: &str = "servers";

/// What the directive `name` takes.
pub(super) fn find(name: &str) -> Option<Kind> {
    if name == SERVERS {
        return Some(Kind::Servers);
    }
    DIRECTIVES.iter().find(|row| row.name == name).map(|row| row.kind)
}

/// The names of all directives.
pub(super) fn names() -> impl Iterator<Item = &'static str> + Clone {
    DIRECTIVES.iter().map(|row| row.name).chain([SERVERS])
}

/// The words of `hash`.
pub(super) const HASHES: [(&str, Hash); 12] = [
    ("one_at_a_time", Hash::OneAtATime),
    ("md5", Hash::Md5),
    ("crc16", Hash::Crc16),
    ("crc32", Hash::Crc32),
    ("crc32a", Hash::Crc32a),
    ("fnv1_64", Hash::Fnv1_64),
    ("fnv1a_64", Hash::Fnv1a64),
    ("fnv1_32", Hash::Fnv1_32),
    ("fnv1a_32", Hash::Fnv1a32),
    ("hsieh", Hash::Hsieh),
    ("murmur", Hash::Murmur),
    ("jenkins", Hash::Jenkins),
];

/// The words of `distribution`.
pub(super) const DISTRIBUTIONS: [(&str, Distribution); 3] = [
    ("ketama", Distribution::Ketama),
    ("modula", Distribution::Modula),
    ("random", Distribution::Random),
];
