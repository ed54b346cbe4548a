//! Sizes, memory, permissions and authentication.
//!
//! What a client may not do, or not any more, and what it is told: the texts are those of
//! memcached, and so is what becomes of the old item.

use crate::driver::Local;
use crate::{ask, show};
use keyway_proxy::config::{Allow, User};
use keyway_proxy::local::Settings;
use keyway_store::Options;

fn set(key: &str, bytes: usize) -> Vec<u8> {
    let mut request = format!("set {key} 0 0 {bytes}\r\n").into_bytes();
    request.resize(request.len() + bytes, b'x');
    request.extend_from_slice(b"\r\n");
    request
}

#[test]
fn a_value_above_the_item_size_is_swallowed_and_takes_the_old_one_with_it() {
    let mut local = Local::new();
    // 48 bytes of header, 8 of CAS number, the key with its end, the line end.
    let largest = (1 << 20) - 48 - 8 - 2 - 2;
    assert_eq!(show(&local.exchange(&set("a", largest))), "STORED\\r\\n");
    let mut request = set("a", largest + 1);
    request.extend_from_slice(b"get a\r\n");
    let refused = "SERVER_ERROR object too large for cache\\r\\nEND\\r\\n";
    assert_eq!(show(&local.exchange(&request)), refused);
    // The same when the value comes piece by piece: it is never waited for.
    assert_eq!(ask(&mut local, "set a 0 0 1\r\nx\r\n"), "STORED\r\n");
    let request = set("a", 2 << 20);
    let mut answer = local.exchange(&request[..100]);
    for piece in request[100..].chunks(300_000) {
        answer.extend(local.exchange(piece));
    }
    assert_eq!(show(&answer), "SERVER_ERROR object too large for cache\\r\\n");
    assert_eq!(ask(&mut local, "get a\r\n"), "END\r\n");
    // `add` leaves the old item alone, and so does `append`, whose own size is fine.
    assert_eq!(show(&local.exchange(&set("a", largest))), "STORED\\r\\n");
    let add = String::from_utf8(set("a", largest + 1)).unwrap().replacen("set", "add", 1);
    assert_eq!(ask(&mut local, &add), "SERVER_ERROR object too large for cache\r\n");
    assert_eq!(ask(&mut local, "append a 0 0 1\r\ny\r\n"), "NOT_STORED\r\n");
    assert_eq!(ask(&mut local, "mg a s\r\n"), format!("HD s{largest}\r\n"));
    assert_eq!(local.shared.totals().store_too_large, 3);
}

#[test]
fn a_meta_set_that_is_too_large_removes_the_item_in_any_mode() {
    let mut local = Local::new();
    ask(&mut local, "set a 0 0 1\r\nx\r\n");
    let value = "x".repeat(2 << 20);
    let request = format!("ms a {} ME q\r\n{value}\r\nmn\r\n", value.len());
    assert_eq!(ask(&mut local, &request), "SERVER_ERROR object too large for cache\r\nMN\r\n");
    assert_eq!(ask(&mut local, "get a\r\n"), "END\r\n");
}

#[test]
fn big_values_are_held_and_not_copied() {
    let mut local = Local::new();
    let value = "0123456789abcdef".repeat(4096);
    ask(&mut local, &format!("set big 3 0 {}\r\n{value}\r\n", value.len()));
    let wanted = format!("VALUE big 3 {}\r\n{value}\r\n", value.len());
    assert_eq!(ask(&mut local, "get big none big\r\n"), format!("{wanted}{wanted}END\r\n"));
    assert_eq!(ask(&mut local, "gat 0 big\r\n"), format!("{wanted}END\r\n"));
    assert_eq!(ask(&mut local, "mg big v s O1\r\n"), {
        let bytes = value.len();
        format!("VA {bytes} s{bytes} O1\r\n{value}\r\n")
    });
    assert_eq!(ask(&mut local, "mg big v h\r\n"), format!("VA {} h1\r\n{value}\r\n", value.len()));
}

#[test]
fn without_eviction_a_full_store_refuses() {
    let options = Options { evicts: false, ..Options::new(16 << 20) };
    let settings = Settings { evictions: false, ..Settings::default() };
    let mut local = Local::with(settings, options);
    let mut answer = String::new();
    for number in 0..200 {
        answer = show(&local.exchange(&set(&format!("k{number}"), 200_000)));
        if answer != "STORED\\r\\n" {
            break;
        }
    }
    assert_eq!(answer, "SERVER_ERROR out of memory storing object\\r\\n");
    assert_eq!(local.shared.totals().store_no_memory, 1);
    assert!(ask(&mut local, "mg k0 s\r\n").starts_with("HD"));
    // A failed set does not leave the old value behind, whose client meant to replace it.
    let refused = "SERVER_ERROR out of memory storing object\\r\\n";
    assert_eq!(show(&local.exchange(&set("k0", 900_000))), refused);
    assert_eq!(ask(&mut local, "mg k0 s\r\n"), "EN\r\n");
}

