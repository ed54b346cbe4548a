//! The bytes of replies on their way to one client, and the big values that go between them.
//!
//! Replies are appended to `bytes`. A value of [`HELD_BYTES_MIN`] or more is not copied: the store
//! keeps it by reference count and `held` remembers before which byte it belongs. The worker sends
//! both in order ([`Output::pieces`]), clears the output and uses it again, so nothing is allocated
//! after warm-up.

use keyway_proto::number::Decimal;
use keyway_store::Held;

/// Values of at least so many bytes are sent from the store's memory instead of being copied.
pub const HELD_BYTES_MIN: usize = 16 << 10;

/// Reply bytes and the held values between them.
#[derive(Default)]
pub struct Output {
    /// All reply bytes but those of held values.
    pub bytes: Vec<u8>,
    /// Held values, each with the offset in `bytes` that it goes before; offsets never decrease.
    pub held: Vec<(usize, Held)>,
}

/// One part of an output, in the order of sending.
pub enum Piece<'a> {
    /// Bytes of [`Output::bytes`]; not empty.
    Bytes(&'a [u8]),
    /// A value of the store.
    Held(Held),
}

impl Output {
    /// An empty output.
    pub fn new() -> Output {
        Output::default()
    }

    /// Whether nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.held.is_empty()
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.held.clear();
    }

    /// Bytes to be sent in all, held values included.
    pub fn bytes_total(&self) -> usize {
        self.held.iter().fold(self.bytes.len(), |sum, (_, held)| sum + held.as_ref().len())
    }

    /// Hands out all parts in the order of sending, and empties the output.
    pub fn pieces(&mut self, mut send: impl FnMut(Piece<'_>)) {
        let mut from = 0;
        for (at, held) in self.held.drain(..) {
            if at > from {
                send(Piece::Bytes(&self.bytes[from..at]));
            }
            send(Piece::Held(held));
            from = at;
        }
        if self.bytes.len() > from {
            send(Piece::Bytes(&self.bytes[from..]));
        }
        self.bytes.clear();
    }

    /// Copies held values in between, so that `bytes` is everything: for UDP and tests.
    pub fn flatten(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let mut flat = Vec::with_capacity(self.bytes_total());
        self.pieces(|piece| match piece {
            Piece::Bytes(bytes) => flat.extend_from_slice(bytes),
            Piece::Held(held) => flat.extend_from_slice(held.as_ref()),
        });
        self.bytes = flat;
    }

    /// A place to return to with [`Output::rewind`].
    pub(super) fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), held: self.held.len() }
    }

    /// Forgets what was appended since `mark`.
    pub(super) fn rewind(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.held.truncate(mark.held);
    }

    /// Whether more than so many bytes, or values, were appended since `mark`.
    pub(super) fn exceeds(&self, mark: Mark, bytes_max: usize, held_max: usize) -> bool {
        self.bytes.len() - mark.bytes > bytes_max || self.held.len() - mark.held > held_max
    }

    /// Puts bytes before those that were appended since `mark`, among which no value is held.
    pub(super) fn insert(&mut self, mark: Mark, bytes: &[u8]) {
        debug_assert_eq!(mark.held, self.held.len(), "offsets of held values stay true");
        self.bytes.splice(mark.bytes..mark.bytes, bytes.iter().copied());
    }

    /// Appends bytes.
    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends one byte.
    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Appends a decimal number.
    #[inline]
    pub(super) fn number(&mut self, number: u64) {
        self.bytes.extend_from_slice(Decimal::new(number).as_bytes());
    }

    /// Appends a number that may be negative.
    pub(super) fn signed(&mut self, number: i64) {
        if number < 0 {
            self.byte(b'-');
        }
        self.number(number.unsigned_abs());
    }

    /// Puts a held value behind the bytes appended so far.
    pub(super) fn hold(&mut self, held: Held) {
        self.held.push((self.bytes.len(), held));
    }
}

/// A place in an output.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    bytes: usize,
    held: usize,
}
