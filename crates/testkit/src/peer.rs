//! A server made of a script: real TCP or a Unix socket, one thread for each connection.
//!
//! It knows no protocol. A function cuts complete requests off what arrived, another says what
//! happens for each of them. `fake` and `redis` give it those functions for memcached and Redis.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::port;

/// What a peer does next.
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

/// One request as a peer received it.
#[derive(Clone, Debug)]
pub struct Received {
    /// Which connection, counted from 0.
    pub conn: usize,
    /// Which request of that connection, counted from 0.
    pub nth: usize,
    /// All its bytes.
    pub bytes: Vec<u8>,
}

/// The length of the first request, once it is complete.
pub type Cut = fn(&[u8]) -> Option<usize>;

/// Where a peer listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

type Script = Box<dyn Fn(&Received) -> Vec<Step> + Send + Sync>;

struct Shared {
    cut: Cut,
    script: Script,
    stop: AtomicBool,
    accepted: AtomicUsize,
    open: AtomicUsize,
    keeps: AtomicBool,
    log: Mutex<Vec<Received>>,
    /// What each connection sent in all.
    raw: Mutex<Vec<Vec<u8>>>,
}

/// A scripted server. It stops when dropped.
pub struct Peer {
    place: Place,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Peer {
    /// Listens on a free TCP port.
    #[track_caller]
    pub fn start(
        cut: Cut,
        script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static,
    ) -> Peer {
        Peer::start_at(Place::Tcp(port::local()), cut, script)
    }

    /// Listens at a given place.
    #[track_caller]
    pub fn start_at(
        place: Place,
        cut: Cut,
        script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static,
    ) -> Peer {
        let listener = Listener::bind(&place).unwrap_or_else(|e| panic!("binding {place:?}: {e}"));
        let shared = Arc::new(Shared {
            cut,
            script: Box::new(script),
            stop: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            keeps: AtomicBool::new(true),
            log: Mutex::new(Vec::new()),
            raw: Mutex::new(Vec::new()),
        });
        let ours = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &ours));
        Peer { place, shared, acceptor: Some(acceptor) }
    }

    /// Where it listens.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Stops recording, for long runs in which only the answers matter.
    pub fn forget(&self) {
        self.shared.keeps.store(false, Ordering::SeqCst);
    }

    /// Everything received so far, in order of arrival.
    pub fn log(&self) -> Vec<Received> {
        self.shared.log.lock().expect("no script panics").clone()
    }

    /// All bytes of each connection so far, whether they made up requests or not.
    pub fn raw(&self) -> Vec<Vec<u8>> {
        self.shared.raw.lock().expect("no script panics").clone()
    }

    /// Throws away what was recorded.
    pub fn clear(&self) {
        self.shared.log.lock().expect("no script panics").clear();
        self.shared.raw.lock().expect("no script panics").iter_mut().for_each(Vec::clear);
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().expect("accepting never panics");
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn bind(place: &Place) -> std::io::Result<Listener> {
        match place {
            Place::Tcp(addr) => {
                let listener = TcpListener::bind(addr)?;
                listener.set_nonblocking(true)?;
                Ok(Listener::Tcp(listener))
            }
            Place::Unix(path) => {
                let listener = UnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                Ok(Listener::Unix(listener))
            }
        }
    }

    fn accept(&self) -> std::io::Result<Stream> {
        match self {
            Listener::Tcp(l) => l.accept().map(|(s, _)| Stream::Tcp(s)),
            Listener::Unix(l) => l.accept().map(|(s, _)| Stream::Unix(s)),
        }
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn prepare(&self) -> std::io::Result<()> {
        let short = Some(Duration::from_millis(20));
        match self {
            Stream::Tcp(s) => {
                s.set_nonblocking(false)?;
                s.set_read_timeout(short)?;
                s.set_write_timeout(short)?;
                s.set_nodelay(true)
            }
            Stream::Unix(s) => {
                s.set_nonblocking(false)?;
                s.set_read_timeout(short)?;
                s.set_write_timeout(short)
            }
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(s) => s.read(buf),
            Stream::Unix(s) => s.read(buf),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(s) => s.write(bytes),
            Stream::Unix(s) => s.write(bytes),
        }
    }

    /// Makes the close a reset: the kernel drops what is unsent and tells the peer so.
    fn reset(&self) {
        if let Stream::Tcp(s) = self {
            let linger = rustix::net::sockopt::set_socket_linger(s, Some(Duration::ZERO));
            linger.expect("a TCP socket takes a linger time");
        }
    }
}

fn accept(listener: &Listener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while !shared.stop.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok(stream) => {
                let conn = shared.accepted.fetch_add(1, Ordering::SeqCst);
                shared.open.fetch_add(1, Ordering::SeqCst);
                shared.raw.lock().expect("no script panics").push(Vec::new());
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
    stream: Stream,
    index: usize,
    input: Vec<u8>,
    /// How much of the input has been cut off.
    used: usize,
    output: Vec<u8>,
    shared: &'a Shared,
}

fn serve(stream: Stream, index: usize, shared: &Shared) {
    if stream.prepare().is_ok() {
        let mut conn =
            Conn { stream, index, input: Vec::new(), used: 0, output: Vec::new(), shared };
        conn.live();
    }
    shared.open.fetch_sub(1, Ordering::SeqCst);
}

impl Conn<'_> {
    fn live(&mut self) {
        for nth in 0.. {
            let Some(bytes) = self.next_request() else { return };
            let received = Received { conn: self.index, nth, bytes };
            let keeps = self.shared.keeps.load(Ordering::SeqCst);
            let kept = keeps.then(|| received.clone());
            self.shared.log.lock().expect("no script panics").extend(kept);
            for step in (self.shared.script)(&received) {
                if self.act(step).is_none() {
                    return;
                }
            }
        }
    }

    fn next_request(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(len) = (self.shared.cut)(&self.input[self.used..]) {
                let bytes = self.input[self.used..self.used + len].to_vec();
                self.used += len;
                return Some(bytes);
            }
            self.flush()?;
            self.fill()?;
        }
    }

    /// Reads more; `None` when the connection or the test has ended.
    fn fill(&mut self) -> Option<()> {
        self.input.drain(..self.used);
        self.used = 0;
        let mut chunk = vec![0; 256 << 10];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => {
                    self.input.extend_from_slice(&chunk[..n]);
                    if self.shared.keeps.load(Ordering::SeqCst) {
                        let mut raw = self.shared.raw.lock().expect("no script panics");
                        raw[self.index].extend_from_slice(&chunk[..n]);
                    }
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

    /// Does one step. `None` when the connection is over.
    fn act(&mut self, step: Step) -> Option<()> {
        // Replies of one reception travel together; everything else happens after them.
        if let Step::Send(bytes) = step {
            self.output.extend_from_slice(&bytes);
            return Some(());
        }
        self.flush()?;
        match step {
            Step::Send(_) => {}
            Step::Trickle(bytes) => bytes.chunks(1).try_for_each(|b| self.write(b))?,
            Step::Wait(time) => std::thread::sleep(time),
            Step::Close => return None,
            Step::Reset => {
                self.stream.reset();
                return None;
            }
            Step::Hang => {
                while self.running().is_some() {
                    std::thread::sleep(Duration::from_millis(10));
                }
                return None;
            }
        }
        Some(())
    }

    fn flush(&mut self) -> Option<()> {
        let output = std::mem::take(&mut self.output);
        self.write(&output)
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
