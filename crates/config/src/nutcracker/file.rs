//! The file as it is written: pools with their directives, and nutcracker's checks of them.
//!
//! Everything is kept with its place, and absent directives stay absent; `model` knows what that
//! means. Checks come in nutcracker's order: directives as they are read, then each pool, then the
//! pools against each other.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;

use keyway_proxy::config::{Address, Bind, Distribution, Hash};

use super::Mistakes;
use super::directive::{self, DISTRIBUTIONS, Flag, HASHES, Kind, Number};
use super::value::{self, Wrong};
use super::yaml::{Scalar, Step};
use crate::diagnostic::Findings;
use crate::nearest::hint;

/// A file that nutcracker would use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its pools, in the order of the file.
    pub pools: Vec<Pool>,
}

/// A pool as it is written. What is `None` stands not in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Where its name stands, in bytes of the file.
    pub span: Range<usize>,
    /// `listen`.
    pub listen: Option<Listen>,
    /// `hash`.
    pub hash: Option<Hash>,
    /// `hash_tag`: the opening and the closing byte.
    pub hash_tag: Option<[u8; 2]>,
    /// `distribution`.
    pub distribution: Option<Distribution>,
    /// `timeout` in milliseconds; 0 is none.
    pub timeout_ms: Option<u32>,
    /// `backlog`.
    pub backlog: Option<u32>,
    /// `client_connections`, which has no effect.
    pub client_connections: Option<u32>,
    /// `tcpkeepalive`.
    pub tcpkeepalive: Option<bool>,
    /// `reuseport`, known to nutcracker since 2022 only.
    pub reuseport: Option<bool>,
    /// `redis`.
    pub redis: Option<bool>,
    /// `redis_auth`.
    pub redis_auth: Option<String>,
    /// `redis_db`.
    pub redis_db: Option<u32>,
    /// `preconnect`.
    pub preconnect: Option<bool>,
    /// `auto_eject_hosts`.
    pub auto_eject_hosts: Option<bool>,
    /// `server_connections`. At least 1.
    pub server_connections: Option<u32>,
    /// `server_retry_timeout` in milliseconds.
    pub server_retry_timeout_ms: Option<u32>,
    /// `server_failure_limit`; 0 means 1.
    pub server_failure_limit: Option<u32>,
    /// `servers`, in the order of the file. At least one.
    pub servers: Vec<Server>,
}

/// Where a pool listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// As written.
    pub text: String,
    /// What it means. The mode of a Unix socket is 0 where none is given or it is ignored.
    pub bind: Bind,
}

/// A server of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The line without the label: nutcracker's log calls the server so.
    pub place: String,
    /// What placement hashes, what sorts, and what statistics are listed under.
    pub name: String,
    /// Host, without brackets, and 127.0.0.1 where there is none; or the path of a socket.
    pub host: String,
    /// Port; 0 for a Unix socket.
    pub port: u16,
    /// Weight, at least 1.
    pub weight: u32,
    /// Where to connect; `None` while the name has not been resolved.
    pub address: Option<Address>,
    /// Where the line stands, in bytes of the file.
    pub span: Range<usize>,
}

impl Pool {
    fn new(name: &Scalar) -> Pool {
        Pool {
            name: name.text.clone(),
            span: name.span.clone(),
            listen: None,
            hash: None,
            hash_tag: None,
            distribution: None,
            timeout_ms: None,
            backlog: None,
            client_connections: None,
            tcpkeepalive: None,
            reuseport: None,
            redis: None,
            redis_auth: None,
            redis_db: None,
            preconnect: None,
            auto_eject_hosts: None,
            server_connections: None,
            server_retry_timeout_ms: None,
            server_failure_limit: None,
            servers: Vec::new(),
        }
    }

    /// Whether it speaks Redis.
    pub fn is_redis(&self) -> bool {
        self.redis == Some(true)
    }

    fn number(&mut self, number: Number) -> &mut Option<u32> {
        match number {
            Number::Timeout => &mut self.timeout_ms,
            Number::Backlog => &mut self.backlog,
            Number::ClientConnections => &mut self.client_connections,
            Number::RedisDb => &mut self.redis_db,
            Number::ServerConnections => &mut self.server_connections,
            Number::ServerRetryTimeout => &mut self.server_retry_timeout_ms,
            Number::ServerFailureLimit => &mut self.server_failure_limit,
        }
    }

    fn flag(&mut self, flag: Flag) -> &mut Option<bool> {
        match flag {
            Flag::TcpKeepalive => &mut self.tcpkeepalive,
            Flag::ReusePort => &mut self.reuseport,
            Flag::Redis => &mut self.redis,
            Flag::Preconnect => &mut self.preconnect,
            Flag::AutoEjectHosts => &mut self.auto_eject_hosts,
        }
    }
}

