//! Classic retrievals, `touch` and `delete`.
//!
//! `get` with one key is the path that matters most: one store read, which renders the reply under
//! the shard's lock.

use super::Context;
use super::output::{HELD_BYTES_MIN, Output};
use super::prefix::Use;
use super::watch::{FetchStatus, Line, Streams};
use keyway_proto::memcached::{Head, KEY_BYTES_MAX, Verb, text};
use keyway_proto::number;
use keyway_store::{Item, Miss};

/// `get` and `gets`.
pub(super) fn get(ctx: &Context<'_>, head: &Head<'_>, out: &mut Output) {
    let with_cas = head.verb == Verb::Gets;
    if !head.more_keys && head.key.len() <= KEY_BYTES_MAX {
        get_one(ctx, head.key, with_cas, out);
        out.put(text::END);
        return;
    }
    each_key(head, out, |key, out| get_one(ctx, key, with_cas, out));
}

/// Bytes that the values of one retrieval may take in the output. Beyond that the reply would be
/// a way to use up the machine's memory: one line can name the same big value very often.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// Values that one retrieval may keep in the store's memory.
const REPLY_HELD_MAX: usize = 16 << 10;

/// Renders each key of a retrieval, and the end. What is wrong with a later key takes back the
/// values of the earlier ones: an error is then all the client gets.
fn each_key(head: &Head<'_>, out: &mut Output, mut render: impl FnMut(&[u8], &mut Output)) {
    let start = out.mark();
    for key in head.keys() {
        if key.len() > KEY_BYTES_MAX {
            out.rewind(start);
            return out.put(text::BAD_LINE_FORMAT);
        }
        render(key, out);
        if out.exceeds(start, REPLY_BYTES_MAX, REPLY_HELD_MAX) {
            out.rewind(start);
            return out.put(text::OUT_OF_MEMORY_GET);
        }
    }
    out.put(text::END);
}

/// Renders one `VALUE`, or nothing for a miss.
#[inline]
fn get_one(ctx: &Context<'_>, key: &[u8], with_cas: bool, out: &mut Output) {
    let read = ctx.store.read(key, ctx.now, true, |item| {
        if item.value.len() >= HELD_BYTES_MIN {
            return false;
        }
        put_value_line(out, &item, with_cas);
        out.put(item.value);
        out.put(b"\r\n");
        true
    });
    let found = match read {
        Ok(true) => Ok(()),
        Ok(false) => hold_value(ctx, key, with_cas, out),
        Err(miss) => Err(miss),
    };
    ctx.counters.get_cmds.add(1);
    match found {
        Ok(()) => ctx.counters.get_hits.add(1),
        Err(miss) => {
            ctx.counters.get_misses.add(1);
            note_miss(ctx, miss);
        }
    }
    ctx.shared.prefixes.note(key, Use::Get(found.is_ok()));
    if ctx.shared.hub.wants(Streams::FETCHERS) {
        note_fetch(ctx, key, found.err());
    }
}

/// Renders a `VALUE` whose value stays in the store's memory. The use was counted already.
#[cold]
fn hold_value(ctx: &Context<'_>, key: &[u8], with_cas: bool, out: &mut Output) -> Result<(), Miss> {
    let held = ctx.store.hold(key, ctx.now, false)?;
    put_value_head(out, key, held.flags, held.as_ref().len(), with_cas.then_some(held.cas));
    out.hold(held);
    out.put(b"\r\n");
    Ok(())
}

#[inline]
fn put_value_line(out: &mut Output, item: &Item<'_>, with_cas: bool) {
    put_value_head(out, item.key, item.flags, item.value.len(), with_cas.then_some(item.cas));
}

#[inline]
fn put_value_head(out: &mut Output, key: &[u8], flags: u32, value_bytes: usize, cas: Option<u64>) {
    out.put(b"VALUE ");
    out.put(key);
    if flags == 0 {
        out.put(b" 0 ");
    } else {
        out.byte(b' ');
        out.number(u64::from(flags));
        out.byte(b' ');
    }
    out.number(value_bytes as u64);
    if let Some(cas) = cas {
        out.byte(b' ');
        out.number(cas);
    }
    out.put(b"\r\n");
}

