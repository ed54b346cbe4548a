//! Commands with many keys and values: `MGET`, `MSET`, `MSETNX`.

use super::call::Call;
use super::refusal;
use super::string::get_key;
use super::write::{self, Condition, Write};
use crate::local::Context;
use keyway_store::{PutError, Several};

/// Bytes that the values of one reply may take in the output. Beyond that the reply would be a
/// way to use up the machine's memory: one request can name the same big value very often.
pub(super) const REPLY_BYTES_MAX: usize = 64 << 20;

/// Values that one reply may keep in the store's memory.
const REPLY_HELD_MAX: usize = 16 << 10;

/// `MGET`. Reads key by key: each value is whole, but others may write between two of them.
pub(super) fn mget(call: &mut Call<'_>) {
    let start = call.out.mark();
    call.array(call.args.len() - 1);
    for key in call.args.from(1) {
        get_key(call, key);
        if call.out.exceeds(start, REPLY_BYTES_MAX, REPLY_HELD_MAX) {
            call.out.rewind(start);
            return call.error(refusal::REPLY_TOO_LARGE);
        }
    }
}

/// `MSET`.
pub(super) fn mset(call: &mut Call<'_>) {
    match set_all(call, false) {
        Ok(_) => call.ok(),
        Err(why) => refusal::not_stored(call, why),
    }
}

/// `MSETNX`.
pub(super) fn msetnx(call: &mut Call<'_>) {
    match set_all(call, true) {
        Ok(is_stored) => call.flag(is_stored),
        Err(why) => refusal::not_stored(call, why),
    }
}

/// Stores all pairs, or none if `only_new` and one of the keys is there. All keys are locked from
/// the beginning to the end.
fn set_all(call: &Call<'_>, only_new: bool) -> Result<bool, PutError> {
    let ctx = call.ctx;
    let pairs = Pairs { words: call.args.from(1) };
    // What cannot be stored at all is known before anything is.
    for (key, value) in pairs.clone() {
        write::check_size(ctx, key, 0, value.len())?;
        write::begin(ctx, key);
    }
    let keys = pairs.clone().map(|(key, _)| key);
    let stored = ctx.store.several(keys, ctx.now, |several| {
        let mut keys = pairs.clone().map(|(key, _)| key);
        if only_new && keys.any(|key| several.read(key, false, |_| ()).is_ok()) {
            return Ok(false);
        }
        put_all(ctx, several, pairs.clone(), only_new).map(|()| true)
    });
    for (key, value) in pairs {
        write::report(ctx, &Write::new(key, value), stored);
    }
    stored
}

/// Stores all pairs. Memory may run out in between (only where nothing may be evicted); then the
/// keys that were not there before are taken back.
fn put_all<'a>(
    ctx: &Context<'_>,
    several: &mut Several<'_>,
    pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    only_new: bool,
) -> Result<(), PutError> {
    for (count, (key, value)) in pairs.clone().enumerate() {
        let write = Write { condition: Condition::Any, ..Write::new(key, value) };
        let put = several.entry(key, |entry| write::put(ctx, entry, &write));
        if let Err(why) = put {
            if only_new {
                for (key, _) in pairs.take(count) {
                    several.entry(key, |entry| entry.remove());
                }
            }
            return Err(why);
        }
    }
    Ok(())
}

/// Words taken two by two.
#[derive(Clone)]
struct Pairs<I> {
    words: I,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Iterator for Pairs<I> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.words.next()?, self.words.next()?))
    }
}
