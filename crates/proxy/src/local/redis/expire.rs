//! Commands about expiry times: `EXPIRE`, `TTL`, `PERSIST`, `GETEX` and their families.

use super::call::{Call, bulk};
use super::decimal;
use super::expiry::{self, Unit};
use super::refusal;
use super::string::note_get;
use crate::local::Context;
use crate::local::classic::{count_touch, note_miss};
use keyway_store::{Entry, Miss};

/// `EXPIRE`.
pub(super) fn expire(call: &mut Call<'_>) {
    set_expiry(call, Unit::EX, "expire");
}

/// `PEXPIRE`.
pub(super) fn pexpire(call: &mut Call<'_>) {
    set_expiry(call, Unit::PX, "pexpire");
}

/// `EXPIREAT`.
pub(super) fn expireat(call: &mut Call<'_>) {
    set_expiry(call, Unit::EXAT, "expireat");
}

/// `PEXPIREAT`.
pub(super) fn pexpireat(call: &mut Call<'_>) {
    set_expiry(call, Unit::PXAT, "pexpireat");
}

/// What `EXPIRE` asks of the old expiry time.
#[derive(Clone, Copy, Default)]
struct Conditions {
    /// There is none.
    missing: bool,
    /// There is one.
    present: bool,
    /// It is earlier than the new one. Never is the latest time.
    earlier: bool,
    /// It is later than the new one.
    later: bool,
}

impl Conditions {
    fn hold(self, old: Option<i64>, new: i64) -> bool {
        !(self.missing && old.is_some()
            || self.present && old.is_none()
            || self.earlier && old.is_none_or(|old| new <= old)
            || self.later && old.is_some_and(|old| new >= old))
    }
}

fn set_expiry(call: &mut Call<'_>, unit: Unit, name: &str) {
    let Some(conditions) = conditions(call) else { return };
    let (ctx, key) = (call.ctx, call.args.get(1));
    let Some(asked) = decimal::read(call.args.get(2)) else {
        return call.error(refusal::NOT_INTEGER);
    };
    let Some(when) = expiry::absolute(ctx, asked, unit) else {
        return refusal::invalid_expire(call, name);
    };
    let changed = ctx.store.entry(key, ctx.now, |entry| {
        if let Some(miss) = entry.miss() {
            return Err(miss);
        }
        let old = entry.get().and_then(|item| expiry::of_item(ctx, &item));
        if !conditions.hold(old, when) {
            return Ok(false);
        }
        entry.bump();
        apply(ctx, entry, when);
        Ok(true)
    });
    count_touch(ctx, key, changed.err());
    call.flag(changed == Ok(true));
}

/// Gives the item an expiry time, or removes it if that time has come.
fn apply(ctx: &Context<'_>, entry: &mut Entry<'_>, when: i64) {
    match expiry::on_clock(ctx, when) {
        Some((seconds, millis)) => entry.set_expiry(seconds, millis),
        None => {
            entry.remove();
        }
    }
}

/// Reads the words behind the time; none when the reply says already what is wrong with them.
fn conditions(call: &mut Call<'_>) -> Option<Conditions> {
    let mut all = Conditions::default();
    for word in call.args.from(3) {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match () {
            () if is(b"NX") => all.missing = true,
            () if is(b"XX") => all.present = true,
            () if is(b"GT") => all.earlier = true,
            () if is(b"LT") => all.later = true,
            () => {
                refusal::unsupported_option(call, word);
                return None;
            }
        }
    }
    if all.missing && (all.present || all.earlier || all.later) {
        call.error(b"ERR NX and XX, GT or LT options at the same time are not compatible");
        return None;
    }
    if all.earlier && all.later {
        call.error(b"ERR GT and LT options at the same time are not compatible");
        return None;
    }
    Some(all)
}

/// `TTL`.
pub(super) fn ttl(call: &mut Call<'_>) {
    tell(call, |ctx, when| (left(ctx, when).saturating_add(500)) / 1000);
}

