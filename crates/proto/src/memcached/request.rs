//! Cutting one request's head off the front of received bytes.
//!
//! `cut` is on the path of every request. It has two halves: `quick_head` recognises the plain
//! form of the common commands in one pass without looking for the line end first, and
//! `exact_head` reads any line as memcached's tokenizer does. Whatever the quick half does not
//! take goes to the exact half; a property test holds the two to the same answers.

use std::ops::Range;

use super::flag::{MetaFlags, is_flag_byte, meta_flags};
use super::limit::{LineLimits, TOKEN_COUNT_MAX, VALUE_BYTES_MAX};
use super::token::{Tokens, tokens};
use super::verb::{Shape, Verb};
use crate::number;
use crate::scan::{line_feed, short_number, stop};

/// What the front of the received bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A complete request line. Its value, if any, follows `Head::line_bytes` later.
    Head(Head<'a>),
    /// The line is not complete yet: cut again when more bytes have come.
    Partial,
    /// The line goes on beyond its limit; memcached closes the connection without a reply.
    TooLong,
    /// The first byte is that of a binary request (`0x80`). memcached takes a client's very first
    /// byte as its choice of protocol; on a connection that speaks text, use `cut_text`.
    Binary,
}

/// One request line, read as far as routing needs.
///
/// The head is lenient: beyond `malformed` it judges nothing. Numbers other than the value
/// length, the length of the key and the meaning of flags are for whoever executes the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The line without its line end.
    pub line: &'a [u8],
    /// Bytes that the line takes with its line end (CR LF or a bare LF).
    pub line_bytes: usize,
    /// The first key, or empty when the command has none or is malformed.
    pub key: &'a [u8],
    /// Offset of `key` in `line`; 0 when there is none.
    pub key_at: usize,
    /// Length of the value that follows the line.
    pub value: ValueLength,
    /// Argument of the first `O` flag of a meta command.
    pub opaque: Option<&'a [u8]>,
    /// The command.
    pub verb: Verb,
    /// Why memcached would not even execute this line.
    pub malformed: Option<Malformed>,
    /// The last token is exactly `noreply`. Never set for retrievals, meta commands, `version`,
    /// `stats`, `watch` and `quit`, which do not know it; set for unknown commands, whose error
    /// reply memcached then leaves out.
    pub noreply: bool,
    /// A meta command has the `q` flag.
    pub quiet: bool,
    /// A retrieval names more than one key.
    pub more_keys: bool,
    /// A meta command has the `T` flag.
    pub has_ttl_flag: bool,
}

// A head is passed by value through the hot path: it must not grow unnoticed.
const _: () = assert!(size_of::<Cut<'_>>() <= 96);

/// Length of the value that follows a request line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueLength {
    /// The command carries no value.
    None,
    /// That many bytes follow, and then CR LF, which is not counted.
    Bytes(u64),
    /// The command carries a value but its length cannot be known. memcached answers an error
    /// and reads what follows as the next command.
    Invalid,
}

/// Why a line of a known command cannot be read.
///
/// The store's listeners answer `text::BAD_LINE_FORMAT`, proxied ones
/// `text::PROXIED_PARSING_REQUEST`; the connection stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than four bytes, line end included.
    LineTooShort,
    /// Fewer tokens than the command needs.
    TooFewTokens,
    /// The value length is no number, negative or above `VALUE_BYTES_MAX`.
    ValueLength,
    /// A token where a meta flag has to be starts with neither a letter nor a digit.
    FlagByte,
}

/// Cuts one request's head off the front of `bytes`, under the limits of a store listener.
#[inline]
pub fn cut(bytes: &[u8]) -> Cut<'_> {
    cut_with(bytes, &LineLimits::STORE, 0)
}

/// Cuts one request's head off the front of `bytes`.
///
/// `scanned` is how many bytes at the front are known to hold no line feed, because an earlier
/// call said `Partial` for them; 0 when nothing is known. It keeps a line that trickles in from
/// being searched again and again.
#[inline]
pub fn cut_with<'a>(bytes: &'a [u8], limits: &LineLimits, scanned: usize) -> Cut<'a> {
    if scanned == 0
        && let Some(head) = quick_head(bytes, limits)
    {
        return Cut::Head(head);
    }
    if bytes.first() == Some(&super::binary::REQUEST_MAGIC) {
        return Cut::Binary;
    }
    cut_text(bytes, limits, scanned)
}

