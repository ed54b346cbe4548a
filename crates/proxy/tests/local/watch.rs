//! Watchers, statistics, and counters by prefix.
//!
//! Watched lines are compared without their time and number; statistics by name, because their
//! list may grow.

use crate::ask;
use crate::driver::Local;
use keyway_proxy::local::{Hub, Opened, Settings, Streams, report_evictions};
use keyway_store::{Now, Options};

/// What a watcher of `streams` sees while `run` runs.
fn lines(hub: &Hub, streams: Streams, run: impl FnOnce()) -> Vec<String> {
    let watching = hub.watch(streams).unwrap();
    run();
    let mut out = Vec::new();
    watching.take(&mut out);
    let text = String::from_utf8(out).unwrap();
    // Without the prefix of time and number.
    text.lines().map(|line| line.splitn(3, ' ').nth(2).unwrap().to_owned()).collect()
}

#[test]
fn watchers_see_what_is_done() {
    let mut local = Local::new();
    let shared = local.shared.clone();
    let seen = lines(&shared.hub, Streams::FETCHERS.and(Streams::MUTATIONS), || {
        ask(&mut local, "set a 0 100 3\r\nabc\r\nget a b\r\nadd a 0 0 1\r\nx\r\n");
        ask(&mut local, "ms a 1 C1\r\nx\r\nmg a v\r\ntouch a 0\r\n");
        ask(&mut local, &format!("set a 0 0 {}\r\n", 2 << 20));
    });
    assert_eq!(
        seen,
        [
            "type=item_get key=a status=not_found clsid=0 cfd=1 size=0",
            "type=item_store key=a status=stored cmd=set ttl=100 clsid=1 cfd=1 size=3",
            "type=item_get key=a status=found clsid=1 cfd=1 size=3",
            "type=item_get key=b status=not_found clsid=0 cfd=1 size=0",
            "type=item_get key=a status=found clsid=1 cfd=1 size=3",
            "type=item_store key=a status=not_stored cmd=add ttl=0 clsid=1 cfd=1 size=1",
            "type=item_get key=a status=found clsid=1 cfd=1 size=3",
            "type=item_store key=a status=stored cmd=cas ttl=0 clsid=1 cfd=1 size=1",
            "type=item_get key=a status=found clsid=1 cfd=1 size=1",
            "type=item_get key=a status=found clsid=1 cfd=1 size=1",
            "type=item_store key=a status=too_large cmd=set ttl=0 clsid=0 cfd=1 size=0",
        ]
    );
}

#[test]
fn deletions_name_their_command() {
    let mut local = Local::new();
    let shared = local.shared.clone();
    let seen = lines(&shared.hub, Streams::DELETIONS.and(Streams::RAWCMDS), || {
        ask(&mut local, "set a 0 0 3 noreply\r\nabc\r\ndelete a\r\ndelete a\r\n");
        ask(&mut local, "ms b 2 q\r\nxy\r\nmd b I\r\nmd b q\r\n");
    });
    let deletions: Vec<&String> =
        seen.iter().filter(|line| line.starts_with("type=deleted")).collect();
    assert_eq!(
        deletions,
        [
            "type=deleted key=a cmd=delete clsid=1 size=3",
            "type=deleted key=b cmd=md clsid=1 size=2",
        ]
    );
    assert!(seen.contains(&"<1 md b I".to_owned()), "{seen:?}");
}

#[test]
fn watch_is_a_command() {
    let mut local = Local::new();
    assert_eq!(ask(&mut local, "watch fetchers m\r\n"), "OK\r\n");
    let watching = local.watching.take().unwrap();
    assert!(local.shared.hub.wants(Streams::MUTATIONS));
    drop(watching);
    assert!(!local.shared.hub.wants(Streams::MUTATIONS));
}

fn stat(text: &str, name: &str) -> String {
    let start = format!("STAT {name} ");
    let line = text.lines().find(|line| line.starts_with(&start));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))[start.len()..].to_owned()
}

#[test]
fn general_statistics_count_commands() {
    let mut local = Local::new();
    ask(&mut local, "set a 0 0 1\r\n5\r\nget a b\r\nincr a 1\r\ndecr b 1\r\ndelete b\r\n");
    let text = ask(&mut local, "stats\r\n");
    assert!(text.ends_with("END\r\n"));
    let wanted = [
        ("version", "1.6.45"),
        ("pointer_size", "64"),
        ("cmd_get", "2"),
        ("cmd_set", "1"),
        ("get_hits", "1"),
        ("get_misses", "1"),
        ("incr_hits", "1"),
        ("decr_misses", "1"),
        ("delete_misses", "1"),
        ("curr_items", "1"),
        ("total_items", "1"),
        ("limit_maxbytes", "67108864"),
        ("threads", "4"),
        ("evictions", "0"),
    ];
    for (name, value) in wanted {
        assert_eq!(stat(&text, name), value, "{name}");
    }
    assert_eq!(ask(&mut local, "stats reset\r\n"), "RESET\r\n");
    assert_eq!(stat(&ask(&mut local, "stats\r\n"), "cmd_get"), "0");
    assert!(text.lines().all(|line| line == "END" || line.split(' ').count() >= 3));
}

