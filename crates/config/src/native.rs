//! The native file, `keyway.toml`: TOML becomes `proxy::config::Config`.
//!
//! [`load_native`] reads the whole file and reports every mistake it finds, not just the first. The
//! keys, their limits and defaults are rows in `key`; each part of the model has its reader. There
//! is no input or output here: names of servers stay names, and passwords stand in the file.

mod address;
pub mod key;
mod listener;
mod options;
mod pool;
mod route;
mod scalar;
mod section;

use std::cell::RefCell;
use std::ops::Range;

use keyway_proxy::config::Config;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Findings, Source};
pub(crate) use address::{backend_from, bind_from};
use route::Routes;
pub(crate) use scalar::duration_text;
use section::{Entry, Table, entries};

/// A configuration that can be used, and what was odd about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What the data plane runs.
    pub config: Config,
    /// Findings that do not prevent its use; all are warnings.
    pub warnings: Vec<Diagnostic>,
}

/// Reads a native file. `name` is what diagnostics call it; `text` is its content.
///
/// On failure all findings are returned, errors and warnings, by their place. `Backend::address`
/// stays `None` where the host is a name.
pub fn load_native(name: &str, text: &str) -> Result<Loaded, Vec<Diagnostic>> {
    let findings = RefCell::new(Findings::new(Source::new(name, text)));
    let config = read(text, &findings);
    let findings = findings.into_inner();
    match config {
        Some(config) if !findings.has_errors() => {
            Ok(Loaded { config, warnings: findings.finish() })
        }
        _ => Err(findings.finish()),
    }
}

/// The configuration, which may be used only if no errors were found.
fn read(text: &str, findings: &RefCell<Findings<'_>>) -> Option<Config> {
    if text.len() > FILE_BYTES_MAX {
        findings.borrow_mut().error(0..0, "the file is larger than 16 MiB", "");
        return None;
    }
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    let mut readable = true;
    for error in syntax_errors {
        // A key given twice leaves a usable tree; other mistakes do not, and reading on would
        // report consequences of them.
        let is_duplicate = error.message().starts_with("duplicate key");
        readable &= is_duplicate;
        let span = error.span().unwrap_or(0..0);
        let (message, help) = match text.get(span.clone()) {
            Some(key) if is_duplicate => {
                (format!("`{}` is given twice", key.escape_debug()), "remove one of them")
            }
            _ => (one_line(error.message()), ""),
        };
        findings.borrow_mut().error(span, message, help);
    }
    if !readable {
        return None;
    }
    let root = document.get_ref();
    let top = Table::open(&key::ROOT, String::new(), 0..0, root, findings);
    let pools = pool::read(&top);
    let mut routes = Routes::new(&pools, findings);
    routes.read(&top);
    let listeners = listener::read(&top, &mut routes);
    let uses_store = routes.uses_store();
    let store = options::store(&top, uses_store);
    let limits = options::limits(&top, store.as_ref());
    let general = options::general(&top, &listeners);
    let routes = routes.finish(&listeners);
    Some(Config {
        workers: general.workers,
        engine: general.engine,
        admin: general.admin,
        listeners: listeners.into_iter().map(|(listener, _)| listener).collect(),
        pools: pools.into_iter().map(|(pool, _)| pool).collect(),
        routes,
        store,
        limits,
        drain_timeout: general.drain_timeout,
    })
}

/// The named tables below a key of the top, in the order of the file. Reports names that cannot be.
fn named<'t>(top: &Table<'t, '_, '_>, name: &str) -> Vec<Entry<'t>> {
    let Some(entry) = top.get(name) else { return Vec::new() };
    let DeValue::Table(table) = entry.value.get_ref() else {
        let help = format!("write `[{name}.NAME]`");
        top.error(entry.value.span(), format!("`{name}` must be a table of named tables"), help);
        return Vec::new();
    };
    let list = entries(table);
    for entry in &list {
        check_name(top, entry.name, entry.name_span());
    }
    list
}

fn check_name(top: &Table<'_, '_, '_>, name: &str, span: Range<usize>) {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(fits) {
        let help = "a name has 1 to 64 letters, digits, `_`, `-` or `.`";
        top.error(span, format!("`{}` cannot be a name", name.escape_debug()), help);
    } else if ["store", "null"].contains(&name) {
        let help = format!("`{name}` always means the built-in route; choose another name");
        top.error(span, format!("`{name}` cannot be defined"), help);
    }
}

/// The table of a named entry; reports anything else.
fn table_of<'t>(
    top: &Table<'t, '_, '_>,
    entry: &Entry<'t>,
    path: &str,
    help: &str,
) -> Option<&'t DeTable<'t>> {
    match entry.value.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => {
            top.error(entry.value.span(), format!("`{path}` must be a table"), help);
            None
        }
    }
}

/// A parser's message on one line.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A file larger than this is not a configuration.
const FILE_BYTES_MAX: usize = 16 << 20;
/// Longest name of a listener, pool or route.
pub(crate) const NAME_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests;
