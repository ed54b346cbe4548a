//! The binary as users meet it: started with real arguments and files, talked to over real sockets.
//!
//! One test program with a module for each subject. Servers and peers belong to the test that
//! starts them. `KEYWAY_TEST_AS=/path/to/memcached` lets a real memcached take the place of the
//! embedded server, which is how the expectations in `embedded` and its transcripts were checked.

mod admin;
mod bench;
mod conformance;
mod convert;
mod desync;
mod differential;
mod embedded;
mod examples;
mod faults;
mod large;
mod memory;
mod policies;
mod proxying;
mod refused;
mod reload;
mod sockets;
mod start;

use std::net::SocketAddr;
use std::process::Command;

use keyway_testkit::client::Client;
use keyway_testkit::port;
use keyway_testkit::process::{Keyway, Process};

/// The program under test.
pub const KEYWAY: &str = env!("CARGO_BIN_EXE_keyway");

/// An embedded server.
pub struct Embedded {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Embedded {
    /// Starts it through memcached's command line with two workers and these arguments more.
    #[track_caller]
    pub fn start(args: &[&str]) -> Embedded {
        let addr = port::local();
        let mut command = match std::env::var("KEYWAY_TEST_AS") {
            Ok(other) => Command::new(other),
            Err(_) => personality(),
        };
        command.args(["-l", "127.0.0.1", "-p", &addr.port().to_string(), "-u", "root", "-t", "2"]);
        let mut process = Process::start(command.args(args));
        process.wait_for_listener(addr);
        Embedded { process, addr }
    }

    /// A new client.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::tcp(self.addr)
    }
}

/// `keyway memcached`, ready for arguments.
pub fn personality() -> Command {
    let mut command = Command::new(KEYWAY);
    command.arg("memcached");
    command
}

/// A proxy for one pool.
pub struct Proxy {
    /// The process with its files.
    pub keyway: Keyway,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Proxy {
    /// Two workers in front of `backends`; `pool` and `rest` are lines of the configuration.
    #[track_caller]
    pub fn start(backends: &[SocketAddr], pool: &str, rest: &str) -> Proxy {
        let addr = port::local();
        let keyway = Keyway::start(KEYWAY, &configuration(addr, backends, pool, rest));
        Proxy { keyway, addr }
    }

    /// One worker, so that all clients share the connections to backends.
    #[track_caller]
    pub fn with_one_worker(backends: &[SocketAddr], pool: &str, rest: &str) -> Proxy {
        let addr = port::local();
        let text = configuration(addr, backends, pool, rest).replace("workers = 2", "workers = 1");
        Proxy { keyway: Keyway::start(KEYWAY, &text), addr }
    }

    /// One worker and one listener; `rest` has the pools, the routes and whatever else.
    #[track_caller]
    pub fn routed(rest: &str) -> Proxy {
        let addr = port::local();
        let text = format!("workers = 1\n[listeners.main]\naddress = \"{addr}\"\n{rest}");
        Proxy { keyway: Keyway::start(KEYWAY, &text), addr }
    }

    /// A new client.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::tcp(self.addr)
    }
}

/// The text of a configuration with one listener and one pool `main`.
pub fn configuration(addr: SocketAddr, backends: &[SocketAddr], pool: &str, rest: &str) -> String {
    let servers: Vec<String> = backends.iter().map(|b| format!("\"{b}\"")).collect();
    let servers = servers.join(", ");
    format!(
        "workers = 2\n\
         [listeners.main]\naddress = \"{addr}\"\nallow = [\"flush\", \"dump\", \"watch\"]\n\
         [pools.main]\nservers = [{servers}]\n{pool}\n{rest}\n"
    )
}
