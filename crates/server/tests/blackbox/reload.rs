//! Change without loss: reloads under load, bad files, draining.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keyway_testkit::client::Client;
use keyway_testkit::fake::{Fake, Honest, Step};
use keyway_testkit::process::{Keyway, http, memcached};
use keyway_testkit::{port, wait_until};

use crate::{KEYWAY, configuration};

/// Reloads and returns status and answer.
fn reload(keyway: &Keyway, text: &str) -> (u16, String) {
    std::fs::write(&keyway.config, text).expect("the scratch folder is writable");
    http(keyway.admin, "POST", "/api/v1/reload")
}

/// Sets and gets its own keys until told to stop; every answer must be right.
fn load(addr: SocketAddr, id: usize, stop: &AtomicBool, done: &AtomicU64) {
    let mut client = Client::tcp(addr);
    let mut n = 0u64;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let key = format!("load{id}-{}", n % 50);
        client.send(format!("set {key} 0 0 8\r\n{n:08}\r\nget {key}\r\nmg {key} v k\r\n"));
        client.expect("STORED\r\n");
        client.expect(format!("VALUE {key} 0 8\r\n{n:08}\r\nEND\r\n"));
        client.expect(format!("VA 8 k{key}\r\n{n:08}\r\n"));
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn reloads_under_load_lose_no_request_and_no_connection() {
    let (_one, first) = memcached(&[]);
    let (_two, second) = memcached(&[]);
    let addr = port::local();
    // Timeouts, pools and limits change; where keys live does not, or a get could rightly miss.
    let variants = [
        configuration(addr, &[first, second], "", ""),
        configuration(addr, &[first, second], "read_timeout = \"20s\"", ""),
        configuration(addr, &[first, second], "connections = 2", ""),
        configuration(addr, &[first, second], "", "[limits]\nowed_max = 100\n"),
        configuration(
            addr,
            &[first, second],
            "",
            &format!("[pools.other]\nservers = [\"{first}\"]\n[routes]\ndefault = \"main\"\n"),
        ),
    ];
    let keyway = Keyway::start(KEYWAY, &variants[0]);
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for id in 0..4 {
            let (stop, done) = (&stop, &done);
            scope.spawn(move || load(addr, id, stop, done));
        }
        let files = {
            wait_until("the load runs", || done.load(Ordering::Relaxed) > 100);
            keyway.process.open_files()
        };
        for round in 1..=100 {
            let (status, answer) = reload(&keyway, &variants[round % variants.len()]);
            if status != 200 {
                stop.store(true, Ordering::Relaxed);
                panic!("reload {round} was refused: {answer}");
            }
            let seen = done.load(Ordering::Relaxed);
            wait_until("the load goes on", || done.load(Ordering::Relaxed) > seen);
        }
        // Back to the first configuration, so that the number of backend connections is as before.
        assert_eq!(reload(&keyway, &variants[0]).0, 200);
        wait_until("connections of old generations are closed", || {
            keyway.process.open_files() <= files + 4
        });
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_bad_file_keeps_the_old_configuration_and_says_why() {
    let fake = Fake::honest();
    let addr = port::local();
    let good = configuration(addr, &[fake.addr], "", "");
    let mut keyway = Keyway::start(KEYWAY, &good);
    let mut client = Client::tcp(addr);
    client.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    let bad = good.replace("workers = 2", "workers = \"several\"");
    let (status, answer) = reload(&keyway, &bad);
    assert!(status >= 400 && answer.contains("workers"), "{status} {answer}");
    client.ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
    keyway.rewrite("this is no configuration");
    keyway.process.wait_for_output("keyway.toml:1");
    client.ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
    assert_eq!(reload(&keyway, &good).0, 200, "the next good file is taken");
    client.ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
}

#[test]
fn listeners_come_and_go_with_the_file() {
    let fake = Fake::honest();
    let (first, second) = (port::local(), port::local());
    let one = configuration(first, &[fake.addr], "", "");
    let both = format!("{one}[listeners.more]\naddress = \"{second}\"\n");
    let keyway = Keyway::start(KEYWAY, &one);
    let mut old = Client::tcp(first);
    assert_eq!(reload(&keyway, &both).0, 200);
    let mut new = Client::tcp(second);
    new.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    old.ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
    assert_eq!(reload(&keyway, &one).0, 200);
    wait_until("the second listener is closed", || Client::try_tcp(second).is_err());
    old.ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
}

#[test]
fn a_drain_pays_what_is_owed_and_ends() {
    let honest = Honest::default();
    let fake = Fake::start(move |asked| match asked.line.as_str() {
        "get slow" => {
            let reply = b"VALUE slow 0 1\r\nx\r\nEND\r\n".to_vec();
            vec![Step::Wait(Duration::from_millis(500)), Step::Send(reply)]
        }
        _ => honest.answer(asked),
    });
    let addr = port::local();
    let mut keyway = Keyway::start(KEYWAY, &configuration(addr, &[fake.addr], "", ""));
    let mut waiting = Client::tcp(addr);
    let mut idle = Client::tcp(addr);
    idle.ask("mn\r\n", "MN\r\n");
    waiting.send("get slow\r\n");
    wait_until("the request is under way", || fake.lines().iter().any(|l| l == "get slow"));
    keyway.process.signal("TERM");
    idle.expect_close();
    waiting.expect("VALUE slow 0 1\r\nx\r\nEND\r\n");
    waiting.expect_close();
    assert_eq!(keyway.process.wait().code(), Some(0));
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let fake = Fake::start(|asked| match asked.is_version() {
        true => vec![Step::Send(b"VERSION 1\r\n".to_vec())],
        false => vec![Step::Hang],
    });
    let addr = port::local();
    let text = configuration(addr, &[fake.addr], "read_timeout = \"1h\"", "");
    let mut keyway = Keyway::start(KEYWAY, &format!("drain_timeout = \"300ms\"\n{text}"));
    let mut waiting = Client::tcp(addr);
    waiting.send("get never\r\n");
    wait_until("the request is under way", || fake.lines().len() == 1);
    keyway.process.signal("TERM");
    waiting.expect_close();
    assert_eq!(keyway.process.wait().code(), Some(0));
}

/// Everything acknowledged before and during reloads is there afterwards.
#[test]
fn the_embedded_store_survives_reloads() {
    let addr = port::local();
    let text = format!("workers = 2\n[listeners.main]\naddress = \"{addr}\"\nroute = \"store\"\n");
    let keyway = Keyway::start(KEYWAY, &text);
    let mut client = Client::tcp(addr);
    let mut acknowledged = HashSet::new();
    for n in 0..200 {
        client.ask(format!("set k{n} 0 0 1\r\nx\r\n"), "STORED\r\n");
        acknowledged.insert(n);
        if n % 20 == 0 {
            let more = format!("drain_timeout = \"{}s\"\n{text}", n + 1);
            assert_eq!(reload(&keyway, &more).0, 200);
        }
    }
    for n in acknowledged {
        client.ask(format!("get k{n}\r\n"), format!("VALUE k{n} 0 1\r\nx\r\nEND\r\n"));
    }
}
