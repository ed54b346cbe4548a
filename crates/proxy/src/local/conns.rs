//! Who is connected: the list behind `stats conns`, shared by all workers.
//!
//! Entries are added and removed when connections open and close, under one lock. Between those a
//! worker writes only the time of the last command and the state, with relaxed stores.

use super::watch::{Hub, Line, Streams};
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// What a connection is doing, in memcached's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ConnState {
    /// A listening socket.
    Listening = 0,
    /// Between requests.
    Read = 1,
    /// In the middle of a value.
    Nread = 2,
    /// With replies that the client has not taken yet.
    Mwrite = 3,
    /// Given over to `watch` or a dump.
    Watch = 4,
}

impl ConnState {
    /// What a connection does whose command is being answered.
    pub(super) const PARSE_NAME: &'static str = "conn_parse_cmd";

    fn name(state: u8) -> &'static str {
        match state {
            0 => "conn_listening",
            2 => "conn_nread",
            3 => "conn_mwrite",
            4 => "conn_watch",
            _ => "conn_read",
        }
    }
}

/// One open connection or listening socket.
#[derive(Debug)]
pub struct ConnEntry {
    /// Counts connections over the life of the process, from 1 on; 0 for listening sockets.
    pub id: u64,
    /// The number that names it in `stats conns` and in watched lines (`cfd=`).
    pub number: u32,
    /// The client's address, or the address listened on: `tcp:127.0.0.1:11211`, `unix:/path`.
    pub address: String,
    /// The address it came in on; empty for listening sockets.
    pub listen_address: String,
    /// Whether it is a UDP socket.
    pub is_udp: bool,
    state: AtomicU8,
    last_command: AtomicU32,
}

impl ConnEntry {
    /// Notes a command, at the store's clock (seconds).
    #[inline]
    pub fn command_at(&self, seconds: u32) {
        self.last_command.store(seconds, Relaxed);
    }

    /// Notes what the connection is doing.
    #[inline]
    pub fn set_state(&self, state: ConnState) {
        self.state.store(state as u8, Relaxed);
    }

    /// What the connection is doing, in memcached's words.
    pub fn state_name(&self) -> &'static str {
        ConnState::name(self.state.load(Relaxed))
    }

    /// Transport, host and port of the client as watched lines name them.
    fn peer(&self) -> (&'static str, &str, u16) {
        let (scheme, rest) = self.address.split_once(':').unwrap_or(("", &self.address));
        if scheme.starts_with("unix") {
            return ("local", "unix", 0);
        }
        let transport = if scheme.starts_with("udp") { "udp" } else { "tcp" };
        let (host, port) = rest.rsplit_once(':').unwrap_or((rest, ""));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (transport, host, port.parse().unwrap_or(0))
    }

    /// Second of the last command.
    pub fn last_command(&self) -> u32 {
        self.last_command.load(Relaxed)
    }
}

/// All open connections. Watchers of connection events are told of each that opens or closes.
#[derive(Default)]
pub struct ConnTable {
    hub: Hub,
    entries: Mutex<Vec<Arc<ConnEntry>>>,
    opened: AtomicU64,
    rejected: AtomicU64,
}

impl fmt::Debug for ConnTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnTable").field("current", &self.current()).finish_non_exhaustive()
    }
}

/// What a new entry says about its connection.
#[derive(Debug, Default)]
pub struct Opened {
    /// The client's address, or the address listened on, with its scheme.
    pub address: String,
    /// The address it came in on, with its scheme; empty for listening sockets.
    pub listen_address: String,
    /// Whether it is a UDP socket.
    pub is_udp: bool,
    /// Whether it is a listening socket.
    pub is_listening: bool,
}

impl ConnTable {
    /// An empty table that tells the watchers of `hub`.
    pub fn new(hub: Hub) -> ConnTable {
        ConnTable { hub, ..ConnTable::default() }
    }

