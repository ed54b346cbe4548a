//! What can go wrong behind a proxy, and what clients see of it: docs/reliability.md in tests.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use keyway_testkit::client::Client;
use keyway_testkit::fake::{Fake, Honest, Step, send};
use keyway_testkit::listener::Scripted;
use keyway_testkit::process::{Keyway, Process, Scratch, http_get, memcached};
use keyway_testkit::{port, wait_until};

use crate::{KEYWAY, Proxy, configuration};

const FAILURE: &str = "SERVER_ERROR backend failure\r\n";

/// Asks until the backend answers with `reply`, which is what happens once it is back.
fn wait_for_reply(client: &mut Client, request: &str, reply: &str) {
    wait_until("the backend answers again", || {
        client.send(request);
        let line = client.line();
        if line.starts_with("SERVER_ERROR") {
            return false;
        }
        assert_eq!(line, reply);
        true
    });
}

#[test]
fn a_dead_backend_is_refused_at_once_and_others_go_on() {
    let (_alive, alive) = memcached(&[]);
    let dead = port::local();
    let proxy = Proxy::start(&[alive, dead], "", "");
    let mut client = proxy.client();
    let (mut stored, mut refused) = (0, 0);
    for n in 0..200 {
        client.send(format!("set k{n} 0 0 1\r\nx\r\n"));
        match client.line().as_str() {
            "STORED" => stored += 1,
            "SERVER_ERROR backend failure" => refused += 1,
            other => panic!("{other}"),
        }
    }
    // Without ejection keys stay where they belong: no key of the dead one went to the other.
    assert!(stored > 40 && refused > 40, "{stored} stored, {refused} refused");
    for n in 0..200 {
        client.send(format!("get k{n}\r\n"));
        let line = client.line();
        if line.starts_with("VALUE") {
            client.lines_until("END");
            stored -= 1;
        }
    }
    assert_eq!(stored, 0, "everything that was stored is found");
}

#[test]
fn a_backend_that_comes_back_is_used_again() {
    let addr = port::local();
    let proxy = Proxy::start(&[addr], "retry = \"20ms\"\nretry_max = \"100ms\"", "");
    let mut client = proxy.client();
    client.ask("get a\r\n", FAILURE);
    let fake = Fake::start_at(addr, |asked| Honest::default().answer(asked));
    wait_for_reply(&mut client, "get a\r\n", "END");
    drop(fake);
    wait_until("its end is noticed", || {
        client.send("get a\r\n");
        client.line().starts_with("SERVER_ERROR")
    });
    let _fake = Fake::start_at(addr, |asked| Honest::default().answer(asked));
    wait_for_reply(&mut client, "get a\r\n", "END");
}

