//! `pools.NAME`: servers, placement, and how they are spoken to.
//!
//! What counts for placement (names, order, weights, hash) is kept exactly as written: a pool that
//! another proxy served before must find its keys where they were.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use keyway_proxy::config::{
    Backend, Distribution, Ejection, Hash, KeyPart, Link, LinkProtocol, Pool, RedisLogin, RingMode,
};
use toml::de::DeValue;

use super::address::{Wrong, backend_from, name_from};
use super::key::{self, HASH_NAMES};
use super::scalar::duration_text;
use super::section::{Entry, Table, Value, article, integer};
use super::{named, table_of};

/// Reads all pools, each with the place of its name.
pub(super) fn read(top: &Table<'_, '_, '_>) -> Vec<(Pool, Range<usize>)> {
    let mut pools = Vec::new();
    for entry in named(top, "pools") {
        let path = format!("pools.{}", entry.name);
        let help = format!("write `[{path}]` and below it `servers = [\"host:port\", …]`");
        let Some(table) = table_of(top, &entry, &path, &help) else {
            // The name is known even so: references to it are no further mistakes.
            pools.push((unreadable(entry.name), entry.name_span()));
            continue;
        };
        let table = Table::open(&key::POOL, path, entry.name_span(), table, top.findings);
        pools.push((pool(entry.name, &table), entry.name_span()));
    }
    pools
}

fn unreadable(name: &str) -> Pool {
    Pool {
        name: name.to_owned(),
        backends: Vec::new(),
        distribution: Distribution::Random,
        hash: Hash::Xxh3,
        key_part: KeyPart::Whole,
        hash_seed: 0,
        link: Link::default(),
        ejection: None,
    }
}

fn pool(name: &str, table: &Table<'_, '_, '_>) -> Pool {
    let distribution = distribution(table);
    let hash = hash(table, distribution);
    let backends = servers(table, distribution);
    check_ring(table, distribution, backends.len());
    let link = link(table);
    Pool {
        name: name.to_owned(),
        backends,
        distribution,
        hash,
        key_part: key_part(table),
        hash_seed: hash_seed(table, hash),
        ejection: ejection(table, link.failure_limit),
        link,
    }
}

fn distribution(table: &Table<'_, '_, '_>) -> Distribution {
    let mode = match table.choice("ring_mode") {
        Some("ketama") => RingMode::Ketama,
        Some("twemproxy") => RingMode::Twemproxy,
        Some("evcache") => RingMode::EvCache,
        _ => RingMode::Default,
    };
    let mut points = 160;
    table.count_u32("ring_points", &mut points);
    let distribution = match table.choice("distribution") {
        Some("jump") => Distribution::Jump,
        Some("ring") => Distribution::Ring { mode, points },
        Some("modula") => Distribution::Modula,
        Some("random") => Distribution::Random,
        _ => Distribution::Ketama,
    };
    if !matches!(distribution, Distribution::Ring { .. }) {
        for name in ["ring_mode", "ring_points"] {
            if let Some(entry) = table.get(name) {
                let message = format!("`{name}` has no meaning without `distribution = \"ring\"`");
                table.error(entry.name_span(), message, "remove it, or choose `ring`");
            }
        }
    }
    distribution
}

fn check_ring(table: &Table<'_, '_, '_>, distribution: Distribution, servers: usize) {
    let Distribution::Ring { points, .. } = distribution else { return };
    if servers as u64 * u64::from(points) > RING_POINTS_MAX {
        let span = table.get("ring_points").map_or(table.span.clone(), |it| it.value.span());
        let message = format!("the ring would have more than {RING_POINTS_MAX} points");
        table.error(span, message, "every worker holds it; lower `ring_points`");
    }
}

fn hash(table: &Table<'_, '_, '_>, distribution: Distribution) -> Hash {
    // nutcracker's own default, fnv1a_64, puts keys that differ in their last bytes side by side:
    // a handful of such keys may all land on one server.
    let Some(word) = table.choice("hash") else { return Hash::Xxh3 };
    if distribution == Distribution::Random
        && let Some(entry) = table.get("hash")
    {
        let message = "`hash` has no effect with `distribution = \"random\"`";
        table.findings.borrow_mut().warning(entry.name_span(), message, "remove it");
    }
    HASH_NAMES.iter().position(|name| *name == word).map_or(Hash::Xxh3, |at| HASHES[at])
}

