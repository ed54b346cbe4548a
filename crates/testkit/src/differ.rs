//! Two servers, one stream of commands: are the answers the same, byte for byte?
//!
//! Commands go out in rounds; each round ends with a get whose opaque is unique, so that the end of
//! its replies is certain even when a command before it was broken. What two right servers may say
//! differently is made equal first; see `replies`.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use crate::client::show;
use crate::commands::{Commands, Features};
use crate::process::{Process, find};
use crate::replies::{Learned, normal};
use crate::{PATIENCE, port};

/// Arguments of memcached without its background threads: those hold references to items while they
/// move them, and that decides how a count is padded, so two runs of memcached itself would differ.
pub const STEADY: [&str; 2] =
    ["-o", "no_lru_maintainer,no_lru_crawler,no_slab_automove,no_slab_reassign"];

/// The memcached to compare with, and what can be compared: the memcached on the path (Debian's
/// 1.6.18), or the 1.6.45 that `KEYWAY_REFERENCE` names, on everything.
#[track_caller]
pub fn reference() -> (Process, SocketAddr, Features) {
    let (program, features) = match std::env::var_os("KEYWAY_REFERENCE") {
        Some(path) => (path.into(), Features::Newest),
        None => (find("memcached"), Features::Common),
    };
    let addr = port::local();
    let mut command = Command::new(program);
    command.args(["-l", "127.0.0.1", "-p", &addr.port().to_string(), "-U", "0", "-u", "root"]);
    let mut process = Process::start(command.args(["-t", "1"]).args(STEADY));
    process.wait_for_listener(addr);
    (process, addr, features)
}

/// Which seeds to run, and how many commands of each: `KEYWAY_FIRST_SEED`, `KEYWAY_SEEDS` and
/// `KEYWAY_COMMANDS`, or these.
pub fn extent(seeds: u64, commands: u64) -> (std::ops::Range<u64>, u64) {
    let number = |variable: &str, default: u64| {
        std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let first = number("KEYWAY_FIRST_SEED", 0);
    (first..first + number("KEYWAY_SEEDS", seeds), number("KEYWAY_COMMANDS", commands))
}

/// A server at an address.
pub struct Remote {
    addr: SocketAddr,
    stream: TcpStream,
    exchanges: u64,
}

impl Remote {
    /// Connects to a server without items.
    #[track_caller]
    pub fn connect(addr: SocketAddr) -> Remote {
        let mut remote = Remote { addr, stream: open(addr), exchanges: 0 };
        // The streams name small CAS numbers: no item may have got one of those by itself.
        remote.exchange("set warm 0 0 1 noreply\r\nx\r\n".repeat(100).as_bytes());
        assert_eq!(remote.exchange(b"delete warm\r\n"), b"DELETED\r\n");
        remote
    }

    /// Everything that is answered to `commands`, up to the close if there is one; the next
    /// exchange is then on a new connection.
    #[track_caller]
    pub fn exchange(&mut self, commands: &[u8]) -> Vec<u8> {
        self.exchanges += 1;
        let probe = format!("mg nothing-is-ever-stored-here Oend{}\r\n", self.exchanges);
        let end = format!("EN Oend{}\r\n", self.exchanges);
        // The server may close before it has read everything: that shows in what we read.
        let _ = self.stream.write_all(&[commands, probe.as_bytes()].concat());
        let mut replies = Vec::new();
        let mut buffer = [0; 64 << 10];
        while !replies.ends_with(end.as_bytes()) {
            match self.stream.read(&mut buffer) {
                Ok(count) if count > 0 => replies.extend_from_slice(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => {
                    panic!("no reply to {} but {}", show(commands), show(&replies))
                }
                _ => {
                    self.stream = open(self.addr);
                    replies.extend_from_slice(b"(closed)\r\n");
                    return replies;
                }
            }
        }
        replies.truncate(replies.len() - end.len());
        replies
    }
}

#[track_caller]
fn open(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap_or_else(|e| panic!("connecting to {addr}: {e}"));
    stream.set_nodelay(true).expect("TCP has this option");
    stream.set_read_timeout(Some(PATIENCE)).expect("a fresh socket takes a timeout");
    stream
}

/// Sends one stream to both. Panics with the seed and the round at the first difference.
#[track_caller]
pub fn compare(
    (seed, commands): (u64, u64),
    features: Features,
    mut ours: impl FnMut(&[u8]) -> Vec<u8>,
    mut reference: impl FnMut(&[u8]) -> Vec<u8>,
) {
    let mut stream = Commands::new(seed, features);
    let (mut ours_learned, mut theirs_learned) = (Learned::default(), Learned::default());
    let mut sent = 0;
    while sent < commands {
        let round = stream.round();
        sent += round.len() as u64;
        let theirs = reference(&theirs_learned.fill(&round));
        let got = ours(&ours_learned.fill(&round));
        let wanted = normal(&theirs, features, &mut theirs_learned);
        if normal(&got, features, &mut ours_learned) != wanted {
            let shown: Vec<String> = round.iter().map(|command| show(command)).collect();
            panic!(
                "seed {seed}, after {sent} commands: different answers to\n  {}\n\
                 the reference: {}\nhere: {}",
                shown.join("\n  "),
                show(&theirs),
                show(&got)
            );
        }
    }
}
