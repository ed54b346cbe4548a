//! What callers see of an item.
//!
//! [`Item`] borrows from a locked shard, [`New`] is what a put writes, and [`Held`] outlives the
//! lock. None of them knows protocol bytes.

use crate::memory::{Extent, Memory};
use std::sync::Arc;

/// State bits of an item that commands may set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ItemBits {
    /// Invalidated, still served as stale (meta `I`, reply `X`).
    pub stale: bool,
    /// The win token was handed out (meta `N`/`R`, replies `W` and `Z`).
    pub win_sent: bool,
    /// The key was given in base64 and is binary (meta `b`).
    pub key_is_binary: bool,
}

/// A live item, borrowed while its shard is locked.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The key, 1..=250 bytes.
    pub key: &'a [u8],
    /// The value without any line end.
    pub value: &'a [u8],
    /// Client flags.
    pub flags: u32,
    /// The CAS number.
    pub cas: u64,
    /// Second from which the item is invisible; 0 is never.
    pub exptime: u32,
    /// Milliseconds within that second, 0..=999.
    pub exptime_millis: u16,
    /// Second of the last use before this one.
    pub last_access: u32,
    /// Whether it was fetched before (before this use).
    pub fetched: bool,
    /// State bits.
    pub bits: ItemBits,
}

/// What [`crate::Entry::put`] writes.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// Client flags.
    pub flags: u32,
    /// Second from which the item is invisible; 0 is never.
    pub exptime: u32,
    /// Milliseconds within that second, 0..=999.
    pub exptime_millis: u16,
    /// The CAS number to give it; none takes the next one of the store.
    pub cas: Option<u64>,
    /// State bits.
    pub bits: ItemBits,
    /// The value, in pieces that are joined.
    pub value: &'a [&'a [u8]],
}

/// A value kept by reference count: it stays valid, and stays counted as memory in use, after
/// the item was overwritten, evicted or flushed. `'static` and `Send`.
///
/// Long values (16 KiB and more) are shared with the item, short ones are copied.
pub struct Held {
    bytes: HeldBytes,
    /// Client flags.
    pub flags: u32,
    /// The CAS number.
    pub cas: u64,
    /// Second from which the item is invisible; 0 is never.
    pub exptime: u32,
    /// Milliseconds within that second, 0..=999.
    pub exptime_millis: u16,
    /// Second of the last use before this one.
    pub last_access: u32,
    /// Whether it was fetched before (before this use).
    pub fetched: bool,
    /// State bits.
    pub bits: ItemBits,
}

enum HeldBytes {
    Shared(Arc<Extent>),
    Copied { bytes: Box<[u8]>, memory: Arc<Memory> },
}

impl Held {
    pub(crate) fn new(item: &Item<'_>, extent: Option<&Arc<Extent>>, memory: &Arc<Memory>) -> Held {
        let bytes = match extent {
            Some(extent) => HeldBytes::Shared(Arc::clone(extent)),
            None => {
                memory.budget.charge_anyway(item.value.len() as u64);
                HeldBytes::Copied { bytes: item.value.into(), memory: Arc::clone(memory) }
            }
        };
        Held {
            bytes,
            flags: item.flags,
            cas: item.cas,
            exptime: item.exptime,
            exptime_millis: item.exptime_millis,
            last_access: item.last_access,
            fetched: item.fetched,
            bits: item.bits,
        }
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        match &self.bytes {
            HeldBytes::Shared(extent) => extent.bytes(),
            HeldBytes::Copied { bytes, .. } => bytes,
        }
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        if let HeldBytes::Copied { bytes, memory } = self {
            memory.budget.release(bytes.len() as u64);
        }
    }
}
