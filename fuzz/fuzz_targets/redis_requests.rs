//! The libFuzzer entry of the target `redis_requests`.
//!
//! The body is in `redis.rs`, where the smoke test on the stable toolchain finds it as well. This
//! file only connects it with the fuzzer.
#![no_main]

#[path = "../redis.rs"]
mod redis;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redis::requests(bytes));
