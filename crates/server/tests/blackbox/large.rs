//! Large values: the connections they travel on are shared out fairly and given back in order.
//!
//! What a client that does not read, or a server that takes nothing, may hold up: itself.

use std::net::SocketAddr;
use std::time::Duration;

use keyway_testkit::client::Client;
use keyway_testkit::fake::{Asked, Fake, Honest, Step, send};
use keyway_testkit::listener::Scripted;
use keyway_testkit::process::{Process, memcached};
use keyway_testkit::wait_until;

use crate::Proxy;

const FAILURE: &str = "SERVER_ERROR backend failure\r\n";
const BUSY: &str = "SERVER_ERROR busy\r\n";
/// More than the kernel keeps for a connection whose reader does not read.
const HUGE: usize = 32 << 20;

/// A memcached that takes huge values.
fn roomy_memcached() -> (Process, SocketAddr) {
    memcached(&["-m", "256", "-I", "64m"])
}

/// Stores a value of [`HUGE`] bytes.
fn store_huge(client: &mut Client) {
    client.send(format!("set huge 0 0 {HUGE}\r\n"));
    client.send(vec![b'h'; HUGE]);
    client.ask("\r\n", "STORED\r\n");
}

/// Reads all that is owed for `get huge`.
#[track_caller]
fn take_huge(client: &mut Client) {
    client.expect(format!("VALUE huge 0 {HUGE}\r\n"));
    assert!(client.take(HUGE).iter().all(|byte| *byte == b'h'));
    client.expect("\r\nEND\r\n");
}

/// The name of a server leads nowhere: even a value that would travel alone is refused, swallowed
/// to its end, and the client goes on.
#[test]
fn a_large_value_for_a_server_without_an_address_is_refused() {
    let proxy = Proxy::routed("[pools.main]\nservers = [\"no-such-host.invalid:11211\"]\n");
    let mut client = proxy.client();
    client.ask("get small\r\n", FAILURE);
    let value = b"flush_all\r\n".repeat(300_000);
    client.send(format!("set large 0 0 {}\r\n", value.len()));
    client.send(&value);
    client.ask("\r\nmn\r\n", format!("{FAILURE}MN\r\n"));
    proxy.client().ask("get small\r\n", FAILURE);
}

/// A backend for values that arrive in three pieces, the last of which takes what is held for the
/// client just over its limit and brings the end of the reply as well.
fn in_pieces(asked: &Asked) -> Vec<Step> {
    let reply = match asked.words().as_slice() {
        ["get", key] if key.starts_with("big") => format!("VALUE {key} 0 {BIG}\r\n"),
        ["mg", key, "v"] if key.starts_with("big") => format!("VA {BIG}\r\n"),
        _ => return Honest::default().answer(asked),
    };
    let mut reply = reply.into_bytes();
    reply.extend(vec![b'b'; BIG]);
    reply.extend(if asked.line.starts_with("get") { "\r\nEND\r\n" } else { "\r\n" }.bytes());
    let pause = Step::Wait(Duration::from_millis(40));
    vec![
        Step::Send(reply[..30_000].to_vec()),
        pause.clone(),
        Step::Send(reply[30_000..PAUSE - 500].to_vec()),
        pause,
        Step::Send(reply[PAUSE - 500..].to_vec()),
    ]
}

const PAUSE: usize = 64 << 10;
const BIG: usize = PAUSE + 200;

/// One connection for large values, and a second pool for keys that begin with `s:`.
fn with_one_lane(fake: &Fake, slow: &Scripted) -> Proxy {
    Proxy::routed(&format!(
        "[pools.main]\nservers = [\"{}\"]\nlarge_connections_max = 1\nread_timeout = \"8s\"\n\
         [pools.slow]\nservers = [\"{}\"]\nlarge_connections_max = 0\nread_timeout = \"60s\"\n\
         [routes]\ndefault = {{ prefix = {{ \"s:\" = \"slow\" }}, default = \"main\" }}\n\
         [limits]\nclient_bytes_pause = {PAUSE}\nlarge_value_bytes = 60000\n\
         value_bytes_max = \"12m\"\n",
        fake.addr, slow.addr
    ))
}

