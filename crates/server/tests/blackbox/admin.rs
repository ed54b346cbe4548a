//! The admin server: what it answers, whom it refuses, and what hostile peers cannot do to it.
//!
//! What a reload or a drain does to clients is in `reload`; here it is what is told about it.

use std::net::TcpListener;
use std::process::Command;

use keyway_testkit::client::Client;
use keyway_testkit::fake::Fake;
use keyway_testkit::port;
use keyway_testkit::process::{Keyway, Process, http, http_get};
use serde_json::Value;

use crate::{KEYWAY, Proxy, configuration};

fn start() -> (Proxy, Fake) {
    let backend = Fake::honest();
    let proxy = Proxy::start(&[backend.addr], "", "");
    (proxy, backend)
}

fn json(reply: (u16, String)) -> (u16, Value) {
    let value = serde_json::from_str(&reply.1);
    (reply.0, value.unwrap_or_else(|_| panic!("no JSON: {}", reply.1)))
}

/// Sends a request as it is and returns everything that comes back until the end.
fn raw(proxy: &Proxy, request: impl AsRef<[u8]>) -> String {
    let mut client = Client::tcp(proxy.keyway.admin);
    // The server may refuse in the middle of it, and then the rest cannot be sent.
    let _refused = client.try_send(request.as_ref());
    String::from_utf8_lossy(&client.drain()).into_owned()
}

#[test]
fn every_endpoint_answers() {
    let (proxy, _backend) = start();
    let mut client = proxy.client();
    client.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    client.ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
    let admin = proxy.keyway.admin;

    assert!(http_get(admin, "/").1.contains("/api/v1/stats"));
    assert_eq!(http_get(admin, "/healthz"), (200, "ok\n".into()));
    assert_eq!(http_get(admin, "/readyz"), (200, "ready\n".into()));
    let metrics = http_get(admin, "/metrics").1;
    for sample in [
        "keyway_requests_total{listener=\"main\",route=\"main\",command=\"get\"} 1\n",
        "keyway_hits_total{listener=\"main\",route=\"main\",command=\"get\"} 1\n",
        "keyway_ready 1\n",
        "keyway_generation 1\n",
    ] {
        assert!(metrics.contains(sample), "{sample} in {metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));

    let (status, config) = json(http_get(admin, "/api/v1/config"));
    assert_eq!((status, &config["generation"]), (200, &Value::from(1)));
    assert_eq!(config["config"]["listeners"][0]["name"], "main");
    let (status, stats) = json(http_get(admin, "/api/v1/stats"));
    assert_eq!(status, 200);
    assert_eq!(stats["fronts"][0]["commands"]["set"]["requests"], 1);
    assert_eq!(stats["clients"]["connected"], 1);
    let (status, way) = json(http_get(admin, "/api/v1/explain?key=a%ffb&command=incr"));
    assert_eq!((status, &way["key_hex"]), (200, &Value::from("61ff62")));
    assert_eq!((&way["command"], &way["way"]["does"]), (&"arith".into(), &"pool".into()));
}

#[test]
fn impossible_questions_are_answered_with_what_is_wrong() {
    let (proxy, _backend) = start();
    let long = format!("/api/v1/explain?key={}", "k".repeat(251));
    for (path, status, says) in [
        ("/api/v1/explain", 400, "key"),
        ("/api/v1/explain?key=", 400, "1 to 250"),
        (&long[..], 400, "1 to 250"),
        ("/api/v1/explain?key=a&command=fetch", 400, "fetch"),
        ("/api/v1/explain?key=a&listener=other", 400, "main"),
        ("/api/v1/explain?key=a&kye=b", 400, "kye"),
        ("/api/v2/stats", 404, "/api/v2/stats"),
        ("/api/v1/reload", 405, "GET"),
    ] {
        let (found, reply) = json(http_get(proxy.keyway.admin, path));
        assert_eq!(found, status, "{path}: {reply}");
        assert!(reply["error"].as_str().unwrap().contains(says), "{path}: {reply}");
        assert!(!reply["help"].as_str().unwrap().is_empty(), "{path}: {reply}");
    }
    assert_eq!(http(proxy.keyway.admin, "POST", "/metrics").0, 405);
}

#[test]
fn requests_that_another_site_caused_are_refused() {
    let (proxy, _backend) = start();
    let admin = proxy.keyway.admin;
    for (method, path, headers, status) in [
        ("POST", "/api/v1/drain", "Host: evil.example\r\n".to_string(), 403),
        ("POST", "/api/v1/drain", format!("Host: {admin}\r\nOrigin: http://evil.example\r\n"), 403),
        ("POST", "/api/v1/drain", format!("Host: {admin}\r\nOrigin: null\r\n"), 403),
        ("POST", "/api/v1/drain", "Host: localhost.evil.example\r\n".to_string(), 403),
        ("GET", "/api/v1/config", "Host: evil.example\r\n".to_string(), 403),
        ("GET", "/", "Host: evil.example\r\n".to_string(), 403),
        ("GET", "/metrics", "Host: keyway.caches.svc\r\n".to_string(), 200),
        ("POST", "/api/v1/reload", format!("Host: {admin}\r\nOrigin: http://{admin}\r\n"), 200),
        ("POST", "/api/v1/reload", "Host: localhost\r\n".to_string(), 200),
    ] {
        let reply =
            raw(&proxy, format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"));
        let expected = format!("HTTP/1.1 {status} ");
        assert!(reply.starts_with(&expected), "{method} {path} {headers}: {reply}");
    }
    proxy.client().ask("mn\r\n", "MN\r\n");
}

#[test]
fn hostile_requests_are_refused_and_change_nothing() {
    let (proxy, _backend) = start();
    let many = (0..1000).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    let requests = [
        "\0\u{1}\u{2}\r\n\r\n".to_string(),
        "get a\r\n\r\n".to_string(),
        format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000)),
        format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(100_000)),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"),
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n".to_string(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_string(),
    ];
    for request in &requests {
        let reply = raw(&proxy, request);
        let refused = reply.is_empty() || reply.starts_with("HTTP/1.1 4");
        assert!(refused, "{:.60} was answered with {reply:.200}", request);
    }
    assert_eq!(http_get(proxy.keyway.admin, "/readyz").0, 200);
}

