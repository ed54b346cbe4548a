//! Walks over all keys: `SCAN`, `KEYS`, `RANDOMKEY`.
//!
//! A cursor is a place in the walk of `keyway_store::Dump`: a key that is there from the first
//! call to the last is given exactly once, whatever happens to others. A slice of a `SCAN` is
//! bounded whatever COUNT says; `KEYS` keeps its worker until it is done.

use super::call::{Call, bulk};
use super::decimal;
use super::glob;
use super::many::REPLY_BYTES_MAX;
use super::refusal;

/// Keys that one `SCAN` looks for if it does not say.
const COUNT_DEFAULT: usize = 10;

/// Keys that one `SCAN` gives at most, or about so.
const COUNT_MAX: usize = 10_000;

/// Places of the table that a `SCAN` looks at in any case, so that an empty part of a large
/// table does not cost many calls.
const PLACES_MIN: usize = 2_000;

/// Places looked at for each key asked for.
const PLACES_PER_KEY: usize = 10;

/// Places looked at under one lock.
const SLICE_PLACES: usize = 500;

/// What a `SCAN` asks for.
struct Wanted<'a> {
    count: usize,
    pattern: Option<&'a [u8]>,
    /// A type that no item has.
    is_other_type: bool,
}

/// `SCAN`.
pub(super) fn scan(call: &mut Call<'_>) {
    let Some(cursor) = read_cursor(call.args.get(1)) else {
        return call.error(b"ERR invalid cursor");
    };
    let Some(wanted) = wanted(call) else { return };
    let ctx = call.ctx;
    let start = call.out.mark();
    let mut walk = ctx.store.dump_from(cursor);
    let (mut seen, mut given, mut places) = (0, 0, 0);
    let places_max = PLACES_MIN + wanted.count.saturating_mul(PLACES_PER_KEY);
    while seen < wanted.count && places < places_max {
        let slice = (wanted.count - seen).min(SLICE_PLACES);
        let has_more = walk.next_slice(ctx.store, ctx.now, slice, |item| {
            seen += 1;
            if !wanted.is_other_type && wanted.pattern.is_none_or(|p| glob::matches(p, item.key)) {
                bulk(call.out, item.key);
                given += 1;
            }
        });
        places += slice;
        if !has_more && walk.cursor(ctx.store) == 0 {
            break;
        }
    }
    let mut head = Head::default();
    head.text(b"*2\r\n");
    let cursor = walk.cursor(ctx.store).to_string();
    head.line(b'$', cursor.len() as u64);
    head.text(cursor.as_bytes());
    head.text(b"\r\n");
    head.line(b'*', given);
    call.out.insert(start, &head.bytes);
}

/// Reads the words behind the cursor; none when the reply says already what is wrong with them.
fn wanted<'a>(call: &mut Call<'a>) -> Option<Wanted<'a>> {
    let mut wanted = Wanted { count: COUNT_DEFAULT, pattern: None, is_other_type: false };
    let mut words = call.args.from(2);
    while let Some(word) = words.next() {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let value = words.next();
        let refusal = match value {
            Some(count) if is(b"COUNT") => match decimal::read(count) {
                Some(count @ 1..) => {
                    wanted.count = usize::try_from(count).unwrap_or(COUNT_MAX).min(COUNT_MAX);
                    continue;
                }
                Some(_) => refusal::SYNTAX,
                None => refusal::NOT_INTEGER,
            },
            Some(pattern) if is(b"MATCH") => {
                wanted.pattern = (pattern != b"*").then_some(pattern);
                continue;
            }
            Some(name) if is(b"TYPE") => {
                wanted.is_other_type = !name.eq_ignore_ascii_case(b"string");
                continue;
            }
            _ => refusal::SYNTAX,
        };
        call.error(refusal);
        return None;
    }
    Some(wanted)
}

/// Reads a cursor as C does: up to a NUL, a sign, digits; nothing is 0.
fn read_cursor(word: &[u8]) -> Option<u64> {
    let word = word.split(|byte| *byte == 0).next().unwrap_or_default();
    let (is_negative, digits) = match word {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number: u64 = 0;
    for byte in digits {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number = number.checked_mul(10)?.checked_add(digit)?;
    }
    Some(if is_negative { number.wrapping_neg() } else { number })
}

/// `KEYS`.
pub(super) fn keys(call: &mut Call<'_>) {
    let ctx = call.ctx;
    let pattern = call.args.get(1);
    let is_all = pattern == b"*";
    let start = call.out.mark();
    let mut given = 0;
    let mut walk = ctx.store.dump();
    loop {
        let has_more = walk.next_slice(ctx.store, ctx.now, SLICE_PLACES, |item| {
            if is_all || glob::matches(pattern, item.key) {
                bulk(call.out, item.key);
                given += 1;
            }
        });
        if call.out.exceeds(start, REPLY_BYTES_MAX, usize::MAX) {
            call.out.rewind(start);
            return call.error(refusal::REPLY_TOO_LARGE);
        }
        if !has_more {
            break;
        }
    }
    let mut head = Head::default();
    head.line(b'*', given);
    call.out.insert(start, &head.bytes);
}

/// `RANDOMKEY`.
pub(super) fn randomkey(call: &mut Call<'_>) {
    let ctx = call.ctx;
    let random = ctx.shared.random();
    if ctx.store.any(ctx.now, random, |item| bulk(call.out, item.key)).is_none() {
        call.null();
    }
}

/// The head of a reply whose number of elements is known last.
#[derive(Default)]
struct Head {
    bytes: Vec<u8>,
}

impl Head {
    fn text(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
    }

    fn line(&mut self, kind: u8, count: u64) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(count.to_string().as_bytes());
        self.text(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_in_c() {
        assert_eq!(read_cursor(b"0"), Some(0));
        assert_eq!(read_cursor(b""), Some(0));
        assert_eq!(read_cursor(b"+12"), Some(12));
        assert_eq!(read_cursor(b"-1"), Some(u64::MAX));
        assert_eq!(read_cursor(b"7\0x"), Some(7));
        assert_eq!(read_cursor(b"18446744073709551615"), Some(u64::MAX));
        for word in [b"18446744073709551616" as &[u8], b"-", b"x", b"1x", b" 1"] {
            assert_eq!(read_cursor(word), None, "{word:?}");
        }
    }
}
