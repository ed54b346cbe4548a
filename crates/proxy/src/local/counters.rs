//! What the embedded store's commands count, one block for each worker.
//!
//! The worker writes with relaxed loads and stores (see [`Counter`]); `stats` sums over workers
//! from any thread. `stats reset` cannot write to other workers' counters, so it remembers the
//! sums of that moment, and later answers are given from there.

use crate::stats::Counter;

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident,)+) => {
        /// Counters of one worker. memcached's names where it has one.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $help])+ pub $name: Counter,)+
        }

        /// Counters summed over workers.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Totals {
            $($(#[doc = $help])+ pub $name: u64,)+
        }

        impl Counters {
            /// Adds these counters to `totals`.
            pub fn add_to(&self, totals: &mut Totals) {
                $(totals.$name = totals.$name.wrapping_add(self.$name.get());)+
            }
        }

        impl Totals {
            /// What was counted since `base`.
            pub fn since(&self, base: &Totals) -> Totals {
                Totals { $($name: self.$name.wrapping_sub(base.$name),)+ }
            }
        }
    };
}

counters! {
    /// Keys asked for by retrievals that do not touch.
    get_cmds,
    /// Of those, keys found.
    get_hits,
    /// Of those, keys not found.
    get_misses,
    /// Keys not found because the item had expired.
    get_expired,
    /// Keys not found because of a flush.
    get_flushed,
    /// Store commands that were given memory.
    set_cmds,
    /// Keys touched, by `touch`, `gat`, `gats` and `mg` with `T`.
    touch_cmds,
    /// Of those, keys found.
    touch_hits,
    /// Of those, keys not found.
    touch_misses,
    /// `flush_all` commands.
    flush_cmds,
    /// `me` commands.
    meta_cmds,
    /// Deletes of items that were there.
    delete_hits,
    /// Deletes of items that were not, or whose CAS number differed.
    delete_misses,
    /// Increments that were done.
    incr_hits,
    /// Increments of missing items.
    incr_misses,
    /// Decrements that were done.
    decr_hits,
    /// Decrements of missing items.
    decr_misses,
    /// Compare-and-swaps that stored.
    cas_hits,
    /// Compare-and-swaps of missing items.
    cas_misses,
    /// Compare-and-swaps that found another number.
    cas_badval,
    /// Values refused because of their size.
    store_too_large,
    /// Values refused for want of memory.
    store_no_memory,
    /// Authentications tried.
    auth_cmds,
    /// Authentications that failed.
    auth_errors,
    /// Bytes received. Counted by the worker.
    bytes_read,
    /// Bytes sent. Counted by the worker.
    bytes_written,
    /// Times a client with more requests had to wait for its next turn. Counted by the worker.
    conn_yields,
    /// Clients closed because they were silent too long. Counted by the worker.
    idle_kicks,
    /// Lines that watchers could not take.
    log_watcher_skipped,
    /// Lines given to watchers.
    log_watcher_sent,
}
