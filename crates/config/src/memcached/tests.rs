//! The command line against what memcached 1.6.45 says to the same arguments.
//!
//! The texts and exit statuses of `REFUSED` and `LISTS_REFUSED` were recorded from that program;
//! what it has and we do not stands in a test of its own.

use std::time::Duration;

use super::*;
use keyway_proxy::config::*;

/// Answers for two names and for nothing else.
fn resolver(host: &str) -> io::Result<Vec<SocketAddr>> {
    let addresses: &[&str] = match host {
        "localhost" => &["[::1]:0", "127.0.0.1:0"],
        "tagged" => &["10.0.0.9:0"],
        _ => {
            let text = "failed to lookup address information: Name or service not known";
            return Err(io::Error::other(text));
        }
    };
    Ok(addresses.iter().map(|address| address.parse().unwrap()).collect())
}

fn outcome(args: &[&str]) -> Outcome {
    parse_with("mc", args.iter().map(OsString::from), &resolver)
}

fn run(line: &str) -> Run {
    match outcome(&line.split_whitespace().collect::<Vec<_>>()) {
        Outcome::Run(run) => *run,
        other => panic!("{line}: {other:?}"),
    }
}

#[track_caller]
fn fails(args: &[&str], expected_exit: u8, expected: &str) {
    match outcome(args) {
        Outcome::Fail { stream: Stream::Stderr, text, exit } => {
            assert_eq!((exit, text.as_str()), (expected_exit, expected), "{args:?}");
        }
        other => panic!("{args:?}: {other:?}"),
    }
}

