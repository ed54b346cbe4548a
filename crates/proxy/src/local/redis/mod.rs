//! Redis' string and key commands on the embedded store.
//!
//! [`execute`] answers one request: no I/O, no clock, no waiting, no state kept for the client.
//! The items are those that memcached clients see; each is a string. Replies are those of Redis
//! 7.0, byte for byte; where the store sets other limits, docs/redis.md says so. Commands about
//! the connection (`HELLO`, `CLIENT`, `PING` …) are answered elsewhere.

mod args;
mod big;
mod bits;
mod call;
mod counter;
mod decimal;
mod expire;
mod expiry;
mod extended;
mod glob;
mod keyspace;
mod many;
mod refusal;
mod scan;
mod string;
mod write;

use super::Context;
use super::output::Output;
use super::watch::{self, Streams};
use args::Args;
use call::Call;
use keyway_proto::resp::{Request, Verb};
use keyway_store::KEY_BYTES_MAX;

/// Answers one request: appends exactly one reply to `out`, in RESP3 if `resp3`.
///
/// Values of [`super::HELD_BYTES_MIN`] and more are not copied but held, as in memcached's `get`.
#[inline]
pub fn execute(ctx: &Context<'_>, resp3: bool, request: &Request<'_>, out: &mut Output) {
    if ctx.shared.hub.wants(Streams::RAWCMDS) {
        let line = watch::Line::Command { line: request.name, cfd: ctx.cfd };
        ctx.shared.hub.write(Streams::RAWCMDS, line);
    }
    let args = Args::new(request);
    let mut call = Call { ctx, resp3, args: &args, out };
    let Some(command) = request.command else { return refusal::unknown(&mut call) };
    let Some(run) = function(command.verb) else { return refusal::unsupported(&mut call, command) };
    let is_paired = matches!(command.verb, Verb::Mset | Verb::Msetnx);
    if !command.accepts(request.arguments) || is_paired && request.arguments.is_multiple_of(2) {
        return refusal::wrong_arity(&mut call, command.name);
    }
    let keys_fit = if command.is_keyed_by_first && command.legacy_keys[1] == 1 {
        request.first.len() <= KEY_BYTES_MAX
    } else {
        request.keys().all(|key| key.bytes.len() <= KEY_BYTES_MAX)
    };
    if !keys_fit {
        return call.error(refusal::KEY_TOO_LONG);
    }
    run(&mut call);
}

/// Whether the embedded store carries the command out.
pub fn is_ours(verb: Verb) -> bool {
    function(verb).is_some()
}

/// What carries a command out; none for those that need other types, or another place.
#[inline]
fn function(verb: Verb) -> Option<fn(&mut Call<'_>)> {
    Some(match verb {
        Verb::Append => string::append,
        Verb::Bitcount => bits::bitcount,
        Verb::Bitpos => bits::bitpos,
        Verb::Copy => keyspace::copy,
        Verb::Dbsize => keyspace::dbsize,
        Verb::Decr => counter::decr,
        Verb::Decrby => counter::decrby,
        Verb::Del => keyspace::del,
        Verb::Exists => keyspace::exists,
        Verb::Expire => expire::expire,
        Verb::Expireat => expire::expireat,
        Verb::Expiretime => expire::expiretime,
        Verb::Flushall | Verb::Flushdb => keyspace::flush,
        Verb::Get => string::get,
        Verb::Getbit => bits::getbit,
        Verb::Getdel => string::getdel,
        Verb::Getex => expire::getex,
        Verb::Getrange | Verb::Substr => string::getrange,
        Verb::Getset => string::getset,
        Verb::Incr => counter::incr,
        Verb::Incrby => counter::incrby,
        Verb::Incrbyfloat => counter::incrbyfloat,
        Verb::Keys => scan::keys,
        Verb::Mget => many::mget,
        Verb::Mset => many::mset,
        Verb::Msetnx => many::msetnx,
        Verb::Persist => expire::persist,
        Verb::Pexpire => expire::pexpire,
        Verb::Pexpireat => expire::pexpireat,
        Verb::Pexpiretime => expire::pexpiretime,
        Verb::Psetex => string::psetex,
        Verb::Pttl => expire::pttl,
        Verb::Randomkey => scan::randomkey,
        Verb::Rename => keyspace::rename,
        Verb::Renamenx => keyspace::renamenx,
        Verb::Scan => scan::scan,
        Verb::Set => string::set,
        Verb::Setbit => bits::setbit,
        Verb::Setex => string::setex,
        Verb::Setnx => string::setnx,
        Verb::Setrange => string::setrange,
        Verb::Strlen => string::strlen,
        Verb::Touch => keyspace::touch,
        Verb::Ttl => expire::ttl,
        Verb::Type => keyspace::kind,
        Verb::Unlink => keyspace::unlink,
        _ => return None,
    })
}
