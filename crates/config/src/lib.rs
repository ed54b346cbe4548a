//! Configuration front-ends: what an operator writes becomes `keyway_proxy::config::Config`.
//!
//! Each front-end knows one syntax and nothing of running: the native TOML file (`native`),
//! memcached's command line (`memcached`), nutcracker's file and command line (`nutcracker`). Every
//! mistake becomes a [`Diagnostic`] with its place and a way out, and a load reports all of them
//! together. This crate opens no socket and starts no thread; hostile input never panics.

#![forbid(unsafe_code)]

mod check;
pub mod diagnostic;
#[doc(hidden)]
pub mod fuzz;
pub mod memcached;
mod native;
mod nearest;
pub mod nutcracker;
mod schema;

pub use check::{Format, check, format_of, load};
pub use diagnostic::{Diagnostic, Severity, to_json, to_text};
pub use native::key;
pub use native::{Loaded, load_native};
pub use schema::schema;
