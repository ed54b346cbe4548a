//! Writing a value: what `SET` and all commands like it come down to.

use super::call::Call;
use super::expiry::{self, Expiry};
use crate::local::Context;
use crate::local::classic::{item_class, note_lookup};
use crate::local::prefix::Use;
use crate::local::watch::{Line, StoreStatus, Streams};
use keyway_store::{Entry, Item, ItemBits, New, PutError};

/// What is required of the old item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Any,
    /// `NX`: there must be none.
    Missing,
    /// `XX`: there must be one.
    Present,
}

/// One value to be written.
#[derive(Clone, Copy)]
pub(super) struct Write<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) condition: Condition,
    pub(super) expiry: Expiry,
}

impl<'a> Write<'a> {
    /// A plain `SET`.
    pub(super) fn new(key: &'a [u8], value: &'a [u8]) -> Write<'a> {
        Write { key, value, condition: Condition::Any, expiry: Expiry::Never }
    }
}

/// Carries out a write and counts it; false if the condition did not hold. `see_old` is shown
/// the old item first, whatever comes of the write.
///
/// # Errors
/// Nothing was stored; the old item is as it was.
#[inline]
pub(super) fn write(
    call: &mut Call<'_>,
    write: &Write<'_>,
    see_old: impl FnOnce(&mut Call<'_>, Option<Item<'_>>),
) -> Result<bool, PutError> {
    let ctx = call.ctx;
    begin(ctx, write.key);
    let written = ctx.store.entry(write.key, ctx.now, |entry| {
        see_old(call, entry.get());
        put(ctx, entry, write)
    });
    report(ctx, write, written);
    written
}

/// Counts a write that is about to happen and tells watchers that its key is looked up.
#[inline]
pub(super) fn begin(ctx: &Context<'_>, key: &[u8]) {
    note_lookup(ctx, key);
    ctx.counters.set_cmds.add(1);
    ctx.shared.prefixes.note(key, Use::Set);
}

/// Writes under the key's lock.
#[inline]
pub(super) fn put(
    ctx: &Context<'_>,
    entry: &mut Entry<'_>,
    write: &Write<'_>,
) -> Result<bool, PutError> {
    let is_allowed = match write.condition {
        Condition::Any => true,
        Condition::Missing => entry.miss().is_some(),
        Condition::Present => entry.miss().is_none(),
    };
    if !is_allowed {
        return Ok(false);
    }
    let (exptime, exptime_millis) = match write.expiry {
        Expiry::Never => (0, 0),
        Expiry::Keep => entry.get().map_or((0, 0), |item| (item.exptime, item.exptime_millis)),
        Expiry::At(when) => match expiry::on_clock(ctx, when) {
            Some(time) => time,
            None => {
                // Stored and expired at once.
                check_size(ctx, write.key, 0, write.value.len())?;
                entry.remove();
                return Ok(true);
            }
        },
    };
    let value = [write.value];
    let new = New { exptime, exptime_millis, ..fresh(ctx, write.key, &value) };
    put_new(ctx, entry, &new)?;
    Ok(true)
}

/// A new item without flags that never expires.
#[inline]
pub(super) fn fresh<'a>(ctx: &Context<'_>, key: &[u8], value: &'a [&'a [u8]]) -> New<'a> {
    New {
        flags: 0,
        exptime: 0,
        exptime_millis: 0,
        cas: cas(ctx),
        bits: ItemBits { key_is_binary: is_binary(key), ..ItemBits::default() },
        value,
    }
}

/// The CAS number that a write gives: a fresh one, or 0 where there are none.
#[inline]
pub(super) fn cas(ctx: &Context<'_>) -> Option<u64> {
    if ctx.shared.settings.cas_enabled { None } else { Some(0) }
}

/// The same item with another value. Marks that memcached clients left on the old value are void.
pub(super) fn renewed<'a>(ctx: &Context<'_>, old: &Item<'_>, value: &'a [&'a [u8]]) -> New<'a> {
    New {
        flags: old.flags,
        exptime: old.exptime,
        exptime_millis: old.exptime_millis,
        cas: cas(ctx),
        bits: ItemBits { key_is_binary: old.bits.key_is_binary, ..ItemBits::default() },
        value,
    }
}

/// Stores, if memcached's limit on item sizes allows it.
#[inline]
pub(super) fn put_new(
    ctx: &Context<'_>,
    entry: &mut Entry<'_>,
    new: &New<'_>,
) -> Result<(), PutError> {
    let value_bytes = new.value.iter().map(|piece| piece.len()).sum();
    check_size(ctx, entry.key(), new.flags, value_bytes)?;
    entry.put(new).map(|_| ())
}

/// Whether an item is within the limit on item sizes.
///
/// # Errors
/// It is not.
#[inline]
pub(super) fn check_size(
    ctx: &Context<'_>,
    key: &[u8],
    flags: u32,
    value_bytes: usize,
) -> Result<(), PutError> {
    let is_too_large = ctx.shared.settings.is_too_large(key.len(), flags, value_bytes as u64);
    if is_too_large { Err(PutError::TooLarge) } else { Ok(()) }
}

/// Whether memcached clients can name the key only in base64.
#[inline]
pub(super) fn is_binary(key: &[u8]) -> bool {
    key.is_empty() || key.iter().any(|&byte| byte <= b' ' || byte == 0x7f)
}

/// Tells watchers what came of a write.
#[inline]
pub(super) fn report(ctx: &Context<'_>, write: &Write<'_>, written: Result<bool, PutError>) {
    if ctx.shared.hub.wants(Streams::MUTATIONS) {
        report_to_watchers(ctx, write, written);
    }
}

#[cold]
fn report_to_watchers(ctx: &Context<'_>, write: &Write<'_>, written: Result<bool, PutError>) {
    let (status, size) = match written {
        Ok(true) => (StoreStatus::Stored, write.value.len()),
        Ok(false) => (StoreStatus::NotStored, write.value.len()),
        Err(PutError::TooLarge) => (StoreStatus::TooLarge, 0),
        Err(PutError::OutOfMemory) => (StoreStatus::NoMemory, 0),
    };
    let ttl = match write.expiry {
        Expiry::At(when) => expiry::on_clock(ctx, when)
            .map_or(0, |(seconds, _)| seconds.saturating_sub(ctx.now.seconds)),
        Expiry::Never | Expiry::Keep => 0,
    };
    let class = if written.is_ok() { item_class(ctx, write.key.len(), 0, size) } else { 0 };
    let line =
        Line::Store { key: write.key, status, command: "set", ttl, class, cfd: ctx.cfd, size };
    ctx.shared.hub.write(Streams::MUTATIONS, line);
}
