//! Whole paths of requests through one worker, step by step in the calling thread.
//!
//! A [`Rig`] is a worker on epoll with a client and backends on real sockets, all driven from here:
//! bytes go in, the worker takes turns, replies come out and are compared. Nothing runs beside it,
//! so instructions and allocations of the turns can be counted and come out the same every time.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use keyway_engine::{Choice, Engine, Options, Sender, Socket, mailbox};
use keyway_proto::resp::request::cut;
use keyway_proto::resp::{Cut, Limits, Progress, Verb};
use keyway_proxy::local::{Facts, Opened, Settings, Shared};
use keyway_proxy::stats::Registry;
use keyway_proxy::{Generation, Mail, Setup, Worker, events};
use keyway_store::Store;

/// One kind of request, all the way.
#[derive(Clone, Debug)]
pub struct Path {
    /// What budgets and messages call it.
    pub name: &'static str,
    /// How many backends the pool has; 0 is the embedded store.
    pub backends: usize,
    /// What is asked once before, such as storing what is read later; may be empty.
    pub before: Vec<u8>,
    /// What the client sends.
    pub request: Vec<u8>,
    /// What it must get.
    pub reply: Vec<u8>,
    /// How many requests that is.
    pub requests: u64,
}

/// The paths that have a budget.
pub fn all() -> Vec<Path> {
    let keys: Vec<String> = (0..10).map(|number| format!("some:key:{number:08}")).collect();
    let key = keys[0].as_str();
    let kib = "v".repeat(1024);
    let get = format!("get {key}\r\n");
    let hit = value(key) + "END\r\n";
    let set = format!("set {key} 0 0 1024\r\n{kib}\r\n");
    let multiget = format!("get {}\r\n", keys.join(" "));
    let values: String = keys.iter().map(|key| value(key)).collect();
    let store: String = keys.iter().map(|key| stored(key)).collect();
    let mget: Vec<&str> = ["MGET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
    let mget = resp(&mget);
    let bulks = "*10\r\n".to_string() + &keys.iter().map(|key| bulk(key)).collect::<String>();
    let path = |name, backends, request: String, reply: String, requests| Path {
        name,
        backends,
        before: if backends == 0 { store.clone().into_bytes() } else { Vec::new() },
        request: request.into_bytes(),
        reply: reply.into_bytes(),
        requests,
    };
    let meta = || format!("mg {key} v O7\r\n");
    let meta_reply = || format!("VA 100 O7\r\n{}\r\n", hundred(key));
    let stored = || "STORED\r\n".to_string();
    let all_values = || values.clone() + "END\r\n";
    vec![
        path("get_forwarded", 1, get.clone(), hit.clone(), 1),
        path("get_forwarded_hashed", 3, get.clone(), hit.clone(), 1),
        path("get_forwarded_pipelined", 1, get.repeat(16), hit.repeat(16), 16),
        path("mg_forwarded", 1, meta(), meta_reply(), 1),
        path("set_1k_forwarded", 1, set.clone(), stored(), 1),
        path("multiget_10_forwarded", 1, multiget.clone(), all_values(), 1),
        path("multiget_10_over_3", 3, multiget.clone(), all_values(), 1),
        path("get_store", 0, get, hit, 1),
        path("mg_store", 0, meta(), meta_reply(), 1),
        path("set_1k_store", 0, set, stored(), 1),
        path("multiget_10_store", 0, multiget, all_values(), 1),
        path("resp_get_forwarded", 1, resp(&["GET", key]), bulk(key), 1),
        path("resp_get_forwarded_hashed", 3, resp(&["GET", key]), bulk(key), 1),
        path("resp_get_pipelined", 1, resp(&["GET", key]).repeat(16), bulk(key).repeat(16), 16),
        path("resp_mget_10_forwarded", 1, mget.clone(), bulks.clone(), 1),
        path("resp_mget_10_over_3", 3, mget, bulks, 1),
    ]
}

/// A request in RESP.
fn resp(words: &[&str]) -> String {
    let words = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n", words.len()) + &words.collect::<String>()
}

/// A value in RESP.
fn bulk(key: &str) -> String {
    format!("$100\r\n{}\r\n", hundred(key))
}

/// A worker with a client and backends.
pub struct Rig {
    worker: Worker,
    client: UnixStream,
    backends: Vec<Peer>,
    path: Path,
    got: Vec<u8>,
    _mail: Sender<Mail>,
    _events: std::sync::mpsc::Receiver<(usize, events::Event)>,
}

/// A backend's end of the connection from the worker.
struct Peer {
    stream: TcpStream,
    asked: Vec<u8>,
    /// Whether it was asked for its version.
    is_greeted: bool,
}

impl Rig {
    /// A worker for `path`, with its connections up and everything stored that will be read.
    pub fn new(path: Path) -> Rig {
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let listeners: Vec<TcpListener> = (0..path.backends).map(|_| listen()).collect();
        let (engine, _) = Engine::new(Choice::Epoll, Options::default()).expect("epoll works");
        let (mail, receiver) = mailbox(engine.waker());
        let (sender, events) = events::queue(64);
        let config = configuration(&listeners, path.request.starts_with(b"*"));
        let loaded = keyway_config::load_native("rig", &config).expect("the file is fixed");
        let shared = Shared::new(Settings::default(), 1, Duration::ZERO, Box::new(Facts::default));
        let setup = Setup {
            index: 0,
            generation: Arc::new(Generation {
                number: 1,
                config: loaded.config,
                listener_keys: vec![0],
            }),
            store: Arc::new(Store::new(keyway_store::Options::new(64 << 20))),
            shared: Arc::clone(&shared),
            started: engine.now(),
            registry: Registry::new(1),
            events: sender,
            mail: receiver,
        };
        let worker = Worker::new(engine, setup);
        let backends = listeners.iter().map(|listener| {
            let (stream, _) = listener.accept().expect("the worker connects at its start");
            stream.set_nonblocking(true).expect("a socket can be made non-blocking");
            stream.set_nodelay(true).expect("TCP has this option");
            Peer { stream, asked: Vec::new(), is_greeted: false }
        });
        let backends = backends.collect();
        let (client, served) = UnixStream::pair().expect("a pair of sockets");
        for stream in [&client, &served] {
            stream.set_nonblocking(true).expect("a socket can be made non-blocking");
        }
        let socket = Socket::from(OwnedFd::from(served));
        let entry = shared.conns.open(Opened::default(), 0);
        mail.send(Mail::Client { socket, listener_key: 0, entry });
        let mut rig = Rig {
            worker,
            client,
            backends,
            path,
            got: Vec::with_capacity(64 << 10),
            _mail: mail,
            _events: events,
        };
        rig.prepare();
        rig
    }

    /// Sends the path's request once; `turn` is called for each turn of the worker. Panics unless
    /// exactly the expected reply comes back.
    pub fn round(&mut self, turn: &mut impl FnMut(&mut Worker)) {
        (&self.client).write_all(&self.path.request).expect("the worker reads");
        self.got.clear();
        let len = self.path.reply.len();
        for _ in 0..TURNS_MAX {
            turn(&mut self.worker);
            self.backends.iter_mut().for_each(Peer::serve);
            self.receive();
            if self.got.len() >= len {
                break;
            }
        }
        assert_eq!(
            self.got.escape_ascii().to_string(),
            self.path.reply.escape_ascii().to_string(),
            "the reply on path {}",
            self.path.name
        );
    }

    fn prepare(&mut self) {
        // Each connection to a backend begins with a question.
        while self.backends.iter().any(|peer| !peer.is_greeted) {
            self.turn();
            self.backends.iter_mut().for_each(Peer::serve);
        }
        // Takes the client, if no turn has yet, and the answers, which have all arrived by now.
        self.turn();
        let before = std::mem::take(&mut self.path.before);
        (&self.client).write_all(&before).expect("the worker reads");
        let lines = before.split(|&byte| byte == b'\n').count() / 2;
        while self.got.len() < lines * b"STORED\r\n".len() {
            self.turn();
            self.receive();
        }
    }

    fn turn(&mut self) {
        self.worker.turn().expect("epoll works");
    }

    fn receive(&mut self) {
        drain(&mut &self.client, &mut self.got);
    }
}

impl Peer {
    /// Answers what has arrived, as a memcached that has every key.
    fn serve(&mut self) {
        drain(&mut self.stream, &mut self.asked);
        if self.asked.starts_with(b"*") {
            return self.serve_resp();
        }
        let mut reply = String::new();
        let mut rest = self.asked.as_slice();
        while let Some(at) = rest.iter().position(|&byte| byte == b'\n') {
            let line = std::str::from_utf8(&rest[..at]).expect("requests are text").trim_end();
            let mut used = at + 1;
            let mut words = line.split(' ');
            match (words.next().unwrap_or(""), words.clone().next().unwrap_or("")) {
                ("version", _) => {
                    self.is_greeted = true;
                    reply.push_str("VERSION 1.6.45\r\n");
                }
                ("get", _) => {
                    words.for_each(|key| reply.push_str(&value(key)));
                    reply.push_str("END\r\n");
                }
                ("mg", key) => {
                    reply.push_str("VA 100");
                    let opaques = words.filter(|word| word.starts_with('O'));
                    opaques.for_each(|opaque| reply.extend([" ", opaque]));
                    reply.push_str(&format!("\r\n{}\r\n", hundred(key)));
                }
                ("set", _) => {
                    let bytes = words.nth(3).and_then(|bytes| bytes.parse().ok());
                    used += bytes.unwrap_or(0usize) + 2;
                    if rest.len() < used {
                        break;
                    }
                    reply.push_str("STORED\r\n");
                }
                _ => panic!("the worker asked {line}"),
            }
            rest = &rest[used..];
        }
        let left = rest.len();
        let done = self.asked.len() - left;
        self.asked.drain(..done);
        self.stream.write_all(reply.as_bytes()).expect("the worker reads");
    }
}

impl Peer {
    /// Answers what has arrived, as a Redis that has every key.
    fn serve_resp(&mut self) {
        let mut reply = String::new();
        let mut progress = Progress::default();
        let mut at = 0;
        while let Cut::Request(request) = cut(&self.asked[at..], &Limits::REDIS, &mut progress) {
            let text = |bytes| std::str::from_utf8(bytes).expect("requests are text");
            match request.verb() {
                Some(Verb::Get) => reply.push_str(&bulk(text(request.first))),
                Some(Verb::Mget) => {
                    reply.push_str(&format!("*{}\r\n", request.arguments - 1));
                    request.keys().for_each(|key| reply.push_str(&bulk(text(key.bytes))));
                }
                Some(Verb::Ping) => {
                    self.is_greeted = true;
                    reply.push_str("+PONG\r\n");
                }
                other => panic!("the worker asked {other:?}"),
            }
            at += request.bytes.len();
        }
        self.asked.drain(..at);
        self.stream.write_all(reply.as_bytes()).expect("the worker reads");
    }
}

/// Reads what is there.
fn drain(stream: &mut impl Read, into: &mut Vec<u8>) {
    let mut buf = [0; 64 << 10];
    loop {
        match stream.read(&mut buf) {
            Ok(0) => panic!("the worker closed a connection"),
            Ok(len) => into.extend_from_slice(&buf[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("reading from the worker: {error}"),
        }
    }
}

fn configuration(backends: &[TcpListener], is_redis: bool) -> String {
    let protocol = if is_redis { "redis" } else { "memcached" };
    let mut text = format!(
        "workers = 1\nadmin = false\n[listeners.rig]\naddress = \"127.0.0.1:1\"\n\
         protocol = \"{protocol}\"\n"
    );
    if backends.is_empty() {
        text.push_str("route = \"store\"\n");
        return text;
    }
    let names: Vec<String> = backends
        .iter()
        .map(|listener| format!("\"{}\"", listener.local_addr().expect("it is bound")))
        .collect();
    let names = names.join(", ");
    text.push_str(&format!("[pools.rig]\nprotocol = \"{protocol}\"\nservers = [{names}]\n"));
    text
}

fn hundred(key: &str) -> String {
    format!("{key:-<100}")
}

fn value(key: &str) -> String {
    format!("VALUE {key} 0 100\r\n{}\r\n", hundred(key))
}

fn stored(key: &str) -> String {
    format!("set {key} 0 0 100\r\n{}\r\n", hundred(key))
}

/// A reply that takes more turns than this never comes.
const TURNS_MAX: usize = 50;