/// After a time-out the connection is not used again: its next bytes would be somebody else's.
#[test]
fn a_late_reply_reaches_nobody() {
    let fake = Fake::start(|asked| match asked.line.as_str() {
        "get slow" => vec![
            Step::Wait(Duration::from_millis(700)),
            Step::Send(b"VALUE slow 0 4\r\nlate\r\nEND\r\n".to_vec()),
        ],
        _ => Honest::default().answer(asked),
    });
    let pool = "read_timeout = \"200ms\"\nretry = \"10ms\"\nfailure_limit = 10";
    let proxy = Proxy::with_one_worker(&[fake.addr], pool, "");
    let mut client = proxy.client();
    client.ask("get a\r\n", "END\r\n");
    let before = fake.accepted();
    client.ask("get slow\r\n", FAILURE);
    wait_for_reply(&mut client, "get a\r\n", "END");
    for _ in 0..50 {
        client.ask("get a\r\n", "END\r\n");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(fake.accepted() > before, "a new connection was made");
}

#[test]
fn a_frozen_backend_is_given_up_in_time() {
    let (server, addr) = memcached(&[]);
    let (_other, other) = memcached(&[]);
    let pool = "read_timeout = \"300ms\"\nretry = \"20ms\"\nretry_max = \"200ms\"";
    let proxy = Proxy::start(&[addr, other], pool, "");
    let mut client = proxy.client();
    for n in 0..50 {
        client.ask(format!("set k{n} 0 0 1\r\nx\r\n"), "STORED\r\n");
    }
    server.signal("STOP");
    let mut answers = (0, 0);
    for n in 0..50 {
        client.send(format!("get k{n}\r\n"));
        match client.line().as_str() {
            "SERVER_ERROR backend failure" => answers.0 += 1,
            _ => {
                client.lines_until("END");
                answers.1 += 1;
            }
        }
    }
    assert!(answers.0 > 0 && answers.1 > 0, "{answers:?}");
    server.signal("CONT");
    for n in 0..50 {
        wait_until("all keys are back", || {
            client.send(format!("get k{n}\r\n"));
            client.line().starts_with("VALUE") && client.lines_until("END").len() == 2
        });
    }
}

#[test]
fn a_client_that_leaves_takes_its_reply_with_it() {
    let fake = Fake::start(|asked| match asked.line.strip_prefix("get slow") {
        Some(n) => vec![
            Step::Wait(Duration::from_millis(30)),
            Step::Send(format!("VALUE slow{n} 0 1\r\nS\r\nEND\r\n").into_bytes()),
        ],
        None => Honest::default().answer(asked),
    });
    let proxy = Proxy::with_one_worker(&[fake.addr], "", "");
    let mut stays = proxy.client();
    for n in 0..20 {
        let mut leaves = proxy.client();
        leaves.send(format!("get slow{n}\r\n"));
        stays.send(format!("get slow{n}x\r\nget other\r\n"));
        drop(leaves);
        stays.expect(format!("VALUE slow{n}x 0 1\r\nS\r\nEND\r\nEND\r\n"));
    }
}

/// Replies that are wrong in ways that can be seen: the connection goes, the client gets an error,
/// and the next request is answered on a fresh connection.
#[test]
fn replies_that_do_not_fit_end_the_connection() {
    let wrong: [(&str, &[u8]); 17] = [
        ("get other-key", b"VALUE another 0 1\r\nx\r\nEND\r\n"),
        ("get bad-length", b"VALUE bad-length 0 -5\r\nEND\r\n"),
        ("get no-number", b"VALUE no-number zero 1\r\nx\r\nEND\r\n"),
        ("get no-end", b"VALUE no-end 0 1\r\nxyz\r\nEND\r\n"),
        ("get number", b"15\r\n"),
        ("get stored", b"STORED\r\n"),
        ("delete stored", b"STORED\r\n"),
        ("mg opaque v O1", b"VA 1 O2\r\nx\r\n"),
        ("mg opaque f O1", b"HD f0\r\n"),
        ("mg key v k", b"VA 1 kother\r\nx\r\n"),
        ("mg key f k", b"HD f0 kkey2\r\n"),
        ("md opaque O1", b"HD O2\r\n"),
        ("md key k", b"HD kother\r\n"),
        ("ma opaque v O1", b"VA 1 O2\r\n5\r\n"),
        ("ma key k", b"NF kother\r\n"),
        ("mg key s k", b"HD kke s1\r\n"),
        ("get junk", b"\x00\xff\r\n"),
    ];
    let fake = Fake::start(move |asked| match wrong.iter().find(|(line, _)| *line == asked.line) {
        Some((_, reply)) => vec![Step::Send(reply.to_vec()), Step::Hang],
        None => Honest::default().answer(asked),
    });
    let pool =
        "read_timeout = \"10s\"\nretry = \"10ms\"\nretry_max = \"20ms\"\nfailure_limit = 1000";
    let proxy = Proxy::with_one_worker(&[fake.addr], pool, "");
    let mut client = proxy.client();
    for (line, _) in wrong {
        wait_for_reply(&mut client, "get fine\r\n", "END");
        let before = fake.accepted();
        client.send(format!("{line}\r\n"));
        assert_eq!(client.line(), "SERVER_ERROR backend failure", "{line}");
        wait_for_reply(&mut client, "get fine\r\n", "END");
        assert!(fake.accepted() > before, "{line}: a new connection was made");
    }
}

/// A server swaps the replies of two clients. Key or opaque tell, and then nobody gets any of them.
#[test]
fn swapped_meta_replies_reach_nobody() {
    let swapped = [
        (["mg a v k\r\n", "mg b v k\r\n"], "VA 1 kb\r\nx\r\nVA 1 ka\r\nx\r\n"),
        (["mg a v O1\r\n", "mg a v O2\r\n"], "VA 1 O2\r\nx\r\nVA 1 O1\r\nx\r\n"),
        (["ms a 1 k\r\nx\r\n", "ms b 1 k\r\ny\r\n"], "HD kb\r\nHD ka\r\n"),
        (["ms a 1 O1\r\nx\r\n", "ms a 1 O2\r\ny\r\n"], "HD O2\r\nHD O1\r\n"),
        (["md a k O7\r\n", "md b k O7\r\n"], "HD kb O7\r\nNF ka O7\r\n"),
        (["ma a v k\r\n", "ma b v k\r\n"], "VA 1 kb\r\n1\r\nVA 1 ka\r\n2\r\n"),
    ];
    let mut backend = Scripted::new();
    let pool = "read_timeout = \"60s\"\nfailure_limit = 1000";
    let proxy = Proxy::with_one_worker(&[backend.addr], pool, "");
    let (mut one, mut two) = (proxy.client(), proxy.client());
    for (requests, replies) in swapped {
        backend.accept();
        one.send(requests[0]);
        backend.expect(requests[0]);
        two.send(requests[1]);
        backend.expect(requests[1]);
        backend.send(replies);
        one.expect(FAILURE);
        two.expect(FAILURE);
        backend.expect_close();
    }
}

/// Bytes that nobody asked for can only be a reply that slipped.
#[test]
fn a_reply_too_many_ends_the_connection() {
    let fake = Fake::start(|asked| match asked.line.as_str() {
        "get twice" => send("END\r\nVALUE victim 0 3\r\nbad\r\nEND\r\n"),
        _ => Honest::default().answer(asked),
    });
    let pool = "retry = \"10ms\"\nretry_max = \"20ms\"\nfailure_limit = 1000";
    let proxy = Proxy::with_one_worker(&[fake.addr], pool, "");
    let mut client = proxy.client();
    for _ in 0..10 {
        let before = fake.accepted();
        client.ask("get twice\r\n", "END\r\n");
        wait_until("the connection is given up", || fake.accepted() > before);
        wait_for_reply(&mut client, "get victim\r\n", "END");
    }
}

#[test]
fn a_failed_part_of_a_multiget_is_an_error_or_a_miss_as_configured() {
    for (policy, last) in [("error", "SERVER_ERROR backend failure"), ("miss", "END")] {
        let fake = Fake::honest();
        let dead = port::local();
        let pool = format!("multiget_failure = \"{policy}\"");
        let proxy = Proxy::start(&[fake.addr, dead], &pool, "");
        let mut client = proxy.client();
        let mut alive = None;
        for n in 0.. {
            client.send(format!("set k{n} 0 0 1\r\nx\r\n"));
            if client.line() == "STORED" {
                alive = Some(n);
            }
            if n > 30 && alive.is_some() {
                break;
            }
        }
        let keys: String = (0..31).map(|n| format!(" k{n}")).collect();
        client.send(format!("get{keys}\r\n"));
        let lines = client.lines_until(last);
        if policy == "miss" {
            assert!(lines.len() > 1, "what is there is delivered: {lines:?}");
        }
        client.ask("mn\r\n", "MN\r\n");
    }
}

/// A backend that hangs up at once is not called again for every request.
#[test]
fn a_flapping_backend_causes_no_storm() {
    let fake = Fake::start(|_| vec![Step::Close]);
    let proxy = Proxy::start(&[fake.addr], "", "");
    let mut clients: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    for _ in 0..100 {
        for client in &mut clients {
            client.ask("get a\r\n", FAILURE);
        }
    }
    // 2000 requests; the waits between tries double from 250 ms, for each of two workers.
    assert!(fake.accepted() < 60, "{} connections were made", fake.accepted());
}

#[test]
fn more_than_the_queue_takes_is_refused_at_once() {
    let fake = Fake::start(|asked| match asked.is_version() {
        true => send("VERSION 1\r\n"),
        false => vec![Step::Hang],
    });
    let proxy = Proxy::with_one_worker(&[fake.addr], "depth_max = 10\nread_timeout = \"60s\"", "");
    let mut waiting: Vec<Client> = (0..10).map(|_| proxy.client()).collect();
    for client in &mut waiting {
        client.send("get a\r\n");
    }
    wait_until("ten requests wait", || fake.log().len() >= 2);
    let mut client = proxy.client();
    wait_until("the eleventh is refused", || {
        client.send("mg b\r\nmn\r\n");
        let line = client.line();
        assert_eq!(line, "SERVER_ERROR busy");
        client.line() == "MN"
    });
}

/// Running out of descriptors stops accepting, not serving; it goes on when some are free again.
#[test]
fn out_of_descriptors_new_clients_wait() {
    let (_server, addr) = memcached(&[]);
    let scratch = Scratch::new();
    let (listen, admin) = (port::local(), port::local());
    let config = scratch.write("keyway.toml", configuration(listen, &[addr], "", ""));
    let script =
        format!("ulimit -n 64; exec {KEYWAY} --config {} --admin {admin}", config.display());
    let mut process = Process::start(Command::new("sh").args(["-c", &script]));
    process.wait_for_listener(admin);
    process.wait_for_listener(listen);
    let mut served = Client::tcp(listen);
    served.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    let mut crowd: Vec<Client> = (0..100).map(|_| Client::tcp(listen)).collect();
    for client in &mut crowd {
        client.send("get a\r\n");
    }
    for _ in 0..20 {
        served.ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
        assert_eq!(http_get(admin, "/healthz").0, 200, "the admin server answers");
    }
    crowd.drain(..75);
    // The rest is accepted now, and gets what it asked for.
    for client in &mut crowd {
        client.expect("VALUE a 0 1\r\nx\r\nEND\r\n");
    }
}

#[test]
fn reading_statistics_does_not_stop_requests() {
    let (_server, addr) = memcached(&[]);
    let proxy = Proxy::start(&[addr], "", "");
    let admin = proxy.keyway.admin;
    std::thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            for _ in 0..100 {
                let (status, body) = http_get(admin, "/metrics");
                assert!(status == 200 && body.contains("keyway_"), "{status}");
            }
        });
        let mut client = proxy.client();
        let mut rounds = 0;
        while !scraper.is_finished() || rounds < 100 {
            client.ask("set s 0 0 1\r\nx\r\nget s\r\n", "STORED\r\nVALUE s 0 1\r\nx\r\nEND\r\n");
            rounds += 1;
        }
    });
}

