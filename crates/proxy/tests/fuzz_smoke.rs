//! The fuzz target that drives the embedded store, on the stable toolchain.
//!
//! The body is that of the libFuzzer target; see `fuzz/README.md` for what belongs where and what
//! to do with a finding.

use std::path::Path;

#[path = "../../../fuzz/smoke.rs"]
mod smoke;
#[path = "../../../fuzz/store.rs"]
mod store;

const DICTIONARY: &[&[u8]] = &[
    b" ",
    b"\r\n",
    b"\n",
    b"\0",
    b" noreply",
    b" q",
    b" O1",
    b" T0",
    b" T-1",
    b" N5",
    b" R9",
    b" k",
    b" b",
    b" v",
    b" c",
    b" t",
    b" MA",
    b" MP",
    b" I",
    b" x",
    b" E7",
    b" C1",
    b"0",
    b"1",
    b"-1",
    b"100",
    b"2000000",
    b"4294967295",
    b"18446744073709551615",
    b"a",
    b"b",
    b"get a\r\n",
    b"set a 0 0 1\r\n1\r\n",
    b"incr a 1\r\n",
    b"append a 0 0 1\r\n2\r\n",
    b"mg a v t q\r\n",
    b"ms a 1 I\r\n1\r\n",
    b"ma a N0 J5 v\r\n",
    b"md a q\r\n",
    b"flush_all\r\n",
    b"stats\r\n",
];

#[test]
fn store() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    smoke::run(&root, "store", 2000, DICTIONARY, store::store);
}
