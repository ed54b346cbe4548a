//! `lru_crawler metadump` and `mgdump`: lists of all items, given in slices.
//!
//! A slice holds one shard's lock for a bounded number of items, then other clients have their
//! turn and this one has to take what it got before it gets more. Items that come or go meanwhile
//! may be missed or shown; those that stay are shown once.

use super::admin::Words;
use super::classic::item_class;
use super::output::Output;
use super::watch::put_uri;
use super::{Context, Next, Session};
use keyway_proto::base64;
use keyway_proto::memcached::KEY_BYTES_MAX;
use keyway_proto::number;
use keyway_store::{Dump, Item};
use std::sync::atomic::Ordering::Relaxed;

/// The reply to crawler commands after `lru_crawler disable`.
pub(super) const CRAWLER_DISABLED: &[u8] = b"CLIENT_ERROR lru crawler disabled\r\n";

/// Bytes of a slice, about.
const SLICE_BYTES: usize = 64 << 10;

/// Items looked at with one shard locked, about.
const ITEMS_PER_LOCK: usize = 64;

/// A dump that has begun.
#[derive(Debug)]
pub(super) struct Dumping {
    walk: Dump,
    is_metadump: bool,
    classes: Classes,
}

/// Slab classes to dump, one bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Classes(u64);

impl Classes {
    const ALL: Classes = Classes(u64::MAX);

