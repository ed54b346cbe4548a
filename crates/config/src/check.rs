//! A file in whatever format it is: told apart, read, checked.
//!
//! The format is told by the file's name, or else by how it begins. Formats that cannot be read yet
//! are named in the finding, so that nobody hunts for mistakes in a file that has none.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use keyway_proxy::config::Compat;

use crate::diagnostic::{Diagnostic, Severity, Source};
use crate::native::{Loaded, load_native};
use crate::nutcracker;

/// The format of a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The native file (TOML).
    Native,
    /// nutcracker's file (YAML).
    Nutcracker,
    /// One that cannot be read yet, in words.
    Foreign(&'static str),
}

/// All findings about a file; a file without errors among them can be used.
///
/// `name` is what diagnostics call the file, and its ending tells the format where there is one. No
/// host name is looked up.
pub fn check(name: &str, bytes: &[u8]) -> Vec<Diagnostic> {
    match load_with(name, bytes, &unresolved) {
        Ok(loaded) => loaded.warnings,
        Err(findings) => findings,
    }
}

/// Reads a file of any format. nutcracker's is read as its personality does by default, with one
/// worker for each processor that this process may use; host names to listen on are looked up.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn load(name: &str, bytes: &[u8]) -> Result<Loaded, Vec<Diagnostic>> {
    load_with(name, bytes, &nutcracker::system_resolver)
}

type Resolver<'r> = &'r dyn Fn(&str) -> io::Result<Vec<SocketAddr>>;

fn load_with(name: &str, bytes: &[u8], resolver: Resolver<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    match format_of(name, bytes) {
        Format::Nutcracker => {
            let workers = std::thread::available_parallelism().map_or(1, usize::from);
            let compat = Compat::Nutcracker;
            let options = nutcracker::Options { workers, compat, resolver };
            nutcracker::load(name, bytes, options).map_err(|refused| refused.findings)
        }
        Format::Native => match std::str::from_utf8(bytes) {
            Ok(text) => load_native(name, text),
            Err(error) => Err(vec![not_text(name, bytes, error.valid_up_to())]),
        },
        Format::Foreign(format) => {
            let message = format!("this is {format}, which cannot be read yet");
            let help = "the native TOML format and nutcracker's can be read".to_owned();
            let source = Source::new(name, "");
            Err(vec![source.diagnostic(Severity::Error, 0..0, message, help)])
        }
    }
}

/// Stands for looking names up: every host is this machine.
fn unresolved(host: &str) -> io::Result<Vec<SocketAddr>> {
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Ok(vec![SocketAddr::new(host.parse().unwrap_or(here), 0)])
}

/// Tells the format by the file's ending or its beginning.
pub fn format_of(name: &str, bytes: &[u8]) -> Format {
    let text = text_of(bytes);
    let file = Path::new(name).file_name().and_then(|file| file.to_str()).unwrap_or("");
    if file == "momento_proxy.toml" || text.lines().any(|line| line.trim_end() == "[[cache]]") {
        return Format::Foreign("a file of Momento Proxy (TOML)");
    }
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str()).unwrap_or("");
    match ending.to_ascii_lowercase().as_str() {
        "toml" => return Format::Native,
        "yml" | "yaml" => return Format::Nutcracker,
        "json" => return Format::Foreign(MCROUTER),
        "lua" => return Format::Foreign("a script of memcached's proxy (Lua)"),
        _ => {}
    }
    let is_comment = |line: &&str| line.is_empty() || line.starts_with('#');
    let first = text.lines().map(str::trim).find(|line| !is_comment(line)).unwrap_or("");
    // None of these can begin a TOML file.
    if first.starts_with('{') {
        return Format::Foreign(MCROUTER);
    }
    let key = first.split(" #").next().unwrap_or("").trim_end();
    if first == "---" || key.ends_with(':') && !key.contains(['=', '[']) {
        return Format::Nutcracker;
    }
    Format::Native
}

/// What can be read of the beginning of a file. nutcracker's may be UTF-16.
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let ascii = bytes[2..].iter().filter(|byte| **byte != 0);
        return ascii.map(|byte| char::from(*byte)).collect::<String>().into();
    }
    String::from_utf8_lossy(bytes)
}

fn not_text(name: &str, bytes: &[u8], valid_up_to: usize) -> Diagnostic {
    let readable = std::str::from_utf8(&bytes[..valid_up_to]).unwrap_or("");
    let message = "the file is not text (UTF-8) from here on".to_owned();
    Source::new(name, readable).diagnostic(
        Severity::Error,
        valid_up_to..valid_up_to,
        message,
        String::new(),
    )
}

const MCROUTER: &str = "an mcrouter file (JSON)";

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(name: &str, bytes: &[u8]) -> Vec<String> {
        check(name, bytes).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn recognises_formats() {
        assert_eq!(messages("keyway.toml", b""), Vec::<String>::new());
        assert_eq!(messages("keyway", b"workers = 2\n"), Vec::<String>::new());
        for (name, text, what) in [
            ("nutcracker.yml", "alpha:\n", "a pool needs directives"),
            ("a.JSON", "{}", "mcrouter"),
            ("config", " {\"pools\": {}}", "mcrouter"),
            ("momento_proxy.toml", "", "Momento"),
            ("a.toml", "[proxy]\nthreads = 2\n[[cache]]\n", "Momento"),
            ("routelib.lua", "function f() end", "Lua"),
        ] {
            let messages = messages(name, text.as_bytes());
            assert!(messages[0].contains(what), "{messages:?}");
        }
        for (text, format) in [
            ("# pools\n\nalpha: # first\n  listen: x\n", Format::Nutcracker),
            ("---\nalpha:\n", Format::Nutcracker),
            ("\u{feff}\"a b\":\n", Format::Nutcracker),
            ("[pools.main]\n", Format::Native),
            ("a = \"b:\"\n", Format::Native),
            ("", Format::Native),
        ] {
            assert_eq!(format_of("conf", text.as_bytes()), format, "{text}");
        }
        let wide: Vec<u8> = "\u{feff}alpha:\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(format_of("conf", &wide), Format::Nutcracker);
    }

    #[test]
    fn nutcrackers_files_are_checked_without_looking_names_up() {
        let good = b"p:\n  listen: no-such-host.invalid:22121\n  servers:\n  - a:1:1\n";
        assert_eq!(messages("conf", good), Vec::<String>::new());
        let bad = messages("conf", b"p:\n  listen: a:1\n  server: b\n  servers:\n  - a:1:1\n");
        assert_eq!(bad, ["conf:3:3: error: unknown directive `server` (did you mean `servers`?)"]);
    }

    #[test]
    fn places_bytes_that_are_no_text() {
        let messages = messages("keyway.toml", b"workers = 2\n# \xff\n");
        assert_eq!(messages, ["keyway.toml:2:3: error: the file is not text (UTF-8) from here on"]);
    }
}
