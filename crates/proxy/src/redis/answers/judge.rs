//! Whether a request may go on at all: known, allowed at the listener's level, of the right length.
//!
//! The texts are those of redis-server 7.0, which clients match. twemproxy has no such texts: what
//! it does not like closes the connection, and two levels of compatibility ask for that.

use super::reply::Reply;
use super::shown;
use crate::config::Compat;
use keyway_proto::resp::command::{Command, Flags, Hashed, Kind, Verb};
use keyway_proto::resp::{Request, Version};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may go on.
    Proceed,
    /// Close the client at once without a reply; replies it is owed are dropped.
    Drop,
    /// It got an error.
    Refused,
}

/// Longest part of a client's name of a command that an error repeats, in bytes. All arguments
/// that it repeats take about as much again.
const SHOWN_BYTES_MAX: usize = 128;

/// Judges a request by its command and its number of arguments. Errors are appended to `out`.
pub(crate) fn judge(request: &Request<'_>, compat: Compat, out: &mut Vec<u8>) -> Verdict {
    let Some(command) = request.command else {
        if compat != Compat::Native {
            return Verdict::Drop;
        }
        unknown_command(request, &mut Reply::new(out, Version::Two));
        return Verdict::Refused;
    };
    match compat {
        Compat::Native => {}
        Compat::Nutcracker => {
            if closes(command) || has_bad_arity_for_both(command, request) {
                return Verdict::Drop;
            }
            // Within twemproxy's bounds it is the server that says what is wrong.
            if command.nutcracker.is_some_and(|known| known.accepts(request.arguments)) {
                return Verdict::Proceed;
            }
        }
        Compat::Strict => {
            let is_taken = is_taken_by_nutcracker(command, request);
            return if is_taken { Verdict::Proceed } else { Verdict::Drop };
        }
    }
    let reply = &mut Reply::new(out, Version::Two);
    if !fits(command, request, reply) { Verdict::Refused } else { Verdict::Proceed }
}

/// Commands that close the connection although a pool could carry them out: upstream's tests, and
/// whoever probes for twemproxy, expect it of what concerns keys of more than one server.
pub(super) const fn closes(command: &Command) -> bool {
    matches!(
        command.verb,
        Verb::Msetnx
            | Verb::Move
            | Verb::Scan
            | Verb::Keys
            | Verb::Dbsize
            | Verb::Randomkey
            | Verb::Flushdb
            | Verb::Flushall
    )
}

/// Whether neither twemproxy nor a server would take so many arguments.
fn has_bad_arity_for_both(command: &Command, request: &Request<'_>) -> bool {
    let count = request.arguments;
    let Some(known) = command.nutcracker else { return false };
    let is_right_for_servers = command.accepts(count) && is_right_besides(command.verb, count);
    !known.accepts(count) && !is_right_for_servers
}

/// Rules on the number of arguments that the table does not have.
pub(super) const fn is_right_besides(verb: Verb, count: u32) -> bool {
    match verb {
        Verb::Mset | Verb::Msetnx => !count.is_multiple_of(2),
        Verb::Ping => count <= 2,
        _ => true,
    }
}

/// Whether twemproxy forwards or answers this. `MOVE` it knows, and closes.
fn is_taken_by_nutcracker(command: &Command, request: &Request<'_>) -> bool {
    let Some(known) = command.nutcracker else { return false };
    if !known.accepts(request.arguments) || command.verb == Verb::Move {
        return false;
    }
    // EVAL has to name at least one key, and to count its keys in digits.
    known.hashed != Hashed::Third
        || request.argument(2).is_some_and(|count| {
            count.iter().all(u8::is_ascii_digit) && count.iter().any(|digit| *digit != b'0')
        })
}

/// Subcommands that came after Redis 7.0 and that clients send when they connect: name and number
/// of arguments, both words counted.
const LATER_SUBCOMMANDS: [(&str, u32); 2] = [("client|setinfo", 4), ("client|no-touch", 3)];

