//! Tests of the native file: what good files mean, and what is said about bad ones.
//!
//! Findings are compared as `LINE:COLUMN: SEVERITY: MESSAGE`, so a test also holds their places.
//! That limits and defaults are those of the reference is tested in tests/reference.rs.

use std::time::Duration;

use keyway_proxy::config::*;

use super::load_native;

fn load(text: &str) -> Config {
    match load_native("keyway.toml", text) {
        Ok(loaded) => {
            let warnings = crate::to_text(text, &loaded.warnings, false);
            assert!(loaded.warnings.is_empty(), "{warnings}");
            loaded.config
        }
        Err(findings) => panic!("{}", crate::to_text(text, &findings, false)),
    }
}

/// All findings of a file, as `LINE:COLUMN: SEVERITY: MESSAGE (HELP)`.
fn findings(text: &str) -> Vec<String> {
    let findings = match load_native("f", text) {
        Ok(loaded) => loaded.warnings,
        Err(findings) => findings,
    };
    findings.iter().map(|finding| finding.to_string()[2..].to_owned()).collect()
}

#[track_caller]
fn says(text: &str, expected: &[&str]) {
    let found = findings(text);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\ndoes not begin with\n{expected}");
    }
}

fn route<'c>(config: &'c Config, name: &str) -> &'c RouteKind {
    &config.routes.iter().find(|route| route.name == name).unwrap().kind
}

#[test]
fn an_empty_file_is_the_embedded_store() {
    let config = load("");
    let mut expected = Config::embedded("127.0.0.1:11211".parse().unwrap(), config.workers);
    expected.admin = Some("127.0.0.1:9911".parse().unwrap());
    assert_eq!(config, expected);
}

#[test]
fn one_pool_needs_nothing_else() {
    let config = load("[pools.main]\nservers = [\"10.0.0.1:11211\", \"cache2:11311:3 two\"]\n");
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.routes[config.listeners[0].route].kind, RouteKind::Pool(0));
    assert!(!config.listeners[0].allow.flush, "clients do not own a pool that is shared");
    assert_eq!(config.store, None);
    let pool = &config.pools[0];
    assert_eq!((pool.distribution, pool.hash), (Distribution::Ketama, Hash::Xxh3));
    assert_eq!(pool.link, Link::default());
    assert_eq!(pool.backends[0].name, "10.0.0.1");
    assert_eq!(pool.backends[0].address, Some(Address::Tcp("10.0.0.1:11211".parse().unwrap())));
    let two = &pool.backends[1];
    assert_eq!((two.name.as_str(), two.host.as_str(), two.port), ("two", "cache2", 11311));
    assert_eq!((two.weight, two.address.as_ref()), (3, None));
}

#[test]
fn every_key_of_a_pool_reaches_the_model() {
    let config = load(
        r#"
        [pools.a]
        servers = [{ address = "[::1]:1000", name = "x" }, "unix:/s"]
        distribution = "ring"
        ring_mode = "evcache"
        ring_points = 100
        hash = "xxh3"
        hash_seed = 7
        hash_tag = { open = "{", close = "}", empty = "empty" }
        connections = 2
        large_connections_max = 0
        connect_timeout = "100ms"
        read_timeout = "2s"
        retry = "1s"
        retry_max = "1m"
        failure_limit = 5
        eject = "20s"
        depth_max = 10
        keepalive = false
        user_timeout = "5s"
        multiget_failure = "miss"
        timeout_of = "request"
        on_demand = true
        preconnect = true
        handshake = false
        "#,
    );
    let pool = &config.pools[0];
    assert_eq!(pool.distribution, Distribution::Ring { mode: RingMode::EvCache, points: 100 });
    assert_eq!((pool.hash, pool.hash_seed), (Hash::Xxh3, 7));
    assert_eq!(pool.key_part, KeyPart::Tag { open: b'{', close: b'}', empty_counts: true });
    assert_eq!(pool.ejection, Some(Ejection::with_heartbeat(Duration::from_secs(20), 5)));
    assert_eq!(pool.backends[0].name, "x");
    assert_eq!(pool.backends[1].address, Some(Address::Unix("/s".into())));
    let link = Link {
        protocol: LinkProtocol::Memcached,
        on_demand: true,
        preconnect: true,
        handshake: false,
        timeout_each: true,
        refusals_fail: false,
        sessions_max: 256,
        connections: 2,
        large_lanes_max: 0,
        connect_timeout: Duration::from_millis(100),
        read_timeout: Duration::from_secs(2),
        retry: Duration::from_secs(1),
        retry_max: Duration::from_secs(60),
        failure_limit: 5,
        depth_max: 10,
        keepalive: false,
        user_timeout: Duration::from_secs(5),
        multiget_failure_is_miss: true,
    };
    assert_eq!(pool.link, link);
}