/// Counts why nothing was found.
#[inline]
pub(super) fn note_miss(ctx: &Context<'_>, miss: Miss) {
    match miss {
        Miss::Absent => {}
        Miss::Expired => ctx.counters.get_expired.add(1),
        Miss::Flushed => ctx.counters.get_flushed.add(1),
    }
}

/// Tells watchers of a key that was looked up.
#[cold]
pub(super) fn note_fetch(ctx: &Context<'_>, key: &[u8], miss: Option<Miss>) {
    let status = match miss {
        None => FetchStatus::Found,
        Some(Miss::Absent) => FetchStatus::NotFound,
        Some(Miss::Expired) => FetchStatus::Expired,
        Some(Miss::Flushed) => FetchStatus::Flushed,
    };
    let of_item = ctx.store.read(key, ctx.now, false, |item| {
        (item_class(ctx, item.key.len(), item.flags, item.value.len()), item.value.len())
    });
    let (class, size) = of_item.unwrap_or((0, 0));
    let line = Line::Fetch { key, status, class, cfd: ctx.cfd, size };
    ctx.shared.hub.write(Streams::FETCHERS, line);
}

/// Tells watchers that a command other than a retrieval looks for the item of `key`.
#[inline]
pub(super) fn note_lookup(ctx: &Context<'_>, key: &[u8]) {
    if ctx.shared.hub.wants(Streams::FETCHERS) {
        let miss = ctx.store.read(key, ctx.now, false, |_| ()).err();
        note_fetch(ctx, key, miss);
    }
}

/// The slab class that memcached would keep such an item in.
pub(super) fn item_class(
    ctx: &Context<'_>,
    key_bytes: usize,
    flags: u32,
    value_bytes: usize,
) -> u32 {
    let settings = &ctx.shared.settings;
    settings.slab_class(settings.item_bytes(key_bytes, flags, value_bytes as u64))
}

/// `gat` and `gats`.
pub(super) fn get_and_touch(ctx: &Context<'_>, head: &Head<'_>, out: &mut Output) {
    let asked = head.tokens().nth(1).and_then(number::strict_i32);
    let Some(asked) = asked else {
        out.put(text::INVALID_EXPTIME);
        return;
    };
    let exptime = ctx.shared.exptime(i64::from(asked), ctx.now);
    let with_cas = head.verb == Verb::Gats;
    each_key(head, out, |key, out| touch_one(ctx, key, exptime, with_cas, out));
}

/// Sets the expiry time and renders one `VALUE`, or nothing for a miss.
fn touch_one(ctx: &Context<'_>, key: &[u8], exptime: u32, with_cas: bool, out: &mut Output) {
    let read = ctx.store.entry(key, ctx.now, |entry| {
        if let Some(miss) = entry.miss() {
            return Err(miss);
        }
        let item = entry.get().expect("an entry without a miss has an item");
        // A value that expires with this very command can only be copied now.
        let copied = item.value.len() < HELD_BYTES_MIN || is_expired(exptime, ctx);
        if copied {
            put_value_line(out, &item, with_cas);
            out.put(item.value);
            out.put(b"\r\n");
        }
        entry.bump();
        entry.set_exptime(exptime);
        Ok(copied)
    });
    let found = match read {
        Ok(true) => Ok(()),
        Ok(false) => hold_value(ctx, key, with_cas, out),
        Err(miss) => Err(miss),
    };
    count_touch(ctx, key, found.err());
    ctx.shared.prefixes.note(key, Use::Get(found.is_ok()));
}

fn is_expired(exptime: u32, ctx: &Context<'_>) -> bool {
    exptime != 0 && exptime <= ctx.now.seconds
}

