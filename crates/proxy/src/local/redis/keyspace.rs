//! Commands about keys whatever their values are: `DEL`, `EXISTS`, `RENAME`, `COPY` and others.

use super::call::Call;
use super::decimal;
use super::refusal;
use super::string::delete;
use super::write;
use crate::local::admin;
use crate::local::classic::count_touch;
use keyway_store::{ItemBits, Miss, New, PutError, Several};

/// `DEL`.
pub(super) fn del(call: &mut Call<'_>) {
    remove(call, "del");
}

/// `UNLINK`.
pub(super) fn unlink(call: &mut Call<'_>) {
    remove(call, "unlink");
}

fn remove(call: &mut Call<'_>, name: &'static str) {
    let keys = call.args.from(1);
    let removed = keys.filter(|key| delete(call.ctx, key, name)).count();
    call.count(removed);
}

/// `EXISTS`: a key named twice counts twice.
pub(super) fn exists(call: &mut Call<'_>) {
    let ctx = call.ctx;
    let keys = call.args.from(1);
    call.count(keys.filter(|key| ctx.store.read(key, ctx.now, false, |_| ()).is_ok()).count());
}

/// `TOUCH`.
pub(super) fn touch(call: &mut Call<'_>) {
    let ctx = call.ctx;
    let touched = call.args.from(1).filter(|key| {
        let read = ctx.store.read(key, ctx.now, true, |_| ());
        count_touch(ctx, key, read.err());
        read.is_ok()
    });
    call.count(touched.count());
}

/// `TYPE`.
pub(super) fn kind(call: &mut Call<'_>) {
    let ctx = call.ctx;
    let is_there = ctx.store.read(call.args.get(1), ctx.now, false, |_| ()).is_ok();
    call.simple(if is_there { b"string" } else { b"none" });
}

/// `DBSIZE`.
pub(super) fn dbsize(call: &mut Call<'_>) {
    call.integer(i64::try_from(call.ctx.store.len()).unwrap_or(i64::MAX));
}

/// `FLUSHALL` and `FLUSHDB`, which are one: there is one database.
pub(super) fn flush(call: &mut Call<'_>) {
    let word = call.args.get(1);
    let is_known = word.eq_ignore_ascii_case(b"async") || word.eq_ignore_ascii_case(b"sync");
    if call.args.len() > 2 || call.args.len() == 2 && !is_known {
        return call.error(refusal::SYNTAX);
    }
    call.ctx.counters.flush_cmds.add(1);
    if !call.ctx.allow.flush {
        return call.error(b"NOPERM this listener does not allow flushing");
    }
    admin::flush(call.ctx, 0);
    call.ok();
}

/// `RENAME`.
pub(super) fn rename(call: &mut Call<'_>) {
    match transfer(call, true, true) {
        Ok(Transferred::Done | Transferred::Same) => call.ok(),
        Ok(Transferred::NoSource) => call.error(refusal::NO_SUCH_KEY),
        Ok(Transferred::IsTaken) => {}
        Err(why) => refusal::not_stored(call, why),
    }
}

/// `RENAMENX`.
pub(super) fn renamenx(call: &mut Call<'_>) {
    match transfer(call, true, false) {
        Ok(Transferred::Done) => call.flag(true),
        Ok(Transferred::Same | Transferred::IsTaken) => call.flag(false),
        Ok(Transferred::NoSource) => call.error(refusal::NO_SUCH_KEY),
        Err(why) => refusal::not_stored(call, why),
    }
}

const NOT_INT: &[u8] = b"ERR value is out of range, value must between -2147483648 and 2147483647";

/// `COPY`.
pub(super) fn copy(call: &mut Call<'_>) {
    let mut replaces = false;
    let mut words = call.args.from(3);
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case(b"REPLACE") {
            replaces = true;
            continue;
        }
        let number = if word.eq_ignore_ascii_case(b"DB") { words.next() } else { None };
        let Some(number) = number else { return call.error(refusal::SYNTAX) };
        match decimal::read(number).map(i32::try_from) {
            Some(Ok(0)) => {}
            Some(Ok(_)) => return call.error(b"ERR DB index is out of range"),
            Some(Err(_)) => return call.error(NOT_INT),
            None => return call.error(refusal::NOT_INTEGER),
        }
    }
    if call.args.get(1) == call.args.get(2) {
        return call.error(b"ERR source and destination objects are the same");
    }
    match transfer(call, false, replaces) {
        Ok(transferred) => call.flag(matches!(transferred, Transferred::Done)),
        Err(why) => refusal::not_stored(call, why),
    }
}

/// What came of a rename or copy.
enum Transferred {
    Done,
    NoSource,
    /// Both keys are the same one, which is there.
    Same,
    /// The destination is there and was not to be replaced.
    IsTaken,
}

/// Copies the first key's item to the second key and, if it `moves`, removes the first. Both keys
/// are locked all the time, so that no client sees both items, or neither.
fn transfer(call: &mut Call<'_>, moves: bool, replaces: bool) -> Result<Transferred, PutError> {
    let ctx = call.ctx;
    let (from, to) = (call.args.get(1), call.args.get(2));
    write::begin(ctx, to);
    ctx.store.several([from, to].into_iter(), ctx.now, |several| {
        let Ok(item) = Kept::of(several, from) else { return Ok(Transferred::NoSource) };
        if from == to {
            return Ok(Transferred::Same);
        }
        several
            .entry(to, |entry| {
                if !replaces && entry.miss().is_none() {
                    return Ok(Transferred::IsTaken);
                }
                let new = New {
                    flags: item.flags,
                    exptime: item.exptime,
                    exptime_millis: item.exptime_millis,
                    ..write::fresh(ctx, to, &[])
                };
                let bits = ItemBits { key_is_binary: new.bits.key_is_binary, ..item.bits };
                let new = New { bits, value: &[&item.value], ..new };
                write::put_new(ctx, entry, &new).map(|()| Transferred::Done)
            })
            .inspect(|transferred| {
                if moves && matches!(transferred, Transferred::Done) {
                    several.entry(from, |entry| entry.remove());
                }
            })
    })
}

/// An item by value.
struct Kept {
    value: Vec<u8>,
    flags: u32,
    exptime: u32,
    exptime_millis: u16,
    bits: ItemBits,
}

impl Kept {
    fn of(several: &mut Several<'_>, key: &[u8]) -> Result<Kept, Miss> {
        several.read(key, true, |item| Kept {
            value: item.value.to_vec(),
            flags: item.flags,
            exptime: item.exptime,
            exptime_millis: item.exptime_millis,
            bits: item.bits,
        })
    }
}
