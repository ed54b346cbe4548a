//! `keyway check`: the findings about a file in whatever format it is.
//!
//! The format is told by the file's name, or else by how it begins. Formats that cannot be read yet
//! are named in the finding, so that nobody hunts for mistakes in a file that has none.

use std::path::Path;

use crate::diagnostic::{Diagnostic, Severity, Source};
use crate::native::load_native;

/// All findings about a file; a file without errors among them can be used.
///
/// `name` is what diagnostics call the file, and its ending tells the format where there is one.
pub fn check(name: &str, bytes: &[u8]) -> Vec<Diagnostic> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return vec![not_text(name, bytes, error.valid_up_to())],
    };
    if let Some(format) = foreign_format(name, text) {
        let message = format!("this is {format}, which cannot be read yet");
        let help = "only the native TOML format is supported so far".to_owned();
        return vec![Source::new(name, text).diagnostic(Severity::Error, 0..0, message, help)];
    }
    match load_native(name, text) {
        Ok(loaded) => loaded.warnings,
        Err(findings) => findings,
    }
}

/// A format other than the native one, by the file's ending or its beginning.
fn foreign_format(name: &str, text: &str) -> Option<&'static str> {
    let file = Path::new(name).file_name().and_then(|file| file.to_str()).unwrap_or("");
    if file == "momento_proxy.toml" || text.lines().any(|line| line.trim_end() == "[[cache]]") {
        return Some("a file of Momento Proxy (TOML)");
    }
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str()).unwrap_or("");
    match ending.to_ascii_lowercase().as_str() {
        "toml" => return None,
        "yml" | "yaml" => return Some("a nutcracker file (YAML)"),
        "json" => return Some("an mcrouter file (JSON)"),
        "lua" => return Some("a script of memcached's proxy (Lua)"),
        _ => {}
    }
    // Neither of these can begin a TOML file.
    text.trim_start().starts_with('{').then_some("an mcrouter file (JSON)")
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
            ("nutcracker.yml", "alpha:\n", "nutcracker"),
            ("a.JSON", "{}", "mcrouter"),
            ("config", " {\"pools\": {}}", "mcrouter"),
            ("momento_proxy.toml", "", "Momento"),
            ("a.toml", "[proxy]\nthreads = 2\n[[cache]]\n", "Momento"),
            ("routelib.lua", "function f() end", "Lua"),
        ] {
            let messages = messages(name, text.as_bytes());
            assert!(messages[0].contains(what), "{messages:?}");
        }
    }

    #[test]
    fn places_bytes_that_are_no_text() {
        let messages = messages("keyway.toml", b"workers = 2\n# \xff\n");
        assert_eq!(messages, ["keyway.toml:2:3: error: the file is not text (UTF-8) from here on"]);
    }
}
