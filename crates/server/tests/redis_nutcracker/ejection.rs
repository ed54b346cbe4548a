//! Servers that leave the ring and come back. Times are generous: a test waits for what must come.

use std::net::SocketAddr;
use std::time::Duration;

use keyway_testkit::client::Client;
use keyway_testkit::peer::Step;
use keyway_testkit::redis::FakeRedis;
use keyway_testkit::resp::{bulk, words};
use keyway_testkit::twemproxy::{Program, named, server};
use keyway_testkit::{port, wait_until};

use crate::{Answer, Side, on_each};

on_each!(
    a_dead_server_costs_as_many_errors_as_the_limit,
    a_server_that_comes_back_is_used_again,
    a_limit_of_none_is_a_limit_of_one,
    a_reply_forgives_failures,
    errors_of_a_server_are_replies,
    many_pending_requests_are_one_failure,
    a_pool_without_servers_refuses_at_once,
    without_ejection_keys_stay,
    an_idle_end_counts,
);

fn directives(limit: u32, retry_ms: u32) -> String {
    format!(
        "hash: fnv1a_32\ndistribution: modula\nauto_eject_hosts: true\nserver_failure_limit: \
         {limit}\nserver_retry_timeout: {retry_ms}"
    )
}

const NEVER_MS: u32 = 600_000;
const REFUSED: &str = "-ERR Connection refused\\r\\n";

/// A pool of a server that answers with its name and of one that is not there.
fn with_a_dead_one(program: Program, limit: u32, retry_ms: u32) -> (Side, FakeRedis, SocketAddr) {
    let good = FakeRedis::named("good");
    let dead = port::local();
    let lines = [named(good.addr, "a"), named(dead, "b")];
    (Side::redis(program, &directives(limit, retry_ms), &lines), good, dead)
}

/// Asks for many keys; returns how many replies were errors of a refused connection.
fn refusals(client: &mut Client) -> usize {
    let replies = (0..50).map(|n| client.redis(&format!("get key{n}")));
    replies.filter(|r| r == REFUSED).count()
}

fn a_dead_server_costs_as_many_errors_as_the_limit(program: Program) {
    for limit in [1, 2, 5] {
        let (side, _good, _) = with_a_dead_one(program, limit, NEVER_MS);
        let mut client = side.client();
        assert_eq!(refusals(&mut client), limit as usize, "limit {limit}");
        assert_eq!(refusals(&mut client), 0, "limit {limit}");
        side.counts(&["alpha", "server_ejects"], 1);
        side.counts(&["alpha", "forward_error"], i64::from(limit));
        let at = side.nutcracker.counter(&["alpha", "b", "server_ejected_at"]);
        assert!(at > 1_600_000_000_000_000, "microseconds since 1970: {at}");
    }
}

fn a_server_that_comes_back_is_used_again(program: Program) {
    let (side, _good, dead) = with_a_dead_one(program, 1, 300);
    let mut client = side.client();
    wait_until("the dead server was met", || refusals(&mut client) > 0);
    let back = FakeRedis::start_at(dead, |_| vec![Step::Send(bulk("back"))]);
    wait_until("the server is used again", || {
        refusals(&mut client);
        !back.log().is_empty()
    });
    for n in 0..50 {
        let reply = client.redis(&format!("get key{n}"));
        assert!(reply.contains("good") || reply.contains("back"), "{reply}");
    }
}

fn a_limit_of_none_is_a_limit_of_one(program: Program) {
    let (side, _good, _) = with_a_dead_one(program, 0, NEVER_MS);
    assert_eq!(refusals(&mut side.client()), 1);
}

