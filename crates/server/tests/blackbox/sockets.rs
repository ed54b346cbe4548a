//! Ways to connect other than TCP over IPv4.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use keyway_testkit::client::Client;
use keyway_testkit::process::{Keyway, Process, Scratch, find};
use keyway_testkit::{PATIENCE, port, wait_until};

use crate::{Embedded, KEYWAY, personality};

const SET: &str = "set a 0 0 1\r\nx\r\n";
const FOUND: &str = "VALUE a 0 1\r\nx\r\nEND\r\n";

#[test]
fn unix_sockets_have_their_mode_and_go_with_the_process() {
    let scratch = Scratch::new();
    let path = scratch.file("socket");
    // A file that a crashed process left behind is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("the folder is writable"));
    let path_text = path.to_str().expect("a readable path");
    let mut command = personality();
    command.args(["-s", path_text, "-a", "0750", "-u", "root"]);
    let mut process = Process::start(&mut command);
    wait_until("the socket answers", || {
        assert!(process.is_running(), "{}", process.output());
        std::os::unix::net::UnixStream::connect(&path).is_ok()
    });
    let mode = std::fs::metadata(&path).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o750);
    let mut client = Client::unix(&path);
    client.ask(SET, "STORED\r\n");
    Client::unix(&path).ask("get a\r\n", FOUND);
    process.signal("TERM");
    process.wait();
    assert!(!path.exists(), "the file is gone");
}

#[test]
fn listeners_and_backends_may_be_ipv6_or_unix() {
    let scratch = Scratch::new();
    let path = scratch.file("backend");
    let path_text = path.to_str().expect("a readable path").to_owned();
    let mut command = Command::new(find("memcached"));
    let _backend = Process::start(command.args(["-s", &path_text, "-u", "root"]));
    wait_until("the backend listens", || path.exists());
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, port::free()));
    let mut command = Command::new(find("memcached"));
    command.args(["-l", "::1", "-p", &six.port().to_string(), "-U", "0", "-u", "root"]);
    let mut second = Process::start(&mut command);
    second.wait_for_listener(six);
    let addr = SocketAddr::from((Ipv6Addr::LOCALHOST, port::free()));
    let own = scratch.file("front");
    let text = format!(
        "[listeners.main]\naddress = [\"{addr}\", \"unix:{}\"]\n\
         [pools.main]\nservers = [\"unix:{path_text}\", \"{six}\"]\n",
        own.display()
    );
    let _keyway = Keyway::start(KEYWAY, &text);
    let mut tcp = Client::tcp(addr);
    let mut unix = Client::unix(&own);
    for n in 0..50 {
        tcp.ask(format!("set k{n} 0 0 1\r\nx\r\n"), "STORED\r\n");
        unix.ask(format!("get k{n}\r\n"), format!("VALUE k{n} 0 1\r\nx\r\nEND\r\n"));
    }
}

/// A frame: request id, sequence number, datagrams in all, and a reserved field.
fn frame(id: u16, text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [id, 0, 1, 0] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(text.bytes());
    bytes
}

/// Asks over UDP and puts the datagrams of the reply together.
fn ask(socket: &UdpSocket, id: u16, text: &str) -> String {
    socket.send(&frame(id, text)).expect("loopback takes datagrams");
    let mut parts: Vec<Option<Vec<u8>>> = vec![None];
    let mut buffer = [0; 65536];
    while parts.iter().any(Option::is_none) {
        let len = socket.recv(&mut buffer).expect("a reply comes");
        let field = |n: usize| u16::from_be_bytes([buffer[2 * n], buffer[2 * n + 1]]);
        assert_eq!(field(0), id, "the reply is to our request");
        parts.resize(field(2) as usize, None);
        parts[field(1) as usize] = Some(buffer[8..len].to_vec());
    }
    let whole: Vec<u8> = parts.into_iter().flatten().flatten().collect();
    String::from_utf8(whole).expect("replies are text")
}

#[test]
fn the_store_answers_over_udp() {
    let udp = port::local();
    let server = Embedded::start(&["-U", &udp.port().to_string()]);
    server.client().ask(SET, "STORED\r\n");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time limit");
    socket.connect(udp).expect("a datagram socket can be connected");
    assert_eq!(ask(&socket, 1, "get a\r\n"), FOUND);
    assert_eq!(ask(&socket, 2, "set b 0 0 2\r\nhi\r\n"), "STORED\r\n");
    assert_eq!(ask(&socket, 3, "get b\r\n"), "VALUE b 0 2\r\nhi\r\nEND\r\n");
    let value = "v".repeat(5000);
    server.client().ask(format!("set long 0 0 5000\r\n{value}\r\n"), "STORED\r\n");
    assert_eq!(ask(&socket, 4, "get long\r\n"), format!("VALUE long 0 5000\r\n{value}\r\nEND\r\n"));
    // Too short for a frame: dropped, and the next one is answered.
    socket.send(b"abc").expect("loopback takes datagrams");
    assert_eq!(ask(&socket, 5, "get a\r\n"), FOUND);
}

#[test]
fn several_addresses_and_the_port_file() {
    let scratch = Scratch::new();
    let file = scratch.file("ports");
    let (first, second) = (port::free(), port::free());
    let mut command = personality();
    command.env("MEMCACHED_PORT_FILENAME", &file);
    command.args(["-l", &format!("127.0.0.1:{first},127.0.0.2:{second}"), "-u", "root"]);
    let mut process = Process::start(&mut command);
    let first = SocketAddr::from(([127, 0, 0, 1], first));
    let second = SocketAddr::from(([127, 0, 0, 2], second));
    process.wait_for_listener(first);
    process.wait_for_listener(second);
    Client::tcp(first).ask(SET, "STORED\r\n");
    Client::tcp(second).ask("get a\r\n", FOUND);
    wait_until("the port file is written", || file.exists());
    let text = std::fs::read_to_string(&file).expect("the file is there");
    let ports: Vec<String> =
        [first, second].iter().map(|a| format!("TCP INET: {}", a.port())).collect();
    assert!(ports.iter().all(|p| text.lines().any(|l| l == p)), "{text}");
}
