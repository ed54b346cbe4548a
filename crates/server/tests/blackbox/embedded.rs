//! The embedded server, command by command, as a person with telnet would see it.
//!
//! What is asked and answered stands in `transcripts/store/*.txt`; here is what needs a clock, a
//! second connection, a process, or a lot of bytes.

use std::path::Path;

use keyway_testkit::client::Client;
use keyway_testkit::random::Random;
use keyway_testkit::transcript;

use crate::Embedded;

#[test]
fn answers_as_the_transcripts_say() {
    let server = Embedded::start(&[]);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts/store");
    let cases = transcript::load_all(&dir);
    assert!(cases.len() > 30, "the transcripts are there");
    transcript::play_all(&cases, server.addr, &mut []);
}

/// Every way of cutting a conversation into segments gives the same bytes.
#[test]
fn the_places_where_segments_end_do_not_matter() {
    let server = Embedded::start(&[]);
    let request = b"set s 5 0 10\r\n0123\r\n6789\r\nget s t\r\nmg s v f\r\n\
                    ms s 2 T0\r\nok\r\nmn\r\nget s\r\n";
    let reply = b"STORED\r\nVALUE s 5 10\r\n0123\r\n6789\r\nEND\r\nVA 10 f5\r\n0123\r\n6789\r\n\
                  HD\r\nMN\r\nVALUE s 0 2\r\nok\r\nEND\r\n";
    for cut in 1..request.len() {
        let mut client = server.client();
        client.send(&request[..cut]);
        if cut % 3 == 0 {
            // Makes sure that the server has met the first part alone at least now and then.
            Client::tcp(server.addr).ask("mn\r\n", "MN\r\n");
        }
        client.ask(&request[cut..], reply);
    }
}

#[test]
fn long_pipelines_are_answered_in_order() {
    let server = Embedded::start(&[]);
    let mut client = server.client();
    let mut request = Vec::new();
    let mut reply = Vec::new();
    for n in 0..5000 {
        request.extend(format!("set p{n} {n} 0 5\r\n{n:05}\r\nget p{n}\r\n").bytes());
        reply.extend(format!("STORED\r\nVALUE p{n} {n} 5\r\n{n:05}\r\nEND\r\n").bytes());
    }
    client.ask(request, reply);
}

#[test]
fn values_of_every_size_come_back_whole() {
    let server = Embedded::start(&["-I", "8m", "-m", "128"]);
    let mut client = server.client();
    let mut random = Random::new(7);
    let sizes = [0, 1, 2, 511, 512, 4095, 4096, 16_383, 16_384, 65_535, 65_536, 1 << 20, 5 << 20];
    for size in sizes {
        let value: Vec<u8> = (0..size).map(|_| random.bits() as u8).collect();
        let mut request = format!("set big 0 0 {size}\r\n").into_bytes();
        request.extend(&value);
        request.extend(b"\r\n");
        client.ask(&request, "STORED\r\n");
        let mut reply = format!("VALUE big 0 {size}\r\n").into_bytes();
        reply.extend(&value);
        reply.extend(b"\r\nEND\r\n");
        client.ask("get big\r\n", &reply);
        client.ask("get big big\r\n", [&reply[..reply.len() - 5], &reply[..]].concat());
    }
}

#[test]
fn too_large_is_refused_and_the_old_value_is_gone() {
    let server = Embedded::start(&[]);
    let mut client = server.client();
    client.ask("set k 0 0 1\r\nx\r\n", "STORED\r\n");
    let mut request = format!("set k 0 0 {}\r\n", 2 << 20).into_bytes();
    request.resize(request.len() + (2 << 20), b'v');
    request.extend(b"\r\n");
    client.ask(&request, "SERVER_ERROR object too large for cache\r\n");
    client.ask("get k\r\n", "END\r\n");
}