#[test]
fn settings_show_what_commands_changed() {
    let mut local = Local::new();
    ask(&mut local, "lru tune 11 26 0.5 3.25\r\nverbosity 1\r\ncache_memlimit 100\r\n");
    let text = ask(&mut local, "stats settings\r\n");
    let wanted = [
        ("maxbytes", "104857600"),
        ("verbosity", "1"),
        ("hot_lru_pct", "11"),
        ("warm_max_factor", "3.25"),
        ("umask", "700"),
        ("item_size_max", "1048576"),
        ("memory_file", "(null)"),
    ];
    for (name, value) in wanted {
        assert_eq!(stat(&text, name), value, "{name}");
    }
}

#[test]
fn sizes_are_grouped_as_memcached_groups_them() {
    let mut local = Local::new();
    ask(&mut local, "set a 0 0 1\r\nx\r\nget a\r\n");
    let items = ask(&mut local, "stats items\r\n");
    assert_eq!(stat(&items, "items:1:number"), "1");
    let slabs = ask(&mut local, "stats slabs\r\n");
    assert_eq!(stat(&slabs, "1:chunk_size"), "96");
    assert_eq!(
        (stat(&slabs, "1:used_chunks"), stat(&slabs, "1:get_hits")),
        ("1".into(), "1".into())
    );
    assert_eq!(stat(&slabs, "active_slabs"), "1");
    ask(&mut local, "delete a\r\n");
    let slabs = ask(&mut local, "stats slabs\r\n");
    assert_eq!(stat(&slabs, "active_slabs"), "0");
    assert!(ask(&mut local, "stats sizes\r\n").ends_with("END\r\n"));
}

#[test]
fn connections_are_listed() {
    let mut local = Local::new();
    let opened = |address: &str, listen: &str| Opened {
        address: address.into(),
        listen_address: listen.into(),
        is_listening: listen.is_empty(),
        is_udp: false,
    };
    let conns = &local.shared.conns;
    let _listener = conns.open(opened("tcp:0.0.0.0:11211", ""), 62);
    let _client = conns.open(opened("tcp:127.0.0.1:5", "tcp:127.0.0.1:11211"), 62);
    let text = ask(&mut local, "stats conns\r\n");
    assert_eq!(stat(&text, "1:addr"), "tcp:0.0.0.0:11211");
    assert_eq!(stat(&text, "2:listen_addr"), "tcp:127.0.0.1:11211");
    assert_eq!(stat(&text, "2:state"), "conn_read");
    assert_eq!(stat(&ask(&mut local, "stats\r\n"), "curr_connections"), "1");
}

#[test]
fn uses_are_counted_by_prefix_while_that_is_on() {
    let mut local = Local::new();
    ask(&mut local, "set a:1 0 0 1\r\nx\r\n");
    assert_eq!(ask(&mut local, "stats detail on\r\n"), "OK\r\n");
    ask(&mut local, "set a:1 0 0 1\r\nx\r\nget a:1 a:2 b:1 c\r\ndelete b:1\r\n");
    assert_eq!(ask(&mut local, "stats detail off\r\n"), "OK\r\n");
    assert_eq!(
        ask(&mut local, "stats detail dump\r\n"),
        "PREFIX a get 2 hit 1 set 1 del 0\r\nPREFIX b get 1 hit 0 set 0 del 1\r\nEND\r\n"
    );
}

#[test]
fn evictions_are_reported_while_somebody_watches() {
    let mut local = Local::with(Settings::default(), Options::new(8 << 20));
    let hub = local.shared.hub.clone();
    let fill = |local: &mut Local, name: &str| {
        let value = "x".repeat(10_000);
        for number in 0..2000 {
            ask(local, &format!("set {name}{number} 0 0 10000\r\n{value}\r\n"));
        }
        report_evictions(&local.store, &local.shared, Now::from_seconds(100));
    };
    fill(&mut local, "before");
    let watching = hub.watch(Streams::EVICTIONS).unwrap();
    report_evictions(&local.store, &local.shared, Now::from_seconds(100));
    fill(&mut local, "after");
    let mut out = Vec::new();
    watching.take(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.lines().count() > 100);
    let line = text.lines().next().unwrap();
    assert!(line.contains(" type=eviction key="), "{line}");
    assert!(line.ends_with(" fetch=no ttl=-1 la=38 clsid=22 size=10000"), "{line}");
    drop(watching);
    report_evictions(&local.store, &local.shared, Now::from_seconds(100));
    assert!(!local.store.watch().is_wanted());
}
