//! The parts of the file that stand alone: the top-level values, `store`, `limits`.
//!
//! Most are read as their rows in `key` say; what is left for here are relations between values,
//! such as limits that must be reached in order.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use keyway_proxy::config::{Bind, EngineChoice, Limits, Listener, StoreOptions};
use toml::de::DeValue;

use super::address::socket_from;
use super::key;
use super::section::{Table, integer};

/// The values at the top of the file.
pub(super) struct General {
    pub(super) workers: usize,
    pub(super) engine: EngineChoice,
    pub(super) admin: Option<SocketAddr>,
    pub(super) drain_timeout: Duration,
}

/// Reads the values at the top of the file. `listeners` must not stand where `admin` does.
pub(super) fn general(top: &Table<'_, '_, '_>, listeners: &[(Listener, Range<usize>)]) -> General {
    let mut drain_timeout = Duration::from_secs(10);
    top.time("drain_timeout", &mut drain_timeout);
    let engine = match top.choice("engine") {
        Some("epoll") => EngineChoice::Epoll,
        Some("io_uring") => EngineChoice::Uring,
        _ => EngineChoice::Auto,
    };
    let admin = admin(top);
    let clash = listeners
        .iter()
        .find(|(listener, _)| matches!(listener.bind, Bind::Tcp(at) if Some(at) == admin))
        .filter(|(listener, _)| !matches!(listener.bind, Bind::Tcp(at) if at.port() == 0));
    if let Some((listener, span)) = clash {
        let message = format!("listener `{}` stands where `admin` listens", listener.name);
        top.error(span.clone(), message, "choose another port, or `admin = false`");
    }
    General { workers: workers(top), engine, admin, drain_timeout }
}

fn workers(top: &Table<'_, '_, '_>) -> usize {
    let auto = std::thread::available_parallelism().map_or(1, |count| count.get());
    let Some(entry) = top.get("workers") else { return auto };
    let number = match entry.value.get_ref() {
        DeValue::String(text) if text == "auto" => return auto,
        DeValue::Integer(number) => integer(number),
        other => {
            top.wrong_kind(entry, other, "a number or `\"auto\"`");
            return auto;
        }
    };
    match number {
        Some(number @ 1..=WORKERS_MAX) => number as usize,
        _ => {
            let message = format!("`workers` must be from 1 to {WORKERS_MAX}");
            top.error(entry.value.span(), message, "`\"auto\"` is the number of processors");
            auto
        }
    }
}

fn admin(top: &Table<'_, '_, '_>) -> Option<SocketAddr> {
    let Some(entry) = top.get("admin") else { return Some(ADMIN_DEFAULT) };
    let text = match entry.value.get_ref() {
        DeValue::Boolean(false) => return None,
        DeValue::String(text) => text,
        other => {
            top.wrong_kind(entry, other, "an address such as `\"127.0.0.1:9911\"`, or `false`");
            return None;
        }
    };
    match socket_from(text) {
        Ok(address) => {
            if !address.ip().is_loopback() {
                top.findings.borrow_mut().warning(
                    entry.value.span(),
                    "the admin server asks for no password and is open to the network",
                    "listen on `127.0.0.1`, or make sure that only operators reach it",
                );
            }
            Some(address)
        }
        Err(wrong) => {
            top.error(entry.value.span(), wrong.message, "write `\"127.0.0.1:9911\"` or `false`");
            None
        }
    }
}

/// Reads `store`; `None` where no route uses it.
pub(super) fn store(top: &Table<'_, '_, '_>, is_used: bool) -> Option<StoreOptions> {
    let mut store = StoreOptions::default();
    if let Some(table) = sub_table(top, "store", &key::STORE) {
        table.bytes("memory", &mut store.memory_bytes_max);
        table.bytes("item_bytes_max", &mut store.item_bytes_max);
        table.flag("evict", &mut store.evict);
        table.flag("cas", &mut store.cas);
        if store.item_bytes_max > store.memory_bytes_max / 2 {
            let entry = table.get("item_bytes_max").or(table.get("memory"));
            let span = entry.map_or(table.span.clone(), |entry| entry.value.span());
            let message = "`item_bytes_max` is more than half of `memory`";
            table.error(span, message, "raise `memory` or lower `item_bytes_max`");
        }
        if !is_used {
            let message = "no route leads to the embedded store";
            let help = "use `\"store\"` as a route, or remove this table";
            table.findings.borrow_mut().warning(table.span.clone(), message, help);
        }
    }
    is_used.then_some(store)
}

/// Reads `limits`, which must let the items of `store` pass.
pub(super) fn limits(top: &Table<'_, '_, '_>, store: Option<&StoreOptions>) -> Limits {
    let mut limits = Limits::default();
    // An item of the store passes through one client's memory whole, in either direction.
    let item_bytes = store.map_or(0, |store| usize::try_from(store.item_bytes_max).unwrap_or(0));
    limits.client_bytes_max = limits.client_bytes_max.max(2 * item_bytes);
    limits.worker_bytes_max = limits.worker_bytes_max.max(4 * item_bytes);
    let Some(table) = sub_table(top, "limits", &key::LIMITS) else { return limits };
    table.count_usize("clients_max", &mut limits.clients_max);
    table.count_usize("owed_max", &mut limits.owed_max);
    table.bytes_usize("client_bytes_pause", &mut limits.client_bytes_pause);
    table.bytes_usize("client_bytes_max", &mut limits.client_bytes_max);
    table.bytes_usize("backend_bytes_max", &mut limits.backend_bytes_max);
    table.bytes_usize("worker_bytes_max", &mut limits.worker_bytes_max);
    table.bytes("value_bytes_max", &mut limits.value_bytes_max);
    table.bytes_usize("request_bytes_max", &mut limits.request_bytes_max);
    table.bytes("large_value_bytes", &mut limits.large_value_bytes);
    table.time("client_idle", &mut limits.client_idle);
    table.time("client_user_timeout", &mut limits.client_user_timeout);
    if limits.client_bytes_max < 2 * item_bytes
        && let Some(entry) = table.get("client_bytes_max")
    {
        let message = "`client_bytes_max` is less than twice `store.item_bytes_max`";
        let help = "a client with a large item would be closed; raise it";
        table.error(entry.value.span(), message, help);
    }
    let ordered = [
        (
            "client_bytes_pause",
            limits.client_bytes_pause,
            "client_bytes_max",
            limits.client_bytes_max,
        ),
        ("client_bytes_max", limits.client_bytes_max, "worker_bytes_max", limits.worker_bytes_max),
    ];
    for (low, low_bytes, high, high_bytes) in ordered {
        if low_bytes > high_bytes {
            let entry = table.get(low).or(table.get(high));
            let span = entry.map_or(table.span.clone(), |entry| entry.value.span());
            let message = format!("`{low}` is larger than `{high}`");
            table.error(span, message, format!("`{low}` must be reached first"));
        }
    }
    limits
}

fn sub_table<'t, 'f, 's>(
    top: &Table<'t, 'f, 's>,
    name: &str,
    section: &'static key::Section,
) -> Option<Table<'t, 'f, 's>> {
    let entry = top.get(name)?;
    match entry.value.get_ref() {
        DeValue::Table(table) => {
            Some(Table::open(section, name.to_owned(), entry.name_span(), table, top.findings))
        }
        other => {
            top.wrong_kind(entry, other, &format!("a table: `[{name}]`"));
            None
        }
    }
}

const ADMIN_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9911);
const WORKERS_MAX: u64 = 1024;
