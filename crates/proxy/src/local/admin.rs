//! Commands about the server instead of a key.
//!
//! Some tune parts of memcached that our store does not have (slabs, LRU segments). They are read
//! and answered as memcached does, and `stats settings` shows what they set.

use super::output::Output;
use super::shared::Shared;
use super::watch::Streams;
use super::{COMPAT_VERSION, Context, Next, Session, dump, stats};
use keyway_proto::memcached::{Head, TOKEN_COUNT_MAX, Verb, text};
use keyway_proto::number;
use std::sync::atomic::Ordering::Relaxed;

/// The tokens of a line that memcached can address, the command word first.
pub(super) struct Words<'a> {
    words: [&'a [u8]; TOKEN_COUNT_MAX],
    count: usize,
}

impl<'a> Words<'a> {
    pub(super) fn of(head: &Head<'a>) -> Words<'a> {
        let mut words: [&[u8]; TOKEN_COUNT_MAX] = [&[]; TOKEN_COUNT_MAX];
        let mut count = 0;
        for (slot, word) in words.iter_mut().zip(head.tokens()) {
            *slot = word;
            count += 1;
        }
        Words { words, count }
    }

    /// The words, the command first.
    pub(super) fn all(&self) -> &[&'a [u8]] {
        &self.words[..self.count]
    }

    /// The number of words, the command included.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The word at `index`.
    pub(super) fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.all().get(index).copied()
    }

    /// Whether the word at `index` is `full` or the beginning of it: memcached's way of
    /// comparing sub-commands. A missing word is.
    pub(super) fn begins(&self, index: usize, full: &[u8]) -> bool {
        full.starts_with(self.get(index).unwrap_or(&[]))
    }

    pub(super) fn u32(&self, index: usize) -> Option<u32> {
        self.get(index).and_then(number::strict_u32)
    }

    pub(super) fn i32(&self, index: usize) -> Option<i32> {
        self.get(index).and_then(number::strict_i32)
    }

    fn f64(&self, index: usize) -> Option<f64> {
        let word = self.get(index).filter(|word| word.len() < 32)?;
        std::str::from_utf8(word).ok()?.parse().ok()
    }
}

/// Answers a command that is not about a key.
pub(super) fn execute(
    ctx: &Context<'_>,
    session: &mut Session,
    head: &Head<'_>,
    out: &mut Output,
) -> Next {
    let words = Words::of(head);
    let reply = match head.verb {
        Verb::Version => {
            out.put(b"VERSION ");
            out.put(COMPAT_VERSION.as_bytes());
            out.put(b"\r\n");
            return Next::Continue;
        }
        Verb::Quit => return Next::Close,
        Verb::Stats => {
            stats::execute(ctx, &words, out);
            return Next::Continue;
        }
        Verb::Watch => return watch(ctx, &words, out),
        Verb::LruCrawler => {
            if let Some(dumping) = dump::begin(ctx, &words) {
                return dump::start(ctx, session, dumping, out);
            }
            lru_crawler(ctx, &words)
        }
        Verb::Shutdown => match shutdown(ctx, &words) {
            Ok(next) => return next,
            Err(reply) => reply,
        },
        Verb::FlushAll => flush_all(ctx, head, &words),
        Verb::Verbosity => verbosity(ctx, &words),
        Verb::CacheMemlimit => cache_memlimit(ctx, &words),
        Verb::Lru => lru(ctx, &words),
        Verb::Slabs => slabs(ctx, &words),
        _ if head.is_http() => return Next::Close,
        _ => text::ERROR,
    };
    if !head.noreply {
        out.put(reply);
    }
    Next::Continue
}

fn flush_all(ctx: &Context<'_>, head: &Head<'_>, words: &Words<'_>) -> &'static [u8] {
    ctx.counters.flush_cmds.add(1);
    if !ctx.allow.flush {
        return b"CLIENT_ERROR flush_all not allowed\r\n";
    }
    let mut delay = 0;
    if words.count() != if head.noreply { 2 } else { 1 } {
        match words.i32(1) {
            Some(asked) => delay = asked,
            None => return text::INVALID_EXPTIME,
        }
    }
    flush(ctx, i64::from(delay));
    text::OK
}

/// Makes all items invisible, now or `delay` from now (an expiry time; 0 or less is now).
pub(super) fn flush(ctx: &Context<'_>, delay: i64) {
    let mark = if delay > 0 {
        ctx.shared.exptime(delay, ctx.now).saturating_sub(1)
    } else {
        ctx.store.clear();
        ctx.now.seconds.saturating_sub(1)
    };
    ctx.store.set_flush_mark(mark);
    ctx.shared.settings.oldest.store(mark, Relaxed);
}

fn verbosity(ctx: &Context<'_>, words: &Words<'_>) -> &'static [u8] {
    const LEVEL_MAX: u32 = 2;
    match words.u32(1) {
        None => text::BAD_LINE_FORMAT,
        Some(level) => {
            ctx.shared.settings.verbosity.store(level.min(LEVEL_MAX), Relaxed);
            text::OK
        }
    }
}

