//! Options, verdicts and ways to fail before the first client.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::process::Command;

use keyway_testkit::process::Scratch;
use keyway_testkit::twemproxy::{Program, pool};
use keyway_testkit::{port, wait_until};

use crate::{BOTH, KEYWAY, OURS, errors, output};

/// Command lines that end at once.
const LINES: &[&[&str]] = &[
    &["-x"],
    &["--nonsense"],
    &["-c"],
    &["-o"],
    &["-p"],
    &["-m"],
    &["-v"],
    &["-s"],
    &["-i"],
    &["-a"],
    &["-v", "x"],
    &["-v", "-1"],
    &["-s", "x"],
    &["-i", "+3"],
    &["-s", "0"],
    &["-s", "65536"],
    &["-m", "0"],
    &["-m", "-1"],
    &["-m", "4k"],
    &["-m", "511"],
    &["-m", "16777217"],
    &["--mbuf-size=511"],
    &["--stats", "1"],
    &["-V", "-x"],
    &["-th", "-s", "0"],
];

#[test]
fn mistakes_have_the_same_words_and_codes() {
    for line in LINES {
        let [reference, ours] = BOTH.map(|program| output(program.command().args(*line)));
        assert_eq!(ours.status.code(), reference.status.code(), "{line:?}");
        assert!(ours.stdout.is_empty() && reference.stdout.is_empty(), "{line:?}");
        let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        assert_eq!(first(&errors(&ours)), first(&errors(&reference)), "{line:?}");
        let usage = |text: &str| text.lines().any(|line| line.starts_with("Usage: nutcracker"));
        assert_eq!(usage(&errors(&ours)), usage(&errors(&reference)), "{line:?}");
    }
}