/// Finds the addresses of a host name.
type Resolver<'r> = &'r dyn Fn(&str) -> io::Result<Vec<SocketAddr>>;

/// Reads pools from the steps of a file, with every check.
pub(super) fn read(
    name: &str,
    steps: &[Step],
    resolver: Resolver<'_>,
    mistakes: &mut Mistakes<'_>,
) -> File {
    let mut pools: Vec<Reading> = Vec::new();
    for step in steps {
        match step {
            Step::Pool(name) => pools.push(Reading::new(name)),
            Step::Directive { key, value } => {
                // The shape of the file puts every directive below a pool.
                if let Some(pool) = pools.last_mut() {
                    pool.directive(key, value, resolver, mistakes);
                }
            }
            Step::Empty { key, span } => empty(key.as_ref(), span.clone(), mistakes),
        }
    }
    for pool in &pools {
        pool.check(mistakes);
    }
    let pools: Vec<Pool> = pools.into_iter().map(|reading| reading.pool).collect();
    if pools.is_empty() {
        let message = "the file has no pools";
        let help = "write `NAME:` and below it, indented, `listen: …`";
        mistakes.error(0..0, format!("'{name}' has no pools"), message, help);
    }
    check_listens(&pools, mistakes);
    check_names(name, &pools, mistakes);
    File { pools }
}

fn empty(key: Option<&Scalar>, span: Range<usize>, mistakes: &mut Mistakes<'_>) {
    let (message, help) = match key {
        Some(key) => (
            format!("`{}` has no value", key.text.escape_debug()),
            "write a value behind the colon, or remove the line",
        ),
        None => ("this name is empty".to_owned(), "remove the line"),
    };
    let span = key.map_or(span, |key| key.span.clone());
    mistakes.error(span, None, message, help);
}

/// A pool while its directives are read.
struct Reading {
    pool: Pool,
    /// Where each directive stood first.
    places: HashMap<&'static str, Range<usize>>,
    /// Whether something was wrong with `listen` or a server, so that their lack is no news.
    has_bad_listen: bool,
    has_bad_server: bool,
}

impl Reading {
    fn new(name: &Scalar) -> Self {
        let pool = Pool::new(name);
        Reading { pool, places: HashMap::new(), has_bad_listen: false, has_bad_server: false }
    }

    fn directive(
        &mut self,
        key: &Scalar,
        value: &Scalar,
        resolver: Resolver<'_>,
        mistakes: &mut Mistakes<'_>,
    ) {
        let Some(kind) = directive::find(&key.text) else {
            let help = hint(&key.text, directive::names(), "the directives are");
            let message = format!("unknown directive `{}`", key.text.escape_debug());
            let reason = format!("directive \"{}\" is unknown", key.text);
            return mistakes.error(key.span.clone(), reason, message, help);
        };
        let reason = |text: &str| format!("directive \"{}\" {text}", key.text);
        if kind != Kind::Servers && self.is_duplicate(kind, key) {
            let message = format!("`{}` is given twice", key.text);
            let help = "remove one of them";
            return mistakes.error(key.span.clone(), reason("is a duplicate"), message, help);
        }
        if let Err(wrong) = self.value(kind, value, resolver, mistakes) {
            let reason = reason(wrong.reason);
            mistakes.error(value.span.clone(), reason, wrong.message, wrong.help);
        }
    }

    /// Whether the directive had a value already; notes its place otherwise.
    fn is_duplicate(&mut self, kind: Kind, key: &Scalar) -> bool {
        let name = directive::names().find(|name| *name == key.text).unwrap_or("");
        let is_first = !self.places.contains_key(name);
        if is_first {
            self.places.insert(name, key.span.clone());
        }
        // A bad value leaves no trace in nutcracker, but it stops there; we go on.
        debug_assert!(kind != Kind::Servers);
        !is_first
    }

    fn value(
        &mut self,
        kind: Kind,
        value: &Scalar,
        resolver: Resolver<'_>,
        mistakes: &mut Mistakes<'_>,
    ) -> Result<(), Wrong> {
        let text = value.text.as_str();
        match kind {
            Kind::Listen => {
                let bind = value::listen(text, resolver);
                self.has_bad_listen = bind.is_err();
                self.pool.listen = Some(Listen { text: text.to_owned(), bind: bind? });
            }
            Kind::Hash => self.pool.hash = Some(word(text, &HASHES, "is not a valid hash")?),
            Kind::Distribution => {
                let reason = "is not a valid distribution";
                self.pool.distribution = Some(word(text, &DISTRIBUTIONS, reason)?);
            }
            Kind::HashTag => self.pool.hash_tag = Some(hash_tag(text)?),
            Kind::Number(which) => {
                *self.pool.number(which) = Some(number(value, mistakes)?);
            }
            Kind::Flag(flag) => *self.pool.flag(flag) = Some(boolean(text)?),
            Kind::Auth => self.pool.redis_auth = Some(text.to_owned()),
            Kind::Servers => self.server(value, mistakes)?,
        }
        Ok(())
    }

