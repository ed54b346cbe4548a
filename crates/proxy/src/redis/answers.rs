//! Commands of Redis clients that need no server: how they connect, and what they ask about it.
//!
//! [`answer`] sees every request first. It refuses what is unknown, of the wrong length or not
//! allowed (`judge`), lets nobody through who has to authenticate, and answers what concerns the
//! connection or the server as such as a redis-server 7.0 would, so that client libraries connect
//! without being told that there is a proxy. It changes the client's [`Session`] and nothing else.

mod client;
mod command;
mod glob;
mod hello;
mod help;
mod info;
mod judge;
mod other;
mod refused;
mod reply;
mod session;

pub(crate) use judge::{Verdict, is_flush, judge, may_be_queued};
pub(crate) use session::Session;

use crate::config::{Compat, User};
use crate::local::{ConnEntry, Shared};
use crate::stats::Registry;
use keyway_proto::resp::command::{Command, Hashed, Kind, Verb};
use keyway_proto::resp::{Request, Version};
use keyway_store::{Now, Store};
use reply::Reply;

/// The version of Redis whose behaviour this is. Clients choose features by it, so it is not
/// Keyway's own.
pub(crate) const REDIS_VERSION: &str = "7.0.15";

/// What a request is answered with. Cheap to make for each request.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    /// Users of the listener; empty when no authentication is asked for.
    pub users: &'a [User],
    /// How closely twemproxy is followed.
    pub compat: Compat,
    /// The one database that is served.
    pub db: u32,
    /// Unix time in microseconds; needed for commands of kind `Local` only.
    pub unix_us: u64,
    /// Second of the store's clock.
    pub now_seconds: u32,
    /// Connections, and facts about the process.
    pub shared: &'a Shared,
    /// Counters of all workers.
    pub registry: &'a Registry,
    /// The embedded store, when it answers this listener.
    pub store: Option<&'a Store>,
    /// The client's entry in the list of connections.
    pub entry: &'a ConnEntry,
    /// Whether the client has a connection to a backend for itself.
    pub has_session: bool,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is for a backend, a session or the store. Nothing was written.
    NotMine,
    /// The reply was written; it is empty when the client wants none.
    Answered,
    /// Send what was written, if anything, in its turn, and then close.
    Close,
    /// Close at once and without a reply; replies that are owed are dropped.
    Drop,
    /// As `Answered`; besides, the client leaves its transaction, its subscriptions and its
    /// tracking.
    Reset,
    /// Send it as it is on the client's own connection to a backend, which it gets if it has none.
    OnSession,
}

