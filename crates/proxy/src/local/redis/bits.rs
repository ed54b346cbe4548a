//! Values as rows of bits: `GETBIT`, `SETBIT`, `BITCOUNT`, `BITPOS`.

use super::call::Call;
use super::decimal;
use super::refusal;
use super::string::{STRING_BYTES_MAX, note_get, overwrite, range};
use super::write::{self, Write};

/// Reads a bit's place.
fn place(word: &[u8]) -> Option<u64> {
    let place = u64::try_from(decimal::read(word)?).ok()?;
    (place / 8 < STRING_BYTES_MAX).then_some(place)
}

const BAD_PLACE: &[u8] = b"ERR bit offset is not an integer or out of range";

/// `GETBIT`.
pub(super) fn getbit(call: &mut Call<'_>) {
    let (ctx, key) = (call.ctx, call.args.get(1));
    let Some(place) = place(call.args.get(2)) else { return call.error(BAD_PLACE) };
    let bit = ctx.store.read(key, ctx.now, true, |item| {
        item.value.get((place / 8) as usize).is_some_and(|byte| byte >> (7 - place % 8) & 1 == 1)
    });
    note_get(ctx, key, bit.err());
    call.flag(bit == Ok(true));
}

/// `SETBIT`.
pub(super) fn setbit(call: &mut Call<'_>) {
    let (ctx, key) = (call.ctx, call.args.get(1));
    let Some(place) = place(call.args.get(2)) else { return call.error(BAD_PLACE) };
    let Some(bit @ (0 | 1)) = decimal::read(call.args.get(3)) else {
        return call.error(b"ERR bit is not an integer or out of range");
    };
    let (at, mask) = ((place / 8) as usize, 1u8 << (7 - place % 8));
    write::begin(ctx, key);
    let written = ctx.store.entry(key, ctx.now, |entry| {
        let old = entry.get().and_then(|item| item.value.get(at).copied()).unwrap_or(0);
        let new = if bit == 1 { old | mask } else { old & !mask };
        overwrite(ctx, entry, at, &[new]).map(|_| old & mask != 0)
    });
    write::report(ctx, &Write::new(key, &[]), written.map(|_| true));
    match written {
        Ok(old) => call.flag(old),
        Err(why) => refusal::not_stored(call, why),
    }
}

/// Whether a range counts bits instead of bytes; none for another word.
fn unit(word: Option<&[u8]>) -> Option<bool> {
    match word {
        None => Some(false),
        Some(word) if word.eq_ignore_ascii_case(b"BYTE") => Some(false),
        Some(word) if word.eq_ignore_ascii_case(b"BIT") => Some(true),
        Some(_) => None,
    }
}

/// The bits from `from` to `to`, both included, that a range of a value of `len` bytes means.
fn bit_range(from: i64, to: i64, is_bits: bool, len: usize) -> Option<(usize, usize)> {
    if is_bits {
        return range(from, to, len * 8);
    }
    range(from, to, len).map(|(from, to)| (from * 8, to * 8 + 7))
}

/// The bytes that hold the bits from `from` to `to`, each with a mask of those bits.
fn masked(value: &[u8], from: usize, to: usize) -> impl Iterator<Item = (u8, u8)> + '_ {
    let (first, last) = (from / 8, to / 8);
    value[first..=last].iter().enumerate().map(move |(index, byte)| {
        let mut mask = 0xff;
        if index == 0 {
            mask &= 0xff >> (from % 8);
        }
        if first + index == last {
            mask &= 0xff << (7 - to % 8);
        }
        (*byte, mask)
    })
}

/// `BITCOUNT`.
pub(super) fn bitcount(call: &mut Call<'_>) {
    let (ctx, key) = (call.ctx, call.args.get(1));
    let mut words = call.args.from(4);
    let bits = ctx.store.read(key, ctx.now, true, |item| {
        let (from, to, is_bits) = match call.args.len() {
            2 => (0, -1, false),
            4 | 5 => {
                let from = decimal::read(call.args.get(2)).ok_or(refusal::NOT_INTEGER)?;
                let to = decimal::read(call.args.get(3)).ok_or(refusal::NOT_INTEGER)?;
                if from < 0 && to < 0 && from > to {
                    return Ok(0);
                }
                (from, to, unit(words.next()).ok_or(refusal::SYNTAX)?)
            }
            _ => return Err(refusal::SYNTAX),
        };
        let Some((from, to)) = bit_range(from, to, is_bits, item.value.len()) else {
            return Ok(0);
        };
        let ones = masked(item.value, from, to).map(|(byte, mask)| (byte & mask).count_ones());
        Ok(ones.map(u64::from).sum::<u64>())
    });
    note_get(ctx, key, bits.err());
    match bits.unwrap_or(Ok(0)) {
        Ok(ones) => call.count(ones as usize),
        Err(text) => call.error(text),
    }
}

/// `BITPOS`.
pub(super) fn bitpos(call: &mut Call<'_>) {
    let (ctx, key) = (call.ctx, call.args.get(1));
    let bit = match decimal::read(call.args.get(2)) {
        Some(bit @ (0 | 1)) => bit == 1,
        Some(_) => return call.error(b"ERR The bit argument must be 1 or 0."),
        None => return call.error(refusal::NOT_INTEGER),
    };
    let found = ctx.store.read(key, ctx.now, true, |item| find(call, bit, item.value));
    note_get(ctx, key, found.err());
    // A missing value is zeros without end.
    match found.unwrap_or(Ok(if bit { -1 } else { 0 })) {
        Ok(place) => call.integer(place),
        Err(text) => call.error(text),
    }
}

/// The place of the first such bit in the range asked for, or -1.
fn find(call: &Call<'_>, bit: bool, value: &[u8]) -> Result<i64, &'static [u8]> {
    let mut words = call.args.from(3);
    let count = call.args.len();
    if count > 6 {
        return Err(refusal::SYNTAX);
    }
    let (mut from, mut to, mut is_bits) = (0, -1, false);
    if let Some(word) = words.next() {
        from = decimal::read(word).ok_or(refusal::NOT_INTEGER)?;
        let (end, more) = (words.next(), words.next());
        is_bits = unit(more).ok_or(refusal::SYNTAX)?;
        if let Some(word) = end {
            to = decimal::read(word).ok_or(refusal::NOT_INTEGER)?;
        }
    }
    let Some((from, to)) = bit_range(from, to, is_bits, value.len()) else { return Ok(-1) };
    let sought =
        masked(value, from, to).map(|(byte, mask)| if bit { byte & mask } else { !byte & mask });
    let start = from / 8 * 8;
    for (index, bits) in sought.enumerate() {
        if bits != 0 {
            return Ok((start + index * 8) as i64 + i64::from(bits.leading_zeros()));
        }
    }
    // Without an end the value goes on in zeros.
    let is_open = count < 5;
    Ok(if !bit && is_open { (value.len() * 8) as i64 } else { -1 })
}
