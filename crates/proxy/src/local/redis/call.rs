//! One command being answered: what it works with, and the forms of replies.
//!
//! Every function here appends one RESP element. A command appends one whole reply; to take back
//! the beginning of one it uses [`Output::rewind`].

use super::args::Args;
use crate::local::Context;
use crate::local::output::Output;
use keyway_store::Held;

/// A command with its arguments, and where its reply goes.
pub(super) struct Call<'a> {
    pub(super) ctx: &'a Context<'a>,
    pub(super) resp3: bool,
    pub(super) args: &'a Args<'a>,
    pub(super) out: &'a mut Output,
}

impl Call<'_> {
    /// `+OK`.
    #[inline]
    pub(super) fn ok(&mut self) {
        self.out.put(b"+OK\r\n");
    }

    /// A short text without line ends.
    pub(super) fn simple(&mut self, text: &[u8]) {
        self.out.byte(b'+');
        self.out.put(text);
        self.out.put(b"\r\n");
    }

    /// An error; `text` begins with its code.
    #[cold]
    pub(super) fn error(&mut self, text: &[u8]) {
        self.out.byte(b'-');
        self.out.put(text);
        self.out.put(b"\r\n");
    }

    /// A number.
    #[inline]
    pub(super) fn integer(&mut self, number: i64) {
        self.out.byte(b':');
        self.out.signed(number);
        self.out.put(b"\r\n");
    }

    /// A count.
    pub(super) fn count(&mut self, count: usize) {
        self.integer(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A yes or no as numbers.
    pub(super) fn flag(&mut self, is_true: bool) {
        self.out.put(if is_true { b":1\r\n" } else { b":0\r\n" });
    }

    /// No value.
    #[inline]
    pub(super) fn null(&mut self) {
        null(self.out, self.resp3);
    }

    /// A value.
    #[inline]
    pub(super) fn bulk(&mut self, value: &[u8]) {
        bulk(self.out, value);
    }

    /// A value that stays in the store's memory.
    pub(super) fn held(&mut self, held: Held) {
        self.out.byte(b'$');
        self.out.number(held.as_ref().len() as u64);
        self.out.put(b"\r\n");
        self.out.hold(held);
        self.out.put(b"\r\n");
    }

    /// The head of an array of so many elements.
    pub(super) fn array(&mut self, count: usize) {
        self.out.byte(b'*');
        self.out.number(count as u64);
        self.out.put(b"\r\n");
    }
}

/// Appends a value.
#[inline]
pub(super) fn bulk(out: &mut Output, value: &[u8]) {
    out.byte(b'$');
    out.number(value.len() as u64);
    out.put(b"\r\n");
    out.put(value);
    out.put(b"\r\n");
}

/// Appends the absence of a value.
#[inline]
pub(super) fn null(out: &mut Output, resp3: bool) {
    out.put(if resp3 { b"_\r\n" as &[u8] } else { b"$-1\r\n" });
}
