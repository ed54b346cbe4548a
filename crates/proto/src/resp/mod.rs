//! RESP, the protocol of Redis: requests and replies of RESP2 and RESP3.
//!
//! * [`request::cut`] takes one request off the front of received bytes, resumable at any byte.
//! * [`command`] holds what is known about each command of Redis 7.0: arity, flags, where its
//!   keys are, how the proxy carries it out.
//! * [`reply::Follow`] follows a reply through the pieces in which it arrives, and `reply` has
//!   what merging the replies of several servers needs.
//! * [`render`] writes requests and replies.
//! * [`cut_reply`] and [`head`] are the heads of single elements, for clients.

pub mod command;
mod element;
pub mod render;
pub mod reply;
pub mod request;

pub use command::{Command, Kind, Verb};
pub use element::{Element, HEAD_BYTES_MAX, LINE_BYTES_MAX, ReplyCut, cut_reply, head};
pub use request::{Cut, Limits, Malformed, Progress, Request};

/// Which version of the protocol a connection speaks. A connection begins with version 2;
/// `HELLO 3` changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// RESP2: simple strings, errors, integers, bulks and arrays.
    #[default]
    Two,
    /// RESP3: also maps, sets, pushes, doubles, booleans, nulls and more.
    Three,
}
