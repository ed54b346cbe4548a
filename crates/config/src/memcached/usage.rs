//! The texts of `-h`, `-V` and `-i`.
//!
//! memcached's own test suite greps `-h` for the names of features to decide which tests to run, so
//! the text names only what works.

use keyway_proxy::local::COMPAT_VERSION;

/// The text of `-V`, and the first line of the others.
pub(super) fn version() -> String {
    format!("memcached {COMPAT_VERSION}\n")
}

/// The text of `-h`.
pub(super) fn usage() -> String {
    version() + USAGE
}

/// The text of `-i`.
pub(super) fn license() -> String {
    version() + LICENSE
}

const USAGE: &str = "\
This is Keyway answering to memcached's command line.

Listening
-p, --port=<num>           TCP port (default: 11211)
-U, --udp-port=<num>       UDP port (default: 0, off)
-l, --listen=<list>        addresses, separated by commas; may be repeated (default: all)
                           each is [proto[<ascii|binary|negotiating>]:][tag_<name>_:]<host>[:<port>]
-s, --unix-socket=<path>   Unix socket instead of TCP and UDP
-a, --unix-mask=<mask>     its permission bits, octal (default: 700)
-b, --listen-backlog=<num> length of the accept queue (default: 1024)
-c, --conn-limit=<num>     most clients at a time (default: 1024)
-B, --protocol=<name>      ascii, binary, or auto (default: auto)
-Y, --auth-file=<path>     users of the text protocol, one user:password a line

Storing
-m, --memory-limit=<num>   memory for items in megabytes (default: 64)
-M, --disable-evictions    refuse to store when memory is full, instead of evicting
-I, --max-item-size=<num>  largest item in bytes, or with k or m (default: 1m, from 1k to 1024m)
-C, --disable-cas          no CAS numbers

Commands
-A, --enable-shutdown      allow shutdown
-F, --disable-flush-all    refuse flush_all
-X, --disable-dumping      refuse stats cachedump and lru_crawler metadump
-W, --disable-watch        refuse watch
-D <char>                  delimiter of key prefixes (default: :); turns on stats detail

Process
-t, --threads=<num>        worker threads (default: 4)
-R, --max-reqs-per-event=<num> requests of one client before others get a turn (default: 20)
-d, --daemon               run in the background
-u, --user=<name>          become this user (only as root)
-P, --pidfile=<path>       write the process id here
-r, --enable-coredumps     raise the limit for core files
-k, --lock-memory          keep all memory from being swapped out
-v, --verbose              say more; -vv and -vvv say more still
-V, --version              print the version
-i, --license              print the licence
-h, --help                 print this

Tuning
-o, --extended=<list>      words separated by commas; may be repeated
   - idle_timeout=<sec>        close clients that are silent for so long (default: 0, never)
   - no_maxconns_fast          let clients above the limit wait instead of closing them
   - watcher_logbuf_size=<kb>  buffer of each watcher (default: 256)
   - worker_logbuf_size, read_buf_mem_limit, hashpower, no_hashexpand, hash_algorithm,
     tail_repair_time, track_sizes, modern, no_modern, no_chunked_items,
     slab_reassign, slab_automove, slab_automove_ratio, slab_automove_window, slab_sizes,
     slab_chunk_max, lru_crawler, lru_crawler_sleep, lru_crawler_tocrawl, lru_maintainer,
     hot_lru_pct, warm_lru_pct, hot_max_factor, warm_max_factor, temporary_ttl
                               are checked and shown by stats settings; this store has no use
                               for them
-f, --slab-growth-factor=<num>, -n, --slab-min-size=<bytes>, -N, --napi-ids=<num>
                           are checked and shown by stats settings as well
-L, --enable-largepages    is accepted; the kernel gives large pages where it is set to

keyway --help shows what else this program is.
";

const LICENSE: &str = "
This is Keyway, which answers to memcached's command line and protocol and shares no code with it.

Licensed under the Apache License, Version 2.0. You may not use it except in compliance with the
License, a copy of which is at https://www.apache.org/licenses/LICENSE-2.0. It is distributed
\"AS IS\", without warranties or conditions of any kind, either express or implied.
";
