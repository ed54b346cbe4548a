//! Cutting one reply's head off the front of the bytes a backend sent.
//!
//! Only the first line is read; a value is never looked at. As in requests, the plain form of
//! the common replies is recognised in one pass, and anything else is read exactly.

use super::flag::{MetaFlags, meta_flags};
use super::limit::REPLY_LINE_BYTES_MAX;
use super::token::{Tokens, tokens};
use crate::number;
use crate::scan::{line_feed, short_number, stop};

/// What the front of a backend's bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyCut<'a> {
    /// A complete line. The value, if any, follows it.
    Head(ReplyHead<'a>),
    /// The line is not complete yet.
    Partial,
    /// No reply of memcached: the connection cannot be used any further.
    Malformed,
}

/// The first line of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHead<'a> {
    /// The line without its line end.
    pub line: &'a [u8],
    /// Bytes that the line takes with its line end.
    pub line_bytes: usize,
    /// The key of a `VALUE` line, else empty. It starts at offset 6 of the line.
    pub key: &'a [u8],
    /// Length of the value that follows (`VALUE`, `VA`), without its CR LF.
    pub value_bytes: Option<u64>,
    /// What the line says.
    pub kind: ReplyKind,
}

/// What a reply line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // The names are the protocol's own words.
pub enum ReplyKind {
    Value,
    End,
    Stored,
    NotStored,
    Exists,
    NotFound,
    Deleted,
    Touched,
    Ok,
    /// A line that starts with a digit, from `incr` and `decr`.
    Number,
    Version,
    Stat,
    Reset,
    Error,
    ClientError,
    ServerError,
    Hd,
    Va,
    En,
    Nf,
    Ns,
    Ex,
    Mn,
    Me,
    /// Another word of two letters: taken for a meta reply of a newer server.
    OtherMeta,
}

impl ReplyKind {
    /// Whether this is `ERROR`, `CLIENT_ERROR` or `SERVER_ERROR`.
    #[inline]
    pub const fn is_error(self) -> bool {
        matches!(self, ReplyKind::Error | ReplyKind::ClientError | ReplyKind::ServerError)
    }

    /// Whether this is a reply of the meta protocol.
    #[inline]
    pub const fn is_meta(self) -> bool {
        self as u8 >= ReplyKind::Hd as u8
    }
}

/// Cuts one reply line off the front of `bytes`.
#[inline]
pub fn cut_reply(bytes: &[u8]) -> ReplyCut<'_> {
    match quick_head(bytes) {
        Some(head) => ReplyCut::Head(head),
        None => cut_exact(bytes),
    }
}

impl<'a> ReplyHead<'a> {
    /// Bytes that follow the line and belong to it: the value and its CR LF, or 0.
    #[inline]
    pub const fn body_bytes(&self) -> u64 {
        match self.value_bytes {
            Some(bytes) => bytes + 2,
            None => 0,
        }
    }

    /// The flags of a meta reply; none for other replies and for `ME`, whose tokens are no flags.
    #[inline]
    pub fn meta_flags(&self) -> MetaFlags<'a> {
        let mut rest = Tokens::starting_at(self.line, self.flags_at());
        if self.kind == ReplyKind::Va {
            rest.next_range();
        }
        meta_flags(self.line, self.line.len() - rest.rest().len()).at_most(usize::MAX)
    }

    /// Argument of the `O` flag of a meta reply.
    #[inline]
    pub fn opaque(&self) -> Option<&'a [u8]> {
        self.flag(b'O')
    }

    /// Argument of the `k` flag of a meta reply: the key, base64 if the reply has a `b` flag.
    #[inline]
    pub fn echoed_key(&self) -> Option<&'a [u8]> {
        self.flag(b'k')
    }

    /// Argument of the flag with that letter.
    #[inline]
    fn flag(&self, letter: u8) -> Option<&'a [u8]> {
        // The length of `VA` need not be stepped over: its token starts with no letter.
        let mut tokens = meta_flags(self.line, self.flags_at()).at_most(usize::MAX);
        tokens.find(|flag| flag.letter == letter).map(|flag| flag.argument)
    }

    /// Where the tokens after the word of a meta reply start.
    #[inline]
    const fn flags_at(&self) -> usize {
        match self.kind {
            ReplyKind::Me => self.line.len(),
            kind if kind.is_meta() => 2,
            _ => self.line.len(),
        }
    }

    /// The client flags of a `VALUE` line.
    pub fn client_flags(&self) -> Option<u64> {
        self.value_field(2)
    }

    /// The CAS number of a `VALUE` line that has one.
    pub fn cas(&self) -> Option<u64> {
        self.value_field(4)
    }

    fn value_field(&self, index: usize) -> Option<u64> {
        if self.kind != ReplyKind::Value {
            return None;
        }
        number::strict_u64(tokens(self.line).nth(index)?)
    }
}

