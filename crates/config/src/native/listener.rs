//! `listeners.NAME`: where clients are accepted, and what they may do.
//!
//! One table may give several listeners, one for each address. What a listener's route cannot serve
//! (binary, UDP) is refused here and not left to its clients to find out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;

use keyway_proxy::config::{Allow, Bind, Compat, Listener, Protocol, RouteId, User};
use toml::de::DeValue;

use super::address::bind_from;
use super::key;
use super::route::Routes;
use super::section::{Entry, Table, Value, article, entries};
use super::{named, table_of};

/// Reads all listeners, each with the place of its address. There is one at least: without any in
/// the file it is memcached's usual address on this machine.
pub(super) fn read<'t>(
    top: &Table<'t, '_, '_>,
    routes: &mut Routes<'t, '_, '_>,
) -> Vec<(Listener, Range<usize>)> {
    let mut listeners = Vec::new();
    let list = named(top, "listeners");
    for entry in &list {
        let path = format!("listeners.{}", entry.name);
        let help = format!("write `[{path}]` and below it `address = \"127.0.0.1:11211\"`");
        let Some(table) = table_of(top, entry, &path, &help) else { continue };
        let table = Table::open(&key::LISTENER, path, entry.name_span(), table, top.findings);
        listeners.extend(read_one(entry.name, &table, routes));
    }
    if list.is_empty() {
        let span = top.get("listeners").map_or(0..0, |entry| entry.name_span());
        let route = routes.default_route(span.clone(), false);
        let protocol = spoken(route, routes);
        let port = if protocol == Protocol::Redis { 6379 } else { 11211 };
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let mut listener = blank("default", Bind::Tcp(address), route);
        listener.protocol = protocol;
        listener.allow.flush = routes.is_store(route);
        listeners.push((listener, span));
    }
    check_unique(top, &listeners);
    listeners
}

fn blank(name: &str, bind: Bind, route: RouteId) -> Listener {
    Listener {
        name: name.to_owned(),
        bind,
        protocol: Protocol::Memcached,
        tag: String::new(),
        route,
        backlog: 1024,
        allow: Allow::default(),
        users: Vec::new(),
        requests_per_turn_max: 20,
        compat: Compat::Native,
        keepalive: true,
    }
}

/// The listeners of one table: one for each of its addresses.
fn read_one<'t>(
    name: &str,
    table: &Table<'t, '_, '_>,
    routes: &mut Routes<'t, '_, '_>,
) -> Vec<(Listener, Range<usize>)> {
    let binds = binds(table);
    let is_udp = binds.iter().any(|(bind, _)| matches!(bind, Bind::Udp(_)));
    let route = match table.get("route") {
        Some(entry) => routes.reference(entry.value, &format!("{name}@route")),
        None if table.has_unknown => routes.unknown(),
        None => routes.default_route(table.span.clone(), is_udp),
    };
    let mut model = blank(name, Bind::Udp(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)), route);
    let has_users = table.get("users").is_some();
    model.protocol = protocol(table).unwrap_or_else(|| match spoken(route, routes) {
        // Neither leaves a choice.
        Protocol::Auto if is_udp || has_users => Protocol::Memcached,
        spoken => spoken,
    });
    model.tag = tag(table);
    table.count_u32("backlog", &mut model.backlog);
    table.count_usize("requests_per_turn_max", &mut model.requests_per_turn_max);
    table.flag("keepalive", &mut model.keepalive);
    model.compat = compat(table);
    model.users = users(table, model.protocol);
    model.allow = allow(table, routes.is_store(route));
    if !model.users.is_empty() && model.protocol == Protocol::Memcached {
        model.protocol = Protocol::MemcachedText;
    }
    check_protocol(table, &model, is_udp, routes);
    let many = binds.len() > 1;
    let numbered =
        |index: usize| if many && index > 0 { format!("-{}", index + 1) } else { String::new() };
    binds
        .into_iter()
        .enumerate()
        .map(|(index, (bind, span))| {
            let name = format!("{name}{}", numbered(index));
            (Listener { name, bind, ..model.clone() }, span)
        })
        .collect()
}

/// What clients of a route speak if nothing is said: what its servers do; on the embedded store
/// what they like.
fn spoken(route: RouteId, routes: &Routes<'_, '_, '_>) -> Protocol {
    if routes.is_store(route) {
        return Protocol::Auto;
    }
    match routes.pools_of(route) {
        (redis, memcached) if !redis.is_empty() && memcached.is_empty() => Protocol::Redis,
        _ => Protocol::Memcached,
    }
}

fn compat(table: &Table<'_, '_, '_>) -> Compat {
    match table.choice("compat") {
        Some("nutcracker") => Compat::Nutcracker,
        Some("strict") => Compat::Strict,
        _ => Compat::Native,
    }
}

