//! The stats port: nutcracker's document, byte for byte, whoever reads it how.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use keyway_testkit::client::Client;
use keyway_testkit::process::http_get;
use keyway_testkit::redis::FakeRedis;
use keyway_testkit::twemproxy::{Nutcracker, Program, named, pool};
use keyway_testkit::{port, wait_until};

use crate::{BOTH, OURS};

/// A document without what differs from run to run.
fn masked(text: &str) -> String {
    let mut text = text.to_owned();
    for name in ["\"uptime\":", "\"timestamp\":"] {
        let at = text.find(name).unwrap_or_else(|| panic!("{name} in {text}")) + name.len();
        let end = at + text[at..].find(',').expect("more members follow");
        assert!(text[at..end].parse::<u64>().is_ok(), "{text}");
        text.replace_range(at..end, "N");
    }
    text
}

#[test]
fn an_idle_proxy_tells_the_same() {
    let servers = ["10.0.0.1:11211:1", "/no/such.sock:2", "10.0.0.2:6379:7 b-label"];
    let servers = servers.map(String::from);
    let text = [("zz", port::local()), ("alpha", port::local()), ("b", port::local())]
        .map(|(name, addr)| pool(name, addr, "redis: true", &servers))
        .concat();
    let [reference, ours] = [Program::Reference, OURS].map(|program| {
        let nutcracker = Nutcracker::start(program, &text, &[]);
        wait_until("all listeners are open", || {
            Client::try_tcp(nutcracker.stats).is_ok()
                && nutcracker.stats().contains("\"curr_connections\":3,")
        });
        masked(&nutcracker.stats())
    });
    assert_eq!(ours, reference);
    assert!(ours.ends_with("}}}\n"), "{ours}");
}

/// The same traffic for both: a pool of two servers and one of a dead one.
fn traffic(program: Program) -> String {
    let fakes = [FakeRedis::honest(), FakeRedis::honest()];
    let servers: Vec<String> =
        fakes.iter().zip(["s1", "s2"]).map(|(fake, name)| named(fake.addr, name)).collect();
    let (alpha, dead) = (port::local(), port::local());
    let more = "redis: true\ndistribution: modula\ntimeout: 20000";
    let text = pool("alpha", alpha, more, &servers)
        + &pool("dead", dead, "redis: true", &["127.0.0.1:1:1 gone".into()]);
    let nutcracker = Nutcracker::start(program, &text, &[]);
    wait_until("all listeners are open", || {
        Client::try_tcp(nutcracker.stats).is_ok()
            && nutcracker.stats().contains("\"curr_connections\":2,")
    });
    let mut client = Client::tcp(alpha);
    for n in 0..10 {
        client.ask(format!("*3\r\n$3\r\nset\r\n$2\r\nk{n}\r\n$1\r\n{n}\r\n"), "+OK\r\n");
        client.ask(format!("*2\r\n$3\r\nget\r\n$2\r\nk{n}\r\n"), format!("$1\r\n{n}\r\n"));
    }
    client.ask("*1\r\n$4\r\nPING\r\n", "+PONG\r\n");
    let both = "*3\r\n$4\r\nmget\r\n$2\r\nk1\r\n$2\r\nk2\r\n";
    client.ask(both, "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
    let mut quits = Client::tcp(alpha);
    quits.send("*1\r\n$4\r\nQUIT\r\n");
    quits.expect_close();
    let mut wrong = Client::tcp(alpha);
    wrong.send("*1\r\n$3\r\nget\r\n");
    wrong.expect_close();
    let mut refused = Client::tcp(dead);
    for _ in 0..2 {
        refused.ask("*2\r\n$3\r\nget\r\n$1\r\nk\r\n", "-ERR Connection refused\r\n");
    }
    refused.finish_sending();
    refused.expect_close();
    wait_until("everything is counted", || {
        nutcracker.counter(&["dead", "client_eof"]) == 1
            && nutcracker.counter(&["alpha", "client_err"]) == 1
            && nutcracker.counter(&["alpha", "client_eof"]) == 1
    });
    masked(&nutcracker.stats())
}

#[test]
fn the_same_traffic_is_counted_alike() {
    let [reference, ours] = [Program::Reference, OURS].map(traffic);
    assert_eq!(ours, reference);
}

/// Microseconds since 1970.
fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(now.as_micros()).expect("it is before the year 294000")
}

