//! Expiry by a clock that stands still until it is moved: milliseconds, rounding, and the times
//! that memcached's commands set.

use crate::local::Local;
use keyway_store::{ItemBits, New, Now};

#[test]
fn keys_expire_at_their_millisecond() {
    let mut local = Local::at_rest();
    assert_eq!(local.say("set k v px 1500"), "+OK");
    assert_eq!(local.say("pttl k"), ":1500");
    assert_eq!(local.say("pexpiretime k"), ":1700000001750");
    assert_eq!(local.say("expiretime k"), ":1700000002");
    local.pass(1499);
    assert_eq!(local.say("get k"), "$1 v");
    assert_eq!(local.say("pttl k"), ":1");
    local.pass(1);
    assert_eq!(local.say("get k"), "$-1");
    assert_eq!(local.say("pttl k"), ":-2");
    // Within the same second.
    local.say("set k v px 10");
    local.pass(9);
    assert_eq!(local.say("exists k"), ":1");
    local.pass(1);
    assert_eq!(local.say("exists k"), ":0");
}

#[test]
fn seconds_are_rounded_as_by_redis() {
    let mut local = Local::at_rest();
    for (millis, seconds) in [(1, 0), (499, 0), (500, 1), (1499, 1), (1500, 2), (99_999, 100)] {
        local.say(&format!("set k v px {millis}"));
        assert_eq!(local.say("ttl k"), format!(":{seconds}"), "{millis}");
    }
    local.say("set k v exat 1700000100");
    assert_eq!(local.say("expiretime k"), ":1700000100");
    assert_eq!(local.say("pttl k"), ":99750");
    assert_eq!(local.say("ttl k"), ":100");
}

#[test]
fn milliseconds_survive_what_keeps_the_expiry() {
    let mut local = Local::at_rest();
    local.say("set k 5 px 1234");
    for line in [
        "set k 6 keepttl",
        "incr k",
        "incrby k 1000000",
        "append k 12345678901234567890",
        "setrange k 100 x",
        "setrange k 3 x",
        "setbit k 9 1",
        "rename k other",
        "copy other k",
    ] {
        local.say(line);
        let key = if line.starts_with("rename") { "other" } else { "k" };
        assert_eq!(local.say(&format!("pttl {key}")), ":1234", "{line}");
    }
    assert_eq!(local.say("set k 1"), "+OK");
    assert_eq!(local.say("pttl k"), ":-1");
}

#[test]
fn far_times_end_with_the_clock() {
    let mut local = Local::at_rest();
    assert_eq!(local.say("set k v pxat 9223372036854775807"), "+OK");
    assert_eq!(local.say("get k"), "$1 v");
    // The clock has 32 bits of seconds and began 62 seconds before the process.
    let last = 1_700_000_000 - 62 + i64::from(u32::MAX);
    assert_eq!(local.say("expiretime k"), format!(":{last}"));
}

#[test]
fn memcacheds_seconds_are_milliseconds_here() {
    let mut local = Local::at_rest();
    // An item of a memcached client: second 72 of the clock is ten seconds after the start.
    let bits = ItemBits::default();
    let new = New {
        flags: 77,
        exptime: 72,
        exptime_millis: 0,
        cas: None,
        bits,
        value: &[b"12" as &[u8]],
    };
    local.store.entry(b"k", Now::from_seconds(62), |entry| entry.put(&new)).unwrap();
    assert_eq!(local.say("pttl k"), ":9750");
    assert_eq!(local.say("incr k"), ":13");
    assert_eq!(local.say("append k x"), ":3");
    let read = |local: &Local, key: &[u8]| {
        let now = Now::from_seconds(62);
        local.store.read(key, now, false, |item| (item.flags, item.exptime)).unwrap()
    };
    assert_eq!(read(&local, b"k"), (77, 72), "flags and time stay");
    assert_eq!(local.say("rename k other"), "+OK");
    assert_eq!(read(&local, b"other"), (77, 72));
    assert_eq!(local.say("set other v"), "+OK");
    assert_eq!(read(&local, b"other"), (0, 0), "a new value has neither");
}