/// Recognises the plain form of the common replies; `None` means that the exact reader decides.
#[inline(always)]
fn quick_head(bytes: &[u8]) -> Option<ReplyHead<'_>> {
    let word = u32::from_le_bytes(*bytes.first_chunk::<4>()?);
    let follows = |rest: &[u8]| bytes.get(4..4 + rest.len()) == Some(rest);
    let (kind, end) = match word {
        VALU if follows(b"E ") => return quick_value(bytes),
        END if follows(b"\n") => (ReplyKind::End, 3),
        HD => (ReplyKind::Hd, 2),
        EN => (ReplyKind::En, 2),
        STOR if follows(b"ED\r\n") => (ReplyKind::Stored, 6),
        DELE if follows(b"TED\r\n") => (ReplyKind::Deleted, 7),
        TOUC if follows(b"HED\r\n") => (ReplyKind::Touched, 7),
        NOT if follows(b"FOUND\r\n") => (ReplyKind::NotFound, 9),
        NOT if follows(b"STORED\r\n") => (ReplyKind::NotStored, 10),
        _ => return quick_meta(bytes, word),
    };
    let line = bytes.get(..end)?;
    Some(ReplyHead { line, line_bytes: end + 2, key: &[], value_bytes: None, kind })
}

const VALU: u32 = u32::from_le_bytes(*b"VALU");
const STOR: u32 = u32::from_le_bytes(*b"STOR");
const DELE: u32 = u32::from_le_bytes(*b"DELE");
const TOUC: u32 = u32::from_le_bytes(*b"TOUC");
const NOT: u32 = u32::from_le_bytes(*b"NOT_");
const END: u32 = u32::from_le_bytes(*b"END\r");
const HD: u32 = u32::from_le_bytes(*b"HD\r\n");
const EN: u32 = u32::from_le_bytes(*b"EN\r\n");

/// A meta reply: a word of two letters, the value length of `VA`, flags.
#[inline(always)]
fn quick_meta(bytes: &[u8], word: u32) -> Option<ReplyHead<'_>> {
    let [first, second, third, _] = word.to_le_bytes();
    let kind = match [first, second] {
        [b'V', b'A'] => ReplyKind::Va,
        [b'H', b'D'] => ReplyKind::Hd,
        [b'N', b'F'] => ReplyKind::Nf,
        [b'N', b'S'] => ReplyKind::Ns,
        [b'E', b'X'] => ReplyKind::Ex,
        [b'E', b'N'] => ReplyKind::En,
        [b'M', b'N'] => ReplyKind::Mn,
        _ => return None,
    };
    let mut end = 2;
    let mut value_bytes = None;
    if kind == ReplyKind::Va {
        if third != b' ' {
            return None;
        }
        let (length, length_end) = short_number(bytes, 3)?;
        value_bytes = Some(length);
        end = length_end;
    }
    while *bytes.get(end)? == b' ' {
        end = stop(bytes, end + 1)?;
    }
    if !ends_at(bytes, end) {
        return None;
    }
    Some(ReplyHead { line: bytes.get(..end)?, line_bytes: end + 2, key: &[], value_bytes, kind })
}

/// Whether CR LF is at `at`. A bare line feed is left to the exact reader.
#[inline(always)]
fn ends_at(bytes: &[u8], at: usize) -> bool {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<2>()) == Some(b"\r\n")
}

#[inline(always)]
fn quick_value(bytes: &[u8]) -> Option<ReplyHead<'_>> {
    let key_end = stop(bytes, 6).filter(|&end| end != 6)?;
    let flags_end = match bytes.get(key_end..)?.first_chunk::<3>()? {
        // Client flags are a single zero more often than not.
        [b' ', b'0'..=b'9', b' '] => key_end + 2,
        _ => spaced_number(bytes, key_end)?.1,
    };
    let (value_bytes, length_end) = spaced_number(bytes, flags_end)?;
    let end = match bytes.get(length_end)? {
        b' ' => digits_end(bytes, length_end + 1)?,
        _ => length_end,
    };
    if !ends_at(bytes, end) {
        return None;
    }
    Some(ReplyHead {
        line: bytes.get(..end)?,
        line_bytes: end + 2,
        key: bytes.get(6..key_end)?,
        value_bytes: Some(value_bytes),
        kind: ReplyKind::Value,
    })
}

