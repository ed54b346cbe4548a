//! The flags of a meta request, read and checked once before anything is done.
//!
//! memcached reads all flags of all meta commands alike, whether or not the command at hand uses
//! them; so do we, and the texts for what is wrong with them are decided here. An invalid or
//! repeated flag ends the reading; of several other mistakes the last one is reported.

use super::super::Context;
use super::super::output::Output;
use keyway_proto::memcached::{
    Head, KEY_BYTES_MAX, META_FLAG_COUNT_MAX, MetaFlag, OPAQUE_BYTES_MAX, Verb, text,
};
use keyway_proto::{base64, number};

/// What the flags of one request say. Times are on the store's clock.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Flags<'a> {
    /// The key as stored: decoded if it came in base64 (`b`).
    pub key: &'a [u8],
    /// `b`.
    pub key_is_binary: bool,
    /// The byte after `M`; 0 without it.
    pub mode: u8,
    /// `q`.
    pub quiet: bool,
    /// `v`.
    pub value: bool,
    /// `u`.
    pub no_bump: bool,
    /// `I`.
    pub invalidate: bool,
    /// `x`.
    pub drop_value: bool,
    /// `F`.
    pub client_flags: u32,
    /// `T`.
    pub exptime: Option<u32>,
    /// `N`.
    pub vivify: Option<u32>,
    /// `R`.
    pub recache: Option<u32>,
    /// `C`.
    pub compare: Option<u64>,
    /// `E`.
    pub cas: Option<u64>,
    /// `J`.
    pub initial: u64,
    /// `D`.
    pub delta: u64,
    /// Whether the item has to be seen or changed under exclusive access.
    pub is_exclusive: bool,
}

impl<'a> Flags<'a> {
    /// Reads the flags of `head`; the error is the reply.
    #[inline]
    pub fn read(
        ctx: &Context<'_>,
        head: &Head<'a>,
        key_buf: &'a mut [u8; KEY_BYTES_MAX],
    ) -> Result<Flags<'a>, &'static [u8]> {
        let mut flags = Flags {
            key: head.key,
            key_is_binary: false,
            mode: 0,
            quiet: false,
            value: false,
            no_bump: false,
            invalidate: false,
            drop_value: false,
            client_flags: 0,
            exptime: None,
            vivify: None,
            recache: None,
            compare: None,
            cas: None,
            initial: 0,
            delta: 1,
            is_exclusive: false,
        };
        if head.key.len() > KEY_BYTES_MAX {
            return Err(text::BAD_LINE_FORMAT);
        }
        let tokens_before = if head.verb == Verb::Ms { 3 } else { 2 };
        let mut key_buf = Some(key_buf);
        let mut seen = 0u128;
        let mut mistake = text::BAD_LINE_FORMAT;
        let mut is_mistaken = false;
        for (index, flag) in head.meta_flags().enumerate() {
            if index >= META_FLAG_COUNT_MAX - tokens_before {
                return Err(text::META_TOO_MANY_FLAGS);
            }
            let bit = 1u128.checked_shl(u32::from(flag.letter)).unwrap_or(0);
            if bit == 0 || seen & bit != 0 {
                return late(head, tokens_before, text::META_DUPLICATE_FLAG);
            }
            seen |= bit;
            let noted = match key_buf.take_if(|_| flag.letter == b'b') {
                Some(key_buf) => flags.note_key(head, key_buf),
                None => flags.note(ctx, head, flag),
            };
            match noted {
                Ok(()) => {}
                Err(text) if text == text::META_INVALID_FLAG => {
                    return late(head, tokens_before, text);
                }
                Err(text) => {
                    is_mistaken = true;
                    // A bad `F` has no text of its own.
                    if flag.letter != b'F' {
                        mistake = text;
                    }
                }
            }
        }
        if is_mistaken { Err(mistake) } else { Ok(flags) }
    }

