//! The least a proxy on this engine can do, as a yardstick for the engine itself.
//!
//! All clients share one backend connection. Requests are counted by their line ends and passed on;
//! every reply is as long as the first one was, so nothing is parsed. Only gets of values of one
//! size can pass through it.
//!
//!     forward PORT BACKEND_PORT epoll|io_uring

use keyway_engine::{
    Address, Choice, Chunk, ConnId, ConnectOptions, Engine, Event, ListenAddress, ListenOptions,
    Options, listen,
};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// The tag of the connection to the backend; clients have 0.
const BACKEND: u64 = 1;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, port, backend, choice] = &arguments[..] else {
        eprintln!("usage: forward PORT BACKEND_PORT epoll|io_uring");
        std::process::exit(2);
    };
    let local = |port: &str| {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().expect("a port is a number")))
    };
    let backend = local(backend);
    let choice = if choice == "io_uring" { Choice::Uring } else { Choice::Epoll };
    let (mut engine, refusal) =
        Engine::new(choice, Options::default()).expect("the system has descriptors left");
    if let Some(refusal) = refusal {
        eprintln!("{refusal}");
    }
    let listener = listen(&ListenAddress::Tcp(local(port)), &ListenOptions::default())
        .expect("the port is free");
    engine.add_listener(listener, 0).expect("a listener can be watched");
    let reply_bytes = reply_length(backend);
    let server = engine.connect(&Address::Tcp(backend), &ConnectOptions::default(), BACKEND);
    serve(&mut engine, server, reply_bytes);
}

/// Asks the backend once, to learn how long a reply is.
fn reply_length(backend: SocketAddr) -> usize {
    let mut stream = TcpStream::connect(backend).expect("the backend listens");
    stream.write_all(b"get k:00000000000000\r\n").expect("the backend takes a request");
    stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout can be set");
    let mut reply = vec![0; 4 << 20];
    let mut length = 0;
    while let Ok(count @ 1..) = stream.read(&mut reply[length..]) {
        length += count;
    }
    length
}

/// A client and how many bytes it is owed.
type Owed = VecDeque<(ConnId, usize)>;

fn serve(engine: &mut Engine, server: ConnId, reply_bytes: usize) {
    // In the order of the requests.
    let mut owed = Owed::new();
    loop {
        engine.poll(None).expect("the kernel waits for us");
        while let Some(event) = engine.next() {
            match event {
                Event::Received { conn, tag: BACKEND, chunk } => {
                    deliver(engine, conn, &mut owed, &chunk);
                }
                Event::Received { conn, chunk, .. } => {
                    let requests = chunk.iter().filter(|byte| **byte == b'\n').count();
                    engine.write(server, &chunk);
                    owed.push_back((conn, requests * reply_bytes));
                }
                Event::Closed { tag: BACKEND, .. } => return,
                _ => {}
            }
            if engine.unflushed() > 128 << 10 {
                engine.flush();
            }
        }
        engine.flush();
    }
}

/// Shares out what the backend sent.
fn deliver(engine: &mut Engine, server: ConnId, owed: &mut Owed, chunk: &Chunk) {
    let mut at = 0;
    while at < chunk.len() {
        let (client, missing) = owed.front_mut().expect("every reply answers a request");
        let count = (*missing).min(chunk.len() - at);
        engine.write_chunk(*client, chunk, at..at + count);
        at += count;
        *missing -= count;
        if *missing == 0 {
            owed.pop_front();
        } else if *missing > 16 << 10 {
            engine.expect(server, *missing);
        }
    }
}
