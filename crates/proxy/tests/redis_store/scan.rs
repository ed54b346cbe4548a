//! Walks over many keys while others come and go.

use crate::cursor_and_keys;
use crate::local::Local;
use keyway_testkit::random::Random;
use std::collections::HashSet;

#[test]
fn keys_that_stay_are_given_once_each() {
    let mut local = Local::new();
    let mut random = Random::new(1);
    for number in 0..5_000 {
        local.say(&format!("set stays:{number} x"));
    }
    for count in ["1", "10", "777", "100000"] {
        let mut given: HashSet<Vec<u8>> = HashSet::new();
        let mut cursor = b"0".to_vec();
        let mut calls = 0;
        loop {
            let reply = local.ask(true, &[b"scan" as &[u8], &cursor, b"count", count.as_bytes()]);
            let keys;
            (cursor, keys) = cursor_and_keys(&reply);
            for key in keys {
                let is_new = given.insert(key.clone());
                assert!(is_new || !key.starts_with(b"stays"), "{}", key.escape_ascii());
            }
            if cursor == b"0" {
                break;
            }
            // The table grows and changes meanwhile.
            if calls < 300 {
                for _ in 0..20 {
                    local.say(&format!("set comes:{} x", random.below(20_000)));
                    local.say(&format!("del comes:{}", random.below(20_000)));
                    local.say(&format!("append stays:{} y", random.below(5_000)));
                }
            }
            calls += 1;
        }
        let stayed = given.iter().filter(|key| key.starts_with(b"stays")).count();
        assert_eq!(stayed, 5_000, "with COUNT {count}");
    }
}

#[test]
fn a_slice_is_bounded_and_an_empty_store_is_one() {
    let mut local = Local::new();
    assert_eq!(local.say("scan 0"), "*2 $1 0 *0");
    assert_eq!(local.say("scan 18446744073709551615"), "*2 $1 0 *0", "no place at all is the end");
    assert_eq!(local.say("randomkey"), "$-1");
    for number in 0..30_000 {
        local.say(&format!("set {number} x"));
    }
    let (cursor, keys) = cursor_and_keys(&local.ask(false, &["scan", "0", "count", "9999999999"]));
    assert!(cursor != b"0" && keys.len() < 15_000, "{} keys", keys.len());
    assert_eq!(local.say("dbsize"), ":30000");
    let keys = local.ask(false, &["keys", "*"]);
    assert!(keys.starts_with(b"*30000\r\n"));
    let random: HashSet<_> = (0..50).map(|_| local.say("randomkey")).collect();
    assert!(random.len() > 30, "{} different ones of 50", random.len());
}
