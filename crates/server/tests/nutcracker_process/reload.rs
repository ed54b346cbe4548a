//! New files for a running process: what nutcracker never could.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use keyway_testkit::client::Client;
use keyway_testkit::process::http;
use keyway_testkit::redis::{FakeRedis, redis_server};
use keyway_testkit::twemproxy::{Nutcracker, named, pool};
use keyway_testkit::{port, wait_until};

use crate::OURS;

fn log(nutcracker: &Nutcracker) -> String {
    fs::read_to_string(&nutcracker.log).unwrap_or_default()
}

/// How often a text stands in the log.
fn count(nutcracker: &Nutcracker, text: &str) -> usize {
    log(nutcracker).matches(text).count()
}

#[test]
fn pools_come_go_and_change_with_the_file() {
    let fakes = [FakeRedis::named("one"), FakeRedis::named("two")];
    let (first, second) = (port::local(), port::local());
    let alpha = |n: usize| pool("alpha", first, "redis: true", &[named(fakes[n].addr, "s")]);
    let beta = pool("beta", second, "redis: true", &[named(fakes[0].addr, "s")]);
    let nutcracker = Nutcracker::start(OURS, &alpha(0), &[first]);
    let mut old = Client::tcp(first);
    let get = "*2\r\n$3\r\nget\r\n$1\r\nk\r\n";
    old.ask(get, "$3\r\none\r\n");
    fs::write(&nutcracker.config, alpha(1) + &beta).expect("the folder is writable");
    nutcracker.process.signal("USR1");
    wait_until("the new pool listens", || Client::try_tcp(second).is_ok());
    Client::tcp(second).ask(get, "$3\r\none\r\n");
    wait_until("the old client has the new server", || {
        old.send(get);
        let length = old.line();
        assert_eq!(length, "$3");
        old.line() == "two"
    });
    let mut staying = Client::tcp(second);
    staying.ask(get, "$3\r\none\r\n");
    fs::write(&nutcracker.config, alpha(1)).expect("the folder is writable");
    nutcracker.process.signal("USR1");
    wait_until("the pool that is gone does not listen", || Client::try_tcp(second).is_err());
    old.ask(get, "$3\r\ntwo\r\n");
    // Who was there keeps what it had.
    staying.ask(get, "$3\r\none\r\n");
    assert!(!nutcracker.stats().contains("\"beta\""), "{}", nutcracker.stats());
}

#[test]
fn a_hang_up_reloads_only_what_is_new() {
    let fake = FakeRedis::honest();
    let addr = port::local();
    let text = pool("alpha", addr, "redis: true", &[named(fake.addr, "s")]);
    let nutcracker = Nutcracker::start(OURS, &text, &[addr]);
    nutcracker.process.signal("HUP");
    wait_until("it is heard", || count(&nutcracker, "(SIGHUP)") == 1);
    nutcracker.process.signal("USR1");
    wait_until("the file is read again", || count(&nutcracker, "configuration reloaded") == 1);
    fs::write(&nutcracker.config, format!("# new\n{text}")).expect("the folder is writable");
    nutcracker.process.signal("HUP");
    wait_until("what is new is read", || count(&nutcracker, "configuration reloaded") == 2);
    assert!(log(&nutcracker).contains("generation=3"), "two reloads: {}", log(&nutcracker));
}

#[test]
fn a_bad_file_keeps_the_old_one_and_says_why() {
    let fake = FakeRedis::honest();
    let (addr, taken) = (port::local(), std::net::TcpListener::bind("127.0.0.1:0"));
    let taken = taken.expect("loopback has ports");
    let good = pool("alpha", addr, "redis: true", &[named(fake.addr, "s")]);
    let nutcracker = Nutcracker::start(OURS, &good, &[addr]);
    let mut client = Client::tcp(addr);
    client.ask("*3\r\n$3\r\nset\r\n$1\r\nk\r\n$1\r\n1\r\n", "+OK\r\n");
    let busy = taken.local_addr().expect("a bound socket has an address");
    let busy = good.clone() + &pool("busy", busy, "", &["127.0.0.1:1:1".into()]);
    for (text, reason) in [
        (good.replace("redis", "rediss"), "conf: directive \"rediss\" is unknown"),
        ("no file of ours".into(), "conf: "),
        (busy, "Address already in use"),
    ] {
        fs::write(&nutcracker.config, text).expect("the folder is writable");
        let before = count(&nutcracker, reason);
        nutcracker.process.signal("HUP");
        wait_until(reason, || count(&nutcracker, reason) > before);
        client.ask("*2\r\n$3\r\nget\r\n$1\r\nk\r\n", "$1\r\n1\r\n");
    }
    assert_eq!(count(&nutcracker, "reload refused, the old configuration goes on"), 3);
    fs::write(&nutcracker.config, format!("{good}\n")).expect("the folder is writable");
    nutcracker.process.signal("HUP");
    wait_until("the next good file is taken", || count(&nutcracker, "generation=2") == 1);
    client.ask("*2\r\n$3\r\nget\r\n$1\r\nk\r\n", "$1\r\n1\r\n");
}

