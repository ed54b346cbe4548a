//! Requests that are refused before any server sees them, and replies that have to wait for their
//! turn: nothing of one is ever taken for another.

use std::net::SocketAddr;

use keyway_testkit::client::Client;
use keyway_testkit::fake::{Fake, Honest, send};
use keyway_testkit::listener::Scripted;

use crate::{Embedded, Proxy};

const BAD_LINE: &str = "CLIENT_ERROR bad command line format\r\n";

/// What would do harm if it were taken for commands.
const VALUE: &[u8] = b"flush_all\r\nset planted 0 0 1\r\nx\r\ndelete kept\r\nmn";

/// Lines of store commands that are refused, without the length and what follows it. The length can
/// be read in all of them.
fn refused_lines() -> Vec<String> {
    let long = "k".repeat(251);
    let n = VALUE.len();
    vec![
        format!("set nul\0key 0 0 {n}"),
        format!("add nul\0key 0 0 {n} noreply"),
        format!("cas nul\0key 0 0 {n} 5"),
        format!("ms nul\0key {n} O1"),
        format!("set {long} 0 0 {n}"),
        format!("append {long} 0 0 {n}"),
        format!("ms {long} {n} q"),
        format!("set flags x 0 {n}"),
        format!("set time 0 x {n}"),
        format!("cas nothing 0 0 {n}"),
        format!("cas word 0 0 {n} x"),
        format!("ms mode {n} MX"),
        format!("ms twice {n} F1 F2"),
        format!("ms !!!! {n} b"),
    ]
}

/// A store command is refused: its value is swallowed and never read as commands, however it comes.
#[test]
fn the_value_of_a_refused_command_is_never_taken_for_commands() {
    let fake = Fake::honest();
    let proxy = Proxy::with_one_worker(&[fake.addr], "", "");
    let mut other = proxy.client();
    other.ask("set kept 0 0 1\r\nx\r\n", "STORED\r\n");
    for line in refused_lines() {
        let is_quiet = line.ends_with("noreply");
        let all = [line.as_bytes(), b"\r\n", VALUE, b"\r\nget kept\r\n"].concat();
        for split in [all.len(), line.len() + 2, line.len() + 13] {
            let mut client = proxy.client();
            client.send(&all[..split]);
            if split < all.len() && !is_quiet {
                assert!(client.line().starts_with("CLIENT_ERROR "), "{line:?}");
            }
            client.send(&all[split..]);
            if split == all.len() && !is_quiet {
                assert!(client.line().starts_with("CLIENT_ERROR "), "{line:?}");
            }
            client.expect("VALUE kept 0 1\r\nx\r\nEND\r\n");
        }
    }
    let others: Vec<String> =
        fake.lines().into_iter().filter(|line| !line.ends_with("kept")).collect();
    assert_eq!(others, ["set kept 0 0 1"], "no server was asked anything else");
}

/// The same where the embedded store answers. It takes keys with a NUL, as memcached does.
#[test]
fn the_store_swallows_the_value_of_what_it_refuses() {
    let server = Embedded::start(&[]);
    let mut client = server.client();
    client.ask("set kept 0 0 1\r\nx\r\n", "STORED\r\n");
    for line in refused_lines().into_iter().filter(|line| !line.contains('\0')) {
        client.send([line.as_bytes(), b"\r\n", VALUE, b"\r\nget kept planted\r\n"].concat());
        assert!(client.line().starts_with("CLIENT_ERROR "), "{line:?}");
        client.expect("VALUE kept 0 1\r\nx\r\nEND\r\n");
    }
}

/// Nothing can be swallowed where the length cannot be read: what follows is read as commands, here
/// as by memcached. The connection stays in step all the same.
#[test]
fn after_a_length_that_cannot_be_read_come_commands() {
    let fake = Fake::honest();
    let proxy = Proxy::with_one_worker(&[fake.addr], "", "");
    let mut client = proxy.client();
    let bad = ["-1", "x", "99999999999", "2147483647", "-2147483648"];
    let lines = bad.iter().flat_map(|n| [format!("set a 0 0 {n}"), format!("ms a {n}")]);
    for line in lines.chain(["set a 0 0".into(), "ms a".into()]) {
        client.ask(format!("{line}\r\nmn\r\nget a\r\n"), format!("{BAD_LINE}MN\r\nEND\r\n"));
    }
}

/// A refused request has its place among the replies, and what other requests on the same
/// connection are owed goes past it.
#[test]
fn replies_go_past_those_whose_request_was_refused() {
    let mut backend = Scripted::new();
    let pool = "depth_max = 2\nread_timeout = \"60s\"";
    let proxy = Proxy::with_one_worker(&[backend.addr], pool, "");
    backend.accept();
    let (mut one, mut two, mut refused) = (proxy.client(), proxy.client(), proxy.client());
    one.send("get a\r\n");
    backend.expect("get a\r\n");
    two.send("get nul\0key\r\nmg b v k O2\r\nset nul\0key 0 0 7\r\nget a\r\n\r\n");
    backend.expect("mg b v k O2\r\n");
    refused.ask("get a\r\nmg b v k O2\r\n", "SERVER_ERROR busy\r\nSERVER_ERROR busy\r\n");
    backend.send("VALUE a 0 1\r\n1\r\nEND\r\n");
    one.expect("VALUE a 0 1\r\n1\r\nEND\r\n");
    refused.send("get c\r\n");
    backend.expect("get c\r\n");
    backend.send("VA 1 kb O2\r\n2\r\nVALUE c 0 1\r\n3\r\nEND\r\n");
    refused.expect("VALUE c 0 1\r\n3\r\nEND\r\n");
    two.expect(format!("{BAD_LINE}VA 1 kb O2\r\n2\r\n{BAD_LINE}"));
    for client in [&mut one, &mut two, &mut refused] {
        client.ask("mn\r\n", "MN\r\n");
    }
}

