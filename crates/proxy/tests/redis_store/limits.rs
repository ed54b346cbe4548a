//! Limits of the store, and what it does not do: clear errors, and nothing changed.

use crate::local::Local;
use keyway_store::Options;

#[test]
fn keys_have_at_most_250_bytes() {
    let mut local = Local::new();
    let (fits, long) = ("k".repeat(250), "k".repeat(251));
    assert_eq!(local.say(&format!("set {fits} v")), "+OK");
    assert_eq!(local.say(&format!("get {fits}")), "$1 v");
    let refusal = "-ERR key is longer than 250 bytes, the limit of the embedded store";
    for line in ["set K v", "get K", "mset a 1 K 2", "del a K", "rename a K", "msetnx K 1"] {
        assert_eq!(local.say(&line.replace('K', &long)), refusal, "{line}");
    }
    assert_eq!(local.say("exists a"), ":0");
    assert_eq!(local.say(&format!("mset a {long}")), "+OK", "a value is no key");
}

#[test]
fn values_have_the_limit_of_items() {
    let mut local = Local::new();
    let large = "x".repeat(1 << 20);
    let refusal = "-ERR value exceeds the item size limit of the embedded store";
    local.say("set k old");
    for line in [
        "set k V",
        "set k V GET",
        "getset k V",
        "append k V",
        "setrange k 2000000 x",
        "mset a 1 k V",
        "setbit k 100000000 1",
        "set k V exat 1",
    ] {
        assert_eq!(local.say(&line.replace('V', &large)), refusal, "{line}");
    }
    assert_eq!(local.say("get k"), "$3 old");
    assert_eq!(local.say("exists a"), ":0", "nothing of a refused MSET is stored");
}

#[test]
fn without_memory_nothing_half_done_stays() {
    let options = Options { evicts: false, shards: Some(4), ..Options::new(4 << 20) };
    let mut local = Local::with(options);
    let value = "x".repeat(5_000);
    let refusal = "-OOM command not allowed when used memory > 'maxmemory'.";
    let mut number = 0;
    while local.say(&format!("set filler:{number} {value}")) == "+OK" {
        number += 1;
        assert!(number < 10_000, "the memory ends");
    }
    let pairs: Vec<String> = (0..100).map(|number| format!("m:{number} {value}")).collect();
    assert_eq!(local.say(&format!("msetnx {}", pairs.join(" "))), refusal);
    let keys: Vec<String> = (0..100).map(|number| format!("m:{number}")).collect();
    assert_eq!(local.say(&format!("exists {}", keys.join(" "))), ":0");
    local.store.check_invariants();
}

#[test]
fn one_request_does_not_ask_for_endless_replies() {
    let mut local = Local::new();
    local.say(&format!("set k {}", "x".repeat(10_000)));
    let many = "k ".repeat(10_000);
    let reply = local.say(&format!("mget {}", many.trim_end()));
    assert_eq!(reply, "-ERR the reply would exceed 64 MiB");
}

#[test]
fn what_is_not_there_is_said_clearly() {
    let mut local = Local::new();
    let no_type = " is not supported: the embedded store holds strings only";
    for name in ["hset", "lpush", "xadd", "zadd", "sadd", "pfadd", "geoadd"] {
        assert_eq!(
            local.say(&format!("{} a b c d", name.to_uppercase())),
            format!("-ERR '{name}'{no_type}")
        );
    }
    for name in ["bitfield", "multi", "subscribe", "eval", "sort"] {
        let wanted = format!("-ERR '{name}' is not supported by the embedded store");
        assert_eq!(local.say(&format!("{name} a b c")), wanted);
    }
}

#[test]
fn flushing_needs_the_listeners_leave() {
    let mut local = Local::new();
    local.may_flush = false;
    local.say("set k v");
    let refusal = "-NOPERM this listener does not allow flushing";
    assert_eq!(local.say("flushall"), refusal);
    assert_eq!(local.say("flushdb sync"), refusal);
    assert_eq!(local.say("get k"), "$1 v");
    local.may_flush = true;
    assert_eq!(local.say("flushall async"), "+OK");
    assert_eq!(local.say("get k"), "$-1");
}
