//! Following a reply through the pieces in which it arrives, and what merging replies needs.
//!
//! [`Follow::feed`] is given bytes it has not seen and says how many of them belong to the current
//! reply and whether it ends with them. It keeps no bytes: a reply may be passed on while it
//! arrives, however large it is. Nesting needs no stack: an array of n elements replaces one
//! outstanding element by n, so a count of outstanding elements is enough at any depth.

use super::Version;
use crate::{number, scan};

/// Longest line of a reply, in bytes without its type and line end.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Most elements that may be outstanding: what a server announces beyond that is malformed.
pub const ELEMENTS_MAX: u64 = 1 << 40;

/// Longest bulk of a reply, in bytes: beyond it a length is garbage.
pub const BULK_BYTES_MAX: u64 = 1 << 40;

/// What a reply is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `+`
    Simple,
    /// `-`
    Error,
    /// `:`
    Integer,
    /// `$`, a null included: that is known only behind its length.
    Bulk,
    /// `*`, a null included.
    Array,
    /// `_`
    Null,
    /// `#`
    Boolean,
    /// `,`
    Double,
    /// `(`
    BigNumber,
    /// `!`
    BulkError,
    /// `=`
    Verbatim,
    /// `%`
    Map,
    /// `~`
    Set,
    /// `>`: out of band, no reply to anything.
    Push,
    /// `|`: belongs to the reply behind it.
    Attribute,
}

impl Kind {
    /// The kind that `byte` begins, `None` when it begins nothing in this version.
    #[inline]
    pub const fn from_byte(byte: u8, version: Version) -> Option<Self> {
        Some(match byte {
            b'+' => Self::Simple,
            b'-' => Self::Error,
            b':' => Self::Integer,
            b'$' => Self::Bulk,
            b'*' => Self::Array,
            _ if matches!(version, Version::Two) => return None,
            b'_' => Self::Null,
            b'#' => Self::Boolean,
            b',' => Self::Double,
            b'(' => Self::BigNumber,
            b'!' => Self::BulkError,
            b'=' => Self::Verbatim,
            b'%' => Self::Map,
            b'~' => Self::Set,
            b'>' => Self::Push,
            b'|' => Self::Attribute,
            _ => return None,
        })
    }
}

/// What `Follow::feed` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// The reply ends with the first so many of the bytes.
    Complete(usize),
    /// All bytes belong to the reply, and more are to come.
    Partial,
    /// No RESP: the connection cannot be used any more.
    Malformed,
}

/// Follows the replies of one connection, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follow {
    version: Version,
    kind: Option<Kind>,
    /// Elements of the current reply that are not complete; 0 between replies.
    outstanding: u64,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before an element's first byte.
    Start,
    /// In the line of an element.
    Line(Line),
    /// In what follows the line of a bulk: so many bytes are left, its CR LF included.
    Body(u64),
}

/// What has been read of a line without keeping it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    kind: Kind,
    /// Bytes behind the type.
    len: u32,
    value: u64,
    is_signed: bool,
    is_negative: bool,
    has_cr: bool,
}

/// What a complete line says about what follows.
enum After {
    /// The element is complete.
    Nothing,
    /// So many bytes and CR LF follow.
    Body(u64),
    /// So many elements follow and complete it.
    Elements(u64),
    /// So many elements follow, and then the element they belong to.
    Attribute(u64),
}

impl Follow {
    /// Between replies.
    pub const fn new(version: Version) -> Self {
        Self { version, kind: None, outstanding: 0, phase: Phase::Start }
    }

    /// The version of the protocol that is followed.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Goes over to another version: the reply to `HELLO` is the first in it. Call it between
    /// replies.
    pub const fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// What the current reply is, or the last one when it is complete. `None` before its first
    /// byte; `Attribute` until the reply behind an attribute begins.
    pub const fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Whether nothing of a reply has come, or all of it.
    pub const fn is_between(&self) -> bool {
        self.outstanding == 0
    }