/// Arguments (separated by spaces), exit status and standard error of memcached 1.6.45.
const REFUSED: &[(&str, u8, &str)] = &[
    ("-Q", 1, "mc: invalid option -- 'Q'\nIllegal argument \"?\"\n"),
    ("-p", 1, "mc: option requires an argument -- 'p'\nIllegal argument \"?\"\n"),
    ("--bogus", 1, "mc: unrecognized option '--bogus'\nIllegal argument \"?\"\n"),
    ("--po", 1, "mc: option '--port' requires an argument\nIllegal argument \"?\"\n"),
    ("--daemon=3", 1, "mc: option '--daemon' doesn't allow an argument\nIllegal argument \"?\"\n"),
    (
        "--enable-s",
        1,
        "mc: option '--enable-s' is ambiguous; possibilities: '--enable-shutdown' '--enable-ssl' \
         '--enable-sasl'\nIllegal argument \"?\"\n",
    ),
    ("-p abc -t 0", 1, "Number of threads must be greater than 0\n"),
    ("--thr=-1", 1, "Number of threads must be greater than 0\n"),
    ("foo -p23456 bar -uroot -c0", 1, "Maximum connections must be greater than 0\n"),
    ("-R 0", 1, "Number of requests per event must be greater than 0\n"),
    ("-n 0", 1, "Chunk size must be greater than 0\n"),
    ("-f 1", 1, "Factor must be greater than 1\n"),
    ("-f abc", 1, "Factor must be greater than 1\n"),
    ("-N 0", 1, "Maximum number of NAPI IDs must be greater than 0\n"),
    ("-N 5", 64, "Number of napi_ids(5) cannot be greater than number of threads(4)\n"),
    (
        "-B foo",
        64,
        "Invalid value for binding protocol: foo\n -- should be one of auto, binary, or ascii\n",
    ),
    ("-I 10", 64, "Item max size cannot be less than 1024 bytes.\n"),
    ("-I 1g", 64, "Item max size cannot be less than 1024 bytes.\n"),
    ("-I 4096m -m 10000", 64, "Item max size cannot be less than 1024 bytes.\n"),
    ("-I 100m -m 64", 64, "Cannot set item size limit higher than 1/2 of memory max.\n"),
    ("-m 0", 64, "Cannot set item size limit higher than 1/2 of memory max.\n"),
    ("-m 4096 -I 2000m", 64, "Cannot set item size limit higher than a gigabyte.\n"),
    (
        "-I 100k",
        64,
        "slab_chunk_max (bytes: 524288) cannot be larger than -I (item_size_max 102400)\n",
    ),
    (
        "-I 1500k",
        64,
        "-I (item_size_max: 1536000) must be evenly divisible by slab_chunk_max (bytes: 524288)\n",
    ),
    (
        "-o slab_chunk_max=300",
        64,
        "-I (item_size_max: 1048576) must be evenly divisible by slab_chunk_max (bytes: 307200)\n",
    ),
    ("-p 70000", 64, "ERROR: Invalid port number 70000.\n"),
    ("-U 99999999", 64, "ERROR: Invalid port number 99999999.\n"),
    (
        "-Y /f -B binary",
        64,
        "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.\n",
    ),
    ("-Y /f -U 5", 64, "Cannot use UDP with ascii authentication enabled (-U 0 to disable)\n"),
    ("-o hashpower", 1, "Missing numeric argument for hashpower\n"),
    ("-o hashpower=3", 1, "Initial hashtable multiplier of 3 is too low\n"),
    (
        "-o hashpower=33",
        1,
        "Initial hashtable multiplier of 33 is too high\nChoose a value based on \"STAT \
         hash_power_level\" from a running instance\n",
    ),
    ("-o slab_chunk_max=0", 1, "slab_chunk_max must be >= 0\n"),
    ("-o slab_chunk_max=2000", 1, "slab_chunk_max must be specified in kilobytes.\n"),
    ("-o slab_chunk_max=x", 1, "could not parse argument to slab_chunk_max\n"),
    ("-o slab_chunk_max", 1, "Missing slab_chunk_max argument\n"),
    ("-o slab_sizes=10", 64, "slab size 10 is out of valid range\n"),
    (
        "-o slab_sizes=100-200-150",
        64,
        "slab size 150 cannot be lower than or equal to a previous class size\n",
    ),
    (
        "-o slab_sizes=100-104",
        64,
        "slab size 104 must be at least 8 bytes larger than previous class\n",
    ),
    ("-o slab_sizes=", 64, ""),
    (
        "-o hot_lru_pct=50,warm_lru_pct=40",
        64,
        "hot_lru_pct + warm_lru_pct cannot be more than 80% combined\n",
    ),
    ("-o hot_lru_pct=80", 1, "hot_lru_pct must be > 1 and < 80\n"),
    (
        "-o temporary_ttl=5,no_lru_maintainer",
        64,
        "temporary_ttl requires lru_maintainer to be enabled\n",
    ),
    ("-o tail_repair_time=1", 1, "Cannot set tail_repair_time to less than 10 seconds\n"),
    ("-o slab_automove=3", 1, "slab_automove must be between 0 and 2\n"),
    ("-o slab_automove_ratio=2", 1, "slab_automove_ratio must be > 0 and < 1\n"),
    ("-o slab_automove_window=2", 1, "slab_automove_window must be > 2 and < 1800\n"),
    ("-o slab_automove_freeratio=x", 1, "could not parse argument to slab_automove_freeratio\n"),
    ("-o hash_algorithm=md5", 1, "Unknown hash_algorithm option (jenkins, murmur3, xxh3)\n"),
    ("-o lru_crawler_sleep=-1", 1, "LRU crawler sleep must be between 0 and 1 second\n"),
    ("-o lru_crawler_sleep", 1, "Missing lru_crawler_sleep value\n"),
    ("-o lru_crawler_tocrawl=-1", 1, "lru_crawler_tocrawl takes a numeric 32bit value\n"),
    ("-o hot_max_factor=0", 1, "hot_max_factor must be > 0\n"),
    ("-o idle_timeout", 1, "Missing numeric argument for idle_timeout\n"),
    ("-o watcher_logbuf_size=x", 1, "could not parse argument to watcher_logbuf_size\n"),
    ("-o ext_threads", 1, "Missing ext_threads argument\n"),
    ("-o proxy_config", 1, "Missing proxy_config file argument\n"),
    ("-B ascii -o proxy_config=x", 1, "Cannot specify a protocol with proxy mode enabled\n"),
    (
        "-o resp_obj_mem_limit=3 -c 0",
        1,
        "DEPRECATED: resp_obj_mem_limit no longer used. See read_buf_mem_limit,\nMaximum \
         connections must be greater than 0\n",
    ),
    (
        "-t 65 -p 70000",
        64,
        "WARNING: Setting a high number of workerthreads is not recommended.\n Set this value to \
         the number of cores in your machine or less.\nERROR: Invalid port number 70000.\n",
    ),
    (
        "-p -5",
        71,
        "getaddrinfo(): Servname not supported for ai_socktype\nfailed to listen on TCP port -5: \
         Success\n",
    ),
];

