//! A redis-server of one test, on a socket in a directory of its own.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keyway_proto::resp::reply::{Fed, Follow};
use keyway_proto::resp::{Version, render};

/// Long enough for a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server; it ends with the value.
pub struct Server {
    child: Child,
    folder: PathBuf,
}

impl Server {
    /// Starts one; `None` when none is installed, or one whose facts may differ.
    pub fn start(name: &str) -> Option<Self> {
        let version = Command::new("redis-server").arg("--version").output().ok()?;
        if !String::from_utf8_lossy(&version.stdout).contains("v=7.0.") {
            return None;
        }
        let folder = std::env::temp_dir().join(format!("kw-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the folder for temporary files is writable");
        let child = Command::new("redis-server")
            .args([
                "--enable-debug-command",
                "yes",
                "--port",
                "0",
                "--save",
                "",
                "--unixsocket",
                "s",
                "--dir",
            ])
            .arg(&folder)
            .current_dir(&folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server was found a moment ago");
        Some(Self { child, folder })
    }

    pub fn connect(&self) -> Peer {
        let begun = Instant::now();
        loop {
            match UnixStream::connect(self.folder.join("s")) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
                    return Peer { stream, bytes: Vec::new() };
                }
                Err(error) => assert!(begun.elapsed() < PATIENCE, "redis-server starts: {error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A connection to the server.
pub struct Peer {
    stream: UnixStream,
    bytes: Vec<u8>,
}

impl Peer {
    pub fn ask(&mut self, arguments: &[&[u8]]) -> Vec<u8> {
        let mut request = Vec::new();
        render::request(&mut request, arguments);
        self.send(&request);
        self.reply().expect("the server answers and stays")
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // The server may have closed already because of what came before.
        let _ = self.stream.write_all(bytes);
    }

    /// Sends `bytes` and nothing more, and returns all that the server says to them.
    pub fn exchange(mut self, bytes: &[u8]) -> Vec<u8> {
        self.send(bytes);
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        match self.stream.read_to_end(&mut answer) {
            Ok(_) => answer,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => answer,
            Err(error) => panic!("redis-server closes: {error}"),
        }
    }

    /// Sends `bytes` and returns all that the server says until it has said `end`.
    pub fn exchange_slowly(mut self, bytes: &[u8], end: &[u8]) -> Vec<u8> {
        self.send(bytes);
        let mut answer = Vec::new();
        let mut more = [0; 64 * 1024];
        while !answer.ends_with(end) {
            match self.stream.read(&mut more) {
                Ok(count @ 1..) => answer.extend_from_slice(&more[..count]),
                other => panic!("redis-server says everything: {other:?}"),
            }
        }
        answer
    }

    /// The next reply; `None` when the server has closed instead.
    pub fn reply(&mut self) -> Option<Vec<u8>> {
        let mut follow = Follow::new(Version::Two);
        let mut fed = 0;
        loop {
            match follow.feed(&self.bytes[fed..]) {
                Fed::Complete(bytes) => {
                    return Some(self.bytes.drain(..fed + bytes).collect());
                }
                Fed::Partial => fed = self.bytes.len(),
                Fed::Malformed => panic!("redis-server speaks RESP"),
            }
            let mut more = [0; 64 * 1024];
            match self.stream.read(&mut more) {
                Ok(0) => return None,
                Ok(count) => self.bytes.extend_from_slice(&more[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("redis-server answers: {error}"),
            }
        }
    }
}

/// The elements of a reply that is an array.
pub fn elements(reply: &[u8]) -> Vec<&[u8]> {
    let elements = keyway_proto::resp::reply::elements(reply, Version::Two);
    elements.expect("the reply is an array").collect()
}

/// The text of a reply that is a string of either kind.
pub fn text(reply: &[u8]) -> &str {
    let text = keyway_proto::resp::reply::text(reply).expect("the reply is a string");
    std::str::from_utf8(text).expect("redis-server's names are text")
}
