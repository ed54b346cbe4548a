//! Store commands: `set` and its family, `ms`.
//!
//! Both protocols come down to one [`Write`] that [`write`] carries out under the key's lock. The
//! request is judged from its head alone ([`admit`] may do that before the value has come), then
//! the value's line end is checked, then the write happens: the order in which memcached finds
//! fault with a request.

use super::classic::{item_class, note_lookup, note_miss};
use super::meta::flags::{Flags, refuse_too_long_opaque};
use super::output::Output;
use super::prefix::Use;
use super::watch::{Line, StoreStatus, Streams};
use super::{Admission, Context};
use keyway_proto::memcached::{Head, KEY_BYTES_MAX, ValueLength, Verb, text};
use keyway_proto::number;
use keyway_store::{Entry, ItemBits, New, PutError};

/// What is required of the old item, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing is required.
    Set,
    /// There must be none.
    Add,
    /// There must be one.
    Replace,
    /// There must be one; the value goes behind the old one. With `true`, a missing item is made.
    Append(bool),
    /// There must be one; the value goes before the old one. With `true`, a missing item is made.
    Prepend(bool),
    /// There must be one with this CAS number.
    Cas,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Mode::Set => "set",
            Mode::Add => "add",
            Mode::Replace => "replace",
            Mode::Append(_) => "append",
            Mode::Prepend(_) => "prepend",
            Mode::Cas => "cas",
        }
    }
}

/// One store command of any protocol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Write<'a> {
    pub key: &'a [u8],
    pub mode: Mode,
    pub flags: u32,
    pub exptime: u32,
    /// The CAS number that the old item must have; 0 for any, except in mode `Cas`.
    pub compare: u64,
    /// The CAS number that the new item gets; none for a fresh one.
    pub cas: Option<u64>,
    /// Whether a compare with a newer item stores a stale value instead of failing.
    pub stale_is_fine: bool,
    pub key_is_binary: bool,
}

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Stored, with this CAS number and value length.
    Stored(u64, usize),
    NotStored,
    Exists,
    NotFound,
    TooLarge,
    NoMemory,
}

/// Decides about a value that is still to come.
#[cold]
pub(super) fn admit(ctx: &Context<'_>, head: &Head<'_>, out: &mut Output) -> Admission {
    let swallow = head.body_bytes();
    let is_refused = if head.malformed.is_some() || !head.verb.carries_value() {
        false
    } else if head.verb == Verb::Ms {
        let mut key_buf = [0; KEY_BYTES_MAX];
        judge_meta(ctx, head, &mut key_buf, out).is_none()
    } else {
        judge_classic(ctx, head, out).is_none()
    };
    if is_refused { Admission::Refuse { swallow } } else { Admission::Read(swallow) }
}

/// Judges a store command's line without its size and without any effect; false when the reply
/// says already what is wrong with it. For requests that go to a backend, which must not find
/// fault with them after the value was sent.
pub(super) fn check(ctx: &Context<'_>, head: &Head<'_>, out: &mut Output) -> bool {
    if head.malformed.is_some() {
        out.put(text::BAD_LINE_FORMAT);
        return false;
    }
    if head.verb == Verb::Ms {
        let mut key_buf = [0; KEY_BYTES_MAX];
        return read_meta(ctx, head, &mut key_buf, out).is_some()
            && !refuse_too_long_opaque(head, out);
    }
    let is_fine = read_classic(ctx, head).is_ok();
    if !is_fine && !head.noreply {
        out.put(text::BAD_LINE_FORMAT);
    }
    is_fine
}

/// `set`, `add`, `replace`, `append`, `prepend`, `cas`. `value` has its line end.
pub(super) fn classic(ctx: &Context<'_>, head: &Head<'_>, value: &[u8], out: &mut Output) {
    let Some(write) = judge_classic(ctx, head, out) else { return };
    ctx.counters.set_cmds.add(1);
    let reply = match value.strip_suffix(b"\r\n") {
        None => text::BAD_DATA_CHUNK,
        Some(value) => match store(ctx, &write, value) {
            Written::Stored(..) => text::STORED,
            Written::NotStored => text::NOT_STORED,
            Written::Exists => text::EXISTS,
            Written::NotFound => text::NOT_FOUND,
            Written::TooLarge => text::TOO_LARGE,
            Written::NoMemory => text::OUT_OF_MEMORY_STORING,
        },
    };
    if !head.noreply {
        out.put(reply);
    }
}

