//! Bodies of the fuzz targets, so that tests run them over a few thousand inputs as well.
//!
//! Each takes any bytes and must not panic; what it asserts are promises of the loaders.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;

use keyway_proxy::config::{Compat, Config, RouteId, RouteKind};

use crate::diagnostic::{Diagnostic, Severity};
use crate::nutcracker::{self, Options, argv};
use crate::{check, load_native, memcached, to_json, to_text};

/// Reads `data` as a native file: what loads is sound, what does not says why.
pub fn native(data: &[u8]) {
    let from_bytes = check("keyway.toml", data);
    let Ok(text) = std::str::from_utf8(data) else {
        assert_eq!(from_bytes.len(), 1, "bytes that are not text are one finding");
        return;
    };
    let findings = match load_native("keyway.toml", text) {
        Ok(loaded) => {
            assert_sound(&loaded.config);
            assert!(loaded.warnings.iter().all(|it| it.severity == Severity::Warning));
            loaded.warnings
        }
        Err(findings) => {
            assert!(findings.iter().any(|it| it.severity == Severity::Error));
            findings
        }
    };
    assert_eq!(findings, from_bytes, "checking and loading agree");
    for finding in &findings {
        assert_placed(text, finding);
    }
    assert_eq!(to_text(text, &findings, true).is_empty(), findings.is_empty());
    assert!(to_json(&findings).starts_with('['));
}

/// Reads `data` as nutcracker's file, and as its command line, arguments separated by NUL bytes.
///
/// What loads is sound, and what it is converted to loads to the same, apart from what a comment
/// says.
pub fn nutcracker(data: &[u8]) {
    let resolver = |host: &str| match host.parse() {
        Ok(ip) => Ok(vec![SocketAddr::new(ip, 0)]),
        Err(_) => Err(io::Error::other("no names here")),
    };
    let options = Options { workers: 1, compat: Compat::Strict, resolver: &resolver };
    let text = String::from_utf8_lossy(data);
    match nutcracker::load("f", data, options) {
        Ok(loaded) => {
            assert_sound(&loaded.config);
            assert!(loaded.warnings.iter().all(|it| it.severity == Severity::Warning));
            match nutcracker::convert("f", data, options) {
                Ok(converted) => assert_converted(&loaded.config, &converted.toml),
                Err(refused) => assert!(!refused.findings.is_empty()),
            }
        }
        Err(refused) => {
            assert!(refused.findings.iter().any(|it| it.severity == Severity::Error));
            if text.as_bytes() == data {
                refused.findings.iter().for_each(|finding| assert_placed(&text, finding));
            }
            assert!(!to_text(&text, &refused.findings, false).is_empty());
        }
    }
    let args = data.split(|byte| *byte == 0).map(|arg| OsString::from_vec(arg.to_vec()));
    if let argv::Outcome::Print { text, exit } = argv::parse(args) {
        assert!(exit <= 1 && text.ends_with(b"\n"));
    }
}

/// The servers of a converted file are the same, in the same order and with the same placement.
fn assert_converted(config: &Config, toml: &str) {
    let converted = match load_native("keyway.toml", toml) {
        Ok(loaded) => loaded.config,
        Err(findings) => panic!("{toml}\n{findings:?}"),
    };
    assert_eq!(converted.pools.len(), config.pools.len());
    for (ours, theirs) in converted.pools.iter().zip(&config.pools) {
        assert_eq!(ours.backends, theirs.backends);
        assert_eq!(ours.distribution, theirs.distribution);
        assert_eq!(ours.link.protocol, theirs.link.protocol);
        assert_eq!(ours.ejection, theirs.ejection);
        if !toml.contains("KEYS MOVE") {
            assert_eq!(ours.key_part, theirs.key_part);
        }
    }
    for (ours, theirs) in converted.listeners.iter().zip(&config.listeners) {
        assert_eq!((&ours.bind, &ours.users), (&theirs.bind, &theirs.users));
    }
}

/// Reads `data` as a command line, its arguments separated by NUL bytes.
pub fn memcached(data: &[u8]) {
    let args = data.split(|byte| *byte == 0).map(|arg| OsString::from_vec(arg.to_vec()));
    let resolver = |_: &str| Err(io::Error::other("no names here"));
    match memcached::parse_with("memcached", args, &resolver) {
        memcached::Outcome::Run(run) => {
            assert_sound(&run.config);
            let grouped: usize = run.process.listen_groups.iter().map(Vec::len).sum();
            assert_eq!(grouped, run.config.listeners.len(), "every listener is in one group");
        }
        memcached::Outcome::Print { exit, .. } => assert_eq!(exit, 0),
        memcached::Outcome::Fail { exit, .. } => assert!(exit > 0),
    }
    // A file of users is as untrusted as the arguments.
    let _ = memcached::users_from(data);
}

