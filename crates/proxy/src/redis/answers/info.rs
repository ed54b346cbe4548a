//! `INFO`, `CONFIG GET` and the small questions about the server as a whole.
//!
//! Fields have the names that clients and monitors look for. Only what is true of a proxy is
//! told; what a proxy cannot know is left out.

use super::reply::Reply;
use super::{Context, REDIS_VERSION, integer, is_word};
use crate::stats::Scope;
use keyway_proto::resp::Request;
use std::fmt::Write;

/// Sections in the order in which they are shown.
const SECTIONS: [&str; 9] = [
    "server",
    "clients",
    "memory",
    "persistence",
    "stats",
    "replication",
    "cpu",
    "cluster",
    "keyspace",
];

/// Words that mean all of them.
const EVERYTHING: [&str; 3] = ["default", "all", "everything"];

/// `INFO [section …]`
pub(super) fn info(ctx: &Context<'_>, request: &Request<'_>, reply: &mut Reply<'_>) {
    let asks_for = |name: &str| {
        let mut words = request.arguments().skip(1);
        words.any(|word| is_word(word.bytes, name.as_bytes()))
    };
    let asks_all = request.arguments == 1 || EVERYTHING.into_iter().any(asks_for);
    let mut text = String::new();
    for section in SECTIONS {
        if !asks_all && !asks_for(section) {
            continue;
        }
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let (first, rest) = section.split_at(1);
        let title = if section == "cpu" { "CPU".to_owned() } else { first.to_uppercase() + rest };
        text.push_str("# ");
        text.push_str(&title);
        text.push_str("\r\n");
        let mut fields = Fields { text: &mut text };
        write_section(section, ctx, &mut fields);
    }
    reply.text(text.as_bytes());
}

/// `name:value` lines.
struct Fields<'a> {
    text: &'a mut String,
}

impl Fields<'_> {
    fn put(&mut self, name: &str, value: impl std::fmt::Display) {
        write!(self.text, "{name}:{value}\r\n").expect("writing to memory cannot fail");
    }
}

fn write_section(section: &str, ctx: &Context<'_>, fields: &mut Fields<'_>) {
    match section {
        "server" => server(ctx, fields),
        "clients" => {
            fields.put("connected_clients", ctx.shared.conns.clients());
            fields.put("cluster_connections", 0);
            fields.put("rejected_connections", ctx.shared.conns.rejected());
        }
        "memory" => memory(ctx, fields),
        // Clients wait for `loading` to be 0 before they send anything.
        "persistence" => {
            for name in ["loading", "async_loading", "rdb_bgsave_in_progress", "aof_enabled"] {
                fields.put(name, 0);
            }
        }
        "stats" => stats(ctx, fields),
        "replication" => {
            fields.put("role", "master");
            fields.put("connected_slaves", 0);
        }
        "cpu" => {
            let facts = ctx.shared.facts();
            fields.put("used_cpu_sys", format_args!("{:.6}", facts.system_time.as_secs_f64()));
            fields.put("used_cpu_user", format_args!("{:.6}", facts.user_time.as_secs_f64()));
        }
        "cluster" => fields.put("cluster_enabled", 0),
        _ => {
            let items = ctx.store.map_or(0, |store| store.stats().items);
            if items > 0 {
                let line = format_args!("keys={items},expires=0,avg_ttl=0");
                fields.put(&format!("db{}", ctx.db), line);
            }
        }
    }
}

fn server(ctx: &Context<'_>, fields: &mut Fields<'_>) {
    fields.put("redis_version", REDIS_VERSION);
    fields.put("redis_mode", "standalone");
    fields.put("keyway_version", env!("CARGO_PKG_VERSION"));
    fields.put("os", std::env::consts::OS);
    fields.put("arch_bits", usize::BITS);
    fields.put("process_id", ctx.shared.facts().pid);
    fields.put("tcp_port", port(ctx));
    fields.put("server_time_usec", ctx.unix_us);
    fields.put("uptime_in_seconds", ctx.uptime_seconds());
    fields.put("uptime_in_days", ctx.uptime_seconds() / 86_400);
}

/// The port that the client came in on; 0 for unix sockets.
fn port(ctx: &Context<'_>) -> u16 {
    let address = ctx.entry.listen_address.as_str();
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0)
}

