//! Whole values and parts of them: `GET`, `SET` and their families.

use super::call::{Call, bulk};
use super::decimal;
use super::expiry::{self, Expiry, Unit};
use super::refusal;
use super::write::{self, Condition, Write};
use crate::local::Context;
use crate::local::classic::{Deleted, delete_key, note_fetch, note_miss};
use crate::local::output::HELD_BYTES_MIN;
use crate::local::prefix::Use;
use crate::local::watch::Streams;
use keyway_store::{Entry, Miss, PutError};

/// Longest string in Redis; positions beyond it are out of range in any store.
pub(super) const STRING_BYTES_MAX: u64 = 512 << 20;

/// `GET`.
#[inline]
pub(super) fn get(call: &mut Call<'_>) {
    get_key(call, call.args.get(1));
}

/// Renders the value of one key, or null.
#[inline]
pub(super) fn get_key(call: &mut Call<'_>, key: &[u8]) {
    let ctx = call.ctx;
    let read = ctx.store.read(key, ctx.now, true, |item| {
        if item.value.len() >= HELD_BYTES_MIN {
            return false;
        }
        bulk(call.out, item.value);
        true
    });
    let found = match read {
        Ok(true) => Ok(()),
        // The use was counted already.
        Ok(false) => ctx.store.hold(key, ctx.now, false).map(|held| call.held(held)),
        Err(miss) => Err(miss),
    };
    if found.is_err() {
        call.null();
    }
    note_get(ctx, key, found.err());
}

/// Counts a look at a value and tells watchers.
#[inline]
pub(super) fn note_get(ctx: &Context<'_>, key: &[u8], miss: Option<Miss>) {
    ctx.counters.get_cmds.add(1);
    match miss {
        None => ctx.counters.get_hits.add(1),
        Some(miss) => {
            ctx.counters.get_misses.add(1);
            note_miss(ctx, miss);
        }
    }
    ctx.shared.prefixes.note(key, Use::Get(miss.is_none()));
    if ctx.shared.hub.wants(Streams::FETCHERS) {
        note_fetch(ctx, key, miss);
    }
}

/// The options of `SET`, as far as they have been read.
#[derive(Default)]
struct SetOptions<'a> {
    condition: Option<Condition>,
    keeps_ttl: bool,
    gives_old: bool,
    expiry: Option<(Unit, &'a [u8])>,
}

/// `SET`.
#[inline]
pub(super) fn set(call: &mut Call<'_>) {
    let write = Write::new(call.args.get(1), call.args.get(2));
    if call.args.len() > 3 {
        return set_with_options(call, write);
    }
    match write::write(call, &write, |_, _| {}) {
        Ok(_) => call.ok(),
        Err(why) => refusal::not_stored(call, why),
    }
}

fn set_with_options(call: &mut Call<'_>, mut write: Write<'_>) {
    let Some(options) = set_options(call) else { return call.error(refusal::SYNTAX) };
    if let Some((unit, word)) = options.expiry {
        let Some(when) = expiry::read(call, word, unit, "set") else { return };
        write.expiry = Expiry::At(when);
    } else if options.keeps_ttl {
        write.expiry = Expiry::Keep;
    }
    write.condition = options.condition.unwrap_or(Condition::Any);
    if options.gives_old {
        return replace(call, &write);
    }
    match write::write(call, &write, |_, _| {}) {
        Ok(true) => call.ok(),
        Ok(false) => call.null(),
        Err(why) => refusal::not_stored(call, why),
    }
}

/// Reads the words after the value; none for a syntax error.
fn set_options<'a>(call: &Call<'a>) -> Option<SetOptions<'a>> {
    let mut options = SetOptions::default();
    let mut words = call.args.from(3);
    while let Some(word) = words.next() {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let unit = match () {
            () if is(b"EX") => Unit::EX,
            () if is(b"PX") => Unit::PX,
            () if is(b"EXAT") => Unit::EXAT,
            () if is(b"PXAT") => Unit::PXAT,
            () if is(b"NX") && options.condition != Some(Condition::Present) => {
                options.condition = Some(Condition::Missing);
                continue;
            }
            () if is(b"XX") && options.condition != Some(Condition::Missing) => {
                options.condition = Some(Condition::Present);
                continue;
            }
            () if is(b"GET") => {
                options.gives_old = true;
                continue;
            }
            () if is(b"KEEPTTL") && options.expiry.is_none() => {
                options.keeps_ttl = true;
                continue;
            }
            () => return None,
        };
        // The same unit may come again; the last one counts.
        if options.keeps_ttl || options.expiry.is_some_and(|(other, _)| other != unit) {
            return None;
        }
        options.expiry = Some((unit, words.next()?));
    }
    Some(options)
}