fn cache_memlimit(ctx: &Context<'_>, words: &Words<'_>) -> &'static [u8] {
    match words.u32(1) {
        None => text::ERROR,
        Some(..8) => b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n",
        Some(1_000_000_001..) => b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n",
        Some(megabytes) => {
            let bytes = u64::from(megabytes) << 20;
            ctx.store.set_memory_bytes_max(bytes);
            ctx.shared.settings.maxbytes.store(bytes, Relaxed);
            text::OK
        }
    }
}

fn shutdown(ctx: &Context<'_>, words: &Words<'_>) -> Result<Next, &'static [u8]> {
    if !ctx.allow.shutdown {
        return Err(b"SERVER_ERROR: shutdown not enabled\r\n");
    }
    match words.count() {
        1 => Ok(Next::Shutdown { graceful: false }),
        2 if words.begins(1, b"graceful") => Ok(Next::Shutdown { graceful: true }),
        _ => Err(b"CLIENT_ERROR invalid shutdown mode\r\n"),
    }
}

fn lru(ctx: &Context<'_>, words: &Words<'_>) -> &'static [u8] {
    let settings = &ctx.shared.settings;
    let count = words.count();
    if words.begins(1, b"tune") && count >= 6 {
        return lru_tune(ctx.shared, words);
    }
    if words.begins(1, b"mode") && count >= 3 && settings.lru_maintainer_thread {
        let segmented = match () {
            () if words.begins(2, b"flat") => false,
            () if words.begins(2, b"segmented") => true,
            () => return text::ERROR,
        };
        settings.lru_segmented.store(segmented, Relaxed);
        return text::OK;
    }
    if words.begins(1, b"temp_ttl") && count >= 3 && settings.lru_maintainer_thread {
        let Some(ttl) = words.i32(2) else { return text::ERROR };
        settings.temp_lru.store(ttl >= 0, Relaxed);
        if ttl >= 0 {
            settings.temporary_ttl.store(ttl, Relaxed);
        }
        return text::OK;
    }
    text::ERROR
}

fn lru_tune(shared: &Shared, words: &Words<'_>) -> &'static [u8] {
    let (Some(hot), Some(warm), Some(hot_factor), Some(warm_factor)) =
        (words.u32(2), words.u32(3), words.f64(4), words.f64(5))
    else {
        return text::ERROR;
    };
    if hot.wrapping_add(warm) > 80 {
        return b"ERROR hot and warm pcts must not exceed 80\r\n";
    }
    if warm_factor <= 0.0 || hot_factor <= 0.0 {
        return b"ERROR hot/warm age factors must be greater than 0\r\n";
    }
    let settings = &shared.settings;
    settings.hot_lru_pct.store(hot, Relaxed);
    settings.warm_lru_pct.store(warm, Relaxed);
    settings.hot_max_factor.set(hot_factor);
    settings.warm_max_factor.set(warm_factor);
    text::OK
}

fn slabs(ctx: &Context<'_>, words: &Words<'_>) -> &'static [u8] {
    if words.count() == 4 && words.begins(1, b"reassign") {
        return slabs_reassign(ctx.shared, words);
    }
    if words.count() >= 3 && words.begins(1, b"automove") {
        return slabs_automove(ctx.shared, words);
    }
    text::ERROR
}