/// Reads a classic store command's head; none when the reply says already what is wrong with it.
#[inline]
fn judge_classic<'a>(ctx: &Context<'_>, head: &Head<'a>, out: &mut Output) -> Option<Write<'a>> {
    let verdict = read_classic(ctx, head);
    match verdict {
        Ok(write) => {
            ctx.shared.prefixes.note(write.key, Use::Set);
            if !is_too_large(ctx, &write, head) {
                return Some(write);
            }
            refuse(ctx, &write, Written::TooLarge, write.mode == Mode::Set);
            if !head.noreply {
                out.put(text::TOO_LARGE);
            }
        }
        Err(()) => {
            if !head.noreply {
                out.put(text::BAD_LINE_FORMAT);
            }
        }
    }
    None
}

#[inline]
fn is_too_large(ctx: &Context<'_>, write: &Write<'_>, head: &Head<'_>) -> bool {
    let ValueLength::Bytes(value_bytes) = head.value else { return false };
    ctx.shared.settings.is_too_large(write.key.len(), write.flags, value_bytes)
}

#[inline]
fn read_classic<'a>(ctx: &Context<'_>, head: &Head<'a>) -> Result<Write<'a>, ()> {
    if head.key.len() > KEY_BYTES_MAX {
        return Err(());
    }
    let mut arguments = head.arguments();
    let flags = arguments.next_range().ok_or(())?;
    let exptime = arguments.next_range().ok_or(())?;
    // memcached's reader goes on from the token into the rest of the line.
    let flags = read_flags(&head.line[flags.start..], flags.len()).ok_or(())?;
    let exptime = read_exptime(&head.line[exptime.start..], exptime.len()).ok_or(())?;
    let mode = match head.verb {
        Verb::Add => Mode::Add,
        Verb::Replace => Mode::Replace,
        Verb::Append => Mode::Append(false),
        Verb::Prepend => Mode::Prepend(false),
        Verb::Cas => Mode::Cas,
        _ => Mode::Set,
    };
    let compare = if mode == Mode::Cas {
        arguments.nth(1).and_then(number::strict_u64).ok_or(())?
    } else {
        0
    };
    Ok(Write {
        key: head.key,
        mode,
        flags,
        exptime: ctx.shared.exptime(i64::from(exptime), ctx.now),
        compare,
        cas: None,
        stale_is_fine: false,
        key_is_binary: false,
    })
}

/// Client flags at the start of `rest`, whose first token has `token_bytes` bytes.
#[inline]
fn read_flags(rest: &[u8], token_bytes: usize) -> Option<u32> {
    if token_bytes == 1 && rest[0].is_ascii_digit() {
        return Some(u32::from(rest[0] - b'0'));
    }
    number::lenient_u32(rest)
}

/// An expiry time at the start of `rest`, whose first token has `token_bytes` bytes.
#[inline]
fn read_exptime(rest: &[u8], token_bytes: usize) -> Option<i32> {
    if token_bytes == 1 && rest[0].is_ascii_digit() {
        return Some(i32::from(rest[0] - b'0'));
    }
    number::lenient_i32(rest)
}

/// `ms`. `value` has its line end.
pub(super) fn meta(ctx: &Context<'_>, head: &Head<'_>, value: &[u8], out: &mut Output) {
    let mut key_buf = [0; KEY_BYTES_MAX];
    let Some((write, flags)) = judge_meta(ctx, head, &mut key_buf, out) else { return };
    ctx.counters.set_cmds.add(1);
    let Some(value) = value.strip_suffix(b"\r\n") else {
        out.put(text::BAD_DATA_CHUNK);
        return;
    };
    let (code, cas, bytes): (&[u8], u64, usize) = match store(ctx, &write, value) {
        Written::Stored(..) if flags.quiet => return,
        Written::Stored(cas, bytes) => (b"HD", cas, bytes),
        Written::NotStored => (b"NS", 0, value.len()),
        Written::Exists => (b"EX", 0, value.len()),
        Written::NotFound => (b"NF", 0, value.len()),
        Written::TooLarge => return out.put(text::TOO_LARGE),
        Written::NoMemory => return out.put(text::OUT_OF_MEMORY_STORING),
    };
    out.put(code);
    for flag in head.meta_flags() {
        match flag.letter {
            b'O' => flags.put_opaque(flag.argument, out),
            b'k' => flags.put_key(out),
            b'c' => {
                out.put(b" c");
                out.number(cas);
            }
            b's' => {
                out.put(b" s");
                out.number(bytes as u64);
            }
            _ => {}
        }
    }
    out.put(b"\r\n");
}

