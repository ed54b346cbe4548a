//! Memory that clients can cost: bounded, and small when they are idle.

use keyway_testkit::client::Client;
use keyway_testkit::fake::Fake;
use keyway_testkit::process::{Keyway, memcached};
use keyway_testkit::{port, wait_until};

use crate::{KEYWAY, configuration};

const IDLE: usize = 10_000;

/// A configuration that accepts more than `IDLE` clients.
fn roomy(text: &str) -> String {
    format!("{text}\n[limits]\nclients_max = 12000\n")
}

fn open_files_max() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, wanted).expect("the soft limit may be raised to the hard one");
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(most > 11_000, "this test needs 11000 descriptors, the hard limit is {most}");
}

fn idle_clients_cost(keyway: &Keyway, addr: std::net::SocketAddr) {
    open_files_max();
    let connect = |count: usize| -> Vec<Client> { (0..count).map(|_| Client::tcp(addr)).collect() };
    // Some that have worked, so that tables and pools have their first size.
    let mut warm = connect(200);
    for client in &mut warm {
        client.ask("set w 0 0 1\r\nx\r\nget w\r\n", "STORED\r\nVALUE w 0 1\r\nx\r\nEND\r\n");
    }
    let before = keyway.process.rss_bytes();
    let mut idle = connect(IDLE);
    // All have been served once and wait now.
    for client in &mut idle {
        client.ask("mn\r\n", "MN\r\n");
    }
    let each = keyway.process.rss_bytes().saturating_sub(before) / IDLE as u64;
    assert!(each <= 2048, "an idle client costs {each} bytes");
    for client in warm.iter_mut().chain(&mut idle) {
        client.ask("mn\r\n", "MN\r\n");
    }
}

/// One test for both, as each needs most of the descriptors that a process may have.
#[test]
fn idle_clients_cost_less_than_2_kb_each() {
    let addr = port::local();
    let text = format!("workers = 2\n[listeners.main]\naddress = \"{addr}\"\nroute = \"store\"\n");
    idle_clients_cost(&Keyway::start(KEYWAY, &roomy(&text)), addr);
    let fake = Fake::honest();
    let addr = port::local();
    let text = configuration(addr, &[fake.addr], "", "");
    idle_clients_cost(&Keyway::start(KEYWAY, &roomy(&text)), addr);
}

/// Pipelines up to 1 GB of gets without reading a reply. Returns how much was taken.
fn pipeline_without_reading(addr: std::net::SocketAddr, keyway: &Keyway) -> usize {
    let mut client = Client::tcp(addr);
    let burst = "get big\r\n".repeat(10_000).into_bytes();
    let mut sent = 0;
    let mut at = 0;
    let mut refused = 0;
    // Not taken for so long means that the other side has stopped reading for good.
    while sent < 1 << 30 && refused < 200 {
        // It may also be closed, which is the last thing that is done about such a client.
        let Some(n) = client.send_some(&burst[at..]) else { break };
        sent += n;
        at = (at + n) % burst.len();
        refused = if n == 0 { refused + 1 } else { 0 };
        if n == 0 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    // It is still there and others are served.
    Client::tcp(addr).ask("mn\r\n", "MN\r\n");
    assert!(keyway.process.open_files() > 0);
    sent
}

/// The documented cap of one client is `client_bytes_max`; the rest is for the buffers of the
/// worker.
const CAP: u64 = (16 << 20) + (8 << 20);
const LIMITS: &str = "[limits]\nclient_bytes_max = \"16m\"\n";

#[test]
fn a_client_that_never_reads_costs_no_more_than_its_cap() {
    let (_server, backend) = memcached(&["-m", "64"]);
    let addr = port::local();
    let keyway = Keyway::start(KEYWAY, &configuration(addr, &[backend], "", LIMITS));
    check_cap(&keyway, addr);
}

#[test]
fn a_client_of_the_store_that_never_reads_costs_no_more_than_its_cap() {
    let addr = port::local();
    let text = format!("workers = 2\n[listeners.main]\naddress = \"{addr}\"\nroute = \"store\"\n");
    let keyway = Keyway::start(KEYWAY, &format!("{text}{LIMITS}"));
    check_cap(&keyway, addr);
}

fn check_cap(keyway: &Keyway, addr: std::net::SocketAddr) {
    let value = "v".repeat(100_000);
    let mut client = Client::tcp(addr);
    client.ask(format!("set big 0 0 {}\r\n{value}\r\n", value.len()), "STORED\r\n");
    for _ in 0..20 {
        client.ask("get big\r\n", format!("VALUE big 0 100000\r\n{value}\r\nEND\r\n"));
    }
    let before = keyway.process.rss_bytes();
    let taken = pipeline_without_reading(addr, keyway);
    let grown = keyway.process.rss_bytes_max().saturating_sub(before);
    assert!(grown < CAP, "grew by {grown} bytes after {taken} bytes of requests");
    client.ask("mn\r\n", "MN\r\n");
}

/// Memory of clients that have gone is used again: rounds of many clients do not add up.
#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let fake = Fake::honest();
    let addr = port::local();
    let keyway = Keyway::start(KEYWAY, &configuration(addr, &[fake.addr], "", ""));
    let round = || {
        let mut clients: Vec<Client> = (0..300).map(|_| Client::tcp(addr)).collect();
        for client in &mut clients {
            client.ask("set a 0 0 1\r\nx\r\nget a\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
        }
        for client in &mut clients {
            // Some leave in the middle of something.
            client.send("get a\r\nset b 0 0 1000\r\nhalf");
        }
    };
    round();
    round();
    let (memory, files) = (keyway.process.rss_bytes(), keyway.process.open_files());
    for _ in 0..10 {
        round();
    }
    wait_until("all connections are closed", || keyway.process.open_files() < files + 20);
    let grown = keyway.process.rss_bytes().saturating_sub(memory);
    assert!(grown < 4 << 20, "3000 clients left {grown} bytes behind");
}

/// The limit of the store bounds the process: with twice as much written as fits, memory stays near
/// the limit.
#[test]
fn the_store_keeps_within_its_limit() {
    let addr = port::local();
    let text = format!(
        "workers = 2\n[listeners.main]\naddress = \"{addr}\"\nroute = \"store\"\n\
         [store]\nmemory = \"64m\"\n"
    );
    let keyway = Keyway::start(KEYWAY, &text);
    let mut client = Client::tcp(addr);
    client.ask("mn\r\n", "MN\r\n");
    let before = keyway.process.rss_bytes();
    for round in 0..130 {
        let mut batch = String::new();
        for n in 0..1000 {
            let length = 200 + (n * 7919 + round * 13) % 1600;
            let value = "s".repeat(length);
            batch.push_str(&format!("set s{round}-{n} 0 0 {length} noreply\r\n{value}\r\n"));
        }
        client.send(&batch);
        client.ask("mn\r\n", "MN\r\n");
    }
    let grown = keyway.process.rss_bytes_max().saturating_sub(before);
    assert!(grown < 80 << 20, "a store of 64 MiB made the process grow by {grown} bytes");
    assert!(grown > 40 << 20, "the memory is used: {grown} bytes");
}