#[test]
fn every_hash_and_distribution_has_its_word() {
    let pool =
        |lines: &str| load(&format!("[pools.a]\nservers = [\"h:1\"]\n{lines}")).pools.remove(0);
    for (word, hash) in [
        ("one_at_a_time", Hash::OneAtATime),
        ("md5", Hash::Md5),
        ("crc16", Hash::Crc16),
        ("crc32", Hash::Crc32),
        ("crc32a", Hash::Crc32a),
        ("fnv1_64", Hash::Fnv1_64),
        ("fnv1a_64", Hash::Fnv1a64),
        ("fnv1_32", Hash::Fnv1_32),
        ("fnv1a_32", Hash::Fnv1a32),
        ("hsieh", Hash::Hsieh),
        ("murmur", Hash::Murmur),
        ("jenkins", Hash::Jenkins),
        ("xxh3", Hash::Xxh3),
        ("ring_md5", Hash::RingMd5),
    ] {
        assert_eq!(pool(&format!("hash = \"{word}\"")).hash, hash);
    }
    let ring = Distribution::Ring { mode: RingMode::Default, points: 160 };
    for (word, distribution, hash) in [
        ("ketama", Distribution::Ketama, Hash::Xxh3),
        ("modula", Distribution::Modula, Hash::Xxh3),
        ("random", Distribution::Random, Hash::Xxh3),
        ("jump", Distribution::Jump, Hash::Xxh3),
        ("ring", ring, Hash::Xxh3),
    ] {
        let pool = pool(&format!("distribution = \"{word}\""));
        assert_eq!((pool.distribution, pool.hash), (distribution, hash));
    }
    assert_eq!(pool("hash_stop = \"::\"").key_part, KeyPart::Stop(b"::".to_vec()));
    let tag = KeyPart::Tag { open: b'<', close: b'>', empty_counts: false };
    assert_eq!(pool("hash_tag = \"<>\"").key_part, tag);
}

/// The seed and its hash are recorded from memcached's proxy.
#[test]
fn a_seed_may_be_a_text() {
    let config =
        load("[pools.a]\nservers = [\"h:1\"]\ndistribution = \"jump\"\nhash_seed = \"failover\"\n");
    assert_eq!(config.pools[0].hash_seed, 0xfdc6_60d1_498c_5886);
}

#[test]
fn large_items_fit_through_one_client() {
    let limits = load("[store]\nmemory = \"1g\"\nitem_bytes_max = \"512m\"\n").limits;
    assert_eq!((limits.client_bytes_max, limits.worker_bytes_max), (1 << 30, 2 << 30));
}

#[test]
fn every_key_of_a_listener_reaches_the_model() {
    let config = load(
        r#"
        [listeners.main]
        address = ["127.0.0.1:1", "unix:/s"]
        mode = "0660"
        tag = "b"
        route = "null"
        backlog = 5
        allow = ["flush", "shutdown"]
        users = { app = "secret" }
        requests_per_turn_max = 7
        keepalive = false
        compat = "strict"
        [listeners.udp]
        address = "udp:127.0.0.1:1"
        "#,
    );
    let [tcp, unix, udp] = config.listeners.as_slice() else { panic!("{config:?}") };
    assert_eq!(
        (tcp.name.as_str(), &tcp.bind),
        ("main", &Bind::Tcp("127.0.0.1:1".parse().unwrap()))
    );
    assert_eq!(unix.name, "main-2");
    assert_eq!(unix.bind, Bind::Unix { path: "/s".into(), mode: 0o660 });
    let allow = Allow { flush: true, shutdown: true, dump: false, watch: false };
    for listener in [tcp, unix] {
        assert_eq!(config.routes[listener.route].kind, RouteKind::Null);
        assert_eq!((listener.tag.as_str(), listener.backlog, listener.allow), ("b", 5, allow));
        assert_eq!(listener.protocol, Protocol::MemcachedText, "users need text");
        assert_eq!(listener.requests_per_turn_max, 7);
        assert_eq!((listener.keepalive, listener.compat), (false, Compat::Strict));
        assert_eq!(listener.users, [User { name: "app".into(), password: "secret".into() }]);
    }
    assert_eq!(udp.bind, Bind::Udp("127.0.0.1:1".parse().unwrap()));
    assert_eq!(config.routes[udp.route].kind, RouteKind::Store);
}