/// Writes, and gives the old value whatever comes of it.
fn replace(call: &mut Call<'_>, write: &Write<'_>) {
    let start = call.out.mark();
    let mut miss = None;
    let written = write::write(call, write, |call, old| match old {
        Some(item) => call.bulk(item.value),
        None => {
            miss = Some(Miss::Absent);
            call.null();
        }
    });
    note_get(call.ctx, write.key, miss);
    if let Err(why) = written {
        call.out.rewind(start);
        refusal::not_stored(call, why);
    }
}

/// `GETSET`.
pub(super) fn getset(call: &mut Call<'_>) {
    let write = Write::new(call.args.get(1), call.args.get(2));
    replace(call, &write);
}

/// `SETNX`.
pub(super) fn setnx(call: &mut Call<'_>) {
    let write =
        Write { condition: Condition::Missing, ..Write::new(call.args.get(1), call.args.get(2)) };
    match write::write(call, &write, |_, _| {}) {
        Ok(is_stored) => call.flag(is_stored),
        Err(why) => refusal::not_stored(call, why),
    }
}

/// `SETEX`.
pub(super) fn setex(call: &mut Call<'_>) {
    set_expiring(call, Unit::EX, "setex");
}

/// `PSETEX`.
pub(super) fn psetex(call: &mut Call<'_>) {
    set_expiring(call, Unit::PX, "psetex");
}

fn set_expiring(call: &mut Call<'_>, unit: Unit, name: &str) {
    let (key, word, value) = (call.args.get(1), call.args.get(2), call.args.get(3));
    let Some(when) = expiry::read(call, word, unit, name) else { return };
    let write = Write { expiry: Expiry::At(when), ..Write::new(key, value) };
    match write::write(call, &write, |_, _| {}) {
        Ok(_) => call.ok(),
        Err(why) => refusal::not_stored(call, why),
    }
}

/// `GETDEL`.
pub(super) fn getdel(call: &mut Call<'_>) {
    let (ctx, key) = (call.ctx, call.args.get(1));
    let miss = ctx.store.entry(key, ctx.now, |entry| {
        match entry.get() {
            Some(item) => bulk(call.out, item.value),
            None => return entry.miss(),
        }
        entry.remove();
        None
    });
    if miss.is_some() {
        call.null();
        ctx.counters.delete_misses.add(1);
    } else {
        ctx.counters.delete_hits.add(1);
    }
    note_get(ctx, key, miss);
}

/// `STRLEN`.
pub(super) fn strlen(call: &mut Call<'_>) {
    let (ctx, key) = (call.ctx, call.args.get(1));
    let length = ctx.store.read(key, ctx.now, true, |item| item.value.len());
    call.count(length.unwrap_or(0));
    note_get(ctx, key, length.err());
}

/// `GETRANGE` and `SUBSTR`.
pub(super) fn getrange(call: &mut Call<'_>) {
    let (ctx, key) = (call.ctx, call.args.get(1));
    let (Some(from), Some(to)) = (decimal::read(call.args.get(2)), decimal::read(call.args.get(3)))
    else {
        return call.error(refusal::NOT_INTEGER);
    };
    let read = ctx.store.read(key, ctx.now, true, |item| {
        let is_backwards = from < 0 && to < 0 && from > to;
        let range = if is_backwards { None } else { range(from, to, item.value.len()) };
        let part = range.map_or(&[] as &[u8], |(from, to)| &item.value[from..=to]);
        bulk(call.out, part);
    });
    if read.is_err() {
        call.bulk(b"");
    }
    note_get(ctx, key, read.err());
}

/// The first and the last of `len` places that a range with perhaps negative ends means; none if
/// it is empty. Ends before the beginning mean the beginning.
pub(super) fn range(from: i64, to: i64, len: usize) -> Option<(usize, usize)> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let place = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at };
    let (from, to) = (place(from), place(to).min(len - 1));
    (from <= to).then_some((from as usize, to as usize))
}

