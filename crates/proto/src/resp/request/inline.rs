//! Requests as lines of words, as people type them.
//!
//! Words are separated by white space and may be quoted as redis-server's splitter understands
//! it: double quotes with escapes, single quotes with `\'`, a quote only at the end of a word.
//! The words are not slices of the line then, so the line is rendered as an array first.

use super::{Cut, Malformed};
use crate::resp::render;

/// A complete line of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inline<'a> {
    /// The line without its line end.
    pub line: &'a [u8],
    /// Bytes of the line with its line end.
    pub bytes: usize,
    /// Number of words: at least 1.
    pub arguments: u32,
}

impl Inline<'_> {
    /// Appends the request in normal form, an array; `cut` reads it.
    pub fn render(&self, out: &mut Vec<u8>) {
        render::array(out, u64::from(self.arguments));
        let mut at = 0;
        for _ in 0..self.arguments {
            let mut len = 0u64;
            // The length stands before the word, so each word is read twice.
            let _ = word(self.line, at, |_| len += 1);
            render::bulk_head(out, len);
            let Ok(Some(end)) = word(self.line, at, |byte| out.push(byte)) else { return };
            out.extend_from_slice(b"\r\n");
            at = end;
        }
    }
}

/// Cuts the line at the front of `bytes`, of which the first `scanned` hold no line end.
pub(super) fn cut<'a>(bytes: &'a [u8], line_bytes_max: usize, scanned: &mut usize) -> Cut<'a> {
    let within = bytes.get(..line_bytes_max + 1).unwrap_or(bytes);
    let unseen = within.get(*scanned..).unwrap_or_default();
    let found = memchr::memchr2(b'\n', 0, unseen).map(|found| *scanned + found);
    // redis-server never sees past a zero byte: the line has no end for it.
    let Some(end) = found.filter(|&end| within.get(end) == Some(&b'\n')) else {
        *scanned = found.unwrap_or(within.len());
        let is_too_long = within.len() > line_bytes_max;
        return if is_too_long { Cut::Malformed(Malformed::LongInline) } else { Cut::Partial };
    };
    let line = bytes.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut arguments = 0;
    let mut at = 0;
    loop {
        match word(line, at, |_| ()) {
            Ok(Some(end)) => at = end,
            Ok(None) => break,
            Err(malformed) => return Cut::Malformed(malformed),
        }
        arguments += 1;
    }
    if arguments == 0 {
        return Cut::Nothing { bytes: end + 1, is_line: true };
    }
    Cut::Inline(Inline { line, bytes: end + 1, arguments })
}

/// Reads the word at or after `from`, gives its bytes to `take` and returns where it ends; `None`
/// when there is no further word.
fn word(line: &[u8], from: usize, mut take: impl FnMut(u8)) -> Result<Option<usize>, Malformed> {
    let mut at = from;
    while line.get(at).is_some_and(|&byte| is_space(byte)) {
        at += 1;
    }
    if at >= line.len() {
        return Ok(None);
    }
    while let Some(&byte) = line.get(at) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => break,
            b'"' => return double_quoted(line, at + 1, take).map(Some),
            b'\'' => return single_quoted(line, at + 1, take).map(Some),
            _ => take(byte),
        }
        at += 1;
    }
    Ok(Some(at))
}

fn double_quoted(line: &[u8], mut at: usize, mut take: impl FnMut(u8)) -> Result<usize, Malformed> {
    loop {
        match line.get(at..).unwrap_or_default() {
            [b'"', rest @ ..] => return closed(rest, at + 1),
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                take(hex(*high) << 4 | hex(*low));
                at += 4;
            }
            [b'\\', letter, ..] => {
                take(escaped(*letter));
                at += 2;
            }
            [byte, ..] => {
                take(*byte);
                at += 1;
            }
            [] => return Err(Malformed::UnbalancedQuotes),
        }
    }
}

fn single_quoted(line: &[u8], mut at: usize, mut take: impl FnMut(u8)) -> Result<usize, Malformed> {
    loop {
        match line.get(at..).unwrap_or_default() {
            [b'\\', b'\'', ..] => {
                take(b'\'');
                at += 2;
            }
            [b'\'', rest @ ..] => return closed(rest, at + 1),
            [byte, ..] => {
                take(*byte);
                at += 1;
            }
            [] => return Err(Malformed::UnbalancedQuotes),
        }
    }
}

/// A closing quote ends its word: white space or nothing may follow.
fn closed(rest: &[u8], at: usize) -> Result<usize, Malformed> {
    match rest.first() {
        Some(&byte) if !is_space(byte) => Err(Malformed::UnbalancedQuotes),
        _ => Ok(at),
    }
}

const fn escaped(letter: u8) -> u8 {
    match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}
