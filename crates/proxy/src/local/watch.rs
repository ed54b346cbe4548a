//! `watch`: log lines for clients that asked for them.
//!
//! While nobody watches, a worker reads one atomic mask and does nothing else. A line is rendered
//! once, by the worker where it happened, and appended to the bounded queue of every watcher that
//! wants it; the worker that owns the watching client is woken and sends the queue. A watcher that
//! does not keep up misses lines and is told how many (`skipped=N`) when it has room again.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Most watchers at a time.
pub const WATCHER_COUNT_MAX: usize = 20;

/// What is watched: a set of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams(pub u32);

impl Streams {
    /// Every key looked up.
    pub const FETCHERS: Streams = Streams(1);
    /// Every store command.
    pub const MUTATIONS: Streams = Streams(1 << 1);
    /// Items that made room for others.
    pub const EVICTIONS: Streams = Streams(1 << 2);
    /// Connections that opened or closed.
    pub const CONNEVENTS: Streams = Streams(1 << 3);
    /// What background work does.
    pub const SYSEVENTS: Streams = Streams(1 << 4);
    /// Request lines as they came.
    pub const RAWCMDS: Streams = Streams(1 << 5);
    /// Items deleted by commands.
    pub const DELETIONS: Streams = Streams(1 << 6);
    /// Requests that the proxy answered.
    pub const PROXYREQS: Streams = Streams(1 << 7);
    /// Backends and configurations of the proxy.
    pub const PROXYEVENTS: Streams = Streams(1 << 8);
    /// Lines that proxy scripts wrote.
    pub const PROXYUSER: Streams = Streams(1 << 9);

    /// The words of `watch`, in the order they are tried: any prefix of a word is understood.
    const WORDS: [(&'static [u8], Streams); 10] = [
        (b"rawcmds", Streams::RAWCMDS),
        (b"evictions", Streams::EVICTIONS),
        (b"fetchers", Streams::FETCHERS),
        (b"mutations", Streams::MUTATIONS),
        (b"sysevents", Streams::SYSEVENTS),
        (b"connevents", Streams::CONNEVENTS),
        (b"proxyreqs", Streams::PROXYREQS),
        (b"proxyevents", Streams::PROXYEVENTS),
        (b"proxyuser", Streams::PROXYUSER),
        (b"deletions", Streams::DELETIONS),
    ];

    /// The stream that a word of the `watch` command means.
    pub(super) fn from_word(word: &[u8]) -> Option<Streams> {
        Streams::WORDS.iter().find(|(name, _)| name.starts_with(word)).map(|&(_, streams)| streams)
    }

    /// Both sets.
    pub const fn and(self, other: Streams) -> Streams {
        Streams(self.0 | other.0)
    }
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    skipped: u64,
    wake: Option<Box<dyn Fn() + Send>>,
}

struct Watcher {
    streams: Streams,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Inner {
    mask: AtomicU32,
    gid: AtomicU64,
    sent: AtomicU64,
    skipped: AtomicU64,
    watchers: Mutex<Vec<Arc<Watcher>>>,
}

/// Where lines are written and watchers wait. Cloning gives another handle to the same hub.
#[derive(Clone, Default)]
pub struct Hub {
    inner: Arc<Inner>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("mask", &self.inner.mask).finish_non_exhaustive()
    }
}

/// A watching client's end. Dropping it ends the watching.
pub struct Watching {
    inner: Arc<Inner>,
    watcher: Arc<Watcher>,
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching").field("streams", &self.watcher.streams).finish_non_exhaustive()
    }
}

impl Watching {
    /// Bytes that may wait for one watcher.
    const QUEUE_BYTES_MAX: usize = 256 << 10;

    /// Calls `wake` from now on whenever lines begin to wait; once at once if some do already.
    pub fn wake_by(&self, wake: impl Fn() + Send + 'static) {
        let mut queue = self.watcher.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if !queue.lines.is_empty() {
            wake();
        }
        queue.wake = Some(Box::new(wake));
    }

