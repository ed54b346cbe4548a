//! A blocking client that talks in bytes, over TCP or a Unix socket.
//!
//! It knows no protocol beyond line ends: tests say what they send and what they expect. Every read
//! gives up after [`PATIENCE`] with what had arrived until then.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::PATIENCE;

/// One connection to a server under test.
pub struct Client {
    stream: Stream,
    read: Vec<u8>,
    at: usize,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Client {
    /// Connects over TCP. Panics when nobody listens.
    #[track_caller]
    pub fn tcp(addr: SocketAddr) -> Client {
        Client::try_tcp(addr).unwrap_or_else(|e| panic!("connecting to {addr}: {e}"))
    }

    /// Connects over TCP.
    pub fn try_tcp(addr: SocketAddr) -> std::io::Result<Client> {
        Ok(Client::from_tcp(TcpStream::connect_timeout(&addr, PATIENCE)?))
    }

    /// Goes on with a connection that is open already.
    pub fn from_tcp(stream: TcpStream) -> Client {
        // Each of these fails only when the peer has gone, which the first read will say better.
        let _ = stream.set_nonblocking(false);
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_write_timeout(Some(PATIENCE));
        Client { stream: Stream::Tcp(stream), read: Vec::new(), at: 0 }
    }

    /// Connects to a Unix socket. Panics when nobody listens.
    #[track_caller]
    pub fn unix(path: &Path) -> Client {
        let stream = UnixStream::connect(path)
            .unwrap_or_else(|e| panic!("connecting to {}: {e}", path.display()));
        stream.set_read_timeout(Some(PATIENCE)).expect("a fresh socket takes a timeout");
        Client { stream: Stream::Unix(stream), read: Vec::new(), at: 0 }
    }

    /// Sends all of `bytes`.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes.as_ref()).expect("the server takes what we send");
    }

