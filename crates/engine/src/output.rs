//! Bytes waiting to be sent on one connection.
