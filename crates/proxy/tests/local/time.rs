//! Expiry, delayed flushes, and what replies show of time.
//!
//! The clock is set ahead instead of waiting, so these tests take no time and never depend on
//! how fast they run.

use crate::ask;
use crate::driver::Local;

#[test]
fn items_expire_when_they_said() {
    let mut local = Local::new();
    ask(&mut local, "set a 0 100 1\r\nx\r\nset b 0 -1 1\r\nx\r\nset c 0 0 1\r\nx\r\n");
    assert_eq!(ask(&mut local, "get b\r\n"), "END\r\n");
    local.ahead = 90;
    assert_eq!(ask(&mut local, "get a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
    local.ahead = 101;
    assert_eq!(ask(&mut local, "get a c\r\n"), "VALUE c 0 1\r\nx\r\nEND\r\n");
    assert_eq!(ask(&mut local, "add a 0 0 1\r\ny\r\n"), "STORED\r\n");
    let totals = local.shared.totals();
    // The `add` met nothing: the `get` before it had found the expired item and removed it.
    assert_eq!((totals.get_expired, totals.get_misses, totals.get_hits), (2, 2, 2));
}

#[test]
fn absolute_times_are_unix_time() {
    let mut local = Local::new();
    let now = local.shared.epoch_unix() + 62;
    ask(&mut local, &format!("set a 0 {} 1\r\nx\r\n", now + 1000));
    ask(&mut local, &format!("set b 0 {} 1\r\nx\r\n", now - 1000));
    assert_eq!(ask(&mut local, "get a b\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
    local.ahead = 1001;
    assert_eq!(ask(&mut local, "get a\r\n"), "END\r\n");
}

#[test]
fn touching_moves_the_end() {
    let mut local = Local::new();
    ask(&mut local, "set a 0 100 1\r\nx\r\n");
    assert_eq!(ask(&mut local, "touch a 1000\r\n"), "TOUCHED\r\n");
    local.ahead = 500;
    assert_eq!(ask(&mut local, "gat 1000 a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
    local.ahead = 1400;
    assert_eq!(ask(&mut local, "mg a v T1000\r\n"), "VA 1\r\nx\r\n");
    local.ahead = 2300;
    assert_eq!(ask(&mut local, "gat -1 a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
    assert_eq!(ask(&mut local, "get a\r\n"), "END\r\n");
    let totals = local.shared.totals();
    assert_eq!((totals.touch_cmds, totals.touch_hits), (4, 4));
}

#[test]
fn a_delayed_flush_takes_what_was_there_before_it() {
    let mut local = Local::new();
    ask(&mut local, "set a 0 0 1\r\nx\r\n");
    assert_eq!(ask(&mut local, "flush_all 100\r\n"), "OK\r\n");
    assert_eq!(ask(&mut local, "get a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
    local.ahead = 102;
    assert_eq!(ask(&mut local, "get a\r\n"), "END\r\n");
    assert_eq!(local.shared.totals().get_flushed, 1);
    ask(&mut local, "set a 0 0 1\r\ny\r\n");
    assert_eq!(ask(&mut local, "get a\r\n"), "VALUE a 0 1\r\ny\r\nEND\r\n");
}

#[test]
fn replies_count_seconds() {
    let mut local = Local::new();
    ask(&mut local, "ms a 1 T1000\r\nx\r\n");
    local.ahead = 400;
    let shown = ask(&mut local, "mg a t l u\r\n");
    // The clock may tick between the two requests.
    assert!(["HD t600 l400\r\n", "HD t599 l401\r\n"].contains(&shown.as_str()), "{shown}");
    let shown = ask(&mut local, "me a\r\n");
    assert!(shown.starts_with("ME a exp=") && shown.contains(" la=40"), "{shown}");
}

#[test]
fn shared_clock_reads_expiry_times_as_memcached_does() {
    let local = Local::new();
    let shared = &local.shared;
    let now = keyway_store::Now::from_seconds(100);
    let month = 60 * 60 * 24 * 30;
    assert_eq!(shared.exptime(0, now), 0);
    assert_eq!(shared.exptime(-1, now), 1);
    assert_eq!(shared.exptime(5, now), 105);
    assert_eq!(shared.exptime(month, now), 100 + month as u32);
    assert_eq!(shared.exptime(month + 1, now), 1, "a time before the process began");
    let unix = shared.epoch_unix() as i64;
    assert_eq!(shared.exptime(unix, now), 1);
    assert_eq!(shared.exptime(unix + 500, now), 500);
}
