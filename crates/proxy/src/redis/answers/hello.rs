//! How a client introduces itself: `HELLO`, `AUTH`, `SELECT`, `RESET`.

use super::reply::Reply;
use super::session::{NAME_BYTES_MAX, Session};
use super::{Context, REDIS_VERSION, is_word};
use crate::config::{Compat, User};
use keyway_proto::number::Decimal;
use keyway_proto::resp::Request;

/// The error that a user or password which does not fit gets.
const WRONG_PASSWORD: &[u8] = b"WRONGPASS invalid username-password pair or user is disabled.";

/// The error of `HELLO` before authentication.
const HELLO_NEEDS_AUTH: &[u8] = b"NOAUTH HELLO must be called with the client already \
    authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the \
    client and select the RESP protocol version at the same time";

/// The error for a name with bytes that would spoil lists of clients.
const BAD_NAME: &[u8] = b"ERR Client names cannot contain spaces, newlines or special characters.";

/// The number of databases that clients of a Redis server expect.
const DATABASES: i64 = 16;

/// `HELLO [version [AUTH user password] [SETNAME name]]`
pub(super) fn hello(
    session: &mut Session,
    ctx: &Context<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) {
    let mut reply = Reply::new(out, session.version());
    let mut is_resp3 = session.is_resp3();
    if let Some(version) = request.argument(1) {
        match super::integer(version) {
            Some(2) => is_resp3 = false,
            Some(3) => is_resp3 = true,
            Some(_) => return reply.error(&[b"NOPROTO unsupported protocol version"]),
            None => {
                return reply.error(&[b"ERR Protocol version is not an integer or out of range"]);
            }
        }
    }
    let (mut login, mut name) = (None, None);
    let mut at = 2;
    while let Some(option) = request.argument(at) {
        match (request.argument(at + 1), request.argument(at + 2)) {
            (Some(user), Some(password)) if is_word(option, b"AUTH") => {
                login = Some((user, password));
                at += 3;
            }
            (Some(given), _) if is_word(option, b"SETNAME") => {
                if let Err(text) = check_name(given) {
                    return reply.error(&[text]);
                }
                name = Some(given);
                at += 2;
            }
            _ => {
                let option = super::shown(option, 128);
                return reply.error(&[b"ERR Syntax error in HELLO option '", option, b"'"]);
            }
        }
    }
    if let Some((user, password)) = login {
        if !may_enter(ctx.users, user, password) {
            return reply.error(&[WRONG_PASSWORD]);
        }
        session.authenticate(user);
    }
    if !session.is_authenticated() {
        return reply.error(&[HELLO_NEEDS_AUTH]);
    }
    if let Some(name) = name {
        set_name(session, name);
    }
    session.set_resp3(is_resp3);
    introduce(session, out);
}

fn introduce(session: &Session, out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, session.version());
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.number(if session.is_resp3() { 3 } else { 2 });
    reply.bulk(b"id");
    reply.number(session.id() as i64);
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
}

/// `AUTH [user] password`
pub(super) fn auth(
    session: &mut Session,
    ctx: &Context<'_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) {
    let mut reply = Reply::new(out, session.version());
    let (user, password) = match (request.argument(1), request.argument(2), request.argument(3)) {
        (Some(password), None, _) => (None, password),
        (Some(user), Some(password), None) => (Some(user), password),
        _ => return reply.error(&[b"ERR syntax error"]),
    };
    let is_native = ctx.compat == Compat::Native;
    if ctx.users.is_empty() && !is_native {
        return reply.error(&[b"ERR Client sent AUTH, but no password is set"]);
    }
    if ctx.users.is_empty() && user.is_none() {
        return reply.error(&[
            b"ERR AUTH <password> called without any password configured for the default user. ",
            b"Are you sure your configuration is correct?",
        ]);
    }
    let user = user.unwrap_or(b"default");
    if may_enter(ctx.users, user, password) {
        session.authenticate(user);
        reply.ok();
    } else if is_native {
        reply.error(&[WRONG_PASSWORD]);
    } else {
        // nutcracker takes a wrong password for the wish to start over.
        session.forget_authentication();
        reply.error(&[b"ERR invalid password"]);
    }
}

/// Whether this user may enter with this password. Takes the same time for any guess of the same
/// length, so that nobody can find a password byte by byte.
fn may_enter(users: &[User], name: &[u8], password: &[u8]) -> bool {
    if users.is_empty() {
        return name == b"default";
    }
    users.iter().fold(false, |known, user| {
        known | (is_same(user.name.as_bytes(), name) & is_same(user.password.as_bytes(), password))
    })
}

fn is_same(known: &[u8], given: &[u8]) -> bool {
    if known.len() != given.len() {
        return false;
    }
    let differing = known.iter().zip(given).fold(0, |bits, (a, b)| bits | (a ^ b));
    std::hint::black_box(differing) == 0
}

/// `SELECT index`: only the database that the listener serves, since its backend connections are
/// shared and stay in that one.
pub(super) fn select(ctx: &Context<'_>, request: &Request<'_>, reply: &mut Reply<'_>) {
    match super::integer(request.first) {
        None => reply.error(&[b"ERR value is not an integer or out of range"]),
        Some(index) if index == i64::from(ctx.db) => reply.ok(),
        Some(index) if (0..DATABASES).contains(&index) => {
            let served = Decimal::new(u64::from(ctx.db));
            let served = served.as_bytes();
            reply.error(&[b"ERR DB index is out of range, only database ", served, b" is served"]);
        }
        Some(_) => reply.error(&[b"ERR DB index is out of range"]),
    }
}

/// Whether a client, or a library, may be called so.
pub(super) fn check_name(name: &[u8]) -> Result<(), &'static [u8]> {
    if name.len() > NAME_BYTES_MAX {
        return Err(b"ERR Client names cannot be longer than 1024 bytes.");
    }
    if name.iter().all(|byte| matches!(byte, b'!'..=b'~')) { Ok(()) } else { Err(BAD_NAME) }
}

/// Gives the client a name that was checked; an empty one takes its name away.
pub(super) fn set_name(session: &mut Session, name: &[u8]) {
    if !name.is_empty() || !session.names().name.is_empty() {
        session.names_mut().name = name.to_vec();
    }
}
