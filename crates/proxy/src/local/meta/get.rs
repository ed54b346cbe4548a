//! `mg`: a retrieval that shows, and may change, everything there is about an item.
//!
//! Without flags that change the item it reads together with other readers; a stale item whose
//! win token nobody has yet is looked at again under exclusive access, because one client wins.

use super::super::Context;
use super::super::classic::{count_touch, note_fetch, note_miss};
use super::super::output::{HELD_BYTES_MIN, Output};
use super::super::watch::Streams;
use super::flags::{Flags, is_too_long_opaque, put_key};
use super::{put_reflected, put_ttl};
use keyway_proto::memcached::{Head, KEY_BYTES_MAX, text};
use keyway_store::{Entry, Held, Item, ItemBits, Miss, New};

/// What a reply shows of an item, wherever its value is.
struct View<'a> {
    key: &'a [u8],
    value: &'a [u8],
    flags: u32,
    cas: u64,
    exptime: u32,
    last_access: u32,
    fetched: bool,
    bits: ItemBits,
    /// Made by this very command.
    is_new: bool,
}

impl<'a> View<'a> {
    fn of_item(item: &Item<'a>, is_new: bool) -> View<'a> {
        View {
            key: item.key,
            value: item.value,
            flags: item.flags,
            cas: item.cas,
            exptime: item.exptime,
            last_access: item.last_access,
            fetched: item.fetched,
            bits: item.bits,
            is_new,
        }
    }

    fn of_held(key: &'a [u8], held: &'a Held) -> View<'a> {
        View {
            key,
            value: held.as_ref(),
            flags: held.flags,
            cas: held.cas,
            exptime: held.exptime,
            last_access: held.last_access,
            fetched: held.fetched,
            bits: held.bits,
            is_new: false,
        }
    }
}

/// What rendering a hit decided.
struct Rendered {
    exptime: u32,
    won: bool,
    with_value: bool,
    /// The opaque is too long: the reply is an error, though the item may have changed.
    is_refused: bool,
}

/// `mg`.
pub(in super::super) fn get(ctx: &Context<'_>, head: &Head<'_>, out: &mut Output) {
    let mut key_buf = [0; KEY_BYTES_MAX];
    let flags = match Flags::read(ctx, head, &mut key_buf) {
        Ok(flags) => flags,
        Err(reply) => return out.put(reply),
    };
    let start = out.mark();
    let got = if flags.is_exclusive {
        get_exclusively(ctx, head, &flags, out)
    } else {
        get_shared(ctx, head, &flags, out)
    };
    match got {
        Ok(true) => {
            if flags.exptime.is_some() {
                count_touch(ctx, flags.key, None);
                return;
            }
            ctx.counters.get_cmds.add(1);
            ctx.counters.get_hits.add(1);
        }
        Ok(false) => {
            out.rewind(start);
            out.put(text::META_OPAQUE_TOO_LONG);
        }
        Err(miss) => {
            ctx.counters.get_cmds.add(1);
            ctx.counters.get_misses.add(1);
            note_miss(ctx, miss);
            put_miss(head, &flags, out);
        }
    }
    if ctx.shared.hub.wants(Streams::FETCHERS) {
        note_fetch(ctx, flags.key, got.err());
    }
}

fn put_miss(head: &Head<'_>, flags: &Flags<'_>, out: &mut Output) {
    if head.opaque.is_some_and(is_too_long_opaque) {
        out.put(text::META_OPAQUE_TOO_LONG);
    } else if !flags.quiet {
        out.put(b"EN");
        put_reflected(head, flags, out);
        out.put(b"\r\n");
    }
}

/// What came of looking at an item together with other readers.
enum Seen {
    /// Answered; `false` if the opaque is too long.
    Answered(bool),
    /// The value is to be held, not copied.
    Large,
    /// A stale item whose win token nobody has yet: one client wins, so it takes exclusive access.
    Unclaimed,
}

/// An `mg` that neither changes the item nor needs to see it before it counts as used.
#[inline]
fn get_shared(
    ctx: &Context<'_>,
    head: &Head<'_>,
    flags: &Flags<'_>,
    out: &mut Output,
) -> Result<bool, Miss> {
    let seen = ctx.store.read(flags.key, ctx.now, !flags.no_bump, |item| {
        if item.bits.stale && !item.bits.win_sent {
            return Seen::Unclaimed;
        }
        if flags.value && item.value.len() >= HELD_BYTES_MIN {
            return Seen::Large;
        }
        let view = View::of_item(&item, false);
        let rendered = put_hit(ctx, head, flags, &view, out);
        if rendered.with_value {
            out.put(view.value);
            out.put(b"\r\n");
        }
        Seen::Answered(!rendered.is_refused)
    })?;
    match seen {
        Seen::Answered(is_answered) => Ok(is_answered),
        Seen::Large => get_large(ctx, head, flags, out),
        // It was counted as used already.
        Seen::Unclaimed => get_exclusively(ctx, head, &Flags { no_bump: true, ..*flags }, out),
    }
}

