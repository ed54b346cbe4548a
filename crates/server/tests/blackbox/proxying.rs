//! Pools of real and scripted memcacheds behind one address.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use keyway_testkit::client::Client;
use keyway_testkit::listener::Scripted;
use keyway_testkit::port;
use keyway_testkit::process::{Process, Scratch, find, memcached};
use keyway_testkit::transcript;

use crate::Proxy;

#[test]
fn pools_answer_as_the_transcripts_say() {
    let mut backends = [Scripted::new(), Scripted::new()];
    let proxy = Proxy::routed(&format!(
        "[pools.one]\nservers = [\"{}\"]\nread_timeout = \"30s\"\n\
         [pools.two]\nservers = [\"{}\"]\nread_timeout = \"30s\"\n\
         [routes]\ndefault = {{ prefix = {{ \"b:\" = \"two\" }}, default = \"one\" }}\n",
        backends[0].addr, backends[1].addr
    ));
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts/pool");
    let cases = transcript::load_all(&dir);
    assert!(cases.len() > 15, "the transcripts are there");
    transcript::play_all(&cases, proxy.addr, &mut backends);
}

#[test]
fn two_memcacheds_share_the_keys() {
    let (_one, first) = memcached(&[]);
    let (_two, second) = memcached(&[]);
    let proxy = Proxy::start(&[first, second], "", "");
    let mut client = proxy.client();
    for n in 0..200 {
        client.ask(format!("set key{n} 5 0 6\r\nval{n:03}\r\n"), "STORED\r\n");
    }
    let mut directly = [Client::tcp(first), Client::tcp(second)];
    let mut counts = [0, 0];
    for n in 0..200 {
        let there = format!("VALUE key{n} 5 6\r\nval{n:03}\r\nEND\r\n");
        client.ask(format!("get key{n}\r\n"), &there);
        let holders: Vec<usize> = (0..2)
            .filter(|side| {
                directly[*side].send(format!("get key{n}\r\n"));
                directly[*side].lines_until("END").len() == 3
            })
            .collect();
        assert_eq!(holders.len(), 1, "key{n} is on exactly one server");
        counts[holders[0]] += 1;
    }
    assert!(counts[0] > 40 && counts[1] > 40, "{counts:?}");
    // One get for all of them is split, and answered whole.
    let keys: String = (0..200).map(|n| format!(" key{n}")).collect();
    client.send(format!("get{keys} nothere\r\n"));
    let lines = client.lines_until("END");
    let found: BTreeMap<&str, &str> = lines.chunks_exact(2).map(|c| (&*c[0], &*c[1])).collect();
    assert_eq!(found.len(), 200);
    for n in 0..200 {
        assert_eq!(found[&*format!("VALUE key{n} 5 6")], format!("val{n:03}"));
    }
}

/// What nutcracker stored is found by Keyway, and the other way round: the placement is the same.
#[test]
fn placement_is_that_of_nutcracker() {
    let servers: Vec<_> = (0..3).map(|_| memcached(&[])).collect();
    let names = ["alpha", "beta", "gamma"];
    let scratch = Scratch::new();
    let nutcracker_addr = port::local();
    let list: String = servers
        .iter()
        .zip(names)
        .enumerate()
        .map(|(n, ((_, addr), name))| format!("   - {addr}:{} {name}\n", n + 1))
        .collect();
    let file = scratch.write(
        "nutcracker.yml",
        format!(
            "pool:\n  listen: {nutcracker_addr}\n  hash: fnv1a_64\n  distribution: ketama\n\
             \x20 timeout: 5000\n  servers:\n{list}"
        ),
    );
    let stats = port::free().to_string();
    let mut command = Command::new(find("nutcracker"));
    command.arg("-c").arg(&file).args(["-s", &stats, "-a", "127.0.0.1"]);
    let mut nutcracker = Process::start(command.arg("-p").arg(scratch.file("pid")));
    nutcracker.wait_for_listener(nutcracker_addr);
    let list: Vec<String> = servers
        .iter()
        .zip(names)
        .enumerate()
        .map(|(n, ((_, addr), name))| format!("\"{addr}:{} {name}\"", n + 1))
        .collect();
    let proxy = Proxy::routed(&format!(
        "[pools.main]\nservers = [{}]\nhash = \"fnv1a_64\"\ndistribution = \"ketama\"\n",
        list.join(", ")
    ));
    let (mut ours, mut theirs) = (proxy.client(), Client::tcp(nutcracker_addr));
    for n in 0..300 {
        let (writer, reader) =
            if n % 2 == 0 { (&mut theirs, &mut ours) } else { (&mut ours, &mut theirs) };
        writer.ask(format!("set place{n} 0 0 1\r\nx\r\n"), "STORED\r\n");
        reader.ask(format!("get place{n}\r\n"), format!("VALUE place{n} 0 1\r\nx\r\nEND\r\n"));
    }
}