/// Cuts as `cut_with` does, for a connection that is known to speak text; never `Cut::Binary`.
pub fn cut_text<'a>(bytes: &'a [u8], limits: &LineLimits, scanned: usize) -> Cut<'a> {
    let found = line_feed(bytes, scanned);
    let before_line_feed = found.unwrap_or(bytes.len());
    if before_line_feed > limits.line_bytes_max {
        let may_be_long = starts_retrieval(bytes);
        if !may_be_long || before_line_feed > limits.retrieval_line_bytes_max {
            return Cut::TooLong;
        }
    }
    match found {
        None => Cut::Partial,
        Some(at) => {
            let line = bytes.get(..at).unwrap_or(&[]);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            Cut::Head(exact_head(line, at + 1))
        }
    }
}

impl<'a> Head<'a> {
    #[inline(always)]
    pub(super) const fn bare(verb: Verb, line: &'a [u8], line_bytes: usize) -> Self {
        Head {
            line,
            line_bytes,
            key: &[],
            key_at: 0,
            value: ValueLength::None,
            opaque: None,
            verb,
            malformed: None,
            noreply: false,
            quiet: false,
            more_keys: false,
            has_ttl_flag: false,
        }
    }

    /// Bytes that follow the line and belong to the request: the value and its CR LF, or 0.
    #[inline]
    pub const fn body_bytes(&self) -> u64 {
        match self.value {
            ValueLength::Bytes(bytes) => bytes + 2,
            ValueLength::None | ValueLength::Invalid => 0,
        }
    }

    /// All tokens of the line, the command word first.
    #[inline]
    pub const fn tokens(&self) -> Tokens<'a> {
        tokens(self.line)
    }

    /// The keys of a retrieval in order. For other commands it is the tokens from the key on;
    /// none when there is no key.
    #[inline]
    pub fn keys(&self) -> Tokens<'a> {
        let from = if self.key.is_empty() { self.line.len() } else { self.key_at };
        Tokens::starting_at(self.line, from)
    }

    /// The tokens after the (first) key; none when there is no key.
    #[inline]
    pub fn arguments(&self) -> Tokens<'a> {
        let from = if self.key.is_empty() { self.line.len() } else { self.key_end() };
        Tokens::starting_at(self.line, from)
    }

    /// The flags of a meta command, as many as memcached can address; none for other commands.
    #[inline]
    pub fn meta_flags(&self) -> MetaFlags<'a> {
        if !self.verb.is_meta() || self.key.is_empty() {
            return meta_flags(&[], 0);
        }
        let mut rest = self.arguments();
        let mut count = TOKEN_COUNT_MAX - 2;
        if self.verb == Verb::Ms {
            rest.next();
            count -= 1;
        }
        let at = self.line.len() - rest.rest().len();
        meta_flags(self.line, at).at_most(count)
    }

    /// Whether an unknown command looks like an HTTP request line; memcached closes those.
    pub fn is_http(&self) -> bool {
        if self.verb != Verb::Unknown {
            return false;
        }
        let mut addressable = self.tokens().take(TOKEN_COUNT_MAX).skip(1);
        addressable.by_ref().last().is_some_and(|token| token.starts_with(b"HTTP/"))
    }

    #[inline]
    const fn key_end(&self) -> usize {
        self.key_at + self.key.len()
    }

    #[inline(always)]
    fn set_key(&mut self, start: usize, end: usize) {
        self.key = self.line.get(start..end).unwrap_or(&[]);
        self.key_at = start;
    }

    #[inline(always)]
    fn note_flag(&mut self, letter: u8, argument: &'a [u8]) {
        match letter {
            b'q' => self.quiet = true,
            b'T' => self.has_ttl_flag = true,
            b'O' if self.opaque.is_none() => self.opaque = Some(argument),
            _ => {}
        }
    }
}

/// Whether the data may be a long multi-key retrieval, whose line memcached lets grow.
fn starts_retrieval(bytes: &[u8]) -> bool {
    /// Leading spaces that memcached skips before it looks for the command.
    const SPACES_MAX: usize = 100;
    let spaces = bytes.iter().take(SPACES_MAX + 1).take_while(|&&byte| byte == b' ').count();
    let word = bytes.get(spaces..).unwrap_or(&[]);
    spaces <= SPACES_MAX
        && [b"get ".as_slice(), b"gets ", b"gat ", b"gats "]
            .iter()
            .any(|start| word.starts_with(start))
}