/// In the order of [`HASH_NAMES`].
const HASHES: [Hash; HASH_NAMES.len()] = [
    Hash::OneAtATime,
    Hash::Md5,
    Hash::Crc16,
    Hash::Crc32,
    Hash::Crc32a,
    Hash::Fnv1_64,
    Hash::Fnv1a64,
    Hash::Fnv1_32,
    Hash::Fnv1a32,
    Hash::Hsieh,
    Hash::Murmur,
    Hash::Jenkins,
    Hash::Xxh3,
    Hash::RingMd5,
];

fn hash_seed(table: &Table<'_, '_, '_>, hash: Hash) -> u64 {
    let Some(entry) = table.get("hash_seed") else { return 0 };
    if hash != Hash::Xxh3 {
        let message = "`hash_seed` has no meaning without `hash = \"xxh3\"`";
        table.error(entry.name_span(), message, "remove it, or choose `xxh3`");
    }
    match entry.value.get_ref() {
        DeValue::Integer(number) => integer(number).unwrap_or_else(|| {
            let message = "`hash_seed` must be from 0 to 18446744073709551615";
            table.error(entry.value.span(), message, "");
            0
        }),
        // As memcached's proxy does with the text of its `seed` option.
        DeValue::String(text) => keyway_proxy::pool::hash(Hash::Xxh3, 0, text.as_bytes()),
        other => {
            table.wrong_kind(entry, other, "a whole number or a text");
            0
        }
    }
}

fn key_part(table: &Table<'_, '_, '_>) -> KeyPart {
    let tag = table.get("hash_tag").and_then(|entry| hash_tag(table, entry));
    let stop = table.text("hash_stop");
    if let (Some(_), Some(entry)) = (&tag, table.get("hash_stop")) {
        let message = "`hash_stop` cannot be used together with `hash_tag`";
        table.error(entry.name_span(), message, "remove one of them");
    }
    match (tag, stop) {
        (Some(tag), _) => tag,
        (None, Some((text, span))) => {
            if text.is_empty() {
                table.error(span, "`hash_stop` is empty", "remove it to hash the whole key");
            }
            KeyPart::Stop(text.as_bytes().to_vec())
        }
        (None, None) => KeyPart::Whole,
    }
}

fn hash_tag(table: &Table<'_, '_, '_>, entry: Entry<'_>) -> Option<KeyPart> {
    let wrong = |span| {
        let message = "`hash_tag` must be two characters, the opening and the closing one";
        table.error(span, message, "write `hash_tag = \"{}\"`");
    };
    match entry.value.get_ref() {
        DeValue::String(text) => {
            let &[open, close] = text.as_bytes() else {
                wrong(entry.value.span());
                return None;
            };
            Some(KeyPart::Tag { open, close, empty_counts: false })
        }
        DeValue::Table(tag) => {
            let path = format!("{}.hash_tag", table.path);
            let span = entry.name_span();
            let tag = Table::open(&key::HASH_TAG, path, span, tag, table.findings);
            let open = one_byte(&tag, "open", "\"{\"");
            let close = one_byte(&tag, "close", "\"}\"");
            let empty_counts = tag.choice("empty") == Some("empty");
            Some(KeyPart::Tag { open: open?, close: close?, empty_counts })
        }
        _ => {
            wrong(entry.value.span());
            None
        }
    }
}

fn one_byte(tag: &Table<'_, '_, '_>, name: &str, example: &str) -> Option<u8> {
    tag.require(name, example)?;
    let (text, span) = tag.text(name)?;
    if let &[byte] = text.as_bytes() {
        return Some(byte);
    }
    tag.error(span, format!("`{name}` must be one character"), "");
    None
}