    /// Reads `all`, `hash` (the same here) or a list of class numbers.
    pub(super) fn from_word(ctx: &Context<'_>, word: &[u8]) -> Result<Classes, &'static [u8]> {
        if word == b"all" || word == b"hash" {
            return Ok(Classes::ALL);
        }
        let mut bits = 0u64;
        for part in word.split(|&byte| byte == b',').filter(|part| !part.is_empty()) {
            match number::lenient_u32(part) {
                Some(class @ 1..=63) => bits |= 1 << class,
                _ => return Err(b"BADCLASS invalid class id\r\n"),
            }
        }
        if bits == 0 {
            return Err(b"NOTSTARTED no items to crawl\r\n");
        }
        let _ = ctx;
        Ok(Classes(bits))
    }

    fn has(self, class: u32) -> bool {
        self == Classes::ALL || self.0.checked_shr(class).is_some_and(|bits| bits & 1 == 1)
    }
}

/// What keeps a dump from being given, or no reason at all.
fn obstacle(ctx: &Context<'_>, is_metadump: bool) -> Option<&'static [u8]> {
    if !ctx.shared.settings.lru_crawler.load(Relaxed) {
        return Some(CRAWLER_DISABLED);
    }
    let texts: [&[u8]; 2] = if is_metadump {
        [
            b"ERROR metadump not allowed\r\n",
            b"ERROR cannot pipeline other commands before metadump\r\n",
        ]
    } else {
        [
            b"ERROR key dump not allowed\r\n",
            b"ERROR cannot pipeline other commands before mgdump\r\n",
        ]
    };
    let [not_allowed, pipelined] = texts;
    if !ctx.allow.dump {
        Some(not_allowed)
    } else if ctx.is_pipelined {
        Some(pipelined)
    } else {
        None
    }
}

/// The dump that an `lru_crawler` command asks for; none if it asks for something else or may not
/// have it, for which [`refusal`] has the reply.
pub(super) fn begin(ctx: &Context<'_>, words: &Words<'_>) -> Option<Dumping> {
    if words.count() != 3 || words.begins(1, b"crawl") {
        return None;
    }
    let is_metadump = words.begins(1, b"metadump");
    if (!is_metadump && !words.begins(1, b"mgdump")) || obstacle(ctx, is_metadump).is_some() {
        return None;
    }
    let classes = Classes::from_word(ctx, words.get(2)?).ok()?;
    Some(Dumping { walk: ctx.store.dump(), is_metadump, classes })
}

/// The reply when [`begin`] gave none.
pub(super) fn refusal(ctx: &Context<'_>, words: &Words<'_>, is_metadump: bool) -> &'static [u8] {
    if let Some(reply) = obstacle(ctx, is_metadump) {
        return reply;
    }
    match Classes::from_word(ctx, words.get(2).unwrap_or(&[])) {
        Err(reply) => reply,
        Ok(_) => b"ERROR an unknown error happened\r\n",
    }
}

/// Begins a dump.
pub(super) fn start(
    ctx: &Context<'_>,
    session: &mut Session,
    dumping: Dumping,
    out: &mut Output,
) -> Next {
    out.put(b"OK\r\n");
    session.dump = Some(Box::new(dumping));
    more(ctx, session, out)
}

/// Gives the next slice.
pub(super) fn more(ctx: &Context<'_>, session: &mut Session, out: &mut Output) -> Next {
    let Some(dumping) = &mut session.dump else { return Next::Continue };
    let end = out.bytes.len() + SLICE_BYTES;
    let (is_metadump, classes) = (dumping.is_metadump, dumping.classes);
    let mut looked = 0;
    while out.bytes.len() < end && looked < SLICE_BYTES / 16 {
        looked += ITEMS_PER_LOCK;
        let is_unfinished = dumping.walk.next_slice(ctx.store, ctx.now, ITEMS_PER_LOCK, |item| {
            let class = item_class(ctx, item.key.len(), item.flags, item.value.len());
            if !classes.has(class) {
            } else if is_metadump {
                put_meta(ctx, &item, class, out);
            } else {
                put_mg(&item, out);
            }
        });
        if !is_unfinished {
            out.put(if is_metadump { b"END\r\n" } else { b"EN\r\n" });
            session.dump = None;
            return Next::Continue;
        }
    }
    Next::More
}

fn put_meta(ctx: &Context<'_>, item: &Item<'_>, class: u32, out: &mut Output) {
    let epoch = ctx.shared.epoch_unix();
    out.put(b"key=");
    put_uri(&mut out.bytes, item.key);
    out.put(b" exp=");
    if item.exptime == 0 {
        out.put(b"-1");
    } else {
        out.number(epoch + u64::from(item.exptime));
    }
    out.put(b" la=");
    out.number(epoch + u64::from(item.last_access));
    out.put(b" cas=");
    out.number(item.cas);
    out.put(if item.fetched { b" fetch=yes" } else { b" fetch=no" });
    out.put(b" cls=");
    out.number(u64::from(class));
    out.put(b" size=");
    let settings = &ctx.shared.settings;
    out.number(settings.item_bytes(item.key.len(), item.flags, item.value.len() as u64));
    out.put(b" flags=");
    out.number(u64::from(item.flags));
    // The space before the line feed is memcached's.
    out.put(b" \n");
}

fn put_mg(item: &Item<'_>, out: &mut Output) {
    out.put(b"mg ");
    if item.bits.key_is_binary {
        let mut buf = [0; base64::encoded_bytes(KEY_BYTES_MAX)];
        out.put(base64::encode(item.key, &mut buf).unwrap_or(&[]));
        out.put(b" b\r\n");
    } else {
        out.put(item.key);
        out.put(b"\r\n");
    }
}

/// `stats cachedump`: items of one class, up to `items_max` (0: no bound) and 2 MiB.
pub(super) fn cachedump(ctx: &Context<'_>, class: u32, items_max: u32, out: &mut Output) {
    const REPLY_BYTES_MAX: usize = 2 << 20;
    // Bounds the time that the command takes: it is answered in one piece.
    const LOOKED_MAX: usize = 1 << 16;
    let end = out.bytes.len() + REPLY_BYTES_MAX;
    let mut walk = ctx.store.dump();
    let (mut shown, mut looked) = (0, 0);
    let mut is_unfinished = true;
    while is_unfinished && looked < LOOKED_MAX && (items_max == 0 || shown < items_max) {
        is_unfinished = walk.next_slice(ctx.store, ctx.now, ITEMS_PER_LOCK, |item| {
            looked += 1;
            let fits = out.bytes.len() + item.key.len() + 64 < end;
            let wanted = fits && (items_max == 0 || shown < items_max);
            let of_class = item_class(ctx, item.key.len(), item.flags, item.value.len()) == class;
            if wanted && of_class && !item.bits.key_is_binary {
                put_cachedump(ctx, &item, out);
                shown += 1;
            }
        });
        looked += 1;
    }
    out.put(b"END\r\n");
}

fn put_cachedump(ctx: &Context<'_>, item: &Item<'_>, out: &mut Output) {
    let expires = match item.exptime {
        0 => 0,
        exptime => ctx.shared.epoch_unix() + u64::from(exptime),
    };
    out.put(b"ITEM ");
    out.put(item.key);
    out.put(b" [");
    out.number(item.value.len() as u64);
    out.put(b" b; ");
    out.number(expires);
    out.put(b" s]\r\n");
}