/// Answers a request, or says who has to. The reply is appended to `out`.
///
/// `Session::begin_request` has to be called first. Requests inside a transaction are not for
/// this, but for `judge` alone.
#[inline]
pub(crate) fn answer(
    session: &mut Session,
    ctx: &Context<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Outcome {
    if let Some(command) = request.command
        && is_plain(command, request, ctx.compat)
        && session.is_authenticated()
    {
        return Outcome::NotMine;
    }
    answer_unusual(session, ctx, request, out)
}

/// Whether this is a command for backends or the store in which nothing can be wrong but what
/// they find wrong. False means only that a closer look is needed.
#[inline]
fn is_plain(command: &Command, request: &Request<'_>, compat: Compat) -> bool {
    let is_for_others = matches!(command.kind, Kind::Keyed | Kind::Split | Kind::Blocking);
    let is_right = match (compat, &command.nutcracker) {
        (Compat::Native, _) => judge::is_right_besides(command.verb, request.arguments),
        (_, Some(known)) => known.accepts(request.arguments) && known.hashed != Hashed::Third,
        (Compat::Nutcracker, None) => !judge::closes(command),
        (Compat::Strict, None) => false,
    };
    is_for_others
        && is_right
        && command.subcommands.is_empty()
        && command.accepts(request.arguments)
        && !matches!(command.verb, Verb::Move | Verb::Migrate)
}

#[cold]
#[inline(never)]
fn answer_unusual(
    session: &mut Session,
    ctx: &Context<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Outcome {
    let start = out.len();
    let outcome = decide(session, ctx, request, out);
    // Asked for now: the request itself may have changed it.
    if session.is_muted() {
        out.truncate(start);
    }
    outcome
}

fn decide(
    session: &mut Session,
    ctx: &Context<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Outcome {
    if request.verb() == Some(Verb::Quit) {
        return quit(session, ctx.compat, request, out);
    }
    match judge(request, ctx.compat, out) {
        Verdict::Proceed => {}
        Verdict::Drop => return Outcome::Drop,
        Verdict::Refused => return Outcome::Answered,
    }
    let Some(command) = request.command else { return Outcome::Answered };
    if !session.is_authenticated() && !judge::needs_no_auth(command) {
        // twemproxy's text has no full stop.
        let text: &[u8] = match ctx.compat {
            Compat::Native => b"NOAUTH Authentication required.",
            Compat::Nutcracker | Compat::Strict => b"NOAUTH Authentication required",
        };
        Reply::new(out, session.version()).error(&[text]);
        return Outcome::Answered;
    }
    carry_out(command, session, ctx, request, out)
}

/// `QUIT`, for which redis-server does not even count the arguments, and needs no password.
fn quit(session: &Session, compat: Compat, request: &Request<'_>, out: &mut Vec<u8>) -> Outcome {
    match compat {
        Compat::Native => {
            Reply::new(out, session.version()).ok();
            Outcome::Close
        }
        Compat::Strict if request.arguments > 1 => Outcome::Drop,
        Compat::Nutcracker | Compat::Strict => Outcome::Close,
    }
}

/// Carries out a command that is known, complete and allowed.
fn carry_out(
    command: &'static Command,
    session: &mut Session,
    ctx: &Context<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Outcome {
    let reply = &mut Reply::new(out, session.version());
    match command.verb {
        // twemproxy sends these two to a server.
        Verb::Command | Verb::Lolwut if ctx.compat == Compat::Strict => return Outcome::NotMine,
        Verb::Command => command::command(request, reply),
        Verb::Lolwut => info::lolwut(request, reply),
        Verb::Hello => hello::hello(session, ctx, request, out),
        Verb::Auth => hello::auth(session, ctx, request, out),
        Verb::Select => hello::select(ctx, request, reply),
        Verb::Client => return client::client(session, ctx, request, out),
        Verb::Reset => {
            session.reset(!ctx.users.is_empty());
            Reply::new(out, session.version()).simple(b"RESET");
            return Outcome::Reset;
        }
        Verb::Ping if request.arguments == 1 => reply.simple(b"PONG"),
        Verb::Ping | Verb::Echo => reply.bulk(request.first),
        Verb::Info => info::info(ctx, request, reply),
        Verb::Time => info::time(ctx, reply),
        Verb::Role => info::role(reply),
        Verb::Readonly | Verb::Readwrite => reply.ok(),
        Verb::Asking | Verb::Cluster => refused::no_cluster(reply),
        Verb::Migrate => refused::refuse(request, reply),
        _ if is_help(command, request) => help::container(request, reply),
        _ => return other::other(command, session, ctx, request, reply),
    }
    Outcome::Answered
}

/// Whether this asks for the subcommands of a command that has such a question.
fn is_help(command: &Command, request: &Request<'_>) -> bool {
    !command.subcommands.is_empty()
        && is_word(request.first, b"HELP")
        && command.subcommand(b"HELP").is_some()
}

/// Whether a client's word is this one, in any case.
fn is_word(word: &[u8], expected: &[u8]) -> bool {
    word.eq_ignore_ascii_case(expected)
}

/// A client's word in capitals, for `match`; empty when it is too long to be any we know.
fn upper<'a>(word: &[u8], buf: &'a mut [u8; 16]) -> &'a [u8] {
    let Some(copy) = buf.get_mut(..word.len()) else { return b"?" };
    copy.copy_from_slice(word);
    copy.make_ascii_uppercase();
    copy
}

/// What an error shows of a client's argument: as much as fits, and nothing from a zero byte on.
fn shown(argument: &[u8], bytes_max: usize) -> &[u8] {
    let argument = argument.get(..bytes_max).unwrap_or(argument);
    argument.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number as redis-server reads it: no sign but a minus, no leading zeros, nothing around it.
fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_plain = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if is_plain { keyway_proto::number::strict_i64(text) } else { None }
}

impl Context<'_> {
    /// Seconds since the process started.
    fn uptime_seconds(&self) -> u32 {
        Shared::uptime(Now { seconds: self.now_seconds, millis: 0 })
    }
}

impl Session {
    fn version(&self) -> Version {
        if self.is_resp3() { Version::Three } else { Version::Two }
    }
}

#[cfg(test)]
mod tests;