    /// Sends all of `bytes` unless the connection is gone.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(s) => s.write_all(bytes),
            Stream::Unix(s) => s.write_all(bytes),
        }
    }

    /// Sends what the kernel takes now; returns how many bytes that were, 0 when it takes none, and
    /// `None` when the connection was closed.
    pub fn send_some(&mut self, bytes: &[u8]) -> Option<usize> {
        let Stream::Tcp(stream) = &mut self.stream else { panic!("only over TCP") };
        stream.set_nonblocking(true).expect("a socket can be made non-blocking");
        let sent = match stream.write(bytes) {
            Ok(n) => Some(n),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Some(0),
            Err(e) if is_close(e.kind()) => None,
            Err(e) => panic!("sending: {e}"),
        };
        stream.set_nonblocking(false).expect("a socket can be made blocking");
        sent
    }

    /// The next `len` bytes.
    #[track_caller]
    pub fn take(&mut self, len: usize) -> Vec<u8> {
        let taken = self.try_take(len);
        taken.unwrap_or_else(|| panic!("closed after {:?}, wanted {len} bytes", self.rest()))
    }

    /// The next `len` bytes, or `None` when the connection ends before.
    pub fn try_take(&mut self, len: usize) -> Option<Vec<u8>> {
        while self.read.len() - self.at < len {
            if self.fill() == 0 {
                return None;
            }
        }
        let bytes = self.read[self.at..self.at + len].to_vec();
        self.at += len;
        Some(bytes)
    }

    /// What has been received and not been taken.
    pub fn waiting(&self) -> &[u8] {
        &self.read[self.at..]
    }

    /// Reads once. Returns how much is waiting then, the same as before at the end of the stream.
    pub fn wait_for_more(&mut self) -> usize {
        self.fill();
        self.waiting().len()
    }

    /// Reads what is there without waiting. `None` when nothing is, 0 at the end of the stream, and
    /// else how much was read.
    pub fn try_more(&mut self) -> Option<usize> {
        let Stream::Tcp(stream) = &mut self.stream else { panic!("only over TCP") };
        stream.set_nonblocking(true).expect("a socket can be made non-blocking");
        let mut buf = [0; 64 << 10];
        let result = stream.read(&mut buf);
        stream.set_nonblocking(false).expect("a socket can be made blocking");
        match result {
            Ok(n) => {
                self.read.extend_from_slice(&buf[..n]);
                Some(n)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => None,
            Err(e) if is_close(e.kind()) => Some(0),
            Err(e) => panic!("reading: {e}"),
        }
    }

    /// The next line, without its end.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.try_line().unwrap_or_else(|| panic!("closed after {:?}, wanted a line", self.rest()))
    }

    /// The next line without its end, or `None` when the connection ends before one is complete.
    pub fn try_line(&mut self) -> Option<String> {
        let mut searched = self.at;
        loop {
            if let Some(n) = self.read[searched..].iter().position(|b| *b == b'\n') {
                let line = &self.read[self.at..searched + n];
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let line = String::from_utf8_lossy(line).into_owned();
                self.at = searched + n + 1;
                return Some(line);
            }
            let scanned = self.read.len() - self.at;
            if self.fill() == 0 {
                return None;
            }
            searched = self.at + scanned;
        }
    }

    /// Lines up to and with the first that is `last`.
    #[track_caller]
    pub fn lines_until(&mut self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|l| l != last) {
            lines.push(self.line());
        }
        lines
    }

    /// Asserts that exactly `expected` comes next.
    #[track_caller]
    pub fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        while self.read.len() - self.at < expected.len() {
            let have = &self.read[self.at..];
            let fits = expected.starts_with(have);
            assert!(fits, "got {:?}, wanted {:?}", show(have), show(expected));
            let got = self.fill();
            assert!(got > 0, "closed after {:?}, wanted {:?}", self.rest(), show(expected));
        }
        let got = self.take(expected.len());
        assert!(got == expected, "got {:?}, wanted {:?}", show(&got), show(expected));
    }

    /// Sends `request` and asserts that exactly `reply` comes back.
    #[track_caller]
    pub fn ask(&mut self, request: impl AsRef<[u8]>, reply: impl AsRef<[u8]>) {
        self.send(request);
        self.expect(reply);
    }

    /// Asserts that the server closes without another byte. A reset counts as closing.
    #[track_caller]
    pub fn expect_close(&mut self) {
        let got = self.fill();
        assert!(got == 0 && self.at == self.read.len(), "still open, sent {:?}", self.rest());
    }

    /// Everything up to the close.
    pub fn drain(&mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        let rest = self.read[self.at..].to_vec();
        self.at = self.read.len();
        rest
    }

    /// Says that we send no more, and goes on reading.
    pub fn finish_sending(&mut self) {
        self.try_finish_sending().expect("an open connection can be shut down");
    }

    /// Says that we send no more, unless the connection is gone already.
    pub fn try_finish_sending(&mut self) -> std::io::Result<()> {
        match &self.stream {
            Stream::Tcp(s) => s.shutdown(Shutdown::Write),
            Stream::Unix(s) => s.shutdown(Shutdown::Write),
        }
    }

    /// The address of our side. Panics for Unix sockets.
    pub fn local_addr(&self) -> SocketAddr {
        let Stream::Tcp(stream) = &self.stream else { panic!("only over TCP") };
        stream.local_addr().expect("a connected socket has an address")
    }

    /// Reads once. Returns 0 at the end of the stream; panics when nothing comes for too long.
    #[track_caller]
    fn fill(&mut self) -> usize {
        if self.at == self.read.len() {
            self.read.clear();
            self.at = 0;
        } else if self.at > 1 << 20 {
            self.read.drain(..self.at);
            self.at = 0;
        }
        let old = self.read.len();
        self.read.resize(old + (64 << 10), 0);
        let mut read = || match &mut self.stream {
            Stream::Tcp(s) => s.read(&mut self.read[old..]),
            Stream::Unix(s) => s.read(&mut self.read[old..]),
        };
        let mut result = read();
        // A wait with a limit is interrupted when the machine is held for a moment.
        while result.as_ref().is_err_and(|e| e.kind() == ErrorKind::Interrupted) {
            result = read();
        }
        let got = match result {
            Ok(n) => n,
            Err(e) if is_close(e.kind()) => 0,
            Err(e) => {
                self.read.truncate(old);
                panic!("nothing more after {:?}: {e}", self.rest())
            }
        };
        self.read.truncate(old + got);
        got
    }

    fn rest(&self) -> String {
        show(&self.read[self.at..])
    }
}

fn is_close(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted
    )
}

/// Bytes as a person reads them, cut to a bearable length.
pub fn show(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(300)];
    let more =
        if cut.len() < bytes.len() { format!("… ({} bytes)", bytes.len()) } else { "".into() };
    format!("{}{more}", cut.escape_ascii())
}
