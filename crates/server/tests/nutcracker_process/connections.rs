//! How many connections there are: to each server, and from clients.

use keyway_testkit::client::Client;
use keyway_testkit::process::{Process, Scratch};
use keyway_testkit::redis::FakeRedis;
use keyway_testkit::twemproxy::{Nutcracker, Program, named, pool};
use keyway_testkit::{port, wait_until};

use crate::{BOTH, OURS, with_files};

const PING: &str = "*1\r\n$4\r\nPING\r\n";

#[test]
fn servers_get_no_more_connections_than_workers_times_configured() {
    for (workers, connections) in [(1, 1), (3, 1), (4, 2)] {
        let fakes = [FakeRedis::honest(), FakeRedis::honest()];
        let addr = port::local();
        let servers = [named(fakes[0].addr, "one"), named(fakes[1].addr, "two")];
        let more = format!("redis: true\nserver_connections: {connections}");
        let text = pool("alpha", addr, &more, &servers);
        let variable = format!("KEYWAY_WORKERS={workers}");
        let nutcracker = Nutcracker::start_with(OURS, &text, &[addr], &[&variable]);
        let mut clients: Vec<Client> = (0..40).map(|_| Client::tcp(addr)).collect();
        for round in 0..5 {
            for (id, client) in clients.iter_mut().enumerate() {
                for n in 0..8 {
                    let key = format!("{id:02}{n}{round}");
                    client.send(format!("*3\r\n$3\r\nset\r\n$4\r\n{key}\r\n$1\r\n{n}\r\n"));
                    client.send(format!("*2\r\n$3\r\nget\r\n$4\r\n{key}\r\n"));
                }
            }
            for client in &mut clients {
                for n in 0..8 {
                    client.expect("+OK\r\n");
                    client.expect(format!("$1\r\n{n}\r\n"));
                }
            }
        }
        let bound = workers * connections;
        for (fake, name) in fakes.iter().zip(["one", "two"]) {
            let accepted = fake.accepted();
            assert!((1..=bound).contains(&accepted), "{accepted} to {name}, {bound} allowed");
            let told = nutcracker.counter(&["alpha", name, "server_connections"]);
            assert_eq!(told, accepted as i64, "all of them are still open and counted");
        }
    }
}

/// How many of so many clients are served; the others must be closed without a word.
fn served(addr: std::net::SocketAddr, clients: usize) -> usize {
    let mut clients: Vec<Client> = (0..clients).map(|_| Client::tcp(addr)).collect();
    let mut served = 0;
    for client in &mut clients {
        // Writing to a client that was closed may fail already.
        let _closed = client.try_send(PING.as_bytes());
        match client.try_take(7) {
            Some(reply) => {
                assert_eq!(reply, b"+PONG\r\n");
                served += 1;
            }
            None => assert!(client.waiting().is_empty(), "not a word"),
        }
    }
    served
}

#[test]
fn clients_beyond_the_budget_are_accepted_and_closed() {
    for program in BOTH {
        let (process, addr, stats) = limited(program, 100);
        // What two servers and the listener may need, and 32; ours keeps 4 for its worker.
        let expected = if program.is_ours() { 100 - 3 - 32 - 4 } else { 100 - 3 - 32 };
        // Those that looked whether it listens may still have a place for a moment.
        wait_until("every place is taken", || {
            let served = served(addr, 80);
            assert!(served <= expected, "{served} served by {program:?}");
            served == expected
        });
        wait_until("places are free again", || served(addr, 3) == 3);
        let text = String::from_utf8_lossy(&Client::tcp(stats).drain()).into_owned();
        assert!(text.starts_with("{\"service\""), "{text}");
        drop(process);
    }
}

#[test]
fn a_budget_below_zero_is_no_licence() {
    let (mut process, addr, _) = limited(OURS, 36);
    let served = served(addr, 60);
    assert!((1..=8).contains(&served), "{served} clients with 36 files");
    assert!(process.is_running());
}

/// A program that may have so few files open, with a pool of two servers that nobody asks.
fn limited(program: Program, files: u32) -> (Process, std::net::SocketAddr, std::net::SocketAddr) {
    let scratch = Scratch::new();
    let (addr, stats) = (port::local(), port::local());
    let servers = ["127.0.0.1:1:1 a".to_string(), "127.0.0.1:1:1 b".to_string()];
    let file = scratch.write("n.yml", pool("alpha", addr, "redis: true", &servers));
    let log = scratch.file("log");
    let mut command = with_files(program, files);
    command.arg("-c").arg(file).arg("-o").arg(log);
    command.args(["-a", "127.0.0.1", "-s", &stats.port().to_string()]);
    let mut process = Process::start_in(scratch, &mut command);
    process.wait_for_listener(addr);
    (process, addr, stats)
}
