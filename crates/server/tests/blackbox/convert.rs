//! nutcracker's file given to commands: checked, explained, converted, and the same either way.

use std::path::Path;
use std::process::{Command, ExitStatus};

use keyway_testkit::process::{Scratch, run};

use crate::KEYWAY;

const FILE: &str = "\
alpha:
  listen: 127.0.0.1:22121
  hash: murmur
  hash_tag: \"{}\"
  redis: true
  servers:
   - 10.0.0.1:6379:1 one
   - 10.0.0.2:6379:3 two
   - 10.0.0.3:6379:1
";

fn keyway(args: &[&str]) -> (String, ExitStatus) {
    run(Command::new(KEYWAY).args(args))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the folder for tests has a plain name")
}

#[test]
fn a_converted_file_sends_every_key_to_the_same_server() {
    let scratch = Scratch::new();
    // Told by its content: nothing in the name says YAML.
    let yaml = scratch.write("conf", FILE);
    let toml = scratch.file("keyway.toml");
    let (output, status) = keyway(&["convert", text(&yaml), "-o", text(&toml)]);
    assert_eq!((status.code(), output.as_str()), (Some(0), ""));
    let (output, status) = keyway(&["check", text(&yaml), text(&toml)]);
    assert_eq!(status.code(), Some(0), "{output}");
    assert_eq!(output.matches(": ok\n").count(), 2, "{output}");
    let mut servers = Vec::new();
    for key in ["a", "user:{7}:name", "user:{7}:mail", "{}x", "key:1", "key:2", "key:3", "key:4"] {
        let explain = |file| keyway(&["explain", key, "--config", file]).0;
        let (theirs, ours) = (explain(text(&yaml)), explain(text(&toml)));
        assert_eq!(theirs, ours);
        assert!(theirs.contains("backend \""), "{theirs}");
        servers.push(theirs.lines().last().unwrap_or("").to_owned());
    }
    assert_eq!(servers[1], servers[2], "the tag decides");
    servers.sort();
    servers.dedup();
    assert!(servers.len() > 1, "{servers:?}");
}

#[test]
fn a_file_is_never_overwritten_and_a_bad_one_not_converted() {
    let scratch = Scratch::new();
    let yaml = scratch.write("nutcracker.yml", FILE);
    let there = scratch.write("there.toml", "# mine\n");
    let (output, status) = keyway(&["convert", text(&yaml), "-o", text(&there)]);
    assert_eq!(status.code(), Some(1));
    assert!(output.contains("cannot write"), "{output}");
    assert_eq!(std::fs::read_to_string(&there).expect("the file is there"), "# mine\n");
    let (output, status) = keyway(&["convert", text(&there)]);
    assert_eq!(status.code(), Some(1));
    assert!(output.contains("is a native file already"), "{output}");
    let bad = scratch.write("bad.yml", FILE.replace("\"{}\"", "{}").replace("redis:", "reddis:"));
    let (output, status) = keyway(&["convert", text(&bad)]);
    assert_eq!(status.code(), Some(1));
    assert!(output.contains("bad.yml:4:13"), "{output}");
    assert!(output.contains("hash_tag: \"{}\""), "{output}");
    assert!(!output.contains("[pools"), "{output}");
}
