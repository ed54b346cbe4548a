//! From nutcracker's file to the native one, with a comment wherever meaning differs.
//!
//! The text is made of what the model says, key by key against the native defaults, and is loaded
//! again before it is given out: what comes back must be the same model, apart from names that the
//! native file cannot have and numbers beyond its limits, both of which are commented.

use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

use keyway_proxy::config::{
    Backend, Bind, Compat, Config, Distribution, Ejection, KeyPart, Limits, Link, LinkProtocol,
    Listener, Pool, Protocol,
};

use super::directive::{DISTRIBUTIONS, HASHES};
use super::file::{self, File};
use super::{Mistakes, Options, Refused, model, read_into, yaml};
use crate::diagnostic::Diagnostic;
use crate::native::{NAME_BYTES_MAX, backend_from, bind_from, duration_text, load_native};

/// A native file made of nutcracker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The native file.
    pub toml: String,
    /// What was odd about the original.
    pub warnings: Vec<Diagnostic>,
}

/// Converts a file. The native one does what the personality does at `options.compat`; its workers
/// are left to the default.
///
/// # Errors
/// nutcracker would refuse the file, or it has servers that cannot be written in the native one.
pub fn convert(name: &str, bytes: &[u8], options: Options<'_>) -> Result<Converted, Refused> {
    let text = yaml::decode(bytes).map_err(|readable| super::not_text(name, &readable))?;
    let mut mistakes = Mistakes::new(name, &text);
    let file = read_into(name, &text, options.resolver, &mut mistakes);
    if let Some(file) = &file {
        check_places(file, &mut mistakes);
    }
    match (file, mistakes.reason) {
        (Some(file), None) => {
            let config = model::config(&file, options);
            let toml = Writer::default().file(name, &file, &config);
            debug_assert!(load_native("converted", &toml).is_ok(), "{toml}");
            Ok(Converted { toml, warnings: mistakes.findings.finish() })
        }
        (_, reason) => {
            Err(Refused { reason: reason.flatten(), findings: mistakes.findings.finish() })
        }
    }
}

/// Places that the native file cannot have.
fn check_places(file: &File, mistakes: &mut Mistakes<'_>) {
    for pool in &file.pools {
        if let Some(listen) = &pool.listen
            && bind_text(&listen.bind).is_none()
        {
            let message = "this pool's `listen` cannot be written in the native file";
            mistakes.error(pool.span.clone(), None, message, "choose a path without odd blanks");
        }
        for server in &pool.servers {
            if server_text(&model::backend(server)).is_none() {
                let message = "this server cannot be written in the native file";
                let help = "give it a host that is a name or an address in four parts, and a name \
                            without spaces";
                mistakes.error(server.span.clone(), None, message, help);
            }
        }
    }
}

/// The text of a place to listen that is read as the very same.
fn bind_text(bind: &Bind) -> Option<String> {
    let (text, mode) = match bind {
        Bind::Tcp(address) => (address.to_string(), 0),
        Bind::Udp(address) => (format!("udp:{address}"), 0),
        Bind::Unix { path, mode } => (format!("unix:{}", path.display()), *mode),
    };
    bind_from(&text, mode).is_ok_and(|read| read == *bind).then_some(text)
}

/// The line of a server that is read as the very same.
fn server_text(backend: &Backend) -> Option<String> {
    let Backend { name, host, port, weight, .. } = backend;
    let place = match (port, host.contains(':')) {
        (0, _) => format!("unix:{host}:{weight}"),
        (_, true) => format!("[{host}]:{port}:{weight}"),
        (_, false) => format!("{host}:{port}:{weight}"),
    };
    [place.clone(), format!("{place} {name}")]
        .into_iter()
        .find(|text| backend_from(text).is_ok_and(|read| read == *backend))
}

#[derive(Default)]
struct Writer {
    out: String,
    names: HashSet<String>,
}

impl Writer {
    fn file(mut self, source: &str, file: &File, config: &Config) -> String {
        let source = source.escape_debug();
        self.line(&format!("# Made from {source}, a file of nutcracker (twemproxy)."));
        self.line("#");
        self.line(
            "# Every key stays on its server: names, order and weights of the servers count.",
        );
        self.line("# Further directives of nutcracker are keys of `listeners` and `pools` here;");
        self.line("# docs/nutcracker.md has the table.");
        self.line("");
        self.line("# nutcracker has no such server; remove the line to have it on 127.0.0.1:9911.");
        self.line("admin = false");
        let mut sorted: Vec<&file::Pool> = file.pools.iter().collect();
        sorted.sort_by(|a, b| file::order(&a.name, &b.name));
        for ((pool, listener), origin) in config.pools.iter().zip(&config.listeners).zip(sorted) {
            let name = self.name(&pool.name);
            self.line("");
            self.notes(origin, pool);
            if name != pool.name {
                let was = pool.name.escape_debug();
                self.line(&format!("# nutcracker's name, in its statistics too, was `{was}`."));
            }
            self.listener(&name, listener);
            self.line("");
            self.pool(&name, pool);
        }
        self.limits(&config.limits);
        self.out
    }