/// A large reply that has to wait for its turn stops its connection just when it is complete: the
/// connection is read again for whoever uses it next.
#[test]
fn a_connection_for_large_values_is_read_again_for_its_next_user() {
    let fake = Fake::start(in_pieces);
    let mut slow = Scripted::new();
    let proxy = with_one_lane(&fake, &slow);
    let mut waits = proxy.client();
    waits.send("get s:1\r\nget big1\r\n");
    slow.expect("get s:1\r\n");
    wait_until("big1 is asked for on a connection of its own", || {
        fake.lines().iter().filter(|line| *line == "get big1").count() == 2
    });
    let big = |key: &str| format!("VALUE {key} 0 {BIG}\r\n{}\r\nEND\r\n", "b".repeat(BIG));
    let mut next = proxy.client();
    next.ask("get big2\r\n", big("big2"));
    slow.send("END\r\n");
    waits.expect(format!("END\r\n{}", big("big1")));
}

/// The same for `mg`, whose reply ends with its value, and for a client that has no room left.
#[test]
fn a_client_without_room_leaves_the_connection_to_the_next_user() {
    let fake = Fake::start(in_pieces);
    let mut slow = Scripted::new();
    let proxy = with_one_lane(&fake, &slow);
    let mut waits = proxy.client();
    waits.send("get s:1\r\nmg big1 v\r\n");
    slow.expect("get s:1\r\n");
    // More than the kernel takes for a client that does not read.
    let value = vec![b's'; 10 << 20];
    slow.send(format!("VALUE s:1 0 {}\r\n", value.len()));
    slow.send(&value);
    slow.send("\r\n");
    wait_until("big1 is asked for on a connection of its own", || {
        fake.lines().iter().filter(|line| *line == "mg big1 v").count() == 2
    });
    let mut next = proxy.client();
    next.ask("mg big2 v\r\n", format!("VA {BIG}\r\n{}\r\n", "b".repeat(BIG)));
    slow.send("END\r\n");
    waits.expect(format!("VALUE s:1 0 {}\r\n", value.len()));
    assert_eq!(waits.take(value.len()), value);
    waits.expect(format!("\r\nEND\r\nVA {BIG}\r\n{}\r\n", "b".repeat(BIG)));
}

/// A client that does not read holds the only connection for large values. Who waits for it is
/// refused in time; the holder still gets all that it asked for.
#[test]
fn a_large_request_that_waits_for_a_connection_times_out() {
    let (_server, addr) = roomy_memcached();
    let pool = "large_connections_max = 1\nread_timeout = \"500ms\"";
    let proxy = Proxy::with_one_worker(&[addr], pool, "");
    let mut holds = proxy.client();
    store_huge(&mut holds);
    holds.send("get huge\r\n");
    holds.expect("VALUE huge");
    let mut waits = proxy.client();
    for _ in 0..2 {
        waits.ask("get huge\r\n", BUSY);
    }
    waits.ask("get small\r\n", "END\r\n");
    holds.expect(format!(" 0 {HUGE}\r\n"));
    holds.take(HUGE);
    holds.expect("\r\nEND\r\n");
    waits.send("get huge\r\n");
    take_huge(&mut waits);
}

