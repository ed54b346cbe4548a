//! The reference, the schema and the examples cannot go stale: they are compared with the reader.
//!
//! `UPDATE_DOCS=1 cargo test -p keyway-config --test reference` rewrites what is generated.

// A failed `unwrap` is a failed test.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use keyway_config::key::{self, Form, Key, Kind, Section};
use keyway_config::{load_native, schema, to_text};
use keyway_proxy::config::Config;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compares a committed file with what it should be, or writes it where that is asked for.
fn assert_current(path: &str, expected: &str) {
    let path = root().join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    let differs = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "{} is out of date; run the test with UPDATE_DOCS=1. First difference: {differs:?}",
        path.display()
    );
}

const NAMES: [(&str, &Section); 9] = [
    ("ROOT", &key::ROOT),
    ("LISTENER", &key::LISTENER),
    ("POOL", &key::POOL),
    ("SERVER", &key::SERVER),
    ("HASH_TAG", &key::HASH_TAG),
    ("EJECT", &key::EJECT),
    ("ROUTE", &key::ROUTE),
    ("STORE", &key::STORE),
    ("LIMITS", &key::LIMITS),
];

#[test]
fn the_reference_has_every_key() {
    let path = root().join("docs/configuration.md");
    let text = fs::read_to_string(path).unwrap();
    let mut expected = String::new();
    let mut rest = text.as_str();
    let mut tables = 0;
    while let Some((before, after)) = rest.split_once("<!-- keys: ") {
        let (name, after) = after.split_once(" -->\n").unwrap();
        let (_, after) = after.split_once("<!-- end -->").unwrap();
        let section = NAMES.iter().find(|(known, _)| *known == name).unwrap().1;
        expected
            .push_str(&format!("{before}<!-- keys: {name} -->\n{}<!-- end -->", table(section)));
        rest = after;
        tables += 1;
    }
    expected.push_str(rest);
    assert_eq!(tables, key::SECTIONS.len(), "every section has its table");
    assert_current("docs/configuration.md", &expected);
}

fn table(section: &Section) -> String {
    let mut table = String::new();
    if !section.name.is_empty() {
        table.push_str(&format!("`{}`: {}\n\n", section.name, section.about));
    }
    table.push_str("| Key | Value | Default | Effect |\n|---|---|---|---|\n");
    for key in section.keys {
        let default = match key.default.strip_prefix(':') {
            Some(words) => words.trim().to_owned(),
            None => format!("`{}`", key.default),
        };
        let cells = [format!("`{}`", key.name), value(key.kind), default, key.about.to_owned()];
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        table.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    table
}

/// What a key takes, with unit and limits, in words.
fn value(kind: Kind) -> String {
    let words = |words: &[&str]| format!("`\"{}\"`", words.join("\"`, `\""));
    match kind {
        Kind::Bytes { min, max } => format!("size, {} to {}", size(min), size(max)),
        Kind::Time { min, max, zero } => {
            let off = if zero { ", or 0" } else { "" };
            format!("time, {} to {}{off}", time(min.as_micros()), time(max.as_micros()))
        }
        Kind::Count { min, max } => format!("number, {min} to {max}"),
        Kind::Flag => "`true` or `false`".to_owned(),
        Kind::Choice(choice) => format!("one of {}", words(choice)),
        Kind::Words(choice) => format!("list of {}", words(choice)),
        Kind::Text => "text".to_owned(),
        Kind::Form(form) => match form {
            Form::Bind => "address or list of addresses".to_owned(),
            Form::Admin => "`\"IP:PORT\"` or `false`".to_owned(),
            Form::Workers => "number, 1 to 1024, or `\"auto\"`".to_owned(),
            Form::Users => {
                "table of at most 64 names and passwords of 1 to 128 bytes (Redis: 8192)".to_owned()
            }
            Form::Mode => "octal, `\"0\"` to `\"0777\"`".to_owned(),
            Form::Servers => "list of 1 to 4096 servers".to_owned(),
            Form::HashTag => "two characters, or a table".to_owned(),
            Form::Seed => "number, 0 to 18446744073709551615, or a text".to_owned(),
            Form::Eject => "time, 100ms to 1d, or `true`, `false`, or a table".to_owned(),
            Form::Route => "route".to_owned(),
            Form::Routes => "list of 2 to 16 routes".to_owned(),
            Form::Prefixes => "table: prefix of 1 to 250 bytes = route".to_owned(),
            Form::Commands => "table: class = route".to_owned(),
            Form::Named(section) => format!("tables `{}`", section.name),
            Form::Table(section) => format!("table `{}`", section.name),
        },
    }
}

fn size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"), (0, "")];
    let (shift, unit) = units.into_iter().find(|(shift, _)| bytes >> shift > 0).unwrap();
    format!("{}{unit}", bytes >> shift)
}

