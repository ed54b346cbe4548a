//! The fuzz targets that read protocols, on the stable toolchain.
//!
//! The bodies are those of the libFuzzer targets; see `fuzz/README.md` for what belongs where and
//! what to do with a finding.

use std::path::Path;

#[path = "../../../fuzz/protocol.rs"]
mod protocol;
#[path = "../../../fuzz/redis.rs"]
mod redis;
#[path = "../../../fuzz/smoke.rs"]
mod smoke;

/// Texts that decide something in some protocol.
const DICTIONARY: &[&[u8]] = &[
    b" ",
    b"  ",
    b"\r\n",
    b"\n",
    b"\r",
    b"\t",
    b"\0",
    b"\x80",
    b"\x81",
    b"noreply",
    b" q",
    b" O",
    b" T0",
    b" k",
    b" b",
    b"0",
    b"1",
    b"-1",
    b"2147483645",
    b"2147483646",
    b"4294967295",
    b"99999999999",
    b"18446744073709551616",
    b"get ",
    b"gets ",
    b"gat ",
    b"set ",
    b"ms ",
    b"mg ",
    b"md ",
    b"mn\r\n",
    b"VALUE ",
    b"VA ",
    b"HD",
    b"EN\r\n",
    b"END\r\n",
    b"CLIENT_ERROR ",
    b"HTTP/1.1",
    b"$",
    b"*",
    b":",
    b"%",
];

fn run(target: &str, body: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    smoke::run(&root, target, 4000, DICTIONARY, body);
}

#[test]
fn request() {
    run("request", protocol::request);
}

#[test]
fn reply() {
    run("reply", protocol::reply);
}

#[test]
fn binary() {
    run("binary", protocol::binary);
}

#[test]
fn resp() {
    run("resp", protocol::resp);
}

/// Pieces of requests and replies of Redis.
const REDIS_DICTIONARY: &[&[u8]] = &[
    b"\r\n",
    b"\r",
    b"\n",
    b"*1\r\n",
    b"*2\r\n",
    b"*3\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"$1\r\na\r\n",
    b"$3\r\nGET\r\n",
    b"$4\r\nEVAL\r\n",
    b"$1\r\n2\r\n",
    b"$",
    b"*",
    b"\"",
    b"'",
    b"\\x41",
    b"\\",
    b" ",
    b"\0",
    b"GET k\r\n",
    b"STORE",
    b"STREAMS",
    b"KEYS",
    b"%1\r\n",
    b"~2\r\n",
    b">1\r\n",
    b"|1\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",1.5\r\n",
    b"(12\r\n",
    b"=5\r\ntxt:a\r\n",
    b"!3\r\nERR\r\n",
    b":1\r\n",
    b"+OK\r\n",
    b"-ERR x\r\n",
    b"0",
    b"1",
    b"9",
    b"-",
    b"99999999999",
];

#[test]
fn redis_requests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    smoke::run(&root, "redis_requests", 4000, REDIS_DICTIONARY, redis::requests);
}

#[test]
fn redis_replies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    smoke::run(&root, "redis_replies", 4000, REDIS_DICTIONARY, redis::replies);
}
