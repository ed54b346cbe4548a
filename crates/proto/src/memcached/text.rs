//! The fixed reply lines of memcached and of its proxy, each with its line end.
//!
//! The texts are protocol: clients and test suites compare them byte by byte.

/// A stored value.
pub const STORED: &[u8] = b"STORED\r\n";
/// The condition of a store command did not hold.
pub const NOT_STORED: &[u8] = b"NOT_STORED\r\n";
/// The item changed since its CAS number was read.
pub const EXISTS: &[u8] = b"EXISTS\r\n";
/// There is no such item.
pub const NOT_FOUND: &[u8] = b"NOT_FOUND\r\n";
/// A removed item.
pub const DELETED: &[u8] = b"DELETED\r\n";
/// A new expiry time.
pub const TOUCHED: &[u8] = b"TOUCHED\r\n";
/// Done.
pub const OK: &[u8] = b"OK\r\n";
/// End of a retrieval or of a list.
pub const END: &[u8] = b"END\r\n";
/// Statistics were reset.
pub const RESET: &[u8] = b"RESET\r\n";
/// Meta: a miss.
pub const META_MISS: &[u8] = b"EN\r\n";
/// Meta: no operation, the barrier of a quiet pipeline.
pub const META_NOOP: &[u8] = b"MN\r\n";

/// The command is not known.
pub const ERROR: &[u8] = b"ERROR\r\n";
/// The line does not have the form of its command.
pub const BAD_LINE_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format\r\n";
/// The value does not end with a carriage return and a line feed.
pub const BAD_DATA_CHUNK: &[u8] = b"CLIENT_ERROR bad data chunk\r\n";
/// An expiry time that is no number.
pub const INVALID_EXPTIME: &[u8] = b"CLIENT_ERROR invalid exptime argument\r\n";
/// A delta of `incr` or `decr` that is no number.
pub const INVALID_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta argument\r\n";
/// A counter command on a value that is no number.
pub const NON_NUMERIC: &[u8] = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
/// The value is larger than the item size limit.
pub const TOO_LARGE: &[u8] = b"SERVER_ERROR object too large for cache\r\n";
/// There is no memory for the value.
pub const OUT_OF_MEMORY_STORING: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";
/// There is no memory for the reply of a retrieval.
pub const OUT_OF_MEMORY_GET: &[u8] = b"SERVER_ERROR out of memory writing get response\r\n";
/// There is no memory for the bytes of a request.
pub const OUT_OF_MEMORY_READING: &[u8] = b"SERVER_ERROR out of memory reading request\r\n";
/// A reply line that would be longer than 1 KiB.
pub const OUTPUT_LINE_TOO_LONG: &[u8] = b"SERVER_ERROR output line too long\r\n";
/// There are more connections than allowed; the connection is closed after this line.
pub const TOO_MANY_CONNECTIONS: &[u8] = b"ERROR Too many open connections\r\n";
/// `flush_all` is disabled.
pub const FLUSH_NOT_ALLOWED: &[u8] = b"CLIENT_ERROR flush_all not allowed\r\n";
/// `watch` is disabled.
pub const WATCH_NOT_ALLOWED: &[u8] = b"CLIENT_ERROR watch commands not allowed\r\n";
/// `shutdown` is disabled.
pub const SHUTDOWN_NOT_ENABLED: &[u8] = b"SERVER_ERROR: shutdown not enabled\r\n";
/// `shutdown` with a mode that does not exist.
pub const INVALID_SHUTDOWN_MODE: &[u8] = b"CLIENT_ERROR invalid shutdown mode\r\n";
/// The commands that dump keys are disabled.
pub const KEY_DUMP_NOT_ALLOWED: &[u8] = b"ERROR key dump not allowed\r\n";
/// There is no memory for the counter.
pub const OUT_OF_MEMORY: &[u8] = b"SERVER_ERROR out of memory\r\n";

/// Meta: a token that cannot be read.
pub const META_BAD_TOKEN: &[u8] = b"CLIENT_ERROR bad token in command line format\r\n";
/// Meta: the same flag twice.
pub const META_DUPLICATE_FLAG: &[u8] = b"CLIENT_ERROR duplicate flag\r\n";
/// Meta: a flag that does not exist.
pub const META_INVALID_FLAG: &[u8] = b"CLIENT_ERROR invalid flag\r\n";
/// Meta `ma`: a flag that does not exist, or twice.
pub const META_INVALID_OR_DUPLICATE_FLAG: &[u8] = b"CLIENT_ERROR invalid or duplicate flag\r\n";
/// Meta: more tokens than allowed.
pub const META_TOO_MANY_FLAGS: &[u8] = b"CLIENT_ERROR options flags are too long\r\n";
/// Meta `ms`: a mode that does not exist.
pub const META_INVALID_STORE_MODE: &[u8] = b"CLIENT_ERROR invalid mode for ms M token\r\n";
/// Meta `ma`: a mode that does not exist.
pub const META_INVALID_COUNTER_MODE: &[u8] = b"CLIENT_ERROR invalid mode for ma M token\r\n";
/// Meta `ma`: an initial value that is no number.
pub const META_INVALID_INITIAL: &[u8] = b"CLIENT_ERROR invalid numeric initial value\r\n";
/// Meta `ma`: a delta that is no number.
pub const META_INVALID_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta value\r\n";
/// Meta `ma`: there is no memory for the new counter.
pub const META_OUT_OF_MEMORY_NEW: &[u8] = b"SERVER_ERROR Out of memory allocating new item\r\n";
/// Meta: an opaque above its limit.
pub const META_OPAQUE_TOO_LONG: &[u8] = b"CLIENT_ERROR opaque token too long\r\n";
/// Meta: a base64 key that cannot be decoded.
pub const META_BAD_KEY: &[u8] = b"CLIENT_ERROR error decoding key\r\n";

/// A client that must authenticate first.
pub const UNAUTHENTICATED: &[u8] = b"CLIENT_ERROR unauthenticated\r\n";
/// Wrong user or password.
pub const AUTHENTICATION_FAILURE: &[u8] = b"CLIENT_ERROR authentication failure\r\n";
/// An authentication value above its limit.
pub const AUTH_TOKEN_TOO_LONG: &[u8] = b"CLIENT_ERROR auth token too long\r\n";
/// An authentication value without a space.
pub const BAD_AUTH_TOKEN: &[u8] = b"CLIENT_ERROR bad authentication token format\r\n";
/// An authentication value without its line end.
pub const BAD_AUTH_TERMINATION: &[u8] = b"CLIENT_ERROR bad command line termination\r\n";

/// Proxied: a request that does not have the form of its command.
pub const PROXIED_PARSING_REQUEST: &[u8] = b"CLIENT_ERROR parsing request\r\n";
/// Proxied: too much text before the first key of a multi-key retrieval.
pub const PROXIED_MALFORMED_REQUEST: &[u8] = b"CLIENT_ERROR malformed request\r\n";
/// Proxied: a key of a multi-key retrieval above its limit.
pub const PROXIED_KEY_TOO_LONG: &[u8] = b"CLIENT_ERROR key too long\r\n";
/// Proxied: a line above its limit.
pub const PROXIED_REQUEST_TOO_LONG: &[u8] = b"CLIENT_ERROR request too long\r\n";
/// Proxied: the backend gave no usable reply.
pub const BACKEND_FAILURE: &[u8] = b"SERVER_ERROR backend failure\r\n";
/// Proxied: too many requests in flight.
pub const ACTIVE_REQUEST_LIMIT: &[u8] = b"SERVER_ERROR active request limit reached\r\n";
