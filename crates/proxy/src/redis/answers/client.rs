//! `CLIENT`: what a client asks and says about its own connection, and about others.

use super::hello::{check_name, set_name};
use super::reply::Reply;
use super::session::Session;
use super::{Context, Outcome, integer, is_word};
use crate::local::ConnEntry;
use keyway_proto::resp::Request;
use std::io::Write;

const SYNTAX: &[u8] = b"ERR syntax error";
const NOT_AN_INTEGER: &[u8] = b"ERR value is not an integer or out of range";

/// `CLIENT subcommand …`; the subcommand is known and has the right number of arguments.
pub(super) fn client(
    session: &mut Session,
    ctx: &Context<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Outcome {
    let mut reply = Reply::new(out, session.version());
    let mut word = [0u8; 16];
    let word = super::upper(request.first, &mut word);
    match word {
        b"ID" => reply.number(session.id() as i64),
        b"GETNAME" => match session.names().name.as_slice() {
            [] => reply.null(),
            name => reply.bulk(name),
        },
        b"SETNAME" => name(session, request, &mut reply),
        b"SETINFO" => library(session, request, &mut reply),
        b"INFO" => reply.text(&own_line(session, ctx, "client|info")),
        b"LIST" => list(session, ctx, request, out),
        b"NO-EVICT" => switch(request, &mut reply, |on| session.keep(Some(on), None)),
        b"NO-TOUCH" => switch(request, &mut reply, |on| session.keep(None, Some(on))),
        b"REPLY" => replies(session, request, &mut reply),
        b"UNBLOCK" => unblock(request, &mut reply),
        b"TRACKING" => return tracking(ctx, request, &mut reply),
        b"CACHING" | b"GETREDIR" | b"TRACKINGINFO" if ctx.has_session => return Outcome::OnSession,
        b"CACHING" => reply.error(&[
            b"ERR CLIENT CACHING can be called only when the client is in tracking mode with ",
            b"OPTIN or OPTOUT mode enabled",
        ]),
        b"GETREDIR" => reply.number(-1),
        b"TRACKINGINFO" => tracking_info(&mut reply),
        b"HELP" => super::help::container(request, &mut reply),
        _ => super::refused::refuse(request, &mut reply),
    }
    Outcome::Answered
}

/// `CLIENT SETNAME name`
fn name(session: &mut Session, request: &Request<'_>, reply: &mut Reply<'_>) {
    let name = request.argument(2).unwrap_or_default();
    match check_name(name) {
        Ok(()) => {
            set_name(session, name);
            reply.ok();
        }
        Err(text) => reply.error(&[text]),
    }
}

/// `CLIENT SETINFO lib-name|lib-ver text`
fn library(session: &mut Session, request: &Request<'_>, reply: &mut Reply<'_>) {
    let option = request.argument(2).unwrap_or_default();
    let text = request.argument(3).unwrap_or_default();
    let is_version = is_word(option, b"LIB-VER");
    if !is_version && !is_word(option, b"LIB-NAME") {
        let option = super::shown(option, 128);
        return reply.error(&[b"ERR Unrecognized option '", option, b"'"]);
    }
    if check_name(text).is_err() {
        let what: &[u8] = if is_version { b"lib-ver" } else { b"lib-name" };
        let fault = b" cannot contain spaces, newlines or special characters.";
        return reply.error(&[b"ERR ", what, fault]);
    }
    let names = session.names_mut();
    *(if is_version { &mut names.library_version } else { &mut names.library }) = text.to_vec();
    reply.ok();
}

/// A subcommand that takes ON or OFF.
fn switch(request: &Request<'_>, reply: &mut Reply<'_>, set: impl FnOnce(bool)) {
    let word = request.argument(2).unwrap_or_default();
    if is_word(word, b"ON") {
        set(true);
    } else if is_word(word, b"OFF") {
        set(false);
    } else {
        return reply.error(&[SYNTAX]);
    }
    reply.ok();
}

/// `CLIENT REPLY ON|OFF|SKIP`
fn replies(session: &mut Session, request: &Request<'_>, reply: &mut Reply<'_>) {
    let word = request.argument(2).unwrap_or_default();
    if is_word(word, b"ON") {
        session.take_replies();
        reply.ok();
    } else if is_word(word, b"OFF") {
        session.drop_replies();
    } else if is_word(word, b"SKIP") {
        session.skip_reply();
    } else {
        reply.error(&[SYNTAX]);
    }
}

/// `CLIENT UNBLOCK id [TIMEOUT|ERROR]`: clients of a proxy are never found blocked.
fn unblock(request: &Request<'_>, reply: &mut Reply<'_>) {
    let reason = request.argument(3);
    if reason.is_some_and(|word| !is_word(word, b"TIMEOUT") && !is_word(word, b"ERROR")) {
        return reply.error(&[b"ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"]);
    }
    match integer(request.argument(2).unwrap_or_default()) {
        Some(_) => reply.number(0),
        None => reply.error(&[NOT_AN_INTEGER]),
    }
}

/// `CLIENT TRACKING ON|OFF …`: the server has to see it, on a connection that only this client has.
fn tracking(ctx: &Context<'_>, request: &Request<'_>, reply: &mut Reply<'_>) -> Outcome {
    let word = request.argument(2).unwrap_or_default();
    let is_on = is_word(word, b"ON");
    if !is_on && !is_word(word, b"OFF") {
        reply.error(&[SYNTAX]);
        return Outcome::Answered;
    }
    // The server does not know our numbers of clients.
    if request.arguments().skip(3).any(|option| is_word(option.bytes, b"REDIRECT")) {
        reply.error(&[
            b"ERR CLIENT TRACKING with REDIRECT is not available through Keyway: ",
            b"use RESP3 (HELLO 3), where invalidations come on the same connection",
        ]);
        return Outcome::Answered;
    }
    if !is_on && !ctx.has_session {
        reply.ok();
        return Outcome::Answered;
    }
    Outcome::OnSession
}

fn tracking_info(reply: &mut Reply<'_>) {
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(1);
    reply.bulk(b"off");
    reply.bulk(b"redirect");
    reply.number(-1);
    reply.bulk(b"prefixes");
    reply.array(0);
}

/// What `CLIENT LIST` is to show.
enum Choice {
    All,
    Nobody,
    Numbers(Vec<i64>),
}

/// `CLIENT LIST [TYPE type] [ID id …]`: the asking client in full, of others what all workers
/// know.
fn list(session: &Session, ctx: &Context<'_>, request: &Request<'_>, out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, session.version());
    let choice = match choice(request, &mut reply) {
        Some(choice) => choice,
        None => return,
    };
    let shown = |id: u64| match &choice {
        Choice::All => true,
        Choice::Nobody => false,
        Choice::Numbers(numbers) => numbers.contains(&(id as i64)),
    };
    let mut text = Vec::new();
    for entry in ctx.shared.conns.list() {
        if entry.listen_address.is_empty() || !shown(entry.id) {
            continue;
        }
        if entry.id == session.id() {
            text.extend_from_slice(&own_line(session, ctx, "client|list"));
        } else {
            other_line(&entry, ctx, &mut text);
        }
    }
    reply.text(&text);
}