fn link(table: &Table<'_, '_, '_>) -> Link {
    let mut link = Link { protocol: link_protocol(table), ..Link::default() };
    table.count_usize("connections", &mut link.connections);
    table.count_usize("large_connections_max", &mut link.large_lanes_max);
    table.time("connect_timeout", &mut link.connect_timeout);
    table.time("read_timeout", &mut link.read_timeout);
    link.timeout_each = table.choice("timeout_of") == Some("request");
    table.flag("on_demand", &mut link.on_demand);
    table.flag("preconnect", &mut link.preconnect);
    table.flag("handshake", &mut link.handshake);
    link.refusals_fail = table.choice("refusals") == Some("fail");
    table.count_usize("sessions_max", &mut link.sessions_max);
    table.time("retry", &mut link.retry);
    table.time("retry_max", &mut link.retry_max);
    table.count_u32("failure_limit", &mut link.failure_limit);
    table.count_usize("depth_max", &mut link.depth_max);
    table.flag("keepalive", &mut link.keepalive);
    table.time("user_timeout", &mut link.user_timeout);
    link.multiget_failure_is_miss = table.choice("multiget_failure") == Some("miss");
    if link.preconnect
        && !link.on_demand
        && let Some(entry) = table.get("preconnect")
    {
        let message = "`preconnect` has no meaning without `on_demand = true`";
        table.error(entry.name_span(), message, "remove it: connections are made at start");
    }
    if link.retry > link.retry_max {
        let entry = table.get("retry").or(table.get("retry_max"));
        let span = entry.map_or(table.span.clone(), |entry| entry.value.span());
        let (retry, max) = (duration_text(link.retry), duration_text(link.retry_max));
        let message = format!("`retry` ({retry}) is longer than `retry_max` ({max})");
        table.error(span, message, "raise `retry_max` or lower `retry`");
    }
    link
}

/// What the servers speak, and how they are logged in to.
fn link_protocol(table: &Table<'_, '_, '_>) -> LinkProtocol {
    if table.choice("protocol") != Some("redis") {
        for name in REDIS_ONLY {
            if let Some(entry) = table.get(name) {
                let message = format!("`{name}` has no meaning in a pool that speaks memcached");
                let help = "remove it, or write `protocol = \"redis\"`";
                table.error(entry.name_span(), message, help);
            }
        }
        return LinkProtocol::Memcached;
    }
    let secret = |name| {
        let (text, span) = table.text(name)?;
        if text.is_empty() || text.len() > SECRET_BYTES_MAX {
            let message = format!("`{name}` must have 1 to {SECRET_BYTES_MAX} bytes");
            table.error(span, message, "remove it if there is none");
        }
        Some(text.to_owned())
    };
    let mut login = RedisLogin {
        user: secret("user"),
        password: secret("password"),
        database: 0,
        select_first: table.choice("login_order") == Some("select_first"),
        refusal_is_ignored: table.choice("login_refused") == Some("ignore"),
    };
    table.count_u32("database", &mut login.database);
    if login.password.is_none()
        && let Some(entry) = table.get("user")
    {
        let message = "`user` has no meaning without `password`";
        table.error(entry.name_span(), message, "add `password = \"…\"`");
    }
    LinkProtocol::Redis(login)
}

fn ejection(table: &Table<'_, '_, '_>, failure_limit: u32) -> Option<Ejection> {
    let entry = table.get("eject")?;
    match entry.value.get_ref() {
        DeValue::Boolean(false) => None,
        DeValue::Boolean(true) => Some(Ejection::with_heartbeat(EJECT_DEFAULT, failure_limit)),
        DeValue::String(_) => {
            let retry = table.time_of(entry, EJECT)?;
            Some(Ejection::with_heartbeat(retry, failure_limit))
        }
        DeValue::Table(eject) => {
            let path = format!("{}.eject", table.path);
            let eject = Table::open(&key::EJECT, path, entry.name_span(), eject, table.findings);
            let mut ejection = Ejection::with_heartbeat(EJECT_DEFAULT, failure_limit);
            eject.count_u32("after", &mut ejection.failure_limit);
            eject.time("time", &mut ejection.retry);
            eject.flag("heartbeat", &mut ejection.heartbeat);
            ejection.counts_idle_close = eject.choice("idle_close") == Some("count");
            Some(ejection)
        }
        other => {
            table.wrong_kind(entry, other, "a duration such as `\"30s\"`, or `false`");
            None
        }
    }
}

