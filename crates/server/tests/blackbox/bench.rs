//! `keyway bench` against servers that answer well, and against servers that lie.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;

use keyway_testkit::fake::{Asked, Fake, Honest, Step, send};
use keyway_testkit::port;
use keyway_testkit::process::{self, Process};
use serde_json::Value;

use crate::KEYWAY;

/// Runs the load and returns its report and exit status.
#[track_caller]
fn bench(addr: SocketAddr, args: &str) -> (Value, i32) {
    let mut command = Command::new(KEYWAY);
    command.args(["bench", "--json", "--address", &addr.to_string()]);
    let (output, status) = process::run(command.args(args.split(' ')));
    let report = serde_json::from_str(&output).unwrap_or_else(|_| panic!("no report: {output}"));
    (report, status.code().expect("the load generator ends by itself"))
}

/// The report of a load that met no trouble and measured `requests` requests.
#[track_caller]
fn fine(addr: SocketAddr, requests: u64, args: &str) -> Value {
    let (report, status) = bench(addr, &format!("--requests {requests} --warmup 0s {args}"));
    for trouble in ["wrong", "errors", "lost", "timed_out", "disconnects"] {
        assert_eq!(report[trouble], 0, "{trouble} in {report}");
    }
    assert_eq!((status, &report["requests"]), (0, &Value::from(requests)), "{report}");
    report
}

#[test]
fn every_reply_of_a_real_memcached_is_right() {
    let (_server, addr) = process::memcached(&["-t", "2"]);
    for (keys, protocol) in [(500, "memcached"), (501, "meta")] {
        let loads = [
            "--connections 3 --fill",
            "--connections 20 --threads 2 --depth 8 --get-ratio 0.5 --key-distribution zipf",
            "--multiget 7 --get-ratio 1 --depth 2",
        ];
        for load in loads {
            let report = fine(addr, 2000, &format!("--protocol {protocol} --keys {keys} {load}"));
            assert_eq!(report["ops"]["get"]["misses"], 0, "every key is filled: {report}");
        }
        let large = "--fill --keys 20 --value-size 1-300k --connections 5 --depth 3";
        let report = fine(addr, 400, &format!("--protocol {protocol} {large}"));
        assert_eq!(report["filled"], 20);
        assert!(report["received_bytes"].as_u64() > Some(1_000_000), "{report}");
    }
}

#[test]
fn every_reply_of_a_real_redis_is_right() {
    let addr = port::local();
    let mut command = Command::new(process::find("redis-server"));
    command.args(["--port", &addr.port().to_string(), "--bind", "127.0.0.1", "--save", ""]);
    let mut server = Process::start(&mut command);
    server.wait_for_listener(addr);
    fine(addr, 2000, "--protocol redis --fill --keys 300 --connections 4 --depth 4");
    let report = fine(addr, 500, "--protocol redis --keys 300 --multiget 5 --get-ratio 1");
    assert_eq!(report["ops"]["get"]["hits"], 2500);
}

#[test]
fn keys_that_were_never_written_are_misses() {
    let (_server, addr) = process::memcached(&[]);
    let report = fine(addr, 300, "--get-ratio 1 --multiget 2 --seed 9");
    assert_eq!(report["ops"]["get"]["misses"], 600);
    assert_eq!(report["ops"]["get"]["hits"], 0);
}

#[test]
fn a_paced_load_sends_what_its_rate_says() {
    let (_server, addr) = process::memcached(&[]);
    let (report, status) =
        bench(addr, "--rate 2000 --duration 500ms --warmup 100ms --threads 2 --timeout 30s");
    assert_eq!(status, 0, "{report}");
    // Those of the measured half second; a busy machine may leave some of them unsent.
    let due = report["requests"].as_u64().unwrap() + report["unsent"].as_u64().unwrap();
    assert!((900..=1210).contains(&due), "{report}");
}

/// A server that keeps what is set and answers gets through `lie`.
fn liar(
    lie: impl Fn(&Asked, &HashMap<String, Vec<u8>>) -> Vec<Step> + Send + Sync + 'static,
) -> Fake {
    let values: Mutex<HashMap<String, Vec<u8>>> = Mutex::new(HashMap::new());
    Fake::start(move |asked| {
        let mut values = values.lock().expect("no answer panics");
        match asked.words()[..] {
            ["set", key, ..] => {
                values.insert(key.to_string(), asked.value.clone());
                send("STORED\r\n")
            }
            _ => lie(asked, &values),
        }
    })
}

/// What is answered to a get of this key, whose value is this.
type Lie = fn(&str, &[u8]) -> Vec<Step>;