/// Counts a touch and tells watchers.
pub(super) fn count_touch(ctx: &Context<'_>, key: &[u8], miss: Option<Miss>) {
    ctx.counters.touch_cmds.add(1);
    match miss {
        None => ctx.counters.touch_hits.add(1),
        Some(miss) => {
            ctx.counters.touch_misses.add(1);
            note_miss(ctx, miss);
        }
    }
    if ctx.shared.hub.wants(Streams::FETCHERS) {
        note_fetch(ctx, key, miss);
    }
}

/// Sets an expiry time, as `touch` does in every protocol.
pub(super) fn touch_key(ctx: &Context<'_>, key: &[u8], exptime: u32) -> Result<(), Miss> {
    let touched = ctx.store.entry(key, ctx.now, |entry| match entry.miss() {
        Some(miss) => Err(miss),
        None => {
            entry.bump();
            entry.set_exptime(exptime);
            Ok(())
        }
    });
    count_touch(ctx, key, touched.err());
    touched
}

/// `touch`.
pub(super) fn touch(ctx: &Context<'_>, head: &Head<'_>, out: &mut Output) {
    let reply = if head.key.len() > KEY_BYTES_MAX {
        text::BAD_LINE_FORMAT
    } else {
        match head.arguments().next().and_then(number::strict_i32) {
            None => text::INVALID_EXPTIME,
            Some(asked) => {
                let exptime = ctx.shared.exptime(i64::from(asked), ctx.now);
                match touch_key(ctx, head.key, exptime) {
                    Ok(()) => text::TOUCHED,
                    Err(_) => text::NOT_FOUND,
                }
            }
        }
    };
    reply_unless_noreply(head, reply, out);
}

/// `delete`.
pub(super) fn delete(ctx: &Context<'_>, head: &Head<'_>, out: &mut Output) {
    if head.key.len() > KEY_BYTES_MAX {
        reply_unless_noreply(head, text::BAD_LINE_FORMAT, out);
        return;
    }
    ctx.shared.prefixes.note(head.key, Use::Delete);
    let reply = match delete_key(ctx, head.key, "delete", 0) {
        Deleted::Yes => text::DELETED,
        Deleted::Missing | Deleted::OtherCas => text::NOT_FOUND,
    };
    reply_unless_noreply(head, reply, out);
}

/// What came of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deleted {
    /// The item is gone.
    Yes,
    /// There was none.
    Missing,
    /// It has another CAS number than asked for.
    OtherCas,
}

/// Deletes the item of `key`, if its CAS number is `cas` or `cas` is 0, and counts it.
pub(super) fn delete_key(
    ctx: &Context<'_>,
    key: &[u8],
    command: &'static str,
    cas: u64,
) -> Deleted {
    note_lookup(ctx, key);
    let watched = ctx.shared.hub.wants(Streams::DELETIONS);
    let mut line = None;
    let deleted = ctx.store.entry(key, ctx.now, |entry| {
        if let Some(miss) = entry.miss() {
            note_miss(ctx, miss);
            return Deleted::Missing;
        }
        if let Some(item) = entry.get() {
            if cas != 0 && item.cas != cas {
                return Deleted::OtherCas;
            }
            if watched {
                let class = item_class(ctx, item.key.len(), item.flags, item.value.len());
                line = Some(Line::Deleted { key, command, class, size: item.value.len() });
            }
        }
        entry.remove();
        Deleted::Yes
    });
    match deleted {
        Deleted::Yes => ctx.counters.delete_hits.add(1),
        Deleted::Missing => ctx.counters.delete_misses.add(1),
        Deleted::OtherCas => {}
    }
    if let Some(line) = line {
        ctx.shared.hub.write(Streams::DELETIONS, line);
    }
    deleted
}

/// Appends `reply` unless the request said `noreply`.
#[inline]
pub(super) fn reply_unless_noreply(head: &Head<'_>, reply: &[u8], out: &mut Output) {
    if !head.noreply {
        out.put(reply);
    }
}
