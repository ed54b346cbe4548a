//! Redis clients through the real binary: native configuration, real and scripted servers.
//!
//! What stands here in bytes was recorded from client libraries talking to redis-server 7.0. Most
//! tests ask redis-server and a pool in front of another one the same, and want the same bytes.

mod clients;
mod desync;
mod differential;
mod faults;
mod large;
mod pools;
mod reload;
mod sessions;
mod upsets;

use std::net::SocketAddr;

use keyway_testkit::client::Client;
use keyway_testkit::port;
use keyway_testkit::process::{Keyway, Process};
use keyway_testkit::redis::redis_server;

const KEYWAY: &str = env!("CARGO_BIN_EXE_keyway");

/// A proxy in front of Redis servers.
struct Proxy {
    keyway: Keyway,
    addr: SocketAddr,
}

impl Proxy {
    /// One pool of these servers; `more` are further keys of the pool.
    #[track_caller]
    fn start(servers: &[SocketAddr], more: &str) -> Proxy {
        Proxy::with(servers, more, "allow = [\"flush\"]")
    }

    /// The same with more keys of the listener.
    #[track_caller]
    fn with(servers: &[SocketAddr], more: &str, listener: &str) -> Proxy {
        let addr = port::local();
        let names: Vec<String> = servers.iter().map(|s| format!("\"{s}\"")).collect();
        let config = format!(
            "workers = 2\n[listeners.main]\naddress = \"{addr}\"\n{listener}\n\
             [pools.main]\nprotocol = \"redis\"\nservers = [{}]\n{more}\n",
            names.join(", ")
        );
        Proxy { keyway: Keyway::start(KEYWAY, &config), addr }
    }

    /// One worker and one listener; `rest` has the pools, the routes and whatever else.
    #[track_caller]
    fn routed(rest: &str) -> Proxy {
        let addr = port::local();
        let text = format!("workers = 1\n[listeners.main]\naddress = \"{addr}\"\n{rest}");
        Proxy { keyway: Keyway::start(KEYWAY, &text), addr }
    }

    fn client(&self) -> Client {
        Client::tcp(self.addr)
    }
}

/// A proxy in front of one redis-server, and another redis-server to compare with.
struct Twins {
    proxy: Proxy,
    reference: SocketAddr,
    _servers: [Process; 2],
}

impl Twins {
    #[track_caller]
    fn start() -> Twins {
        let (behind, addr) = redis_server(&[]);
        let (beside, reference) = redis_server(&[]);
        Twins { proxy: Proxy::start(&[addr], ""), reference, _servers: [behind, beside] }
    }

    /// A client of each, ours first.
    fn clients(&self) -> [Client; 2] {
        [self.proxy.client(), Client::tcp(self.reference)]
    }

    /// Sends the same to both and wants the same replies, as many as there were requests.
    #[track_caller]
    fn same(clients: &mut [Client; 2], requests: &[Vec<u8>]) {
        for client in clients.iter_mut() {
            client.send(requests.concat());
        }
        for request in requests {
            let [ours, reference] = clients.each_mut().map(|c| c.reply());
            assert!(
                ours == reference,
                "{}\n got {}\n not {}",
                request.escape_ascii(),
                ours.escape_ascii(),
                reference.escape_ascii()
            );
        }
    }
}

/// A number from the environment, for longer runs.
fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}
