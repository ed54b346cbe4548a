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

/// The subcommand's word and its arguments, as far as the table knows them.
fn usage(sub: &Command) -> String {
    let words = sub.name.to_ascii_uppercase();
    let mut line = words.split_once('|').map_or(words.as_str(), |(_, word)| word).to_owned();
    for place in places(sub) {
        let name = place.name();
        let written =
            if place.is_rest { write!(line, " [<{name}> ...]") } else { write!(line, " <{name}>") };
        written.expect("writing to memory cannot fail");
    }
    line
}

/// An argument that a command takes.
pub(super) struct Place {
    /// It is a key.
    pub is_key: bool,
    /// It stands for any number of arguments, none included.
    pub is_rest: bool,
}

impl Place {
    /// What it is called; the table knows no more than this.
    pub fn name(&self) -> &'static str {
        if self.is_key { "key" } else { "argument" }
    }
}

/// What follows the words of a command.
pub(super) fn places(command: &Command) -> Vec<Place> {
    let words = 1 + usize::from(command.name.contains('|'));
    let count = usize::from(command.arity.unsigned_abs());
    let mut places: Vec<Place> =
        (words..count).map(|at| Place { is_key: is_key(command, at), is_rest: false }).collect();
    if command.arity < 0 {
        places.push(Place { is_key: is_key(command, count), is_rest: true });
    }
    places
}

fn is_key(command: &Command, index: usize) -> bool {
    let [first, last, step] = command.legacy_keys.map(i64::from);
    let index = index as i64;
    first > 0
        && step > 0
        && index >= first
        && (last < 0 || index <= last)
        && (index - first) % step == 0
}