/// Lists of `-l`, and the first line that memcached 1.6.45 says about them.
const LISTS_REFUSED: &[(&str, &str)] = &[
    ("nosuch.invalid", "getaddrinfo(): Name or service not known\n"),
    ("256.0.0.1", "getaddrinfo(): Name or service not known\n"),
    ("proto", "getaddrinfo(): Name or service not known\n"),
    (
        "tag[123456789]:127.0.0.1",
        "Listener tags must be between 1 and 8 characters: \"123456789\"\n",
    ),
    ("tag_:127.0.0.1", "Invalid tag in socket config: \"_:127.0.0.1\"\n"),
    ("notls:127.0.0.1", "'notls' option is valid only when SSL is enabled\n"),
    ("btls:127.0.0.1", "'btls' option is valid only when SSL is enabled\n"),
    ("proto[bin:127.0.0.1", "Invalid protocol spec: \"[bin:127.0.0.1\"\n"),
    ("proto[proxy]:127.0.0.1", "Proxy must be enabled to use: \"proto[proxy\"\n"),
    ("127.0.0.1:abc", "Invalid port number: \"abc\"\n"),
    ("[::1:1", "Invalid IPV6 address: \"[::1:1\""),
];

#[test]
fn refuses_with_memcacheds_words_and_status() {
    for (line, exit, message) in REFUSED {
        fails(&line.split(' ').collect::<Vec<_>>(), *exit, message);
    }
    for (list, message) in LISTS_REFUSED {
        let expected =
            format!("{message}failed to listen on one of interface(s) {list}: Success\n");
        fails(&["-l", list], 71, &expected);
    }
    fails(&["-D", ""], 1, "No delimiter specified\n");
    fails(&["-R", " 0"], 1, "Number of requests per event must be greater than 0\n");
    let message = "Cannot use binary protocol when ascii authentication enabled\nfailed to listen \
                   on one of interface(s) proto[binary]:*: Success\n";
    fails(&["-Y", "/f", "-l", "proto[binary]:*"], 71, message);
}

#[test]
fn unknown_words_go_to_standard_output() {
    for (list, word) in [
        ("bogus", "bogus"),
        ("bogus=3,x", "bogus=3"),
        (",", ""),
        ("maxconns_fast,,no_modern", ""),
        ("modern, hashpower=13", " hashpower=13"),
    ] {
        match outcome(&["-o", list]) {
            Outcome::Fail { stream: Stream::Stdout, text, exit: 1 } => {
                assert_eq!(text, format!("Illegal suboption \"{word}\"\n"));
            }
            other => panic!("{list}: {other:?}"),
        }
    }
}

#[test]
fn what_is_not_there_yet_is_refused_by_name() {
    for (args, begin) in [
        (&["-S"][..], "-S: SASL is not there yet."),
        (&["-Z"], "-Z: TLS is not there yet."),
        (&["-e", "/f"], "-e: a cache in a memory file that survives a restart is not there yet."),
        (&["-o", "ext_path=/f:1g"], "-o ext_path: the flash tier is not there yet."),
        (&["-o", "ssl_key=/k"], "-o ssl_key: TLS is not there yet."),
        (&["-o", "proxy_config=routelib"], "-o proxy_config: Lua configurations of the proxy"),
    ] {
        let Outcome::Fail { stream: Stream::Stderr, text, exit: 1 } = outcome(args) else {
            panic!("{args:?}");
        };
        assert!(text.starts_with(begin), "{text}");
    }
}

#[test]
fn prints_help_version_and_licence() {
    let printed = |args: &[&str]| match outcome(args) {
        Outcome::Print { text, exit: 0 } => text,
        other => panic!("{args:?}: {other:?}"),
    };
    assert_eq!(printed(&["-V", "-c", "0"]), "memcached 1.6.45\n");
    let help = printed(&["-vvhc", "3"]);
    assert!(help.starts_with("memcached 1.6.45\n"));
    assert!(help.contains("unix-socket"));
    // memcached's test suite takes these words for features.
    for word in ["proxy_config", "ext_path", "sasl", "enable-ssl", "no_drop_privileges"] {
        assert!(!help.to_lowercase().contains(word), "{word}");
    }
    assert!(help.lines().all(|line| line.len() <= 100));
    assert!(printed(&["--license"]).contains("Apache License"));
}