/// A finding points into the file, at the line and column it says.
fn assert_placed(text: &str, finding: &Diagnostic) {
    let before = text.get(..finding.span.start).expect("a span begins at a character");
    assert!(text.get(finding.span.clone()).is_some(), "a span lies within the file");
    assert_eq!(finding.line, before.matches('\n').count() + 1);
    assert!(!finding.message.is_empty() && !finding.message.contains('\n'));
}

/// What the data plane relies on without checking: indices in range, no cycle, nothing empty.
fn assert_sound(config: &Config) {
    assert!(config.workers >= 1 && !config.routes.is_empty());
    for listener in &config.listeners {
        assert_shallow(config, listener.route, 0);
    }
    let uses_store = config.routes.iter().any(|route| route.kind == RouteKind::Store);
    assert!(!uses_store || config.store.is_some(), "a route to the store needs one");
    for pool in &config.pools {
        assert!(!pool.backends.is_empty() && pool.link.connections >= 1);
        assert!(pool.backends.iter().all(|backend| backend.weight >= 1));
    }
}

fn assert_shallow(config: &Config, id: RouteId, depth: usize) {
    assert!(depth <= 64, "a chain of routes ends");
    let below = match &config.routes[id].kind {
        RouteKind::Pool(pool) => return assert!(*pool < config.pools.len()),
        RouteKind::Store | RouteKind::Null | RouteKind::Error(_) => return,
        RouteKind::Prefix { cases, otherwise } => {
            cases.iter().map(|(_, id)| *id).chain([*otherwise]).collect()
        }
        RouteKind::Command { cases, otherwise } => {
            cases.iter().map(|(_, id)| *id).chain([*otherwise]).collect()
        }
        RouteKind::Failover { children, .. }
        | RouteKind::AllSync { children }
        | RouteKind::AllFastest { children } => {
            assert!(children.len() >= 2);
            children.clone()
        }
    };
    for id in below {
        assert_shallow(config, id, depth + 1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// A file with every construct, to be broken in every place.
    const SEED: &str = r#"
workers = 2
admin = "127.0.0.1:9911"
[store]
memory = "64MiB"
[limits]
client_idle = "5m"
[listeners.main]
address = ["127.0.0.1:11211", "unix:/run/k.sock"]
route = { prefix = { "u:" = "users", "e:" = { error = "closed" } }, default = "both" }
allow = ["flush"]
users = { app = "secret" }
[pools.users]
servers = ["10.0.0.1:11211:2 one", { address = "[::1]:5000", weight = 3 }]
hash_tag = "{}"
eject = "30s"
[pools.spare]
servers = ["cache.example:11211"]
distribution = "ring"
[routes]
both = { failover = ["users", "spare"], on = ["error", "miss"], budget = 10 }
reads = { command = { get = "both", set = { all_sync = ["users", "spare"] } }, default = "store" }
"#;

    fn config() -> ProptestConfig {
        ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() }
    }

    #[test]
    fn the_seed_is_a_good_file() {
        super::native(SEED.as_bytes());
        crate::load_native("seed", SEED).unwrap();
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn any_bytes(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            super::native(&data);
            super::memcached(&data);
            super::nutcracker(&data);
        }

        #[test]
        fn a_good_file_cut_and_pasted(
            edits in proptest::collection::vec((0..SEED.len(), 0..SEED.len(), 0..40usize), 1..4),
        ) {
            let mut data = SEED.as_bytes().to_vec();
            for (from, to, len) in edits {
                let from = from.min(data.len());
                let to = to.min(data.len());
                let piece: Vec<u8> = data[from..(from + len).min(data.len())].to_vec();
                let end = (to + len / 2).min(data.len());
                data.splice(to..end, piece);
            }
            super::native(&data);
        }

        #[test]
        fn any_command_line(
            args in proptest::collection::vec(
                concat!(
                    "(-[a-zA-Z]{1,3}|--[a-z]{1,5}(=[0-9a-z]{0,3})?|[0-9]{1,11}[kmg]?",
                    "|[a-z_]{1,12}=?[0-9,=-]{0,8}",
                    "|(proto|tag)[\\[_][a-z]{0,9}[\\]_]?:?[0-9.:\\[\\]*]{0,12})",
                ),
                0..6,
            ),
        ) {
            super::memcached(args.join("\0").as_bytes());
        }
    }
}
