//! memcached's settings: the ones our store obeys, and the ones that are only reported.
//!
//! The values of the command line are plain fields. Those that administrative commands change
//! while workers run are atomics with relaxed access; each stands alone.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed};

/// A number with a fraction that administrative commands may change.
#[derive(Debug)]
pub struct AtomicF64(AtomicU64);

impl AtomicF64 {
    /// Starts with `value`.
    pub fn new(value: f64) -> AtomicF64 {
        AtomicF64(AtomicU64::new(value.to_bits()))
    }

    /// The value.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }

    pub(super) fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }
}

/// Settings by memcached's names. `Default` has memcached's defaults.
#[derive(Debug)]
pub struct Settings {
    /// Memory for items (`-m`), bytes. Changed by `cache_memlimit`.
    pub maxbytes: AtomicU64,
    /// Most connections (`-c`).
    pub maxconns: u32,
    /// TCP port.
    pub tcpport: u16,
    /// UDP port, 0 for none.
    pub udpport: u16,
    /// Interfaces as given by `-l`.
    pub inter: Option<String>,
    /// Verbosity, 0 to 2. Changed by `verbosity`.
    pub verbosity: AtomicU32,
    /// Second before which items are invisible, as of the last `flush_all`.
    pub oldest: AtomicU32,
    /// Whether old items make room (off with `-M`).
    pub evictions: bool,
    /// Path of the Unix socket.
    pub domain_socket: Option<String>,
    /// Permission bits of the Unix socket.
    pub umask: u32,
    /// Whether `shutdown` is allowed (`-A`), for the report; the listener decides.
    pub shutdown_command: bool,
    /// Growth factor of slab classes (`-f`).
    pub growth_factor: f64,
    /// Smallest room for key, value and flags (`-n`), bytes.
    pub chunk_size: u32,
    /// Worker threads.
    pub num_threads: u32,
    /// Delimiter of key prefixes (`-D`).
    pub prefix_delimiter: u8,
    /// Requests of one client before others get a turn (`-R`).
    pub reqs_per_event: u32,
    /// Whether items have CAS numbers (off with `-C`).
    pub cas_enabled: bool,
    /// Length of the accept queue (`-b`).
    pub tcp_backlog: u32,
    /// `auto-negotiate`, `ascii` or `binary`, as memcached reports it.
    pub binding_protocol: String,
    /// The authentication file (`-Y`).
    pub auth_file: Option<String>,
    /// Largest item with its header (`-I`), bytes.
    pub item_size_max: u64,
    /// Whether connections beyond the limit are closed at once.
    pub maxconns_fast: bool,
    /// Initial size of the hash table as a power of two, 0 for the default.
    pub hashpower_init: u32,
    /// Whether slab pages may move; only reported.
    pub slab_reassign: bool,
    /// Mode of moving slab pages; only reported. Changed by `slabs automove`.
    pub slab_automove: AtomicU32,
    /// Only reported. Changed by `slabs automove ratio`.
    pub slab_automove_ratio: AtomicF64,
    /// Only reported. Changed by `slabs automove window`.
    pub slab_automove_window: AtomicU32,
    /// Only reported. Changed by `slabs automove freeratio`.
    pub slab_automove_freeratio: AtomicF64,
    /// Largest slab chunk, bytes.
    pub slab_chunk_max: u32,
    /// Whether dumps are allowed. Changed by `lru_crawler enable|disable`.
    pub lru_crawler: AtomicBool,
    /// Only reported. Changed by `lru_crawler sleep`.
    pub lru_crawler_sleep: AtomicU32,
    /// Only reported. Changed by `lru_crawler tocrawl`.
    pub lru_crawler_tocrawl: AtomicU32,
    /// Only reported.
    pub tail_repair_time: u32,
    /// Whether `flush_all` is allowed, for the report; the listener decides.
    pub flush_enabled: bool,
    /// Whether dumps are allowed, for the report; the listener decides.
    pub dump_enabled: bool,
    /// Name of the hash function; only reported.
    pub hash_algorithm: String,
    /// Only reported.
    pub lru_maintainer_thread: bool,
    /// Only reported. Changed by `lru mode`.
    pub lru_segmented: AtomicBool,
    /// Only reported. Changed by `lru tune`.
    pub hot_lru_pct: AtomicU32,
    /// Only reported. Changed by `lru tune`.
    pub warm_lru_pct: AtomicU32,
    /// Only reported. Changed by `lru tune`.
    pub hot_max_factor: AtomicF64,
    /// Only reported. Changed by `lru tune`.
    pub warm_max_factor: AtomicF64,
    /// Only reported. Changed by `lru temp_ttl`.
    pub temp_lru: AtomicBool,
    /// Only reported. Changed by `lru temp_ttl`.
    pub temporary_ttl: AtomicI32,
    /// Seconds after which silent clients are closed; 0 is never.
    pub idle_timeout: u32,
    /// Buffer of one watcher, bytes.
    pub watcher_logbuf_size: u32,
    /// Only reported.
    pub worker_logbuf_size: u32,
    /// Only reported.
    pub read_buf_mem_limit: u32,
    /// Whether item sizes are counted from the start; only reported, `stats sizes` always works.
    pub track_sizes: bool,
    /// Only reported.
    pub drop_privileges: bool,
    /// Whether the proxy runs.
    pub proxy_enabled: bool,
    /// Only reported.
    pub num_napi_ids: u32,
    /// The restart file; only reported.
    pub memory_file: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            maxbytes: AtomicU64::new(64 << 20),
            maxconns: 1024,
            tcpport: 11211,
            udpport: 0,
            inter: None,
            verbosity: AtomicU32::new(0),
            oldest: AtomicU32::new(0),
            evictions: true,
            domain_socket: None,
            umask: 0o700,
            shutdown_command: false,
            growth_factor: 1.25,
            chunk_size: 48,
            num_threads: 4,
            prefix_delimiter: b':',
            reqs_per_event: 20,
            cas_enabled: true,
            tcp_backlog: 1024,
            binding_protocol: "auto-negotiate".into(),
            auth_file: None,
            item_size_max: 1 << 20,
            maxconns_fast: true,
            hashpower_init: 0,
            slab_reassign: true,
            slab_automove: AtomicU32::new(1),
            slab_automove_ratio: AtomicF64::new(0.8),
            slab_automove_window: AtomicU32::new(10),
            slab_automove_freeratio: AtomicF64::new(0.01),
            slab_chunk_max: 1 << 19,
            lru_crawler: AtomicBool::new(true),
            lru_crawler_sleep: AtomicU32::new(100),
            lru_crawler_tocrawl: AtomicU32::new(0),
            tail_repair_time: 0,
            flush_enabled: true,
            dump_enabled: true,
            hash_algorithm: "murmur3".into(),
            lru_maintainer_thread: true,
            lru_segmented: AtomicBool::new(true),
            hot_lru_pct: AtomicU32::new(20),
            warm_lru_pct: AtomicU32::new(40),
            hot_max_factor: AtomicF64::new(0.2),
            warm_max_factor: AtomicF64::new(2.0),
            temp_lru: AtomicBool::new(false),
            temporary_ttl: AtomicI32::new(61),
            idle_timeout: 0,
            watcher_logbuf_size: 256 << 10,
            worker_logbuf_size: 64 << 10,
            read_buf_mem_limit: 0,
            track_sizes: false,
            drop_privileges: false,
            proxy_enabled: false,
            num_napi_ids: 0,
            memory_file: None,
        }
    }
}