#[test]
fn help_names_every_flag_that_works() {
    let help = usage::usage();
    for flag in "pUlsabcBYmMICAFXWDtRdurPkLvVihofnN".chars() {
        let is_named = help.contains(&format!("\n-{flag}")) || help.contains(&format!(", -{flag}"));
        assert!(is_named, "-{flag}");
    }
}

#[test]
fn without_arguments_it_is_memcached() {
    let run = run("");
    let any = |address: &str| Bind::Tcp(address.parse().unwrap());
    let binds: Vec<&Bind> = run.config.listeners.iter().map(|listener| &listener.bind).collect();
    assert_eq!(binds, [&any("0.0.0.0:11211"), &any("[::]:11211")]);
    assert_eq!(run.process.listen_groups, [[0, 1]]);
    assert_eq!((run.config.workers, run.config.limits.clients_max), (4, 1024));
    assert_eq!(run.config.store, Some(StoreOptions::default()));
    assert_eq!((run.config.admin, &run.config.pools), (None, &Vec::new()));
    assert_eq!(run.config.routes[0].kind, RouteKind::Store);
    let listener = &run.config.listeners[0];
    let allow = Allow { flush: true, shutdown: false, dump: true, watch: true };
    assert_eq!((listener.allow, listener.protocol), (allow, Protocol::Memcached));
    assert_eq!((listener.backlog, listener.requests_per_turn_max), (1024, 20));
    let process = ProcessOptions {
        tcp_port: 11211,
        listen_groups: vec![vec![0, 1]],
        ..ProcessOptions::default()
    };
    assert_eq!(run.process, process);
}

#[test]
fn every_flag_has_its_effect() {
    let run =
        run("-A -M -C -F -X -W -k -r -d -L -vvv -u nobody -P /pid -p 1 -U 2 -m 100 -I 2m -c 9 \
         -b 7 -R 3 -t 2 -f 1.5 -n 72 -D | -N 1 -B ascii -l 127.0.0.1 -o idle_timeout=30");
    let process = ProcessOptions {
        core_dumps: true,
        user: Some("nobody".into()),
        daemonize: true,
        lock_memory: true,
        large_pages: true,
        pid_file: Some("/pid".into()),
        verbosity: 3,
        stats_detail: true,
        interfaces: Some("127.0.0.1".into()),
        tcp_port: 1,
        udp_port: 2,
        listen_groups: vec![vec![0], vec![1]],
        ..ProcessOptions::default()
    };
    assert_eq!(run.process, process);
    let store = StoreOptions {
        memory_bytes_max: 100 << 20,
        item_bytes_max: 2 << 20,
        evict: false,
        cas: false,
    };
    assert_eq!(run.config.store, Some(store));
    assert_eq!((run.config.workers, run.config.limits.clients_max), (2, 9));
    assert_eq!(run.config.limits.client_idle, Duration::from_secs(30));
    let [tcp, udp] = run.config.listeners.as_slice() else { panic!("{:?}", run.config) };
    assert_eq!((tcp.name.as_str(), udp.name.as_str()), ("tcp", "udp"));
    assert_eq!(tcp.bind, Bind::Tcp("127.0.0.1:1".parse().unwrap()));
    assert_eq!(udp.bind, Bind::Udp("127.0.0.1:2".parse().unwrap()));
    let allow = Allow { flush: false, shutdown: true, dump: false, watch: false };
    assert_eq!((tcp.allow, tcp.protocol), (allow, Protocol::MemcachedText));
    assert_eq!((tcp.backlog, tcp.requests_per_turn_max), (7, 3));
    let settings = &run.settings;
    assert_eq!((settings.growth_factor, settings.chunk_size), (1.5, 72));
    assert_eq!((settings.prefix_delimiter, settings.num_napi_ids), (b'|', 1));
    assert_eq!((settings.tcpport, settings.udpport, settings.tcp_backlog), (1, 2, 7));
    assert_eq!(settings.binding_protocol, "ascii");
    assert_eq!(settings.item_size_max, 2 << 20);
    assert_eq!(settings.inter.as_deref(), Some("127.0.0.1"));
}