/// A hit whose value stays in the store's memory. It was counted as used already.
#[cold]
fn get_large(
    ctx: &Context<'_>,
    head: &Head<'_>,
    flags: &Flags<'_>,
    out: &mut Output,
) -> Result<bool, Miss> {
    let held = ctx.store.hold(flags.key, ctx.now, false)?;
    let rendered = put_hit(ctx, head, flags, &View::of_held(flags.key, &held), out);
    if rendered.with_value {
        out.hold(held);
        out.put(b"\r\n");
    }
    Ok(!rendered.is_refused)
}

/// An `mg` under exclusive access.
fn get_exclusively(
    ctx: &Context<'_>,
    head: &Head<'_>,
    flags: &Flags<'_>,
    out: &mut Output,
) -> Result<bool, Miss> {
    ctx.store.entry(flags.key, ctx.now, |entry| {
        let miss = entry.miss();
        if let Some(miss) = miss {
            vivify(ctx, flags, entry, miss)?;
        }
        let item = entry.get().expect("an entry without a miss has an item");
        let view = View::of_item(&item, miss.is_some());
        let rendered = put_hit(ctx, head, flags, &view, out);
        if rendered.with_value {
            out.put(view.value);
            out.put(b"\r\n");
        }
        let mut bits = view.bits;
        let old_exptime = view.exptime;
        if !rendered.is_refused {
            if rendered.won && !bits.win_sent {
                bits.win_sent = true;
                entry.set_bits(bits);
            }
            if !flags.no_bump {
                entry.bump();
            }
        }
        if rendered.exptime != old_exptime {
            entry.set_exptime(rendered.exptime);
        }
        Ok(!rendered.is_refused)
    })
}

/// Makes an empty item in place of the missing one, if the client asked for that.
fn vivify(
    ctx: &Context<'_>,
    flags: &Flags<'_>,
    entry: &mut Entry<'_>,
    miss: Miss,
) -> Result<(), Miss> {
    if flags.vivify.is_none() {
        return Err(miss);
    }
    let new = New {
        flags: 0,
        exptime: 0,
        exptime_millis: 0,
        cas: if ctx.shared.settings.cas_enabled { flags.cas } else { Some(0) },
        bits: ItemBits { key_is_binary: flags.key_is_binary, ..ItemBits::default() },
        value: &[],
    };
    entry.put(&new).map(|_| ()).map_err(|_| miss)
}

/// Renders a hit up to its line end; the value, if it is wanted, is the caller's to append.
#[inline]
fn put_hit(
    ctx: &Context<'_>,
    head: &Head<'_>,
    flags: &Flags<'_>,
    view: &View<'_>,
    out: &mut Output,
) -> Rendered {
    let with_value = flags.value && flags.compare != Some(view.cas);
    let mut rendered =
        Rendered { exptime: view.exptime, won: false, with_value, is_refused: false };
    if with_value {
        out.put(b"VA ");
        out.number(view.value.len() as u64);
    } else {
        out.put(b"HD");
    }
    for flag in head.meta_flags() {
        match flag.letter {
            b'T' => rendered.exptime = flags.exptime.unwrap_or(rendered.exptime),
            b'N' if view.is_new => {
                rendered.exptime = flags.vivify.unwrap_or(rendered.exptime);
                rendered.won = true;
            }
            b'R' => {
                let expires_soon = rendered.exptime != 0
                    && flags.recache.is_some_and(|limit| rendered.exptime < limit);
                rendered.won |= !view.bits.win_sent && !view.is_new && expires_soon;
            }
            b's' => put_numeric(out, b's', view.value.len() as u64),
            b't' => put_ttl(ctx, rendered.exptime, out),
            b'c' => put_numeric(out, b'c', view.cas),
            b'f' => put_numeric(out, b'f', u64::from(view.flags)),
            b'l' => {
                let idle = ctx.now.seconds.saturating_sub(view.last_access);
                put_numeric(out, b'l', u64::from(idle));
            }
            b'h' => put_numeric(out, b'h', u64::from(view.fetched)),
            b'O' if is_too_long_opaque(flag.argument) => {
                return Rendered { is_refused: true, with_value: false, ..rendered };
            }
            b'O' => flags.put_opaque(flag.argument, out),
            b'k' => put_key(view.key, view.bits.key_is_binary, out),
            _ => {}
        }
    }
    // Whoever has the token already is not told that it is stale as if it could win.
    if view.bits.win_sent {
        out.put(b" Z");
    }
    if view.bits.stale {
        out.put(b" X");
        rendered.won |= !view.bits.win_sent;
    }
    if rendered.won {
        out.put(b" W");
    }
    out.put(b"\r\n");
    rendered
}

#[inline]
fn put_numeric(out: &mut Output, letter: u8, number: u64) {
    out.put(&[b' ', letter]);
    out.number(number);
}
