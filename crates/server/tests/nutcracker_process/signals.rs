//! What each signal does, and what it leaves in the log.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use keyway_testkit::client::Client;
use keyway_testkit::peer::Step;
use keyway_testkit::redis::FakeRedis;
use keyway_testkit::twemproxy::{Nutcracker, Program, named, pool};
use keyway_testkit::{port, wait_until};

use crate::{BOTH, OURS};

/// A program that answers no request, with one pool.
fn start(program: Program) -> Nutcracker {
    let addr = port::local();
    let text = pool("alpha", addr, "redis: true", &["127.0.0.1:1:1 s".into()]);
    Nutcracker::start(program, &text, &[addr])
}

fn log(nutcracker: &Nutcracker) -> String {
    fs::read_to_string(&nutcracker.log).unwrap_or_default()
}

#[track_caller]
fn wait_for_line(nutcracker: &Nutcracker, text: &str) {
    wait_until(text, || log(nutcracker).lines().any(|line| line.ends_with(text)));
}

#[test]
fn lines_about_signals_are_the_same() {
    for program in BOTH {
        let nutcracker = start(program);
        for (signal, lines) in [
            ("USR1", &["signal 10 (SIGUSR1) received"][..]),
            ("USR2", &["signal 12 (SIGUSR2) received"]),
            ("TTIN", &["signal 21 (SIGTTIN) received, up logging level", "up log level to 6"]),
            ("TTOU", &["signal 22 (SIGTTOU) received, down logging level", "down log level to 5"]),
            ("HUP", &["signal 1 (SIGHUP) received, reopening log file"]),
        ] {
            nutcracker.process.signal(signal);
            for line in lines {
                wait_for_line(&nutcracker, line);
            }
        }
    }
}

#[test]
fn lines_have_a_time_and_a_place() {
    let nutcracker = start(OURS);
    nutcracker.process.signal("USR2");
    wait_for_line(&nutcracker, "signal 12 (SIGUSR2) received");
    for line in log(&nutcracker).lines() {
        let shape: String =
            line.chars().take(26).map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
        assert_eq!(shape, "[9999-99-99 99:99:99.999] ", "{line}");
        let place = line[26..].split(' ').next().unwrap_or_default();
        let (file, number) = place.split_once(':').expect("a file and a line");
        assert!(file.ends_with(".rs") && number.parse::<u32>().is_ok(), "{line}");
    }
}

#[test]
fn the_level_stops_at_both_ends() {
    let nutcracker = start(OURS);
    for (signal, last, times) in
        [("TTIN", "up log level to 11", 8), ("TTOU", "down log level to 0", 13)]
    {
        for n in 1..=times {
            nutcracker.process.signal(signal);
            let heard = format!("(SIG{signal}) received");
            wait_until("it is heard", || log(&nutcracker).matches(&heard).count() == n);
        }
        wait_for_line(&nutcracker, last);
    }
    assert!(!log(&nutcracker).contains("to 12"), "{}", log(&nutcracker));
}

#[test]
fn an_interrupt_ends_it_with_status_1() {
    for program in BOTH {
        let mut nutcracker = start(program);
        nutcracker.process.signal("INT");
        assert_eq!(nutcracker.process.wait().code(), Some(1));
        let log = log(&nutcracker);
        assert!(log.ends_with("signal 2 (SIGINT) received, exiting\n"), "{log}");
        if program.is_ours() {
            assert!(!nutcracker.process.scratch().file("pid").exists(), "the pid file is removed");
        }
    }
}

#[test]
fn a_segv_is_told_and_kills() {
    for program in BOTH {
        let mut nutcracker = start(program);
        nutcracker.process.signal("SEGV");
        assert_eq!(nutcracker.process.wait().signal(), Some(11), "{program:?}");
        assert!(log(&nutcracker).contains("signal 11 (SIGSEGV) received, core dumping"));
    }
}

#[test]
fn a_termination_pays_what_is_owed() {
    let fake = FakeRedis::start(|asked| match asked.line().as_str() {
        "get slow" => {
            vec![Step::Wait(Duration::from_millis(500)), Step::Send(b"$1\r\nx\r\n".to_vec())]
        }
        _ => vec![Step::Send(b"+OK\r\n".to_vec())],
    });
    let addr = port::local();
    let text = pool("alpha", addr, "redis: true", &[named(fake.addr, "s")]);
    let mut nutcracker = Nutcracker::start(OURS, &text, &[addr]);
    let (mut idle, mut waiting) = (Client::tcp(addr), Client::tcp(addr));
    idle.ask("*1\r\n$4\r\nPING\r\n", "+PONG\r\n");
    waiting.send("*2\r\n$3\r\nget\r\n$4\r\nslow\r\n");
    wait_until("the request is under way", || fake.lines().iter().any(|line| line == "get slow"));
    nutcracker.process.signal("TERM");
    idle.expect_close();
    waiting.expect("$1\r\nx\r\n");
    waiting.expect_close();
    assert_eq!(nutcracker.process.wait().code(), Some(0));
    assert!(log(&nutcracker).ends_with("done, rabbit done\n"), "{}", log(&nutcracker));
    assert!(!nutcracker.process.scratch().file("pid").exists(), "the pid file is removed");
}

#[test]
fn a_log_that_was_moved_is_made_anew() {
    for program in BOTH {
        let nutcracker = start(program);
        let moved = nutcracker.log.with_extension("1");
        fs::rename(&nutcracker.log, &moved).expect("the log is there");
        nutcracker.process.signal("HUP");
        wait_until("there is a new log", || nutcracker.log.exists());
        nutcracker.process.signal("USR2");
        wait_for_line(&nutcracker, "signal 12 (SIGUSR2) received");
        let old = fs::read_to_string(&moved).expect("the old log is there");
        assert!(old.ends_with("signal 1 (SIGHUP) received, reopening log file\n"), "{old}");
    }
}

#[test]
fn a_failing_server_is_logged_in_nutcrackers_words() {
    let nutcracker = start(OURS);
    let addr = fs::read_to_string(&nutcracker.config).expect("the file is there");
    let addr = addr.lines().find_map(|line| line.trim().strip_prefix("listen: "));
    let addr = addr.and_then(|addr| addr.parse().ok()).expect("the file has an address");
    Client::tcp(addr).ask("*2\r\n$3\r\nget\r\n$1\r\nk\r\n", "-ERR Connection refused\r\n");
    wait_for_line(
        &nutcracker,
        "connect on s 0 to server '127.0.0.1:1:1' failed: Connection refused",
    );
}
