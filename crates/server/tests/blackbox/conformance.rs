//! memccapable, the conformance tests of libmemcached, against the store and through a pool.
//!
//! Where memcached 1.6.45 itself answers otherwise than the tool expects, memcached is right: those
//! tests are named here and in docs/compatibility.md.

use std::net::SocketAddr;
use std::process::Command;

use keyway_testkit::process::{find, memcached, run};

use crate::{Embedded, Proxy};

/// `delete key 0` is allowed, `delete key 1` is an error of another text than the tool expects.
const OTHERWISE_IN_MEMCACHED: [&str; 2] = ["ascii delete", "ascii delete noreply"];

/// Answered by a proxy without asking the pool, as they are about one server:
/// docs/compatibility.md.
const OTHERWISE_IN_A_POOL: [&str; 0] = [];

/// Names of the tests that failed, and how many ran.
fn memccapable(addr: SocketAddr, protocol: &str) -> (Vec<String>, usize) {
    let mut command = Command::new(find("memccapable"));
    command.args(["-h", "127.0.0.1", "-p", &addr.port().to_string(), protocol, "-t", "30"]);
    let (output, _) = run(&mut command);
    let mut failed = Vec::new();
    let mut count = 0;
    // The verdict stands at the end of a line that begins with the name; the last one may have been
    // torn apart by a line of the other output stream.
    for line in output.lines() {
        let Some(name) = line.get(..40).map(str::trim) else { continue };
        if !name.starts_with("ascii ") && !name.starts_with("binary ") {
            continue;
        }
        count += 1;
        if line.contains("[FAIL]") {
            failed.push(name.to_owned());
        }
    }
    assert!(!output.contains("[SKIP]") && count >= 27, "{count} tests ran:\n{output}");
    (failed, count)
}

#[test]
fn memccapable_text_passes_on_the_store() {
    let server = Embedded::start(&[]);
    let (failed, count) = memccapable(server.addr, "-a");
    assert_eq!((failed.as_slice(), count), (&OTHERWISE_IN_MEMCACHED.map(String::from)[..], 27));
}

#[test]
fn memccapable_binary_passes_on_the_store() {
    let server = Embedded::start(&[]);
    let (failed, count) = memccapable(server.addr, "-b");
    assert_eq!((failed.as_slice(), count), (&[][..], 27));
}

#[test]
fn memccapable_text_passes_through_a_pool_of_one() {
    let (_backend, addr) = memcached(&[]);
    let proxy = Proxy::start(&[addr], "", "");
    let (mut failed, count) = memccapable(proxy.addr, "-a");
    // The memcached behind the proxy may be an older one that passes these.
    failed.retain(|f| !OTHERWISE_IN_MEMCACHED.contains(&f.as_str()));
    assert_eq!((failed.as_slice(), count), (&OTHERWISE_IN_A_POOL.map(String::from)[..], 27));
}
