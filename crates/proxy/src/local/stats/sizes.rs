//! Statistics by item size: `stats items`, `stats slabs`, `stats sizes`.
//!
//! Our memory is not cut into slab classes. Items are grouped by size into the classes that
//! memcached would use, so that tools which add up or graph classes keep working.

use super::super::Context;
use super::Rows;
use keyway_store::ClassStats;
use std::collections::BTreeMap;

/// The store's size classes, merged into memcached's.
fn classes(ctx: &Context<'_>) -> BTreeMap<u32, ClassStats> {
    let settings = &ctx.shared.settings;
    let mut merged: BTreeMap<u32, ClassStats> = BTreeMap::new();
    for class in ctx.store.class_stats() {
        let item_bytes = class.item_bytes_max.saturating_sub(1).min(settings.item_size_max);
        let sum = merged.entry(settings.slab_class(item_bytes)).or_default();
        sum.items += class.items;
        sum.item_bytes += class.item_bytes;
        sum.evicted += class.evicted;
        sum.evicted_nonzero += class.evicted_nonzero;
        sum.evicted_unfetched += class.evicted_unfetched;
        sum.evicted_age_seconds = sum.evicted_age_seconds.max(class.evicted_age_seconds);
        sum.expired_unfetched += class.expired_unfetched;
        sum.reclaimed += class.reclaimed;
        sum.out_of_memory += class.out_of_memory;
    }
    merged
}

/// `stats items`.
pub(super) fn items(ctx: &Context<'_>, rows: &mut Rows<'_>) {
    let has_maintainer = ctx.shared.settings.lru_maintainer_thread;
    for (id, class) in classes(ctx).into_iter().filter(|(_, class)| class.items > 0) {
        let mut put = |what: &str, value: u64| rows.put(&format!("items:{id}:{what}"), value);
        put("number", class.items);
        if has_maintainer {
            put("number_hot", 0);
            put("number_warm", 0);
            put("number_cold", class.items);
            put("age_hot", 0);
            put("age_warm", 0);
        }
        put("age", 0);
        put("mem_requested", class.item_bytes);
        put("evicted", class.evicted);
        put("evicted_nonzero", class.evicted_nonzero);
        put("evicted_time", u64::from(class.evicted_age_seconds));
        put("outofmemory", class.out_of_memory);
        put("tailrepairs", 0);
        put("reclaimed", class.reclaimed);
        put("expired_unfetched", class.expired_unfetched);
        put("evicted_unfetched", class.evicted_unfetched);
        if has_maintainer {
            put("evicted_active", 0);
        }
        // What expires is found by commands or by the sweep, which is what a crawler is here.
        put("crawler_reclaimed", class.reclaimed);
        put("crawler_items_checked", 0);
        put("lrutail_reflocked", 0);
        if has_maintainer {
            let nothing = [
                "moves_to_cold",
                "moves_to_warm",
                "moves_within_lru",
                "direct_reclaims",
                "hits_to_hot",
                "hits_to_warm",
                "hits_to_cold",
                "hits_to_temp",
            ];
            for what in nothing {
                put(what, 0);
            }
        }
    }
}

/// `stats slabs`. The commands of all classes are counted together: they stand with the first
/// class, so that sums over classes are right.
pub(super) fn slabs(ctx: &Context<'_>, rows: &mut Rows<'_>) {
    const PAGE_BYTES: u64 = 1 << 20;
    let sizes: BTreeMap<u32, u32> = ctx.shared.settings.slab_classes().collect();
    let classes = classes(ctx);
    let mut totals = Some(ctx.shared.totals());
    for (id, class) in &classes {
        let chunk = u64::from(sizes.get(id).copied().unwrap_or(1)).max(1);
        let per_page = (PAGE_BYTES / chunk).max(1);
        let chunks = class.items.max(class.item_bytes.div_ceil(chunk));
        let pages = chunks.div_ceil(per_page);
        let counts = totals.take().unwrap_or_default();
        let table = [
            ("chunk_size", chunk),
            ("chunks_per_page", per_page),
            ("total_pages", pages),
            ("total_chunks", pages * per_page),
            ("used_chunks", chunks),
            ("free_chunks", pages * per_page - chunks),
            ("free_chunks_end", 0),
            ("get_hits", counts.get_hits),
            ("cmd_set", counts.set_cmds),
            ("delete_hits", counts.delete_hits),
            ("incr_hits", counts.incr_hits),
            ("decr_hits", counts.decr_hits),
            ("cas_hits", counts.cas_hits),
            ("cas_badval", counts.cas_badval),
            ("touch_hits", counts.touch_hits),
        ];
        for (what, value) in table {
            rows.put(&format!("{id}:{what}"), value);
        }
    }
    rows.put("active_slabs", classes.len());
    rows.put("total_malloced", ctx.store.stats().memory_bytes);
}

/// `stats sizes`: items by size, in steps of the store's classes. memcached has this only with
/// `-o track_sizes`, and says so otherwise; here it costs nothing and is always there.
pub(super) fn sizes(ctx: &Context<'_>, rows: &mut Rows<'_>) {
    for class in ctx.store.class_stats().iter().filter(|class| class.items > 0) {
        rows.put(&class.item_bytes_max.to_string(), class.items);
    }
}