/// The number of at most nine digits behind the one space at `at`, and its end.
#[inline(always)]
fn spaced_number(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    if bytes.get(at) != Some(&b' ') {
        return None;
    }
    short_number(bytes, at + 1)
}

/// End of the digits that start at `from`; at least one, and so few that they fit 64 bits.
#[inline(always)]
fn digits_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while bytes.get(at)?.is_ascii_digit() {
        at += 1;
    }
    (1..20).contains(&(at - from)).then_some(at)
}

/// Reads any reply line.
fn cut_exact(bytes: &[u8]) -> ReplyCut<'_> {
    let within = bytes.get(..REPLY_LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(at) = line_feed(within, 0) else {
        let is_too_long = bytes.len() >= REPLY_LINE_BYTES_MAX;
        return if is_too_long { ReplyCut::Malformed } else { ReplyCut::Partial };
    };
    let line = bytes.get(..at).unwrap_or(&[]);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Some(kind) = exact_kind(line) else {
        return ReplyCut::Malformed;
    };
    let mut head = ReplyHead { line, line_bytes: at + 1, key: &[], value_bytes: None, kind };
    let read = match kind {
        ReplyKind::Value => exact_value(&mut head),
        ReplyKind::Va => exact_meta_value(&mut head),
        _ => Some(()),
    };
    match read {
        Some(()) => ReplyCut::Head(head),
        None => ReplyCut::Malformed,
    }
}

fn exact_kind(line: &[u8]) -> Option<ReplyKind> {
    if line.first()?.is_ascii_digit() {
        return Some(ReplyKind::Number);
    }
    let word_end = line.iter().position(|&byte| byte == b' ' || byte == b'\r');
    let word = line.get(..word_end.unwrap_or(line.len()))?;
    Some(match word {
        b"HD" => ReplyKind::Hd,
        b"VA" => ReplyKind::Va,
        b"EN" => ReplyKind::En,
        b"NF" => ReplyKind::Nf,
        b"NS" => ReplyKind::Ns,
        b"EX" => ReplyKind::Ex,
        b"MN" => ReplyKind::Mn,
        b"ME" => ReplyKind::Me,
        b"OK" => ReplyKind::Ok,
        [_, _] => ReplyKind::OtherMeta,
        b"END" => ReplyKind::End,
        b"STAT" => ReplyKind::Stat,
        b"VALUE" => ReplyKind::Value,
        b"RESET" => ReplyKind::Reset,
        b"ERROR" => ReplyKind::Error,
        b"STORED" => ReplyKind::Stored,
        b"EXISTS" => ReplyKind::Exists,
        b"DELETED" => ReplyKind::Deleted,
        b"TOUCHED" => ReplyKind::Touched,
        b"VERSION" => ReplyKind::Version,
        b"NOT_FOUND" => ReplyKind::NotFound,
        b"NOT_STORED" => ReplyKind::NotStored,
        _ if word.starts_with(b"CLIENT_ERROR") => ReplyKind::ClientError,
        _ if word.starts_with(b"SERVER_ERROR") => ReplyKind::ServerError,
        _ => return None,
    })
}

fn exact_value(head: &mut ReplyHead<'_>) -> Option<()> {
    let mut rest = Tokens::starting_at(head.line, 6);
    // The key starts right behind the one space; another space there would be an empty key.
    let key = rest.next_range().filter(|key| key.start == 6)?;
    filled(rest.next()?).and_then(number::strict_u64)?;
    head.value_bytes = Some(exact_value_bytes(rest.next()?)?);
    if let Some(cas) = rest.next() {
        filled(cas).and_then(number::strict_u64)?;
    }
    head.key = head.line.get(key)?;
    rest.next().is_none().then_some(())
}

fn exact_meta_value(head: &mut ReplyHead<'_>) -> Option<()> {
    let length = Tokens::starting_at(head.line, 2).next()?;
    head.value_bytes = Some(exact_value_bytes(length)?);
    Some(())
}

/// Length of a value in a reply; memcached's own reader refuses the last three 32-bit numbers.
fn exact_value_bytes(token: &[u8]) -> Option<u64> {
    let length = number::strict_u32(token)?;
    (length < u32::MAX - 2).then_some(u64::from(length))
}

fn filled(token: &[u8]) -> Option<&[u8]> {
    (!token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests;