#[test]
fn all_workers_see_one_store() {
    let server = Embedded::start(&[]);
    let mut clients: Vec<Client> = (0..8).map(|_| server.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.ask(format!("set shared{n} 0 0 1\r\n{n}\r\n"), "STORED\r\n");
    }
    for client in &mut clients {
        for n in 0..8 {
            client.ask(
                format!("get shared{n}\r\n"),
                format!("VALUE shared{n} 0 1\r\n{n}\r\nEND\r\n"),
            );
        }
    }
}

/// Counting is atomic between workers.
#[test]
fn counting_loses_nothing() {
    let server = Embedded::start(&[]);
    server.client().ask("set n 0 0 1\r\n0\r\n", "STORED\r\n");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = server.client();
                for _ in 0..50 {
                    client.send("incr n 1\r\n".repeat(20));
                    (0..20).for_each(|_| assert!(client.line().parse::<u64>().is_ok()));
                }
            });
        }
    });
    server.client().ask("get n\r\n", "VALUE n 0 4\r\n4000\r\nEND\r\n");
}

#[test]
fn items_expire_by_the_second() {
    let server = Embedded::start(&[]);
    let mut client = server.client();
    client.ask("set gone 0 1 1\r\nx\r\n", "STORED\r\n");
    client.ask("set stays 0 1000 1\r\nx\r\n", "STORED\r\n");
    keyway_testkit::wait_until("the item expires", || {
        client.send("get gone\r\n");
        client.line() == "END" || client.lines_until("END").is_empty()
    });
    client.ask("get stays\r\n", "VALUE stays 0 1\r\nx\r\nEND\r\n");
}

#[test]
fn flush_all_with_a_delay_comes_later() {
    let server = Embedded::start(&[]);
    let mut client = server.client();
    client.ask("set k 0 0 1\r\nx\r\n", "STORED\r\n");
    client.ask("flush_all 2\r\nget k\r\n", "OK\r\nVALUE k 0 1\r\nx\r\nEND\r\n");
    keyway_testkit::wait_until("the flush happens", || {
        client.send("get k\r\n");
        client.line() == "END" || client.lines_until("END").is_empty()
    });
}

#[test]
fn commands_can_be_forbidden() {
    let server = Embedded::start(&["-F", "-X", "-W"]);
    let mut client = server.client();
    client.ask("flush_all\r\n", "CLIENT_ERROR flush_all not allowed\r\n");
    client.ask("lru_crawler metadump all\r\n", "ERROR metadump not allowed\r\n");
    client.ask("watch\r\n", "CLIENT_ERROR watch commands not allowed\r\n");
    client.ask("shutdown\r\n", "SERVER_ERROR: shutdown not enabled\r\n");
}

#[test]
fn shutdown_ends_the_process_where_allowed() {
    let mut server = Embedded::start(&["-A"]);
    server.client().send("shutdown\r\n");
    let status = server.process.wait();
    // Without an argument, memcached behaves as after an interrupt.
    assert!(status.code() == Some(0) || status.code().is_none(), "{status}");
}

/// With `-M` a full store refuses; without, it makes room.
#[test]
fn a_full_store_does_as_it_is_told() {
    for (args, evicts) in [(&["-m", "8", "-M"][..], false), (&["-m", "8"][..], true)] {
        let server = Embedded::start(args);
        let mut client = server.client();
        let value = "v".repeat(100_000);
        let mut refused = 0;
        for n in 0..200 {
            client.send(format!("set full{n} 0 0 {}\r\n{value}\r\n", value.len()));
            match client.line().as_str() {
                "STORED" => {}
                "SERVER_ERROR out of memory storing object" => refused += 1,
                other => panic!("{other}"),
            }
        }
        assert_eq!(refused == 0, evicts, "{refused} of 200 refused with {args:?}");
        client.ask("mn\r\n", "MN\r\n");
    }
}