    fn server(&mut self, value: &Scalar, mistakes: &mut Mistakes<'_>) -> Result<(), Wrong> {
        let line = value::server(&value.text).inspect_err(|_| self.has_bad_server = true)?;
        if line.wrapped {
            let message = format!("a number here is too large: weight {} is used", line.weight);
            mistakes.findings.warning(value.span.clone(), message, WRAP_HELP);
        }
        self.pool.servers.push(Server {
            place: line.place,
            name: line.name,
            host: line.host,
            port: line.port,
            weight: line.weight,
            address: line.address,
            span: value.span.clone(),
        });
        Ok(())
    }

    /// What nutcracker checks once a pool is complete.
    fn check(&self, mistakes: &mut Mistakes<'_>) {
        let pool = &self.pool;
        let name = pool.name.escape_debug();
        let span_of = |directive| self.places.get(directive).unwrap_or(&pool.span).clone();
        if pool.listen.is_none() && !self.has_bad_listen {
            let reason = "directive \"listen:\" is missing".to_owned();
            let message = format!("pool `{name}` has no `listen`");
            mistakes.error(pool.span.clone(), reason, message, "add `listen: 127.0.0.1:22121`");
        }
        if pool.server_connections == Some(0) {
            let reason = "directive \"server_connections:\" cannot be 0".to_owned();
            let message = "`server_connections` cannot be 0";
            mistakes.error(span_of("server_connections"), reason, message, "write 1 or more");
        }
        if pool.redis_auth.is_some() && !pool.is_redis() {
            let reason = "directive \"redis_auth:\" is only valid for a redis pool".to_owned();
            let message = "`redis_auth` has no meaning in a memcached pool";
            mistakes.error(span_of("redis_auth"), reason, message, "add `redis: true`");
        }
        if pool.servers.is_empty() && !self.has_bad_server {
            let reason = format!("pool '{}' has no servers", pool.name);
            let message = format!("pool `{name}` has no servers");
            let help = "add `servers:` and below it `- host:port:weight` for each server";
            mistakes.error(pool.span.clone(), reason, message, help);
        }
        check_servers(pool, mistakes);
        warn(pool, &span_of, mistakes);
    }
}

/// Names of servers occur once in a pool. The first in nutcracker's order is its reason.
fn check_servers(pool: &Pool, mistakes: &mut Mistakes<'_>) {
    let mut sorted: Vec<&Server> = pool.servers.iter().collect();
    sorted.sort_by(|a, b| order(&a.name, &b.name));
    for pair in sorted.windows(2) {
        let [first, second] = pair else { continue };
        if first.name != second.name {
            continue;
        }
        let reason = format!("pool '{}' has servers with same name '{}'", pool.name, second.name);
        let line = mistakes.findings.line_of(first.span.start);
        let shown = second.name.escape_debug();
        let message = format!("`{shown}` is in this pool already (line {line})");
        let help = "remove it, or give it a name of its own: `host:port:weight name`";
        mistakes.error(second.span.clone(), reason, message, help);
    }
}