#[test]
fn a_value_of_100_mb_passes_in_bounded_memory() {
    const BYTES: usize = 100 << 20;
    let (_server, addr) = memcached(&["-m", "1024", "-I", "128m"]);
    let proxy = Proxy::start(&[addr], "read_timeout = \"60s\"", "");
    let mut client = proxy.client();
    client.ask("set small 0 0 1\r\nx\r\n", "STORED\r\n");
    let before = proxy.keyway.process.rss_bytes();
    client.send(format!("set huge 0 0 {BYTES}\r\n"));
    let piece: Vec<u8> = (0..1 << 20).map(|n| (n % 251) as u8).collect();
    for _ in 0..BYTES / piece.len() {
        client.send(&piece);
    }
    client.ask("\r\n", "STORED\r\n");
    client.ask("get huge\r\n", format!("VALUE huge 0 {BYTES}\r\n"));
    for _ in 0..BYTES / piece.len() {
        client.expect(&piece);
    }
    client.expect("\r\nEND\r\n");
    client.ask("get small\r\n", "VALUE small 0 1\r\nx\r\nEND\r\n");
    let grown = proxy.keyway.process.rss_bytes_max().saturating_sub(before);
    assert!(grown < 24 << 20, "the proxy grew by {grown} bytes for a value of {BYTES}");
}

/// A client that takes its large reply slowly does not hold up the others.
#[test]
fn a_slow_client_stalls_nobody() {
    let (_server, addr) = memcached(&["-m", "256", "-I", "64m"]);
    let proxy = Proxy::with_one_worker(&[addr], "", "");
    let mut slow = proxy.client();
    let value = vec![b's'; 32 << 20];
    slow.send(format!("set big 0 0 {}\r\n", value.len()));
    slow.send(&value);
    slow.ask("\r\n", "STORED\r\n");
    slow.send("get big\r\n");
    slow.expect("VALUE big 0 33554432\r\n");
    let mut quick = proxy.client();
    for n in 0..500 {
        quick.ask(format!("set q{n} 0 0 1\r\nx\r\n"), "STORED\r\n");
        quick.ask(format!("get q{n}\r\n"), format!("VALUE q{n} 0 1\r\nx\r\nEND\r\n"));
    }
    slow.expect(&value);
    slow.expect("\r\nEND\r\n");
}

#[test]
fn binary_clients_of_a_pool_are_told_why_not() {
    let (_server, addr) = memcached(&[]);
    let proxy = Proxy::start(&[addr], "", "");
    let mut client = proxy.client();
    // A no-op of the binary protocol.
    let mut noop = [0u8; 24];
    noop[0] = 0x80;
    noop[1] = 0x0a;
    client.send(noop);
    let reply = client.drain();
    let text = String::from_utf8_lossy(&reply).to_lowercase();
    assert!(reply.first() == Some(&0x81) || text.contains("binary"), "{}", reply.escape_ascii());
    assert!(text.contains("binary"), "the reason is given: {}", reply.escape_ascii());
}

#[test]
fn flush_reaches_every_server() {
    let (_one, first) = memcached(&[]);
    let (_two, second) = memcached(&[]);
    let proxy = Proxy::start(&[first, second], "", "");
    let mut client = proxy.client();
    for n in 0..50 {
        client.ask(format!("set f{n} 0 0 1\r\nx\r\n"), "STORED\r\n");
    }
    client.ask("flush_all\r\n", "OK\r\n");
    for n in 0..50 {
        client.ask(format!("get f{n}\r\n"), "END\r\n");
    }
}