/// Judges an `ms` head; none when the reply says already what is wrong with it.
fn judge_meta<'a>(
    ctx: &Context<'_>,
    head: &Head<'a>,
    key_buf: &'a mut [u8; KEY_BYTES_MAX],
    out: &mut Output,
) -> Option<(Write<'a>, Flags<'a>)> {
    let (write, flags) = read_meta(ctx, head, key_buf, out)?;
    if is_too_large(ctx, &write, head) {
        refuse(ctx, &write, Written::TooLarge, true);
        out.put(text::TOO_LARGE);
        return None;
    }
    if refuse_too_long_opaque(head, out) {
        return None;
    }
    Some((write, flags))
}

/// Reads an `ms` head but for its size and opaque.
fn read_meta<'a>(
    ctx: &Context<'_>,
    head: &Head<'a>,
    key_buf: &'a mut [u8; KEY_BYTES_MAX],
    out: &mut Output,
) -> Option<(Write<'a>, Flags<'a>)> {
    let flags = match Flags::read(ctx, head, key_buf) {
        Ok(flags) => flags,
        Err(reply) => {
            out.put(reply);
            return None;
        }
    };
    let mut mode = match flags.mode {
        0 | b'S' => Mode::Set,
        b'E' => Mode::Add,
        b'A' => Mode::Append(flags.vivify.is_some()),
        b'P' => Mode::Prepend(flags.vivify.is_some()),
        b'R' => Mode::Replace,
        _ => {
            out.put(b"CLIENT_ERROR invalid mode for ms M token\r\n");
            return None;
        }
    };
    let exptime = match (mode, flags.vivify) {
        (Mode::Append(true) | Mode::Prepend(true), Some(exptime)) => exptime,
        _ => flags.exptime.unwrap_or(0),
    };
    if flags.compare.is_some() && matches!(mode, Mode::Set | Mode::Replace) {
        mode = Mode::Cas;
    }
    let write = Write {
        key: flags.key,
        mode,
        flags: flags.client_flags,
        exptime,
        compare: flags.compare.unwrap_or(0),
        cas: flags.cas.filter(|&cas| cas != 0),
        stale_is_fine: flags.invalidate && mode == Mode::Cas,
        key_is_binary: flags.key_is_binary,
    };
    Some((write, flags))
}

/// Counts and reports a write that got no memory, and removes the old item where its survival
/// would leave the client with data it meant to replace.
#[cold]
fn refuse(ctx: &Context<'_>, write: &Write<'_>, why: Written, removes: bool) {
    if why == Written::TooLarge {
        ctx.counters.store_too_large.add(1);
    } else {
        ctx.counters.store_no_memory.add(1);
    }
    if removes {
        ctx.store.entry(write.key, ctx.now, |entry| entry.remove());
    }
    if ctx.shared.hub.wants(Streams::MUTATIONS) {
        report(ctx, write, why, 0);
    }
}

/// Counts and reports a write whose value is too large.
#[cold]
pub(super) fn refuse_large(ctx: &Context<'_>, write: &Write<'_>) {
    refuse(ctx, write, Written::TooLarge, write.mode == Mode::Set);
}

/// Carries out a write and counts it.
#[inline]
pub(super) fn store(ctx: &Context<'_>, write: &Write<'_>, value: &[u8]) -> Written {
    note_lookup(ctx, write.key);
    let written =
        ctx.store.entry(write.key, ctx.now, |entry| write_entry(ctx, entry, write, value));
    match written {
        Written::TooLarge | Written::NoMemory => {
            let is_meta_or_set = write.mode == Mode::Set;
            refuse(ctx, write, written, is_meta_or_set);
        }
        _ => {
            if ctx.shared.hub.wants(Streams::MUTATIONS) {
                report(ctx, write, written, value.len());
            }
        }
    }
    written
}