/// Bytes that mean harm: the client that sent them may lose its connection, others notice nothing.
#[test]
fn hostile_requests_do_no_harm() {
    let fake = Fake::honest();
    let proxy = Proxy::with_one_worker(&[fake.addr], "", "");
    let mut good = proxy.client();
    good.ask("set good 0 0 1\r\nx\r\n", "STORED\r\n");
    let hostile: [&[u8]; 12] = [
        b"get a\x01b\r\n\r\n\r\n",
        b"set a 0 0 99999999999999999999\r\n",
        b"set a 0 0 -1\r\n",
        b"set a 0 0 4294967296000000\r\nx\r\n",
        b"ms a 18446744073709551615\r\n",
        b"set a b c d\r\nevil\r\n",
        b"set a 0 0 3\r\nabcdefghijk\r\n",
        b"gets\r\nget\r\nmg\r\n",
        b"\x81\x00\x00\x00garbage",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"get a\0b\r\nflush_all\r\n",
        b"mg a v O0123456789012345678901234567890123456789\r\n",
    ];
    for bytes in hostile {
        let mut client = proxy.client();
        client.send(bytes);
        client.finish_sending();
        client.drain();
        good.ask("get good\r\n", "VALUE good 0 1\r\nx\r\nEND\r\n");
    }
    let long = [b"get ".as_slice(), &[b'k'; 3000], b"\r\n"].concat();
    let mut client = proxy.client();
    client.send(&long);
    client.finish_sending();
    client.drain();
    for asked in fake.log() {
        let is_short = asked.line.len() < 2100 && !asked.line.contains(['\r', '\n']);
        assert!(is_short, "a backend was asked {:?}", asked.line);
    }
    good.ask("get good\r\n", "VALUE good 0 1\r\nx\r\nEND\r\n");
}