/// Fails every second request: the counter never reaches two.
fn a_reply_forgives_failures(program: Program) {
    let fake = FakeRedis::start(|asked| match asked.text(1).as_str() {
        "end" => vec![Step::Close],
        _ => vec![Step::Send(bulk("good"))],
    });
    let side = Side::redis(program, &directives(2, NEVER_MS), &[server(fake.addr)]);
    let mut client = side.client();
    for _ in 0..5 {
        client.ask(words("get end"), "-ERR unknown\r\n");
        client.ask(words("get a"), "$4\r\ngood\r\n");
    }
    side.counts(&["alpha", "forward_error"], 5);
    side.counts(&["alpha", "server_ejects"], 0);
    client.ask(words("get end"), "-ERR unknown\r\n");
    client.ask(words("get end"), "-ERR unknown\r\n");
    client.ask(words("get a"), "-ERR Connection refused\r\n");
}

fn errors_of_a_server_are_replies(program: Program) {
    let fake = FakeRedis::start(|_| vec![Step::Send(b"-ERR no\r\n".to_vec())]);
    let side = Side::redis(program, &directives(1, NEVER_MS), &[server(fake.addr)]);
    let mut client = side.client();
    for _ in 0..10 {
        client.ask(words("get a"), "-ERR no\r\n");
    }
    let name = fake.addr.to_string();
    side.counts(&["alpha", &name, "responses"], 10);
    side.counts(&["alpha", "server_ejects"], 0);
}

/// A failure is a connection that ends, however many requests waited on it.
fn many_pending_requests_are_one_failure(program: Program) {
    let fake = FakeRedis::start(|asked| match asked.text(1).as_str() {
        "end" => vec![Step::Close],
        "a" => Vec::new(),
        _ => vec![Step::Send(bulk("good"))],
    });
    let side = Side::redis(program, &directives(2, NEVER_MS), &[server(fake.addr)]);
    let mut client = side.client();
    client.send([words("get a").repeat(5), words("get end")].concat());
    client.expect("-ERR unknown\r\n".repeat(6));
    client.ask(words("get b"), "$4\r\ngood\r\n");
}

fn a_pool_without_servers_refuses_at_once(program: Program) {
    let lines = [named(port::local(), "a"), named(port::local(), "b")];
    let side = Side::redis(program, &directives(1, NEVER_MS), &lines);
    let mut client = side.client();
    assert_eq!(refusals(&mut client), 50);
    side.counts(&["alpha", "forward_error"], 50);
    assert_eq!(refusals(&mut client), 50);
    side.counts(&["alpha", "forward_error"], 100);
    // Each was tried once, and nobody after the second was out.
    side.counts(&["alpha", "server_ejects"], 2);
    for name in ["server_err", "requests"] {
        side.counts(&["alpha", "a", name], 1);
        side.counts(&["alpha", "b", name], 1);
    }
}

fn without_ejection_keys_stay(program: Program) {
    let good = FakeRedis::named("good");
    let lines = [named(good.addr, "a"), named(port::local(), "b")];
    let more = "hash: fnv1a_32\ndistribution: modula\nserver_failure_limit: 1";
    let side = Side::redis(program, more, &lines);
    let mut client = side.client();
    let first = refusals(&mut client);
    assert!((10..40).contains(&first), "about half of the keys: {first}");
    assert_eq!(refusals(&mut client), first);
    side.counts(&["alpha", "forward_error"], 2 * first as i64);
    side.counts(&["alpha", "server_ejects"], 0);
}

/// A server that ends an idle connection has failed, as far as counting goes.
fn an_idle_end_counts(program: Program) {
    let fake = FakeRedis::start(|asked| match asked.nth {
        // nutcracker looks for the end of a connection only when it is not behind a reply.
        0 => vec![Step::Send(bulk("good")), Step::Wait(Duration::from_millis(100)), Step::Close],
        _ => Vec::new(),
    });
    let side = Side::redis(program, &directives(1, NEVER_MS), &[server(fake.addr)]);
    assert_eq!(side.probe(&words("get a")), Answer::open("$4\r\ngood\r\n"));
    wait_until("the server is out", || side.nutcracker.counter(&["alpha", "server_ejects"]) == 1);
    assert_eq!(side.probe(&words("get a")), Answer::open("-ERR Connection refused\r\n"));
}