/// Servers that do not speak what clients do.
fn check_pools(table: &Table<'_, '_, '_>, listener: &Listener, routes: &Routes<'_, '_, '_>) {
    let (redis, memcached) = routes.pools_of(listener.route);
    let (theirs, strangers, ours) = match listener.protocol {
        Protocol::Redis => ("memcached", memcached, "Redis"),
        _ => ("Redis", redis, "memcached"),
    };
    let Some(stranger) = strangers.first() else { return };
    let entry = table.get("protocol").or(table.get("route"));
    let span = entry.map_or(table.span.clone(), |entry| entry.value.span());
    let message =
        format!("clients speak {ours} here, but the servers of pool `{stranger}` speak {theirs}");
    let help = format!(
        "choose another route, or change `protocol` here or in `pools.{stranger}`; nothing \
         translates"
    );
    table.error(span, message, help);
}

/// What cannot work: binary, UDP and both protocols where requests are proxied, passwords without
/// text, servers that speak something else.
fn check_protocol(
    table: &Table<'_, '_, '_>,
    listener: &Listener,
    is_udp: bool,
    routes: &Routes<'_, '_, '_>,
) {
    let is_store = routes.is_store(listener.route);
    let span_of = |name| table.get(name).map_or(table.span.clone(), |entry| entry.value.span());
    let span_of_protocol = || {
        let entry = table.get("protocol").or(table.get("route"));
        entry.map_or(table.span.clone(), |entry| entry.value.span())
    };
    let is_auto = listener.protocol == Protocol::Auto;
    if is_udp && (is_auto || listener.protocol == Protocol::Redis) {
        let message = "UDP is memcached's";
        table.error(span_of_protocol(), message, "write `protocol = \"memcached\"`, or use TCP");
    }
    if is_auto && !is_store {
        let message = "`auto` is answered by the embedded store only";
        let help = "write `route = \"store\"`, or the protocol that the servers speak";
        table.error(span_of_protocol(), message, help);
    } else {
        check_pools(table, listener, routes);
    }
    if is_auto && !listener.users.is_empty() {
        let message = "`users` need one protocol";
        table.error(span_of_protocol(), message, "write `\"redis\"` or `\"memcached_text\"`");
    }
    if is_udp && !is_store {
        let message = "UDP is answered by the embedded store only";
        table.error(span_of("route"), message, "write `route = \"store\"`, or use TCP");
    }
    if listener.protocol == Protocol::MemcachedBinary {
        if !is_store {
            let message = "the binary protocol is answered by the embedded store only";
            let help = "write `protocol = \"memcached\"`, or `route = \"store\"`";
            table.error(span_of("protocol"), message, help);
        }
        if !listener.users.is_empty() {
            let message = "`users` need the text protocol";
            table.error(span_of("protocol"), message, "write `protocol = \"memcached_text\"`");
        }
    }
    if is_udp && !listener.users.is_empty() {
        table.error(span_of("users"), "`users` cannot log in over UDP", "use TCP");
    }
}

fn binds(table: &Table<'_, '_, '_>) -> Vec<(Bind, Range<usize>)> {
    let mode = mode(table);
    let Some(value) = table.require("address", "\"127.0.0.1:11211\"") else { return Vec::new() };
    let values: Vec<Value<'_>> = match value.get_ref() {
        DeValue::Array(list) if list.is_empty() => {
            let message = format!("`{}` has no address", table.path);
            table.error(value.span(), message, "write `address = \"127.0.0.1:11211\"`");
            return Vec::new();
        }
        DeValue::Array(list) => list.iter().collect(),
        _ => vec![value],
    };
    let mut binds = Vec::new();
    for value in values {
        let DeValue::String(text) = value.get_ref() else {
            let message = "an address must be a string such as `\"127.0.0.1:11211\"`";
            table.error(value.span(), message, format!("this is {}", article(value.get_ref())));
            continue;
        };
        match bind_from(text, mode) {
            Ok(bind) => binds.push((bind, value.span())),
            Err(wrong) => table.error(value.span(), wrong.message, wrong.help),
        }
    }
    let is_unix = |(bind, _): &(Bind, _)| matches!(bind, Bind::Unix { .. });
    if let Some(entry) = table.get("mode")
        && !binds.is_empty()
        && !binds.iter().any(is_unix)
    {
        let message = "`mode` has no meaning without a Unix socket";
        table.error(entry.name_span(), message, "remove it");
    }
    binds
}

