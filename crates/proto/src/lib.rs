//! Cache protocols as bytes: memcached (classic, meta, the binary header) and Redis' RESP.
//!
//! Every function looks at bytes that the caller holds and answers with slices of them. Nothing
//! here allocates, keeps state between calls, logs or does I/O. Any input, however hostile, gets
//! an answer and never a panic; any split of the same input is answered alike.
//!
//! # Where to start
//!
//! * [`memcached::cut`] takes one request's head off the front of received bytes. The proxy's
//!   hot path calls it once per request, so its plain forms are read in one pass; whatever is
//!   unusual goes to a second reader that follows memcached's tokenizer rule by rule.
//! * [`memcached::cut_reply`] does the same for what a backend sends. Values are never looked at.
//! * [`memcached::Head`] is lenient: it says which command, which key, how long the value is, and
//!   the few marks that routing needs. Whoever executes a request reads the rest of the line with
//!   [`memcached::Head::arguments`], [`memcached::Head::meta_flags`] and the readers of [`number`].
//! * [`memcached::limit`] and [`memcached::text`] hold memcached's numbers and its fixed replies.
//!   Store listeners and proxied listeners differ in some: [`memcached::LineLimits`] has both.
//! * [`memcached::render`], [`number::Decimal`] and [`base64`] write what has a bounded length.
//! * [`memcached::binary`] is the header of the binary protocol.
//! * [`resp::request::cut`] takes one Redis request off the front, [`resp::reply::Follow`] follows
//!   replies while they arrive, [`resp::command`] has the facts about every command.
//!
//! # What holds
//!
//! * A line ends with LF; one CR before it is not part of the line. Only spaces separate tokens.
//! * More bytes never change an answer, except that `Partial` becomes something else.
//! * The quick reader and the exact reader never differ: property tests and the fuzz targets in
//!   `fuzz/` hold them together. `examples/cuts.rs` measures what a cut costs.
//! * A memcached may refuse a line that is cut here without complaint (a key too long, a flag
//!   twice), but every line that is `malformed` or `Unknown` here is an error there.
#![forbid(unsafe_code)]

pub mod base64;
pub mod memcached;
pub mod number;
pub mod resp;
mod scan;
