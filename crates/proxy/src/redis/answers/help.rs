//! `HELP` of commands that have subcommands: their names, and how many words each takes.
//!
//! It is made from the table of commands, so it cannot leave one out.

use super::reply::Reply;
use keyway_proto::resp::Request;
use keyway_proto::resp::command::Command;
use std::fmt::Write;

/// Answers `… HELP` for the command of the request.
pub(super) fn container(request: &Request<'_>, reply: &mut Reply<'_>) {
    let Some(command) = request.command else { return reply.array(0) };
    reply.array(command.subcommands.len() + 1);
    let title = format!("{} has these subcommands:", command.name.to_ascii_uppercase());
    reply.simple(title.as_bytes());
    for sub in command.subcommands {
        reply.simple(usage(sub).as_bytes());
    }
}

/// The subcommand's words, and its arguments as far as their number is known.
fn usage(sub: &Command) -> String {
    let words = sub.name.to_ascii_uppercase();
    let mut line = words.split_once('|').map_or(words.as_str(), |(_, word)| word).to_owned();
    let fixed = usize::from(sub.arity.unsigned_abs()).saturating_sub(2);
    for index in 0..fixed {
        let what = if is_key(sub, index + 2) { "<key>" } else { "<argument>" };
        write!(line, " {what}").expect("writing to memory cannot fail");
    }
    if sub.arity < 0 {
        line.push_str(" [<argument> ...]");
    }
    line
}

fn is_key(command: &Command, index: usize) -> bool {
    let [first, last, step] = command.legacy_keys.map(i64::from);
    let index = index as i64;
    first > 0 && step > 0 && index >= first && (last < 0 || index <= last)
}
