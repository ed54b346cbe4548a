//! Every example is started, as it is in the repository but for its addresses.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use keyway_testkit::client::Client;
use keyway_testkit::port;
use keyway_testkit::process::{Keyway, Process, Scratch, run};

use crate::KEYWAY;

fn examples() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .expect("the examples are there")
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 8, "{paths:?}");
    paths
}

/// Ports of this machine become free ones, sockets move to a folder of ours, and servers become
/// addresses where nobody listens.
fn moved(text: &str, scratch: &Scratch) -> (String, Option<String>) {
    let mut free: HashMap<String, String> = HashMap::new();
    let mut listener = None;
    let mut moved = String::new();
    for line in text.lines() {
        let mut line = line.replace("unix:/tmp/", &format!("unix:{}/", scratch.path().display()));
        if !line.trim_start().starts_with('#') {
            while let Some((at, host_port)) = next_address(&line) {
                let new = free
                    .entry(host_port.clone())
                    .or_insert_with(|| format!("127.0.0.1_{}", port::free()));
                line.replace_range(at..at + host_port.len(), new);
            }
            if line.trim_start().starts_with("address") && listener.is_none() {
                listener = line.split('"').nth(1).map(|a| a.replace('_', ":"));
            }
        }
        moved.push_str(&line.replace("127.0.0.1_", "127.0.0.1:"));
        moved.push('\n');
    }
    (moved, listener)
}

/// The first `a.b.c.d:port` of a line that was not moved yet.
fn next_address(line: &str) -> Option<(usize, String)> {
    let starts = line.char_indices().filter(|(at, c)| {
        c.is_ascii_digit() && !line[..*at].ends_with(|p: char| p.is_ascii_digit() || p == '.')
    });
    for (at, _) in starts {
        let rest = &line[at..];
        let len = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':');
        let candidate = &rest[..len.unwrap_or(rest.len())];
        let mut parts = candidate.split(':');
        let (Some(ip), Some(port)) = (parts.next(), parts.next()) else { continue };
        if ip.split('.').count() == 4 && port.parse::<u16>().is_ok() {
            return Some((at, format!("{ip}:{port}")));
        }
    }
    None
}

#[test]
fn every_example_passes_the_check() {
    for path in examples() {
        let mut command = std::process::Command::new(KEYWAY);
        let (output, status) = run(command.arg("check").arg(&path));
        assert_eq!(status.code(), Some(0), "{}:\n{output}", path.display());
    }
}

#[test]
fn every_example_starts_and_answers() {
    for path in examples() {
        let scratch = Scratch::new();
        let text = fs::read_to_string(&path).expect("examples are text");
        let (text, listener) = moved(&text, &scratch);
        let keyway = Keyway::start(KEYWAY, &text);
        let address = listener.unwrap_or_else(|| panic!("{}: no listener", path.display()));
        let mut client = match address.strip_prefix("unix:") {
            Some(socket) => Client::unix(Path::new(socket)),
            None => Client::tcp(address.parse().expect("an address with a port")),
        };
        let speaks = |word: &str| text.lines().any(|line| line.starts_with(word));
        let is_redis = speaks("protocol = \"redis\"");
        if !is_redis {
            client.ask("mn\r\n", "MN\r\n");
            client.send("get some:key\r\n");
            let line = client.line();
            let answers = line == "END" || line.starts_with("SERVER_ERROR");
            assert!(answers, "{}: {line}", path.display());
        }
        if is_redis || speaks("protocol = \"auto\"") {
            let mut client = Client::tcp(address.parse().expect("an address with a port"));
            client.ask("*1\r\n$4\r\nPING\r\n", "+PONG\r\n");
            client.send("*2\r\n$3\r\nGET\r\n$8\r\nsome:key\r\n");
            let line = client.line();
            assert!(line == "$-1" || line.starts_with("-ERR"), "{}: {line}", path.display());
        }
        stop(keyway.process);
    }
}

fn stop(mut process: Process) {
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0), "{}", process.output());
}