#[test]
fn words_accumulate_over_several_lists() {
    let run = run("-o hashpower=20,tail_repair_time=10,hash_algorithm=xxh3,watcher_logbuf_size=1 \
         -o worker_logbuf_size=2,read_buf_mem_limit=3,track_sizes,no_maxconns_fast,slab_automove=2 \
         -o slab_automove_ratio=0.5,slab_automove_window=20,slab_automove_freeratio=0.1 \
         -o lru_crawler_sleep=5,lru_crawler_tocrawl=6,hot_lru_pct=10,warm_lru_pct=20 \
         -o hot_max_factor=0.3,warm_max_factor=3,temporary_ttl=9,slab_chunk_max=32 \
         -o slab_sizes=100-200,no_hashexpand,modern,relaxed_privileges,drop_privileges \
         -o no_inline_ascii_resp,sock_cookie_id=4,no_slab_reassign,ext_threads=2,proxy_uring,");
    let settings = format!("{:?}", run.settings);
    for part in [
        "hashpower_init: 20",
        "tail_repair_time: 10",
        "hash_algorithm: \"xxh3\"",
        "watcher_logbuf_size: 1024",
        "worker_logbuf_size: 2048",
        "read_buf_mem_limit: 3145728",
        "track_sizes: true",
        "maxconns_fast: false",
        "slab_automove: 2",
        "slab_automove_window: 20",
        "lru_crawler_sleep: 5",
        "lru_crawler_tocrawl: 6",
        "hot_lru_pct: 10",
        "warm_lru_pct: 20",
        "temp_lru: true",
        "temporary_ttl: 9",
        "slab_chunk_max: 32768",
        "slab_reassign: false",
        "drop_privileges: true",
    ] {
        assert!(settings.contains(part), "{part}: {settings}");
    }
    assert_eq!(run.settings.slab_automove_ratio.get(), 0.5);
    assert_eq!(run.settings.slab_automove_freeratio.get(), 0.1);
    assert_eq!(run.settings.hot_max_factor.get(), 0.3);
    assert_eq!(run.settings.warm_max_factor.get(), 3.0);
    assert!(run.process.drop_privileges);
    let old = super::tests::run("-o no_modern");
    assert_eq!(
        (old.settings.hash_algorithm.as_str(), old.settings.slab_chunk_max),
        ("jenkins", 1 << 20)
    );
    assert!(!old.settings.maxconns_fast && !old.settings.lru_maintainer_thread);
}

/// The listeners of a command line, as `NAME ADDRESS PROTOCOL TAG`.
fn listeners(line: &str) -> Vec<String> {
    let shown = |listener: &Listener| {
        let address = match &listener.bind {
            Bind::Tcp(address) | Bind::Udp(address) => address.to_string(),
            Bind::Unix { path, mode } => format!("{} {mode:o}", path.display()),
        };
        let line = format!("{} {address} {:?} {}", listener.name, listener.protocol, listener.tag);
        line.trim_end().to_owned()
    };
    run(line).config.listeners.iter().map(shown).collect()
}

#[test]
fn reads_lists_of_listeners() {
    assert_eq!(
        listeners("-p 5 -l 127.0.0.1;[::1]:6,::1,*:7"),
        [
            "tcp 127.0.0.1:5 Memcached",
            "tcp-2 [::1]:6 Memcached",
            "tcp-3 [::1]:5 Memcached",
            "tcp-4 0.0.0.0:7 Memcached",
            "tcp-5 [::]:7 Memcached",
        ]
    );
    assert_eq!(
        listeners("-l localhost:3 -l tagged"),
        ["tcp [::1]:3 Memcached", "tcp-2 127.0.0.1:3 Memcached", "tcp-3 10.0.0.9:11211 Memcached",]
    );
    assert_eq!(run("-l localhost:3 -l tagged").process.listen_groups, [vec![0, 1], vec![2]]);
    assert_eq!(
        listeners("-l proto[binary]:tag[svc]:127.0.0.1:1,proto[ascii]:tag_cccc_:127.0.0.1:2"),
        ["tcp 127.0.0.1:1 MemcachedBinary svc", "tcp-2 127.0.0.1:2 MemcachedText cccc"]
    );
    assert_eq!(
        listeners("-B binary -l proto[neg]:127.0.0.1,tag_b_:127.0.0.2"),
        ["tcp 127.0.0.1:11211 Memcached", "tcp-2 127.0.0.2:11211 MemcachedBinary b",]
    );
    assert_eq!(
        listeners("-U 9 -l 127.0.0.1,127.0.0.2:4"),
        [
            "tcp 127.0.0.1:9 Memcached",
            "tcp-2 127.0.0.2:4 Memcached",
            "udp 127.0.0.1:9 Memcached",
            "udp-2 127.0.0.2:4 Memcached",
        ]
    );
    assert_eq!(listeners("-p -1 -l 127.0.0.1"), ["tcp 127.0.0.1:0 Memcached"]);
    assert_eq!(listeners("-p 0"), Vec::<String>::new());
    let run = run("-l 127.0.0.1:1 -l 127.0.0.1 -l 127.0.0.2");
    assert_eq!(run.process.interfaces.as_deref(), Some("127.0.0.1:1,127.0.0.2"));
}

