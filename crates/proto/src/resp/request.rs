//! Cutting one request off the front of received bytes.
//!
//! A request is an array of bulk strings, or a line of words for people with telnet. `cut` follows
//! redis-server's reader rule by rule: what that accepts is accepted here, and what it answers
//! with a protocol error is [`Malformed`] with the same text. Nothing is copied: a [`Request`]
//! re-walks its bytes when asked for arguments. A request that arrives in pieces is resumed where
//! it stopped, by [`Progress`].

mod inline;

use super::command::{self, Command, Keys, Kind, Verb};
use super::render;
use crate::scan;

pub use inline::Inline;

/// What a reader accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most arguments of a request, name included.
    pub arguments_max: u32,
    /// Longest argument, in bytes.
    pub bulk_bytes_max: usize,
    /// Longest inline request or length line, in bytes without its line end.
    pub line_bytes_max: usize,
    /// Whether the client has authenticated or need not: others get redis-server's limits of
    /// 10 arguments and 16 KiB each besides those above.
    pub is_authenticated: bool,
    /// Whose rules hold.
    pub grammar: Grammar,
}

/// Whose rules a request is read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// redis-server 7.0.
    Redis,
    /// twemproxy 0.5: no inline requests, no empty arrays, no empty names; lengths may have
    /// leading zeros, and `$` without digits is an empty argument.
    Nutcracker,
}

impl Limits {
    /// redis-server's limits.
    pub const REDIS: Self = Self {
        arguments_max: 1024 * 1024,
        bulk_bytes_max: 512 * 1024 * 1024,
        line_bytes_max: 64 * 1024,
        is_authenticated: true,
        grammar: Grammar::Redis,
    };

    /// redis-server's limits under twemproxy's grammar.
    pub const NUTCRACKER: Self = Self { grammar: Grammar::Nutcracker, ..Self::REDIS };
}

/// Most arguments of a client that has not authenticated.
pub const UNAUTHENTICATED_ARGUMENTS_MAX: u32 = 10;

/// Longest argument of a client that has not authenticated, in bytes.
pub const UNAUTHENTICATED_BULK_BYTES_MAX: usize = 16 * 1024;

/// How far the request at the front of a client's bytes has been read. The client keeps it as
/// long as `cut` answers `Partial` and hands it back with the same bytes and more behind them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Where the element begins that has not been read.
    at: usize,
    /// Bytes from there that are known not to end a line.
    scanned: usize,
    /// Arguments of the request; 0 while the first line has not been read.
    arguments: u32,
    /// Arguments read.
    seen: u32,
    /// Length of the argument whose line has been read but whose bytes have not all come.
    bulk: Option<usize>,
    name: Span,
    first: Span,
    has_oddity: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    at: usize,
    len: usize,
}

impl Span {
    #[inline]
    fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.at..self.at.saturating_add(self.len)).unwrap_or_default()
    }
}

impl Progress {
    /// Bytes, from the front of the request, without which it cannot be complete: a bound from
    /// below, exact while the last argument arrives. A caller may make room for them.
    pub fn bytes_wanted(&self) -> usize {
        let Some(bulk) = self.bulk else { return self.at + self.scanned + 1 };
        let after = self.arguments.saturating_sub(self.seen).saturating_sub(1) as usize;
        self.at.saturating_add(bulk + 2).saturating_add(after * "$0\r\n\r\n".len())
    }

    /// The command, when its name has been read already, and the first argument behind it, which
    /// is empty while it is not complete. `bytes` are those that were given to `cut`.
    pub fn peek<'a>(&self, bytes: &'a [u8]) -> Option<(Option<&'static Command>, &'a [u8])> {
        (self.seen > 0).then(|| (command::find(self.name.of(bytes)), self.first.of(bytes)))
    }
}

/// What the front of a client's bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A complete request.
    Request(Request<'a>),
    /// A complete line of words. Its rendered form is a request.
    Inline(Inline<'a>),
    /// A request of nothing, to be skipped: an empty line or an array of no elements.
    Nothing {
        /// Bytes to skip.
        bytes: usize,
        /// Whether it was an empty line.
        is_line: bool,
    },
    /// More bytes are needed; the progress says from where to go on.
    Partial,
    /// A protocol error. Nothing that follows can be understood: answer and close.
    Malformed(Malformed),
}

/// Why bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The number of arguments is no number, or too large.
    MultibulkLength,
    /// The length of an argument is no number, negative, or too large.
    BulkLength,
    /// Too many arguments for a client that has not authenticated.
    UnauthenticatedMultibulk,
    /// Too long an argument for a client that has not authenticated.
    UnauthenticatedBulk,
    /// Something else stands where an argument begins.
    NoBulk(u8),
    /// An inline request without end.
    LongInline,
    /// A number of arguments without end.
    LongMultibulkCount,
    /// A length of an argument without end.
    LongBulkCount,
    /// A quoted word of an inline request that does not end, or not with a word.
    UnbalancedQuotes,
    /// Under twemproxy's grammar: no array, an empty one, an empty name, or no CR LF behind a
    /// length or an argument.
    Nutcracker,
}

