//! Tests of nutcracker's file: what good files mean, and what is said about bad ones.
//!
//! That verdicts are those of nutcracker is tested against the real one in tests/nutcracker.rs.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use keyway_proxy::config::*;

use super::{Options, Refused, load, plain};

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
    assert!(link.on_demand && link.timeout_each && link.refusals_fail);
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
  - /tmp/a b.sock:5
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
    assert_eq!(names, ["node-9", "node-10", "/tmp/a b.sock:"], "the shorter first");
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