#[test]
fn the_rest_of_the_file_reaches_the_model() {
    let config = load(
        r#"
        workers = 3
        engine = "io_uring"
        admin = false
        drain_timeout = 0
        [store]
        memory = "1g"
        item_bytes_max = "8k"
        evict = false
        cas = false
        [limits]
        clients_max = 10
        owed_max = 11
        client_bytes_pause = "8k"
        client_bytes_max = "16k"
        backend_bytes_max = "32k"
        worker_bytes_max = "2m"
        value_bytes_max = "3m"
        request_bytes_max = "5m"
        large_value_bytes = "4k"
        client_idle = "1m"
        client_user_timeout = "5s"
        "#,
    );
    assert_eq!((config.workers, config.engine, config.admin), (3, EngineChoice::Uring, None));
    assert_eq!(config.drain_timeout, Duration::ZERO);
    let store = StoreOptions {
        memory_bytes_max: 1 << 30,
        item_bytes_max: 8 << 10,
        evict: false,
        cas: false,
    };
    assert_eq!(config.store, Some(store));
    let limits = Limits {
        clients_max: 10,
        owed_max: 11,
        client_bytes_pause: 8 << 10,
        client_bytes_max: 16 << 10,
        backend_bytes_max: 32 << 10,
        worker_bytes_max: 2 << 20,
        value_bytes_max: 3 << 20,
        request_bytes_max: 5 << 20,
        large_value_bytes: 4 << 10,
        client_idle: Duration::from_secs(60),
        client_user_timeout: Duration::from_secs(5),
    };
    assert_eq!(config.limits, limits);
}

/// Two pools, and `routes` with these lines in it, `default` being where requests go.
fn with_routes(lines: &str) -> String {
    format!(
        "[pools]\na.servers = [\"h:1\"]\nb.servers = [\"h:2\"]\n[routes]\ndefault = \"m\"\n{lines}"
    )
}

#[test]
fn every_kind_of_route_reaches_the_model() {
    let config = load(&with_routes(
        r#"
        m = { prefix = { "u:" = "c", "e:" = { error = "closed" } }, default = "f" }
        c = { command = { get = "a", set = "s" }, default = "store" }
        f = { failover = ["a", "b"], on = ["error", "miss"], budget = 20 }
        s = { all_sync = ["a", { all_fastest = ["b", "null"] }] }
        "#,
    ));
    let id = |name: &str| config.routes.iter().position(|route| route.name == name).unwrap();
    assert_eq!(config.routes[config.listeners[0].route].name, "default");
    assert_eq!(route(&config, "default"), route(&config, "m"), "a name stands for its route");
    let cases = vec![(b"e:".to_vec(), id("m/e:")), (b"u:".to_vec(), id("c"))];
    let RouteKind::Prefix { cases: found, otherwise } = route(&config, "m") else { panic!() };
    let mut found = found.clone();
    found.sort();
    assert_eq!((found, *otherwise), (cases, id("f")));
    assert_eq!(*route(&config, "m/e:"), RouteKind::Error("closed".into()));
    let cases = vec![(CommandClass::Get, id("a")), (CommandClass::Set, id("s"))];
    assert_eq!(*route(&config, "c"), RouteKind::Command { cases, otherwise: id("store") });
    let on = FailoverOn { errors: true, misses: true };
    let failover =
        RouteKind::Failover { children: vec![id("a"), id("b")], on, budget_percent: Some(20) };
    assert_eq!(*route(&config, "f"), failover);
    assert_eq!(*route(&config, "s"), RouteKind::AllSync { children: vec![id("a"), id("s/2")] });
    let fastest = RouteKind::AllFastest { children: vec![id("b"), id("null")] };
    assert_eq!(*route(&config, "s/2"), fastest);
    assert_eq!(
        (route(&config, "a"), route(&config, "b")),
        (&RouteKind::Pool(0), &RouteKind::Pool(1))
    );
    assert_eq!(*route(&config, "null"), RouteKind::Null);
    assert!(config.store.is_some());
}

