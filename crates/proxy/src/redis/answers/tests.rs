//! What clients are answered, by example and against a real redis-server.