impl Malformed {
    /// Appends the error reply that redis-server gives, line end included.
    pub fn render(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"-ERR Protocol error: ");
        if let Self::NoBulk(got) = self {
            out.extend_from_slice(b"expected '$', got '");
            out.push(if matches!(got, b'\r' | b'\n') { b' ' } else { got });
            out.extend_from_slice(b"'");
        } else {
            out.extend_from_slice(self.text().as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    /// The reason in redis-server's words, without the byte that `NoBulk` met.
    pub const fn text(self) -> &'static str {
        match self {
            Self::MultibulkLength => "invalid multibulk length",
            Self::BulkLength => "invalid bulk length",
            Self::UnauthenticatedMultibulk => "unauthenticated multibulk length",
            Self::UnauthenticatedBulk => "unauthenticated bulk length",
            Self::NoBulk(_) => "expected '$'",
            Self::LongInline => "too big inline request",
            Self::LongMultibulkCount => "too big mbulk count string",
            Self::LongBulkCount => "too big bulk count string",
            Self::UnbalancedQuotes => "unbalanced quotes in request",
            Self::Nutcracker => "invalid request",
        }
    }
}

/// A complete request: an array of arguments of which the first is the command's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// All its bytes.
    pub bytes: &'a [u8],
    /// Its command; `None` when the name is unknown.
    pub command: Option<&'static Command>,
    /// The name as it was written.
    pub name: &'a [u8],
    /// The first argument after the name, the key of most commands; empty when there is none.
    pub first: &'a [u8],
    /// Number of arguments, name included: at least 1.
    pub arguments: u32,
    /// Whether the bytes are what `render` would write, so that they may be passed on as they
    /// are. Not so with leading zeros or another byte than LF behind a CR.
    pub is_normal: bool,
}

impl<'a> Request<'a> {
    /// The arguments in order, the name first.
    pub fn arguments(&self) -> Arguments<'a> {
        let line = self.bytes.iter().position(|&byte| byte == b'\r').unwrap_or(0);
        let rest = self.bytes.get(line + 2..).unwrap_or_default();
        Arguments { rest, left: self.arguments }
    }

    /// The argument at `index`, the name being 0. Walks over those before it.
    pub fn argument(&self, index: u32) -> Option<&'a [u8]> {
        match index {
            0 => Some(self.name),
            1 => (self.arguments > 1).then_some(self.first),
            _ => self.arguments().nth(index as usize).map(|argument| argument.bytes),
        }
    }

    /// The verb; `None` when the name is unknown.
    #[inline]
    pub fn verb(&self) -> Option<Verb> {
        self.command.map(|command| command.verb)
    }

    /// The subcommand, or the command when it has none; `None` when either word is unknown.
    pub fn subcommand(&self) -> Option<&'static Command> {
        let command = self.command?;
        if command.subcommands.is_empty() {
            return Some(command);
        }
        // CLIENT, COMMAND and the like may stand alone, and then mean something of their own.
        if self.arguments == 1 { Some(command) } else { command.subcommand(self.first) }
    }

    /// Its keys, in the order in which redis-server finds them. Empty when there are none, when
    /// the command is unknown and when the arguments contradict the rule. The number of arguments
    /// is not checked: see [`Command::accepts`].
    pub fn keys(&self) -> Keys<'a> {
        Keys::new(self)
    }

    /// Its first key.
    #[inline]
    pub fn first_key(&self) -> Option<&'a [u8]> {
        match self.command {
            Some(command) if command.is_keyed_by_first => {
                (self.arguments > 1).then_some(self.first)
            }
            Some(_) => self.keys().next().map(|key| key.bytes),
            None => None,
        }
    }

    /// Whether a server may keep the connection waiting for its reply.
    pub fn may_block(&self) -> bool {
        match self.command.map(|command| command.kind) {
            Some(Kind::Blocking) => true,
            // The option stands before the keys; a key or group may have the same name.
            Some(Kind::BlockingOption) => {
                let group = if self.verb() == Some(Verb::Xreadgroup) { 3 } else { 0 };
                let options = self.arguments().skip(1 + group).map(|argument| argument.bytes);
                let mut options = options.take_while(|word| !word.eq_ignore_ascii_case(b"STREAMS"));
                options.any(|word| word.eq_ignore_ascii_case(b"BLOCK"))
            }
            _ => false,
        }
    }

    /// Whether redis-server closes the connection at once: `POST` and `Host:` come from a browser
    /// that was made to send them.
    pub fn is_http(&self) -> bool {
        self.name.eq_ignore_ascii_case(b"post") || self.name.eq_ignore_ascii_case(b"host:")
    }

    /// Appends it in normal form.
    pub fn render(&self, out: &mut Vec<u8>) {
        if self.is_normal {
            out.extend_from_slice(self.bytes);
            return;
        }
        render::array(out, u64::from(self.arguments));
        for argument in self.arguments() {
            render::bulk(out, argument.bytes);
        }
    }
}