#[inline]
fn write_entry(
    ctx: &Context<'_>,
    entry: &mut Entry<'_>,
    write: &Write<'_>,
    value: &[u8],
) -> Written {
    let bits = ItemBits { key_is_binary: write.key_is_binary, ..ItemBits::default() };
    let cas = if ctx.shared.settings.cas_enabled { write.cas } else { Some(0) };
    let mut new = New {
        flags: write.flags,
        exptime: write.exptime,
        exptime_millis: 0,
        cas,
        bits,
        value: &[value],
    };
    if write.mode == Mode::Set {
        return put(entry, &new, value.len());
    }
    if let Some(miss) = entry.miss() {
        note_miss(ctx, miss);
        return match write.mode {
            Mode::Set | Mode::Add | Mode::Append(true) | Mode::Prepend(true) => {
                put(entry, &new, value.len())
            }
            Mode::Cas => {
                ctx.counters.cas_misses.add(1);
                Written::NotFound
            }
            Mode::Replace | Mode::Append(false) | Mode::Prepend(false) => Written::NotStored,
        };
    }
    let old = entry.get().expect("an entry without a miss has an item");
    match write.mode {
        Mode::Set | Mode::Replace => put(entry, &new, value.len()),
        Mode::Add => Written::NotStored,
        Mode::Append(_) | Mode::Prepend(_) => {
            if write.compare != 0 && write.compare != old.cas {
                return Written::Exists;
            }
            extend(ctx, entry, write, value, cas)
        }
        Mode::Cas if write.compare != 0 && write.compare == old.cas => {
            ctx.counters.cas_hits.add(1);
            put(entry, &new, value.len())
        }
        Mode::Cas if write.stale_is_fine && write.compare != 0 && write.compare < old.cas => {
            // The value is newer than none but older than what is there: it is kept as stale, and
            // what was said about the item before still holds.
            new.exptime = old.exptime;
            new.exptime_millis = old.exptime_millis;
            new.bits.stale = true;
            new.bits.win_sent = old.bits.win_sent;
            ctx.counters.cas_hits.add(1);
            put(entry, &new, value.len())
        }
        Mode::Cas => {
            ctx.counters.cas_badval.add(1);
            Written::Exists
        }
    }
}

#[inline]
fn put(entry: &mut Entry<'_>, new: &New<'_>, value_bytes: usize) -> Written {
    match entry.put(new) {
        Ok(cas) => Written::Stored(cas, value_bytes),
        Err(PutError::TooLarge) => Written::TooLarge,
        Err(PutError::OutOfMemory) => Written::NoMemory,
    }
}

/// Appends or prepends to the item that is there. Failing leaves it as it was.
fn extend(
    ctx: &Context<'_>,
    entry: &mut Entry<'_>,
    write: &Write<'_>,
    value: &[u8],
    cas: Option<u64>,
) -> Written {
    let Some(old) = entry.get() else { return Written::NotStored };
    let value_bytes = old.value.len() + value.len();
    if ctx.shared.settings.is_too_large(write.key.len(), old.flags, value_bytes as u64) {
        return Written::NotStored;
    }
    // It counts as a new item: stale marks and win tokens of the old one are void.
    let bits = ItemBits { key_is_binary: old.bits.key_is_binary, ..ItemBits::default() };
    let (before, after): (&[u8], &[u8]) =
        if matches!(write.mode, Mode::Append(_)) { (&[], value) } else { (value, &[]) };
    match entry.extend(before, after, cas) {
        Ok(Some(cas)) => {
            entry.set_bits(bits);
            Written::Stored(cas, value_bytes)
        }
        Ok(None) | Err(_) => Written::NotStored,
    }
}

#[cold]
fn report(ctx: &Context<'_>, write: &Write<'_>, written: Written, value_bytes: usize) {
    let (status, size) = match written {
        Written::Stored(_, bytes) => (StoreStatus::Stored, bytes),
        Written::NotStored => (StoreStatus::NotStored, value_bytes),
        Written::Exists => (StoreStatus::Exists, value_bytes),
        Written::NotFound => (StoreStatus::NotFound, value_bytes),
        Written::TooLarge => (StoreStatus::TooLarge, 0),
        Written::NoMemory => (StoreStatus::NoMemory, 0),
    };
    let ttl = if write.exptime == 0 { 0 } else { write.exptime.wrapping_sub(ctx.now.seconds) };
    let class = match written {
        Written::TooLarge | Written::NoMemory => 0,
        _ => item_class(ctx, write.key.len(), write.flags, size),
    };
    let command = write.mode.name();
    let line = Line::Store { key: write.key, status, command, ttl, class, cfd: ctx.cfd, size };
    ctx.shared.hub.write(Streams::MUTATIONS, line);
}
