//! nutcracker and our personality of it, side by side: what one does, the other must do.
//!
//! Checks that state a fact run three times: against the installed nutcracker, so that the fact is
//! one, and against ours at both levels of compatibility. Where we differ on purpose the check says
//! so. Comparisons run both programs at once on the same file.

mod auth;
mod commands;
mod ejection;
mod failures;
mod grammar;
mod placement;
mod protocol;
mod splits;

use std::net::SocketAddr;

use keyway_testkit::client::Client;
use keyway_testkit::twemproxy::{Nutcracker, Program, pool};
use keyway_testkit::{port, wait_until};

const KEYWAY: &str = env!("CARGO_BIN_EXE_keyway");
const OURS: Program = Program::Ours { binary: KEYWAY, compat: "nutcracker" };
const STRICT: Program = Program::Ours { binary: KEYWAY, compat: "strict" };

/// Tests of one check against all programs: a module with a test for each.
macro_rules! on_each {
    ($($check:ident),* $(,)?) => {
        $(mod $check {
            #[test]
            fn by_the_reference() {
                super::$check(keyway_testkit::twemproxy::Program::Reference);
            }

            #[test]
            fn by_us() {
                super::$check(crate::OURS);
            }

            #[test]
            fn by_us_strictly() {
                super::$check(crate::STRICT);
            }
        })*
    };
}
use on_each;

/// A number from the environment, for longer runs.
fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// One program with one pool.
struct Side {
    nutcracker: Nutcracker,
    addr: SocketAddr,
}

impl Side {
    /// A Redis pool of these server lines; `more` are further directives.
    #[track_caller]
    fn redis(program: Program, more: &str, servers: &[String]) -> Side {
        Side::start(program, &format!("redis: true\n{more}"), servers)
    }

    /// A pool with these directives.
    #[track_caller]
    fn start(program: Program, more: &str, servers: &[String]) -> Side {
        let addr = port::local();
        let yaml = pool("alpha", addr, more, servers);
        Side { nutcracker: Nutcracker::start(program, &yaml, &[addr]), addr }
    }

    fn client(&self) -> Client {
        Client::tcp(self.addr)
    }

    /// Waits until a counter of the statistics has a value: they lag behind what clients see.
    #[track_caller]
    fn counts(&self, path: &[&str], value: i64) {
        wait_until(&format!("{path:?} is {value}"), || self.nutcracker.counter(path) == value);
    }

    /// Sends bytes and, when a reply came, a PING. Returns the reply and whether the connection is
    /// still there for more.
    fn ask(&self, bytes: &[u8]) -> Answer {
        let mut client = self.client();
        client.send(bytes);
        let Some(reply) = client.try_reply() else { return Answer::closed("") };
        let is_open = client.try_send(PING).is_ok() && client.try_reply().is_some();
        if is_open { Answer::Open(reply) } else { Answer::Closed(reply) }
    }

    /// Sends bytes on a connection of their own, followed by a PING. Returns what came before its
    /// answer, and whether the answer came (or else the connection was closed).
    fn probe(&self, bytes: &[u8]) -> Answer {
        let mut client = self.client();
        client.send([bytes, PING].concat());
        let mut replies = Vec::new();
        // A PING that was asked for answers as well: the last reply is the one of ours.
        while let Some(reply) = client.try_reply() {
            replies.push(reply);
            let last = replies.iter().filter(|r| r.as_slice() == b"+PONG\r\n").count();
            if last == 1 + usize::from(bytes.eq_ignore_ascii_case(PING)) {
                replies.pop();
                return Answer::Open(replies.concat());
            }
        }
        Answer::Closed(replies.concat())
    }
}

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// What a client sees.
#[derive(Clone, PartialEq, Eq)]
enum Answer {
    /// These bytes, and the connection goes on.
    Open(Vec<u8>),
    /// These bytes, and then the end.
    Closed(Vec<u8>),
}

impl Answer {
    fn open(text: impl AsRef<[u8]>) -> Answer {
        Answer::Open(text.as_ref().to_vec())
    }

    fn closed(text: impl AsRef<[u8]>) -> Answer {
        Answer::Closed(text.as_ref().to_vec())
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Answer::Open(bytes) => write!(f, "open after {:?}", bytes.escape_ascii().to_string()),
            Answer::Closed(bytes) => {
                write!(f, "closed after {:?}", bytes.escape_ascii().to_string())
            }
        }
    }
}