#[test]
fn a_unix_socket_turns_the_network_off() {
    let line = "-s /run/mc.sock -a 0770 -p 5 -U 6 -l 127.0.0.1";
    assert_eq!(listeners(line), ["unix /run/mc.sock 770 Memcached"]);
    assert_eq!(run(line).process.unix_socket, Some("/run/mc.sock".into()));
    assert_eq!(listeners("-s /s"), ["unix /s 700 Memcached"]);
}

#[test]
fn users_narrow_the_protocol_to_text() {
    let line = "-Y /users -l proto[negotiating]:127.0.0.1:1,127.0.0.1:2";
    let run = run(line);
    assert_eq!(run.process.auth_file, Some("/users".into()));
    assert!(run.config.listeners.iter().all(|it| it.protocol == Protocol::MemcachedText));
    assert_eq!(
        run.process.warnings,
        "WARNING: negotiating ports are ascii only when ascii authentication enabled\n"
    );
    assert_eq!(run.settings.binding_protocol, "ascii");
}

#[test]
fn large_items_fit_through_one_client() {
    let limits = run("-m 4096 -I 1024m").config.limits;
    assert!(limits.client_bytes_max >= 2 << 30 && limits.worker_bytes_max >= 4 << 30);
}

/// Every word of `-o` that memcached 1.6.45 has in any build.
const WORDS: &str = "maxconns_fast no_maxconns_fast hashpower no_hashexpand slab_reassign \
    no_slab_reassign slab_automove no_slab_automove slab_automove_ratio slab_automove_window \
    slab_automove_freeratio tail_repair_time hash_algorithm lru_crawler no_lru_crawler \
    lru_crawler_sleep lru_crawler_tocrawl lru_maintainer no_lru_maintainer hot_lru_pct \
    warm_lru_pct hot_max_factor warm_max_factor temporary_ttl idle_timeout watcher_logbuf_size \
    worker_logbuf_size slab_sizes slab_chunk_max track_sizes no_inline_ascii_resp \
    inline_ascii_resp modern no_modern no_chunked_items drop_privileges no_drop_privileges \
    resp_obj_mem_limit read_buf_mem_limit sock_cookie_id relaxed_privileges proxy_config \
    proxy_arg proxy_uring proxy_memprofile ext_path ext_page_size ext_wbuf_size ext_threads \
    ext_io_depth ext_item_size ext_item_age ext_low_ttl ext_recache_rate ext_compact_under \
    ext_drop_under ext_max_sleep ext_max_frag ext_drop_unread";

#[test]
fn every_flag_and_word_is_known_and_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/memcached.md");
    let document = std::fs::read_to_string(path).unwrap();
    for word in WORDS.split_whitespace() {
        let is_unknown = |value: &str| {
            matches!(outcome(&["-o", value]), Outcome::Fail { stream: Stream::Stdout, .. })
        };
        assert!(!is_unknown(word) && !is_unknown(&format!("{word}=12")), "{word}");
        let is_named = ["`", "`-o "].iter().any(|it| document.contains(&format!("{it}{word}`")));
        assert!(is_named, "{word} is not in docs/memcached.md");
    }
    for (long, short) in getopt::LONG {
        assert!(document.contains(&format!("--{long}`")), "--{long}");
        assert!(document.contains(&format!("`-{}", char::from(short))), "--{long}");
    }
}
