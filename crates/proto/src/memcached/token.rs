//! Tokens of a line: runs of bytes other than the space. Tabs and other bytes are part of them.
//!
//! This is how memcached's tokenizer splits, for requests and replies alike. Whoever reads the
//! arguments of a request goes over these.

use std::ops::Range;

use crate::scan::space;

/// Splits a line (without its line end) into its tokens. Runs of spaces separate them once.
#[inline]
pub const fn tokens(line: &[u8]) -> Tokens<'_> {
    Tokens { line, at: 0 }
}

/// Iterator over the tokens of a line, from `tokens`.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    /// The tokens of `line` that start at or after the byte offset `at`.
    #[inline]
    pub const fn starting_at(line: &'a [u8], at: usize) -> Self {
        Tokens { line, at }
    }

    /// The next token's place in the line.
    #[inline]
    pub fn next_range(&mut self) -> Option<Range<usize>> {
        let mut start = self.at;
        while *self.line.get(start)? == b' ' {
            start += 1;
        }
        let end = space(self.line, start);
        self.at = end;
        Some(start..end)
    }

    /// What has not been split yet, leading spaces included.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or(&[])
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let range = self.next_range()?;
        self.line.get(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_spaces_separate() {
        let found: Vec<&[u8]> = tokens(b"  a\tb  c\r d  ").collect();
        assert_eq!(found, [b"a\tb".as_slice(), b"c\r", b"d"]);
        assert_eq!(tokens(b"").count(), 0);
        assert_eq!(tokens(b"   ").count(), 0);
    }

    proptest! {
        #[test]
        fn tokens_are_what_split_gives(line in "[ a\t\r\n]{0,40}") {
            let found: Vec<&[u8]> = tokens(line.as_bytes()).collect();
            let split: Vec<&[u8]> =
                line.split(' ').filter(|t| !t.is_empty()).map(str::as_bytes).collect();
            prop_assert_eq!(found, split);
        }
    }
}
