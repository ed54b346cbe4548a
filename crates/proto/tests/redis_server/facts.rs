//! Every fact of the table against `COMMAND` and `COMMAND DOCS`.

use std::collections::BTreeMap;

use keyway_proto::resp::command::{Begin, COMMANDS, Command, Find, KeySpec, SUBCOMMANDS, find};
use keyway_proto::resp::reply::integer;

use crate::server::{elements, text};
use crate::server_or_return;

#[test]
fn the_table_says_what_command_says() {
    let server = server_or_return!("facts");
    let reply = server.connect().ask(&[b"COMMAND"]);
    let rows = elements(&reply);
    assert_eq!(rows.len(), COMMANDS.len());
    let mut subcommands = 0;
    for row in rows {
        let fields = elements(row);
        let command = find(text(fields[0]).as_bytes()).expect("the table has every command");
        compare(&fields, command);
        for row in elements(fields[9]) {
            let fields = elements(row);
            let (_, name) = text(fields[0]).split_once('|').expect("a subcommand has two words");
            let subcommand = command.subcommand(name.as_bytes());
            compare(&fields, subcommand.expect("the table has every subcommand"));
            subcommands += 1;
        }
    }
    assert_eq!(subcommands, SUBCOMMANDS.len());
}

fn compare(fields: &[&[u8]], command: &Command) {
    let name = command.name;
    assert_eq!(text(fields[0]), name);
    assert_eq!(integer(fields[1]), Some(command.arity.into()), "{name}");
    let flags: Vec<&str> = elements(fields[2]).into_iter().map(text).collect();
    assert_eq!(flags, command.flags.names().collect::<Vec<_>>(), "{name}");
    for (field, key) in fields[3..6].iter().zip(command.legacy_keys) {
        assert_eq!(integer(field), Some(key.into()), "{name}");
    }
    let categories: Vec<&str> = elements(fields[6]).into_iter().map(text).collect();
    let expected: Vec<String> = command.categories.names().map(|name| format!("@{name}")).collect();
    assert_eq!(categories, expected, "{name}");
    let specs: Vec<String> = elements(fields[8]).into_iter().map(server_spec).collect();
    assert_eq!(specs, command.keys.iter().map(own_spec).collect::<Vec<_>>(), "{name}");
}

fn pairs(reply: &[u8]) -> BTreeMap<&str, &[u8]> {
    elements(reply).chunks(2).map(|pair| (text(pair[0]), pair[1])).collect()
}

fn server_spec(reply: &[u8]) -> String {
    let spec = pairs(reply);
    let flags: Vec<&str> = elements(spec["flags"]).into_iter().map(text).collect();
    let mut out = flags.join(",");
    for part in ["begin_search", "find_keys"] {
        let part = pairs(spec[part]);
        out += &format!(" {}", text(part["type"]));
        let details: Vec<String> = pairs(part["spec"])
            .into_iter()
            .map(|(name, value)| match integer(value) {
                Some(number) => format!("{name}={number}"),
                None => format!("{name}={}", text(value)),
            })
            .collect();
        out += &format!("({})", details.join(","));
    }
    out
}

fn own_spec(spec: &KeySpec) -> String {
    let flags: Vec<&str> = spec.flags.names().collect();
    let begin = match spec.begin {
        Begin::Index(index) => format!("index(index={index})"),
        Begin::Keyword(keyword, from) => format!("keyword(keyword={keyword},startfrom={from})"),
        Begin::Unknown => "unknown()".to_string(),
    };
    let find = match spec.find {
        Find::Range { last, step, limit } => {
            format!("range(keystep={step},lastkey={last},limit={limit})")
        }
        Find::Keynum { number, first, step } => {
            format!("keynum(firstkey={first},keynumidx={number},keystep={step})")
        }
        Find::Unknown => "unknown()".to_string(),
    };
    format!("{} {begin} {find}", flags.join(","))
}

#[test]
fn groups_and_versions_are_those_of_the_documentation() {
    let server = server_or_return!("docs");
    let reply = server.connect().ask(&[b"COMMAND", b"DOCS"]);
    let mut compared = 0;
    for (name, docs) in pairs(&reply) {
        let docs = pairs(docs);
        let command = find(name.as_bytes()).expect("the table has every command");
        assert_eq!((command.group, command.since), (text(docs["group"]), text(docs["since"])));
        compared += 1;
        let Some(subcommands) = docs.get("subcommands") else { continue };
        for (name, docs) in pairs(subcommands) {
            let docs = pairs(docs);
            let (_, name) = name.split_once('|').expect("a subcommand has two words");
            let command = command.subcommand(name.as_bytes()).expect("the table has it");
            assert_eq!((command.group, command.since), (text(docs["group"]), text(docs["since"])));
            compared += 1;
        }
    }
    assert_eq!(compared, COMMANDS.len() + SUBCOMMANDS.len());
}
