//! Tells watchers of items that made room for others.
//!
//! The store records evictions only while somebody wants them. One worker carries them over to
//! the watchers now and then.

use super::shared::Shared;
use super::watch::{Line, Streams};
use keyway_store::{Now, Store};

/// Writes a line for every eviction since the last call, if evictions are watched. To be called
/// about once a second; costs two loads while nobody watches.
pub fn report_evictions(store: &Store, shared: &Shared, now: Now) {
    let is_wanted = shared.hub.wants(Streams::EVICTIONS);
    if store.watch().is_wanted() != is_wanted {
        store.watch().set_wanted(is_wanted);
    }
    if !is_wanted {
        return;
    }
    let mut evictions = Vec::new();
    store.watch().take(&mut evictions);
    for eviction in &evictions {
        let settings = &shared.settings;
        let value_bytes = u64::from(eviction.value_bytes);
        let line = Line::Eviction {
            key: &eviction.key,
            fetched: eviction.fetched,
            ttl: match eviction.exptime {
                0 => -1,
                exptime => i64::from(exptime) - i64::from(now.seconds),
            },
            idle: now.seconds.saturating_sub(eviction.last_access),
            class: settings.slab_class(settings.item_bytes(eviction.key.len(), 0, value_bytes)),
            size: eviction.value_bytes as usize,
        };
        shared.hub.write(Streams::EVICTIONS, line);
    }
}
