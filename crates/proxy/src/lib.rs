//! The data plane.
#![forbid(unsafe_code)]

pub mod config;
pub mod pool;
