//! The binary: everything that is not per-request.
#![forbid(unsafe_code)]

fn main() {}