/// Whether subcommand and number of arguments are right; writes an error if not.
fn fits(command: &'static Command, request: &Request<'_>, reply: &mut Reply<'_>) -> bool {
    let count = request.arguments;
    let mut arity_of = (command.name, command.accepts(count));
    if !command.subcommands.is_empty() && count > 1 {
        let word = request.first;
        if let Some(sub) = command.subcommand(word) {
            arity_of = (sub.name, sub.accepts(count));
        } else if let Some((name, arity)) = later_subcommand(command, word) {
            arity_of = (name, count == arity);
        } else {
            unknown_subcommand(command, word, reply);
            return false;
        }
    }
    arity_of.1 &= is_right_besides(command.verb, count);
    let (name, is_right) = arity_of;
    if !is_right {
        // A wrong EXEC ends the transaction, and says so whether there is one or not.
        let code: &[u8] = match command.verb {
            Verb::Exec => b"EXECABORT Transaction discarded because of: ",
            _ => b"ERR ",
        };
        let name = name.as_bytes();
        reply.error(&[code, b"wrong number of arguments for '", name, b"' command"]);
    }
    is_right
}

fn later_subcommand(command: &Command, word: &[u8]) -> Option<(&'static str, u32)> {
    LATER_SUBCOMMANDS.into_iter().find(|(name, _)| {
        let own = name.strip_prefix(command.name).and_then(|rest| rest.strip_prefix('|'));
        own.is_some_and(|own| own.as_bytes().eq_ignore_ascii_case(word))
    })
}

fn unknown_subcommand(command: &Command, word: &[u8], reply: &mut Reply<'_>) {
    let parent = command.name.to_ascii_uppercase();
    reply.error(&[
        b"ERR unknown subcommand '",
        shown(word, SHOWN_BYTES_MAX),
        b"'. Try ",
        parent.as_bytes(),
        b" HELP.",
    ]);
}

/// The error for a command that nobody knows, with as much of it as a person needs to find it.
fn unknown_command(request: &Request<'_>, reply: &mut Reply<'_>) {
    let mut arguments: Vec<u8> = Vec::with_capacity(2 * SHOWN_BYTES_MAX);
    for argument in request.arguments().skip(1) {
        let Some(room) = SHOWN_BYTES_MAX.checked_sub(arguments.len()).filter(|room| *room > 0)
        else {
            break;
        };
        arguments.push(b'\'');
        arguments.extend_from_slice(shown(argument.bytes, room));
        arguments.extend_from_slice(b"' ");
    }
    let name = shown(request.name, SHOWN_BYTES_MAX);
    reply.error(&[b"ERR unknown command '", name, b"', with args beginning with: ", &arguments]);
}

/// Whether a request that `judge` lets proceed may be queued in a transaction. It is carried out
/// on a connection that other clients get afterwards, so nothing may change what the connection
/// is; and what the listener does not allow is not allowed by MULTI either.
pub(crate) fn may_be_queued(request: &Request<'_>, db: u32, may_flush: bool) -> bool {
    let Some(command) = request.subcommand() else { return false };
    match command.kind {
        Kind::Keyed | Kind::Split => command.verb != Verb::Migrate,
        Kind::Blocking | Kind::BlockingOption | Kind::Publish | Kind::Anywhere => true,
        Kind::Transaction => true,
        Kind::Sweep => may_flush || !is_flush(command),
        Kind::Local => match command.verb {
            Verb::Ping | Verb::Echo | Verb::Time | Verb::Command => true,
            Verb::Select => super::integer(request.first) == Some(i64::from(db)),
            _ => false,
        },
        Kind::Subscribe | Kind::Refused => false,
    }
}

/// Whether a command deletes everything, which listeners have to allow.
pub(crate) fn is_flush(command: &Command) -> bool {
    matches!(command.verb, Verb::Flushall | Verb::Flushdb) || command.name == "function|flush"
}

/// Whether a client may send this before it has authenticated.
pub(super) const fn needs_no_auth(command: &Command) -> bool {
    command.flags.contains(Flags::NO_AUTH)
}