    /// Bytes that certainly still belong to the current reply: the rest of a bulk that is
    /// arriving, its line end included.
    pub const fn bytes_left(&self) -> u64 {
        match self.phase {
            Phase::Body(left) => left,
            Phase::Start | Phase::Line(_) => 0,
        }
    }

    /// Takes bytes that follow those of the last call.
    #[inline]
    pub fn feed(&mut self, bytes: &[u8]) -> Fed {
        if self.outstanding == 0 {
            // Most replies are one element that is all there: nothing to remember then.
            let kind = bytes.first().and_then(|&byte| Kind::from_byte(byte, self.version));
            if let Some(kind) = kind
                && let Some(end) = whole_element(kind, bytes, 0)
            {
                self.kind = Some(kind);
                return Fed::Complete(end);
            }
            self.kind = None;
            self.outstanding = 1;
            self.phase = Phase::Start;
        }
        self.feed_on(bytes)
    }

    fn feed_on(&mut self, bytes: &[u8]) -> Fed {
        let mut at = 0;
        while at < bytes.len() {
            let taken = match self.phase {
                Phase::Start => self.start(bytes, at),
                Phase::Line(line) => self.line(line, bytes, at),
                Phase::Body(left) => self.body(left, bytes, at),
            };
            let Some(taken) = taken else { return Fed::Malformed };
            at = taken;
            if self.outstanding == 0 {
                return Fed::Complete(at);
            }
        }
        Fed::Partial
    }

    /// Reads an element's first byte, and all of the element when it is there and plain.
    #[inline]
    fn start(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let kind = Kind::from_byte(*bytes.get(at)?, self.version)?;
        if self.outstanding == 1 && matches!(self.kind, None | Some(Kind::Attribute)) {
            self.kind = Some(kind);
        }
        if let Some(end) = whole_element(kind, bytes, at) {
            self.outstanding -= 1;
            return Some(end);
        }
        if let Some((after, end)) = whole_head(kind, bytes, at) {
            self.after(after)?;
            return Some(end);
        }
        let (is_signed, is_negative, has_cr) = (false, false, false);
        self.phase = Phase::Line(Line { kind, len: 0, value: 0, is_signed, is_negative, has_cr });
        Some(at + 1)
    }

    /// Reads on in a line, byte by byte: it came in pieces or holds something unusual.
    fn line(&mut self, mut line: Line, bytes: &[u8], mut at: usize) -> Option<usize> {
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            if line.has_cr {
                if byte != b'\n' {
                    return None;
                }
                self.after(line.end()?)?;
                return Some(at);
            }
            line.take(byte)?;
        }
        self.phase = Phase::Line(line);
        Some(at)
    }

    #[inline]
    fn body(&mut self, left: u64, bytes: &[u8], at: usize) -> Option<usize> {
        let rest = bytes.get(at..)?;
        let skipped = usize::try_from(left.saturating_sub(2)).unwrap_or(usize::MAX);
        let skipped = skipped.min(rest.len());
        let mut left = left - skipped as u64;
        let mut end = at + skipped;
        for expected in b"\r\n" {
            let is_next = left == if *expected == b'\r' { 2 } else { 1 };
            let Some(byte) = bytes.get(end).filter(|_| is_next) else { continue };
            if byte != expected {
                return None;
            }
            end += 1;
            left -= 1;
        }
        if left == 0 {
            self.phase = Phase::Start;
            self.outstanding -= 1;
        } else {
            self.phase = Phase::Body(left);
        }
        Some(end)
    }

    #[inline]
    fn after(&mut self, after: After) -> Option<()> {
        self.phase = Phase::Start;
        match after {
            After::Nothing => self.outstanding -= 1,
            After::Body(len) => self.phase = Phase::Body(len + 2),
            After::Elements(count) => self.outstanding = self.outstanding - 1 + count,
            After::Attribute(count) => self.outstanding += count,
        }
        (self.outstanding <= ELEMENTS_MAX).then_some(())
    }
}