/// One argument of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument<'a> {
    /// What it says.
    pub bytes: &'a [u8],
    /// How it was sent, with its length and line ends: of a request in normal form this may be
    /// copied into another request.
    pub encoded: &'a [u8],
}

/// The arguments of a request, by `Request::arguments`.
#[derive(Clone, Copy, Debug)]
pub struct Arguments<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for Arguments<'a> {
    type Item = Argument<'a>;

    #[inline]
    fn next(&mut self) -> Option<Argument<'a>> {
        if self.left == 0 {
            return None;
        }
        let (len, start) = match scan::resp_length(self.rest, 0, b'$') {
            Some(found) => found,
            None => odd_length(self.rest)?,
        };
        let end = start.checked_add(len)?;
        let (encoded, rest) = self.rest.split_at_checked(end.checked_add(2)?)?;
        self.rest = rest;
        self.left -= 1;
        Some(Argument { bytes: encoded.get(start..end)?, encoded })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Arguments<'_> {}

/// Reads a length with any number of digits, none included, and where the next line begins.
#[cold]
fn odd_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.iter().position(|&byte| byte == b'\r')?;
    let digits = bytes.get(1..end)?;
    let len = digits.iter().try_fold(0usize, |sum, digit| {
        sum.checked_mul(10)?.checked_add(usize::from(digit.wrapping_sub(b'0')))
    });
    Some((len?, end + 2))
}

/// Cuts the request at the front of `bytes`.
///
/// `progress` is that of the last call when it answered `Partial` and `bytes` begins with the
/// bytes it saw; else a new one. It is new again after every other answer.
#[inline]
pub fn cut<'a>(bytes: &'a [u8], limits: &Limits, progress: &mut Progress) -> Cut<'a> {
    if progress.at == 0
        && limits.is_authenticated
        && let Some(request) = quick(bytes, limits)
    {
        // Nothing else has been set while the first line has not been read.
        progress.scanned = 0;
        return Cut::Request(request);
    }
    exact(bytes, limits, progress)
}

/// Reads a complete request in normal form in one pass; `None` when there is anything unusual.
#[inline]
fn quick<'a>(bytes: &'a [u8], limits: &Limits) -> Option<Request<'a>> {
    let (arguments, name, mut at) = match short_head(bytes) {
        Some(head) => head,
        None => long_head(bytes, limits)?,
    };
    // A bulk ends with CR LF, and behind that `at` is.
    let name_at = at - 2 - name.len();
    if arguments > limits.arguments_max || name.len() > limits.bulk_bytes_max {
        return None;
    }
    let mut first: &[u8] = &[];
    if arguments > 1 {
        first = quick_bulk(bytes, &mut at, limits)?;
        for _ in 2..arguments {
            quick_bulk(bytes, &mut at, limits)?;
        }
    }
    let command = command::find_in(bytes, name_at, name.len());
    Some(Request { bytes: bytes.get(..at)?, command, name, first, arguments, is_normal: true })
}