#[test]
fn statistics_count_what_happened() {
    let server = Embedded::start(&[]);
    let mut client = server.client();
    client.ask(
        "set k 0 0 1\r\nx\r\nget k\r\nget no\r\n",
        "STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\nEND\r\n",
    );
    let value = |client: &mut Client, group: &str, name: &str| {
        client.send(format!("stats{group}\r\n"));
        let lines = client.lines_until("END");
        let prefix = format!("STAT {name} ");
        lines.iter().find_map(|l| l.strip_prefix(&prefix).map(str::to_owned))
    };
    for (name, expected) in [
        ("cmd_get", "2"),
        ("cmd_set", "1"),
        ("get_hits", "1"),
        ("get_misses", "1"),
        ("curr_items", "1"),
        ("total_items", "1"),
        ("threads", "2"),
    ] {
        assert_eq!(value(&mut client, "", name).as_deref(), Some(expected), "{name}");
    }
    for name in ["pid", "uptime", "time", "version", "curr_connections", "bytes", "limit_maxbytes"]
    {
        assert!(value(&mut client, "", name).is_some_and(|v| !v.is_empty()), "{name}");
    }
    assert_eq!(value(&mut client, " settings", "item_size_max").as_deref(), Some("1048576"));
    client.send("stats items\r\n");
    assert!(client.lines_until("END").iter().any(|l| l.contains(":number 1")));
    client.send("stats slabs\r\n");
    assert!(client.lines_until("END").iter().any(|l| l.starts_with("STAT active_slabs ")));
    client.send("stats conns\r\n");
    assert!(client.lines_until("END").iter().any(|l| l.contains(":addr tcp:127.0.0.1:")));
    client.ask("stats reset\r\n", "RESET\r\n");
    assert_eq!(value(&mut client, "", "cmd_set").as_deref(), Some("0"));
}

#[test]
fn all_keys_can_be_listed() {
    let server = Embedded::start(&[]);
    let mut client = server.client();
    for n in 0..500 {
        client.ask(format!("set dump{n} 0 0 1\r\nx\r\n"), "STORED\r\n");
    }
    client.send("lru_crawler metadump all\r\n");
    let lines = client.lines_until("END");
    let listed = lines.iter().filter(|l| l.starts_with("key=dump") && l.contains(" exp=-1 "));
    assert_eq!(listed.count(), 500);
    client.send("lru_crawler mgdump all\r\n");
    let lines = client.lines_until("EN");
    assert_eq!(lines.iter().filter(|l| l.starts_with("mg dump")).count(), 500);
}

#[test]
fn watchers_see_fetches_and_mutations() {
    let server = Embedded::start(&[]);
    let mut watcher = server.client();
    watcher.ask("watch fetchers mutations\r\n", "OK\r\n");
    let mut client = server.client();
    keyway_testkit::wait_until("the watcher is told", || {
        client.ask("set seen 0 0 1\r\nx\r\n", "STORED\r\n");
        client.ask("get seen\r\n", "VALUE seen 0 1\r\nx\r\nEND\r\n");
        client.ask("get unseen\r\n", "END\r\n");
        true
    });
    let mut found = (false, false);
    while found != (true, true) {
        let line = watcher.line();
        assert!(line.starts_with("ts="), "{line}");
        found.0 |= line.contains("type=item_store") && line.contains("key=seen");
        found.1 |= line.contains("type=item_get") && line.contains("key=seen");
    }
}

#[test]
fn text_authentication_is_asked_for() {
    let scratch = keyway_testkit::process::Scratch::new();
    let file = scratch.write("auth", "user:secret\nother:word\n");
    let server = Embedded::start(&["-Y", file.to_str().expect("a readable path")]);
    let mut client = server.client();
    client.ask("get a\r\n", "CLIENT_ERROR unauthenticated\r\n");
    let mut client = server.client();
    client.ask("set x 0 0 10\r\nuser nope!\r\n", "CLIENT_ERROR authentication failure\r\n");
    let mut client = server.client();
    client.ask("set x 0 0 11\r\nuser secret\r\n", "STORED\r\n");
    client.ask("get a\r\n", "END\r\n");
}
