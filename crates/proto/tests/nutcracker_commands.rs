//! What twemproxy accepts of each command, against what was found by probing its binary.

use keyway_proto::resp::command::{COMMANDS, Hashed, SUBCOMMANDS, find};

const PROBED: &str = include_str!("data/twemproxy-commands.tsv");

#[test]
fn the_table_says_what_was_found() {
    let rows = PROBED.lines().filter(|line| !line.starts_with('#')).skip(1);
    let mut compared = 0;
    for row in rows {
        let fields: Vec<&str> = row.split('\t').collect();
        let [name, min, max, key, delivery] = fields[..] else { panic!("{row} has five fields") };
        let command = find(name.as_bytes()).expect("the table has every command");
        let own = command.nutcracker.expect("twemproxy accepts it");
        let (min, _) = min.split_once(' ').unwrap_or((min, ""));
        assert_eq!(own.arguments_min.to_string(), min, "{name}");
        let own_max = (own.arguments_max != u32::MAX).then(|| own.arguments_max.to_string());
        assert_eq!(own_max.as_deref().unwrap_or("*"), max, "{name}");
        let (own_key, own_delivery) = match own.hashed {
            Hashed::First => ("1", "whole"),
            Hashed::Third => ("3", "whole"),
            Hashed::Every => ("all", "frag"),
            Hashed::Pairs => ("1,3,5,..", "frag"),
            Hashed::Placeholder => ("placeholder", "whole"),
            Hashed::Local => ("local", "local"),
        };
        assert_eq!((own_key, own_delivery), (key, delivery), "{name}");
        compared += 1;
    }
    let accepted = COMMANDS.iter().filter(|command| command.nutcracker.is_some()).count();
    // QUIT is answered by a close: probing cannot tell it from what is refused.
    assert_eq!((compared, accepted), (135, 136));
    assert!(SUBCOMMANDS.iter().all(|command| command.nutcracker.is_none()));
}

#[test]
fn numbers_of_arguments_are_bounded() {
    for (name, arguments, is_accepted) in [
        ("get", 2, true),
        ("get", 3, false),
        ("get", 1, false),
        ("set", 2, true),
        ("set", 100, true),
        ("mset", 3, true),
        ("mset", 4, false),
        ("mset", 5, true),
        ("mset", 1, false),
        ("lolwut", 1, true),
        ("eval", 3, false),
        ("eval", 4, true),
        ("quit", 1, true),
        ("quit", 2, false),
    ] {
        let nutcracker = find(name.as_bytes()).and_then(|command| command.nutcracker);
        let accepts = nutcracker.is_some_and(|nutcracker| nutcracker.accepts(arguments));
        assert_eq!(accepts, is_accepted, "{name} {arguments}");
    }
}