#[test]
fn all_mistakes_are_reported_with_their_places() {
    says(
        r#"
workers = 0
admin = 3
[listeners.main]
address = "0.0.0.0:11211"
rout = "a"
[pools.a]
servers = ["10.0.0.1:11211", "10.0.0.1:11211", "x:1:2:3"]
hash = "fnv"
retry = 3
[routes]
main = { prefix = { "a" = "poolb" } }
loop = { failover = ["loop", "a"] }
"#,
        &[
            "2:11: error: `workers` must be from 1 to 1024",
            "3:9: error: `admin` must be an address such as `\"127.0.0.1:9911\"`, or `false`",
            "6:1: error: unknown key `rout` in `listeners.main` (did you mean `route`?)",
            "8:30: error: `10.0.0.1` is in this pool already (line 8)",
            "8:48: error: `x:1:2:3` has too many colons",
            "9:8: error: `hash` cannot be `fnv` (the choice is: `one_at_a_time`,",
            "10:9: error: `retry` needs a unit (write the unit: `\"3s\"` or `\"3ms\"`)",
            "12:8: error: `routes.main` says nothing about keys without any of the prefixes",
            "12:27: error: there is no pool or route named `poolb` (pools and routes are: `a`,",
            "13:1: error: routes lead in a circle: `loop` → `loop`",
        ],
    );
}

#[test]
fn syntax_errors_are_all_reported_and_nothing_else() {
    says("a = \nb = 3\n[x\n", &["1:5: error: ", "3:3: error: "]);
    says("workers = 3\nworkers = \"x\"\n", &["2:1: error: `workers` is given twice"]);
    says("[pools.a]\nservers = []\n[pools.a]\n", &["2:11: error: `pools.a` has no servers", "3:8"]);
}

#[test]
fn mistakes_in_values() {
    says("workers = \"many\"", &["1:11: error: `workers` must be a number or `\"auto\"`"]);
    says("engine = \"epol\"", &["1:10: error: `engine` cannot be `epol` (did you mean `epoll`?)"]);
    says("drain_timeout = \"3 parsecs\"", &["1:17: error: `drain_timeout` is not a duration"]);
    says("drain_timeout = \"2d\"", &["1:17: error: `drain_timeout` must be from 1ms to 1d, or 0"]);
    says("drain_timeout = true", &["1:17: error: `drain_timeout` must be a duration"]);
    says("admin = \"0.0.0.0:1\"", &["1:9: warning: the admin server asks for no password"]);
    says("admin = \"localhost\"", &["1:9: error: `localhost` has no port"]);
    says("pools = 3", &["1:9: error: `pools` must be a table of named tables"]);
    says("store = 3", &["1:9: error: `store` must be a table: `[store]`"]);
    says("[store]\nmemory = \"many\"", &["2:10: error: `memory` is not a size"]);
    says("[store]\nmemory = \"1k\"", &["2:10: error: `memory` must be from 1MiB to 64TiB"]);
    says(
        "[store]\nevict = 1",
        &["2:9: error: `evict` must be `true` or `false` (this is a number)"],
    );
    says("[store]\nmemory = -1", &["2:10: error: `memory` is not a size"]);
    says("[store]\nmemory = \"1m\"", &["2:10: error: `item_bytes_max` is more than half"]);
    says("[limits]\nclients_max = 0", &["2:15: error: `clients_max` must be from 1 to 10000000"]);
    says("[limits]\nclients_max = 1.5", &["2:15: error: `clients_max` must be a whole number"]);
    says(
        "[limits]\nclient_bytes_max = \"1m\"",
        &["2:20: error: `client_bytes_max` is less than twice `store.item_bytes_max`"],
    );
    says(
        "[limits]\nclient_bytes_max = \"8k\"\n[store]\nitem_bytes_max = \"1k\"",
        &["2:20: error: `client_bytes_pause` is larger than `client_bytes_max`"],
    );
}

