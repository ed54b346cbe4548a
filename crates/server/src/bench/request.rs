//! Writing requests.

use std::io::Write;

use keyway_proto::resp;

use super::Protocol;
use super::content::Content;

/// Appends the request that reads these keys. Meta requests carry `opaque`; of several keys each
/// has its own, counted up from there, and a final `mn` marks the end of the replies.
pub fn write_get(
    protocol: Protocol,
    content: &Content,
    keys: &[u64],
    opaque: u32,
    out: &mut Vec<u8>,
) {
    match (protocol, keys) {
        (Protocol::Memcached, _) => {
            out.extend_from_slice(b"get");
            for &key in keys {
                out.push(b' ');
                content.write_key(key, out);
            }
            out.extend_from_slice(b"\r\n");
        }
        (Protocol::Meta, [key]) => {
            out.extend_from_slice(b"mg ");
            content.write_key(*key, out);
            write_text(out, format_args!(" k v O{opaque}\r\n"));
        }
        (Protocol::Meta, _) => {
            for (&key, opaque) in keys.iter().zip(opaque..) {
                out.extend_from_slice(b"mg ");
                content.write_key(key, out);
                write_text(out, format_args!(" q k v O{opaque}\r\n"));
            }
            out.extend_from_slice(b"mn\r\n");
        }
        (Protocol::Redis, _) => {
            write_head(out, b'*', keys.len() + 1);
            write_bulk(out, if keys.len() == 1 { b"GET" } else { b"MGET" });
            for &key in keys {
                write_resp_key(out, content, key);
            }
        }
    }
}

/// Appends the request that writes the value of this key.
pub fn write_set(protocol: Protocol, content: &Content, key: u64, opaque: u32, out: &mut Vec<u8>) {
    let len = content.value_len(key);
    match protocol {
        Protocol::Memcached => {
            out.extend_from_slice(b"set ");
            content.write_key(key, out);
            write_text(out, format_args!(" 0 0 {len}\r\n"));
        }
        Protocol::Meta => {
            out.extend_from_slice(b"ms ");
            content.write_key(key, out);
            write_text(out, format_args!(" {len} k O{opaque}\r\n"));
        }
        Protocol::Redis => {
            write_head(out, b'*', 3);
            write_bulk(out, b"SET");
            write_resp_key(out, content, key);
            write_head(out, b'$', len);
        }
    }
    content.write_value(key, out);
    out.extend_from_slice(b"\r\n");
}

fn write_resp_key(out: &mut Vec<u8>, content: &Content, key: u64) {
    write_head(out, b'$', content.key_len(key));
    content.write_key(key, out);
    out.extend_from_slice(b"\r\n");
}

fn write_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    write_head(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn write_head(out: &mut Vec<u8>, kind: u8, count: usize) {
    out.extend_from_slice(resp::head(kind, count as u64, &mut [0; resp::HEAD_BYTES_MAX]));
}

fn write_text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&Content, &mut Vec<u8>)) -> String {
        let content = Content::new(1, "0".parse().unwrap(), "0");
        let mut out = Vec::new();
        write(&content, &mut out);
        let mut key = Vec::new();
        content.write_key(5, &mut key);
        let key = String::from_utf8(key).unwrap();
        String::from_utf8(out).unwrap().replace(&key, "KEY").replace("\r\n", "|")
    }

    #[test]
    fn each_protocol_has_its_words() {
        let get = |protocol, keys: &'static [u64]| {
            text(|content, out| write_get(protocol, content, keys, 7, out))
        };
        let set = |protocol| text(|content, out| write_set(protocol, content, 5, 7, out));
        assert_eq!(get(Protocol::Memcached, &[5]), "get KEY|");
        assert_eq!(get(Protocol::Memcached, &[5, 5]), "get KEY KEY|");
        assert_eq!(get(Protocol::Meta, &[5]), "mg KEY k v O7|");
        assert_eq!(get(Protocol::Meta, &[5, 5]), "mg KEY q k v O7|mg KEY q k v O8|mn|");
        assert_eq!(get(Protocol::Redis, &[5]), "*2|$3|GET|$25|KEY|");
        assert_eq!(get(Protocol::Redis, &[5, 5]), "*3|$4|MGET|$25|KEY|$25|KEY|");
        assert_eq!(set(Protocol::Memcached), "set KEY 0 0 0||");
        assert_eq!(set(Protocol::Meta), "ms KEY 0 k O7||");
        assert_eq!(set(Protocol::Redis), "*3|$3|SET|$25|KEY|$0||");
    }
}
