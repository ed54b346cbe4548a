//! The embedded store as clients see it: memcached's commands over `keyway_store`.
//!
//! [`admit`] looks at a request's head before its value has come and says whether to read it;
//! [`execute`] answers one complete request. Both are plain functions: no I/O, no clock, no
//! waiting. Replies, error texts and what happens to a bad value are memcached's, byte for byte;
//! where memcached itself errs, docs/decisions/012-memcached-commands.md says what we do.
//! The binary protocol ([`binary`]) and UDP ([`udp`]) have the same shape.
//!
//! The way of a text request: cut its head (`proto::memcached::cut`), [`admit`] it, read as many
//! bytes, [`execute`] it, send [`Output::pieces`], obey [`Next`]. After [`Next::More`], [`more`]
//! gives the next slice of a dump each time the client has taken the last one.

mod admin;
mod arith;
mod auth;
pub mod binary;
mod classic;
pub mod conns;
pub mod counters;
mod dump;
mod eviction;
mod meta;
mod output;
mod prefix;
pub mod redis;
mod settings;
mod shared;
mod stats;
pub mod udp;
mod update;
pub mod watch;

pub use conns::{ConnEntry, ConnState, ConnTable, Opened};
pub use counters::{Counters, Totals};
pub use eviction::report_evictions;
pub use output::{HELD_BYTES_MIN, Output, Piece};
pub use settings::{AtomicF64, Settings};
pub use shared::{FactSource, Facts, Shared};
pub use watch::{Hub, Streams, Watching};

use crate::config::{Allow, User};
use keyway_proto::memcached::{Head, Verb, text};
use keyway_store::{Now, Store};

/// The version that clients see in `version`, `stats` and the binary protocol.
///
/// Clients and tools choose features by it, so it names the memcached whose behaviour this is, not
/// Keyway's own version.
pub const COMPAT_VERSION: &str = "1.6.45";

/// What a request is executed with. Cheap to make: the worker makes one for each client it serves.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The items.
    pub store: &'a Store,
    /// Settings, watchers and the like.
    pub shared: &'a Shared,
    /// The counters of this worker.
    pub counters: &'a Counters,
    /// The store's clock; see [`Shared::now`].
    pub now: Now,
    /// What the client's listener allows.
    pub allow: Allow,
    /// Users of the client's listener; empty when no authentication is asked for.
    pub users: &'a [User],
    /// The number of the connection in watched lines: [`ConnEntry::number`].
    pub cfd: u32,
    /// Whether replies to earlier requests of this client have not left the worker yet: `watch`
    /// and dumps refuse to be pipelined behind others.
    pub is_pipelined: bool,
}

/// What one client's earlier requests left behind. Small; one for each client.
#[derive(Debug, Default)]
pub struct Session {
    is_authenticated: bool,
    dump: Option<Box<dump::Dumping>>,
}

impl Session {
    /// A client that has sent nothing yet.
    pub fn new() -> Session {
        Session::default()
    }
}

/// What to do with the bytes that follow a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Read so many bytes (0: none) and give them to [`execute`]. The line end of a text value is
    /// included.
    Read(u64),
    /// The reply is in the output; discard so many bytes that follow the head, and go on. Never
    /// call [`execute`] for this head.
    Refuse {
        /// Bytes to discard.
        swallow: u64,
    },
    /// The reply, if any, is in the output; send it and close.
    Close,
}

/// What follows after a request. Its reply, if any, is in the output.
#[derive(Debug)]
pub enum Next {
    /// The next request.
    Continue,
    /// Close once the output is sent.
    Close,
    /// A dump has begun: send the output, then call [`more`] for the next slice, and again until
    /// it gives something else. Do not read requests meanwhile.
    More,
    /// The client only gets log lines from now on: what it sends is ignored.
    Watch(Watching),
    /// Stop the process; the client is closed. Graceful lets other clients finish.
    Shutdown {
        /// Whether `shutdown graceful` was asked for.
        graceful: bool,
    },
}

/// Decides about the bytes that follow `head`, of which `available` are here already.
#[inline]
pub fn admit(
    ctx: &Context<'_>,
    session: &Session,
    head: &Head<'_>,
    available: usize,
    out: &mut Output,
) -> Admission {
    if !ctx.users.is_empty() && !session.is_authenticated {
        return auth::admit(head, out);
    }
    let body_bytes = head.body_bytes();
    // With everything here, `execute` judges the request once, value and all.
    if body_bytes <= available as u64 {
        return Admission::Read(body_bytes);
    }
    update::admit(ctx, head, out)
}

/// Judges the line of a store command that is to be sent to a backend: false, with memcached's
/// reply in the output (none for `noreply`), if a memcached would refuse it. Looks at neither the
/// size of the value nor the store.
pub fn check_write(ctx: &Context<'_>, head: &Head<'_>, out: &mut Output) -> bool {
    update::check(ctx, head, out)
}

/// Answers one complete request. `value` is what [`admit`] asked to read.
pub fn execute(
    ctx: &Context<'_>,
    session: &mut Session,
    head: &Head<'_>,
    value: &[u8],
    out: &mut Output,
) -> Next {
    if ctx.shared.hub.wants(Streams::RAWCMDS) {
        let line = watch::Line::Command { line: head.line, cfd: ctx.cfd };
        ctx.shared.hub.write(Streams::RAWCMDS, line);
    }
    if !ctx.users.is_empty() && !session.is_authenticated {
        return auth::execute(ctx, session, value, out);
    }
    if head.malformed.is_some() {
        out.put(text::BAD_LINE_FORMAT);
        return Next::Continue;
    }
    match head.verb {
        Verb::Get | Verb::Gets => classic::get(ctx, head, out),
        Verb::Mg => meta::get(ctx, head, out),
        Verb::Set | Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend | Verb::Cas => {
            update::classic(ctx, head, value, out);
        }
        Verb::Ms => update::meta(ctx, head, value, out),
        Verb::Gat | Verb::Gats => classic::get_and_touch(ctx, head, out),
        Verb::Incr => arith::classic(ctx, head, true, out),
        Verb::Decr => arith::classic(ctx, head, false, out),
        Verb::Touch => classic::touch(ctx, head, out),
        Verb::Delete => classic::delete(ctx, head, out),
        Verb::Md => meta::delete(ctx, head, out),
        Verb::Ma => meta::arith(ctx, head, out),
        Verb::Mn => out.put(text::META_NOOP),
        Verb::Me => meta::debug(ctx, head, out),
        _ => return admin::execute(ctx, session, head, out),
    }
    Next::Continue
}

/// Gives the next slice of a dump, of about 64 KiB; [`Next::More`] while there is more.
pub fn more(ctx: &Context<'_>, session: &mut Session, out: &mut Output) -> Next {
    dump::more(ctx, session, out)
}
