//! The few subcommands of administrative commands that a proxy can answer honestly; the rest of
//! them is refused.

use super::reply::Reply;
use super::{Context, Outcome, Session, info, is_word, refused, shown};
use keyway_proto::resp::Request;
use keyway_proto::resp::command::{COMMANDS, Categories, Command, Kind, Verb};

/// Answers or refuses a command that nothing else has taken, or leaves it to backends and store.
pub(super) fn other(
    command: &'static Command,
    session: &Session,
    ctx: &Context<'_>,
    request: &Request<'_>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let mut buf = [0; 16];
    match (command.verb, super::upper(request.first, &mut buf)) {
        (Verb::Config, b"GET") => info::config_get(ctx, request, reply),
        (Verb::Acl, b"WHOAMI") => reply.bulk(session.user()),
        (Verb::Acl, b"CAT") => categories(request, reply),
        // A proxy has no modules, keeps no slow log and measures latency elsewhere.
        (Verb::Module, b"LIST") => reply.array(0),
        (Verb::Latency, b"LATEST") => reply.array(0),
        _ => {
            let sub = request.subcommand().unwrap_or(command);
            if sub.kind != Kind::Refused {
                return Outcome::NotMine;
            }
            refused::refuse(request, reply);
        }
    }
    Outcome::Answered
}

/// `ACL CAT [category]`
fn categories(request: &Request<'_>, reply: &mut Reply<'_>) {
    let Some(asked) = request.argument(2) else {
        reply.array(Categories::NAMES.len());
        for name in Categories::NAMES {
            reply.bulk(name.as_bytes());
        }
        return;
    };
    if request.arguments > 3 {
        return reply.error(&[
            b"ERR unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP.",
        ]);
    }
    let Some(name) = Categories::NAMES.iter().find(|name| is_word(asked, name.as_bytes())) else {
        return reply.error(&[b"ERR Unknown category '", shown(asked, 128), b"'"]);
    };
    let every = COMMANDS
        .iter()
        .flat_map(|command| std::iter::once(command).chain(command.subcommands.iter()));
    let listed: Vec<_> =
        every.filter(|command| command.categories.names().any(|own| own == *name)).collect();
    reply.array(listed.len());
    for command in listed {
        reply.bulk(command.name.as_bytes());
    }
}
