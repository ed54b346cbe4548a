//! Writing requests and replies into a buffer that the caller keeps.
//!
//! Nothing is allocated but what the buffer needs. What differs between the versions of the
//! protocol takes the version and writes the nearest form that RESP2 has.

use std::io::Write;

use super::Version;
use crate::number::Decimal;

/// Appends `+text`; CR and LF become spaces.
pub fn simple(out: &mut Vec<u8>, text: &[u8]) {
    line(out, b'+', text);
}

/// Appends an error; `text` begins with its code, such as `ERR`. CR and LF become spaces.
pub fn error(out: &mut Vec<u8>, text: &[u8]) {
    line(out, b'-', text);
}

/// Appends an integer.
pub fn integer(out: &mut Vec<u8>, value: i64) {
    out.push(b':');
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(Decimal::new(value.unsigned_abs()).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a bulk string.
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    bulk_head(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of a bulk string; its `len` bytes and CR LF have to follow.
pub fn bulk_head(out: &mut Vec<u8>, len: u64) {
    head(out, b'$', len);
}

/// Appends what stands for no value: a bulk of length -1 or the null of RESP3.
pub fn null(out: &mut Vec<u8>, version: Version) {
    out.extend_from_slice(if version == Version::Two { b"$-1\r\n" } else { b"_\r\n" });
}

/// Appends what stands for no array: an array of length -1 or the null of RESP3.
pub fn null_array(out: &mut Vec<u8>, version: Version) {
    out.extend_from_slice(if version == Version::Two { b"*-1\r\n" } else { b"_\r\n" });
}

/// Appends the head of an array of `count` elements, or of a request of as many arguments.
pub fn array(out: &mut Vec<u8>, count: u64) {
    head(out, b'*', count);
}

/// Appends the head of a map of `count` pairs; in RESP2 an array of keys and values.
pub fn map(out: &mut Vec<u8>, count: u64, version: Version) {
    match version {
        Version::Two => head(out, b'*', count * 2),
        Version::Three => head(out, b'%', count),
    }
}

/// Appends the head of a set of `count` elements; in RESP2 an array.
pub fn set(out: &mut Vec<u8>, count: u64, version: Version) {
    head(out, if version == Version::Two { b'*' } else { b'~' }, count);
}

/// Appends the head of a push of `count` elements; in RESP2 an array.
pub fn push(out: &mut Vec<u8>, count: u64, version: Version) {
    head(out, if version == Version::Two { b'*' } else { b'>' }, count);
}

/// Appends a boolean; in RESP2 the integer 1 or 0.
pub fn boolean(out: &mut Vec<u8>, value: bool, version: Version) {
    out.extend_from_slice(match (version, value) {
        (Version::Two, true) => b":1\r\n",
        (Version::Two, false) => b":0\r\n",
        (Version::Three, true) => b"#t\r\n",
        (Version::Three, false) => b"#f\r\n",
    });
}

/// Appends a double; in RESP2 a bulk string of its digits. The shortest digits that read back as
/// the same number, with an exponent where there would be many zeros.
pub fn double(out: &mut Vec<u8>, value: f64, version: Version) {
    let mut digits = [0; DOUBLE_BYTES_MAX];
    let mut rest = digits.as_mut_slice();
    let magnitude = value.abs();
    let written = if value.is_nan() {
        rest.write_all(b"nan")
    } else if value.is_infinite() {
        rest.write_all(if value > 0.0 { b"inf" } else { b"-inf" })
    } else if magnitude != 0.0 && !(1e-5..1e17).contains(&magnitude) {
        write!(rest, "{value:e}")
    } else {
        write!(rest, "{value}")
    };
    written.expect("a double's shortest digits fit the buffer");
    let left = rest.len();
    let digits = digits.get(..DOUBLE_BYTES_MAX - left).unwrap_or_default();
    match version {
        Version::Two => bulk(out, digits),
        Version::Three => line(out, b',', digits),
    }
}

/// Longest digits of a double: 17 of them, a sign, a point, five zeros and an exponent.
const DOUBLE_BYTES_MAX: usize = 40;

/// Appends a verbatim string whose format is `format`; in RESP2 a bulk string.
pub fn verbatim(out: &mut Vec<u8>, format: [u8; 3], bytes: &[u8], version: Version) {
    if version == Version::Two {
        return bulk(out, bytes);
    }
    head(out, b'=', bytes.len() as u64 + 4);
    out.extend_from_slice(&format);
    out.push(b':');
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends a request of these arguments, the name first.
pub fn request(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    array(out, arguments.len() as u64);
    for argument in arguments {
        bulk(out, argument);
    }
}

fn head(out: &mut Vec<u8>, kind: u8, count: u64) {
    out.push(kind);
    out.extend_from_slice(Decimal::new(count).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// A line end inside would let whoever wrote `text` forge the replies behind it.
fn line(out: &mut Vec<u8>, kind: u8, text: &[u8]) {
    out.push(kind);
    let harmless = |&byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte };
    out.extend(text.iter().map(harmless));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
