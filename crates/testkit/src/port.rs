//! Ports that no other test uses, now or while this process lives.
//!
//! Binding port 0 and letting go of it is not enough: the kernel may hand the same number to the
//! next connection of any process. So ports come from below the range of such connections, and each
//! one is kept by a lock on a small file that all test processes agree on.

use std::fs::{self, File};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the usual range of ephemeral ports (32768 and up), above the well-known ones.
const FIRST: u32 = 14_000;
const COUNT: u32 = 16_000;

static NEXT: AtomicU32 = AtomicU32::new(0);
static KEPT: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port on which nothing listens, TCP or UDP, IPv4 or IPv6. It stays ours until the process ends.
pub fn free() -> u16 {
    let dir = std::env::temp_dir().join("keyway-test-ports");
    fs::create_dir_all(&dir).expect("the temporary folder is writable");
    // Processes begin at different places so that they rarely meet.
    let start = std::process::id().wrapping_mul(7919);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + start.wrapping_add(step) % COUNT) as u16;
        let Ok(lock) = File::create(dir.join(port.to_string())) else { continue };
        if lock.try_lock().is_ok() && is_unused(port) {
            KEPT.lock().expect("no test panics while it takes a port").push(lock);
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

/// A free port on 127.0.0.1.
pub fn local() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free()))
}

fn is_unused(port: u16) -> bool {
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let has_v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    TcpListener::bind(v4).is_ok()
        && UdpSocket::bind(v4).is_ok()
        && (!has_v6 || TcpListener::bind(v6).is_ok())
}