    fn note_key(
        &mut self,
        head: &Head<'_>,
        key_buf: &'a mut [u8; KEY_BYTES_MAX],
    ) -> Result<(), &'static [u8]> {
        self.key_is_binary = true;
        self.key = base64::decode(head.key, key_buf).ok_or(text::META_BAD_KEY)?;
        Ok(())
    }

    #[inline]
    fn note(
        &mut self,
        ctx: &Context<'_>,
        head: &Head<'_>,
        flag: MetaFlag<'_>,
    ) -> Result<(), &'static [u8]> {
        let argument = Some(flag.argument).filter(|argument| !argument.is_empty());
        let time = || {
            let asked = argument.and_then(number::strict_i32).ok_or(text::META_BAD_TOKEN)?;
            Ok::<u32, &'static [u8]>(ctx.shared.exptime(i64::from(asked), ctx.now))
        };
        let wide = |mistake: &'static [u8]| argument.and_then(number::strict_u64).ok_or(mistake);
        match flag.letter {
            b'b' | b'O' | b'P' | b'L' | b'k' | b's' | b't' | b'c' | b'f' => {}
            b'v' => self.value = true,
            b'q' => self.quiet = true,
            b'u' => self.no_bump = true,
            b'x' => self.drop_value = true,
            b'I' => self.invalidate = true,
            b'l' | b'h' => self.is_exclusive = true,
            b'N' => {
                self.is_exclusive = true;
                self.vivify = Some(0);
                self.vivify = Some(time()?);
            }
            b'T' => {
                self.is_exclusive = true;
                self.exptime = Some(time()?);
            }
            b'R' => {
                self.is_exclusive = true;
                self.recache = Some(time()?);
            }
            b'F' => {
                self.client_flags =
                    argument.and_then(number::strict_u32).ok_or(text::BAD_LINE_FORMAT)?;
            }
            b'C' => self.compare = Some(wide(text::META_BAD_TOKEN)?),
            b'E' => self.cas = Some(wide(text::META_BAD_TOKEN)?),
            // The byte behind the letter, even where that is the space or the line end.
            b'M' => self.mode = head.line.get(flag.at + 1).copied().unwrap_or(b'\r'),
            b'J' => self.initial = wide(INVALID_INITIAL)?,
            b'D' => self.delta = wide(INVALID_DELTA)?,
            _ => return Err(text::META_INVALID_FLAG),
        }
        Ok(())
    }

    /// Appends the key as a `k` flag of the reply: in base64 and followed by `b` if it is binary.
    pub fn put_key(&self, out: &mut Output) {
        put_key(self.key, self.key_is_binary, out);
    }

    /// Appends an opaque token.
    pub fn put_opaque(&self, argument: &[u8], out: &mut Output) {
        out.put(b" O");
        out.put(argument);
    }
}

const INVALID_INITIAL: &[u8] = b"CLIENT_ERROR invalid numeric initial value\r\n";
const INVALID_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta value\r\n";

/// The number of tokens is checked before any of them is read: a mistake found on the way counts
/// only if there are not too many.
#[cold]
fn late<T>(
    head: &Head<'_>,
    tokens_before: usize,
    mistake: &'static [u8],
) -> Result<T, &'static [u8]> {
    if head.meta_flags().count() > META_FLAG_COUNT_MAX - tokens_before {
        return Err(text::META_TOO_MANY_FLAGS);
    }
    Err(mistake)
}

/// Whether an `O` flag of the request is too long; the reply says so then.
pub(in super::super) fn refuse_too_long_opaque(head: &Head<'_>, out: &mut Output) -> bool {
    let is_too_long = head.opaque.is_some_and(is_too_long_opaque);
    if is_too_long {
        out.put(text::META_OPAQUE_TOO_LONG);
    }
    is_too_long
}

/// Whether an opaque, without its letter, is too long.
pub(super) fn is_too_long_opaque(argument: &[u8]) -> bool {
    argument.len() + 1 > OPAQUE_BYTES_MAX
}

/// Appends a key as a `k` flag.
pub(super) fn put_key(key: &[u8], is_binary: bool, out: &mut Output) {
    out.put(b" k");
    if !is_binary {
        out.put(key);
        return;
    }
    let mut buf = [0; base64::encoded_bytes(KEY_BYTES_MAX)];
    out.put(base64::encode(key, &mut buf).unwrap_or(&[]));
    out.put(b" b");
}