/// Directives that do not do what one would think.
fn warn(pool: &Pool, span_of: &dyn Fn(&'static str) -> Range<usize>, mistakes: &mut Mistakes<'_>) {
    let findings = &mut mistakes.findings;
    if pool.client_connections.is_some_and(|number| number > 0) {
        let message = "`client_connections` has no effect, as in nutcracker";
        findings.warning(span_of("client_connections"), message, "remove it");
    }
    if pool.reuseport == Some(true) {
        let message = "`reuseport` has no effect: one process uses all processors";
        findings.warning(span_of("reuseport"), message, "remove it; nutcracker 0.5.0 refuses it");
    }
    if let Some(database) = pool.redis_db.filter(|number| *number > 0)
        && pool.redis_auth.is_some()
        && pool.is_redis()
    {
        let message = format!("nutcracker has this pool's data in database 0, not {database}");
        let help = "it sends `SELECT` before the password; here database {} is used, unless \
                    `--compat strict` says otherwise";
        let help = help.replace("{}", &database.to_string());
        findings.warning(span_of("redis_db"), message, help);
    }
    let is_ketama = pool.distribution.is_none_or(|it| it == Distribution::Ketama);
    if pool.hash == Some(Hash::Crc32) && is_ketama && pool.servers.len() > 1 {
        let message = "`hash: crc32` with ketama puts all keys on one server";
        let help = "as in nutcracker; `crc32a` spreads them, but moves keys";
        findings.warning(span_of("hash"), message, help);
    }
    if is_ketama {
        warn_unreachable(pool, findings);
    }
}

/// Servers that are too light for a point on ketama's ring never get a key.
fn warn_unreachable(pool: &Pool, findings: &mut Findings<'_>) {
    let total: u64 = pool.servers.iter().map(|server| u64::from(server.weight)).sum();
    let groups_of_all = KETAMA_GROUPS.saturating_mul(pool.servers.len() as u64);
    for server in &pool.servers {
        if u64::from(server.weight).saturating_mul(groups_of_all) < total {
            let message = "this server never gets a key: its weight is too small beside the others";
            findings.warning(server.span.clone(), message, "as in nutcracker; raise it");
        }
    }
}

/// Each address is listened on once, compared as text.
fn check_listens(pools: &[Pool], mistakes: &mut Mistakes<'_>) {
    let mut sorted: Vec<(&Pool, &str)> =
        pools.iter().filter_map(|pool| Some((pool, pool.listen.as_ref()?.text.as_str()))).collect();
    sorted.sort_by(|(_, a), (_, b)| order(a, b));
    for pair in sorted.windows(2) {
        let [(first, a), (second, b)] = pair else { continue };
        if a != b {
            continue;
        }
        let (one, two) = (&first.name, &second.name);
        let reason = format!("pools '{one}' and '{two}' have the same listen address '{a}'");
        let (one, two) = (one.escape_debug(), two.escape_debug());
        let message = format!("pools `{one}` and `{two}` have the same `listen`");
        mistakes.error(second.span.clone(), reason, message, "an address can be listened on once");
    }
}

/// Names of pools occur once.
fn check_names(file: &str, pools: &[Pool], mistakes: &mut Mistakes<'_>) {
    let mut sorted: Vec<&Pool> = pools.iter().collect();
    sorted.sort_by(|a, b| order(&a.name, &b.name));
    for pair in sorted.windows(2) {
        let [first, second] = pair else { continue };
        if first.name != second.name {
            continue;
        }
        let reason = format!("'{file}' has pools with same name {}'", second.name);
        let line = mistakes.findings.line_of(first.span.start);
        let shown = second.name.escape_debug();
        let message = format!("there is a pool `{shown}` already (line {line})");
        mistakes.error(second.span.clone(), reason, message, "rename one of them");
    }
}

/// nutcracker's order of names: the shorter first, then by bytes.
pub(super) fn order(a: &str, b: &str) -> std::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes()))
}

fn word<T: Copy>(text: &str, words: &[(&str, T)], reason: &'static str) -> Result<T, Wrong> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let choice = hint(text, words.iter().map(|(word, _)| *word), "the choice is");
    // `Wrong` carries fixed help; the choice depends on the text and goes into the message.
    let message = format!("`{}` {}; {choice}", text.escape_debug(), &reason["is ".len() - 3..]);
    Err(Wrong { reason, message, help: "" })
}

fn hash_tag(text: &str) -> Result<[u8; 2], Wrong> {
    text.as_bytes().try_into().map_err(|_| Wrong {
        reason: "is not a valid hash tag string with two characters",
        message: "`hash_tag` must be two characters, the opening and the closing one".to_owned(),
        help: "write `hash_tag: \"{}\"`",
    })
}

fn boolean(text: &str) -> Result<bool, Wrong> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Wrong {
            reason: "is not \"true\" or \"false\"",
            message: format!("`{}` is neither `true` nor `false`", text.escape_debug()),
            help: "write `true` or `false`, in lower case",
        }),
    }
}

fn number(value: &Scalar, mistakes: &mut Mistakes<'_>) -> Result<u32, Wrong> {
    let Some((number, lost)) = value::number(&value.text) else {
        return Err(Wrong {
            reason: "is not a number",
            message: format!("`{}` is not a number", value.text.escape_debug()),
            help: "write digits only, at most 2147483647",
        });
    };
    if lost {
        let message = format!("this number is too large: {number} is used");
        mistakes.findings.warning(value.span.clone(), message, WRAP_HELP);
    }
    Ok(number)
}

/// Groups of points on ketama's ring for a server of average weight.
const KETAMA_GROUPS: u64 = 40;
const WRAP_HELP: &str = "nutcracker counts in 32 bits and loses the rest; write what is meant";