/// `APPEND`.
pub(super) fn append(call: &mut Call<'_>) {
    let (ctx, key, more) = (call.ctx, call.args.get(1), call.args.get(2));
    write::begin(ctx, key);
    let appended = ctx.store.entry(key, ctx.now, |entry| {
        let Some(old) = entry.get() else {
            write::put_new(ctx, entry, &write::fresh(ctx, key, &[more]))?;
            return Ok(more.len());
        };
        let length = old.value.len() + more.len();
        let new = write::renewed(ctx, &old, &[]);
        write::check_size(ctx, key, old.flags, length)?;
        entry.extend(&[], more, new.cas)?;
        entry.set_bits(new.bits);
        Ok(length)
    });
    changed(call, key, more, appended);
}

/// Reports a change of a part of a value and answers with its new length.
fn changed(call: &mut Call<'_>, key: &[u8], value: &[u8], length: Result<usize, PutError>) {
    let write = Write { expiry: Expiry::Keep, ..Write::new(key, value) };
    write::report(call.ctx, &write, length.map(|_| true));
    match length {
        Ok(length) => call.count(length),
        Err(why) => refusal::not_stored(call, why),
    }
}

/// `SETRANGE`.
pub(super) fn setrange(call: &mut Call<'_>) {
    let (ctx, key, value) = (call.ctx, call.args.get(1), call.args.get(3));
    let Some(offset) = decimal::read(call.args.get(2)) else {
        return call.error(refusal::NOT_INTEGER);
    };
    let Ok(offset) = u64::try_from(offset) else {
        return call.error(b"ERR offset is out of range");
    };
    if value.is_empty() {
        let length = ctx.store.read(key, ctx.now, true, |item| item.value.len());
        note_get(ctx, key, length.err());
        return call.count(length.unwrap_or(0));
    }
    if offset.saturating_add(value.len() as u64) > STRING_BYTES_MAX {
        return call.error(refusal::STRING_TOO_LONG);
    }
    write::begin(ctx, key);
    let changed_to =
        ctx.store.entry(key, ctx.now, |entry| overwrite(ctx, entry, offset as usize, value));
    changed(call, key, value, changed_to);
}

/// Writes `part` at `offset` of the value, which is made or lengthened with zeros as needed.
/// Gives the new length.
pub(super) fn overwrite(
    ctx: &Context<'_>,
    entry: &mut Entry<'_>,
    offset: usize,
    part: &[u8],
) -> Result<usize, PutError> {
    let end = offset + part.len();
    let Some(old) = entry.get() else {
        write::check_size(ctx, entry.key(), 0, end)?;
        let new = write::fresh(ctx, entry.key(), &[]);
        let zeros = vec![0; offset];
        return entry.put(&keyway_store::New { value: &[&zeros, part], ..new }).map(|_| end);
    };
    let length = old.value.len();
    let new = write::renewed(ctx, &old, &[]);
    if end <= length
        && let Some(value) = entry.value_mut()
    {
        value[offset..end].copy_from_slice(part);
        touched(ctx, entry, &new);
        return Ok(length);
    }
    write::check_size(ctx, entry.key(), new.flags, end.max(length))?;
    let mut value = entry.get().map_or_else(Vec::new, |old| old.value.to_vec());
    value.resize(end.max(length), 0);
    value[offset..end].copy_from_slice(part);
    let new = keyway_store::New { value: &[&value], ..new };
    entry.put(&new).map(|_| value.len())
}

/// Makes an item that was changed in place look as if it had been put.
pub(super) fn touched(ctx: &Context<'_>, entry: &mut Entry<'_>, new: &keyway_store::New<'_>) {
    entry.bump();
    entry.set_bits(new.bits);
    if ctx.shared.settings.cas_enabled {
        entry.renew_cas();
    }
}

/// Deletes one key and counts it; whether there was an item.
pub(super) fn delete(ctx: &Context<'_>, key: &[u8], command: &'static str) -> bool {
    ctx.shared.prefixes.note(key, Use::Delete);
    delete_key(ctx, key, command, 0) == Deleted::Yes
}