impl Settings {
    /// What memcached would take for an item, header included. Sizes that commands show (`me`,
    /// dumps) and the size limit are told in these terms.
    pub(super) fn item_bytes(&self, key_bytes: usize, flags: u32, value_bytes: u64) -> u64 {
        const HEADER_BYTES: u64 = 48;
        const KEY_END_AND_LINE_END_BYTES: u64 = 3;
        let flags_bytes = if flags == 0 { 0 } else { 4 };
        let cas_bytes = if self.cas_enabled { 8 } else { 0 };
        HEADER_BYTES
            + KEY_END_AND_LINE_END_BYTES
            + flags_bytes
            + cas_bytes
            + key_bytes as u64
            + value_bytes
    }

    /// The slab class that memcached would put an item of so many bytes in, from 1 on; 0 when it
    /// is too large. Our store has no slabs: the number only labels sizes where memcached does.
    pub(super) fn slab_class(&self, item_bytes: u64) -> u32 {
        if item_bytes == 0 || item_bytes > self.item_size_max {
            return 0;
        }
        let mut classes = self.slab_classes();
        let last = self.slab_class_count();
        classes.find(|&(_, size)| item_bytes <= u64::from(size)).map_or(last, |(class, _)| class)
    }

    /// Number of slab classes; the last one holds everything above the one before.
    pub(super) fn slab_class_count(&self) -> u32 {
        self.slab_classes().last().map_or(1, |(class, _)| class)
    }

    /// The slab classes that memcached would make, with the size of their chunks in bytes.
    pub(super) fn slab_classes(&self) -> impl Iterator<Item = (u32, u32)> {
        const HEADER_BYTES: u32 = 48;
        const CLASS_COUNT_MAX: u32 = 63;
        let largest = self.slab_chunk_max;
        let factor = if self.growth_factor > 1.0 { self.growth_factor } else { 1.25 };
        let mut size = HEADER_BYTES.saturating_add(self.chunk_size);
        let mut class = 0;
        let mut is_done = false;
        std::iter::from_fn(move || {
            if is_done {
                return None;
            }
            class += 1;
            if class >= CLASS_COUNT_MAX || f64::from(size) >= f64::from(largest) / factor {
                is_done = true;
                return Some((class, largest));
            }
            let chunk = size.next_multiple_of(8);
            size = (f64::from(chunk) * factor) as u32;
            Some((class, chunk))
        })
    }

    /// Whether memcached would refuse such an item as too large.
    #[inline]
    pub(super) fn is_too_large(&self, key_bytes: usize, flags: u32, value_bytes: u64) -> bool {
        self.item_bytes(key_bytes, flags, value_bytes) > self.item_size_max
    }
}