#[test]
fn mistakes_in_pools() {
    let pool = |lines: &str| findings(&format!("[pools.a]\nservers = [\"h:1:2\"]\n{lines}"));
    for (lines, expected) in [
        (
            "hash = \"md5\"\nhash_seed = 1",
            "4:1: error: `hash_seed` has no meaning without `hash = \"xxh3\"`",
        ),
        ("ring_points = 1", "3:1: error: `ring_points` has no meaning"),
        ("hash_tag = \"{\"", "3:12: error: `hash_tag` must be two characters"),
        ("hash_tag = { open = \"{\" }", "3:1: error: `pools.a.hash_tag` has no `close`"),
        ("hash_tag = \"{}\"\nhash_stop = \":\"", "4:1: error: `hash_stop` cannot be used"),
        ("hash_stop = \"\"", "3:13: error: `hash_stop` is empty"),
        ("retry = \"1h\"", "3:9: error: `retry` (1h) is longer than `retry_max` (1s)"),
        ("hash = \"xxh3\"\nhash_seed = -1", "4:13: error: `hash_seed` must be from 0 to"),
        ("eject = 3", "3:9: error: `eject` must be a duration"),
        ("eject = \"1ms\"", "3:9: error: `eject` must be from 100ms to 1d"),
        ("connections = 0", "3:15: error: `connections` must be from 1 to 256"),
        ("distribution = \"jump\"", "2:12: warning: weights count only with"),
        ("distribution = \"modula\"\nhash_tag = 3", "4:12: error: `hash_tag` must be two"),
    ] {
        let found = pool(lines);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{lines}: {found:?}");
    }
    let many: String = (1..=401).map(|port| format!("\"h:{port}\",")).collect();
    says(
        &format!("[pools.a]\nservers = [{many}]\ndistribution = \"ring\"\nring_points = 10000\n"),
        &["4:15: error: the ring would have more than 4000000 points"],
    );
    says("[pools.a]\n", &["1:8: error: `pools.a` has no `servers` (add `servers ="]);
    says("[pools.a]\nserver = []\n", &["2:1: error: unknown key `server` in `pools.a`"]);
    says("[pools]\na = 3\n", &["2:5: error: `pools.a` must be a table"]);
    says("[pools.store]\nservers = [\"h:1\"]\n", &["1:8: error: `store` cannot be defined"]);
    says("[pools.'a b']\nservers = [\"h:1\"]\n", &["1:8: error: `a b` cannot be a name"]);
    says("[pools.a]\nservers = [3]\n", &["2:12: error: a server must be a string"]);
    says("[pools.a]\nservers = [{}]\n", &["2:12: error: `pools.a.servers` has no `address`"]);
    says("[pools.a]\nservers = [\"h:1 a\", \"h:1 b\"]\n", &["2:21: warning: this is the same"]);
    says(
        "[pools.a]\nservers = [\"h:1\"]\n[pools.b]\nservers = [\"h:2\"]\n",
        &["1:1: error: there are several pools and none is named `default` (say where"],
    );
}