/// There are no slab pages to move: what memcached answers when a class has none to spare.
fn slabs_reassign(shared: &Shared, words: &Words<'_>) -> &'static [u8] {
    if !shared.settings.slab_reassign {
        return b"CLIENT_ERROR slab reassignment disabled\r\n";
    }
    let (Some(from), Some(to)) = (words.i32(2), words.i32(3)) else {
        return text::BAD_LINE_FORMAT;
    };
    let classes = 1..=i64::from(shared.settings.slab_class_count());
    if from == to {
        b"SAME src and dst class are identical\r\n"
    } else if !classes.contains(&i64::from(from)) || !classes.contains(&i64::from(to)) {
        b"BADCLASS invalid src or dst class id\r\n"
    } else {
        b"NOSPARE source class has no spare pages\r\n"
    }
}

fn slabs_automove(shared: &Shared, words: &Words<'_>) -> &'static [u8] {
    let settings = &shared.settings;
    let ratio = |place: &super::AtomicF64| match words.f64(3) {
        Some(ratio) => {
            place.set(ratio);
            text::OK
        }
        None => text::ERROR,
    };
    if words.begins(2, b"ratio") {
        return ratio(&settings.slab_automove_ratio);
    }
    if words.begins(2, b"freeratio") {
        return ratio(&settings.slab_automove_freeratio);
    }
    if words.begins(2, b"window") {
        return match words.u32(3) {
            None => text::BAD_LINE_FORMAT,
            Some(window @ 3..=1800) => {
                settings.slab_automove_window.store(window, Relaxed);
                text::OK
            }
            Some(_) => b"CLIENT_ERROR automove window too low or too high\r\n",
        };
    }
    match words.u32(2) {
        None => text::BAD_LINE_FORMAT,
        Some(mode @ 0..=2) => {
            settings.slab_automove.store(mode, Relaxed);
            text::OK
        }
        Some(_) => text::ERROR,
    }
}

/// Records that one `lru_crawler crawl` looks at: expired items go by themselves, and no command
/// may keep a worker long.
const CRAWL_RECORDS_MAX: usize = 4096;

/// `lru_crawler` but for the dumps.
fn lru_crawler(ctx: &Context<'_>, words: &Words<'_>) -> &'static [u8] {
    let settings = &ctx.shared.settings;
    match words.count() {
        3 if words.begins(1, b"crawl") => {
            if !settings.lru_crawler.load(Relaxed) {
                return dump::CRAWLER_DISABLED;
            }
            if let Err(reply) = dump::Classes::from_word(ctx, words.get(2).unwrap_or(&[])) {
                return reply;
            }
            ctx.store.tick(ctx.now, CRAWL_RECORDS_MAX);
            text::OK
        }
        3 if words.begins(1, b"metadump") => dump::refusal(ctx, words, true),
        3 if words.begins(1, b"mgdump") => dump::refusal(ctx, words, false),
        3 if words.begins(1, b"tocrawl") => match words.u32(2) {
            None => text::BAD_LINE_FORMAT,
            Some(items) => {
                settings.lru_crawler_tocrawl.store(items, Relaxed);
                text::OK
            }
        },
        3 if words.begins(1, b"sleep") => match words.u32(2) {
            None => text::BAD_LINE_FORMAT,
            Some(1_000_001..) => b"CLIENT_ERROR sleep must be one second or less\r\n",
            Some(sleep_us) => {
                settings.lru_crawler_sleep.store(sleep_us, Relaxed);
                text::OK
            }
        },
        2 if words.begins(1, b"enable") => {
            settings.lru_crawler.store(true, Relaxed);
            text::OK
        }
        2 if words.begins(1, b"disable") => {
            settings.lru_crawler.store(false, Relaxed);
            text::OK
        }
        _ => text::ERROR,
    }
}

fn watch(ctx: &Context<'_>, words: &Words<'_>, out: &mut Output) -> Next {
    let reply: &[u8] = 'refused: {
        if !ctx.allow.watch {
            break 'refused b"CLIENT_ERROR watch commands not allowed\r\n";
        }
        if ctx.is_pipelined {
            break 'refused b"ERROR cannot pipeline other commands before watch\r\n";
        }
        let mut streams = Streams(0);
        for word in words.all().iter().skip(1) {
            match Streams::from_word(word) {
                Some(more) => streams = streams.and(more),
                None => break 'refused text::ERROR,
            }
        }
        if streams == Streams(0) {
            streams = Streams::FETCHERS;
        }
        match ctx.shared.hub.watch(streams) {
            Some(watching) => {
                // The next eviction may come before anybody looks what is watched.
                if ctx.shared.hub.wants(Streams::EVICTIONS) {
                    ctx.store.watch().set_wanted(true);
                }
                out.put(text::OK);
                return Next::Watch(watching);
            }
            None => b"WATCHER_TOO_MANY log watcher limit reached\r\n",
        }
    };
    out.put(reply);
    Next::Continue
}
