//! Meta commands other than `ms`: `mg`, `md`, `ma`, `me`.
//!
//! Flags take effect and are answered in the order of the request, as in memcached: `T60 t` shows
//! the new time to live, `t T60` the old one.

pub(super) mod flags;
mod get;

pub(super) use get::get;

use super::Context;
use super::arith::{self, Change, Changed};
use super::classic::{item_class, note_lookup, note_miss};
use super::output::Output;
use super::watch::{Line, Streams};
use flags::{Flags, is_too_long_opaque, refuse_too_long_opaque};
use keyway_proto::base64;
use keyway_proto::memcached::{Head, KEY_BYTES_MAX, text};
use keyway_proto::number::Decimal;
use keyway_store::{Entry, ItemBits, New};

/// `md`.
pub(super) fn delete(ctx: &Context<'_>, head: &Head<'_>, out: &mut Output) {
    let mut key_buf = [0; KEY_BYTES_MAX];
    let flags = match Flags::read(ctx, head, &mut key_buf) {
        Ok(flags) => flags,
        Err(reply) => return out.put(reply),
    };
    if refuse_too_long_opaque(head, out) {
        return;
    }
    note_lookup(ctx, flags.key);
    let watched = ctx.shared.hub.wants(Streams::DELETIONS);
    let mut line = None;
    let code = ctx.store.entry(flags.key, ctx.now, |entry| {
        if let Some(miss) = entry.miss() {
            note_miss(ctx, miss);
            ctx.counters.delete_misses.add(1);
            return Ok(b"NF");
        }
        if watched && let Some(item) = entry.get() {
            let class = item_class(ctx, item.key.len(), item.flags, item.value.len());
            line = Some(Line::Deleted {
                key: flags.key,
                command: "md",
                class,
                size: item.value.len(),
            });
        }
        delete_entry(ctx, entry, &flags)
    });
    let code = match code {
        Ok(code) => code,
        Err(reply) => return out.put(reply),
    };
    if code == b"HD" {
        if !flags.invalidate
            && let Some(line) = line
        {
            ctx.shared.hub.write(Streams::DELETIONS, line);
        }
        if flags.quiet {
            return;
        }
    }
    out.put(code);
    put_reflected(head, &flags, out);
    out.put(b"\r\n");
}

fn delete_entry(
    ctx: &Context<'_>,
    entry: &mut Entry<'_>,
    flags: &Flags<'_>,
) -> Result<&'static [u8; 2], &'static [u8]> {
    let item = entry.get().expect("an entry without a miss has an item");
    if flags.compare.is_some_and(|cas| cas != item.cas) {
        ctx.counters.delete_misses.add(1);
        return Ok(b"EX");
    }
    let bits = ItemBits {
        stale: flags.invalidate,
        win_sent: false,
        key_is_binary: item.bits.key_is_binary,
    };
    let with_cas = ctx.shared.settings.cas_enabled;
    if flags.drop_value {
        let cas = if flags.invalidate { flags.cas } else { flags.cas.or(Some(item.cas)) };
        let new = New {
            flags: flags.client_flags,
            exptime: flags.exptime.unwrap_or(0),
            exptime_millis: 0,
            cas: if with_cas { cas } else { Some(0) },
            bits,
            value: &[],
        };
        entry.put(&new).map_err(|_| text::OUT_OF_MEMORY)?;
    } else if flags.invalidate {
        entry.set_bits(bits);
        match flags.cas {
            _ if !with_cas => {}
            Some(cas) => entry.set_cas(cas),
            None => {
                entry.renew_cas();
            }
        }
        if let Some(exptime) = flags.exptime {
            entry.set_exptime(exptime);
        }
    } else {
        entry.remove();
    }
    if !flags.invalidate {
        ctx.counters.delete_hits.add(1);
    }
    Ok(b"HD")
}

/// Appends what the client wants back whatever came of its request: `O` and `k`.
fn put_reflected(head: &Head<'_>, flags: &Flags<'_>, out: &mut Output) {
    for flag in head.meta_flags() {
        match flag.letter {
            b'O' => flags.put_opaque(flag.argument, out),
            b'k' => flags.put_key(out),
            _ => {}
        }
    }
}

/// `ma`.
pub(super) fn arith(ctx: &Context<'_>, head: &Head<'_>, out: &mut Output) {
    let mut key_buf = [0; KEY_BYTES_MAX];
    let Ok(flags) = Flags::read(ctx, head, &mut key_buf) else {
        return out.put(text::META_INVALID_OR_DUPLICATE_FLAG);
    };
    let up = match flags.mode {
        0 | b'I' | b'+' => true,
        b'D' | b'-' => false,
        _ => return out.put(b"CLIENT_ERROR invalid mode for ma M token\r\n"),
    };
    let change =
        Change { up, delta: flags.delta, compare: flags.compare.unwrap_or(0), cas: flags.cas };
    note_lookup(ctx, flags.key);
    let start = out.mark();
    let done = ctx.store.entry(flags.key, ctx.now, |entry| {
        let (changed, is_new) = match arith::apply(ctx, entry, &change) {
            Changed::Missing if flags.vivify.is_some() => (create(ctx, entry, &flags)?, true),
            Changed::Missing => {
                arith::count_miss(ctx, up);
                return Ok(b"NF");
            }
            Changed::OtherCas => return Ok(b"EX"),
            Changed::NonNumeric => return Err(text::NON_NUMERIC),
            Changed::NoMemory => return Err(text::OUT_OF_MEMORY),
            Changed::To(value, cas) => ((value, cas), false),
        };
        put_changed(ctx, head, &flags, entry, changed, is_new, out)?;
        Ok(b"HD")
    });
    match done {
        Ok(b"HD") if flags.quiet => out.rewind(start),
        Ok(b"HD") => {}
        Ok(code) => {
            if refuse_too_long_opaque(head, out) {
                return;
            }
            out.put(code);
            put_reflected(head, &flags, out);
            out.put(b"\r\n");
        }
        Err(reply) => {
            out.rewind(start);
            out.put(reply);
        }
    }
}