#[test]
fn mistakes_in_listeners() {
    let pool = "[pools.a]\nservers = [\"h:1\"]\n";
    says("[listeners.m]\n", &["1:12: error: `listeners.m` has no `address`"]);
    says("[listeners.m]\naddress = \"h:1\"\n", &["2:11: error: `h` is not an address of this"]);
    says("[listeners.m]\naddress = []\n", &["2:11: error: `listeners.m` has no address"]);
    says(
        "[listeners.m]\naddress = \":1\"\nmode = 7\n",
        &["3:1: error: `mode` has no meaning", "3:8: error: `mode` must be octal"],
    );
    says("[listeners.m]\naddress = \":1\"\ntag = \"123456789\"\n", &["3:7: error: `tag` has more"]);
    says(
        "[listeners.m]\naddress = \":1\"\nallow = [\"flsh\", \"dump\", \"dump\"]\n",
        &[
            "3:10: error: `allow` cannot be `flsh` (did you mean `flush`?)",
            "3:26: error: `dump` is given twice",
        ],
    );
    says(
        "[listeners.m]\naddress = \":1\"\n[listeners.n]\naddress = \"*:1\"\n",
        &["4:11: error: another listener has this address already (line 2)"],
    );
    says(
        &format!("{pool}[listeners.m]\naddress = \"udp::1\"\nroute = \"a\"\n"),
        &["5:9: error: UDP is answered by the embedded store only"],
    );
    says(
        &format!("{pool}[listeners.m]\naddress = \":1\"\nprotocol = \"memcached_binary\"\n"),
        &["5:12: error: the binary protocol is answered by the embedded store only"],
    );
    says(
        "[listeners.m]\naddress = \":1\"\nusers = { \"a:b\" = \"x\" }\n",
        &["3:11: error: user names and passwords have 1 to 128 bytes and no spaces"],
    );
    says(
        "[listeners.m]\naddress = \"127.0.0.1:9911\"\n",
        &["2:11: error: listener `m` stands where `admin` listens"],
    );
}

#[test]
fn mistakes_in_routes() {
    for (lines, expected) in [
        ("m = \"aa\"", "6:5: error: there is no pool or route named `aa`"),
        ("m = 3", "6:5: error: a route must be a name in quotes or a table (this is a number)"),
        ("m = {}", "6:5: error: this route does nothing"),
        ("m = { prefix = {}, default = \"a\" }", "6:16: error: `prefix` has no cases"),
        ("m = { prefix = { '' = \"a\" }, default = \"b\" }", "6:18: error: the empty prefix"),
        ("m = { prefix = { 'a b' = \"a\" }, default = \"b\" }", "6:18: error: no key can begin"),
        (
            "m = { command = { incr = \"a\" }, default = \"b\" }",
            "6:19: error: `incr` is not routed",
        ),
        ("m = { command = { gat = \"a\" }, default = \"b\" }", "6:19: error: `gat` is not routed"),
        ("m = { command = { gte = \"a\" }, default = \"b\" }", "6:19: error: `gte` is not a class"),
        (
            "m = { command = { get = \"a\" } }",
            "6:5: error: `routes.m` says nothing about the other",
        ),
        ("m = { failover = [\"a\"] }", "6:18: error: `failover` takes 2 to 16 routes"),
        ("m = { failover = \"a\" }", "6:18: error: `failover` must be a list of routes"),
        ("m = { failover = [\"a\", \"a\"] }", "6:24: error: this route is in the list already"),
        ("m = { failover = [\"a\", \"b\"], on = [] }", "6:35: error: `on` is empty"),
        ("m = { failover = [\"a\", \"b\"], budget = 0 }", "6:39: error: `budget` must be from 1"),
        ("m = { all_sync = [\"a\", \"b\"], budget = 9 }", "6:30: error: `budget` has no meaning"),
        (
            "m = { all_sync = [\"a\", \"b\"], error = \"x\" }",
            "6:5: error: a route cannot have both",
        ),
        ("m = { error = \"a\\nb\" }", "6:15: error: `error` must be one line"),
        ("m = \"n\"\nn = \"m\"", "6:1: error: routes lead in a circle: `m` → `n` → `m`"),
        ("m = \"a\"\nb = \"a\"", "7:1: error: `b` is the name of a pool already (line 3)"),
        ("m = \"a\"\nnull = \"a\"", "7:1: error: `null` cannot be defined"),
    ] {
        let found = findings(&with_routes(lines));
        let errors: Vec<_> = found.iter().filter(|found| found.contains("error")).collect();
        assert!(errors.len() == 1 && errors[0].starts_with(expected), "{lines}: {found:#?}");
    }
    says(&with_routes("m = \"a\"\nx = \"b\""), &["7:1: warning: no listener leads to route `x`"]);
    says(&with_routes("m = \"a\""), &["3:1: warning: nothing uses pool `b`"]);
}