/// A server stops taking a large value in the middle, or before its first byte: the client gets an
/// error in bounded time, the rest of its value is thrown away, and it can go on.
#[test]
fn an_upload_to_a_frozen_server_ends_in_an_error() {
    let (server, addr) = roomy_memcached();
    let pool = "read_timeout = \"500ms\"\nretry = \"20ms\"\nretry_max = \"200ms\"";
    let proxy = Proxy::with_one_worker(&[addr], pool, "");
    let piece = vec![b'u'; HUGE / 2];
    for sent_before in [true, false] {
        let mut client = proxy.client();
        wait_until("the server answers", || {
            client.send("get small\r\n");
            client.line() == "END"
        });
        if !sent_before {
            server.signal("STOP");
        }
        client.send(format!("set upload 0 0 {HUGE}\r\n"));
        client.send(&piece);
        if sent_before {
            server.signal("STOP");
        }
        client.send(&piece);
        client.ask("\r\nmn\r\n", format!("{FAILURE}MN\r\n"));
        server.signal("CONT");
        wait_until("the server answers again", || {
            client.send("get upload\r\n");
            client.line() == "END"
        });
    }
}

/// `mn` changes nothing: behind a large get it does not keep the value on the connection that
/// others share.
#[test]
fn a_noop_behind_a_large_get_does_not_hold_up_others() {
    let (_server, addr) = roomy_memcached();
    let limits = "[limits]\nclient_bytes_max = \"16m\"\n";
    let proxy = Proxy::with_one_worker(&[addr], "", limits);
    let mut slow = proxy.client();
    store_huge(&mut slow);
    slow.send("get huge\r\nmn\r\n");
    let mut quick = proxy.client();
    for n in 0..100 {
        quick.ask(format!("set q{n} 0 0 1\r\nx\r\n"), "STORED\r\n");
        quick.ask(format!("get q{n}\r\n"), format!("VALUE q{n} 0 1\r\nx\r\nEND\r\n"));
    }
    take_huge(&mut slow);
    slow.expect("MN\r\n");
}

/// A write behind a large get is not carried out before the value is read.
#[test]
fn a_write_does_not_overtake_a_large_get() {
    let (_server, addr) = roomy_memcached();
    let proxy = Proxy::with_one_worker(&[addr], "", "");
    let mut client = proxy.client();
    for _ in 0..3 {
        store_huge(&mut client);
        client.send("get huge\r\nset huge 0 0 3\r\nnew\r\nget huge\r\n");
        take_huge(&mut client);
        client.expect("STORED\r\nVALUE huge 0 3\r\nnew\r\nEND\r\n");
    }
}

/// A reply beyond `value_bytes_max` is refused while it arrives; what is left of it is nobody's.
#[test]
fn a_reply_beyond_the_limit_is_refused_and_others_get_theirs() {
    let fake = Fake::start(|asked| match asked.words().as_slice() {
        ["get", "vast"] => {
            let value = "VALUE victim 0 3\r\nbad\r\nEND\r\n".repeat(500_000);
            send(format!("VALUE vast 0 {}\r\n{value}\r\nEND\r\n", value.len()))
        }
        ["get", key] => send(format!("VALUE {key} 0 4\r\ngood\r\nEND\r\n")),
        _ => Honest::default().answer(asked),
    });
    let mut slow = Scripted::new();
    let proxy = with_one_lane(&fake, &slow);
    let (mut asks, mut other) = (proxy.client(), proxy.client());
    for n in 0..5 {
        // The first time it is the refused reply's turn, then it has to wait for another one.
        let first = if n == 0 { "" } else { "get s:1\r\n" };
        asks.send(format!("{first}get vast\r\nget a{n}\r\n"));
        other.ask("get victim\r\n", "VALUE victim 0 4\r\ngood\r\nEND\r\n");
        if !first.is_empty() {
            slow.expect(first);
            other.ask(format!("get b{n}\r\n"), format!("VALUE b{n} 0 4\r\ngood\r\nEND\r\n"));
            slow.send("END\r\n");
            asks.expect("END\r\n");
        }
        asks.expect(format!("{TOO_LARGE}VALUE a{n} 0 4\r\ngood\r\nEND\r\n"));
    }
}

const TOO_LARGE: &str = "SERVER_ERROR object too large for cache\r\n";
