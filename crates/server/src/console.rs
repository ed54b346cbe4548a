//! Words to whoever started us, on standard output and standard error.
//!
//! The standard macros panic when nobody reads them any more (`keyway check … | head`); a closed
//! stream is the reader's choice and no reason to end a server.

use std::fmt::Display;
use std::io::{self, Write};

/// A line on standard output.
pub fn out(text: impl Display) {
    let _closed = writeln!(io::stdout(), "{text}");
}

/// A line on standard error.
pub fn err(text: impl Display) {
    let _closed = writeln!(io::stderr(), "{text}");
}

/// Text with its own line ends on standard output.
pub fn out_text(text: &str) {
    let _closed = io::stdout().write_all(text.as_bytes());
}

/// Text with its own line ends on standard error.
pub fn err_text(text: &str) {
    let _closed = io::stderr().write_all(text.as_bytes());
}