#[test]
fn deep_and_wide_routes_are_refused() {
    let mut deep = String::from("m = \"r0\"\n");
    for level in 0..2000 {
        deep.push_str(&format!("r{level} = {{ failover = [\"r{}\", \"a\"] }}\n", level + 1));
    }
    deep.push_str("r2000 = \"b\"\n");
    let found = findings(&with_routes(&deep));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("nested too deeply (at most 16 in a row)"), "{}", found[0]);

    let mut wide = String::from("m = { all_sync = [\"r0\", \"a\"] }\n");
    for level in 0..7 {
        let next = level + 1;
        wide.push_str(&format!("r{level} = {{ all_sync = [\"r{next}\", \"s{next}\"] }}\n"));
        wide.push_str(&format!("s{level} = {{ all_fastest = [\"r{next}\", \"s{next}\"] }}\n"));
    }
    wide.push_str("r7 = \"a\"\ns7 = \"b\"\n");
    let found = findings(&with_routes(&wide));
    assert!(
        found.iter().any(|found| found.contains("could send one request 128 times")),
        "{found:?}"
    );
}

#[test]
fn endless_mistakes_are_counted_not_listed() {
    let text: String = (0..10_000).map(|at| format!("key{at} = 1\n")).collect();
    let found = findings(&text);
    assert_eq!(found.len(), 101);
    assert!(found[100].contains("9900 more findings are not shown"), "{}", found[100]);
}

#[test]
fn every_diagnostic_can_be_shown() {
    let text =
        "workers = 0\n\"\u{e9}\u{1f600}\" = 1 # no such key\n[pools.x]\nservers = [\"\u{1f600}\"]";
    let found = load_native("keyway.toml", text).unwrap_err();
    let shown = crate::to_text(text, &found, false);
    let expected = "\
error: `workers` must be from 1 to 1024
 --> keyway.toml:1:11
  |
1 | workers = 0
  |           ^
  |
  = help: `\"auto\"` is the number of processors
";
    assert!(shown.starts_with(expected), "{shown}");
    assert!(shown.contains("keyway.toml:2:1"), "{shown}");
    let json: serde_json::Value = serde_json::from_str(&crate::to_json(&found)).unwrap();
    assert_eq!(json[0]["message"], "`workers` must be from 1 to 1024");
    assert_eq!((&json[0]["line"], &json[0]["column"]), (&1.into(), &11.into()));
    assert_eq!(json[0]["severity"], "error");
    assert_eq!(json.as_array().unwrap().len(), found.len());
}

#[test]
fn long_chains_of_names_are_refused_in_no_time() {
    let mut lines = String::from("m = \"r0\"\n");
    for level in 0..20_000 {
        lines.push_str(&format!("r{level} = \"r{}\"\n", level + 1));
    }
    lines.push_str("r20000 = \"a\"\n");
    let found = findings(&with_routes(&lines));
    assert!(found[0].contains("nested too deeply"), "{}", found[0]);
}

#[test]
fn seeds_use_all_64_bits() {
    let seed = u64::MAX;
    let config =
        load(&format!("[pools.a]\nservers = [\"h:1\"]\nhash = \"xxh3\"\nhash_seed = {seed}\n"));
    assert_eq!(config.pools[0].hash_seed, seed);
}

#[test]
fn every_key_of_a_redis_pool_reaches_the_model() {
    let config = load(
        r#"
        [pools.a]
        servers = ["h:1"]
        protocol = "redis"
        user = "app"
        password = "a \" b"
        database = 5
        login_order = "select_first"
        login_refused = "ignore"
        refusals = "fail"
        sessions_max = 7
        connect_timeout = 0
        read_timeout = 0
        eject = { after = 0, time = 0, heartbeat = false, idle_close = "count" }
        "#,
    );
    let link = &config.pools[0].link;
    let login = RedisLogin {
        user: Some("app".into()),
        password: Some("a \" b".into()),
        database: 5,
        select_first: true,
        refusal_is_ignored: true,
    };
    assert_eq!(link.protocol, LinkProtocol::Redis(login));
    assert_eq!((link.refusals_fail, link.sessions_max), (true, 7));
    assert_eq!((link.connect_timeout, link.read_timeout), (Duration::ZERO, Duration::ZERO));
    let ejection = Ejection {
        retry: Duration::ZERO,
        failure_limit: 0,
        heartbeat: false,
        counts_idle_close: true,
    };
    assert_eq!(config.pools[0].ejection, Some(ejection));
    let listener = &config.listeners[0];
    assert_eq!(listener.protocol, Protocol::Redis, "listeners speak what their servers do");
    assert_eq!(listener.bind, Bind::Tcp("127.0.0.1:6379".parse().unwrap()));
}