/// `PTTL`.
pub(super) fn pttl(call: &mut Call<'_>) {
    tell(call, left);
}

/// `EXPIRETIME`.
pub(super) fn expiretime(call: &mut Call<'_>) {
    tell(call, |_, when| when.saturating_add(500) / 1000);
}

/// `PEXPIRETIME`.
pub(super) fn pexpiretime(call: &mut Call<'_>) {
    tell(call, |_, when| when);
}

fn left(ctx: &Context<'_>, when: i64) -> i64 {
    when.saturating_sub(expiry::now_ms(ctx)).max(0)
}

/// Answers with a figure of the expiry time, -1 if there is none, -2 without an item.
fn tell(call: &mut Call<'_>, figure: impl FnOnce(&Context<'_>, i64) -> i64) {
    let (ctx, key) = (call.ctx, call.args.get(1));
    let when = ctx.store.read(key, ctx.now, false, |item| expiry::of_item(ctx, &item));
    let number = match when {
        Ok(Some(when)) => figure(ctx, when),
        Ok(None) => -1,
        Err(miss) => {
            note_miss(ctx, miss);
            -2
        }
    };
    call.integer(number);
}

/// `PERSIST`.
pub(super) fn persist(call: &mut Call<'_>) {
    let (ctx, key) = (call.ctx, call.args.get(1));
    let changed = ctx.store.entry(key, ctx.now, |entry| match entry.get() {
        None => Err(entry.miss().unwrap_or(Miss::Absent)),
        Some(item) if item.exptime == 0 => Ok(false),
        Some(_) => {
            entry.bump();
            entry.set_exptime(0);
            Ok(true)
        }
    });
    count_touch(ctx, key, changed.err());
    call.flag(changed == Ok(true));
}

/// What `GETEX` does to the expiry time.
enum Change<'a> {
    None,
    Persist,
    At(Unit, &'a [u8]),
}

/// `GETEX`.
pub(super) fn getex(call: &mut Call<'_>) {
    let Some(change) = change(call) else { return call.error(refusal::SYNTAX) };
    let (ctx, key) = (call.ctx, call.args.get(1));
    // A missing key is null whatever its time was to be.
    let when = match change {
        Change::At(unit, word) => {
            if let Err(miss) = ctx.store.read(key, ctx.now, false, |_| ()) {
                call.null();
                return note_get(ctx, key, Some(miss));
            }
            match expiry::read(call, word, unit, "getex") {
                Some(when) => Some(when),
                None => return,
            }
        }
        Change::None | Change::Persist => None,
    };
    let miss = ctx.store.entry(key, ctx.now, |entry| {
        match entry.get() {
            Some(item) => bulk(call.out, item.value),
            None => return entry.miss(),
        }
        entry.bump();
        match when {
            Some(when) => apply(ctx, entry, when),
            None if matches!(change, Change::Persist) => entry.set_exptime(0),
            None => {}
        }
        None
    });
    if miss.is_some() {
        call.null();
    }
    note_get(ctx, key, miss);
}

/// Reads the words behind the key; none for a syntax error.
fn change<'a>(call: &Call<'a>) -> Option<Change<'a>> {
    let mut change = Change::None;
    let mut words = call.args.from(2);
    while let Some(word) = words.next() {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let unit = match () {
            () if is(b"EX") => Unit::EX,
            () if is(b"PX") => Unit::PX,
            () if is(b"EXAT") => Unit::EXAT,
            () if is(b"PXAT") => Unit::PXAT,
            () if is(b"PERSIST") && !matches!(change, Change::At(..)) => {
                change = Change::Persist;
                continue;
            }
            () => return None,
        };
        match change {
            Change::None => {}
            // The same unit may come again; the last one counts.
            Change::At(other, _) if other == unit => {}
            Change::At(..) | Change::Persist => return None,
        }
        change = Change::At(unit, words.next()?);
    }
    Some(change)
}