fn value_reply(key: &str, value: &[u8]) -> Vec<Step> {
    let head = format!("VALUE {key} 0 {}\r\n", value.len());
    send([head.as_bytes(), value, b"\r\nEND\r\n"].concat())
}

const LOAD: &str = "--fill --keys 50 --connections 2 --depth 2 --get-ratio 1 --requests 200 \
                    --warmup 0s --value-size 40";

#[test]
fn another_keys_value_is_found_out() {
    let fake = liar(|asked, values| {
        let key = asked.words()[1];
        // Every tenth get of a connection is answered with what belongs to another key.
        let other = values.keys().find(|other| *other != key).expect("several keys are filled");
        value_reply(key, &values[if asked.nth % 10 == 9 { other } else { key }])
    });
    let (report, status) = bench(fake.addr, LOAD);
    assert_eq!(status, 1, "{report}");
    let wrong = report["wrong"].as_u64().unwrap();
    assert!((15..=30).contains(&wrong), "{report}");
    assert_eq!(report["requests"], 200, "the load goes on: {report}");
    assert_ne!(report["complaints"][0], Value::Null, "{report}");
}

#[test]
fn another_key_a_cut_value_and_a_stray_line_are_found_out() {
    let lies: [Lie; 4] = [
        |key, value| value_reply(&neighbour(key), value),
        |key, value| value_reply(&format!("x{key}"), value),
        |key, value| value_reply(key, &value[..39]),
        |key, value| [value_reply(key, value), send("STORED\r\n")].concat(),
    ];
    for lie in lies {
        let fake = liar(move |asked, values| {
            let key = asked.words()[1];
            let tell = if asked.nth == 40 { lie } else { value_reply };
            tell(key, &values[key])
        });
        let (report, status) = bench(fake.addr, LOAD);
        assert_eq!(status, 1, "{report}");
        assert!(report["wrong"].as_u64() > Some(0), "{report}");
    }
}

/// Another key that the load generator uses as well.
fn neighbour(key: &str) -> String {
    let (front, last) = key.split_at(key.len() - 1);
    format!("{front}{}", if last == "0" { "1" } else { "0" })
}

#[test]
fn errors_and_silence_are_told_from_wrong_replies() {
    let fake = liar(|asked, values| {
        let key = asked.words()[1];
        if asked.nth == 40 {
            send("SERVER_ERROR not now\r\n")
        } else {
            value_reply(key, &values[key])
        }
    });
    let (report, status) = bench(fake.addr, LOAD);
    assert_eq!((status, &report["wrong"]), (3, &Value::from(0)), "{report}");
    assert_eq!(report["complaints"][0], "error: SERVER_ERROR not now", "{report}");

    let fake = liar(|asked, values| {
        let key = asked.words()[1];
        if asked.conn == 0 && asked.nth == 40 {
            vec![Step::Hang]
        } else {
            value_reply(key, &values[key])
        }
    });
    let (report, status) = bench(fake.addr, &format!("{LOAD} --timeout 300ms"));
    assert_eq!((status, &report["wrong"]), (3, &Value::from(0)), "{report}");
    assert_eq!(report["disconnects"], 1, "{report}");
    assert!(report["timed_out"].as_u64() > Some(0), "{report}");
}

#[test]
fn a_lost_connection_is_made_again() {
    let honest = Honest::default();
    let fake = Fake::start(move |asked| {
        if asked.conn < 2 && asked.nth == 20 { vec![Step::Reset] } else { honest.answer(asked) }
    });
    let args = "--fill --keys 10 --connections 2 --requests 300 --warmup 0s --get-ratio 0.5";
    let (report, status) = bench(fake.addr, args);
    assert_eq!((status, &report["wrong"]), (3, &Value::from(0)), "{report}");
    assert_eq!(report["disconnects"], 2, "{report}");
    // The load may be over before the second one has been made again.
    assert!((3..=4).contains(&fake.accepted()), "{} connections", fake.accepted());
}

#[test]
fn a_server_that_is_not_there_is_said_so() {
    let mut command = Command::new(KEYWAY);
    let addr = port::local().to_string();
    command.args(["bench", "--address", &addr, "--timeout", "10s"]);
    let (output, status) = process::run(&mut command);
    assert_eq!(status.code(), Some(3), "{output}");
    assert!(output.contains(&addr) && output.contains("nothing listens there"), "{output}");
}

#[test]
fn impossible_options_are_refused() {
    for args in ["--threads 3 --connections 2", "--value-size 5-1", "--get-ratio 2", "--rate 0"] {
        let mut command = Command::new(KEYWAY);
        let (output, status) = process::run(command.arg("bench").args(args.split(' ')));
        assert!(status.code() == Some(2) || status.code() == Some(3), "{args}: {output}");
    }
}
