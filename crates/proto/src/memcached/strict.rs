//! nutcracker's memcached grammar: which lines it takes, and which make it close the client.
//!
//! `cut_strict` stands in for `request::cut` on listeners that have to behave as nutcracker does.
//! It is much narrower than memcached's own grammar: a handful of lower-case commands, CR LF and
//! nothing else as line end, digits where memcached takes signs, and no error replies at all:
//! whatever does not fit closes the client. The heads it gives are ordinary ones.
//!
//! Where nutcracker would put bytes on a shared connection that memcached reads as something else
//! (a line feed or a NUL inside a key, a value length that wraps around), the caller is told
//! instead; see `cut_strict`.

use super::limit::{KEY_BYTES_MAX, LineLimits, VALUE_BYTES_MAX};
use super::reply::ReplyKind;
use super::request::{Head, Malformed, ValueLength};
use super::verb::Verb;
use crate::number;
use crate::scan::stop;

/// The key that routes requests without a key: `version` here, a few commands of Redis.
pub const PLACEHOLDER_KEY: &[u8] = b"placeholder";

/// What the front of the received bytes is to nutcracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrictCut<'a> {
    /// A complete request line. Its value, if any, follows `Head::line_bytes` later; the caller
    /// has to close the client if `is_value_end` says no to what follows the value.
    Head(Head<'a>),
    /// Nothing is wrong so far, but the line is not complete.
    Partial,
    /// `quit`: close the client once it has its outstanding replies; ignore what follows.
    Quit,
    /// Close the client now and without a reply; outstanding replies are dropped.
    Refuse,
}

/// Cuts one request's head off the front of `bytes`, by nutcracker's rules.
///
/// `scanned` is how many bytes at the front an earlier call has answered `Partial` for, or 0. A
/// wrong byte is noticed as soon as it is there, however the bytes were split.
///
/// The head has no leading spaces in `line`, while `line_bytes` counts them, so that it is
/// rendered in its normal form. `version` has an empty key: route it by `PLACEHOLDER_KEY`.
/// `delete noreply` is marked `noreply`, since memcached does not answer it.
///
/// Differences from nutcracker, all on the safe side:
/// * `limits` hold for lines; nutcracker buffers without bound. Too long a line is refused.
/// * A complete line with a line feed in a key is refused: a server would see two commands and
///   answer twice, and replies would go to the wrong clients.
/// * A value length that memcached cannot read as nutcracker does is `Malformed::ValueLength`
///   with the length at which nutcracker would find the next request: answer the error that
///   memcached gives, swallow that many bytes, forward nothing.
///
/// A NUL in a key is left to the caller, who has to refuse it for the same reason on every
/// listener.
pub fn cut_strict<'a>(bytes: &'a [u8], limits: &LineLimits, scanned: usize) -> StrictCut<'a> {
    let start = bytes.iter().take_while(|&&byte| byte == b' ').count();
    let text = bytes.get(start..).unwrap_or(&[]);
    let line = read_line(text, scanned.saturating_sub(start));
    let (line_bytes, is_retrieval) = match &line {
        Ok(Line::Head(head)) => (start + head.line_bytes, head.verb.is_retrieval()),
        Ok(Line::Quit) => (start, false),
        Err(Stop::End { is_retrieval }) => (bytes.len(), *is_retrieval),
        Err(Stop::Refused) => return StrictCut::Refuse,
    };
    if start > limits.line_bytes_max || line_bytes > longest(limits, is_retrieval) {
        return StrictCut::Refuse;
    }
    match line {
        Ok(Line::Head(head)) if has_line_feed(&head) => StrictCut::Refuse,
        Ok(Line::Head(head)) => StrictCut::Head(Head { line_bytes, ..head }),
        Ok(Line::Quit) => StrictCut::Quit,
        Err(_) => StrictCut::Partial,
    }
}

/// Whether `bytes` may follow a value. Two bytes decide; with fewer it says whether they are
/// right so far.
pub fn is_value_end(bytes: &[u8]) -> bool {
    let end = b"\r\n";
    let len = bytes.len().min(end.len());
    bytes.get(..len) == end.get(..len)
}