    /// A name that the native file can have and that is not taken.
    fn name(&mut self, name: &str) -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let clean: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
        let clean = &clean[..clean.len().min(NAME_BYTES_MAX - 8)];
        let is_built_in = ["store", "null"].contains(&clean);
        let first = if is_built_in { format!("{clean}-pool") } else { clean.to_owned() };
        let numbered = (2..).map(|number| format!("{clean}-{number}"));
        let free = std::iter::once(first).chain(numbered).find(|name| !self.names.contains(name));
        let name = free.expect("one of endless names is free");
        self.names.insert(name.clone());
        name
    }

    /// What nutcracker's file says and the native one does not.
    fn notes(&mut self, origin: &file::Pool, pool: &Pool) {
        if let Some(number) = origin.client_connections.filter(|number| *number > 0) {
            self.line(&format!("# `client_connections: {number}` had no effect in nutcracker:"));
            self.line("# `limits.clients_max` would have one, for all listeners together.");
        }
        if origin.reuseport == Some(true) {
            self.line("# `reuseport` is not needed: one process uses all processors.");
        }
        if let LinkProtocol::Redis(login) = &pool.link.protocol
            && login.database != 0
            && !login.select_first
            && login.password.is_some()
        {
            self.line("# nutcracker sent `SELECT` before the password, so that its data is in");
            self.line("# database 0. `login_order = \"select_first\"` does the same.");
        }
        let listen = origin.listen.as_ref().map_or("", |listen| listen.text.as_str());
        let host = listen.rsplit_once(':').map_or("", |(host, _)| host);
        if !listen.starts_with('/') && host.parse::<std::net::IpAddr>().is_err() {
            let host = host.escape_debug();
            self.line(&format!("# `listen` named `{host}`; this is its address now."));
        }
        if origin.servers.iter().any(|server| server.host == "127.0.0.1")
            && origin.servers.iter().any(|server| server.place.starts_with(':'))
        {
            self.line("# A server without a host is this machine.");
        }
    }

    fn listener(&mut self, name: &str, listener: &Listener) {
        self.line(&format!("[listeners.{}]", bare(name)));
        // Places that have no text were refused before.
        self.text("address", &bind_text(&listener.bind).unwrap_or_default());
        match listener.bind {
            Bind::Unix { mode: 0, .. } => {
                self.line("# The umask decides, as in nutcracker.");
                self.line("mode = \"0\"");
            }
            Bind::Unix { mode, .. } => self.line(&format!("mode = \"{mode:04o}\"")),
            Bind::Tcp(_) | Bind::Udp(_) => {}
        }
        if listener.protocol == Protocol::Redis {
            self.line("protocol = \"redis\"");
        }
        self.line(&format!("route = {}", quoted(name)));
        self.line(&format!("backlog = {}", listener.backlog));
        for user in &listener.users {
            let (name, password) = (quoted(&user.name), quoted(&user.password));
            self.line("# Asked from clients, as nutcracker does with `redis_auth`.");
            self.line(&format!("users = {{ {name} = {password} }}"));
        }
        if !listener.keepalive {
            self.line("keepalive = false");
        }
        match listener.compat {
            Compat::Native => {}
            Compat::Nutcracker => {
                self.line("# `native` answers errors where nutcracker closes without a word.");
                self.line("compat = \"nutcracker\"");
            }
            Compat::Strict => self.line("compat = \"strict\""),
        }
    }

    fn pool(&mut self, name: &str, pool: &Pool) {
        self.line(&format!("[pools.{}]", bare(name)));
        self.line("servers = [");
        for backend in &pool.backends {
            // Servers that have no text were refused before.
            let text = server_text(backend).unwrap_or_default();
            self.line(&format!("    {},", quoted(&text)));
        }
        self.line("]");
        if let LinkProtocol::Redis(_) = pool.link.protocol {
            self.line("protocol = \"redis\"");
        }
        let hash = HASHES.iter().find(|(_, hash)| *hash == pool.hash);
        let has_hash = pool.distribution != Distribution::Random;
        if let Some((word, _)) = hash.filter(|_| has_hash) {
            self.text("hash", word);
        } else if has_hash {
            self.line("# This hash has no word.");
        }
        let distribution = DISTRIBUTIONS.iter().find(|(_, it)| *it == pool.distribution);
        if let Some((word, _)) = distribution {
            self.text("distribution", word);
        }
        match &pool.key_part {
            KeyPart::Tag { open, close, .. } => self.hash_tag([*open, *close]),
            KeyPart::Whole | KeyPart::Stop(_) => {}
        }
        self.link(&pool.link);
        if let Some(ejection) = pool.ejection {
            self.ejection(ejection);
        }
    }

    fn hash_tag(&mut self, bytes: [u8; 2]) {
        match std::str::from_utf8(&bytes) {
            Ok(text) => self.text("hash_tag", text),
            Err(_) => self.line("# The hash tag is not text and has been left out: KEYS MOVE."),
        }
    }

    fn link(&mut self, link: &Link) {
        let default = Link::default();
        let connections = link.connections.min(CONNECTIONS_MAX);
        if connections != link.connections {
            let wanted = link.connections;
            self.line(&format!("# nutcracker had {wanted}; more than {connections} cannot be."));
        }
        self.line(&format!("connections = {connections}"));
        self.line(&format!("large_connections_max = {}", link.large_lanes_max));
        for (key, value) in
            [("connect_timeout", link.connect_timeout), ("read_timeout", link.read_timeout)]
        {
            if value > TIMEOUT_MAX {
                let wanted = duration_text(value);
                self.line(&format!("# nutcracker had {wanted}; more than an hour cannot be."));
            }
            let value = duration_text(value.min(TIMEOUT_MAX));
            self.line(&format!("{key} = \"{value}\""));
        }
        if link.timeout_each {
            self.line("timeout_of = \"request\"");
        }
        if link.on_demand {
            self.line("on_demand = true");
        }
        if link.preconnect {
            self.line("preconnect = true");
        }
        if !link.handshake {
            self.line("handshake = false");
        }
        self.line(&format!("failure_limit = {}", link.failure_limit));
        if link.depth_max != default.depth_max {
            self.line(&format!("depth_max = {}", link.depth_max));
        }
        if !link.keepalive {
            self.line("keepalive = false");
        }
        let LinkProtocol::Redis(login) = &link.protocol else { return };
        if let Some(password) = &login.password {
            self.text("password", password);
        }
        if login.database != 0 {
            self.line(&format!("database = {}", login.database));
        }
        if login.select_first {
            self.line("login_order = \"select_first\"");
        }
        if login.refusal_is_ignored {
            self.line("login_refused = \"ignore\"");
        }
        if link.refusals_fail {
            self.line("# `pass` hands `-OOM` and `-BUSY` to the client that caused them.");
            self.line("refusals = \"fail\"");
        }
    }

    fn ejection(&mut self, ejection: Ejection) {
        let Ejection { retry, failure_limit, heartbeat, counts_idle_close } = ejection;
        if !heartbeat {
            self.line("# `heartbeat = true` would let a server return only once it answers.");
        }
        let idle_close = if counts_idle_close { "count" } else { "ignore" };
        let time = duration_text(retry);
        self.line(&format!(
            "eject = {{ after = {failure_limit}, time = \"{time}\", heartbeat = {heartbeat}, \
             idle_close = \"{idle_close}\" }}"
        ));
    }

    fn limits(&mut self, limits: &Limits) {
        self.line("");
        self.line("# nutcracker has no limits but memory and descriptors.");
        self.line("[limits]");
        self.line(&format!("clients_max = {}", limits.clients_max));
        self.line(&format!("client_bytes_max = {}", limits.client_bytes_max));
        self.line(&format!("backend_bytes_max = {}", limits.backend_bytes_max));
        self.line(&format!("worker_bytes_max = {}", limits.worker_bytes_max));
    }

    fn text(&mut self, key: &str, value: &str) {
        let value = quoted(value);
        self.line(&format!("{key} = {value}"));
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }
}

/// A name as a part of a TOML key.
fn bare(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if name.chars().all(fits) { name.to_owned() } else { quoted(name) }
}

/// A text as a TOML string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("a string takes any text");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Most connections of the native file.
const CONNECTIONS_MAX: usize = 256;
/// Longest timeout of the native file.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
