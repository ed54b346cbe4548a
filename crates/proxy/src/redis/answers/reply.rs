//! Writes one reply in the version of the protocol that the client asked for.
//!
//! The forms are those of `proto::resp::render`; this remembers where to and in which version.
//! The caller counts elements; nothing is checked here.

use keyway_proto::resp::{Version, render};

/// Appends one reply, element by element.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    out: &'a mut Vec<u8>,
    version: Version,
}

impl<'a> Reply<'a> {
    pub fn new(out: &'a mut Vec<u8>, version: Version) -> Reply<'a> {
        Reply { out, version }
    }

    /// `+OK`
    pub fn ok(&mut self) {
        self.simple(b"OK");
    }

    /// A short text.
    pub fn simple(&mut self, text: &[u8]) {
        render::simple(self.out, text);
    }

    /// An error: its code, a space and its text in parts, any of which may come from a client.
    pub fn error(&mut self, parts: &[&[u8]]) {
        if let [text] = parts {
            render::error(self.out, text)
        } else {
            self.error(&[&parts.concat()])
        }
    }

    pub fn bulk(&mut self, bytes: &[u8]) {
        render::bulk(self.out, bytes);
    }

    /// Text for people.
    pub fn text(&mut self, text: &[u8]) {
        render::verbatim(self.out, *b"txt", text, self.version);
    }

    pub fn number(&mut self, number: i64) {
        render::integer(self.out, number);
    }

    pub fn null(&mut self) {
        render::null(self.out, self.version);
    }

    pub fn array(&mut self, count: usize) {
        render::array(self.out, count as u64);
    }

    pub fn set(&mut self, count: usize) {
        render::set(self.out, count as u64, self.version);
    }

    /// So many keys, each followed by its value.
    pub fn map(&mut self, count: usize) {
        render::map(self.out, count as u64, self.version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_error_stay_on_one_line() {
        let mut out = Vec::new();
        Reply::new(&mut out, Version::Two).error(&[b"ERR no '", b"a\r\nb", b"'"]);
        assert_eq!(out, b"-ERR no 'a  b'\r\n");
    }
}