#[test]
fn ejections_are_told_with_their_time() {
    for program in BOTH {
        let addr = port::local();
        let more = "redis: true\nauto_eject_hosts: true\nserver_failure_limit: 1";
        let text = pool("alpha", addr, more, &["127.0.0.1:1:1 gone".into()]);
        let nutcracker = Nutcracker::start(program, &text, &[addr]);
        assert_eq!(nutcracker.counter(&["alpha", "gone", "server_ejected_at"]), 0);
        let before = now_us();
        let get = "*2\r\n$3\r\nget\r\n$1\r\nk\r\n";
        let mut client = Client::tcp(addr);
        for _ in 0..3 {
            client.ask(get, "-ERR Connection refused\r\n");
        }
        let after = now_us();
        wait_until("the errors are counted", || {
            nutcracker.counter(&["alpha", "forward_error"]) == 3
        });
        assert_eq!(nutcracker.counter(&["alpha", "server_ejects"]), 1, "{program:?}");
        assert_eq!(nutcracker.counter(&["alpha", "gone", "server_err"]), 1, "{program:?}");
        let at = nutcracker.counter(&["alpha", "gone", "server_ejected_at"]);
        assert!((before..=after).contains(&at), "{at} by {program:?}, {before} to {after}");
    }
}

#[test]
fn names_are_escaped() {
    let text = "\"a\\\"b\":\n  listen: LISTEN\n  servers:\n   - '127.0.0.1:1:1 x\"y'\n"
        .replace("LISTEN", &port::local().to_string());
    let nutcracker = Nutcracker::start(OURS, &text, &[]);
    wait_until("it answers", || Client::try_tcp(nutcracker.stats).is_ok());
    let stats = nutcracker.stats();
    assert!(stats.contains("\"a\\\"b\": {") && stats.contains("\"x\\\"y\": {"), "{stats}");
}

fn idle() -> (Nutcracker, SocketAddr) {
    let addr = port::local();
    let text = pool("alpha", addr, "redis: true", &["127.0.0.1:1:1 s".into()]);
    (Nutcracker::start(OURS, &text, &[addr]), addr)
}

#[test]
fn readers_that_do_not_read_hold_up_nobody() {
    let (nutcracker, addr) = idle();
    let _silent: Vec<Client> = (0..200).map(|_| Client::tcp(nutcracker.stats)).collect();
    Client::tcp(addr).ask("*1\r\n$4\r\nPING\r\n", "+PONG\r\n");
    assert!(nutcracker.stats().starts_with("{\"service\":\"nutcracker\", "));
}

#[test]
fn what_a_reader_sends_does_not_matter() {
    let (nutcracker, _) = idle();
    let mut reader = Client::tcp(nutcracker.stats);
    reader.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    reader.finish_sending();
    let text = String::from_utf8_lossy(&reader.drain()).into_owned();
    assert!(text.starts_with("{\"service\"") && text.ends_with("}}}\n"), "{text}");
}

#[test]
fn the_same_numbers_are_metrics_where_asked_for() {
    let fake = FakeRedis::honest();
    let (addr, admin) = (port::local(), port::local());
    let text = pool("alpha", addr, "redis: true", &[named(fake.addr, "s")]);
    let variable = format!("KEYWAY_ADMIN={admin}");
    let nutcracker = Nutcracker::start_with(OURS, &text, &[addr], &[&variable]);
    let mut client = Client::tcp(addr);
    client.ask("*3\r\n$3\r\nset\r\n$1\r\nk\r\n$1\r\n1\r\n", "+OK\r\n");
    let (status, metrics) = http_get(admin, "/metrics");
    assert_eq!(status, 200);
    for line in [
        "keyway_backend_forwarded_total{pool=\"alpha\",backend=\"s\"} 1",
        "keyway_backend_connections{pool=\"alpha\",backend=\"s\"} 1",
        "keyway_listener_clients{listener=\"alpha\"} 1",
        "keyway_listener_forward_errors_total{listener=\"alpha\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    assert_eq!(nutcracker.counter(&["alpha", "s", "requests"]), 1);
}