#[test]
fn listeners_of_redis_take_any_password() {
    let config = load(
        r#"
        [listeners.a]
        address = "127.0.0.1:1"
        protocol = "redis"
        route = "store"
        users = { default = "a b", "o:ne" = "é" }
        [listeners.b]
        address = "127.0.0.1:2"
        protocol = "auto"
        route = "store"
        "#,
    );
    assert_eq!(config.listeners[0].protocol, Protocol::Redis);
    assert!(config.listeners[0].allow.flush, "clients own the store");
    let passwords: Vec<&str> =
        config.listeners[0].users.iter().map(|user| user.password.as_str()).collect();
    assert_eq!(passwords, ["a b", "é"]);
    assert_eq!(config.listeners[1].protocol, Protocol::Auto);
}

#[test]
fn protocols_must_match() {
    let pools = "[pools.m]\nservers = [\"h:1\"]\n[pools.r]\nservers = [\"h:2\"]\n\
                 protocol = \"redis\"\n[listeners.a]\naddress = \"127.0.0.1:1\"\n";
    let file = |lines: &str| format!("{pools}{lines}");
    says(
        &file(
            "route = \"r\"\nprotocol = \"memcached\"\n[listeners.b]\naddress = \"unix:/s\"\n\
               route = { command = { get = \"m\" }, default = \"r\" }\n",
        ),
        &[
            "9:12: error: clients speak memcached here, but the servers of pool `r` speak Redis",
            "12:9: error: clients speak memcached here, but the servers of pool `r` speak Redis",
        ],
    );
    says(
        &file(
            "route = \"m\"\nprotocol = \"redis\"\n[listeners.b]\naddress = \"unix:/s\"\n\
               route = \"r\"\nprotocol = \"auto\"\n",
        ),
        &[
            "9:12: error: clients speak Redis here, but the servers of pool `m` speak memcached",
            "13:12: error: `auto` is answered by the embedded store only",
        ],
    );
    says(
        "[listeners.a]\naddress = \"127.0.0.1:1\"\nprotocol = \"auto\"\nusers = { a = \"b\" }\n\
         [listeners.b]\naddress = \"udp:127.0.0.1:1\"\nprotocol = \"redis\"\n",
        &["3:12: error: `users` need one protocol", "7:12: error: UDP is memcached's"],
    );
}

#[test]
fn mistakes_in_redis_pools() {
    says(
        "[pools.a]\nservers = [\"h:1\"]\npassword = \"x\"\nsessions_max = 1\npreconnect = true\n",
        &[
            "3:1: error: `password` has no meaning in a pool that speaks memcached",
            "4:1: error: `sessions_max` has no meaning in a pool that speaks memcached",
            "5:1: error: `preconnect` has no meaning without `on_demand = true`",
        ],
    );
    says(
        "[pools.a]\nservers = [\"h:1\"]\nprotocol = \"redis\"\nuser = \"x\"\ndatabase = -1\n\
         eject = { time = 5, idle_close = \"maybe\" }\nlogin_order = \"auth\"\n",
        &[
            "4:1: error: `user` has no meaning without `password`",
            "5:12: error: `database` must be from 0 to 2147483647",
            "6:18: error: `time` needs a unit",
            "6:34: error: `idle_close` cannot be `maybe`",
            "7:15: error: `login_order` cannot be `auth`",
        ],
    );
    says(
        "[pools.a]\nservers = [\"h:1\"]\nprotocol = \"redis\"\npassword = \"\"\n",
        &["4:12: error: `password` must have 1 to 8192 bytes"],
    );
}
