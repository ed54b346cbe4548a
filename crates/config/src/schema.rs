//! The JSON schema of the native file, made from the rows of `key`.
//!
//! Editors use it to complete and check `keyway.toml`. The committed copy, docs/keyway.schema.json,
//! is compared with this by a test. It describes shapes and limits; references between names and
//! cycles are the loader's to find.

use serde_json::{Map, Value, json};

use crate::native::key::{EJECT, Form, HASH_TAG, Key, Kind, ROOT, ROUTE, SERVER, Section};

/// The JSON schema (draft 2020-12) of the native file.
pub fn schema() -> Value {
    let mut schema = object_of(&ROOT);
    let root = schema.as_object_mut().expect("a section's schema is an object");
    root.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".into(), json!("keyway.toml"));
    root.insert("$defs".into(), json!({ "route": route(), "server": server() }));
    schema
}

fn object_of(section: &Section) -> Value {
    let properties: Map<String, Value> =
        section.keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    json!({
        "type": "object",
        "description": section.about,
        "properties": properties,
        "additionalProperties": false,
    })
}

fn property(key: &Key) -> Value {
    let mut property = kind(key.kind);
    let fields = property.as_object_mut().expect("every kind's schema is an object");
    fields.insert("description".into(), json!(key.about));
    if let Some(default) = default_of(key) {
        fields.insert("default".into(), default);
    }
    property
}

/// The default as a JSON value, where it is one and not words.
fn default_of(key: &Key) -> Option<Value> {
    // The defaults of rows are written in the part of TOML's syntax that is JSON as well.
    (!key.default.starts_with(':')).then(|| {
        serde_json::from_str(key.default).expect("the default of a row is a value or words")
    })
}

fn kind(kind: Kind) -> Value {
    match kind {
        Kind::Bytes { min, max } => json!({ "anyOf": [
            { "type": "integer", "minimum": min, "maximum": max },
            { "type": "string", "pattern": "^ *[0-9]+ *([kKmMgGtT]?[iI]?[bB]?) *$" },
        ]}),
        Kind::Time { zero, .. } => {
            let mut forms = vec![time_text()];
            if zero {
                forms.push(json!({ "const": 0 }));
            }
            json!({ "anyOf": forms })
        }
        Kind::Count { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Words(words) => {
            json!({ "type": "array", "items": { "enum": words }, "uniqueItems": true })
        }
        Kind::Text => json!({ "type": "string" }),
        Kind::Form(form) => self::form(form),
    }
}

fn time_text() -> Value {
    json!({ "type": "string", "pattern": "^ *(0|[0-9]+ *(us|µs|ms|s|m|min|h|d)) *$" })
}

fn form(form: Form) -> Value {
    let route = json!({ "$ref": "#/$defs/route" });
    match form {
        Form::Bind => json!({ "anyOf": [
            { "type": "string" },
            { "type": "array", "items": { "type": "string" }, "minItems": 1 },
        ]}),
        Form::Admin => json!({ "anyOf": [{ "type": "string" }, { "const": false }] }),
        Form::Workers => json!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 1024 },
            { "const": "auto" },
        ]}),
        Form::Users => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Form::Mode => json!({ "type": ["string", "integer"] }),
        Form::Servers => {
            json!({ "type": "array", "items": { "$ref": "#/$defs/server" }, "minItems": 1 })
        }
        Form::HashTag => json!({ "anyOf": [
            { "type": "string", "minLength": 2, "maxLength": 2 },
            object_of(&HASH_TAG),
        ]}),
        Form::Seed => json!({ "type": ["integer", "string"], "minimum": 0 }),
        Form::Eject => json!({ "anyOf": [{ "type": "boolean" }, time_text(), object_of(&EJECT)] }),
        Form::Route => json!({ "allOf": [route] }),
        Form::Routes => json!({ "type": "array", "items": route, "minItems": 2, "maxItems": 16 }),
        Form::Prefixes => json!({ "type": "object", "additionalProperties": route }),
        Form::Commands => {
            let classes = keyway_proxy::config::CommandClass::ALL;
            let cases: Map<String, Value> =
                classes.iter().map(|class| (class.name().to_owned(), route.clone())).collect();
            json!({ "type": "object", "properties": cases, "additionalProperties": false })
        }
        Form::Named(section) if std::ptr::eq(section, &ROUTE) => {
            json!({ "type": "object", "additionalProperties": route })
        }
        Form::Named(section) => {
            json!({ "type": "object", "additionalProperties": object_of(section) })
        }
        Form::Table(section) => object_of(section),
    }
}

fn route() -> Value {
    json!({ "description": ROUTE.about, "anyOf": [{ "type": "string" }, object_of(&ROUTE)] })
}

fn server() -> Value {
    let mut table = object_of(&SERVER);
    table["required"] = json!(["address"]);
    json!({ "description": SERVER.about, "anyOf": [{ "type": "string" }, table] })
}
