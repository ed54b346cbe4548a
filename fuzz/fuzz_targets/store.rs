//! The libFuzzer entry of the target `store`.
//!
//! What is checked is in `../store.rs`, which a smoke test on the
//! stable toolchain runs too; this file only connects it with the fuzzer.
#![no_main]

#[path = "../store.rs"]
mod store;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| store::store(bytes));
