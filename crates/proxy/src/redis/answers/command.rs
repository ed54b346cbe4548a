//! `COMMAND`: what the table of commands says, in the shapes that client libraries read.
//!
//! The facts are the table's, and through it those of redis-server 7.0. Summaries and arguments
//! are made from the facts; complexities and histories are not told.

use super::help::places;
use super::reply::Reply;
use super::{glob, is_word};
use keyway_proto::resp::command::{
    self, Begin, COMMANDS, Categories, Command, Find, Flags, KeyFlags, KeySpec, Verb,
};
use keyway_proto::resp::request::{Cut, Limits, Progress};
use keyway_proto::resp::{Request, render};

const SYNTAX: &[u8] = b"ERR syntax error";

/// `COMMAND [subcommand …]`; the subcommand is known and has the right number of arguments.
pub(super) fn command(request: &Request<'_>, reply: &mut Reply<'_>) {
    let words = || request.arguments().skip(2).map(|argument| argument.bytes);
    let mut buf = [0; 16];
    match super::upper(request.first, &mut buf) {
        b"" => all(reply),
        b"COUNT" => reply.number(COMMANDS.len() as i64),
        b"INFO" if request.arguments == 2 => all(reply),
        b"INFO" => {
            reply.array(request.arguments as usize - 2);
            for name in words() {
                match find(name) {
                    Some(command) => facts(command, reply),
                    None => reply.null(),
                }
            }
        }
        b"DOCS" => {
            let asked: Vec<_> = if request.arguments == 2 {
                COMMANDS.iter().collect()
            } else {
                words().filter_map(find).collect()
            };
            docs(&asked, reply);
        }
        b"LIST" => list(request, reply),
        b"GETKEYS" => keys(request, reply, false),
        b"GETKEYSANDFLAGS" => keys(request, reply, true),
        _ => super::help::container(request, reply),
    }
}

/// The command or subcommand called so: `get`, `config|get`.
fn find(name: &[u8]) -> Option<&'static Command> {
    match name.iter().position(|byte| *byte == b'|') {
        None => command::find(name),
        Some(at) => command::find(&name[..at])?.subcommand(&name[at + 1..]),
    }
}

fn all(reply: &mut Reply<'_>) {
    reply.array(COMMANDS.len());
    for command in COMMANDS.iter() {
        facts(command, reply);
    }
}

/// The ten facts of one command.
fn facts(command: &Command, reply: &mut Reply<'_>) {
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.number(i64::from(command.arity));
    simple_set(&command.flags.names().collect::<Vec<_>>(), reply);
    for place in command.legacy_keys {
        reply.number(i64::from(place));
    }
    reply.set(command.categories.names().count());
    for category in command.categories.names() {
        reply.simple(format!("@{category}").as_bytes());
    }
    // Tips say how a cluster is to be asked; a proxy is asked like one server.
    reply.set(0);
    reply.set(command.keys.len());
    for spec in command.keys {
        key_spec(spec, reply);
    }
    // redis-server calls an empty collection a set and any other an array.
    match command.subcommands.len() {
        0 => reply.set(0),
        count => reply.array(count),
    }
    for sub in command.subcommands {
        facts(sub, reply);
    }
}

fn key_spec(spec: &KeySpec, reply: &mut Reply<'_>) {
    reply.map(3);
    reply.bulk(b"flags");
    key_flags(spec.flags, reply);
    reply.bulk(b"begin_search");
    match spec.begin {
        Begin::Index(index) => rule(reply, "index", &[("index", Fact::Number(index))]),
        Begin::Keyword(word, from) => {
            let facts = [("keyword", Fact::Word(word)), ("startfrom", Fact::Number(from))];
            rule(reply, "keyword", &facts);
        }
        Begin::Unknown => rule(reply, "unknown", &[]),
    }
    reply.bulk(b"find_keys");
    let number = Fact::Number;
    match spec.find {
        Find::Range { last, step, limit } => {
            let facts =
                [("lastkey", number(last)), ("keystep", number(step)), ("limit", number(limit))];
            rule(reply, "range", &facts);
        }
        Find::Keynum { number: at, first, step } => {
            let facts =
                [("keynumidx", number(at)), ("firstkey", number(first)), ("keystep", number(step))];
            rule(reply, "keynum", &facts);
        }
        Find::Unknown => rule(reply, "unknown", &[]),
    }
}