/// Reads the plain form of the common commands: single spaces, CR LF, nothing unusual. `None`
/// means only that the exact reader has to look.
///
/// Each shape of line has its own branch with its own scan for the key, so that none has to ask
/// again which command it reads; the likeliest is asked for first.
#[inline(always)]
fn quick_head<'a>(bytes: &'a [u8], limits: &LineLimits) -> Option<Head<'a>> {
    let word = u32::from_le_bytes(*bytes.first_chunk::<4>()?);
    if word == GET {
        return quick_retrieval(bytes, Verb::Get, 4, limits);
    }
    if let Some(verb) = quick_meta_verb(word) {
        return quick_meta(bytes, verb, limits);
    }
    if let Some(verb) = quick_store_verb(word) {
        return quick_store(bytes, verb, limits);
    }
    let follows = |rest: &[u8]| bytes.get(4..4 + rest.len()) == Some(rest);
    let (verb, key_at) = match word {
        GETS if follows(b" ") => (Verb::Gets, 5),
        INCR if follows(b" ") => (Verb::Incr, 5),
        DECR if follows(b" ") => (Verb::Decr, 5),
        TOUCH if follows(b"h ") => (Verb::Touch, 6),
        DELETE if follows(b"te ") => (Verb::Delete, 7),
        GAT => (Verb::Gat, spaced_token_end(bytes, 4)? + 1),
        _ => return None,
    };
    if verb.is_retrieval() {
        return quick_retrieval(bytes, verb, key_at, limits);
    }
    quick_key(bytes, verb, key_at, limits)
}

#[inline(always)]
const fn quick_meta_verb(word: u32) -> Option<Verb> {
    Some(match word & 0x00ff_ffff {
        MG => Verb::Mg,
        MS => Verb::Ms,
        MD => Verb::Md,
        MA => Verb::Ma,
        _ => return None,
    })
}

#[inline(always)]
const fn quick_store_verb(word: u32) -> Option<Verb> {
    Some(match word {
        SET => Verb::Set,
        ADD => Verb::Add,
        CAS => Verb::Cas,
        _ => return None,
    })
}

const GET: u32 = u32::from_le_bytes(*b"get ");
const GETS: u32 = u32::from_le_bytes(*b"gets");
const GAT: u32 = u32::from_le_bytes(*b"gat ");
const SET: u32 = u32::from_le_bytes(*b"set ");
const ADD: u32 = u32::from_le_bytes(*b"add ");
const CAS: u32 = u32::from_le_bytes(*b"cas ");
const INCR: u32 = u32::from_le_bytes(*b"incr");
const DECR: u32 = u32::from_le_bytes(*b"decr");
const TOUCH: u32 = u32::from_le_bytes(*b"touc");
const DELETE: u32 = u32::from_le_bytes(*b"dele");
const MG: u32 = u32::from_le_bytes(*b"mg \0");
const MS: u32 = u32::from_le_bytes(*b"ms \0");
const MD: u32 = u32::from_le_bytes(*b"md \0");
const MA: u32 = u32::from_le_bytes(*b"ma \0");

/// Whether CR LF is at `at`. A bare line feed is left to the exact reader.
#[inline(always)]
fn ends_at(bytes: &[u8], at: usize) -> bool {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<2>()) == Some(b"\r\n")
}

/// The head of a line that ends at `end`, if it does so within its limit.
#[inline(always)]
fn quick_line<'a>(
    bytes: &'a [u8],
    verb: Verb,
    key: Range<usize>,
    end: usize,
    limits: &LineLimits,
) -> Option<Head<'a>> {
    if !ends_at(bytes, end) || end >= limits.line_bytes_max {
        return None;
    }
    let mut head = Head::bare(verb, bytes.get(..end)?, end + 2);
    head.key_at = key.start;
    head.key = bytes.get(key)?;
    Some(head)
}

/// End of the token that starts at `start` and is not empty.
#[inline(always)]
fn token_end(bytes: &[u8], start: usize) -> Option<usize> {
    stop(bytes, start).filter(|&end| end != start)
}

/// As `token_end`, in one place for the tokens that are rarely long.
#[inline(never)]
fn long_token_end(bytes: &[u8], start: usize) -> Option<usize> {
    token_end(bytes, start)
}

/// End of the token that starts at `start`, is not empty and is followed by a space.
#[inline(always)]
fn spaced_token_end(bytes: &[u8], start: usize) -> Option<usize> {
    // Flags and expiry times are a single zero more often than not.
    if let Some(&[first, b' ']) = bytes.get(start..)?.first_chunk::<2>()
        && first > b' '
    {
        return Some(start + 1);
    }
    long_token_end(bytes, start).filter(|&end| bytes.get(end) == Some(&b' '))
}

