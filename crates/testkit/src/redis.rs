//! Redis servers for tests: the real one, and one made of a script.
//!
//! The scripted one hands each request to a function as its arguments. [`Tiny`] is the function
//! that answers honestly for the few commands that tests use everywhere, so that a test writes down
//! only where its backend differs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::peer::{Peer, Place, Received};
pub use crate::peer::{Step, send};
use crate::process::{Process, Scratch, find};
use crate::{port, resp, wait_until};

/// The real redis-server with `args`, without persistence, on the address that is returned.
#[track_caller]
pub fn redis_server(args: &[&str]) -> (Process, SocketAddr) {
    let addr = port::local();
    let port = addr.port().to_string();
    let mut process = launch(&["--port", &port, "--bind", "127.0.0.1"], args, Scratch::new());
    process.wait_for_listener(addr);
    (process, addr)
}

/// The real redis-server on a Unix socket, whose path is returned.
#[track_caller]
pub fn redis_server_on_socket(args: &[&str]) -> (Process, PathBuf) {
    let scratch = Scratch::new();
    let path = scratch.file("redis.sock");
    let text = path.to_str().expect("paths of tests are text").to_owned();
    let process = launch(&["--port", "0", "--unixsocket", &text], args, scratch);
    wait_until("the server has its socket", || path.exists());
    (process, path)
}

fn launch(place: &[&str], args: &[&str], scratch: Scratch) -> Process {
    let mut command = Command::new(find("redis-server"));
    command.args(place).args(["--save", "", "--appendonly", "no", "--dir"]);
    command.arg(scratch.path()).args(args);
    Process::start_in(scratch, &mut command)
}

/// One request as the fake received it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which connection, counted from 0.
    pub conn: usize,
    /// Which request of that connection, counted from 0.
    pub nth: usize,
    /// The command and its arguments.
    pub args: Vec<Vec<u8>>,
    /// All bytes of the request.
    pub bytes: Vec<u8>,
}

impl Asked {
    fn new(received: &Received) -> Asked {
        let bytes = received.bytes.clone();
        Asked { conn: received.conn, nth: received.nth, args: resp::args(&bytes), bytes }
    }

    /// The command in small letters.
    pub fn name(&self) -> String {
        self.text(0).to_lowercase()
    }

    /// An argument as text, empty when there is none.
    pub fn text(&self, n: usize) -> String {
        self.args.get(n).map(|a| String::from_utf8_lossy(a).into_owned()).unwrap_or_default()
    }

    /// The request as one line of words.
    pub fn line(&self) -> String {
        (0..self.args.len()).map(|n| self.text(n)).collect::<Vec<_>>().join(" ")
    }
}

/// A Redis made of a script. It stops when dropped.
pub struct FakeRedis {
    /// Where it listens; meaningless for Unix sockets.
    pub addr: SocketAddr,
    peer: Peer,
}

impl FakeRedis {
    /// Answers with what `script` says, on a free port.
    #[track_caller]
    pub fn start(script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static) -> FakeRedis {
        FakeRedis::start_at(port::local(), script)
    }

    /// Answers at a given address.
    #[track_caller]
    pub fn start_at(
        addr: SocketAddr,
        script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
    ) -> FakeRedis {
        FakeRedis::listen(Place::Tcp(addr), addr, script)
    }

    /// Answers at a Unix socket.
    #[track_caller]
    pub fn start_on_socket(
        path: &Path,
        script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
    ) -> FakeRedis {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        FakeRedis::listen(Place::Unix(path.to_owned()), nowhere, script)
    }

    fn listen(
        place: Place,
        addr: SocketAddr,
        script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
    ) -> FakeRedis {
        let script = move |r: &Received| script(&Asked::new(r));
        FakeRedis { addr, peer: Peer::start_at(place, resp::cut_request, script) }
    }

    /// A server that answers every request with its own name, whatever was asked.
    pub fn named(name: &str) -> FakeRedis {
        let reply = resp::bulk(name);
        FakeRedis::start(move |_| send(&reply))
    }

    /// A server that stores and answers as [`Tiny`].
    pub fn honest() -> FakeRedis {
        let store = Tiny::default();
        FakeRedis::start(move |asked| store.answer(asked))
    }

    /// The peer behind it, for what it recorded.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Everything asked so far, in order of arrival.
    pub fn log(&self) -> Vec<Asked> {
        self.peer.log().iter().map(Asked::new).collect()
    }

    /// What was asked so far, each as a line of words.
    pub fn lines(&self) -> Vec<String> {
        self.log().iter().map(Asked::line).collect()
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> usize {
        self.peer.accepted()
    }
}

/// The store of an honest fake: strings, and the commands that proxies split.
#[derive(Default)]
pub struct Tiny {
    items: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

impl Tiny {
    /// The right answer, or an error as of a server that does not know the command.
    pub fn answer(&self, asked: &Asked) -> Vec<Step> {
        send(self.reply(&asked.name(), &asked.args[1..]))
    }

    fn reply(&self, name: &str, args: &[Vec<u8>]) -> Vec<u8> {
        let mut items = self.items.lock().expect("answering never panics");
        let bulk_of = |value: Option<&Vec<u8>>| value.map_or(b"$-1\r\n".to_vec(), resp::bulk);
        match (name, args) {
            ("ping", []) => b"+PONG\r\n".to_vec(),
            ("echo" | "ping", [text]) => resp::bulk(text),
            ("select" | "auth" | "client" | "readonly", _) => b"+OK\r\n".to_vec(),
            ("set", [key, value, ..]) => {
                items.insert(key.clone(), value.clone());
                b"+OK\r\n".to_vec()
            }
            ("get", [key]) => bulk_of(items.get(key)),
            ("mget", keys) => {
                let values = keys.iter().flat_map(|k| bulk_of(items.get(k)));
                format!("*{}\r\n", keys.len()).into_bytes().into_iter().chain(values).collect()
            }
            ("mset", pairs) => {
                for pair in pairs.chunks_exact(2) {
                    items.insert(pair[0].clone(), pair[1].clone());
                }
                b"+OK\r\n".to_vec()
            }
            ("del" | "unlink", keys) => {
                let count = keys.iter().filter(|k| items.remove(*k).is_some()).count();
                format!(":{count}\r\n").into_bytes()
            }
            ("exists" | "touch", keys) => {
                let count = keys.iter().filter(|k| items.contains_key(*k)).count();
                format!(":{count}\r\n").into_bytes()
            }
            _ => format!("-ERR unknown command '{name}'\r\n").into_bytes(),
        }
    }
}
