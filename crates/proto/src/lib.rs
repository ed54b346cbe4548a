//! Cache protocols as bytes: memcached (classic, meta, binary header) and the basics of RESP.
//!
//! Every function here looks at bytes that the caller holds and answers with slices of them. The
//! crate never allocates, keeps nothing between calls, logs nothing and does no I/O; any input,
//! however hostile, gives an answer and never a panic. The engine's chunks go in, the proxy and
//! the embedded store read what comes out.
#![forbid(unsafe_code)]

pub mod base64;
pub mod memcached;
pub mod number;
pub mod resp;
mod scan;
