//! Expiry times: Redis tells them as Unix time in milliseconds, the store by its own clock.

use super::call::Call;
use super::decimal;
use super::refusal;
use crate::local::Context;
use keyway_store::Item;

/// What a write does to the expiry time of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// The item never expires.
    Never,
    /// It stays as it is.
    Keep,
    /// Unix time in milliseconds.
    At(i64),
}

/// How a number of a command is to be read as a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) is_seconds: bool,
    /// From now on, instead of from 1970 on.
    pub(super) is_relative: bool,
}

impl Unit {
    pub(super) const EX: Unit = Unit { is_seconds: true, is_relative: true };
    pub(super) const PX: Unit = Unit { is_seconds: false, is_relative: true };
    pub(super) const EXAT: Unit = Unit { is_seconds: true, is_relative: false };
    pub(super) const PXAT: Unit = Unit { is_seconds: false, is_relative: false };
}

/// Unix time in milliseconds by the store's clock.
pub(super) fn now_ms(ctx: &Context<'_>) -> i64 {
    unix_ms(ctx, ctx.now.seconds, ctx.now.millis)
}

fn unix_ms(ctx: &Context<'_>, seconds: u32, millis: u16) -> i64 {
    let since_origin = i64::from(seconds) * 1000 + i64::from(millis);
    i64::try_from(ctx.shared.epoch_unix_ms()).unwrap_or(0).saturating_add(since_origin)
}

/// When an item expires, in Unix milliseconds; none for never.
pub(super) fn of_item(ctx: &Context<'_>, item: &Item<'_>) -> Option<i64> {
    (item.exptime != 0).then(|| unix_ms(ctx, item.exptime, item.exptime_millis))
}

/// A Unix time in milliseconds by the store's clock, which ends after 136 years; none if it has
/// come already.
pub(super) fn on_clock(ctx: &Context<'_>, when_ms: i64) -> Option<(u32, u16)> {
    let origin = unix_ms(ctx, 0, 0);
    let after = u64::try_from(when_ms.checked_sub(origin)?).ok()?;
    let now = u64::from(ctx.now.seconds) * 1000 + u64::from(ctx.now.millis);
    if after <= now {
        return None;
    }
    match u32::try_from(after / 1000) {
        Ok(seconds) => Some((seconds, (after % 1000) as u16)),
        Err(_) => Some((u32::MAX, 0)),
    }
}

/// Reads the time of `SET`, `SETEX`, `GETEX` and the like, which must be above 0; none when the
/// reply says already what is wrong with it.
pub(super) fn read(call: &mut Call<'_>, word: &[u8], unit: Unit, command: &str) -> Option<i64> {
    let Some(asked) = decimal::read(word) else {
        call.error(refusal::NOT_INTEGER);
        return None;
    };
    let when = (asked > 0).then(|| absolute(call.ctx, asked, unit)).flatten();
    if when.is_none() {
        refusal::invalid_expire(call, command);
    }
    when
}

/// A number as Unix time in milliseconds; none if that is beyond what fits.
pub(super) fn absolute(ctx: &Context<'_>, asked: i64, unit: Unit) -> Option<i64> {
    let asked_ms = if unit.is_seconds { asked.checked_mul(1000)? } else { asked };
    let base = if unit.is_relative { now_ms(ctx) } else { 0 };
    asked_ms.checked_add(base)
}
