//! The libFuzzer entry of the target `resp`.
//!
//! What is checked is in `../protocol.rs`, which a smoke test on the
//! stable toolchain runs too; this file only connects it with the fuzzer.
#![no_main]

#[path = "../protocol.rs"]
mod protocol;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocol::resp(bytes));
