//! The accepting thread: delivery, pausing, removal and the end.
//!
//! Clients are plain sockets; what is accepted arrives through a channel, as it would in a worker's
//! mailbox.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use keyway_engine::{
    Accepted, Acceptor, Keepalive, ListenAddress, ListenOptions, ListenSocket, Peer, listen,
};
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

fn listener() -> (ListenSocket, SocketAddr) {
    let address = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
    let listener = listen(&address, &ListenOptions::default()).unwrap();
    let address = listener.local_address().unwrap();
    (listener, address)
}

fn next(accepted: &Receiver<Accepted>) -> Accepted {
    accepted.recv_timeout(Duration::from_secs(20)).expect("a connection is accepted")
}

fn nothing(accepted: &Receiver<Accepted>) -> bool {
    accepted.recv_timeout(Duration::from_millis(100)).is_err()
}

#[test]
fn accepts_from_several_listeners_and_names_the_peer() {
    let (sender, accepted) = channel();
    let keepalive = Some(Keepalive { idle_s: 30, interval_s: 10, probes: 3 });
    let acceptor = Acceptor { keepalive, user_timeout_ms: 10_000 };
    let handle = acceptor.spawn(move |accepted| drop(sender.send(accepted))).unwrap();
    let (first, first_address) = listener();
    let path = std::env::temp_dir().join(format!("keyway-acceptor-{}", std::process::id()));
    let unix = ListenAddress::Unix { path: path.clone(), mode: 0o700 };
    let second = listen(&unix, &ListenOptions::default()).unwrap();
    handle.add(1, first);
    handle.add(2, second);
    let client = TcpStream::connect(first_address).unwrap();
    let got = next(&accepted);
    assert_eq!((got.listener, got.peer), (1, Peer::Tcp(client.local_addr().unwrap())));
    assert_eq!(got.socket.peer(), Some(got.peer));
    let _local = UnixStream::connect(&path).unwrap();
    let got = next(&accepted);
    assert_eq!((got.listener, got.peer), (2, Peer::Unix));
    handle.stop();
    assert!(UnixStream::connect(&path).is_err(), "the end of the thread closes its listeners");
    // The abandoned socket file does not hinder the next start; another file would.
    drop(listen(&unix, &ListenOptions::default()).unwrap());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    assert!(listen(&unix, &ListenOptions::default()).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn pauses_resumes_and_forgets() {
    let (sender, accepted) = channel();
    let handle = Acceptor::default().spawn(move |accepted| drop(sender.send(accepted))).unwrap();
    let (first, address) = listener();
    handle.add(1, first);
    let _one = TcpStream::connect(address).unwrap();
    next(&accepted);
    handle.pause();
    // A listener that comes during a pause is paused as well.
    let (second, second_address) = listener();
    handle.add(2, second);
    assert!(nothing(&accepted));
    let _two = TcpStream::connect(address).unwrap();
    let _three = TcpStream::connect(second_address).unwrap();
    assert!(nothing(&accepted));
    handle.resume();
    let mut tags = [next(&accepted).listener, next(&accepted).listener];
    tags.sort_unstable();
    assert_eq!(tags, [1, 2]);
    handle.remove(1);
    // Its place is free again and serves the next one.
    let (third, third_address) = listener();
    handle.add(3, third);
    let _four = TcpStream::connect(third_address).unwrap();
    assert_eq!(next(&accepted).listener, 3);
    assert!(TcpStream::connect(address).is_err());
    handle.clone().stop();
    handle.stop();
    let refused = TcpStream::connect(third_address).map(|mut stream| stream.read(&mut [0]));
    assert!(refused.is_err());
}

#[test]
fn an_address_in_use_is_an_error() {
    let (_taken, address) = listener();
    let error = listen(&ListenAddress::Tcp(address), &ListenOptions::default()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    let shared = ListenOptions { reuse_port: true, ..ListenOptions::default() };
    let anywhere = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
    let first = listen(&anywhere, &shared).unwrap();
    let same = ListenAddress::Tcp(first.local_address().unwrap());
    let _second = listen(&same, &shared).expect("both asked to share the port");
}
