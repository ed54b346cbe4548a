//! The general statistics: `stats` without a topic.
//!
//! Order and names are memcached's; see `mod.rs` for what stands where our store has nothing to
//! say. Lines of the proxy come in through `Facts::more`.

use super::super::shared::Shared;
use super::super::{COMPAT_VERSION, Context};
use super::Rows;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Writes everything that memcached reports about the process, its connections, its commands and
/// its memory.
pub(super) fn write(ctx: &Context<'_>, rows: &mut Rows<'_>) {
    process(ctx, rows);
    commands(ctx, rows);
    limits(ctx, rows);
    memory(ctx, rows);
}

fn process(ctx: &Context<'_>, rows: &mut Rows<'_>) {
    let shared = ctx.shared;
    let settings = &shared.settings;
    let facts = shared.facts();
    let clients = shared.conns.clients() as u64;
    rows.put("pid", facts.pid);
    rows.put("uptime", Shared::uptime(ctx.now));
    rows.put("time", shared.epoch_unix() + u64::from(ctx.now.seconds));
    rows.put("version", COMPAT_VERSION);
    // Monitoring tools read it as a version number; there is no libevent here.
    rows.put("libevent", "0.0");
    rows.put("pointer_size", usize::BITS);
    rows.put("rusage_user", Seconds(facts.user_time));
    rows.put("rusage_system", Seconds(facts.system_time));
    rows.put("max_connections", settings.maxconns);
    rows.put("curr_connections", clients);
    rows.put("total_connections", shared.conns.opened());
    if settings.maxconns_fast {
        rows.put("rejected_connections", shared.conns.rejected());
    }
    rows.put("connection_structures", shared.conns.current());
    for name in ["response_obj_oom", "response_obj_count", "response_obj_bytes"] {
        rows.put(name, 0);
    }
    rows.put("read_buf_count", 0);
    rows.put("read_buf_bytes", facts.read_buffer_bytes);
    rows.put("read_buf_bytes_free", 0);
    rows.put("read_buf_oom", 0);
    rows.put("reserved_fds", 0);
    for (name, value) in &facts.more {
        rows.put(name, value);
    }
}

fn commands(ctx: &Context<'_>, rows: &mut Rows<'_>) {
    let totals = ctx.shared.totals();
    let table = [
        ("cmd_get", totals.get_cmds),
        ("cmd_set", totals.set_cmds),
        ("cmd_flush", totals.flush_cmds),
        ("cmd_touch", totals.touch_cmds),
        ("cmd_meta", totals.meta_cmds),
        ("get_hits", totals.get_hits),
        ("get_misses", totals.get_misses),
        ("get_expired", totals.get_expired),
        ("get_flushed", totals.get_flushed),
        ("delete_misses", totals.delete_misses),
        ("delete_hits", totals.delete_hits),
        ("incr_misses", totals.incr_misses),
        ("incr_hits", totals.incr_hits),
        ("decr_misses", totals.decr_misses),
        ("decr_hits", totals.decr_hits),
        ("cas_misses", totals.cas_misses),
        ("cas_hits", totals.cas_hits),
        ("cas_badval", totals.cas_badval),
        ("touch_hits", totals.touch_hits),
        ("touch_misses", totals.touch_misses),
        ("store_too_large", totals.store_too_large),
        ("store_no_memory", totals.store_no_memory),
        ("auth_cmds", totals.auth_cmds),
        ("auth_errors", totals.auth_errors),
    ];
    for (name, count) in table {
        rows.put(name, count);
    }
    if ctx.shared.settings.idle_timeout != 0 {
        rows.put("idle_kicks", totals.idle_kicks);
    }
    rows.put("bytes_read", totals.bytes_read);
    rows.put("bytes_written", totals.bytes_written);
    rows.put("limit_maxbytes", ctx.shared.settings.maxbytes.load(Relaxed));
    let facts = ctx.shared.facts();
    rows.put("accepting_conns", u32::from(facts.is_accepting));
    rows.put("listen_disabled_num", facts.accept_pauses);
    rows.put("time_in_listen_disabled_us", facts.accept_paused_time.as_micros());
    rows.put("threads", ctx.shared.settings.num_threads);
    rows.put("conn_yields", totals.conn_yields);
}

fn limits(ctx: &Context<'_>, rows: &mut Rows<'_>) {
    let settings = &ctx.shared.settings;
    let store = ctx.store.stats();
    let buckets = (store.table_bytes / 8).max(1);
    rows.put("hash_power_level", buckets.ilog2());
    rows.put("hash_bytes", store.table_bytes);
    rows.put("hash_is_expanding", 0);
    if settings.slab_reassign {
        let names = [
            "slab_reassign_rescues",
            "slab_reassign_chunk_rescues",
            "slab_reassign_inline_reclaim",
            "slab_reassign_busy_items",
            "slab_reassign_busy_deletes",
            "slab_reassign_busy_nomem",
        ];
        for name in names {
            rows.put(name, 0);
        }
        rows.put("slab_reassign_last_busy_status", "none");
        rows.put("slab_reassign_running", 0);
        rows.put("slabs_moved", 0);
    }
    if settings.lru_crawler.load(Relaxed) {
        rows.put("lru_crawler_running", 0);
        rows.put("lru_crawler_starts", 0);
    }
    if settings.lru_maintainer_thread {
        rows.put("lru_maintainer_juggles", 0);
    }
    rows.put("malloc_fails", 0);
    let (sent, skipped) = ctx.shared.hub.counts();
    rows.put("log_worker_dropped", 0);
    rows.put("log_worker_written", sent + skipped);
    rows.put("log_watcher_skipped", skipped);
    rows.put("log_watcher_sent", sent);
    rows.put("log_watchers", ctx.shared.hub.watchers());
    rows.put("unexpected_napi_ids", 0);
    rows.put("round_robin_fallback", 0);
}

fn memory(ctx: &Context<'_>, rows: &mut Rows<'_>) {
    let has_maintainer = ctx.shared.settings.lru_maintainer_thread;
    let store = ctx.store.stats();
    rows.put("bytes", store.item_bytes);
    rows.put("curr_items", store.items);
    rows.put("total_items", store.items_stored);
    rows.put("slab_global_page_pool", 0);
    rows.put("expired_unfetched", store.expired_unfetched);
    rows.put("evicted_unfetched", store.evicted_unfetched);
    if has_maintainer {
        rows.put("evicted_active", 0);
    }
    rows.put("evictions", store.evictions);
    rows.put("reclaimed", store.reclaimed);
    // What expires is found by commands or by the sweep, which is what a crawler is here.
    rows.put("crawler_reclaimed", store.reclaimed);
    rows.put("crawler_items_checked", 0);
    rows.put("lrutail_reflocked", 0);
    if has_maintainer {
        let names = [
            "moves_to_cold",
            "moves_to_warm",
            "moves_within_lru",
            "direct_reclaims",
            "lru_bumps_dropped",
        ];
        for name in names {
            rows.put(name, 0);
        }
    }
}

/// A time as seconds with six decimals.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}
