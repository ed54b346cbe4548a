//! What callers see of an item.

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
    /// The CAS number to give it; none takes the next one of the store.
    pub cas: Option<u64>,
    /// State bits.
    pub bits: ItemBits,
    /// The value, in pieces that are joined.
    pub value: &'a [&'a [u8]],
}

/// A value kept by reference count: it stays valid, and stays counted as memory in use, after
/// the item was overwritten, evicted or flushed. `'static` and `Send`.
pub struct Held {
    bytes: Box<[u8]>,
    /// Client flags.
    pub flags: u32,
    /// The CAS number.
    pub cas: u64,
    /// Second from which the item is invisible; 0 is never.
    pub exptime: u32,
    /// Second of the last use before this one.
    pub last_access: u32,
    /// Whether it was fetched before (before this use).
    pub fetched: bool,
    /// State bits.
    pub bits: ItemBits,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