/// Whether nutcracker accepts a reply of this kind from a memcached server. Any other closes the
/// connection to the server and fails what is pending on it.
pub const fn is_accepted_reply(kind: ReplyKind) -> bool {
    use ReplyKind::{
        ClientError, Deleted, End, Error, Exists, NotFound, NotStored, Number, ServerError, Stored,
        Touched, Value, Version,
    };
    matches!(
        kind,
        Number
            | Stored
            | NotStored
            | Exists
            | NotFound
            | Deleted
            | Touched
            | End
            | Value
            | Error
            | ClientError
            | ServerError
            | Version
    )
}

/// A complete line.
enum Line<'a> {
    Head(Head<'a>),
    Quit,
}

/// Why reading a line stopped.
enum Stop {
    /// The bytes are at an end and right so far.
    End { is_retrieval: bool },
    /// No line that begins like this is taken.
    Refused,
}

const fn longest(limits: &LineLimits, is_retrieval: bool) -> usize {
    // The line end is not counted in the limits.
    2 + if is_retrieval { limits.retrieval_line_bytes_max } else { limits.line_bytes_max }
}

/// Reads a line without leading spaces, of which so many bytes were found right before.
fn read_line(text: &[u8], scanned: usize) -> Result<Line<'_>, Stop> {
    let mut reader = Reader { text, at: 0, is_retrieval: false };
    let verb = Verb::from_word(reader.word()?);
    if verb == Verb::Quit {
        reader.skip_spaces();
        reader.line_end()?;
        return Ok(Line::Quit);
    }
    if !is_taken(verb) {
        return Err(Stop::Refused);
    }
    let mut head = Head::bare(verb, &[], 0);
    if verb == Verb::Version {
        reader.skip_spaces();
    } else {
        reader.is_retrieval = verb.is_retrieval();
        reader.key(&mut head)?;
        match verb {
            Verb::Get | Verb::Gets => reader.more_keys(&mut head, scanned)?,
            Verb::Incr | Verb::Decr | Verb::Touch => {
                reader.number(true)?;
                reader.noreply(&mut head)?;
            }
            Verb::Delete => reader.noreply(&mut head)?,
            _ => reader.store_numbers(&mut head)?,
        }
    }
    let end = reader.at;
    reader.line_end()?;
    head.line = text.get(..end).unwrap_or(&[]);
    head.line_bytes = reader.at;
    if head.verb == Verb::Delete && head.key == b"noreply" {
        head.noreply = true;
    }
    Ok(Line::Head(head))
}

/// The commands that nutcracker has, besides `quit`.
const fn is_taken(verb: Verb) -> bool {
    use Verb::{
        Add, Append, Cas, Decr, Delete, Get, Gets, Incr, Prepend, Replace, Set, Touch, Version,
    };
    matches!(
        verb,
        Get | Gets
            | Set
            | Add
            | Replace
            | Append
            | Prepend
            | Cas
            | Incr
            | Decr
            | Delete
            | Touch
            | Version
    )
}

/// Whether a key of the line has a line feed in it.
fn has_line_feed(head: &Head<'_>) -> bool {
    // Only keys can: nutcracker takes no other byte than digits, letters and spaces elsewhere.
    let keys = if head.more_keys { head.line } else { head.key };
    memchr::memchr(b'\n', keys).is_some()
}

/// Goes over a line, one kind of token after the other.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    is_retrieval: bool,
}

impl<'a> Reader<'a> {
    fn byte(&self) -> Result<u8, Stop> {
        self.text.get(self.at).copied().ok_or(Stop::End { is_retrieval: self.is_retrieval })
    }