/// Where the element at `at` ends, when it is all there in its usual form and holds no others.
#[inline]
fn whole_element(kind: Kind, bytes: &[u8], at: usize) -> Option<usize> {
    match kind {
        Kind::Bulk => {
            if bytes.get(at + 1) == Some(&b'-') {
                return bytes.get(at..)?.starts_with(b"$-1\r\n").then_some(at + 5);
            }
            let (len, start) = scan::resp_length(bytes, at, b'$')?;
            let end = start + len;
            (bytes.get(end..)?.first_chunk() == Some(b"\r\n")).then_some(end + 2)
        }
        Kind::Integer => scan::resp_length(bytes, at, b':').map(|(_, end)| end),
        Kind::Simple | Kind::Error => {
            // Simple strings are short words; errors are sentences.
            let mut end = scan::stop(bytes, at)?;
            if bytes.get(end) != Some(&b'\r') {
                let rest = bytes.get(end..)?;
                let within = rest.get(..LINE_BYTES_MAX).unwrap_or(rest);
                end += memchr::memchr2(b'\r', b'\n', within)?;
            }
            let is_short = end - at <= LINE_BYTES_MAX;
            (is_short && bytes.get(end..)?.starts_with(b"\r\n")).then_some(end + 2)
        }
        _ => None,
    }
}

/// What follows the line at `at` and where it ends, when it is all there in its usual form.
#[inline]
fn whole_head(kind: Kind, bytes: &[u8], at: usize) -> Option<(After, usize)> {
    let (value, end) = scan::resp_length(bytes, at, *bytes.get(at)?)?;
    let value = value as u64;
    let after = match kind {
        Kind::Bulk => After::Body(value),
        Kind::Array | Kind::Set | Kind::Push => After::Elements(value),
        Kind::Map => After::Elements(value * 2),
        _ => return None,
    };
    Some((after, end))
}

impl Line {
    /// Takes a byte before the line's end; `None` when it cannot stand there.
    fn take(&mut self, byte: u8) -> Option<()> {
        if byte == b'\r' {
            self.has_cr = true;
            return Some(());
        }
        self.len += 1;
        if self.len as usize > LINE_BYTES_MAX || byte == b'\n' {
            return None;
        }
        match self.kind {
            // A script may make a server send anything as a big number; where the line ends is
            // clear all the same.
            Kind::Simple | Kind::Error | Kind::BigNumber => Some(()),
            Kind::Null => None,
            Kind::Boolean => (self.len == 1 && matches!(byte, b't' | b'f')).then_some(()),
            Kind::Double => {
                let is_digit = byte.is_ascii_digit() || b"+-.eEinfINFaA".contains(&byte);
                is_digit.then_some(())
            }
            _ => self.take_digit(byte),
        }
    }

    fn take_digit(&mut self, byte: u8) -> Option<()> {
        if self.len == 1 && matches!(byte, b'-' | b'+') {
            let may_be_negative = matches!(self.kind, Kind::Integer | Kind::Bulk | Kind::Array);
            let may_be_positive = self.kind == Kind::Integer;
            self.is_signed = true;
            self.is_negative = byte == b'-';
            return (if self.is_negative { may_be_negative } else { may_be_positive })
                .then_some(());
        }
        if !byte.is_ascii_digit() {
            return None;
        }
        let digit = u64::from(byte - b'0');
        self.value = self.value.checked_mul(10)?.checked_add(digit)?;
        Some(())
    }

