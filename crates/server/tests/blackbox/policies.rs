//! Routes and policies over scripted backends: what each sends where, and what it answers.

use keyway_testkit::client::Client;
use keyway_testkit::fake::{Fake, send};

use crate::Proxy;

/// A backend that answers every set with `set` and every get with a value, a miss or an error.
fn backend(set: &'static str, get: Option<&'static str>) -> Fake {
    Fake::start(move |asked| match asked.words().as_slice() {
        ["version"] => send("VERSION 1\r\n"),
        ["get", key] => match get {
            Some("error") => send("SERVER_ERROR broken\r\n"),
            Some(value) => send(format!("VALUE {key} 0 {}\r\n{value}\r\nEND\r\n", value.len())),
            None => send("END\r\n"),
        },
        ["get", ..] => send("END\r\n"),
        _ => send(format!("{set}\r\n")),
    })
}

/// Two pools of one backend each, and these routes.
fn start(one: &Fake, two: &Fake, routes: &str) -> (Proxy, Client) {
    let proxy = Proxy::routed(&format!(
        "[pools.one]\nservers = [\"{}\"]\n[pools.two]\nservers = [\"{}\"]\n[routes]\n{routes}\n",
        one.addr, two.addr
    ));
    let client = proxy.client();
    (proxy, client)
}

const SET: &str = "set a 0 0 1\r\nx\r\n";

#[test]
fn prefixes_choose_the_longest() {
    let (one, two) = (backend("STORED", Some("1")), backend("STORED", Some("2")));
    let routes =
        "default = { prefix = { \"u:\" = \"one\", \"u:x\" = \"two\" }, default = \"null\" }";
    let (_proxy, mut client) = start(&one, &two, routes);
    client.ask("get u:a\r\n", "VALUE u:a 0 1\r\n1\r\nEND\r\n");
    client.ask("get u:xa\r\n", "VALUE u:xa 0 1\r\n2\r\nEND\r\n");
    client.ask("get other\r\n", "END\r\n");
    client.ask("get u:a other u:xa\r\n", "VALUE u:a 0 1\r\n1\r\nVALUE u:xa 0 1\r\n2\r\nEND\r\n");
}

#[test]
fn commands_can_go_different_ways() {
    let (one, two) = (backend("STORED", Some("1")), backend("STORED", Some("2")));
    let routes = "default = { command = { get = \"one\" }, default = \"two\" }";
    let (_proxy, mut client) = start(&one, &two, routes);
    client.ask("get a\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n");
    client.ask(SET, "STORED\r\n");
    assert_eq!((one.lines(), two.lines()), (vec!["get a".into()], vec!["set a 0 0 1".into()]));
}

#[test]
fn null_and_error_answer_without_a_backend() {
    let (one, two) = (backend("STORED", None), backend("STORED", None));
    let routes =
        "default = { prefix = { \"e:\" = { error = \"closed today\" } }, default = \"null\" }";
    let (_proxy, mut client) = start(&one, &two, routes);
    client.ask("get a\r\n", "END\r\n");
    client.ask(SET, "NOT_STORED\r\n");
    client.ask("mg a v\r\n", "EN\r\n");
    client.ask("get e:a\r\n", "SERVER_ERROR closed today\r\n");
    assert!(one.lines().is_empty() && two.lines().is_empty());
}

#[test]
fn failover_goes_on_after_errors_and_misses_as_told() {
    for (first, on, expected) in [
        (Some("1"), "[\"error\"]", "VALUE a 0 1\r\n1\r\nEND\r\n"),
        (Some("error"), "[\"error\"]", "VALUE a 0 1\r\n2\r\nEND\r\n"),
        (None, "[\"error\"]", "END\r\n"),
        (None, "[\"error\", \"miss\"]", "VALUE a 0 1\r\n2\r\nEND\r\n"),
    ] {
        let (one, two) = (backend("STORED", first), backend("STORED", Some("2")));
        let routes = format!("default = {{ failover = [\"one\", \"two\"], on = {on} }}");
        let (_proxy, mut client) = start(&one, &two, &routes);
        client.ask("get a\r\n", expected);
    }
}

#[test]
fn failover_passes_dead_pools() {
    let two = backend("STORED", Some("2"));
    let one = backend("STORED", Some("1"));
    let addr = one.addr;
    drop(one);
    let gone = Fake::start_at(addr, |_| send("VERSION 1\r\n"));
    let routes = "default = { failover = [\"one\", \"two\"] }";
    let (_proxy, mut client) = start(&gone, &two, routes);
    drop(gone);
    client.ask("get a\r\n", "VALUE a 0 1\r\n2\r\nEND\r\n");
    client.ask(SET, "STORED\r\n");
}

/// Failing over has a budget, so that a broken pool does not double the load of the next one.
#[test]
fn failover_keeps_within_its_budget() {
    let (one, two) = (backend("STORED", Some("error")), backend("STORED", Some("2")));
    let routes = "default = { failover = [\"one\", \"two\"], budget = 10 }";
    let (_proxy, mut client) = start(&one, &two, routes);
    for _ in 0..1000 {
        client.send("get a\r\n");
        let line = client.line();
        if line.starts_with("VALUE") {
            client.lines_until("END");
        } else {
            assert_eq!(line, "SERVER_ERROR broken");
        }
    }
    let second = two.lines().len();
    assert!((50..=250).contains(&second), "{second} of 1000 requests went on");
}

#[test]
fn all_sync_answers_with_the_worst() {
    for (second, expected) in [
        ("STORED", "STORED\r\n"),
        ("NOT_STORED", "NOT_STORED\r\n"),
        ("SERVER_ERROR full", "SERVER_ERROR full\r\n"),
    ] {
        let (one, two) = (backend("STORED", None), backend(second, None));
        let (_proxy, mut client) = start(&one, &two, "default = { all_sync = [\"one\", \"two\"] }");
        client.ask(SET, expected);
        assert_eq!((one.lines().len(), two.lines().len()), (1, 1));
    }
}

#[test]
fn all_fastest_answers_with_the_first_good_one() {
    let (one, two) = (backend("STORED", Some("error")), backend("STORED", Some("2")));
    let routes = "default = { all_fastest = [\"one\", \"two\"] }";
    let (_proxy, mut client) = start(&one, &two, routes);
    for _ in 0..50 {
        client.ask("get a\r\n", "VALUE a 0 1\r\n2\r\nEND\r\n");
    }
    client.ask("mn\r\n", "MN\r\n");
}
