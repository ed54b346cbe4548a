//! The data plane: from a client's bytes to its reply.
//!
//! Read `worker.rs` first: one thread, one engine, and the turn in which everything happens. A
//! request is cut off a client's bytes in `intake.rs`, decided by the tables of `route.rs`, queued
//! on a connection in `forward.rs`, matched with its reply in `replies.rs` and delivered in order
//! by `settle.rs`. Behaviour over several servers lives in `policy.rs` and `gather.rs`; the
//! embedded store's commands in `local`.
//!
//! Invariants of this crate: no `unsafe`, no file, no name look-up, no formatting per request, no
//! lock or shared write on the way of a request outside the store, and a limit on every queue.
#![forbid(unsafe_code)]

mod backend;
mod client;
pub mod config;
mod connect;
pub mod events;
mod exchange;
pub mod explain;
mod forward;
mod gather;
pub mod health;
mod intake;
mod lanes;
mod link;
pub mod local;
mod policy;
pub mod pool;
mod redis;
mod replies;
pub mod route;
mod routes;
mod settle;
pub mod setup;
pub mod stats;
mod streams;
mod strict;
pub mod worker;

pub use exchange::Failure;
pub use setup::{Generation, Mail, Setup};
pub use worker::{Finish, Worker};
