//! `keyway explain KEY`: the route of a key, from a file or from a running instance.
//!
//! The admin API's `/api/v1/explain` answers through here too, so both say the same.

use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use hyper::Method;
use keyway_proxy::config::{CommandClass, Config};
use keyway_proxy::explain::{Does, Explanation, Placed, Way};
use serde_json::{Value, json};

use super::{Explain, ctl};
use crate::{console, serve};

/// Prints where the key goes. Status 1 when that cannot be said.
pub fn run(options: &Explain) -> ExitCode {
    let Some(path) = &options.config else {
        return ask(options);
    };
    let config = match serve::load_quietly(path) {
        Ok(config) => config,
        Err(status) => return status,
    };
    let listener = options.listener.as_deref();
    match explain(&config, listener, options.command, options.key.as_bytes()) {
        Ok(explanation) => {
            console::out(explanation.to_text().trim_end());
            ExitCode::SUCCESS
        }
        Err(reason) => {
            console::err(format_args!("keyway explain: {reason}"));
            ExitCode::FAILURE
        }
    }
}

fn ask(options: &Explain) -> ExitCode {
    // clap demands one of the two.
    let Some(admin) = options.admin else { return ExitCode::FAILURE };
    let mut path = format!("/api/v1/explain?command={}&key=", options.command.name());
    push_encoded(&mut path, options.key.as_bytes());
    if let Some(listener) = &options.listener {
        path.push_str("&listener=");
        push_encoded(&mut path, listener.as_bytes());
    }
    match ctl::request(admin, Method::GET, &path) {
        Ok(answer) => {
            let reply: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let member = if answer.accepted { "text" } else { "error" };
            console::out(reply[member].as_str().unwrap_or(&answer.body).trim_end());
            ExitCode::from(u8::from(!answer.accepted))
        }
        Err(error) => {
            console::err(format_args!("keyway explain: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Appends bytes so that they survive in a query.
fn push_encoded(path: &mut String, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                path.push(char::from(*byte));
            }
            _ => {
                path.push('%');
                path.push(char::from(HEX[usize::from(byte >> 4)]));
                path.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
}

/// Explains a key on the listener with that name, or on the first one.
///
/// # Errors
/// There is no such listener, or the key cannot be one.
pub fn explain(
    config: &Config,
    listener: Option<&str>,
    class: CommandClass,
    key: &[u8],
) -> Result<Explanation, String> {
    if key.is_empty() || key.len() > keyway_store::KEY_BYTES_MAX {
        return Err(format!("a key has 1 to {} bytes", keyway_store::KEY_BYTES_MAX));
    }
    let names = || {
        let names: Vec<_> = config.listeners.iter().map(|listener| &listener.name[..]).collect();
        names.join(", ")
    };
    let id = match listener {
        None if config.listeners.is_empty() => return Err("there is no listener".into()),
        None => 0,
        Some(name) => config
            .listeners
            .iter()
            .position(|listener| listener.name == name)
            .ok_or_else(|| format!("there is no listener \"{name}\"; there is: {}", names()))?,
    };
    Ok(keyway_proxy::explain::explain(config, id, class, key))
}

/// An explanation for programs. Bytes that are not text are replaced; `key_hex` has them all.
pub fn to_json(explanation: &Explanation) -> Value {
    json!({
        "key": text(&explanation.key),
        "key_hex": explanation.key.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "command": explanation.class.name(),
        "listener": explanation.listener,
        "way": way(&explanation.way),
        "text": explanation.to_text(),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn way(step: &Way) -> Value {
    let route = &step.route;
    match &step.does {
        Does::Store => json!({ "route": route, "does": "store" }),
        Does::Null => json!({ "route": route, "does": "null" }),
        Does::Error(error) => json!({ "route": route, "does": "error", "error": error }),
        Does::Pool(found) => json!({ "route": route, "does": "pool", "placed": placed(found) }),
        Does::Prefix { matched, then } => json!({
            "route": route,
            "does": "prefix",
            "matched": matched.as_deref().map(text),
            "then": way(then),
        }),
        Does::Command { has_own, then } => json!({
            "route": route,
            "does": "command",
            "has_own": has_own,
            "then": way(then),
        }),
        Does::Policy { kind, meaning, children } => json!({
            "route": route,
            "does": kind,
            "meaning": meaning,
            "children": children.iter().map(way).collect::<Vec<_>>(),
        }),
    }
}

fn placed(found: &Placed) -> Value {
    json!({
        "pool": found.pool,
        "distribution": found.distribution,
        "hash_function": found.hash_function,
        "part": text(&found.part),
        // As text: JSON's numbers are not exact beyond 53 bits everywhere.
        "hash": found.hash.map(|hash| hash.to_string()),
        "point": found.point.map(|point| point.to_string()),
        "index": found.index,
        "of": found.of,
        "backend": found.backend,
        "address": found.address,
        "is_random": found.is_random,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_survives_a_query() {
        let mut path = String::new();
        push_encoded(&mut path, b"a b&\xff/~");
        assert_eq!(path, "a%20b%26%FF%2F~");
    }

    #[test]
    fn unknown_listeners_and_impossible_keys_are_refused() {
        let config = Config::embedded("127.0.0.1:1".parse().unwrap(), 1);
        let explain = |listener, key| explain(&config, listener, CommandClass::Get, key);
        assert!(explain(Some("other"), b"k").unwrap_err().contains("default"));
        assert!(explain(None, b"").is_err());
        assert!(explain(None, &[b'k'; 251]).is_err());
        assert!(explain(Some("default"), b"k").is_ok());
    }
}
