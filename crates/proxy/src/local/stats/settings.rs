//! `stats settings`: the command line as it took effect, in memcached's names and order.
//!
//! Also shows what administrative commands have set since. The flash tier and TLS are not there,
//! as in a memcached that was built without them.

use super::super::Context;
use super::Rows;
use std::sync::atomic::Ordering::Relaxed;

/// Writes all settings.
pub(super) fn write(ctx: &Context<'_>, rows: &mut Rows<'_>) {
    connections(ctx, rows);
    tuning(ctx, rows);
    buffers(ctx, rows);
}

fn connections(ctx: &Context<'_>, rows: &mut Rows<'_>) {
    let settings = &ctx.shared.settings;
    let or_null = |text: &Option<String>| text.clone().unwrap_or_else(|| "NULL".into());
    rows.put("maxbytes", settings.maxbytes.load(Relaxed));
    rows.put("maxconns", settings.maxconns);
    rows.put("tcpport", settings.tcpport);
    rows.put("udpport", settings.udpport);
    rows.put("inter", or_null(&settings.inter));
    rows.put("verbosity", settings.verbosity.load(Relaxed));
    rows.put("oldest", settings.oldest.load(Relaxed));
    rows.put("evictions", if settings.evictions { "on" } else { "off" });
    rows.put("domain_socket", or_null(&settings.domain_socket));
    rows.put("umask", format_args!("{:o}", settings.umask));
    rows.yes("shutdown_command", settings.shutdown_command);
    rows.put("growth_factor", format_args!("{:.2}", settings.growth_factor));
    rows.put("chunk_size", settings.chunk_size);
    rows.put("num_threads", settings.num_threads);
    rows.put("num_threads_per_udp", settings.num_threads);
    rows.put("stat_key_prefix", char::from(settings.prefix_delimiter));
    rows.yes("detail_enabled", ctx.shared.prefixes.is_on());
    rows.put("reqs_per_event", settings.reqs_per_event);
    rows.yes("cas_enabled", settings.cas_enabled);
    rows.put("tcp_backlog", settings.tcp_backlog);
    rows.put("binding_protocol", &settings.binding_protocol);
    rows.yes("auth_enabled_sasl", false);
    rows.put("auth_enabled_ascii", settings.auth_file.as_deref().unwrap_or("no"));
    rows.put("item_size_max", settings.item_size_max);
    rows.yes("maxconns_fast", settings.maxconns_fast);
}

fn tuning(ctx: &Context<'_>, rows: &mut Rows<'_>) {
    let settings = &ctx.shared.settings;
    rows.put("hashpower_init", settings.hashpower_init);
    rows.yes("slab_reassign", settings.slab_reassign);
    rows.put("slab_automove", settings.slab_automove.load(Relaxed));
    rows.put("slab_automove_ratio", format_args!("{:.2}", settings.slab_automove_ratio.get()));
    rows.put("slab_automove_window", settings.slab_automove_window.load(Relaxed));
    rows.put("slab_chunk_max", settings.slab_chunk_max);
    rows.yes("lru_crawler", settings.lru_crawler.load(Relaxed));
    rows.put("lru_crawler_sleep", settings.lru_crawler_sleep.load(Relaxed));
    rows.put("lru_crawler_tocrawl", settings.lru_crawler_tocrawl.load(Relaxed));
    rows.put("tail_repair_time", settings.tail_repair_time);
    rows.yes("flush_enabled", settings.flush_enabled);
    rows.yes("dump_enabled", settings.dump_enabled);
    rows.put("hash_algorithm", &settings.hash_algorithm);
    rows.yes("lru_maintainer_thread", settings.lru_maintainer_thread);
    rows.yes("lru_segmented", settings.lru_segmented.load(Relaxed));
    rows.put("hot_lru_pct", settings.hot_lru_pct.load(Relaxed));
    rows.put("warm_lru_pct", settings.warm_lru_pct.load(Relaxed));
    rows.put("hot_max_factor", format_args!("{:.2}", settings.hot_max_factor.get()));
    rows.put("warm_max_factor", format_args!("{:.2}", settings.warm_max_factor.get()));
    rows.yes("temp_lru", settings.temp_lru.load(Relaxed));
    rows.put("temporary_ttl", settings.temporary_ttl.load(Relaxed));
    rows.put("idle_timeout", settings.idle_timeout);
}

fn buffers(ctx: &Context<'_>, rows: &mut Rows<'_>) {
    let settings = &ctx.shared.settings;
    rows.put("watcher_logbuf_size", settings.watcher_logbuf_size);
    rows.put("worker_logbuf_size", settings.worker_logbuf_size);
    rows.put("read_buf_mem_limit", settings.read_buf_mem_limit);
    rows.yes("track_sizes", settings.track_sizes);
    rows.yes("inline_ascii_response", false);
    rows.yes("drop_privileges", settings.drop_privileges);
    let freeratio = settings.slab_automove_freeratio.get();
    rows.put("slab_automove_freeratio", format_args!("{freeratio:.3}"));
    rows.yes("proxy_enabled", settings.proxy_enabled);
    rows.yes("proxy_uring_enabled", false);
    rows.put("num_napi_ids", settings.num_napi_ids);
    rows.put("memory_file", settings.memory_file.as_deref().unwrap_or("(null)"));
    rows.put("client_flags_size", 4);
}