/// A retrieval whose keys start at `key_at`.
#[inline(always)]
fn quick_retrieval<'a>(
    bytes: &'a [u8],
    verb: Verb,
    key_at: usize,
    limits: &LineLimits,
) -> Option<Head<'a>> {
    let key_end = token_end(bytes, key_at)?;
    if *bytes.get(key_end)? != b' ' {
        return quick_line(bytes, verb, key_at..key_end, key_end, limits);
    }
    let end = quick_more_keys(bytes, key_end, limits)?;
    let mut head = Head::bare(verb, bytes.get(..end)?, end + 2);
    head.key_at = key_at;
    head.key = bytes.get(key_at..key_end)?;
    head.more_keys = true;
    Some(head)
}

/// The end of the line of a retrieval with several keys, the first of which ends at `key_end`.
#[inline(never)]
fn quick_more_keys(bytes: &[u8], key_end: usize, limits: &LineLimits) -> Option<usize> {
    let line_feed_at = line_feed(bytes, key_end)?;
    let end = line_feed_at.checked_sub(1)?;
    // With a space at the end it takes a closer look to know whether there is a second key.
    let ends_with_key = *bytes.get(end.checked_sub(1)?)? != b' ' && bytes.get(end) == Some(&b'\r');
    (ends_with_key && line_feed_at <= limits.retrieval_line_bytes_max).then_some(end)
}

/// A store command: key, flags, expiry time, value length, a CAS number, `noreply`.
#[inline(always)]
fn quick_store<'a>(bytes: &'a [u8], verb: Verb, limits: &LineLimits) -> Option<Head<'a>> {
    let key_end = token_end(bytes, 4)?;
    if *bytes.get(key_end)? != b' ' {
        return None;
    }
    let flags_end = spaced_token_end(bytes, key_end + 1)?;
    let exptime_end = spaced_token_end(bytes, flags_end + 1)?;
    let (length, mut end) = short_number(bytes, exptime_end + 1)?;
    if verb == Verb::Cas {
        end = quick_argument(bytes, end)?;
    }
    let noreply = *bytes.get(end)? == b' ';
    if noreply {
        end = quick_noreply(bytes, end)?;
    }
    let mut head = quick_line(bytes, verb, 4..key_end, end, limits)?;
    head.value = ValueLength::Bytes(length);
    head.noreply = noreply;
    Some(head)
}

/// A command on one key with one argument, or none for `delete`, and `noreply`.
#[inline(always)]
fn quick_key<'a>(
    bytes: &'a [u8],
    verb: Verb,
    key_at: usize,
    limits: &LineLimits,
) -> Option<Head<'a>> {
    let key_end = token_end(bytes, key_at)?;
    // A key called `noreply` makes memcached leave out its reply, which the exact reader knows.
    let mut end = if verb == Verb::Delete {
        if bytes.get(key_at..key_end)? == b"noreply" {
            return None;
        }
        key_end
    } else {
        quick_argument(bytes, key_end)?
    };
    let noreply = *bytes.get(end)? == b' ';
    if noreply {
        end = quick_noreply(bytes, end)?;
    }
    let mut head = quick_line(bytes, verb, key_at..key_end, end, limits)?;
    head.noreply = noreply;
    Some(head)
}

/// End of the argument behind the one space at `at`, unless it is `noreply`, which counts even
/// where an argument should be.
#[inline(never)]
fn quick_argument(bytes: &[u8], at: usize) -> Option<usize> {
    if *bytes.get(at)? != b' ' {
        return None;
    }
    let end = token_end(bytes, at + 1)?;
    (bytes.get(at + 1..end)? != b"noreply").then_some(end)
}

/// End of ` noreply` at `at`.
#[inline(never)]
fn quick_noreply(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.starts_with(b" noreply").then_some(at + 8)
}

/// A meta command: key, the value length of `ms`, flags.
#[inline(always)]
fn quick_meta<'a>(bytes: &'a [u8], verb: Verb, limits: &LineLimits) -> Option<Head<'a>> {
    let key_end = token_end(bytes, 3)?;
    let mut end = key_end;
    let mut value = ValueLength::None;
    let mut token_count = 2;
    if verb == Verb::Ms {
        if *bytes.get(end)? != b' ' {
            return None;
        }
        let (length, length_end) = short_number(bytes, end + 1)?;
        value = ValueLength::Bytes(length);
        end = length_end;
        token_count = 3;
    }
    let mut flags = Head::bare(verb, &[], 0);
    while *bytes.get(end)? == b' ' {
        let start = end + 1;
        let &[letter, next] = bytes.get(start..)?.first_chunk::<2>()?;
        token_count += 1;
        if !is_flag_byte(letter) || token_count > TOKEN_COUNT_MAX {
            return None;
        }
        end = if next <= b' ' { start + 1 } else { long_token_end(bytes, start + 1)? };
        flags.note_flag(letter, bytes.get(start + 1..end)?);
    }
    let head = quick_line(bytes, verb, 3..key_end, end, limits)?;
    let Head { quiet, has_ttl_flag, opaque, .. } = flags;
    Some(Head { value, quiet, has_ttl_flag, opaque, ..head })
}

