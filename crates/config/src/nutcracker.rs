//! nutcracker's (twemproxy's) configuration file and command line.
//!
//! [`load`] reads `nutcracker.yml` as nutcracker 0.5.0 does: what it accepts is accepted, what it
//! refuses is refused, and the reason it would write to its log is kept beside our findings. It
//! works in nutcracker's order (grammar, structure, directives, pools, the whole), since only that
//! makes the first reason the same. [`argv`] reads the command line. Nothing here opens a file.

pub mod argv;
mod convert;
mod directive;
mod file;
mod model;
mod value;
mod yaml;

use std::io;
use std::net::SocketAddr;

use keyway_proxy::config::Compat;

use crate::diagnostic::{Diagnostic, Findings, Source};
use crate::native::Loaded;

pub use convert::{Converted, convert};
pub use directive::DIRECTIVES;
pub use file::{File, Listen, Pool, Server};

/// The version of nutcracker that is kept to: what `-V` and the statistics say.
pub const VERSION: &str = "0.5.0";

/// How a file becomes a configuration.
#[derive(Clone, Copy)]
pub struct Options<'r> {
    /// Worker threads. At least 1.
    pub workers: usize,
    /// How closely nutcracker is kept to; see [`Compat`].
    pub compat: Compat,
    /// Finds the addresses of host names in `listen` (its ports are ignored). The first counts.
    pub resolver: &'r dyn Fn(&str) -> io::Result<Vec<SocketAddr>>,
}

/// A file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What nutcracker writes to its log behind `conf: `; `None` where it gives no reason.
    pub reason: Option<String>,
    /// All mistakes and warnings, by their place.
    pub findings: Vec<Diagnostic>,
}

/// Reads a file and makes a configuration of it: one listener, route and pool for each of its
/// pools, in nutcracker's order. `name` is what messages call it, `bytes` its content. A host name
/// in `listen` is looked up, which may take as long as the resolver does.
///
/// # Errors
/// nutcracker would refuse the file.
pub fn load(name: &str, bytes: &[u8], options: Options<'_>) -> Result<Loaded, Refused> {
    let (file, warnings) = read(name, bytes, options.resolver)?;
    Ok(Loaded { config: model::config(&file, options), warnings })
}

/// Reads a file: its pools in the order they are written, and what was odd about them.
///
/// # Errors
/// nutcracker would refuse the file.
pub fn read(
    name: &str,
    bytes: &[u8],
    resolver: &dyn Fn(&str) -> io::Result<Vec<SocketAddr>>,
) -> Result<(File, Vec<Diagnostic>), Refused> {
    let text = match yaml::decode(bytes) {
        Ok(text) => text,
        Err(readable) => return Err(not_text(name, &readable)),
    };
    let mut mistakes = Mistakes::new(name, &text);
    let file = read_into(name, &text, resolver, &mut mistakes);
    match (file, mistakes.reason) {
        (Some(file), None) => Ok((file, mistakes.findings.finish())),
        (_, reason) => {
            Err(Refused { reason: reason.flatten(), findings: mistakes.findings.finish() })
        }
    }
}

/// The pools of a file, which may be used only if there were no mistakes.
fn read_into(
    name: &str,
    text: &str,
    resolver: &dyn Fn(&str) -> io::Result<Vec<SocketAddr>>,
    mistakes: &mut Mistakes<'_>,
) -> Option<File> {
    let steps = yaml::read(name, text, mistakes)?;
    Some(file::read(name, &steps, resolver, mistakes))
}

/// The line of the log for a file that cannot be opened, behind `conf: `.
pub fn open_reason(name: &str, error: &io::Error) -> String {
    format!("failed to open configuration '{name}': {}", plain(error))
}

/// An error of the system in its own words, without Rust's number behind them.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Looks names up as the system does for nutcracker: `*` is this machine and not every address.
pub fn system_resolver(host: &str) -> io::Result<Vec<SocketAddr>> {
    use std::net::ToSocketAddrs;
    let host = if host == "*" { "localhost" } else { host };
    Ok((host, 0).to_socket_addrs()?.collect())
}

/// Findings, and nutcracker's reason for the first error.
struct Mistakes<'t> {
    findings: Findings<'t>,
    /// `Some(None)`: nutcracker refuses without a reason.
    reason: Option<Option<String>>,
}

impl<'t> Mistakes<'t> {
    fn new(name: &'t str, text: &'t str) -> Self {
        Mistakes { findings: Findings::new(Source::new(name, text)), reason: None }
    }

    /// Reports an error. `reason` is what nutcracker would say if it were the first.
    fn error(
        &mut self,
        span: std::ops::Range<usize>,
        reason: impl Into<Option<String>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.reason.get_or_insert_with(|| reason.into());
        self.findings.error(span, message, help);
    }
}

fn not_text(name: &str, readable: &str) -> Refused {
    let mut mistakes = Mistakes::new(name, readable);
    let end = readable.len();
    let message = "the file is not text (UTF-8) from here on";
    mistakes.error(end..end, yaml::reader_reason(), message, "");
    Refused { reason: mistakes.reason.flatten(), findings: mistakes.findings.finish() }
}

#[cfg(test)]
mod tests;
