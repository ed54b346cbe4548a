//! The libFuzzer entry of the target `config_nutcracker`.
//!
//! What is checked is in `keyway_config::fuzz`, which a smoke test on the
//! stable toolchain runs too; this file only connects it with the fuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keyway_config::fuzz::nutcracker(bytes));