/// Nobody listens and nobody refuses: connecting has a limit of its own.
#[test]
fn a_connection_that_is_never_accepted_times_out() {
    let listener = TcpListener::bind(port::local()).expect("the port is free");
    let addr = listener.local_addr().expect("a bound socket has an address");
    // It takes connections into its queue but never says a word: the handshake fails.
    let pool = "connect_timeout = \"200ms\"\nread_timeout = \"200ms\"";
    let proxy = Proxy::start(&[addr], pool, "");
    proxy.client().ask("get a\r\n", FAILURE);
}

#[test]
fn ejected_servers_leave_the_ring_and_return() {
    let first = Fake::honest();
    let dead = port::local();
    let pool = "eject = \"500ms\"\nfailure_limit = 2\nretry = \"20ms\"\nretry_max = \"50ms\"";
    let proxy = Proxy::with_one_worker(&[first.addr, dead], pool, "");
    let mut client = proxy.client();
    for n in 0..50 {
        wait_until("every key has a server", || {
            client.send(format!("set k{n} 0 0 1\r\nx\r\n"));
            client.line() == "STORED"
        });
    }
    let second = Fake::start_at(dead, |asked| Honest::default().answer(asked));
    wait_until("the second one is used again", || {
        for n in 0..50 {
            client.send(format!("set k{n} 0 0 1\r\nx\r\n"));
            client.line();
        }
        second.log().iter().any(|a| a.line.starts_with("set "))
    });
}

#[test]
fn a_reload_forgets_servers_that_are_gone() {
    let (gone, kept) = (Fake::honest(), Fake::honest());
    let addr = port::local();
    let both = configuration(addr, &[gone.addr, kept.addr], "", "");
    let keyway = Keyway::start(KEYWAY, &both);
    keyway.rewrite(&configuration(addr, &[kept.addr], "", ""));
    let mut client = Client::tcp(addr);
    wait_until("all keys go to the one that is left", || {
        let before = gone.log().len();
        for n in 0..50 {
            client.ask(format!("set k{n} 0 0 1\r\nx\r\n"), "STORED\r\n");
        }
        gone.log().len() == before
    });
}
