//! libFuzzer entry; what is checked is in `keyway_config::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keyway_config::fuzz::memcached(bytes));
