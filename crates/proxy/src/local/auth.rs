//! Authentication of the text protocol (`-Y`): the first command has to be a `set` whose value is
//! `user password`. Key, flags and expiry time of that command mean nothing.

use super::output::Output;
use super::{Admission, Context, Next, Session};
use crate::config::User;
use keyway_proto::memcached::limit::AUTH_VALUE_BYTES_MAX;
use keyway_proto::memcached::{Head, ValueLength, Verb, text};

/// Shortest line of a client that has not authenticated, its line feed not counted. A shorter
/// one closes the connection.
const LINE_BYTES_MIN: usize = 6;

/// Decides about the value of an unauthenticated client's request.
#[cold]
pub(super) fn admit(head: &Head<'_>, out: &mut Output) -> Admission {
    if head.line_bytes <= LINE_BYTES_MIN {
        return Admission::Close;
    }
    let reply = match (head.verb, head.value) {
        (Verb::Set, ValueLength::Bytes(bytes)) if bytes <= AUTH_VALUE_BYTES_MAX => {
            return Admission::Read(head.body_bytes());
        }
        (Verb::Set, ValueLength::Bytes(_)) => text::AUTH_TOKEN_TOO_LONG,
        _ => text::UNAUTHENTICATED,
    };
    out.put(reply);
    Admission::Refuse { swallow: 0 }
}

/// Checks user and password.
#[cold]
pub(super) fn execute(
    ctx: &Context<'_>,
    session: &mut Session,
    value: &[u8],
    out: &mut Output,
) -> Next {
    let Some(token) = value.strip_suffix(b"\r\n") else {
        out.put(text::BAD_AUTH_TERMINATION);
        return Next::Continue;
    };
    let Some(space) = token.iter().position(|&byte| byte == b' ') else {
        out.put(text::BAD_AUTH_TOKEN);
        return Next::Continue;
    };
    ctx.counters.auth_cmds.add(1);
    if is_known(ctx.users, &token[..space], &token[space + 1..]) {
        session.is_authenticated = true;
        out.put(text::STORED);
    } else {
        ctx.counters.auth_errors.add(1);
        out.put(text::AUTHENTICATION_FAILURE);
    }
    Next::Continue
}

/// Whether one of `users` has this name and password. Takes the same time for any guess of the
/// same length, so that a client cannot find a password byte by byte.
fn is_known(users: &[User], name: &[u8], password: &[u8]) -> bool {
    users.iter().fold(false, |known, user| {
        let fits =
            is_same(user.name.as_bytes(), name) & is_same(user.password.as_bytes(), password);
        known | fits
    })
}

fn is_same(known: &[u8], given: &[u8]) -> bool {
    if known.len() != given.len() {
        return false;
    }
    let differing = known.iter().zip(given).fold(0, |bits, (a, b)| bits | (a ^ b));
    std::hint::black_box(differing) == 0
}