fn memory(ctx: &Context<'_>, fields: &mut Fields<'_>) {
    let stats = ctx.store.map(|store| store.stats());
    fields.put("used_memory", stats.as_ref().map_or(0, |stats| stats.memory_bytes));
    fields.put("maxmemory", stats.as_ref().map_or(0, |stats| stats.memory_bytes_max));
    fields.put("maxmemory_policy", policy(ctx));
}

/// The embedded store makes room by itself; backends follow their own configuration.
const fn policy(ctx: &Context<'_>) -> &'static str {
    if ctx.store.is_some() { "allkeys-lru" } else { "noeviction" }
}

fn stats(ctx: &Context<'_>, fields: &mut Fields<'_>) {
    let (mut requests, mut hits, mut misses, mut bytes) = (0u64, 0u64, 0u64, (0u64, 0u64));
    for scoped in ctx.registry.scopes() {
        // The legs of policies have no listener: their requests are counted at their clients'.
        let Scope::Front { listener, .. } = &scoped.scope else { continue };
        if listener.is_empty() {
            continue;
        }
        for class in scoped.blocks.iter().flat_map(|block| &block.classes) {
            requests = requests.wrapping_add(class.requests.get());
            hits = hits.wrapping_add(class.hits.get());
            misses = misses.wrapping_add(class.misses.get());
            bytes.0 = bytes.0.wrapping_add(class.request_bytes.get());
            bytes.1 = bytes.1.wrapping_add(class.reply_bytes.get());
        }
    }
    fields.put("total_connections_received", ctx.shared.conns.opened());
    fields.put("total_commands_processed", requests);
    fields.put("total_net_input_bytes", bytes.0);
    fields.put("total_net_output_bytes", bytes.1);
    fields.put("rejected_connections", ctx.shared.conns.rejected());
    if let Some(store) = ctx.store {
        fields.put("evicted_keys", store.stats().evictions);
    }
    fields.put("keyspace_hits", hits);
    fields.put("keyspace_misses", misses);
}

/// `TIME`
pub(super) fn time(ctx: &Context<'_>, reply: &mut Reply<'_>) {
    reply.array(2);
    for part in [ctx.unix_us / 1_000_000, ctx.unix_us % 1_000_000] {
        reply.bulk(keyway_proto::number::Decimal::new(part).as_bytes());
    }
}

/// `ROLE`: to its clients the proxy is a server that takes writes.
pub(super) fn role(reply: &mut Reply<'_>) {
    reply.array(3);
    reply.bulk(b"master");
    reply.number(0);
    reply.array(0);
}

/// `LOLWUT [VERSION n …]`
pub(super) fn lolwut(request: &Request<'_>, reply: &mut Reply<'_>) {
    let asks_version = request.argument(1).is_some_and(|word| is_word(word, b"VERSION"));
    if asks_version && request.argument(2).is_some_and(|version| integer(version).is_none()) {
        return reply.error(&[b"ERR value is not an integer or out of range"]);
    }
    let keyway = concat!("Keyway ", env!("CARGO_PKG_VERSION"));
    let text = format!("Redis ver. {REDIS_VERSION}\n{keyway} opens the way to it.\n");
    reply.text(text.as_bytes());
}

/// `CONFIG GET pattern …`: what clients ask for before they start, and nothing more.
pub(super) fn config_get(ctx: &Context<'_>, request: &Request<'_>, reply: &mut Reply<'_>) {
    let memory = ctx.store.map_or(0, |store| store.stats().memory_bytes_max).to_string();
    let port = port(ctx).to_string();
    let known: [(&str, &str); 11] = [
        ("appendonly", "no"),
        ("cluster-enabled", "no"),
        ("databases", "16"),
        ("maxmemory", &memory),
        ("maxmemory-policy", policy(ctx)),
        ("notify-keyspace-events", ""),
        ("port", &port),
        ("proto-max-bulk-len", "536870912"),
        ("save", ""),
        ("slave-read-only", "no"),
        ("timeout", "0"),
    ];
    let mut asked: Vec<(&[u8], &str)> = Vec::new();
    for (name, value) in known {
        let mut patterns = request.arguments().skip(2).map(|argument| argument.bytes);
        if let Some(pattern) = patterns.find(|word| super::glob::matches(word, name.as_bytes())) {
            // A name without wild cards comes back as it was spelled.
            let is_name = pattern.len() == name.len() && is_word(pattern, name.as_bytes());
            asked.push((if is_name { pattern } else { name.as_bytes() }, value));
        }
    }
    reply.map(asked.len());
    for (name, value) in asked {
        reply.bulk(name);
        reply.bulk(value.as_bytes());
    }
}