/// Keys that begin with `l:` are in the embedded store, the others behind a scripted server.
fn with_store_beside(backend: SocketAddr) -> Proxy {
    Proxy::routed(&format!(
        "[pools.main]\nservers = [\"{backend}\"]\nread_timeout = \"60s\"\n\
         [routes]\ndefault = {{ prefix = {{ \"l:\" = \"store\" }}, default = \"main\" }}\n"
    ))
}

const ITEMS: usize = 20_000;

/// Enough items that a dump of them does not leave in one go.
fn store_items(client: &mut Client) {
    let sets: String = (0..ITEMS).map(|n| format!("set l:{n} 0 0 1 noreply\r\nx\r\n")).collect();
    client.ask(sets + "mn\r\n", "MN\r\n");
}

/// Reads a whole dump: every item once, nothing else.
#[track_caller]
fn take_dump(client: &mut Client) {
    client.expect("OK\r\n");
    let mut seen = vec![false; ITEMS];
    for line in client.lines_until("END") {
        if line == "END" {
            break;
        }
        let key = line.split(' ').next().and_then(|word| word.strip_prefix("key=l%3A"));
        let number = key.and_then(|key| key.parse::<usize>().ok());
        let number = number.unwrap_or_else(|| panic!("not a line of the dump: {line:?}"));
        assert!(!std::mem::replace(&mut seen[number], true), "{line:?} came twice");
    }
    let missing = seen.iter().filter(|seen| !**seen).count();
    assert_eq!(missing, 0, "items are missing in the dump");
}

/// A dump begins when the replies before it are out, and what comes behind it waits for its end.
#[test]
fn a_dump_keeps_its_turn() {
    let mut backend = Scripted::new();
    let proxy = with_store_beside(backend.addr);
    let mut client = proxy.client();
    store_items(&mut client);
    client.send("get before\r\nlru_crawler metadump all\r\nget l:7\r\nget after\r\n");
    backend.expect("get before\r\n");
    // Whatever could wrongly be answered before its turn is answered by now.
    proxy.client().ask("get l:7\r\n", "VALUE l:7 0 1\r\nx\r\nEND\r\n");
    backend.send("VALUE before 0 1\r\n1\r\nEND\r\n");
    client.expect("VALUE before 0 1\r\n1\r\nEND\r\n");
    take_dump(&mut client);
    client.expect("VALUE l:7 0 1\r\nx\r\nEND\r\n");
    backend.expect("get after\r\n");
    backend.send("END\r\n");
    client.expect("END\r\n");
}

/// A client that sends no more gets its dump to the end, wherever the listener leads.
#[test]
fn a_dump_for_a_client_that_half_closes_is_complete() {
    let fake = Fake::honest();
    let proxy = with_store_beside(fake.addr);
    let store = Embedded::start(&[]);
    let dump = "lru_crawler metadump all\r\n";
    // On its own listener the store does as memcached: a dump is not pipelined.
    let behind = format!("get l:1\r\n{dump}");
    for (addr, request) in [(proxy.addr, dump), (proxy.addr, &behind), (store.addr, dump)] {
        store_items(&mut Client::tcp(addr));
        let mut client = Client::tcp(addr);
        client.send(request);
        client.finish_sending();
        if request.starts_with("get") {
            client.expect("VALUE l:1 0 1\r\nx\r\nEND\r\n");
        }
        take_dump(&mut client);
        client.expect_close();
    }
}

/// What is collected for a reply of several parts counts for the client that waits for it: beyond
/// its limit the client is closed, however many servers have not answered yet.
#[test]
fn what_policies_collect_counts_for_the_client() {
    let value = "v".repeat(100_000);
    let reply = format!("VALUE big 0 {}\r\n{value}\r\nEND\r\n", value.len());
    let full = Fake::start(move |asked| match asked.line.as_str() {
        "get big" => send(&reply),
        _ => Honest::default().answer(asked),
    });
    let mut silent = Scripted::new();
    let proxy = Proxy::routed(&format!(
        "[pools.full]\nservers = [\"{}\"]\n\
         [pools.silent]\nservers = [\"{}\"]\nread_timeout = \"10s\"\n\
         [routes]\ndefault = {{ prefix = {{ \"s:\" = \"silent\" }}, default = \"full\" }}\n\
         [limits]\nclient_bytes_pause = \"256k\"\nclient_bytes_max = \"1m\"\n",
        full.addr, silent.addr
    ));
    silent.accept();
    let (mut greedy, mut modest) = (proxy.client(), proxy.client());
    modest.send("get big s:1\r\n");
    silent.expect("get s:1\r\n");
    greedy.send("get big s:1\r\n".repeat(24));
    greedy.expect_close();
    silent.send("VALUE s:1 0 1\r\nx\r\nEND\r\n");
    let big = format!("VALUE big 0 {}\r\n{value}\r\n", value.len());
    modest.expect(format!("{big}VALUE s:1 0 1\r\nx\r\nEND\r\n"));
}