/// Makes the counter that was missing; gives its value and CAS number.
fn create(
    ctx: &Context<'_>,
    entry: &mut Entry<'_>,
    flags: &Flags<'_>,
) -> Result<(u64, u64), &'static [u8]> {
    let digits = Decimal::new(flags.initial);
    let new = New {
        flags: 0,
        exptime: 0,
        exptime_millis: 0,
        cas: if ctx.shared.settings.cas_enabled { flags.cas } else { Some(0) },
        bits: ItemBits { key_is_binary: flags.key_is_binary, ..ItemBits::default() },
        value: &[digits.as_bytes()],
    };
    let cas = entry
        .put(&new)
        .map_err(|_| b"SERVER_ERROR Out of memory allocating new item\r\n".as_slice())?;
    Ok((flags.initial, cas))
}

/// Renders the reply of an `ma` that changed or made the item, and sets its expiry time.
fn put_changed(
    ctx: &Context<'_>,
    head: &Head<'_>,
    flags: &Flags<'_>,
    entry: &mut Entry<'_>,
    (value, cas): (u64, u64),
    is_new: bool,
    out: &mut Output,
) -> Result<(), &'static [u8]> {
    let digits = Decimal::new(value);
    if flags.value {
        out.put(b"VA ");
        out.number(digits.as_bytes().len() as u64);
    } else {
        out.put(b"HD");
    }
    let old_exptime = entry.get().map_or(0, |item| item.exptime);
    let mut exptime = old_exptime;
    let mut is_refused = false;
    for flag in head.meta_flags() {
        match flag.letter {
            b'c' => {
                out.put(b" c");
                out.number(cas);
            }
            b't' => put_ttl(ctx, exptime, out),
            b'T' => exptime = flags.exptime.unwrap_or(exptime),
            b'N' if is_new => exptime = flags.vivify.unwrap_or(exptime),
            b'O' if is_too_long_opaque(flag.argument) => {
                is_refused = true;
                break;
            }
            b'O' => flags.put_opaque(flag.argument, out),
            b'k' => flags.put_key(out),
            _ => {}
        }
    }
    if exptime != old_exptime {
        entry.set_exptime(exptime);
    }
    if is_refused {
        return Err(text::META_OPAQUE_TOO_LONG);
    }
    out.put(b"\r\n");
    if flags.value {
        out.put(digits.as_bytes());
        out.put(b"\r\n");
    }
    Ok(())
}

/// Appends the remaining time to live as a `t` flag: -1 for none. A time that has passed shows as
/// memcached's unsigned difference.
fn put_ttl(ctx: &Context<'_>, exptime: u32, out: &mut Output) {
    if exptime == 0 {
        out.put(b" t-1");
    } else {
        out.put(b" t");
        out.number(u64::from(exptime.wrapping_sub(ctx.now.seconds)));
    }
}

/// `me`: what is known about an item, for debugging.
pub(super) fn debug(ctx: &Context<'_>, head: &Head<'_>, out: &mut Output) {
    let mut key_buf = [0; KEY_BYTES_MAX];
    let mut key = head.key;
    if key.len() > KEY_BYTES_MAX {
        return out.put(text::BAD_LINE_FORMAT);
    }
    if head.arguments().next() == Some(b"b") {
        match base64::decode(head.key, &mut key_buf) {
            Some(decoded) => key = decoded,
            None => return out.put(text::BAD_LINE_FORMAT),
        }
    }
    ctx.counters.meta_cmds.add(1);
    let settings = &ctx.shared.settings;
    let found = ctx.store.read(key, ctx.now, false, |item| {
        out.put(b"ME ");
        if item.bits.key_is_binary {
            let mut buf = [0; base64::encoded_bytes(KEY_BYTES_MAX)];
            out.put(base64::encode(item.key, &mut buf).unwrap_or(&[]));
        } else {
            out.put(item.key);
        }
        out.put(b" exp=");
        if item.exptime == 0 {
            out.put(b"-1");
        } else {
            out.signed(i64::from(item.exptime) - i64::from(ctx.now.seconds));
        }
        let bytes = settings.item_bytes(item.key.len(), item.flags, item.value.len() as u64);
        let parts: [(&[u8], u64); 2] = [
            (b" la=", u64::from(ctx.now.seconds.saturating_sub(item.last_access))),
            (b" cas=", item.cas),
        ];
        for (name, number) in parts {
            out.put(name);
            out.number(number);
        }
        out.put(if item.fetched { b" fetch=yes" } else { b" fetch=no" });
        out.put(b" cls=");
        out.number(u64::from(settings.slab_class(bytes)));
        out.put(b" size=");
        out.number(bytes);
        out.put(b"\r\n");
    });
    if let Err(miss) = found {
        note_miss(ctx, miss);
        out.put(text::META_MISS);
    }
}
