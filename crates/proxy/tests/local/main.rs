//! The embedded store's commands, without sockets and threads: conversations from
//! `transcripts/local`, and what text alone cannot say (time, memory, watchers, packets).
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod allocation;
mod binary;
#[allow(dead_code)] // The comparison with memcached uses the rest.
#[path = "../differential/driver.rs"]
mod driver;
mod limits;
mod time;
mod watch;

use driver::Local;
use keyway_testkit::transcript::{Act, Case, load_all};
use std::path::Path;

#[test]
fn conversations_go_as_written() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts/local");
    let cases = load_all(&dir);
    assert!(cases.len() > 20, "the conversations are where they should be");
    for case in &cases {
        play(case);
    }
}

/// Plays one case with a store of its own.
fn play(case: &Case) {
    let mut local = Local::new();
    let mut answered = Vec::new();
    for step in &case.steps {
        let at = || format!("{}, line {}", case.name, step.line);
        match step.act {
            Act::ClientSends => answered.extend(local.exchange(&step.bytes)),
            Act::ClientGets => {
                let wanted = &step.bytes;
                let got: Vec<u8> = answered.drain(..wanted.len().min(answered.len())).collect();
                assert_eq!(show(&got), show(wanted), "{} (then: {})", at(), show(&answered));
            }
            Act::ClientClosed => {
                assert_eq!(show(&answered), "(closed)\\r\\n", "{}", at());
                answered.clear();
            }
            _ => panic!("there are no backends here: {}", at()),
        }
    }
    assert_eq!(show(&answered), "", "{}: more was answered than is written", case.name);
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Sends `request` and gives the answer as text.
fn ask(local: &mut Local, request: &str) -> String {
    String::from_utf8(local.exchange(request.as_bytes())).unwrap()
}