/// Sets and gets its own keys until told to stop; every answer must be right.
fn load(addr: SocketAddr, id: usize, stop: &AtomicBool, done: &AtomicU64) {
    let mut client = Client::tcp(addr);
    let mut n = 0u64;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let (one, two) = (format!("load{id}-{:02}", n % 50), format!("other{id}-{:02}", n % 50));
        let value = format!("{n:08}");
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        let (one, two, value) = (bulk(&one), bulk(&two), bulk(&value));
        client.send(format!("*3\r\n$3\r\nset\r\n{one}{value}*2\r\n$3\r\nget\r\n{one}"));
        client.send(format!("*5\r\n$4\r\nmset\r\n{one}{value}{two}{value}"));
        client.send(format!("*3\r\n$4\r\nmget\r\n{one}{two}"));
        client.expect("+OK\r\n");
        client.expect(&value);
        client.expect("+OK\r\n");
        client.expect(format!("*2\r\n{value}{value}"));
        done.fetch_add(1, Ordering::Relaxed);
    }
}

/// A thousand reloads by default; `KEYWAY_RELOADS` says another number.
fn reloads() -> usize {
    std::env::var("KEYWAY_RELOADS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000)
}

#[test]
fn a_thousand_reloads_under_load_lose_nothing() {
    let (_one, first) = redis_server(&[]);
    let (_two, second) = redis_server(&[]);
    let (addr, other, admin) = (port::local(), port::local(), port::local());
    let servers = [named(first, "one"), named(second, "two")];
    let alpha = |more: &str| pool("alpha", addr, &format!("redis: true\n{more}"), &servers);
    let memcached = pool("other", other, "timeout: 7", &["127.0.0.1:1:1".into()]);
    // Time limits, pools and listeners change; where keys live does not.
    let variants = [
        alpha(""),
        alpha("timeout: 20000"),
        alpha("server_connections: 3") + &memcached,
        alpha("backlog: 100\npreconnect: true"),
        alpha("auto_eject_hosts: true\ntimeout: 20000") + &memcached,
    ];
    let environment = [format!("KEYWAY_ADMIN={admin}"), "KEYWAY_WORKERS=2".to_owned()];
    let environment: Vec<&str> = environment.iter().map(String::as_str).collect();
    let nutcracker = Nutcracker::start_with(OURS, &variants[0], &[addr], &environment);
    let reload = |text: &str| {
        fs::write(&nutcracker.config, text).expect("the folder is writable");
        http(admin, "POST", "/api/v1/reload")
    };
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for id in 0..4 {
            let (stop, done) = (&stop, &done);
            scope.spawn(move || load(addr, id, stop, done));
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let (mut files, mut memory) = (0, 0);
            for round in 1..=reloads() {
                let (status, answer) = reload(&variants[round % variants.len()]);
                assert_eq!(status, 200, "reload {round}: {answer}");
                if round == reloads() / 5 / 5 * 5 {
                    // Everything has been needed once.
                    files = nutcracker.process.open_files();
                    memory = nutcracker.process.rss_bytes();
                }
                if round % 10 == 0 {
                    let seen = done.load(Ordering::Relaxed);
                    wait_until("the load goes on", || done.load(Ordering::Relaxed) > seen);
                }
            }
            assert_eq!(reload(&variants[0]).0, 200);
            wait_until("connections of old generations are closed", || {
                nutcracker.process.open_files() <= files + 4
            });
            let grown = nutcracker.process.rss_bytes().saturating_sub(memory);
            assert!(grown < 8 << 20, "{grown} bytes grown over {memory}");
        }));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    // Two workers have a connection to each server, and the gauges know it after all that.
    for name in ["one", "two"] {
        let connections = nutcracker.counter(&["alpha", name, "server_connections"]);
        assert!((1..=2).contains(&connections), "{connections} to {name}");
    }
    assert_eq!(nutcracker.counter(&["alpha", "client_err"]), 0);
    assert_eq!(nutcracker.counter(&["alpha", "forward_error"]), 0);
}
