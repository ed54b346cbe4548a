//! A memcached that misbehaves on request: real TCP, one thread for each connection.
//!
//! A test gives a function from what was asked to the steps of the answer. [`Fake::honest`] is the
//! function that answers as memcached would for `get`, `set`, `delete` and `version`, so that a
//! test only writes down where its backend is different.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::port;

/// One request as the fake received it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which connection, counted from 0.
    pub conn: usize,
    /// Which request of that connection, counted from 0; the handshake's `version` counts.
    pub nth: usize,
    /// The line without its end.
    pub line: String,
    /// The value, for commands that carry one.
    pub value: Vec<u8>,
}

impl Asked {
    /// The words of the line.
    pub fn words(&self) -> Vec<&str> {
        self.line.split(' ').filter(|w| !w.is_empty()).collect()
    }

    /// Whether this is the handshake of a new connection.
    pub fn is_version(&self) -> bool {
        self.line == "version"
    }
}

/// What the fake does next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes one by one, each in a segment of its own.
    Trickle(Vec<u8>),
    /// Pauses.
    Wait(Duration),
    /// Closes in order.
    Close,
    /// Closes with a reset.
    Reset,
    /// Never reads or answers again on this connection, and keeps it open.
    Hang,
}

/// Sends a text.
pub fn send(text: impl AsRef<[u8]>) -> Vec<Step> {
    vec![Step::Send(text.as_ref().to_vec())]
}

type Script = Box<dyn Fn(&Asked) -> Vec<Step> + Send + Sync>;

struct Shared {
    script: Script,
    stop: AtomicBool,
    accepted: AtomicUsize,
    log: Mutex<Vec<Asked>>,
}

/// A fake backend. It stops when dropped.
pub struct Fake {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Fake {
    /// Starts a backend that answers with what `script` says, on a free port.
    pub fn start(script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static) -> Fake {
        Fake::start_at(port::local(), script)
    }

    /// Starts it at a given address.
    #[track_caller]
    pub fn start_at(
        addr: SocketAddr,
        script: impl Fn(&Asked) -> Vec<Step> + Send + Sync + 'static,
    ) -> Fake {
        let listener = TcpListener::bind(addr).unwrap_or_else(|e| panic!("binding {addr}: {e}"));
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            stop: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
            log: Mutex::new(Vec::new()),
        });
        let ours = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &ours));
        Fake { addr, shared, acceptor: Some(acceptor) }
    }

    /// A backend that stores and answers like memcached, for the commands that tests use.
    pub fn honest() -> Fake {
        let store = Honest::default();
        Fake::start(move |asked| store.answer(asked))
    }

    /// Everything asked so far, handshakes included, in order of arrival.
    pub fn log(&self) -> Vec<Asked> {
        self.shared.log.lock().expect("no script panics").clone()
    }

    /// The lines asked so far, without handshakes.
    pub fn lines(&self) -> Vec<String> {
        self.log().into_iter().filter(|a| !a.is_version()).map(|a| a.line).collect()
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().expect("accepting never panics");
        }
    }
}

/// The store of an honest fake; scripts use it for what they do not change.
#[derive(Default)]
pub struct Honest {
    items: Mutex<HashMap<String, (String, Vec<u8>)>>,
}