#[test]
fn without_cas_every_number_is_zero() {
    let settings = Settings { cas_enabled: false, ..Settings::default() };
    let mut local = Local::with(settings, Options::new(64 << 20));
    ask(&mut local, "set a 0 0 1\r\nx\r\n");
    assert_eq!(ask(&mut local, "gets a\r\n"), "VALUE a 0 1 0\r\nx\r\nEND\r\n");
    assert_eq!(ask(&mut local, "ms n 1 c\r\n5\r\n"), "HD c0\r\n");
    assert_eq!(ask(&mut local, "ma n c v\r\n"), "VA 1 c0\r\n6\r\n");
}

#[test]
fn what_the_listener_does_not_allow() {
    let mut local = Local::new();
    local.allow = Allow { flush: false, shutdown: false, dump: false, watch: false };
    let refused = [
        ("flush_all\r\n", "CLIENT_ERROR flush_all not allowed\r\n"),
        ("shutdown\r\n", "SERVER_ERROR: shutdown not enabled\r\n"),
        ("lru_crawler metadump all\r\n", "ERROR metadump not allowed\r\n"),
        ("lru_crawler mgdump all\r\n", "ERROR key dump not allowed\r\n"),
        ("stats cachedump 1 1\r\n", "CLIENT_ERROR stats cachedump not allowed\r\n"),
        ("stats detail on\r\n", "CLIENT_ERROR stats detail not allowed\r\n"),
        ("watch\r\n", "CLIENT_ERROR watch commands not allowed\r\n"),
    ];
    for (request, reply) in refused {
        assert_eq!(ask(&mut local, request), reply);
    }
    local.allow = Allow { shutdown: true, ..Allow::default() };
    assert_eq!(ask(&mut local, "shutdown later\r\n"), "CLIENT_ERROR invalid shutdown mode\r\n");
    assert_eq!(ask(&mut local, "shutdown graceful\r\n"), "(closed)\r\n");
}

#[test]
fn the_first_command_of_an_authenticated_listener_carries_the_password() {
    let mut local = Local::new();
    local.users = vec![User { name: "jo".into(), password: "se cret".into() }];
    let refused = [
        ("get abc\r\n", "CLIENT_ERROR unauthenticated\r\n"),
        ("version\r\n", "CLIENT_ERROR unauthenticated\r\n"),
        ("set k 0 0 x\r\n", "CLIENT_ERROR unauthenticated\r\n"),
        ("set k 0 0 20000\r\n", "CLIENT_ERROR auth token too long\r\n"),
        ("set k 0 0 5\r\njo se\r\n", "CLIENT_ERROR authentication failure\r\n"),
        ("set k 0 0 4\r\njose\r\n", "CLIENT_ERROR bad authentication token format\r\n"),
        ("set k 0 0 4\r\njo se\n", "CLIENT_ERROR bad command line termination\r\n"),
        ("mn\r\n", "(closed)\r\n"),
    ];
    for (request, reply) in refused {
        assert_eq!(ask(&mut local, request), reply, "{request}");
    }
    assert_eq!(ask(&mut local, "set k 0 0 10\r\njo se cret\r\n"), "STORED\r\n");
    assert_eq!(ask(&mut local, "mn\r\nget k\r\n"), "MN\r\nEND\r\n");
    let totals = local.shared.totals();
    assert_eq!((totals.auth_cmds, totals.auth_errors), (2, 1));
}

#[test]
fn a_dump_shows_every_item_once() {
    let mut local = Local::new();
    for number in 0..3000 {
        ask(&mut local, &format!("set key/{number} 7 1000 2\r\nxy\r\n"));
    }
    let dump = ask(&mut local, "lru_crawler metadump all\r\n");
    let mut lines: Vec<&str> = dump.lines().collect();
    assert_eq!((lines.remove(0), lines.pop()), ("OK", Some("END")));
    assert_eq!(lines.len(), 3000);
    lines.sort_unstable();
    let epoch = local.shared.epoch_unix();
    let words: Vec<&str> = lines[0].split(' ').collect();
    assert_eq!(words[0], "key=key%2F0");
    let expires: u64 = words[1].trim_start_matches("exp=").parse().unwrap();
    assert!((epoch + 1062..epoch + 1100).contains(&expires));
    assert!(lines[0].ends_with(" fetch=no cls=1 size=70 flags=7 "), "{}", lines[0]);
    let cached = ask(&mut local, "stats cachedump 1 10\r\n");
    assert_eq!(cached.lines().count(), 11);
    assert!(cached.starts_with("ITEM key/") && cached.ends_with("END\r\n"));
    assert_eq!(ask(&mut local, "stats cachedump 5 10\r\n"), "END\r\n");
}

#[test]
fn one_line_cannot_ask_for_more_than_fits() {
    let mut local = Local::new();
    local.exchange(&set("a", 16_000));
    local.exchange(&set("big", 100_000));
    let refused = "SERVER_ERROR out of memory writing get response\r\nMN\r\n";
    let many = format!("get{}\r\nmn\r\n", " a".repeat(10_000));
    assert_eq!(ask(&mut local, &many), refused);
    let many = format!("get{}\r\nmn\r\n", " big".repeat(20_000));
    assert_eq!(ask(&mut local, &many), refused);
    let fine = format!("get{}\r\n", " a".repeat(1000));
    assert_eq!(ask(&mut local, &fine).matches("VALUE a").count(), 1000);
}