fn mode(table: &Table<'_, '_, '_>) -> u32 {
    let Some(entry) = table.get("mode") else { return MODE_DEFAULT };
    let mode = match entry.value.get_ref() {
        DeValue::String(text) => u32::from_str_radix(text.trim_start_matches("0o"), 8).ok(),
        DeValue::Integer(number) if number.radix() == 8 => {
            u32::from_str_radix(number.as_str(), 8).ok()
        }
        _ => None,
    };
    match mode {
        Some(mode @ 0..=0o777) => mode,
        _ => {
            let message = "`mode` must be octal permission bits";
            table.error(entry.value.span(), message, "write `mode = \"0700\"`");
            MODE_DEFAULT
        }
    }
}

fn protocol(table: &Table<'_, '_, '_>) -> Option<Protocol> {
    table.choice("protocol").map(|word| match word {
        "memcached_text" => Protocol::MemcachedText,
        "memcached_binary" => Protocol::MemcachedBinary,
        "redis" => Protocol::Redis,
        "auto" => Protocol::Auto,
        _ => Protocol::Memcached,
    })
}

fn tag(table: &Table<'_, '_, '_>) -> String {
    let Some((tag, span)) = table.text("tag") else { return String::new() };
    if tag.len() > TAG_BYTES_MAX {
        table.error(span, "`tag` has more than 8 bytes", "memcached compares 8 bytes");
    }
    tag.to_owned()
}

fn allow(table: &Table<'_, '_, '_>, is_store: bool) -> Allow {
    let Some(words) = table.words("allow") else {
        // Where the store is all there is behind a listener, its clients own what they would flush.
        return Allow { flush: is_store, ..Allow::default() };
    };
    Allow {
        flush: words.contains(&"flush"),
        shutdown: words.contains(&"shutdown"),
        dump: words.contains(&"dump"),
        watch: words.contains(&"watch"),
    }
}

fn users(table: &Table<'_, '_, '_>, protocol: Protocol) -> Vec<User> {
    let Some(entry) = table.get("users") else { return Vec::new() };
    let DeValue::Table(users) = entry.value.get_ref() else {
        table.wrong_kind(entry, entry.value.get_ref(), "a table: `{ name = \"password\" }`");
        return Vec::new();
    };
    let users: Vec<User> =
        entries(users).into_iter().filter_map(|entry| user(table, entry, protocol)).collect();
    if users.len() > USERS_MAX {
        table.error(entry.name_span(), format!("there are more than {USERS_MAX} users"), "");
    }
    users
}

fn user(table: &Table<'_, '_, '_>, entry: Entry<'_>, protocol: Protocol) -> Option<User> {
    let DeValue::String(password) = entry.value.get_ref() else {
        table.wrong_kind(entry, entry.value.get_ref(), "a password in quotes");
        return None;
    };
    let fits = |text: &str| {
        (1..=USER_BYTES_MAX).contains(&text.len())
            && !text.bytes().any(|byte| byte <= b' ' || byte == 0x7f)
    };
    let is_redis = protocol == Protocol::Redis;
    if is_redis && (entry.name.len() > SECRET_BYTES_MAX || password.len() > SECRET_BYTES_MAX) {
        let message = format!("user names and passwords have at most {SECRET_BYTES_MAX} bytes");
        table.error(entry.name_span(), message, "");
        return None;
    }
    if !is_redis && (!fits(entry.name) || entry.name.contains(':') || !fits(password)) {
        let message = "user names and passwords have 1 to 128 bytes and no spaces";
        table.error(entry.name_span(), message, "a name has no colon either");
        return None;
    }
    Some(User { name: entry.name.to_owned(), password: password.clone().into_owned() })
}

fn check_unique(top: &Table<'_, '_, '_>, listeners: &[(Listener, Range<usize>)]) {
    let mut binds: HashMap<&Bind, usize> = HashMap::new();
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (listener, span) in listeners {
        if names.insert(&listener.name, span.start).is_some() {
            let message = format!("there are two listeners named `{}`", listener.name);
            let help = "further addresses of a listener are named `NAME-2`, `NAME-3` …";
            top.error(span.clone(), message, help);
        }
        let kernel_chooses = match listener.bind {
            Bind::Tcp(address) | Bind::Udp(address) => address.port() == 0,
            Bind::Unix { .. } => false,
        };
        if kernel_chooses {
            continue;
        }
        if let Some(at) = binds.insert(&listener.bind, span.start) {
            let line = top.findings.borrow().line_of(at);
            let message = format!("another listener has this address already (line {line})");
            top.error(span.clone(), message, "an address can be listened on once");
        }
    }
}

/// memcached's default for Unix sockets.
const MODE_DEFAULT: u32 = 0o700;
/// memcached compares tags as 8-byte numbers.
const TAG_BYTES_MAX: usize = 8;
/// Most users of one listener.
const USERS_MAX: usize = 64;
/// Longest user name or password of Redis' clients.
const SECRET_BYTES_MAX: usize = 8192;
/// Longest user name or password of memcached's clients.
const USER_BYTES_MAX: usize = 128;