/// The number of arguments, the name and where the next argument begins, when both numbers have
/// one digit, as in most requests: their two lines are eight bytes then.
#[inline(always)]
fn short_head(bytes: &[u8]) -> Option<(u32, &[u8], usize)> {
    const FORM: u64 = u64::from_le_bytes(*b"*\0\r\n$\0\r\n");
    const DIGITS: u64 = u64::from_le_bytes(*b"\0\xff\0\0\0\xff\0\0");
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*head) & !DIGITS != FORM {
        return None;
    }
    let [_, arguments, _, _, _, len, _, _] = head.map(|byte| byte.wrapping_sub(b'1'));
    let (name, line_end) = rest.split_at_checked(usize::from(len) + 1)?;
    let is_plain = arguments < 9 && len < 9 && line_end.first_chunk() == Some(b"\r\n");
    is_plain.then_some((u32::from(arguments) + 1, name, 8 + name.len() + 2))
}

/// As `short_head`, for any number of digits.
#[inline(never)]
fn long_head<'a>(bytes: &'a [u8], limits: &Limits) -> Option<(u32, &'a [u8], usize)> {
    let (arguments, mut at) = scan::resp_length(bytes, 0, b'*')?;
    let arguments = u32::try_from(arguments).ok().filter(|&count| count > 0)?;
    let name = quick_bulk(bytes, &mut at, limits).filter(|name| !name.is_empty())?;
    Some((arguments, name, at))
}

#[inline(always)]
fn quick_bulk<'a>(bytes: &'a [u8], at: &mut usize, limits: &Limits) -> Option<&'a [u8]> {
    let (len, start) = scan::resp_length(bytes, *at, b'$')?;
    let (bulk, rest) = bytes.get(start..)?.split_at_checked(len)?;
    if rest.first_chunk() != Some(b"\r\n") || len > limits.bulk_bytes_max {
        return None;
    }
    *at = start + len + 2;
    Some(bulk)
}

/// Reads anything, from where the last call stopped.
#[inline(never)]
fn exact<'a>(bytes: &'a [u8], limits: &Limits, progress: &mut Progress) -> Cut<'a> {
    let cut = match bytes.first() {
        None => return Cut::Partial,
        Some(b'*') => multibulk(bytes, limits, progress),
        Some(_) if limits.grammar == Grammar::Nutcracker => Cut::Malformed(Malformed::Nutcracker),
        Some(_) => inline::cut(bytes, limits.line_bytes_max, &mut progress.scanned),
    };
    if cut != Cut::Partial {
        *progress = Progress::default();
    }
    cut
}

fn multibulk<'a>(bytes: &'a [u8], limits: &Limits, progress: &mut Progress) -> Cut<'a> {
    if progress.arguments == 0 {
        match count(bytes, limits, progress) {
            Ok(Some(0)) => return Cut::Nothing { bytes: progress.at, is_line: false },
            Ok(Some(arguments)) => progress.arguments = arguments,
            Ok(None) => return Cut::Partial,
            Err(malformed) => return Cut::Malformed(malformed),
        }
    }
    while progress.seen < progress.arguments {
        match argument(bytes, limits, progress) {
            Ok(true) => {}
            Ok(false) => return Cut::Partial,
            Err(malformed) => return Cut::Malformed(malformed),
        }
    }
    let name = progress.name.of(bytes);
    Cut::Request(Request {
        bytes: bytes.get(..progress.at).unwrap_or_default(),
        command: command::find(name),
        name,
        first: progress.first.of(bytes),
        arguments: progress.arguments,
        is_normal: !progress.has_oddity,
    })
}

/// Reads the number of arguments; 0 is a request of nothing, `None` an incomplete line.
fn count(bytes: &[u8], limits: &Limits, progress: &mut Progress) -> Result<Option<u32>, Malformed> {
    let line = length_line(bytes, limits, progress, Malformed::LongMultibulkCount)?;
    let Some(line) = line else { return Ok(None) };
    let number = length(line.text, limits).ok_or(Malformed::MultibulkLength)?;
    progress.has_oddity |= line.is_odd;
    if limits.grammar == Grammar::Nutcracker && (number <= 0 || line.text.is_empty()) {
        return Err(Malformed::MultibulkLength);
    }
    if number <= 0 {
        return Ok(Some(0));
    }
    let arguments = u32::try_from(number).ok().filter(|&count| count <= limits.arguments_max);
    let arguments = arguments.ok_or(Malformed::MultibulkLength)?;
    if !limits.is_authenticated && arguments > UNAUTHENTICATED_ARGUMENTS_MAX {
        return Err(Malformed::UnauthenticatedMultibulk);
    }
    Ok(Some(arguments))
}