    /// Appends the waiting lines to `out`. `wake` is called for lines that come later.
    pub fn take(&self, out: &mut Vec<u8>) {
        let mut queue = self.watcher.queue.lock().unwrap_or_else(PoisonError::into_inner);
        out.append(&mut queue.lines);
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watchers = self.inner.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|watcher| !Arc::ptr_eq(watcher, &self.watcher));
        self.inner.renew_mask(&watchers);
    }
}

impl Inner {
    fn renew_mask(&self, watchers: &[Arc<Watcher>]) {
        let mask = watchers.iter().fold(0, |mask, watcher| mask | watcher.streams.0);
        self.mask.store(mask, Relaxed);
    }
}

/// How a looked-up key fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchStatus {
    /// No such key.
    NotFound,
    /// The item was there.
    Found,
    /// The item was older than the last flush.
    Flushed,
    /// The item had expired.
    Expired,
}

/// How a store command fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreStatus {
    /// The condition did not hold.
    NotStored,
    /// Stored.
    Stored,
    /// Another CAS number.
    Exists,
    /// No item to compare with.
    NotFound,
    /// Above the size limit.
    TooLarge,
    /// No memory.
    NoMemory,
}

impl FetchStatus {
    const fn name(self) -> &'static str {
        match self {
            FetchStatus::NotFound => "not_found",
            FetchStatus::Found => "found",
            FetchStatus::Flushed => "flushed",
            FetchStatus::Expired => "expired",
        }
    }
}

impl StoreStatus {
    const fn name(self) -> &'static str {
        match self {
            StoreStatus::NotStored => "not_stored",
            StoreStatus::Stored => "stored",
            StoreStatus::Exists => "exists",
            StoreStatus::NotFound => "not_found",
            StoreStatus::TooLarge => "too_large",
            StoreStatus::NoMemory => "no_memory",
        }
    }
}