fn time(micros: u128) -> String {
    let units =
        [(86_400_000_000, "d"), (3_600_000_000, "h"), (1_000_000, "s"), (1_000, "ms"), (1, "us")];
    let (size, unit) = units.into_iter().find(|(size, _)| micros >= *size).unwrap();
    format!("{}{unit}", micros / size)
}

#[test]
fn the_schema_is_current() {
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    assert_current("docs/keyway.schema.json", &text);
}

#[track_caller]
fn load(name: &str, text: &str) -> Config {
    match load_native(name, text) {
        Ok(loaded) => {
            let warnings = to_text(text, &loaded.warnings, false);
            assert!(loaded.warnings.is_empty(), "{warnings}");
            loaded.config
        }
        Err(findings) => panic!("{}", to_text(text, &findings, false)),
    }
}

/// The ` ```toml ` blocks of the reference.
fn blocks() -> Vec<String> {
    let text = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let blocks = text.split("```toml\n").skip(1);
    blocks.map(|block| block.split_once("```").unwrap().0.to_owned()).collect()
}

fn examples() -> Vec<(String, String)> {
    let mut examples: Vec<(String, String)> = fs::read_dir(root().join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap()))
        .collect();
    examples.sort();
    examples
}

#[test]
fn every_example_loads_without_a_warning() {
    let examples = examples();
    assert!(examples.len() >= 10, "one for each topology");
    for (name, text) in &examples {
        load(name, text);
        assert!(text.starts_with("# Topology: "), "{name} says what it is");
    }
    let blocks = blocks();
    assert!(blocks.len() >= 5);
    for block in blocks {
        load("docs/configuration.md", &block);
    }
}

#[test]
fn every_example_fits_the_schema() {
    let schema = schema();
    let blocks = blocks().into_iter().map(|block| ("docs/configuration.md".to_owned(), block));
    for (name, text) in examples().into_iter().chain(blocks) {
        let value: Value = toml::from_str(&text).unwrap();
        if let Err(reason) = fits(&schema, &schema, &value) {
            panic!("{name}: {reason}");
        }
    }
    for text in
        ["worker = 2", "[pools.a]\nserver = []", "[store]\nevict = 1", "[limits]\nowed_max = 0"]
    {
        let value: Value = toml::from_str(text).unwrap();
        assert!(fits(&schema, &schema, &value).is_err(), "{text}");
    }
}

/// Whether `value` is valid, for the words of JSON schema that ours uses, patterns excepted.
fn fits(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        return fits(root, root.pointer(name.trim_start_matches('#')).unwrap(), value);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        fits(root, part, value)?;
    }
    if let Some(choice) = schema["anyOf"].as_array() {
        let reasons: Vec<String> =
            choice.iter().filter_map(|part| fits(root, part, value).err()).collect();
        if reasons.len() == choice.len() {
            return Err(reasons.join("; "));
        }
    }
    let is_of_type = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("a type this does not know: {other}"),
    };
    let types: Vec<&str> = match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.into_iter().any(is_of_type) {
        return Err(format!("{value} is not of type {}", schema["type"]));
    }
    let choice = schema["enum"].as_array();
    let is_const = schema.get("const").is_none_or(|constant| constant == value);
    if !is_const || choice.is_some_and(|choice| !choice.contains(value)) {
        return Err(format!("{value} is none of {}{}", schema["enum"], schema["const"]));
    }
    let is_between = |number: i64| {
        schema["minimum"].as_i64().is_none_or(|min| number >= min)
            && schema["maximum"].as_i64().is_none_or(|max| number <= max)
    };
    if value.as_i64().is_some_and(|number| !is_between(number)) {
        return Err(format!("{value} is out of range"));
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let property = &schema["properties"][name];
        match (property, &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => return Err(format!("`{name}` is unknown")),
            (Value::Null, Value::Object(_)) => fits(root, &schema["additionalProperties"], field)?,
            (Value::Null, _) => {}
            (property, _) => fits(root, property, field)?,
        }
    }
    for element in value.as_array().into_iter().flatten() {
        fits(root, &schema["items"], element)?;
    }
    Ok(())
}

