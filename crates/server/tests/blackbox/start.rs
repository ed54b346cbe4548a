//! Command lines, configuration files and what is said about wrong ones.

use std::os::unix::fs::symlink;
use std::process::Command;

use keyway_testkit::client::Client;
use keyway_testkit::process::{Process, Scratch, run};
use keyway_testkit::{port, wait_until};

use crate::{KEYWAY, configuration, personality};

#[test]
fn without_a_file_there_is_a_store() {
    let (addr, admin) = (port::local(), port::local());
    let mut command = Command::new(KEYWAY);
    command.args(["--listen", &addr.to_string(), "--admin", &admin.to_string()]);
    let mut process = Process::start(&mut command);
    process.wait_for_listener(addr);
    let mut client = Client::tcp(addr);
    client.ask("set a 0 0 1\r\nx\r\nget a\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    let output = process.output();
    assert!(output.contains(&addr.to_string()), "it says where it listens: {output}");
    process.signal("INT");
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn every_engine_can_be_asked_for() {
    for engine in ["auto", "epoll", "io_uring"] {
        let addr = port::local();
        let mut command = Command::new(KEYWAY);
        command.args(["--listen", &addr.to_string(), "--admin", "off"]);
        let mut process = Process::start(command.env("KEYWAY_ENGINE", engine));
        process.wait_for_listener(addr);
        let mut client = Client::tcp(addr);
        client.ask("set a 0 0 1\r\nx\r\nget a\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    }
}

#[test]
fn check_points_at_every_mistake() {
    let scratch = Scratch::new();
    let file = scratch
        .write("bad.toml", "wrokers = 2\n[pools.a]\nservers = [\"127.0.0.1:1\"]\nhash = \"fnv\"\n");
    let (output, status) = run(Command::new(KEYWAY).arg("check").arg(&file));
    assert_eq!(status.code(), Some(1), "{output}");
    for part in ["bad.toml:1", "bad.toml:4", "wrokers", "workers", "^"] {
        assert!(output.contains(part), "{part} in:\n{output}");
    }
    let good = scratch.write("good.toml", "[pools.a]\nservers = [\"127.0.0.1:1\"]\n");
    let (output, status) = run(Command::new(KEYWAY).arg("check").arg(&good));
    assert_eq!(status.code(), Some(0), "{output}");
    let (output, status) = run(Command::new(KEYWAY).arg("--config").arg(&file));
    assert!(status.code() == Some(1) && output.contains("bad.toml:1"), "{output}");
    let (output, status) = run(Command::new(KEYWAY).args(["--config", "nowhere.toml"]));
    assert!(status.code() == Some(1) && output.contains("nowhere.toml"), "{output}");
}

#[test]
fn explain_says_where_a_key_goes() {
    let scratch = Scratch::new();
    let addr = port::local();
    let backends = [port::local(), port::local()];
    let file = scratch.write("keyway.toml", configuration(addr, &backends, "", ""));
    let (output, status) =
        run(Command::new(KEYWAY).args(["explain", "user:1", "--config"]).arg(&file));
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("main"), "the pool is named: {output}");
    assert!(backends.iter().any(|b| output.contains(&b.to_string())), "a server is: {output}");
}

#[test]
fn memcached_help_and_version_are_memcacheds() {
    let (output, status) = run(personality().arg("-h"));
    assert_eq!(status.code(), Some(0));
    assert!(output.starts_with("memcached 1.6."), "{output}");
    for word in ["-p", "--port", "-U", "-s", "-a", "-l", "-m", "-M", "-c", "-t", "-R", "-o"] {
        assert!(output.contains(word), "{word}");
    }
    let (output, status) = run(personality().arg("-V"));
    assert_eq!((output.starts_with("memcached 1.6."), status.code()), (true, Some(0)));
}

#[test]
fn memcached_refusals_have_its_words_and_codes() {
    let port = port::free().to_string();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let taken = taken.local_addr().expect("a bound socket has an address").port().to_string();
    let cases: [(&[&str], &str, i32); 7] = [
        (&["-u", "root", "--nonsense"], "nonsense", 1),
        (&["-u", "root", "-o", "nonsense"], "Illegal suboption \"nonsense\"", 1),
        (&["-u", "nobody-of-this-name"], "can't find the user nobody-of-this-name", 67),
        (&["-u", "root", "-c", "0"], "", 1),
        (&["-u", "root", "-t", "0"], "", 1),
        (&["-u", "root", "-B", "morse"], "", 64),
        (&["-u", "root", "-l", "127.0.0.1", "-p", &taken], "failed to listen", 71),
    ];
    for (args, text, code) in cases {
        let mut command = personality();
        if !args.contains(&"-p") {
            command.args(["-l", "127.0.0.1", "-p", &port]);
        }
        let (output, status) = run(command.args(args));
        assert!(output.contains(text), "{args:?}: {output}");
        assert_eq!(status.code(), Some(code), "{args:?}: {output}");
    }
}

#[test]
fn a_link_named_memcached_is_memcached() {
    let scratch = Scratch::new();
    for name in ["memcached", "memcached-debug"] {
        let link = scratch.file(name);
        symlink(KEYWAY, &link).expect("the folder is writable");
        let addr = port::local();
        let mut command = Command::new(&link);
        command.args(["-l", "127.0.0.1", "-p", &addr.port().to_string(), "-u", "root"]);
        let mut process = Process::start(&mut command);
        process.wait_for_listener(addr);
        Client::tcp(addr).ask("mn\r\n", "MN\r\n");
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0));
    }
}

#[test]
fn a_daemon_leaves_its_pid() {
    let scratch = Scratch::new();
    let pid_file = scratch.file("pid");
    let addr = port::local();
    let mut command = personality();
    command.args(["-d", "-l", "127.0.0.1", "-p", &addr.port().to_string(), "-u", "root", "-P"]);
    let (output, status) = run(command.arg(&pid_file));
    assert_eq!(status.code(), Some(0), "the starter ends at once: {output}");
    wait_until("the daemon listens", || Client::try_tcp(addr).is_ok());
    Client::tcp(addr).ask("mn\r\n", "MN\r\n");
    wait_until("the pid file is written", || pid_file.exists());
    let pid = std::fs::read_to_string(&pid_file).expect("the file is there");
    let killed = Command::new("kill").arg(pid.trim()).status().expect("kill exists");
    assert!(killed.success());
    wait_until("the daemon ends", || Client::try_tcp(addr).is_err());
}

#[test]
fn commands_that_are_not_there_yet_say_so() {
    for command in ["momento-proxy", "convert", "plan", "top"] {
        let (output, status) = run(Command::new(KEYWAY).arg(command));
        assert!(status.code() == Some(2) && output.contains(command), "{output}");
    }
}