impl Honest {
    /// The right answer to `get`, `gets`, `set`, `delete`, `mg … v`, `ms`, `mn` and `version`.
    pub fn answer(&self, asked: &Asked) -> Vec<Step> {
        let words = asked.words();
        let mut items = self.items.lock().expect("answering never panics");
        let reply = match words.as_slice() {
            ["version", ..] => b"VERSION 1.6.45-fake\r\n".to_vec(),
            ["mn"] => b"MN\r\n".to_vec(),
            ["get" | "gets", keys @ ..] => {
                let mut reply = Vec::new();
                for key in keys {
                    if let Some((flags, value)) = items.get(*key) {
                        reply.extend(format!("VALUE {key} {flags} {}\r\n", value.len()).bytes());
                        reply.extend_from_slice(value);
                        reply.extend(b"\r\n");
                    }
                }
                reply.extend(b"END\r\n");
                reply
            }
            ["mg", key, flags @ ..] => match items.get(*key) {
                None => b"EN\r\n".to_vec(),
                Some((_, value)) => {
                    let echo: Vec<&str> =
                        flags.iter().copied().filter(|f| f.starts_with('O')).collect();
                    let echo: String = echo.iter().map(|f| format!(" {f}")).collect();
                    let mut reply = format!("VA {}{echo}\r\n", value.len()).into_bytes();
                    reply.extend_from_slice(value);
                    reply.extend(b"\r\n");
                    reply
                }
            },
            ["set", key, flags, ..] => {
                items.insert((*key).to_owned(), ((*flags).to_owned(), asked.value.clone()));
                b"STORED\r\n".to_vec()
            }
            ["ms", key, ..] => {
                items.insert((*key).to_owned(), ("0".to_owned(), asked.value.clone()));
                b"HD\r\n".to_vec()
            }
            ["delete", key, ..] => match items.remove(*key) {
                Some(_) => b"DELETED\r\n".to_vec(),
                None => b"NOT_FOUND\r\n".to_vec(),
            },
            _ => b"ERROR\r\n".to_vec(),
        };
        vec![Step::Send(reply)]
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while !shared.stop.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((stream, _)) => {
                let conn = shared.accepted.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(shared);
                threads.push(std::thread::spawn(move || serve(stream, conn, &shared)));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    for thread in threads {
        thread.join().expect("serving never panics");
    }
}

/// One connection, until either side ends it.
struct Conn<'a> {
    stream: TcpStream,
    buffer: Vec<u8>,
    shared: &'a Shared,
}

fn serve(stream: TcpStream, conn: usize, shared: &Shared) {
    let short = Some(Duration::from_millis(20));
    if stream.set_nonblocking(false).is_err() || stream.set_read_timeout(short).is_err() {
        return;
    }
    // A peer that has gone makes either of these fail; reading will say so too.
    let _ = stream.set_nodelay(true);
    let _ = stream.set_write_timeout(short);
    let mut conn_state = Conn { stream, buffer: Vec::new(), shared };
    for nth in 0.. {
        let Some((line, value)) = conn_state.next_request() else { return };
        let asked = Asked { conn, nth, line, value };
        shared.log.lock().expect("no script panics").push(asked.clone());
        for step in (shared.script)(&asked) {
            if !conn_state.act(step) {
                return;
            }
        }
    }
}

impl Conn<'_> {
    fn next_request(&mut self) -> Option<(String, Vec<u8>)> {
        let end = loop {
            if let Some(n) = self.buffer.iter().position(|b| *b == b'\n') {
                break n;
            }
            self.fill()?;
        };
        let rest = self.buffer.split_off(end + 1);
        let line = std::mem::replace(&mut self.buffer, rest);
        let line = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
        let Some(len) = value_bytes(&line) else { return Some((line, Vec::new())) };
        while self.buffer.len() < len + 2 {
            self.fill()?;
        }
        let rest = self.buffer.split_off(len + 2);
        let mut value = std::mem::replace(&mut self.buffer, rest);
        value.truncate(len);
        Some((line, value))
    }

    /// Reads more; `None` when the connection or the test has ended.
    fn fill(&mut self) -> Option<()> {
        let mut chunk = vec![0; 256 << 10];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => {
                    self.buffer.extend_from_slice(&chunk[..n]);
                    return Some(());
                }
                Err(e) if is_pause(e.kind()) => self.running()?,
                Err(_) => return None,
            }
        }
    }

    fn running(&self) -> Option<()> {
        (!self.shared.stop.load(Ordering::SeqCst)).then_some(())
    }

    /// Does one step. Returns whether the connection goes on.
    fn act(&mut self, step: Step) -> bool {
        match step {
            Step::Send(bytes) => self.write(&bytes).is_some(),
            Step::Trickle(bytes) => bytes.chunks(1).all(|b| self.write(b).is_some()),
            Step::Wait(time) => {
                std::thread::sleep(time);
                true
            }
            Step::Close => false,
            Step::Reset => {
                reset(&self.stream);
                false
            }
            Step::Hang => {
                while self.running().is_some() {
                    std::thread::sleep(Duration::from_millis(10));
                }
                false
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if is_pause(e.kind()) => self.running()?,
                Err(_) => return None,
            }
        }
        Some(())
    }
}

fn is_pause(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// The length of the value that follows a line, if one follows.
fn value_bytes(line: &str) -> Option<usize> {
    let words: Vec<&str> = line.split(' ').filter(|w| !w.is_empty()).collect();
    match words.as_slice() {
        ["set" | "add" | "replace" | "append" | "prepend" | "cas", _, _, _, len, ..] => {
            len.parse().ok()
        }
        ["ms", _, len, ..] => len.parse().ok(),
        _ => None,
    }
}

/// Makes the close of `stream` a reset: the kernel drops what is unsent and tells the peer so.
fn reset(stream: &TcpStream) {
    let linger = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    linger.expect("a TCP socket takes a linger time");
}