/// A file in which `line` stands in `section`, with what `line` needs beside it.
fn with(section: &Section, key: &Key, line: &str) -> String {
    let pool = match key.name {
        "ring_mode" | "ring_points" => "distribution = \"ring\"\n",
        "hash_seed" => "hash = \"xxh3\"\n",
        "preconnect" => "on_demand = true\n",
        "database" | "login_order" | "login_refused" | "refusals" | "sessions_max" => {
            "protocol = \"redis\"\n"
        }
        "retry" => "retry_max = \"1d\"\n",
        "retry_max" => "retry = \"1ms\"\n",
        _ => "",
    };
    let sizes = match key.name {
        "memory" => "item_bytes_max = \"1KiB\"\n",
        "item_bytes_max" => "memory = \"1TiB\"\n",
        _ => "",
    };
    let limits = match key.name {
        "client_bytes_pause" => "client_bytes_max = \"1TiB\"\nworker_bytes_max = \"1TiB\"\n",
        "client_bytes_max" => "client_bytes_pause = \"4KiB\"\nworker_bytes_max = \"1TiB\"\n",
        "worker_bytes_max" => "client_bytes_pause = \"4KiB\"\nclient_bytes_max = \"4KiB\"\n",
        _ => "",
    };
    let small_items = if limits.is_empty() { "" } else { "[store]\nitem_bytes_max = \"1KiB\"\n" };
    let servers = "[pools.a]\nservers = [\"h:1\", \"h:2\"]\n[pools.b]\nservers = [\"h:3\"]\n";
    match section.name {
        "" => format!("{line}\n"),
        "listeners.NAME" => {
            let address = if key.name == "mode" { "unix:/s" } else { "127.0.0.1:1" };
            format!("[listeners.m]\naddress = \"{address}\"\n{line}\n")
        }
        "pools.NAME" => format!("[pools.a]\nservers = [\"h:1\", \"h:2\"]\n{pool}{line}\n"),
        "pools.NAME.servers[]" => {
            format!("[pools.a]\nservers = [{{ address = \"h:1\", {line} }}]\n")
        }
        "pools.NAME.hash_tag" => format!(
            "[pools.a]\nservers = [\"h:1\"]\nhash_tag = {{ open = \"<\", close = \">\", {line} }}\n"
        ),
        "pools.NAME.eject" => {
            format!("[pools.a]\nservers = [\"h:1\"]\neject = {{ {line} }}\n")
        }
        "routes.NAME" => {
            format!("{servers}[routes]\nr = {{ failover = [\"a\", \"b\"], {line} }}\n")
        }
        "store" => format!("[store]\n{sizes}{line}\n"),
        "limits" => format!("[limits]\n{limits}{line}\n{small_items}"),
        other => panic!("a section this does not know: {other}"),
    }
}

/// Every key that can stand alone: those whose rows say limits or a default.
fn rows() -> Vec<(&'static Section, &'static Key)> {
    let of = |section: &'static Section| section.keys.iter().map(move |key| (section, key));
    NAMES.into_iter().flat_map(|(_, section)| of(section)).collect()
}

#[test]
fn defaults_are_what_the_reference_says() {
    let mut tried = 0;
    for (section, key) in rows() {
        if key.default.starts_with(':') {
            continue;
        }
        let line = format!("{} = {}", key.name, key.default);
        let without = load("without", &with(section, key, ""));
        let with = load("with", &with(section, key, &line));
        assert_eq!(with, without, "{line}");
        tried += 1;
    }
    assert!(tried > 40, "{tried}");
}

#[test]
fn limits_are_what_the_reference_says() {
    let mut tried = 0;
    for (section, key) in rows() {
        let (min, max, below, above) = match key.kind {
            Kind::Count { min, max } => {
                let below = if min == 0 { "-1".to_owned() } else { (min - 1).to_string() };
                (min.to_string(), max.to_string(), below, (max + 1).to_string())
            }
            Kind::Bytes { min, max } => {
                (min.to_string(), max.to_string(), (min - 1).to_string(), (max + 1).to_string())
            }
            Kind::Time { min, max, .. } => {
                let micros = |micros: u128| format!("\"{micros}us\"");
                let (min, max) = (min.as_micros(), max.as_micros());
                (micros(min), micros(max), micros(min - 1), micros(max + 1))
            }
            _ => continue,
        };
        let file = |value: &str| with(section, key, &format!("{} = {value}", key.name));
        for value in [min, max] {
            load(key.name, &file(&value));
        }
        for value in [below, above] {
            let findings = load_native("f", &file(&value)).unwrap_err();
            let says = format!("`{}` must be from", key.name);
            assert!(findings[0].message.starts_with(&says), "{value}: {findings:?}");
        }
        tried += 1;
    }
    assert!(tried > 25, "{tried}");
}
