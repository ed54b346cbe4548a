//! Values as numbers: `INCR` and its family.

use super::call::Call;
use super::decimal;
use super::extended::{self, Extended};
use super::refusal;
use super::string::touched;
use super::write;
use crate::local::Context;
use crate::local::classic::note_lookup;
use crate::local::prefix::Use;
use keyway_store::{Entry, New, PutError};

/// Why a number was not changed.
enum Refused {
    /// An error text.
    Text(&'static [u8]),
    NotStored(PutError),
}

impl From<PutError> for Refused {
    fn from(why: PutError) -> Refused {
        Refused::NotStored(why)
    }
}

/// `INCR`.
pub(super) fn incr(call: &mut Call<'_>) {
    add(call, 1);
}

/// `DECR`.
pub(super) fn decr(call: &mut Call<'_>) {
    add(call, -1);
}

/// `INCRBY`.
pub(super) fn incrby(call: &mut Call<'_>) {
    match decimal::read(call.args.get(2)) {
        Some(delta) => add(call, delta),
        None => call.error(refusal::NOT_INTEGER),
    }
}

/// `DECRBY`.
pub(super) fn decrby(call: &mut Call<'_>) {
    match decimal::read(call.args.get(2)).map(i64::checked_neg) {
        Some(Some(delta)) => add(call, delta),
        Some(None) => call.error(b"ERR decrement would overflow"),
        None => call.error(refusal::NOT_INTEGER),
    }
}

fn add(call: &mut Call<'_>, delta: i64) {
    let (ctx, key) = (call.ctx, call.args.get(1));
    let sum = change(ctx, key, delta >= 0, |entry| {
        let old = match entry.get() {
            Some(item) => decimal::read(item.value).ok_or(Refused::Text(refusal::NOT_INTEGER))?,
            None => 0,
        };
        const OVERFLOW: Refused = Refused::Text(b"ERR increment or decrement would overflow");
        let sum = old.checked_add(delta).ok_or(OVERFLOW)?;
        store(ctx, entry, key, decimal::Text::new(sum).as_bytes())?;
        Ok(sum)
    });
    match sum {
        Ok(sum) => call.integer(sum),
        Err(refused) => refuse(call, refused),
    }
}

/// `INCRBYFLOAT`.
pub(super) fn incrbyfloat(call: &mut Call<'_>) {
    let (ctx, key, delta) = (call.ctx, call.args.get(1), call.args.get(2));
    let mut text = Vec::new();
    let sum = change(ctx, key, true, |entry| {
        const NOT_FLOAT: Refused = Refused::Text(refusal::NOT_FLOAT);
        let old = match entry.get() {
            Some(item) => extended::read(item.value).ok_or(NOT_FLOAT)?,
            None => Extended::ZERO,
        };
        let delta = extended::read(delta).ok_or(NOT_FLOAT)?;
        const ENDLESS: Refused = Refused::Text(b"ERR increment would produce NaN or Infinity");
        old.plus(delta).ok_or(ENDLESS)?.write(&mut text);
        store(ctx, entry, key, &text)?;
        Ok(())
    });
    match sum {
        Ok(()) => call.bulk(&text),
        Err(refused) => refuse(call, refused),
    }
}

fn refuse(call: &mut Call<'_>, refused: Refused) {
    match refused {
        Refused::Text(text) => call.error(text),
        Refused::NotStored(why) => refusal::not_stored(call, why),
    }
}

/// Runs `act` on the locked key and counts.
fn change<R>(
    ctx: &Context<'_>,
    key: &[u8],
    is_up: bool,
    act: impl FnOnce(&mut Entry<'_>) -> Result<R, Refused>,
) -> Result<R, Refused> {
    note_lookup(ctx, key);
    ctx.shared.prefixes.note(key, Use::Set);
    let changed = ctx.store.entry(key, ctx.now, act);
    if changed.is_ok() {
        let counted = if is_up { &ctx.counters.incr_hits } else { &ctx.counters.decr_hits };
        counted.add(1);
    }
    changed
}

/// Replaces the value, in place where the length allows it, and keeps all else.
fn store(
    ctx: &Context<'_>,
    entry: &mut Entry<'_>,
    key: &[u8],
    text: &[u8],
) -> Result<(), PutError> {
    let Some(old) = entry.get() else {
        return write::put_new(ctx, entry, &write::fresh(ctx, key, &[text]));
    };
    let is_same_length = old.value.len() == text.len();
    let new = write::renewed(ctx, &old, &[]);
    if is_same_length && let Some(value) = entry.value_mut() {
        value.copy_from_slice(text);
        touched(ctx, entry, &new);
        return Ok(());
    }
    write::put_new(ctx, entry, &New { value: &[text], ..new })
}