    /// What follows the complete line.
    fn end(&self) -> Option<After> {
        let digits = self.len - u32::from(self.is_signed);
        let value = self.value;
        Some(match self.kind {
            Kind::Simple | Kind::Error | Kind::Null => After::Nothing,
            Kind::Boolean | Kind::Double => (self.len > 0).then_some(After::Nothing)?,
            _ if digits == 0 => return None,
            Kind::BigNumber => After::Nothing,
            Kind::Integer => {
                let limit = i64::MAX as u64 + u64::from(self.is_negative);
                (value <= limit).then_some(After::Nothing)?
            }
            _ if self.is_negative => (value == 1 && digits == 1).then_some(After::Nothing)?,
            Kind::Bulk | Kind::BulkError => After::Body(body_bytes(value)?),
            // The format and a colon come first.
            Kind::Verbatim => After::Body(body_bytes(value).filter(|&len| len >= 4)?),
            Kind::Array | Kind::Set | Kind::Push => After::Elements(element_count(value)?),
            Kind::Map => After::Elements(element_count(value)? * 2),
            Kind::Attribute => After::Attribute(element_count(value)? * 2),
        })
    }
}

fn body_bytes(value: u64) -> Option<u64> {
    (value <= BULK_BYTES_MAX).then_some(value)
}

fn element_count(value: u64) -> Option<u64> {
    (value <= ELEMENTS_MAX).then_some(value)
}

/// The value of a complete integer reply.
pub fn integer(reply: &[u8]) -> Option<i64> {
    let digits = reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    let digits = digits.strip_prefix(b"+").unwrap_or(digits);
    if digits.is_empty() || digits == b"-" { None } else { number::strict_i64(digits) }
}

/// What a complete bulk, verbatim or bulk error reply holds, or a simple string or an error says
/// (without its type); `None` for a null and for other kinds.
pub fn text(reply: &[u8]) -> Option<&[u8]> {
    let (kind, rest) = reply.split_first()?;
    let rest = rest.strip_suffix(b"\r\n")?;
    match kind {
        b'+' | b'-' => Some(rest),
        b'$' | b'!' | b'=' => {
            let start = memchr::memchr(b'\n', rest)? + 1;
            let text = rest.get(start..)?;
            if *kind == b'=' { text.get(4..) } else { Some(text) }
        }
        _ => None,
    }
}

/// The code of an error reply: its text up to the first space, such as `LOADING`. The reply need
/// not be complete, but its first space or line end must have come. `None` for no error.
pub fn error_code(reply: &[u8]) -> Option<&[u8]> {
    let text = match reply.split_first()? {
        (b'-', text) => text,
        (b'!', rest) => rest.get(memchr::memchr(b'\n', rest)? + 1..)?,
        _ => return None,
    };
    let end = text.iter().position(|byte| matches!(byte, b' ' | b'\r' | b'\n'))?;
    text.get(..end)
}

/// Whether a complete reply is a null of either version.
pub fn is_null(reply: &[u8]) -> bool {
    matches!(reply, b"$-1\r\n" | b"*-1\r\n" | b"_\r\n")
}

/// The elements of a complete reply that is an array, a set or a push, or keys and values of a
/// map; `None` for others, nulls included.
pub fn elements(reply: &[u8], version: Version) -> Option<Elements<'_>> {
    let kind = Kind::from_byte(*reply.first()?, version)?;
    let line_end = memchr::memchr(b'\n', reply)?;
    let count = reply.get(1..line_end)?.strip_suffix(b"\r")?;
    if count.is_empty() {
        return None;
    }
    let count = number::strict_u64(count)?;
    let left = match kind {
        Kind::Array | Kind::Set | Kind::Push => count,
        Kind::Map => count.checked_mul(2)?,
        _ => return None,
    };
    Some(Elements { rest: reply.get(line_end + 1..)?, left, version })
}

/// The elements of a reply, by `elements`: each with all its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    left: u64,
    version: Version,
}

impl Elements<'_> {
    /// How many have not been given.
    pub const fn left(&self) -> u64 {
        self.left
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    /// The next element; `None` also when the bytes end before it does.
    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        let Fed::Complete(bytes) = Follow::new(self.version).feed(self.rest) else { return None };
        let (element, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        self.left -= 1;
        Some(element)
    }
}

#[cfg(test)]
mod tests;
