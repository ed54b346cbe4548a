//! The memcached protocols: classic and meta requests, their replies, and the binary header.
//!
//! `request::cut` takes one request's head off the front of received bytes, `reply::cut_reply`
//! one reply's; both give slices of the input. Facts are those of memcached 1.6.45.

pub mod binary;
pub mod flag;
pub mod limit;
pub mod render;
pub mod reply;
pub mod request;
pub mod strict;
pub mod text;
pub mod token;
pub mod verb;

pub use flag::{MetaFlag, MetaFlags, meta_flags};
pub use limit::{
    KEY_BYTES_MAX, LineLimits, META_FLAG_COUNT_MAX, OPAQUE_BYTES_MAX, TOKEN_COUNT_MAX,
    VALUE_BYTES_MAX, is_valid_key,
};
pub use reply::{ReplyCut, ReplyHead, ReplyKind, cut_reply};
pub use request::{Cut, Head, Malformed, ValueLength, cut, cut_text, cut_with};
pub use strict::{StrictCut, cut_strict};
pub use token::{Tokens, tokens};
pub use verb::Verb;
