//! Tests of nutcracker's file: what good files mean, and what is said about bad ones.
//!
//! That verdicts are those of nutcracker is tested against the real one in tests/nutcracker.rs.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use keyway_proxy::config::*;

use super::{Options, Refused, load};

/// Numbers and `localhost` have addresses, other names have none.
fn resolver(host: &str) -> io::Result<Vec<SocketAddr>> {
    match host {
        "localhost" => Ok(vec!["127.0.0.1:0".parse().unwrap()]),
        host => match host.parse() {
            Ok(ip) => Ok(vec![SocketAddr::new(ip, 0)]),
            Err(_) => Err(io::Error::other("no such name")),
        },
    }
}

fn options(compat: Compat) -> Options<'static> {
    Options { workers: 2, compat, resolver: &resolver }
}

fn good(text: &str) -> Config {
    match load("f", text.as_bytes(), options(Compat::Nutcracker)) {
        Ok(loaded) => loaded.config,
        Err(refused) => panic!("{refused:#?}"),
    }
}

fn refused(text: &str) -> Refused {
    load("f", text.as_bytes(), options(Compat::Nutcracker)).unwrap_err()
}

/// A pool named `p` with these lines beside its `listen` and one server.
fn pool(lines: &str) -> String {
    let mut text = String::from("p:\n  listen: 127.0.0.1:22121\n  servers:\n   - 10.0.0.1:1:1\n");
    for line in lines.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

#[track_caller]
fn reason(text: &str, expected: &str) {
    let refused = refused(text);
    assert_eq!(refused.reason.as_deref(), Some(expected), "{text}");
    assert!(!refused.findings.is_empty());
}

#[test]
fn a_short_file_has_nutcrackers_defaults() {
    let config = good(&pool(""));
    let listener = &config.listeners[0];
    assert_eq!(listener.bind, Bind::Tcp("127.0.0.1:22121".parse().unwrap()));
    assert_eq!((listener.protocol, listener.backlog), (Protocol::Memcached, 512));
    assert_eq!((listener.keepalive, listener.compat), (false, Compat::Nutcracker));
    assert!(listener.users.is_empty());
    let pool = &config.pools[0];
    assert_eq!((pool.hash, pool.distribution), (Hash::Fnv1a64, Distribution::Ketama));
    assert_eq!((&pool.key_part, pool.ejection), (&KeyPart::Whole, None));
    let link = &pool.link;
    assert_eq!(link.protocol, LinkProtocol::Memcached);
    assert_eq!((link.connections, link.large_lanes_max), (1, 0));
    assert_eq!((link.connect_timeout, link.read_timeout), (Duration::ZERO, Duration::ZERO));
    assert!(link.on_demand && link.timeout_each && !link.refusals_fail);
    assert!(!link.preconnect && !link.handshake && !link.keepalive);
    assert_eq!(pool.backends[0].name, "10.0.0.1:1");
    assert_eq!((config.workers, config.admin), (2, None));
}

#[test]
fn every_directive_reaches_the_model() {
    let text = "\
alpha:
  listen: /run/n.sock 0660
  hash: murmur
  hash_tag: \"{}\"
  distribution: modula
  timeout: 400
  backlog: 0
  client_connections: 7
  tcpkeepalive: true
  redis: true
  redis_auth: 'sec ret'
  redis_db: 3
  preconnect: true
  auto_eject_hosts: true
  server_connections: 4
  server_retry_timeout: 2000
  server_failure_limit: 3
  servers:
  - 10.0.0.1:6379:1 node-10
  - 10.0.0.2:6379:2 node-9
  - /tmp/a.sock:5
";
    let config = good(text);
    let listener = &config.listeners[0];
    assert_eq!(listener.bind, Bind::Unix { path: "/run/n.sock".into(), mode: 0o660 });
    assert_eq!((listener.protocol, listener.backlog), (Protocol::Redis, 0));
    assert!(listener.keepalive);
    let user = User { name: "default".into(), password: "sec ret".into() };
    assert_eq!(listener.users, [user]);
    let pool = &config.pools[0];
    assert_eq!((pool.hash, pool.distribution), (Hash::Murmur, Distribution::Modula));
    let tag = KeyPart::Tag { open: b'{', close: b'}', empty_counts: false };
    assert_eq!(pool.key_part, tag);
    let names: Vec<&str> = pool.backends.iter().map(|backend| &backend.name[..]).collect();
    assert_eq!(names, ["node-9", "node-10", "/tmp/a.sock:"], "the shorter first");
    let login = RedisLogin {
        user: None,
        password: Some("sec ret".into()),
        database: 3,
        select_first: false,
        refusal_is_ignored: true,
    };
    assert_eq!(pool.link.protocol, LinkProtocol::Redis(login));
    assert_eq!(pool.link.read_timeout, Duration::from_millis(400));
    assert_eq!((pool.link.connections, pool.link.preconnect), (4, true));
    let ejection = Ejection {
        retry: Duration::from_secs(2),
        failure_limit: 3,
        heartbeat: false,
        counts_idle_close: true,
    };
    assert_eq!(pool.ejection, Some(ejection));
    let native = load("f", text.as_bytes(), options(Compat::Native)).unwrap().config;
    let ejection = native.pools[0].ejection.unwrap();
    assert!(ejection.heartbeat && !ejection.counts_idle_close);
    assert!(!native.pools[0].link.refusals_fail);
}

#[test]
fn pools_are_sorted_by_length_and_bytes() {
    let file = |names: &[&str]| {
        let pools = names.iter().enumerate().map(|(at, name)| {
            format!("{name}:\n  listen: 127.0.0.1:{}\n  servers:\n  - a:1:1\n", at + 1)
        });
        pools.collect::<String>()
    };
    let config = good(&file(&["zeta", "alpha", "B", "node-9", "zz"]));
    let names: Vec<&str> = config.pools.iter().map(|pool| &pool.name[..]).collect();
    assert_eq!(names, ["B", "zz", "zeta", "alpha", "node-9"]);
    for (id, listener) in config.listeners.iter().enumerate() {
        assert_eq!((listener.name.as_str(), listener.route), (names[id], id));
        assert_eq!(config.routes[id].kind, RouteKind::Pool(id));
    }
}

#[test]
fn hosts_that_nutcracker_cannot_find_are_understood() {
    let config = good(&pool("").replace("10.0.0.1:1:1", "\"[::1]:6379:1\""));
    let backend = &config.pools[0].backends[0];
    assert_eq!((backend.name.as_str(), backend.host.as_str()), ("[::1]:6379", "::1"));
    assert_eq!(backend.address, Some(Address::Tcp("[::1]:6379".parse().unwrap())));
    let config = good(&pool("").replace("10.0.0.1:1:1", "\":6379:1\""));
    let here = Address::Tcp("127.0.0.1:6379".parse().unwrap());
    assert_eq!(config.pools[0].backends[0].address, Some(here));
}

#[test]
fn all_mistakes_are_reported_and_the_first_is_the_reason() {
    let text = "\
p:
  listen: 127.0.0.1:22121
  sever_connections: 2
  hash: murmer
  timeout: 4s
  timeout: 5
  servers:
  - 10.0.0.1:1:1
  - 10.0.0.1:1
q:
  redis_auth: x
  servers:
  - 10.0.0.1:1:1
  - 10.0.0.1:1:2
";
    let refused = refused(text);
    let found: Vec<String> = refused.findings.iter().map(ToString::to_string).collect();
    let expected = [
        "f:3:3: error: unknown directive `sever_connections` (did you mean `server_connections`?)",
        "f:4:9: error: `murmer` is not a valid hash; did you mean `murmur`?",
        "f:5:12: error: `4s` is not a number",
        "f:6:3: error: `timeout` is given twice",
        "f:9:5: error: this server has no port or no weight",
        "f:10:1: error: pool `q` has no `listen`",
        "f:11:3: error: `redis_auth` has no meaning in a memcached pool",
        "f:14:5: error: `10.0.0.1:1` is in this pool already (line 13)",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\ndoes not begin with\n{expected}");
    }
    reason(text, "directive \"sever_connections\" is unknown");
}

#[test]
fn forbidden_tokens_are_placed_and_explained() {
    let refused = refused(&pool("hash_tag: {}\n"));
    let found = refused.findings[0].to_string();
    assert!(found.starts_with("f:5:13: error: nutcracker's YAML has no flow mapping"), "{found}");
    assert!(found.contains("hash_tag: \"{}\""), "{found}");
    assert_eq!(refused.reason.unwrap(), "flow mapping start token (12) is disallowed");
    let refused = super::load("f", b"---\na: b\n", options(Compat::Strict)).unwrap_err();
    assert_eq!(refused.findings[0].line, 1);
    assert_eq!(refused.reason.unwrap(), "document start token (5) is disallowed");
}

/// Deep nesting is refused in no time, by its depth and not by its length.
#[test]
fn nesting_costs_nothing() {
    let deep = "[".repeat(1_000_000);
    reason(&deep, "flow sequence start token (10) is disallowed");
    let deep = "- ".repeat(100_000);
    reason(&deep, "'f' has sequence at depth 0 instead of 2");
}

#[test]
fn oddities_are_warned_about() {
    let warnings = |text: &str| {
        let loaded = load("f", text.as_bytes(), options(Compat::Nutcracker)).unwrap();
        loaded.warnings.iter().map(|found| found.message.clone()).collect::<Vec<_>>()
    };
    let found = warnings(&pool("client_connections: 5\nreuseport: true\ntimeout: 99999999999\n"));
    assert_eq!(
        found,
        [
            "`client_connections` has no effect, as in nutcracker",
            "`reuseport` has no effect: one process uses all processors",
            "this number is too large: 1215752191 is used",
        ]
    );
    let two = pool("hash: crc32\n").replace("   - 10", "   - 10.0.0.2:1:1\n   - 10");
    assert_eq!(warnings(&two), ["`hash: crc32` with ketama puts all keys on one server"]);
    assert!(warnings(&pool("client_connections: 0\n")).is_empty());
}

/// Converts, loads, and gives both models, made equal in what comments say.
fn both(text: &str, compat: Compat) -> (Config, Config, String) {
    let options = options(compat);
    let theirs = load("f", text.as_bytes(), options).unwrap().config;
    let toml = super::convert("f.yml", text.as_bytes(), options).unwrap().toml;
    let loaded = crate::load_native("keyway.toml", &toml);
    let mut ours = loaded.unwrap_or_else(|found| panic!("{toml}\n{found:#?}")).config;
    ours.workers = theirs.workers;
    (ours, theirs, toml)
}

#[test]
fn what_is_converted_loads_to_the_same() {
    let everything = "\
zeta:
  listen: /run/n.sock 0660
  hash: murmur
  hash_tag: \"\\\"\\\\\"
  distribution: modula
  timeout: 1500
  backlog: 0
  tcpkeepalive: true
  redis: true
  redis_auth: \"sec \\\"ret\"
  redis_db: 3
  preconnect: true
  auto_eject_hosts: true
  server_connections: 4
  server_retry_timeout: 0
  server_failure_limit: 0
  servers:
  - 10.0.0.1:06379:1
  - 10.0.0.2:11211:2147483647
  - 10.0.0.3:6379:2 node-\"9\"
  - ::1:6379:1
  - \"[::2]:6379:1\"
  - \":6380:1\"
  - /tmp/a.sock:5
  - /tmp/b.sock:5 b
a.b:
  listen: \"::1:22121\"
  distribution: random
  servers:
  - cache.example:11211:1
c:
  listen: /run/m.sock
  servers:
  - cache.example:11211:1
";
    for compat in [Compat::Native, Compat::Nutcracker, Compat::Strict] {
        let (mut ours, theirs, toml) = both(everything, compat);
        // With `random` no hash is written, since none counts.
        assert_eq!(theirs.pools[1].distribution, Distribution::Random);
        ours.pools[1].hash = theirs.pools[1].hash;
        assert_eq!(ours, theirs, "{toml}");
        let has_line = toml.lines().any(|line| line == "login_order = \"select_first\"");
        assert_eq!(has_line, compat == Compat::Strict, "{toml}");
        assert_eq!(toml.contains("# database 0."), compat != Compat::Strict, "{toml}");
    }
    let (ours, theirs, _) = both(&pool(""), Compat::Nutcracker);
    assert_eq!(ours, theirs);
}

#[test]
fn what_cannot_be_converted_is_said() {
    let text = pool("timeout: 3600001\nserver_connections: 300\nclient_connections: 9\n")
        .replacen("p:", "\"a b\":", 1)
        .replace("127.0.0.1:22121", "localhost:22121");
    let (mut ours, theirs, toml) = both(&text, Compat::Nutcracker);
    for comment in [
        "# nutcracker's name, in its statistics too, was `a b`.",
        "# nutcracker had 3600001ms; more than an hour cannot be.",
        "# nutcracker had 300; more than 256 cannot be.",
        "# `client_connections: 9` had no effect in nutcracker:",
        "# `listen` named `localhost`; this is its address now.",
    ] {
        assert!(toml.contains(comment), "{toml}");
    }
    let link = &mut ours.pools[0].link;
    assert_eq!((link.connections, link.read_timeout), (256, Duration::from_secs(3600)));
    link.connections = 300;
    link.read_timeout = Duration::from_millis(3_600_001);
    link.connect_timeout = link.read_timeout;
    ours.pools[0].name = "a b".into();
    ours.routes[0].name = "a b".into();
    ours.listeners[0].name = "a b".into();
    assert_eq!(ours, theirs);
    for name in ["store", "\u{e9}"] {
        let (ours, theirs, toml) = both(&pool("").replacen('p', name, 1), Compat::Nutcracker);
        assert_ne!(ours.pools[0].name, theirs.pools[0].name);
        assert!(toml.contains(&format!("was `{name}`")), "{toml}");
    }
    let refused = |line: &str| {
        let text = pool("").replace("10.0.0.1:1:1", line);
        super::convert("f", text.as_bytes(), options(Compat::Nutcracker)).unwrap_err().findings
    };
    for line in ["127.1:6379:1", "\"a:1:1 x\\ty\"", "\"a:1:1 \""] {
        assert_eq!(refused(line)[0].message, "this server cannot be written in the native file");
    }
}
