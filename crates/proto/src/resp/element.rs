//! The head of one element of a reply, and the head of an element that is written.
//!
//! Enough for a client that sends commands and follows the replies element by element, as the
//! load generator does. The proxy follows whole replies: see `super::reply`.

use crate::number;

/// Longest line of a reply that this reader accepts, in bytes, line end included.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// What the front of a server's bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyCut<'a> {
    /// One element's head; `head_bytes` is what it takes with its line end.
    Element {
        /// The element.
        element: Element<'a>,
        /// Bytes of its line, line end included.
        head_bytes: usize,
    },
    /// The line is not complete yet.
    Partial,
    /// No RESP.
    Malformed,
}

/// The head of one element of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element<'a> {
    /// `+`: a short text.
    Simple(&'a [u8]),
    /// `-`: an error.
    Error(&'a [u8]),
    /// `:`: a number.
    Integer(i64),
    /// `$`, `=`, `!`: that many bytes and CR LF follow. The first field is the type byte.
    Bulk(u8, u64),
    /// `_`, or a bulk or array of length -1.
    Null,
    /// `*`, `~`, `>`: that many elements follow. The first field is the type byte.
    Array(u8, u64),
    /// `%`, `|`: that many pairs of elements follow. The first field is the type byte.
    Map(u8, u64),
    /// `#`: true or false.
    Boolean(bool),
    /// `,`, `(`: a double or a big number, as text. The first field is the type byte.
    Text(u8, &'a [u8]),
}

/// Cuts the head of one element off the front of `bytes`.
pub fn cut_reply(bytes: &[u8]) -> ReplyCut<'_> {
    let within = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(at) = memchr::memchr(b'\n', within) else {
        let is_too_long = bytes.len() >= LINE_BYTES_MAX;
        return if is_too_long { ReplyCut::Malformed } else { ReplyCut::Partial };
    };
    let line = bytes.get(..at).and_then(|line| line.strip_suffix(b"\r"));
    match line.and_then(element) {
        Some(element) => ReplyCut::Element { element, head_bytes: at + 1 },
        None => ReplyCut::Malformed,
    }
}

fn element(line: &[u8]) -> Option<Element<'_>> {
    let (&kind, text) = line.split_first()?;
    Some(match kind {
        b'+' => Element::Simple(text),
        b'-' => Element::Error(text),
        b':' => Element::Integer(integer(text)?),
        b'$' | b'*' if text == b"-1" => Element::Null,
        b'$' | b'=' | b'!' => Element::Bulk(kind, length(text)?),
        b'*' | b'~' | b'>' => Element::Array(kind, length(text)?),
        b'%' | b'|' => Element::Map(kind, length(text)?),
        b'_' if text.is_empty() => Element::Null,
        b'#' if text == b"t" => Element::Boolean(true),
        b'#' if text == b"f" => Element::Boolean(false),
        b',' | b'(' => Element::Text(kind, text),
        _ => return None,
    })
}

fn length(text: &[u8]) -> Option<u64> {
    if text.is_empty() { None } else { number::strict_u64(text) }
}

fn integer(text: &[u8]) -> Option<i64> {
    let text = text.strip_prefix(b"+").unwrap_or(text);
    if text.is_empty() || text == b"-" { None } else { number::strict_i64(text) }
}

/// Bytes that `head` writes at most.
pub const HEAD_BYTES_MAX: usize = 23;

/// Writes `kind`, `count` and a line end into `out`, and returns the part written: the head of an
/// array (`*`) or of a bulk (`$`). A command is an array of bulks, each followed by CR LF.
pub fn head(kind: u8, count: u64, out: &mut [u8; HEAD_BYTES_MAX]) -> &[u8] {
    let digits = number::Decimal::new(count);
    let mut written = 0;
    for &byte in [kind].iter().chain(digits.as_bytes()).chain(b"\r\n") {
        if let Some(slot) = out.get_mut(written) {
            *slot = byte;
            written += 1;
        }
    }
    out.get(..written).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Option<Element<'_>> {
        match cut_reply(bytes) {
            ReplyCut::Element { element, head_bytes } => {
                assert_eq!(bytes.get(head_bytes - 2..head_bytes), Some(b"\r\n".as_slice()));
                Some(element)
            }
            ReplyCut::Partial | ReplyCut::Malformed => None,
        }
    }

    #[test]
    fn each_type_is_read() {
        let cases: [(&[u8], Element<'_>); 14] = [
            (b"+OK\r\n", Element::Simple(b"OK")),
            (b"-ERR no\r\n", Element::Error(b"ERR no")),
            (b":-12\r\n", Element::Integer(-12)),
            (b":+12\r\n", Element::Integer(12)),
            (b"$5\r\nhello\r\n", Element::Bulk(b'$', 5)),
            (b"$-1\r\n", Element::Null),
            (b"*-1\r\n", Element::Null),
            (b"_\r\n", Element::Null),
            (b"*0\r\n", Element::Array(b'*', 0)),
            (b">2\r\n", Element::Array(b'>', 2)),
            (b"%1\r\n", Element::Map(b'%', 1)),
            (b"#t\r\n", Element::Boolean(true)),
            (b",1.5\r\n", Element::Text(b',', b"1.5")),
            (b"(123\r\n", Element::Text(b'(', b"123")),
        ];
        for (bytes, element) in cases {
            assert_eq!(read(bytes), Some(element), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_is_no_resp_is_malformed() {
        for bytes in [
            b"\r\n".as_slice(),
            b"+OK\n",
            b"$\r\n",
            b"$-2\r\n",
            b":\r\n",
            b":-\r\n",
            b"#x\r\n",
            b"END\r\n",
        ] {
            assert_eq!(
                cut_reply(bytes),
                ReplyCut::Malformed,
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        assert_eq!(cut_reply(b"+OK\r"), ReplyCut::Partial);
        assert_eq!(cut_reply(&[b'+'; LINE_BYTES_MAX]), ReplyCut::Malformed);
    }

    proptest! {
        #[test]
        fn written_heads_read_back(count: u64) {
            let mut out = [0; HEAD_BYTES_MAX];
            prop_assert_eq!(read(head(b'*', count, &mut out)), Some(Element::Array(b'*', count)));
            prop_assert_eq!(read(head(b'$', count, &mut out)), Some(Element::Bulk(b'$', count)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = cut_reply(&bytes);
        }
    }
}
