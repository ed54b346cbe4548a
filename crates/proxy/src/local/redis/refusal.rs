//! Errors: Redis' own texts, and those for what the embedded store does not do.

use super::call::Call;
use crate::local::output::Output;
use keyway_proto::resp::Command;
use keyway_store::PutError;

pub(super) const SYNTAX: &[u8] = b"ERR syntax error";
pub(super) const NOT_INTEGER: &[u8] = b"ERR value is not an integer or out of range";
pub(super) const NOT_FLOAT: &[u8] = b"ERR value is not a valid float";
pub(super) const NO_SUCH_KEY: &[u8] = b"ERR no such key";
pub(super) const KEY_TOO_LONG: &[u8] =
    b"ERR key is longer than 250 bytes, the limit of the embedded store";
pub(super) const REPLY_TOO_LARGE: &[u8] = b"ERR the reply would exceed 64 MiB";
pub(super) const STRING_TOO_LONG: &[u8] =
    b"ERR string exceeds maximum allowed size (proto-max-bulk-len)";
const VALUE_TOO_LARGE: &[u8] = b"ERR value exceeds the item size limit of the embedded store";
const OUT_OF_MEMORY: &[u8] = b"OOM command not allowed when used memory > 'maxmemory'.";

/// Bytes of a command's name, and of all its arguments, that an error shows.
const SHOWN_BYTES_MAX: usize = 128;

/// Why nothing was stored.
#[cold]
pub(super) fn not_stored(call: &mut Call<'_>, why: PutError) {
    match why {
        PutError::TooLarge => {
            call.ctx.counters.store_too_large.add(1);
            call.error(VALUE_TOO_LARGE);
        }
        PutError::OutOfMemory => {
            call.ctx.counters.store_no_memory.add(1);
            call.error(OUT_OF_MEMORY);
        }
    }
}

/// Wrong number of arguments for `name`.
#[cold]
pub(super) fn wrong_arity(call: &mut Call<'_>, name: &str) {
    call.out.put(b"-ERR wrong number of arguments for '");
    call.out.put(name.as_bytes());
    call.out.put(b"' command\r\n");
}

/// An expiry time out of range in `name`.
#[cold]
pub(super) fn invalid_expire(call: &mut Call<'_>, name: &str) {
    call.out.put(b"-ERR invalid expire time in '");
    call.out.put(name.as_bytes());
    call.out.put(b"' command\r\n");
}

/// A command of Redis that the store does not carry out.
#[cold]
pub(super) fn unsupported(call: &mut Call<'_>, command: &Command) {
    let is_of_other_type = !matches!(
        command.group,
        "bitmap"
            | "cluster"
            | "connection"
            | "generic"
            | "pubsub"
            | "scripting"
            | "server"
            | "string"
            | "transactions"
    );
    let reason: &[u8] = if is_of_other_type {
        b"' is not supported: the embedded store holds strings only\r\n"
    } else {
        b"' is not supported by the embedded store\r\n"
    };
    call.out.put(b"-ERR '");
    call.out.put(command.name.as_bytes());
    call.out.put(reason);
}

/// A command that Redis does not know.
#[cold]
pub(super) fn unknown(call: &mut Call<'_>) {
    let name = call.args.name();
    call.out.put(b"-ERR unknown command '");
    put_shown(call.out, name, SHOWN_BYTES_MAX);
    call.out.put(b"', with args beginning with: ");
    let start = call.out.bytes.len();
    for arg in call.args.from(1) {
        let shown = call.out.bytes.len() - start;
        if shown >= SHOWN_BYTES_MAX {
            break;
        }
        call.out.byte(b'\'');
        put_shown(call.out, arg, SHOWN_BYTES_MAX - shown);
        call.out.put(b"' ");
    }
    call.out.put(b"\r\n");
}

/// A word that `EXPIRE` does not know.
#[cold]
pub(super) fn unsupported_option(call: &mut Call<'_>, word: &[u8]) {
    call.out.put(b"-ERR Unsupported option ");
    put_shown(call.out, word, usize::MAX);
    call.out.put(b"\r\n");
}

/// Appends a client's word as an error shows it: up to a NUL, without line ends.
fn put_shown(out: &mut Output, word: &[u8], bytes_max: usize) {
    let shown = word.iter().take(bytes_max).take_while(|byte| **byte != 0);
    out.bytes.extend(shown.map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
}