/// Reads the options; `None` after an error.
fn choice(request: &Request<'_>, reply: &mut Reply<'_>) -> Option<Choice> {
    let Some(option) = request.argument(2) else { return Some(Choice::All) };
    if is_word(option, b"TYPE") && request.arguments == 4 {
        let kind = request.argument(3).unwrap_or_default();
        let known: [(&[u8], Choice); 5] = [
            (b"normal", Choice::All),
            (b"pubsub", Choice::Nobody),
            (b"master", Choice::Nobody),
            (b"replica", Choice::Nobody),
            (b"slave", Choice::Nobody),
        ];
        let found = known.into_iter().find(|(word, _)| word.eq_ignore_ascii_case(kind));
        if found.is_none() {
            reply.error(&[b"ERR Unknown client type '", super::shown(kind, 128), b"'"]);
        }
        return found.map(|(_, choice)| choice);
    }
    if is_word(option, b"ID") && request.arguments > 3 {
        let numbers: Option<Vec<i64>> =
            request.arguments().skip(3).map(|number| integer(number.bytes)).collect();
        if numbers.is_none() {
            reply.error(&[b"ERR Invalid client ID"]);
        }
        return numbers.map(Choice::Numbers);
    }
    reply.error(&[SYNTAX]);
    None
}

/// Address without the scheme that our lists have.
fn bare(address: &str) -> &str {
    address.split_once(':').map_or(address, |(_, rest)| rest)
}

/// The line of the asking client. Buffers are not told: they belong to all clients of a worker.
fn own_line(session: &Session, ctx: &Context<'_>, command: &str) -> Vec<u8> {
    let names = session.names();
    let mut line = Vec::with_capacity(400);
    let age = ctx.now_seconds.saturating_sub(session.since_seconds());
    head(&mut line, session.id(), ctx.entry, &names.name, age, 0);
    put(&mut line, format_args!(" flags={} db={}", session.flags(), ctx.db));
    line.extend_from_slice(b" sub=0 psub=0 ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 ");
    line.extend_from_slice(b"multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r");
    put(&mut line, format_args!(" cmd={command} user="));
    line.extend_from_slice(session.user());
    put(&mut line, format_args!(" redir=-1 resp={}", if session.is_resp3() { 3 } else { 2 }));
    for (key, value) in [(" lib-name=", &names.library), (" lib-ver=", &names.library_version)] {
        line.extend_from_slice(key.as_bytes());
        line.extend_from_slice(value);
    }
    line.push(b'\n');
    line
}

/// The line of another client.
fn other_line(entry: &ConnEntry, ctx: &Context<'_>, line: &mut Vec<u8>) {
    let idle = ctx.now_seconds.saturating_sub(entry.last_command());
    head(line, entry.id, entry, b"", idle, idle);
    put(line, format_args!(" flags=N db={}", ctx.db));
    line.extend_from_slice(b" sub=0 psub=0 ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 ");
    line.extend_from_slice(b"multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r");
    line.extend_from_slice(b" cmd=NULL user=default redir=-1 resp=2 lib-name= lib-ver=\n");
}

fn head(line: &mut Vec<u8>, id: u64, entry: &ConnEntry, name: &[u8], age: u32, idle: u32) {
    let (address, listened) = (bare(&entry.address), bare(&entry.listen_address));
    put(line, format_args!("id={id} addr={address} laddr={listened} fd={} name=", entry.number));
    line.extend_from_slice(name);
    put(line, format_args!(" age={age} idle={idle}"));
}

fn put(line: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    line.write_fmt(text).expect("writing to memory cannot fail");
}