enum Fact {
    Number(i8),
    Word(&'static str),
}

/// A rule by its type and facts.
fn rule(reply: &mut Reply<'_>, kind: &str, facts: &[(&str, Fact)]) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(facts.len());
    for (name, fact) in facts {
        reply.bulk(name.as_bytes());
        match fact {
            Fact::Number(number) => reply.number(i64::from(*number)),
            Fact::Word(word) => reply.bulk(word.as_bytes()),
        }
    }
}

fn key_flags(flags: KeyFlags, reply: &mut Reply<'_>) {
    simple_set(&flags.names().collect::<Vec<_>>(), reply);
}

fn simple_set(names: &[&str], reply: &mut Reply<'_>) {
    reply.set(names.len());
    for name in names {
        reply.simple(name.as_bytes());
    }
}

/// Whether as many keys follow as the request says; true where it says nothing.
fn is_counted_right(request: &Request<'_>, spec: &KeySpec) -> bool {
    let (Begin::Index(begin), Find::Keynum { number, first, step }) = (spec.begin, spec.find)
    else {
        return true;
    };
    let at = |offset: i8| i64::from(begin) + i64::from(offset);
    let number = u32::try_from(at(number)).ok().and_then(|index| request.argument(index));
    let Some(count) = number.and_then(super::integer).filter(|count| *count >= 0) else {
        return false;
    };
    count == 0
        || (count - 1)
            .checked_mul(i64::from(step))
            .is_some_and(|last| at(first).saturating_add(last) < i64::from(request.arguments))
}

/// What a command does to its keys, where that depends on its arguments.
fn exact_flags(request: &Request<'_>) -> Option<&'static [&'static str]> {
    let mut rest = request.arguments().skip(2).map(|argument| argument.bytes);
    match request.verb()? {
        Verb::Set => Some(match rest.skip(1).any(|word| is_word(word, b"GET")) {
            true => &["RW", "access", "update"],
            false => &["OW", "update"],
        }),
        Verb::Bitfield => {
            let changes = rest.any(|word| is_word(word, b"SET") || is_word(word, b"INCRBY"));
            Some(if changes { &["RW", "access", "update"] } else { &["RO", "access"] })
        }
        _ => None,
    }
}

/// What the documentation of these commands would say in short.
fn docs(commands: &[&Command], reply: &mut Reply<'_>) {
    reply.map(commands.len());
    for command in commands {
        reply.bulk(command.name.as_bytes());
        reply.map(4);
        reply.bulk(b"summary");
        reply.bulk(summary(command).as_bytes());
        reply.bulk(b"since");
        reply.bulk(command.since.as_bytes());
        reply.bulk(b"group");
        reply.bulk(command.group.as_bytes());
        if command.subcommands.is_empty() {
            arguments(command, reply);
        } else {
            reply.bulk(b"subcommands");
            docs(&command.subcommands.iter().collect::<Vec<_>>(), reply);
        }
    }
}

fn arguments(command: &Command, reply: &mut Reply<'_>) {
    let places = places(command);
    reply.bulk(b"arguments");
    reply.array(places.len());
    for place in places {
        reply.map(if place.is_rest { 3 } else { 2 });
        reply.bulk(b"name");
        reply.bulk(place.name().as_bytes());
        reply.bulk(b"type");
        reply.bulk(if place.is_key { b"key" } else { b"string" });
        if place.is_rest {
            reply.bulk(b"flags");
            simple_set(&["optional", "multiple"], reply);
        }
    }
}

fn summary(command: &Command) -> String {
    let what = match () {
        () if command.flags.contains(Flags::WRITE) => "Writes",
        () if command.flags.contains(Flags::READONLY) => "Reads",
        () if command.flags.contains(Flags::ADMIN) => "Administers",
        () => "Concerns",
    };
    let group = if command.group == "generic" { "keys of any type" } else { command.group };
    let waits = if command.flags.contains(Flags::BLOCKING) { ", and may wait" } else { "" };
    format!("{what}: {group}{waits}")
}

/// `COMMAND LIST [FILTERBY MODULE name|ACLCAT category|PATTERN pattern]`
fn list(request: &Request<'_>, reply: &mut Reply<'_>) {
    enum Filter<'a> {
        None,
        Nothing,
        Category(usize),
        Pattern(&'a [u8]),
    }
    let word = |index| request.argument(index).unwrap_or_default();
    let filter = match request.arguments {
        2 => Filter::None,
        5 if is_word(word(2), b"FILTERBY") => match word(4) {
            _ if is_word(word(3), b"MODULE") => Filter::Nothing,
            pattern if is_word(word(3), b"PATTERN") => Filter::Pattern(pattern),
            category if is_word(word(3), b"ACLCAT") => {
                let known = |name: &&str| name.as_bytes().eq_ignore_ascii_case(category);
                Categories::NAMES.iter().position(known).map_or(Filter::Nothing, Filter::Category)
            }
            _ => return reply.error(&[SYNTAX]),
        },
        _ => return reply.error(&[SYNTAX]),
    };
    let is_listed = |command: &&Command| match filter {
        Filter::None => true,
        Filter::Nothing => false,
        Filter::Category(bit) => {
            command.categories.names().any(|name| name == Categories::NAMES[bit])
        }
        Filter::Pattern(pattern) => glob::matches(pattern, command.name.as_bytes()),
    };
    let every = COMMANDS
        .iter()
        .flat_map(|command| std::iter::once(command).chain(command.subcommands.iter()));
    let listed: Vec<_> = every.filter(is_listed).collect();
    reply.array(listed.len());
    for command in listed {
        reply.bulk(command.name.as_bytes());
    }
}

/// `COMMAND GETKEYS command …` and `COMMAND GETKEYSANDFLAGS command …`
fn keys(request: &Request<'_>, reply: &mut Reply<'_>, with_flags: bool) {
    let mut bytes = Vec::new();
    render::array(&mut bytes, u64::from(request.arguments) - 2);
    for argument in request.arguments().skip(2) {
        render::bulk(&mut bytes, argument.bytes);
    }
    let cut = keyway_proto::resp::request::cut(&bytes, &Limits::REDIS, &mut Progress::default());
    let asked = match cut {
        Cut::Request(asked) => asked,
        _ => return reply.error(&[b"ERR Invalid command specified"]),
    };
    let Some(command) = asked.subcommand() else {
        return reply.error(&[b"ERR Invalid command specified"]);
    };
    let specs = command.keys.iter().filter(|spec| !spec.flags.contains(KeyFlags::NOT_KEY));
    if specs.count() == 0 {
        return reply.error(&[b"ERR The command has no key arguments"]);
    }
    if !command.accepts(asked.arguments) {
        return reply.error(&[b"ERR Invalid number of arguments specified for command"]);
    }
    let is_clear = command.keys.iter().all(|spec| is_counted_right(&asked, spec));
    let keys: Vec<_> = asked.keys().filter(|_| is_clear).collect();
    if keys.is_empty() && !command.flags.contains(Flags::NO_MANDATORY_KEYS) {
        return reply.error(&[b"ERR Invalid arguments specified for command"]);
    }
    reply.array(keys.len());
    for key in keys {
        if with_flags {
            reply.array(2);
        }
        reply.bulk(key.bytes);
        if with_flags {
            match exact_flags(&asked) {
                Some(names) => simple_set(names, reply),
                None => key_flags(key.flags, reply),
            }
        }
    }
}