#[test]
fn a_body_is_neither_read_nor_waited_for() {
    let (proxy, _backend) = start();
    let mut client = Client::tcp(proxy.keyway.admin);
    client.send(
        "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999\r\n\r\n",
    );
    assert!(client.line().starts_with("HTTP/1.1 200"));
}

#[test]
fn a_peer_that_takes_its_time_is_cut_off() {
    let (proxy, _backend) = start();
    let mut slow = Client::tcp(proxy.keyway.admin);
    slow.send("GET /readyz HTTP/1.1\r\nHost: local");
    assert_eq!(http_get(proxy.keyway.admin, "/readyz").0, 200, "it keeps nobody waiting");
    // Whether with 408 or without a word is the library's choice.
    let said = String::from_utf8_lossy(&slow.drain()).into_owned();
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
}

#[test]
fn too_many_connections_are_closed_and_the_others_still_served() {
    let (proxy, _backend) = start();
    let mut first = Client::tcp(proxy.keyway.admin);
    let mut idle: Vec<Client> = (0..100).map(|_| Client::tcp(proxy.keyway.admin)).collect();
    // The last ones are beyond the limit whatever the order of accepting was.
    idle.last_mut().expect("there are some").expect_close();
    first.send("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(first.line().starts_with("HTTP/1.1 200"));
    drop(idle);
    let refused = |metrics: &str| {
        let line = metrics.lines().find(|it| it.starts_with("keyway_admin_connections_refused"));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    };
    keyway_testkit::wait_until("places are free again", || {
        refused(&http_get(proxy.keyway.admin, "/metrics").1) >= 36
    });
}

#[test]
fn a_reload_is_told_to_whoever_asked_for_it() {
    let backend = Fake::honest();
    let addr = port::local();
    let good = configuration(addr, &[backend.addr], "", "");
    let keyway = Keyway::start(KEYWAY, &good);
    let order = |text: &str| {
        std::fs::write(&keyway.config, text).unwrap();
        json(http(keyway.admin, "POST", "/api/v1/reload"))
    };
    assert_eq!(order(&good), (200, serde_json::json!({ "generation": 2 })));
    let (status, reply) = order(&good.replace("workers = 2", "wrokers = 2"));
    assert_eq!(status, 422);
    assert!(reply["error"].as_str().unwrap().contains("wrokers"), "{reply}");
    let (_, stats) = json(http_get(keyway.admin, "/api/v1/stats"));
    assert_eq!(
        (&stats["reloads"]["accepted"], &stats["reloads"]["refused"]),
        (&1.into(), &1.into())
    );
    assert_eq!(stats["generation"], 2);
    assert_eq!(order(&good).1["generation"], 3);
    let (_, stats) = json(http_get(keyway.admin, "/api/v1/stats"));
    assert_eq!(stats["reloads"]["last_refusal"], "");
}

#[test]
fn a_taken_address_refuses_the_whole_reload() {
    let backend = Fake::honest();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let (addr, free) = (port::local(), port::local());
    let good = configuration(addr, &[backend.addr], "", "");
    let keyway = Keyway::start(KEYWAY, &good);
    let two = format!(
        "{good}[listeners.free]\naddress = \"{free}\"\n[listeners.taken]\naddress = \"{taken}\"\n"
    );
    std::fs::write(&keyway.config, two).unwrap();
    let (status, reply) = json(http(keyway.admin, "POST", "/api/v1/reload"));
    assert_eq!(status, 422, "{reply}");
    assert!(reply["error"].as_str().unwrap().contains(&taken.to_string()), "{reply}");
    assert!(Client::try_tcp(free).is_err(), "nothing of it was taken over");
    Client::tcp(addr).ask("mn\r\n", "MN\r\n");
}

#[test]
fn draining_is_visible_and_a_second_signal_ends_it() {
    // A backend that never answers keeps its client owed, and the drain waiting.
    let backend = Fake::start(|asked| match asked.is_version() {
        true => keyway_testkit::fake::send("VERSION 1\r\n"),
        false => Vec::new(),
    });
    let mut proxy = Proxy::start(&[backend.addr], "read_timeout = \"1m\"", "");
    let mut client = proxy.client();
    client.send("get a\r\n");
    keyway_testkit::wait_until("the backend has the request", || {
        backend.lines().iter().any(|line| line.starts_with("get"))
    });
    let reply = json(http(proxy.keyway.admin, "POST", "/api/v1/drain"));
    assert_eq!(reply, (202, serde_json::json!({ "phase": "draining" })));
    keyway_testkit::wait_until("the listener is closed", || Client::try_tcp(proxy.addr).is_err());
    assert_eq!(http_get(proxy.keyway.admin, "/readyz"), (503, "draining\n".into()));
    assert_eq!(http(proxy.keyway.admin, "POST", "/api/v1/reload").0, 503);
    assert!(proxy.keyway.process.is_running());
    proxy.keyway.process.signal("TERM");
    assert_eq!(proxy.keyway.process.wait().code(), Some(0));
}

#[test]
fn ctl_and_explain_talk_to_a_running_instance() {
    let (mut proxy, backend) = start();
    let admin = proxy.keyway.admin.to_string();
    let keyway = |args: &[&str]| {
        let mut command = Command::new(KEYWAY);
        let (output, status) = keyway_testkit::process::run(command.args(args));
        (output, status.code())
    };
    let (output, status) = keyway(&["explain", "a", "--admin", &admin]);
    assert_eq!(status, Some(0), "{output}");
    assert!(output.contains(&backend.addr.to_string()), "{output}");
    let (output, status) = keyway(&["explain", "a", "--admin", &admin, "--listener", "none"]);
    assert_eq!(status, Some(1), "{output}");
    let (output, status) = keyway(&["ctl", "stats", "--admin", &admin]);
    assert_eq!(status, Some(0));
    assert_eq!(serde_json::from_str::<Value>(&output).unwrap()["phase"], "ready");
    assert_eq!(keyway(&["ctl", "reload", "--admin", &admin]).1, Some(0));
    assert_eq!(keyway(&["ctl", "drain", "--admin", &admin]).1, Some(0));
    assert_eq!(proxy.keyway.process.wait().code(), Some(0));
    let (output, status) = keyway(&["ctl", "stats", "--admin", &admin]);
    assert_eq!(status, Some(1));
    assert!(output.contains("is Keyway running"), "{output}");
}

#[test]
fn without_a_file_a_taken_admin_port_is_a_warning() {
    // Whoever holds the default port, this test or somebody else: it is taken.
    let _holder = TcpListener::bind("127.0.0.1:9911");
    let addr = port::local();
    let mut command = Command::new(KEYWAY);
    command.args(["--listen", &addr.to_string(), "--workers", "1", "--log-format", "json"]);
    let mut process = Process::start(&mut command);
    process.wait_for_listener(addr);
    process.wait_for_output("the admin server is off");
    Client::tcp(addr).ask("version\r\n", "VERSION 1.6.45\r\n");
    let output = process.output();
    let warning = output.lines().find(|line| line.starts_with('{')).expect("a line of the log");
    let warning: Value = serde_json::from_str(warning).expect("one JSON object");
    assert_eq!(warning["level"], "WARN", "{warning}");
    assert!(warning["message"].as_str().unwrap().contains("--admin"), "{warning}");
    process.signal("INT");
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn a_taken_listener_port_ends_the_start_with_the_way_out() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = holder.local_addr().unwrap().to_string();
    let mut command = Command::new(KEYWAY);
    command.args(["--listen", &addr, "--admin", "off"]);
    let (output, status) = keyway_testkit::process::run(&mut command);
    assert_eq!(status.code(), Some(71), "{output}");
    assert!(output.contains(&addr) && output.contains("--listen"), "{output}");
}