/// A line, before it is rendered. Sizes are those of the value in bytes, `class` is the slab class
/// that memcached would use, `cfd` the number of the connection.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // The fields are the words of the rendered line.
pub enum Line<'a> {
    /// A key was looked up.
    Fetch { key: &'a [u8], status: FetchStatus, class: u32, cfd: u32, size: usize },
    /// A value was to be stored. `ttl` in seconds, 0 for none.
    Store {
        key: &'a [u8],
        status: StoreStatus,
        command: &'static str,
        ttl: u32,
        class: u32,
        cfd: u32,
        size: usize,
    },
    /// An item made room. `ttl` is -1 for none; `idle` is the time since its last use, in seconds.
    Eviction { key: &'a [u8], fetched: bool, ttl: i64, idle: u32, class: u32, size: usize },
    /// An item was deleted by `delete` or `md`.
    Deleted { key: &'a [u8], command: &'static str, class: u32, size: usize },
    /// A connection opened. `ip` is `unix` for Unix sockets; `transport` is `local`, `tcp`, `udp`.
    Opened { ip: &'a str, port: u16, transport: &'static str, cfd: u32 },
    /// A connection closed. `reason` is `error`, `normal`, `idle_timeout` or `shutdown`.
    Closed { ip: &'a str, port: u16, transport: &'static str, reason: &'static str, cfd: u32 },
    /// A request line.
    Command { line: &'a [u8], cfd: u32 },
    /// Any other line, rendered by whoever writes it, without prefix and line end.
    Text(&'a str),
}

impl Hub {
    /// A hub without watchers.
    pub fn new() -> Hub {
        Hub::default()
    }

    /// Whether somebody watches one of `streams`: one relaxed load.
    #[inline]
    pub fn wants(&self, streams: Streams) -> bool {
        self.inner.mask.load(Relaxed) & streams.0 != 0
    }

    /// Adds a watcher; none when there are too many.
    pub fn watch(&self, streams: Streams) -> Option<Watching> {
        let watcher = Arc::new(Watcher { streams, queue: Mutex::default() });
        let mut watchers = self.inner.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        if watchers.len() >= WATCHER_COUNT_MAX {
            return None;
        }
        watchers.push(Arc::clone(&watcher));
        self.inner.renew_mask(&watchers);
        Some(Watching { inner: Arc::clone(&self.inner), watcher })
    }

    /// Watchers now.
    pub fn watchers(&self) -> usize {
        self.inner.watchers.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Lines given to watchers so far, and lines they missed.
    pub fn counts(&self) -> (u64, u64) {
        (self.inner.sent.load(Relaxed), self.inner.skipped.load(Relaxed))
    }

    /// Writes a line to every watcher of `stream`. Callers check [`Hub::wants`] first.
    #[cold]
    pub fn write(&self, stream: Streams, line: Line<'_>) {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let gid = self.inner.gid.fetch_add(1, Relaxed) + 1;
        let mut text = String::with_capacity(256);
        // The microseconds are not padded: that is how memcached writes them.
        let (seconds, micros) = (since_epoch.as_secs(), since_epoch.subsec_micros());
        let _ = write!(text, "ts={seconds}.{micros} gid={gid} ");
        let mut bytes = text.into_bytes();
        render(&mut bytes, line);
        bytes.push(b'\n');
        let watchers = self.inner.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        for watcher in watchers.iter().filter(|watcher| watcher.streams.0 & stream.0 != 0) {
            self.deliver(watcher, &bytes);
        }
    }

    fn deliver(&self, watcher: &Watcher, line: &[u8]) {
        let mut queue = watcher.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.lines.len() + line.len() > Watching::QUEUE_BYTES_MAX {
            queue.skipped += 1;
            self.inner.skipped.fetch_add(1, Relaxed);
            return;
        }
        let was_empty = queue.lines.is_empty();
        if queue.skipped > 0 {
            let skipped = std::mem::take(&mut queue.skipped);
            queue.lines.extend_from_slice(format!("skipped={skipped}\n").as_bytes());
        }
        queue.lines.extend_from_slice(line);
        self.inner.sent.fetch_add(1, Relaxed);
        if was_empty && let Some(wake) = &queue.wake {
            wake();
        }
    }
}

/// Appends `key` with every byte but letters, digits and `-._~` written as `%XX`.
pub(super) fn put_uri(out: &mut Vec<u8>, key: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in key {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte);
        } else {
            out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

fn render(out: &mut Vec<u8>, line: Line<'_>) {
    let put_text = |out: &mut Vec<u8>, text: fmt::Arguments<'_>| {
        let _ = std::io::Write::write_fmt(out, text);
    };
    let start = |out: &mut Vec<u8>, kind: &str, key: &[u8]| {
        out.extend_from_slice(kind.as_bytes());
        put_uri(out, key);
    };
    match line {
        Line::Fetch { key, status, class, cfd, size } => {
            start(out, "type=item_get key=", key);
            let status = status.name();
            put_text(out, format_args!(" status={status} clsid={class} cfd={cfd} size={size}"));
        }
        Line::Store { key, status, command, ttl, class, cfd, size } => {
            start(out, "type=item_store key=", key);
            put_text(out, format_args!(" status={} cmd={command} ttl={ttl}", status.name()));
            put_text(out, format_args!(" clsid={class} cfd={cfd} size={size}"));
        }
        Line::Eviction { key, fetched, ttl, idle, class, size } => {
            start(out, "type=eviction key=", key);
            let fetched = if fetched { "yes" } else { "no" };
            put_text(out, format_args!(" fetch={fetched} ttl={ttl} la={idle}"));
            put_text(out, format_args!(" clsid={class} size={size}"));
        }
        Line::Deleted { key, command, class, size } => {
            start(out, "type=deleted key=", key);
            put_text(out, format_args!(" cmd={command} clsid={class} size={size}"));
        }
        Line::Opened { ip, port, transport, cfd } => put_text(
            out,
            format_args!("type=conn_new rip={ip} rport={port} transport={transport} cfd={cfd}"),
        ),
        Line::Closed { ip, port, transport, reason, cfd } => {
            put_text(out, format_args!("type=conn_close rip={ip} rport={port}"));
            put_text(out, format_args!(" transport={transport} reason={reason} cfd={cfd}"));
        }
        Line::Command { line, cfd } => {
            put_text(out, format_args!("<{cfd} "));
            out.extend_from_slice(line);
        }
        Line::Text(text) => out.extend_from_slice(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn taken(watching: &Watching) -> String {
        let mut out = Vec::new();
        watching.take(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn words_are_understood_by_prefix_in_order() {
        assert_eq!(Streams::from_word(b"fetchers"), Some(Streams::FETCHERS));
        assert_eq!(Streams::from_word(b"f"), Some(Streams::FETCHERS));
        assert_eq!(Streams::from_word(b"proxy"), Some(Streams::PROXYREQS));
        assert_eq!(Streams::from_word(b"proxyu"), Some(Streams::PROXYUSER));
        assert_eq!(Streams::from_word(b"fetchersx"), None);
    }

    #[test]
    fn lines_reach_only_those_who_asked() {
        let hub = Hub::new();
        assert!(!hub.wants(Streams::FETCHERS));
        let fetchers = hub.watch(Streams::FETCHERS).unwrap();
        let deletions = hub.watch(Streams::DELETIONS.and(Streams::MUTATIONS)).unwrap();
        assert!(hub.wants(Streams::MUTATIONS));
        hub.write(
            Streams::FETCHERS,
            Line::Fetch { key: b"a b", status: FetchStatus::Found, class: 1, cfd: 7, size: 3 },
        );
        hub.write(
            Streams::DELETIONS,
            Line::Deleted { key: b"k", command: "md", class: 2, size: 0 },
        );
        let line = taken(&fetchers);
        assert!(line.starts_with("ts="), "{line}");
        assert!(
            line.ends_with(" gid=1 type=item_get key=a%20b status=found clsid=1 cfd=7 size=3\n")
        );
        assert!(taken(&deletions).ends_with(" gid=2 type=deleted key=k cmd=md clsid=2 size=0\n"));
        drop(fetchers);
        assert!(!hub.wants(Streams::FETCHERS));
        assert!(hub.wants(Streams::DELETIONS));
    }

    #[test]
    fn a_slow_watcher_is_told_what_it_missed() {
        let hub = Hub::new();
        let watching = hub.watch(Streams::RAWCMDS).unwrap();
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        watching.wake_by(move || {
            count.fetch_add(1, Relaxed);
        });
        let line = vec![b'x'; 2000];
        for _ in 0..300 {
            hub.write(Streams::RAWCMDS, Line::Command { line: &line, cfd: 1 });
        }
        assert_eq!(woken.load(Relaxed), 1);
        let (sent, skipped) = hub.counts();
        assert_eq!(sent + skipped, 300);
        assert!(skipped > 100);
        assert!(taken(&watching).len() <= Watching::QUEUE_BYTES_MAX);
        hub.write(Streams::RAWCMDS, Line::Command { line: b"mn", cfd: 1 });
        assert!(taken(&watching).starts_with(&format!("skipped={skipped}\nts=")));
        assert_eq!(woken.load(Relaxed), 2);
    }

    #[test]
    fn watchers_are_limited() {
        let hub = Hub::new();
        let all: Vec<Watching> =
            (0..WATCHER_COUNT_MAX).map(|_| hub.watch(Streams::FETCHERS).unwrap()).collect();
        assert!(hub.watch(Streams::FETCHERS).is_none());
        drop(all);
        assert!(hub.watch(Streams::FETCHERS).is_some());
    }
}
