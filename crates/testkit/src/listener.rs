//! A backend whose bytes the test itself writes and reads, step by step.
//!
//! It differs from `fake` in who leads: there a function answers, here the test decides after each
//! step what comes next. Handshakes (`version`) are answered by themselves.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::{PATIENCE, port};

/// A backend on a free port with one connection at a time.
pub struct Scripted {
    /// Where it listens.
    pub addr: SocketAddr,
    listener: TcpListener,
    conn: Option<Client>,
}

impl Scripted {
    /// Listens. A connection is taken when the first step needs one.
    pub fn new() -> Scripted {
        let addr = port::local();
        let listener = TcpListener::bind(addr).expect("the port is free");
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        Scripted { addr, listener, conn: None }
    }

    /// Takes the next connection and answers its handshake.
    #[track_caller]
    pub fn accept(&mut self) {
        let begin = Instant::now();
        let stream: TcpStream = loop {
            if let Ok((stream, _)) = self.listener.accept() {
                break stream;
            }
            assert!(begin.elapsed() < PATIENCE, "nobody connects to the backend");
            std::thread::sleep(Duration::from_millis(2));
        };
        let mut client = Client::from_tcp(stream);
        client.expect("version\r\n");
        client.send("VERSION 1.6.45-scripted\r\n");
        self.conn = Some(client);
    }

    /// The connection, taken if there is none yet.
    #[track_caller]
    fn conn(&mut self) -> &mut Client {
        if self.conn.is_none() {
            self.accept();
        }
        self.conn.as_mut().expect("accepted above")
    }

    /// Asserts that exactly `bytes` come next.
    #[track_caller]
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        self.conn().expect(bytes);
    }

    /// The next line asked.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.conn().line()
    }

    /// Sends `bytes`.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.conn().send(bytes);
    }

    /// Closes the connection; the next step takes a new one.
    pub fn close(&mut self) {
        self.conn = None;
    }

    /// Asserts that the other side closes the connection, whatever it sends before.
    #[track_caller]
    pub fn expect_close(&mut self) {
        self.conn().drain();
        self.conn = None;
    }
}

impl Default for Scripted {
    fn default() -> Self {
        Scripted::new()
    }
}