#[test]
fn questions_are_answered_on_standard_error() {
    for line in [&["-h"][..], &["-V"], &["-D"], &["--version"], &["-Vt", "-c", "nowhere"]] {
        let [reference, ours] = BOTH.map(|program| output(program.command().args(line)));
        assert_eq!((ours.status.code(), reference.status.code()), (Some(0), Some(0)), "{line:?}");
        assert!(ours.stdout.is_empty(), "{line:?}");
        let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
        assert_eq!(first(errors(&ours)), first(errors(&reference)), "{line:?}");
    }
    let names = |text: String| {
        let lines = text.lines().filter(|line| line.starts_with("  "));
        lines.map(|line| line.split('"').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let [reference, ours] = BOTH.map(|program| output(program.command().arg("-D")));
    assert_eq!(names(errors(&ours)), names(errors(&reference)), "names of counters, in order");
}

#[test]
fn the_verdict_is_the_same_and_the_reason_is_added() {
    let scratch = Scratch::new();
    let good = pool("alpha", port::local(), "redis: true", &["127.0.0.1:1:1".into()]);
    let files = [
        ("good.yml", good.clone(), 0),
        ("typo.yml", good.replace("redis", "rediss"), 1),
        ("yes.yml", good.replace("true", "yes"), 1),
        ("begun.yml", format!("---\n{good}"), 1),
        ("empty.yml", String::new(), 1),
    ];
    for (name, text, code) in files {
        let file = scratch.write(name, text);
        let [reference, ours] =
            BOTH.map(|program| output(program.command().arg("-t").arg("-c").arg(&file)));
        assert_eq!(reference.status.code(), Some(code), "{name}");
        assert_eq!(ours.status.code(), Some(code), "{name}");
        let verdicts = |text: String| {
            let lines = text.lines().filter(|line| line.starts_with("nutcracker: "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(errors(&ours)), verdicts(errors(&reference)), "{name}");
        let says_why = errors(&ours).contains(name) && errors(&ours).contains("error");
        assert!(code == 0 || says_why, "{name}: {}", errors(&ours));
    }
    let [reference, ours] =
        BOTH.map(|program| output(program.command().args(["-t", "-c", "nowhere.yml"])));
    assert_eq!((ours.status.code(), reference.status.code()), (Some(1), Some(1)));
    assert!(errors(&ours).ends_with(&errors(&reference)), "{}", errors(&ours));
    assert!(errors(&ours).contains("No such file"), "{}", errors(&ours));
}

/// The texts of a log, without times and places.
fn texts(log: &str) -> Vec<String> {
    let text = |line: &str| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned();
    log.lines().map(text).collect()
}

#[test]
fn what_keeps_it_from_starting_is_said_alike() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let taken = taken.local_addr().expect("a bound socket has an address");
    let servers = ["127.0.0.1:1:1".to_string()];
    let scratch = Scratch::new();
    let good = scratch.write("good.yml", pool("alpha", port::local(), "", &servers));
    let bad = scratch.write("bad.yml", pool("alpha", port::local(), "hash: fnv", &servers));
    let busy = scratch.write("busy.yml", pool("alpha", taken, "", &servers));
    let stats = port::free().to_string();
    let cases = [
        (bad, stats.clone(), "conf: directive \"hash\" is not a valid hash"),
        (scratch.file("nowhere.yml"), stats.clone(), "conf: failed to open configuration"),
        (busy, stats, "failed: Address already in use"),
        (good, taken.port().to_string(), "failed: Address already in use"),
    ];
    for (number, (file, stats, wanted)) in cases.into_iter().enumerate() {
        let mut seen = Vec::new();
        for program in BOTH {
            let log = scratch.file(&format!("log{number}{}", program.is_ours()));
            let pid = scratch.file(&format!("pid{number}{}", program.is_ours()));
            let mut command = program.command();
            command.args(["-a", "127.0.0.1", "-s", &stats]).arg("-o").arg(&log);
            let ended = output(command.arg("-p").arg(&pid).arg("-c").arg(&file));
            let log = fs::read_to_string(&log).expect("the log was opened");
            assert_eq!(ended.status.code(), Some(1), "{log}");
            assert!(!pid.exists(), "no pid file is left");
            assert!(log.contains(wanted), "{wanted} in {log}");
            assert!(log.starts_with('['), "{log}");
            let texts = texts(&log);
            assert!(texts[0].starts_with("nutcracker-0.5.0 built for Linux "), "{log}");
            assert!(texts[1].starts_with("run, rabbit run"), "{log}");
            assert_eq!(texts.last().map(String::as_str), Some("done, rabbit done"), "{log}");
            let reason = texts.iter().find(|text| text.starts_with("conf: ")).cloned();
            seen.push((errors(&ended), reason));
        }
        assert_eq!(seen[0], seen[1], "the line for people and the first reason");
    }
}

#[test]
fn files_that_cannot_be_written_are_named() {
    let scratch = Scratch::new();
    let servers = ["127.0.0.1:1:1".to_string()];
    let file = scratch.write("good.yml", pool("alpha", port::local(), "", &servers));
    let [reference, ours] = BOTH
        .map(|program| output(program.command().arg("-c").arg(&file).args(["-o", "/no/such/log"])));
    assert_eq!((ours.status.code(), reference.status.code()), (Some(1), Some(1)));
    assert_eq!(errors(&ours), errors(&reference));
    let mut command = OURS.command();
    let ours = output(command.arg("-c").arg(&file).args(["-p", "/no/such/pid"]));
    assert_eq!(ours.status.code(), Some(1));
    let said = errors(&ours);
    assert!(said.contains("opening pid file '/no/such/pid' failed: No such file"), "{said}");
}

#[test]
fn the_environment_is_checked_too() {
    for (name, value) in
        [("KEYWAY_WORKERS", "0"), ("KEYWAY_COMPAT", "loose"), ("KEYWAY_ADMIN", "here")]
    {
        let mut command = Command::new(KEYWAY);
        let ended = output(command.args(["nutcracker", "-t", "-c", "x"]).env(name, value));
        assert_eq!(ended.status.code(), Some(1));
        assert!(errors(&ended).contains(name), "{}", errors(&ended));
    }
}

#[test]
fn a_link_named_nutcracker_is_nutcracker() {
    let scratch = Scratch::new();
    let link = scratch.file("nutcracker");
    symlink(KEYWAY, &link).expect("the folder is writable");
    let ended = output(Command::new(&link).arg("--version"));
    assert!(errors(&ended).starts_with("This is nutcracker-0.5.0\n"), "{}", errors(&ended));
}

/// Runs a daemon with relative paths and returns its folder once its pid file is there.
fn daemon(program: Program) -> (Scratch, i32) {
    let scratch = Scratch::new();
    let text = "alpha:\n  listen: a.sock\n  servers:\n   - 127.0.0.1:1:1\n"
        .replace("a.sock", &scratch.file("a.sock").display().to_string());
    scratch.write("n.yml", text);
    let stats = port::free().to_string();
    let mut command = program.command();
    command.args(["-d", "-c", "n.yml", "-o", "n.log", "-p", "n.pid", "-a", "127.0.0.1", "-s"]);
    let started = output(command.arg(stats).current_dir(scratch.path()));
    assert_eq!(started.status.code(), Some(0), "the starter ends at once");
    assert_eq!(errors(&started), "");
    let pid_file = scratch.file("n.pid");
    wait_until("the socket is there", || scratch.file("a.sock").exists());
    let text = fs::read_to_string(pid_file).expect("the pid file is written first");
    let pid = text.parse().expect("a number without a line end");
    (scratch, pid)
}

#[test]
fn a_daemon_leaves_the_terminal_and_nothing_else() {
    for program in BOTH {
        let (scratch, pid) = daemon(program);
        let socket = fs::symlink_metadata(scratch.file("a.sock")).expect("the socket is there");
        assert!(socket.file_type().is_socket());
        assert_eq!(socket.permissions().mode() & 0o777, 0o777, "no mask: {program:?}");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
        let own = fs::read_to_string("/proc/self/stat").expect("we run");
        let ours: Vec<&str> = own.rsplit(") ").next().unwrap_or("").split(' ').collect();
        assert_ne!(fields[3], ours[3], "another session than ours");
        assert_eq!(fields[4], "0", "no terminal");
        for stream in 0..3 {
            let target = fs::read_link(format!("/proc/{pid}/fd/{stream}")).expect("it is open");
            assert_eq!(target.to_str(), Some("/dev/null"));
        }
        let killed = Command::new("kill").arg(pid.to_string()).status().expect("kill exists");
        assert!(killed.success());
        wait_until("it ends", || !fs::exists(format!("/proc/{pid}")).unwrap_or(true));
        let left = scratch.file("n.pid").exists();
        assert_eq!(left, program == Program::Reference, "ours takes its pid file with it");
    }
}