/// The value length in `token`, if it is one.
fn value_length(token: &[u8]) -> Option<u64> {
    let length = u64::try_from(number::strict_i32(token)?).ok()?;
    (length <= VALUE_BYTES_MAX).then_some(length)
}

/// Reads any line as memcached's tokenizer does.
fn exact_head(line: &[u8], line_bytes: usize) -> Head<'_> {
    let mut head = Head::bare(Verb::Unknown, line, line_bytes);
    if line_bytes < 4 {
        head.malformed = Some(Malformed::LineTooShort);
        return head;
    }
    // The command word is what precedes the first space: a leading space makes it empty, and
    // then only the words that are looked up by token are found.
    head.verb = if line.first() == Some(&b' ') {
        tokens(line).next().map_or(Verb::Unknown, Verb::from_admin_word)
    } else {
        tokens(line).next().map_or(Verb::Unknown, Verb::from_word)
    };
    let read = match head.verb.shape() {
        Shape::Keys => exact_retrieval(&mut head, 1),
        Shape::TouchKeys => exact_retrieval(&mut head, 2),
        Shape::Store => exact_store(&mut head),
        Shape::Key { token_count_min } => exact_key(&mut head, token_count_min),
        Shape::Meta | Shape::MetaStore => exact_meta(&mut head),
        Shape::Bare => Ok(()),
        Shape::Words => {
            head.noreply = last_is_noreply(line);
            Ok(())
        }
    };
    if let Err(malformed) = read {
        head = Head::bare(head.verb, line, line_bytes);
        head.malformed = Some(malformed);
        if head.verb.carries_value() {
            head.value = ValueLength::Invalid;
        }
    }
    head
}

fn exact_retrieval(head: &mut Head<'_>, key_index: usize) -> Result<(), Malformed> {
    let mut rest = head.tokens();
    for _ in 0..key_index {
        rest.next_range();
    }
    let key = rest.next_range().ok_or(Malformed::TooFewTokens)?;
    head.set_key(key.start, key.end);
    head.more_keys = rest.next_range().is_some();
    Ok(())
}

fn exact_store(head: &mut Head<'_>) -> Result<(), Malformed> {
    let mut rest = head.tokens();
    rest.next_range();
    let key = rest.next_range().ok_or(Malformed::TooFewTokens)?;
    let length = rest.nth(2).ok_or(Malformed::TooFewTokens)?;
    let length = value_length(length).ok_or(Malformed::ValueLength)?;
    head.value = ValueLength::Bytes(length);
    head.set_key(key.start, key.end);
    head.noreply = last_is_noreply(head.line);
    Ok(())
}

fn exact_key(head: &mut Head<'_>, token_count_min: usize) -> Result<(), Malformed> {
    let mut rest = head.tokens();
    rest.next_range();
    let key = rest.next_range().ok_or(Malformed::TooFewTokens)?;
    if token_count_min > 2 && rest.next_range().is_none() {
        return Err(Malformed::TooFewTokens);
    }
    head.set_key(key.start, key.end);
    head.noreply = last_is_noreply(head.line);
    Ok(())
}

fn exact_meta(head: &mut Head<'_>) -> Result<(), Malformed> {
    let mut rest = head.tokens();
    rest.next_range();
    let key = rest.next_range().ok_or(Malformed::TooFewTokens)?;
    head.set_key(key.start, key.end);
    if head.verb == Verb::Ms {
        let length = rest.next().ok_or(Malformed::TooFewTokens)?;
        let length = value_length(length).ok_or(Malformed::ValueLength)?;
        head.value = ValueLength::Bytes(length);
    }
    for flag in head.meta_flags() {
        if !is_flag_byte(flag.letter) {
            return Err(Malformed::FlagByte);
        }
        head.note_flag(flag.letter, flag.argument);
    }
    Ok(())
}

/// Whether the last token that memcached can address is `noreply`.
fn last_is_noreply(line: &[u8]) -> bool {
    tokens(line).take(TOKEN_COUNT_MAX).last() == Some(b"noreply")
}

#[cfg(test)]
mod tests;
