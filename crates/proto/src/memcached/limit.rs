//! Limits of the memcached protocols, with memcached's numbers.
//!
//! Nothing here enforces them but `cut`, for the length of a line. Listeners on the embedded store
//! and proxied listeners differ in some, as memcached and its proxy do.

/// Longest key, in bytes. For a base64 key both its text and its decoded form obey this.
pub const KEY_BYTES_MAX: usize = 250;

/// Tokens of a request line that can be addressed; later ones are ignored, except that the keys
/// of a retrieval are unlimited.
pub const TOKEN_COUNT_MAX: usize = 23;

/// Most tokens a meta request may have, command and key included, before the embedded store
/// answers `CLIENT_ERROR options flags are too long`.
pub const META_FLAG_COUNT_MAX: usize = 20;

/// Longest opaque token of a meta request, in bytes, its letter `O` included.
pub const OPAQUE_BYTES_MAX: usize = 32;

/// Largest value length that a request may announce, in bytes.
pub const VALUE_BYTES_MAX: u64 = (i32::MAX - 2) as u64;

/// Longest text before the first key of a multi-key retrieval on a proxied listener, in bytes.
pub const MULTIGET_PREFIX_BYTES_MAX: usize = 20;

/// From this many bytes on, line end included, a proxied request line other than a multi-key
/// retrieval is too long.
pub const PROXIED_LINE_BYTES_TOO_LONG: usize = 500;

/// Bytes before the line feed that an authentication line may take before the client is closed.
pub const AUTH_LINE_BYTES_MAX: usize = 2048;

/// Longest value of the request that carries user and password, in bytes.
pub const AUTH_VALUE_BYTES_MAX: u64 = 16_384;

/// Longest reply line from a backend, in bytes, line end included.
pub const REPLY_LINE_BYTES_MAX: usize = 16_384;

/// How far a line may go before its line feed.
///
/// memcached closes a client that has sent more bytes than this without a line feed, whether or
/// not one follows in the next segment. Here the place of the line feed alone decides, so that
/// any split of the same bytes is treated alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineLimits {
    /// Bytes before the line feed of any request but a retrieval.
    pub line_bytes_max: usize,
    /// Bytes before the line feed of `get`, `gets`, `gat` and `gats`. memcached has no limit for
    /// the first two; a limit keeps a hostile client from taking memory without end.
    pub retrieval_line_bytes_max: usize,
}

impl LineLimits {
    /// Limits of a listener on the embedded store.
    pub const STORE: LineLimits =
        LineLimits { line_bytes_max: 2048, retrieval_line_bytes_max: 8 << 20 };
    /// Limits of a proxied listener.
    pub const PROXIED: LineLimits =
        LineLimits { line_bytes_max: 1024, retrieval_line_bytes_max: 8 << 20 };
}

/// Whether `key` may be sent to any server: 1 to `KEY_BYTES_MAX` bytes, no control character
/// and no space.
pub fn is_valid_key(key: &[u8]) -> bool {
    let in_bounds = !key.is_empty() && key.len() <= KEY_BYTES_MAX;
    in_bounds && key.iter().all(|&byte| byte > b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_and_printable() {
        assert!(is_valid_key(b"k"));
        assert!(is_valid_key(&[b'k'; KEY_BYTES_MAX]));
        assert!(is_valid_key("ключ".as_bytes()));
        assert!(!is_valid_key(b""));
        assert!(!is_valid_key(&[b'k'; KEY_BYTES_MAX + 1]));
        for key in [b"a b".as_slice(), b"a\n", b"\ta", b"a\0", b"\x7f"] {
            assert!(!is_valid_key(key), "{key:?}");
        }
    }
}
