//! A memcached to compare with: a process of its own on a free port of this machine.
//!
//! It is started for each stream and stopped when the test is done with it, whatever happens. Its
//! background threads are turned off, because they change items at times of their own.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The program to compare with, if there is one.
pub fn program() -> Option<OsString> {
    if let Some(program) = std::env::var_os("KEYWAY_MEMCACHED") {
        return Some(program);
    }
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).find(|dir| dir.join("memcached").is_file());
    found.map(|dir| dir.join("memcached").into())
}

/// A running memcached and one connection to it. Stopped when dropped.
pub struct Memcached {
    child: Child,
    port: u16,
    stream: TcpStream,
    version: String,
    exchanges: u64,
}

impl Drop for Memcached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Memcached {
    pub fn start(program: impl AsRef<Path>) -> Memcached {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Without its background threads, which move and pad items at times of their own.
        let options = "no_lru_maintainer,no_lru_crawler,no_slab_automove,no_slab_reassign";
        let child = Command::new(program.as_ref())
            .args(["-l", "127.0.0.1", "-U", "0", "-t", "1", "-u", "root", "-o", options])
            .args(["-p", &port.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("memcached starts");
        let stream = connect(port);
        let mut memcached = Memcached { child, port, stream, version: String::new(), exchanges: 0 };
        let reply = memcached.exchange(b"version\r\n");
        let text = String::from_utf8(reply).unwrap();
        // The streams name small CAS numbers: no item may have got one of those by itself.
        memcached.exchange("set warm 0 0 1 noreply\r\nx\r\n".repeat(100).as_bytes());
        memcached.exchange(b"delete warm\r\n");
        memcached.version = text.trim().trim_start_matches("VERSION ").to_owned();
        memcached
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    /// Everything that is answered to `bytes`, up to the close if there is one; the next exchange
    /// is then on a new connection.
    pub fn exchange(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.exchanges += 1;
        // A value that is never found in the stream: its miss marks the end of the replies.
        let end = format!("EN Oend{}\r\n", self.exchanges);
        let probe = format!("mg nothing-is-ever-stored-here Oend{}\r\n", self.exchanges);
        // The server may close before it has read everything: that is seen when reading.
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.write_all(probe.as_bytes()));
        let mut replies = Vec::new();
        let mut buf = vec![0; 1 << 20];
        loop {
            match self.stream.read(&mut buf) {
                Ok(count) if count > 0 => replies.extend_from_slice(&buf[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("no reply to {} (got {})", super::show(bytes), super::show(&replies))
                }
                _ => {
                    self.stream = connect(self.port);
                    replies.extend_from_slice(b"(closed)\r\n");
                    return replies;
                }
            }
            if replies.ends_with(end.as_bytes()) {
                replies.truncate(replies.len() - end.len());
                return replies;
            }
        }
    }
}

fn connect(port: u16) -> TcpStream {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => {
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                return stream;
            }
            Err(error) => assert!(Instant::now() < give_up, "connecting to memcached: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
