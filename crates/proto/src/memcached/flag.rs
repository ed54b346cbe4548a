//! Flags of meta requests and replies: a letter and, directly behind it, its argument.
//!
//! Only the form is read here. What a flag means, which exist and whether one may come twice is
//! for whoever executes the request.

use super::limit::TOKEN_COUNT_MAX;
use super::token::Tokens;

/// One flag of a meta line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetaFlag<'a> {
    /// The first byte of the token.
    pub letter: u8,
    /// The bytes after the letter; often empty.
    pub argument: &'a [u8],
    /// Offset of the letter in the line.
    pub at: usize,
}

/// The flags of `line` from the byte offset `at` on. Every token counts as a flag.
#[inline]
pub const fn meta_flags(line: &[u8], at: usize) -> MetaFlags<'_> {
    MetaFlags { line, tokens: Tokens::starting_at(line, at), left: TOKEN_COUNT_MAX }
}

/// Iterator over meta flags, from `meta_flags`.
#[derive(Clone, Copy, Debug)]
pub struct MetaFlags<'a> {
    line: &'a [u8],
    tokens: Tokens<'a>,
    left: usize,
}

impl MetaFlags<'_> {
    /// The same flags, but none after the first `count` of those still to come.
    #[inline]
    pub const fn at_most(mut self, count: usize) -> Self {
        self.left = count;
        self
    }
}

impl<'a> Iterator for MetaFlags<'a> {
    type Item = MetaFlag<'a>;

    #[inline]
    fn next(&mut self) -> Option<MetaFlag<'a>> {
        self.left = self.left.checked_sub(1)?;
        let range = self.tokens.next_range()?;
        let at = range.start;
        let (&letter, argument) = self.line.get(range)?.split_first()?;
        Some(MetaFlag { letter, argument, at })
    }
}

/// Whether `letter` may start a flag of a request; any other byte makes the line malformed.
#[inline]
pub(crate) const fn is_flag_byte(letter: u8) -> bool {
    matches!(letter, b'A'..=b'z' | b'0'..=b'9')
}