    /// Adds a connection; its number is the smallest that is free, from 1 on.
    pub fn open(&self, opened: Opened, now_seconds: u32) -> Arc<ConnEntry> {
        let state = if opened.is_listening { ConnState::Listening } else { ConnState::Read };
        let id = if opened.is_listening { 0 } else { self.opened.fetch_add(1, Relaxed) + 1 };
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // Entries are sorted by number: the first gap is where the new one goes.
        let gap = entries.iter().zip(1..).position(|(entry, number)| entry.number != number);
        let index = gap.unwrap_or(entries.len());
        let entry = Arc::new(ConnEntry {
            id,
            number: u32::try_from(index + 1).unwrap_or(u32::MAX),
            address: opened.address,
            listen_address: opened.listen_address,
            is_udp: opened.is_udp,
            state: AtomicU8::new(state as u8),
            last_command: AtomicU32::new(now_seconds),
        });
        entries.insert(index, Arc::clone(&entry));
        drop(entries);
        if !opened.is_listening && self.hub.wants(Streams::CONNEVENTS) {
            let (transport, ip, port) = entry.peer();
            let line = Line::Opened { ip, port, transport, cfd: entry.number };
            self.hub.write(Streams::CONNEVENTS, line);
        }
        entry
    }

    /// Removes a connection that ended by itself. Unknown entries are ignored.
    pub fn close(&self, entry: &ConnEntry) {
        self.close_because(entry, "normal");
    }

    /// Removes a connection; `reason` is one of memcached's words: `error`, `normal`,
    /// `idle_timeout`, `shutdown`. Unknown entries are ignored.
    pub fn close_because(&self, entry: &ConnEntry, reason: &'static str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let found = entries.binary_search_by_key(&entry.number, |known| known.number);
        let Ok(index) = found else { return };
        if !std::ptr::eq(&raw const *entries[index], &raw const *entry) {
            return;
        }
        entries.remove(index);
        drop(entries);
        if self.hub.wants(Streams::CONNEVENTS) && !entry.listen_address.is_empty() {
            let (transport, ip, port) = entry.peer();
            let line = Line::Closed { ip, port, transport, reason, cfd: entry.number };
            self.hub.write(Streams::CONNEVENTS, line);
        }
    }

    /// Counts a connection that was refused because there are too many.
    pub fn reject(&self) {
        self.rejected.fetch_add(1, Relaxed);
    }

    /// Connections refused so far.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Relaxed)
    }

    /// Connections opened so far, listening sockets not counted.
    pub fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// Entries now, listening sockets included.
    pub fn current(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Connections now, listening sockets not included.
    pub fn clients(&self) -> usize {
        let listening = ConnState::Listening as u8;
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().filter(|entry| entry.state.load(Relaxed) != listening).count()
    }

    /// All entries in the order of their numbers.
    pub fn list(&self) -> Vec<Arc<ConnEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(address: &str) -> Opened {
        Opened { address: address.into(), listen_address: "tcp:l".into(), ..Opened::default() }
    }

    #[test]
    fn numbers_are_reused_from_the_smallest() {
        let table = ConnTable::new(Hub::new());
        let first = table.open(opened("a"), 1);
        let second = table.open(opened("b"), 1);
        let third = table.open(opened("c"), 1);
        assert_eq!((first.number, second.number, third.number), (1, 2, 3));
        table.close(&second);
        table.close(&second);
        assert_eq!(table.open(opened("d"), 1).number, 2);
        let addresses: Vec<String> = table.list().iter().map(|e| e.address.clone()).collect();
        assert_eq!(addresses, ["a", "d", "c"]);
        assert_eq!((table.opened(), table.current()), (4, 3));
    }

    #[test]
    fn watchers_are_told() {
        let hub = Hub::new();
        let table = ConnTable::new(hub.clone());
        let watching = hub.watch(Streams::CONNEVENTS).unwrap();
        let tcp = table.open(opened("tcp6:[::1]:5000"), 1);
        let unix = table.open(opened("unix:/tmp/x"), 1);
        table.close_because(&tcp, "idle_timeout");
        table.close(&unix);
        table.close(&unix);
        let mut out = Vec::new();
        watching.take(&mut out);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> =
            text.lines().map(|line| line.splitn(3, ' ').nth(2).unwrap()).collect();
        assert_eq!(
            lines,
            [
                "type=conn_new rip=::1 rport=5000 transport=tcp cfd=1",
                "type=conn_new rip=unix rport=0 transport=local cfd=2",
                "type=conn_close rip=::1 rport=5000 transport=tcp reason=idle_timeout cfd=1",
                "type=conn_close rip=unix rport=0 transport=local reason=normal cfd=2",
            ]
        );
    }

    #[test]
    fn a_closed_entry_never_removes_its_successor() {
        let table = ConnTable::new(Hub::new());
        let old = table.open(opened("a"), 1);
        table.close(&old);
        let _new = table.open(opened("b"), 1);
        table.close(&old);
        assert_eq!(table.current(), 1);
    }
}
