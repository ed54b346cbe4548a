//! Counters: `incr` and `decr`, and the part of `ma` and the binary commands they share.
//!
//! A counter is a value of decimal digits. It is rewritten at its length while the new number
//! fits (padded with spaces, as memcached does), and replaced when it grows.

use super::Context;
use super::classic::{note_lookup, note_miss, reply_unless_noreply};
use super::output::Output;
use keyway_proto::memcached::{Head, KEY_BYTES_MAX, text};
use keyway_proto::number::{self, Decimal};
use keyway_store::{Entry, ItemBits, New};

/// What is asked of a counter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub up: bool,
    pub delta: u64,
    /// The CAS number it must have; 0 for any.
    pub compare: u64,
    /// The CAS number it gets; none for a fresh one.
    pub cas: Option<u64>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// The new number and the new CAS number.
    To(u64, u64),
    Missing,
    OtherCas,
    NonNumeric,
    NoMemory,
}

/// `incr` and `decr`.
pub(super) fn classic(ctx: &Context<'_>, head: &Head<'_>, up: bool, out: &mut Output) {
    if head.key.len() > KEY_BYTES_MAX {
        return reply_unless_noreply(head, text::BAD_LINE_FORMAT, out);
    }
    let Some(delta) = head.arguments().next().and_then(number::strict_u64) else {
        return reply_unless_noreply(head, text::INVALID_DELTA, out);
    };
    let change = Change { up, delta, compare: 0, cas: None };
    note_lookup(ctx, head.key);
    let reply = match ctx.store.entry(head.key, ctx.now, |entry| apply(ctx, entry, &change)) {
        Changed::To(value, _) => {
            if !head.noreply {
                out.number(value);
                out.put(b"\r\n");
            }
            return;
        }
        Changed::NonNumeric => text::NON_NUMERIC,
        Changed::NoMemory => text::OUT_OF_MEMORY,
        Changed::Missing | Changed::OtherCas => {
            count_miss(ctx, up);
            text::NOT_FOUND
        }
    };
    reply_unless_noreply(head, reply, out);
}

/// Changes the counter and counts that; a missing one is left to the caller to count.
pub(super) fn apply(ctx: &Context<'_>, entry: &mut Entry<'_>, change: &Change) -> Changed {
    if let Some(miss) = entry.miss() {
        note_miss(ctx, miss);
        return Changed::Missing;
    }
    let item = entry.get().expect("an entry without a miss has an item");
    if item.value.is_empty() || is_chunked(ctx, item.key.len(), item.flags, item.value.len()) {
        return Changed::NonNumeric;
    }
    if change.compare != 0 && change.compare != item.cas {
        return Changed::OtherCas;
    }
    let Some(old) = number::lenient_u64(item.value) else { return Changed::NonNumeric };
    let new =
        if change.up { old.wrapping_add(change.delta) } else { old.saturating_sub(change.delta) };
    let digits = Decimal::new(new);
    let digits = digits.as_bytes();
    let (flags, key_is_binary) = (item.flags, item.bits.key_is_binary);
    let (exptime, exptime_millis) = (item.exptime, item.exptime_millis);
    let fits = digits.len() <= item.value.len();
    let counted = if change.up { &ctx.counters.incr_hits } else { &ctx.counters.decr_hits };
    counted.add(1);
    if fits && let Some(value) = entry.value_mut() {
        let (front, rest) = value.split_at_mut(digits.len());
        front.copy_from_slice(digits);
        rest.fill(b' ');
        return Changed::To(new, renew_cas(ctx, entry, change.cas));
    }
    let cas = if ctx.shared.settings.cas_enabled { change.cas } else { Some(0) };
    let bits = ItemBits { key_is_binary, ..ItemBits::default() };
    match entry.put(&New { flags, exptime, exptime_millis, cas, bits, value: &[digits] }) {
        Ok(cas) => Changed::To(new, cas),
        Err(_) => Changed::NoMemory,
    }
}

/// memcached keeps such items in pieces and takes none of them for a number.
fn is_chunked(ctx: &Context<'_>, key_bytes: usize, flags: u32, value_bytes: usize) -> bool {
    let settings = &ctx.shared.settings;
    settings.item_bytes(key_bytes, flags, value_bytes as u64) > u64::from(settings.slab_chunk_max)
}

fn renew_cas(ctx: &Context<'_>, entry: &mut Entry<'_>, cas: Option<u64>) -> u64 {
    match cas {
        _ if !ctx.shared.settings.cas_enabled => 0,
        Some(cas) => {
            entry.set_cas(cas);
            cas
        }
        None => entry.renew_cas().unwrap_or(0),
    }
}

/// Counts a counter that was not there.
pub(super) fn count_miss(ctx: &Context<'_>, up: bool) {
    if up {
        ctx.counters.incr_misses.add(1);
    } else {
        ctx.counters.decr_misses.add(1);
    }
}