    fn from(&self, start: usize) -> &'a [u8] {
        self.text.get(start..self.at).unwrap_or(&[])
    }

    fn skip_spaces(&mut self) {
        while self.text.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
    }

    fn skip_digits(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    /// The command: letters up to a space or a carriage return.
    fn word(&mut self) -> Result<&'a [u8], Stop> {
        /// Letters of the longest command, `replace` among others.
        const WORD_BYTES_MAX: usize = 7;
        loop {
            match self.byte()? {
                b'a'..=b'z' if self.at < WORD_BYTES_MAX => self.at += 1,
                b' ' | b'\r' if self.at > 0 => return Ok(self.from(0)),
                _ => return Err(Stop::Refused),
            }
        }
    }

    /// CR LF.
    fn line_end(&mut self) -> Result<(), Stop> {
        for expected in *b"\r\n" {
            if self.byte()? != expected {
                return Err(Stop::Refused);
            }
            self.at += 1;
        }
        Ok(())
    }

    /// A key up to the space or carriage return behind it.
    fn key_end(&mut self) -> Result<(), Stop> {
        let start = self.at;
        loop {
            let found = stop(self.text, self.at).unwrap_or(self.text.len());
            if found - start > KEY_BYTES_MAX {
                return Err(Stop::Refused);
            }
            self.at = found;
            match self.byte()? {
                b' ' | b'\r' if found > start => return Ok(()),
                b'\r' => return Err(Stop::Refused),
                // Any other control character is part of the key.
                _ => self.at += 1,
            }
        }
    }

    /// The first key.
    fn key(&mut self, head: &mut Head<'a>) -> Result<(), Stop> {
        self.skip_spaces();
        let start = self.at;
        self.key_end()?;
        head.key = self.from(start);
        head.key_at = start;
        Ok(())
    }

    /// The keys of a retrieval after the first. What was found right before is passed over up to
    /// the last space, where a key begins: a long line that trickles in is read once.
    fn more_keys(&mut self, head: &mut Head<'a>, scanned: usize) -> Result<(), Stop> {
        let first_end = self.at;
        let known = self.text.get(first_end..scanned).unwrap_or(&[]);
        self.at += memchr::memrchr(b' ', known).unwrap_or(0);
        loop {
            self.skip_spaces();
            if self.byte()? == b'\r' {
                head.more_keys = self.from(first_end).iter().any(|&byte| byte != b' ');
                return Ok(());
            }
            self.key_end()?;
        }
    }

    /// Spaces and digits, with a minus sign before them if it may be; the digits.
    fn number(&mut self, may_be_negative: bool) -> Result<&'a [u8], Stop> {
        self.skip_spaces();
        let start = self.at;
        match self.byte()? {
            b'0'..=b'9' => {}
            b'-' if may_be_negative => {}
            _ => return Err(Stop::Refused),
        }
        self.at += 1;
        self.skip_digits();
        match self.byte()? {
            b' ' | b'\r' => Ok(self.from(start)),
            _ => Err(Stop::Refused),
        }
    }

    /// What follows the key of a store command.
    fn store_numbers(&mut self, head: &mut Head<'a>) -> Result<(), Stop> {
        for _ in ["flags", "exptime"] {
            self.number(false)?;
        }
        let length = self.number(false)?;
        if head.verb == Verb::Cas {
            self.number(false)?;
        }
        self.noreply(head)?;
        let wrapped = length.iter().fold(0u32, |sum, digit| {
            sum.wrapping_mul(10).wrapping_add(u32::from(digit.wrapping_sub(b'0')))
        });
        let wrapped = u64::from(wrapped);
        head.value = ValueLength::Bytes(wrapped);
        let read = number::strict_i32(length).and_then(|length| u64::try_from(length).ok());
        if read != Some(wrapped) || wrapped > VALUE_BYTES_MAX {
            head.malformed = Some(Malformed::ValueLength);
        }
        Ok(())
    }

    /// Spaces up to the line end, and `noreply` among them at most once.
    fn noreply(&mut self, head: &mut Head<'a>) -> Result<(), Stop> {
        self.skip_spaces();
        if self.byte()? != b'\r' {
            for expected in *b"noreply" {
                if self.byte()? != expected {
                    return Err(Stop::Refused);
                }
                self.at += 1;
            }
            if !matches!(self.byte()?, b' ' | b'\r') {
                return Err(Stop::Refused);
            }
            head.noreply = true;
            self.skip_spaces();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