fn servers(table: &Table<'_, '_, '_>, distribution: Distribution) -> Vec<Backend> {
    let Some(value) = table.require("servers", "[\"host:port\", …]") else { return Vec::new() };
    let DeValue::Array(list) = value.get_ref() else {
        let message = format!("`servers` of `{}` must be a list", table.path);
        let help = "write `servers = [\"host:port\", …]`";
        table.error(value.span(), message, help);
        return Vec::new();
    };
    if list.is_empty() {
        let message = format!("`{}` has no servers", table.path);
        table.error(value.span(), message, "a pool needs at least one server");
    }
    if list.len() > SERVERS_MAX {
        let message = format!("`{}` has more than {SERVERS_MAX} servers", table.path);
        table.error(value.span(), message, "split it into several pools");
        return Vec::new();
    }
    let mut servers = Vec::new();
    let mut seen = Seen::default();
    for value in list.iter() {
        let Some(server) = server(table, value) else { continue };
        check_server(table, distribution, &server, value.span(), &mut seen);
        servers.push(server);
    }
    servers
}

/// Which names and addresses a pool has had, and where.
#[derive(Default)]
struct Seen {
    names: HashMap<String, usize>,
    places: HashMap<(String, u16), usize>,
}

fn check_server(
    table: &Table<'_, '_, '_>,
    distribution: Distribution,
    server: &Backend,
    span: Range<usize>,
    seen: &mut Seen,
) {
    let first = seen.places.insert((server.host.clone(), server.port), span.start);
    let namesake = seen.names.insert(server.name.clone(), span.start);
    let mut findings = table.findings.borrow_mut();
    if let Some(at) = namesake {
        let line = findings.line_of(at);
        let message = format!("`{}` is in this pool already (line {line})", server.name);
        let help = "remove it, or give it a name of its own: `\"host:port:1 name\"`";
        findings.error(span.clone(), message, help);
    } else if let Some(at) = first {
        let line = findings.line_of(at);
        let message = format!("this is the same server as in line {line}");
        findings.warning(span.clone(), message, "it gets the keys of both");
    }
    let weighs = matches!(distribution, Distribution::Ketama | Distribution::Modula);
    if server.weight != 1 && !weighs {
        let message = "weights count only with `ketama` and `modula`";
        findings.warning(span, message, "this one is ignored");
    }
}

fn server(table: &Table<'_, '_, '_>, value: Value<'_>) -> Option<Backend> {
    let report = |span: Range<usize>, wrong: Wrong| table.error(span, wrong.message, wrong.help);
    let fields = match value.get_ref() {
        DeValue::String(text) => {
            return backend_from(text).map_err(|wrong| report(value.span(), wrong)).ok();
        }
        DeValue::Table(fields) => fields,
        other => {
            let message = "a server must be a string such as `\"10.0.0.1:11211\"`, or a table";
            table.error(value.span(), message, format!("this is {}", article(other)));
            return None;
        }
    };
    let path = format!("{}.servers", table.path);
    let fields = Table::open(&key::SERVER, path, value.span(), fields, table.findings);
    fields.require("address", "\"host:port\"")?;
    let (address, span) = fields.text("address")?;
    let mut server = backend_from(address).map_err(|wrong| report(span, wrong)).ok()?;
    fields.count_u32("weight", &mut server.weight);
    if let Some((name, span)) = fields.text("name") {
        match name_from(name) {
            Ok(name) => server.name = name,
            Err(wrong) => report(span, wrong),
        }
    }
    Some(server)
}

/// More servers than this are a mistake; rings and indices are sized for it.
const SERVERS_MAX: usize = 4096;
/// Most points of all servers of a ring together.
const RING_POINTS_MAX: u64 = 4_000_000;
/// Keys that only pools with `protocol = "redis"` may have.
const REDIS_ONLY: [&str; 7] =
    ["user", "password", "database", "login_order", "login_refused", "refusals", "sessions_max"];
/// Longest user name or password for Redis servers.
const SECRET_BYTES_MAX: usize = 8192;
/// What `eject = true` means.
const EJECT_DEFAULT: Duration = Duration::from_secs(30);
/// The limits of `eject`.
const EJECT: key::Kind = key::Kind::Time {
    min: Duration::from_millis(100),
    max: Duration::from_secs(86_400),
    zero: false,
};