/// Reads one argument; false when it is not complete.
fn argument(bytes: &[u8], limits: &Limits, progress: &mut Progress) -> Result<bool, Malformed> {
    let len = match progress.bulk {
        Some(len) => len,
        None => match bulk_length(bytes, limits, progress)? {
            Some(len) => len,
            None => return Ok(false),
        },
    };
    progress.bulk = Some(len);
    let end = progress.at + len;
    let Some(line_end) = bytes.get(end..end + 2) else { return Ok(false) };
    if line_end != b"\r\n" {
        if limits.grammar == Grammar::Nutcracker {
            return Err(Malformed::Nutcracker);
        }
        progress.has_oddity = true;
    }
    let span = Span { at: progress.at, len };
    match progress.seen {
        0 if len == 0 && limits.grammar == Grammar::Nutcracker => {
            return Err(Malformed::Nutcracker);
        }
        0 => progress.name = span,
        1 => progress.first = span,
        _ => {}
    }
    progress.seen += 1;
    progress.bulk = None;
    progress.at = end + 2;
    Ok(true)
}

fn bulk_length(
    bytes: &[u8],
    limits: &Limits,
    progress: &mut Progress,
) -> Result<Option<usize>, Malformed> {
    match bytes.get(progress.at) {
        None => return Ok(None),
        Some(b'$') => {}
        Some(&byte) => return Err(Malformed::NoBulk(byte)),
    }
    let line = length_line(bytes, limits, progress, Malformed::LongBulkCount)?;
    let Some(line) = line else { return Ok(None) };
    let len = length(line.text, limits).and_then(|len| usize::try_from(len).ok());
    let len = len.filter(|&len| len <= limits.bulk_bytes_max).ok_or(Malformed::BulkLength)?;
    if !limits.is_authenticated && len > UNAUTHENTICATED_BULK_BYTES_MAX {
        return Err(Malformed::UnauthenticatedBulk);
    }
    progress.has_oddity |= line.is_odd;
    Ok(Some(len))
}

struct LengthLine<'a> {
    /// What stands between the type byte and the CR.
    text: &'a [u8],
    /// Whether it is not as it should be written.
    is_odd: bool,
}

/// Reads the line at `progress.at` and goes behind it. redis-server takes whatever byte follows
/// the CR for its LF; twemproxy does not.
fn length_line<'a>(
    bytes: &'a [u8],
    limits: &Limits,
    progress: &mut Progress,
    too_long: Malformed,
) -> Result<Option<LengthLine<'a>>, Malformed> {
    let rest = bytes.get(progress.at..).unwrap_or_default();
    let unseen = rest.get(progress.scanned..).unwrap_or_default();
    let within = unseen.get(..limits.line_bytes_max + 1 - progress.scanned).unwrap_or(unseen);
    let found = memchr::memchr(b'\r', within);
    if limits.grammar == Grammar::Nutcracker {
        // twemproxy does not wait for the end of a line that cannot become one.
        let come = within.get(usize::from(progress.scanned == 0)..found.unwrap_or(within.len()));
        if !come.unwrap_or_default().iter().all(u8::is_ascii_digit) {
            return Err(Malformed::Nutcracker);
        }
    }
    let Some(found) = found else {
        progress.scanned += within.len();
        return if progress.scanned > limits.line_bytes_max { Err(too_long) } else { Ok(None) };
    };
    progress.scanned += found;
    let end = progress.scanned;
    let Some(&line_feed) = rest.get(end + 1) else { return Ok(None) };
    if line_feed != b'\n' && limits.grammar == Grammar::Nutcracker {
        return Err(Malformed::Nutcracker);
    }
    let text = rest.get(1..end).unwrap_or_default();
    let has_leading_zero = text.len() > 1 && text.first() == Some(&b'0');
    progress.at += end + 2;
    progress.scanned = 0;
    let is_odd = line_feed != b'\n' || has_leading_zero || text.is_empty();
    Ok(Some(LengthLine { text, is_odd }))
}

/// A length by the rules of the grammar.
fn length(text: &[u8], limits: &Limits) -> Option<i64> {
    if text.len() > "-9223372036854775808".len() && limits.grammar == Grammar::Redis {
        return None;
    }
    let (is_negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        _ => (false, text),
    };
    if limits.grammar == Grammar::Redis {
        let has_leading_zero = digits.first() == Some(&b'0') && text.len() > 1;
        if digits.is_empty() || has_leading_zero {
            return None;
        }
    }
    let magnitude = digits.iter().try_fold(0i64, |sum, digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 { None } else { sum.checked_mul(10)?.checked_sub(i64::from(digit)) }
    })?;
    if is_negative { Some(magnitude) } else { magnitude.checked_neg() }
}

#[cfg(test)]
mod tests;
