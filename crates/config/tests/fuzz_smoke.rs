//! The fuzz targets that read configurations, on the stable toolchain.
//!
//! The bodies are those of the libFuzzer targets; see `fuzz/README.md` for what belongs where and
//! what to do with a finding.

use std::path::Path;

#[path = "../../../fuzz/smoke.rs"]
mod smoke;

fn run(target: &str, dictionary: &[&[u8]], body: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    smoke::run(&root, target, 1000, dictionary, body);
}

#[test]
fn native() {
    const DICTIONARY: &[&[u8]] = &[
        b"\n",
        b"=",
        b"\"",
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b".",
        b"'",
        b"#",
        b"0",
        b"-1",
        b"1e9",
        b"true",
        b"[pools.a]\n",
        b"servers = []\n",
        b"[routes]\n",
        b"failover = [\"a\", \"b\"]",
        b"5m",
        b"64MiB",
        b"\xff",
        b"\0",
        "ä".as_bytes(),
        b"default",
        b"prefix",
        b"command",
        b"unix:/",
        b"[::1]:1",
    ];
    run("config_native", DICTIONARY, keyway_config::fuzz::native);
}

#[test]
fn memcached() {
    const DICTIONARY: &[&[u8]] = &[
        b"\0",
        b"-",
        b"--",
        b"-p",
        b"-o\0",
        b"-l\0",
        b"-m",
        b"=",
        b",",
        b":",
        b"0",
        b"-1",
        b"99999999999",
        b"65536",
        b"[::1]:1",
        b"proto[ascii]:",
        b"tag_a_:",
        b"1k",
        b"\xff",
        b"-S",
        b"-h",
        b"-V",
    ];
    run("config_memcached", DICTIONARY, keyway_config::fuzz::memcached);
}

#[test]
fn nutcracker() {
    const DICTIONARY: &[&[u8]] = &[
        b"\n",
        b"\n  ",
        b"\n   - ",
        b"\r\n",
        b"\r",
        b"\t",
        b" ",
        b":",
        b": ",
        b"- ",
        b"? ",
        b"#",
        b" #",
        b"\"",
        b"'",
        b"\\",
        b"\\x",
        b"\\u00e9",
        b"|\n",
        b">-\n",
        b"|2+\n",
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b"&a ",
        b"*a",
        b"!t ",
        b"!<t> ",
        b"%TAG ! x\n",
        b"---\n",
        b"...\n",
        b"@",
        b"`",
        b"\0",
        b"\xff\xfe",
        "\u{feff}".as_bytes(),
        "\u{2028}".as_bytes(),
        "\u{85}".as_bytes(),
        "\u{1f600}".as_bytes(),
        b"\xf0",
        b"servers:\n",
        b"listen: 127.0.0.1:1\n",
        b"10.0.0.1:11211:1",
        b"99999999999",
        b"true",
        b"--",
        b"-c",
    ];
    run("config_nutcracker", DICTIONARY, keyway_config::fuzz::nutcracker);
}
