//! Parts of requests and replies that have a bounded length, written on the stack.
//!
//! Keys, values and fixed words are the caller's to append as they are; what needs formatting
//! is here. No function allocates: each gives a small buffer with `as_bytes`.

use crate::number::Decimal;

/// Bytes on the stack, at most `N`.
#[derive(Clone, Copy, Debug)]
pub struct Short<const N: usize> {
    buf: [u8; N],
    len: usize,
}

impl<const N: usize> Short<N> {
    const fn empty() -> Self {
        Short { buf: [0; N], len: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(room) = self.buf.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
            self.len = end;
        } else {
            debug_assert!(false, "the buffer of a short text is sized for its longest form");
        }
    }

    fn push_number(&mut self, number: u64) {
        self.push(Decimal::new(number).as_bytes());
    }

    /// What was written.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or(&[])
    }
}

impl<const N: usize> AsRef<[u8]> for Short<N> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// What follows the key in a `VALUE` line: ` <flags> <bytes>[ <cas>]` and the line end.
#[inline]
pub fn value_tail(client_flags: u64, value_bytes: u64, cas: Option<u64>) -> Short<65> {
    let mut out = Short::empty();
    out.push(b" ");
    out.push_number(client_flags);
    out.push(b" ");
    out.push_number(value_bytes);
    if let Some(cas) = cas {
        out.push(b" ");
        out.push_number(cas);
    }
    out.push(b"\r\n");
    out
}

/// What follows the key in a store command: ` <flags> <exptime> <bytes>[ <cas>]`, without
/// `noreply` and without the line end.
pub fn store_tail(
    client_flags: u64,
    exptime: i64,
    value_bytes: u64,
    cas: Option<u64>,
) -> Short<85> {
    let mut out = Short::empty();
    out.push(b" ");
    out.push_number(client_flags);
    out.push(if exptime < 0 { b" -" } else { b" " });
    out.push_number(exptime.unsigned_abs());
    out.push(b" ");
    out.push_number(value_bytes);
    if let Some(cas) = cas {
        out.push(b" ");
        out.push_number(cas);
    }
    out
}

/// A number on a line of its own: the reply of `incr` and `decr`.
#[inline]
pub fn number_line(number: u64) -> Short<22> {
    let mut out = Short::empty();
    out.push_number(number);
    out.push(b"\r\n");
    out
}

/// A space, `letter` and `number`: a meta flag with a numeric argument.
#[inline]
pub fn numeric_flag(letter: u8, number: u64) -> Short<22> {
    let mut out = Short::empty();
    out.push(&[b' ', letter]);
    out.push_number(number);
    out
}

/// `VA <bytes>`, the start of a meta reply with a value.
#[inline]
pub fn meta_value_start(value_bytes: u64) -> Short<23> {
    let mut out = Short::empty();
    out.push(b"VA ");
    out.push_number(value_bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_forms_fit() {
        let max = u64::MAX.to_string();
        assert_eq!(
            value_tail(u64::MAX, u64::MAX, Some(u64::MAX)).as_bytes(),
            format!(" {max} {max} {max}\r\n").as_bytes()
        );
        assert_eq!(
            store_tail(u64::MAX, i64::MIN, u64::MAX, Some(u64::MAX)).as_bytes(),
            format!(" {max} {} {max} {max}", i64::MIN).as_bytes()
        );
        assert_eq!(number_line(u64::MAX).as_bytes(), format!("{max}\r\n").as_bytes());
        assert_eq!(numeric_flag(b'c', u64::MAX).as_bytes(), format!(" c{max}").as_bytes());
        assert_eq!(meta_value_start(u64::MAX).as_bytes(), format!("VA {max}").as_bytes());
    }

    #[test]
    fn ordinary_forms() {
        assert_eq!(value_tail(0, 5, None).as_bytes(), b" 0 5\r\n");
        assert_eq!(store_tail(3, -1, 5, None).as_bytes(), b" 3 -1 5");
        assert_eq!(number_line(0).as_bytes(), b"0\r\n");
    }
}
