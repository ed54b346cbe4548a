//! libFuzzer entry; what is checked is in `../protocol.rs`.
#![no_main]

#[path = "../protocol.rs"]
mod protocol;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocol::request(bytes));
