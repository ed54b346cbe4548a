//! What client libraries say when they connect, in their order and their segments, and that they
//! get an answer they can use to each word of it. Recorded from redis-py 8, ioredis 6, node-redis 6
//! and redis-cli 7 with their default options.

use keyway_testkit::client::Client;
use keyway_testkit::redis::redis_server;
use keyway_testkit::resp::{bulk, request, words};

use crate::{Proxy, Twins};

/// What a library may get for a word of its greeting.
#[derive(Clone, Copy, Debug)]
enum Wants {
    /// `+OK`.
    Ok,
    /// The map (RESP3) or array (RESP2) of HELLO.
    Greeting,
    /// `+OK`, or an error that the library passes over.
    OkOrError,
    /// Text about the server with its version in it.
    Facts,
    /// The table of commands: an array or a map.
    Commands,
    /// `+PONG`.
    Pong,
}

/// A library: the segments it sends before the application's first command.
struct Library {
    name: &'static str,
    segments: &'static [&'static [(&'static str, Wants)]],
}

use Wants::{Commands, Facts, Greeting, Ok, OkOrError, Pong};

const LIBRARIES: [Library; 9] = [
    Library {
        name: "redis-py, default and RESP3",
        segments: &[
            &[("HELLO 3", Greeting)],
            &[("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-fqdn", OkOrError)],
            &[("CLIENT SETINFO LIB-NAME redis-py", OkOrError)],
            &[("CLIENT SETINFO LIB-VER 8.1.0", OkOrError)],
        ],
    },
    Library {
        name: "redis-py, RESP2",
        segments: &[
            &[("CLIENT SETINFO LIB-NAME redis-py", OkOrError)],
            &[("CLIENT SETINFO LIB-VER 8.1.0", OkOrError)],
        ],
    },
    Library {
        name: "redis-py with a name and a health check",
        segments: &[
            &[("HELLO 3", Greeting)],
            &[("CLIENT SETNAME me", Ok)],
            &[("CLIENT SETINFO LIB-NAME redis-py", OkOrError)],
            &[("PING", Pong)],
        ],
    },
    Library {
        name: "ioredis",
        segments: &[
            &[
                ("hello 3", Greeting),
                ("client SETINFO LIB-VER 6.0.0", OkOrError),
                ("client SETINFO LIB-NAME ioredis", OkOrError),
            ],
            &[("info", Facts)],
        ],
    },
    Library {
        name: "node-redis, RESP2",
        segments: &[&[
            ("CLIENT SETINFO LIB-VER 6.3.1", OkOrError),
            ("CLIENT SETINFO LIB-NAME node-redis", OkOrError),
        ]],
    },
    Library {
        name: "node-redis, RESP3",
        segments: &[&[
            ("HELLO 3", Greeting),
            ("CLIENT SETINFO LIB-VER 6.3.1", OkOrError),
            ("CLIENT SETINFO LIB-NAME node-redis", OkOrError),
        ]],
    },
    Library { name: "redis-cli, interactive", segments: &[&[("COMMAND DOCS", Commands)]] },
    Library {
        name: "redis-cli -3, interactive",
        segments: &[&[("HELLO 3", Greeting)], &[("COMMAND DOCS", Commands)]],
    },
    Library {
        name: "a library that selects, and asks for the table",
        segments: &[&[("SELECT 0", Ok), ("COMMAND", Commands), ("PING", Pong)]],
    },
];

impl Wants {
    fn takes(self, reply: &[u8]) -> bool {
        let text = String::from_utf8_lossy(reply);
        match self {
            Ok => reply == b"+OK\r\n",
            Pong => reply == b"+PONG\r\n",
            OkOrError => reply == b"+OK\r\n" || reply[0] == b'-',
            Greeting => {
                let named = ["server", "version", "proto", "id", "mode", "role", "modules"];
                matches!(reply[0], b'%' | b'*') && named.iter().all(|n| text.contains(n))
            }
            Facts => text.contains("redis_version:") && text.contains("loading:0"),
            Commands => matches!(reply[0], b'*' | b'%') && text.contains("get"),
        }
    }
}

#[test]
fn libraries_connect_and_work() {
    let (_server, addr) = redis_server(&[]);
    let proxy = Proxy::start(&[addr], "");
    for addr in [addr, proxy.addr] {
        for library in LIBRARIES {
            let mut client = Client::tcp(addr);
            for segment in library.segments {
                let bytes: Vec<u8> = segment.iter().flat_map(|(line, _)| words(line)).collect();
                client.send(bytes);
                for (line, wants) in *segment {
                    let reply = client.reply();
                    let text = reply[..reply.len().min(300)].escape_ascii();
                    assert!(wants.takes(&reply), "{}: {line}: {text}", library.name);
                }
            }
            client.ask(words("SET a 1"), "+OK\r\n");
            client.ask(words("GET a"), bulk("1"));
        }
    }
}

/// Version 3 is spoken after HELLO 3, and version 2 again after HELLO 2 or RESET.
#[test]
fn versions_change_as_told() {
    let twins = Twins::start();
    let mut clients = twins.clients();
    let ask = [words("HSET h f v"), words("HGETALL h"), words("GET none"), words("ZADD z 1.5 m")];
    let more = [words("ZSCORE z m"), words("SMISMEMBER s a b"), words("MGET none h none")];
    let all: Vec<Vec<u8>> = ask.into_iter().chain(more).collect();
    Twins::same(&mut clients, &all);
    for hello in ["HELLO 3", "HELLO 2", "HELLO 3", "RESET", "hello", "HELLO 3"] {
        for client in &mut clients {
            client.send(words(hello));
            let reply = client.reply();
            assert!(matches!(reply[0], b'%' | b'*' | b'+'), "{hello}: {}", reply.escape_ascii());
        }
        Twins::same(&mut clients, &all);
    }
    for wrong in ["HELLO 1", "HELLO 4", "HELLO x", "HELLO 3 AUTH", "HELLO 3 SETNAME", "HELLO 3 x"] {
        Twins::same(&mut clients, &[words(wrong), words("HGETALL h")]);
    }
}

/// A pipeline and a transaction as libraries send them: one segment, and in one-byte pieces.
#[test]
fn pipelines_and_transactions_come_back_as_from_redis() {
    let twins = Twins::start();
    let transaction =
        [words("MULTI"), words("SET a 1"), words("GET a"), words("INCR a"), words("EXEC")];
    let pipeline: Vec<Vec<u8>> = (0..100)
        .flat_map(|n| [words(&format!("SET k{n} {n}")), words(&format!("GET k{n}"))])
        .collect();
    let mut clients = twins.clients();
    Twins::same(&mut clients, &transaction);
    Twins::same(&mut clients, &pipeline);
    Twins::same(&mut clients, &[&transaction[..], &pipeline, &transaction, &transaction].concat());
    let mut ours = twins.proxy.client();
    for byte in transaction.concat() {
        ours.send([byte]);
    }
    ours.expect("+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n$1\r\n1\r\n:2\r\n");
}

/// People with telnet, and health checks of load balancers.
#[test]
fn lines_are_requests_too() {
    let twins = Twins::start();
    let lines: [&[u8]; 8] = [
        b"PING\r\n",
        b"SET a 1\r\n",
        b"GET a\n",
        b"  get   a  \r\n",
        b"SET \"b c\" 'd e'\r\n",
        b"GET \"b c\"\r\n",
        b"SET x \"\\x41\\n\\\"\"\r\n",
        b"nosuchcommand a\r\n",
    ];
    let mut clients = twins.clients();
    let lines: Vec<Vec<u8>> = lines.iter().map(|l| l.to_vec()).collect();
    Twins::same(&mut clients, &lines);
    Twins::same(&mut clients, &[b"\r\n\r\nPING\r\n".to_vec(), request(&["GET", "x"])]);
}

/// What is no request: an error that says what was wrong, and then the end.
#[test]
fn broken_requests_end_as_with_redis() {
    let twins = Twins::start();
    let broken: [&[u8]; 9] = [
        b"*1\r\n$x\r\n",
        b"*x\r\n",
        b"*1\r\n:1\r\n",
        b"*2\r\n$3\r\nGET\r\n$-5\r\n",
        b"*2147483648\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$536870913\r\n",
        b"SET \"a b\r\n",
        b"*-5\r\nPING\r\nx \"\r\n",
        b"*1\r\n$99999999999999999999\r\n",
    ];
    for bytes in broken {
        let [ours, reference] = twins.clients().map(|mut client| {
            client.send([&words("PING")[..], bytes].concat());
            // Who waits for more is told that there is none.
            let _ = client.try_finish_sending();
            let all = client.drain();
            String::from_utf8_lossy(&all).into_owned()
        });
        assert_eq!(ours, reference, "{}", bytes.escape_ascii());
    }
}
