//! Replies of a redis-server in both versions, followed in pieces.

use keyway_proto::resp::reply::{Fed, Follow, Kind};
use keyway_proto::resp::{Version, render};

use crate::server_or_return;

/// Commands whose replies are of every kind, and what the reply is in each version.
const COMMANDS: &[(&str, Kind, Kind)] = &[
    ("DEBUG PROTOCOL string", Kind::Bulk, Kind::Bulk),
    ("DEBUG PROTOCOL integer", Kind::Integer, Kind::Integer),
    ("DEBUG PROTOCOL double", Kind::Bulk, Kind::Double),
    ("DEBUG PROTOCOL null", Kind::Bulk, Kind::Null),
    ("DEBUG PROTOCOL array", Kind::Array, Kind::Array),
    ("DEBUG PROTOCOL set", Kind::Array, Kind::Set),
    ("DEBUG PROTOCOL map", Kind::Array, Kind::Map),
    ("DEBUG PROTOCOL attrib", Kind::Bulk, Kind::Bulk),
    ("DEBUG PROTOCOL verbatim", Kind::Bulk, Kind::Verbatim),
    ("DEBUG PROTOCOL true", Kind::Integer, Kind::Boolean),
    ("DEBUG PROTOCOL false", Kind::Integer, Kind::Boolean),
    ("DEBUG PROTOCOL bignum", Kind::Bulk, Kind::BigNumber),
    ("SET k v", Kind::Simple, Kind::Simple),
    ("INCR k", Kind::Error, Kind::Error),
    ("BLPOP nothing 0.01", Kind::Array, Kind::Null),
    ("ZADD z 1.5 a 1e300 b -inf c", Kind::Integer, Kind::Integer),
    ("ZRANGE z 0 -1 WITHSCORES", Kind::Array, Kind::Array),
    ("ZSCORE z c", Kind::Bulk, Kind::Double),
    ("COMMAND DOCS", Kind::Array, Kind::Map),
    ("COMMAND", Kind::Array, Kind::Array),
    ("CONFIG GET *", Kind::Array, Kind::Map),
    ("INFO", Kind::Bulk, Kind::Verbatim),
    ("SUBSCRIBE channel", Kind::Array, Kind::Push),
];

#[test]
fn every_kind_of_reply_is_followed_to_its_end() {
    let server = server_or_return!("replies");
    for version in [Version::Two, Version::Three] {
        let mut requests = Vec::new();
        let hello: &[u8] = if version == Version::Two { b"2" } else { b"3" };
        render::request(&mut requests, &[b"HELLO", hello]);
        for (line, ..) in COMMANDS {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            render::request(&mut requests, &words);
        }
        // BLPOP holds up what follows it: the server must not see the end before.
        let answer = server.connect().exchange_slowly(&requests, b"$7\r\nchannel\r\n:1\r\n");
        let mut expected = vec![if version == Version::Two { Kind::Array } else { Kind::Map }];
        expected.extend(COMMANDS.iter().map(
            |&(_, two, three)| {
                if version == Version::Two { two } else { three }
            },
        ));
        for step in [1, 3, 1000, usize::MAX] {
            assert_eq!(kinds(&answer, version, step), expected, "{version:?} {step}");
        }
    }
}

/// The kinds of all replies in `bytes`, fed `step` bytes at a time.
fn kinds(bytes: &[u8], version: Version, step: usize) -> Vec<Kind> {
    let mut follow = Follow::new(version);
    let mut kinds = Vec::new();
    for piece in bytes.chunks(step) {
        let mut rest = piece;
        while !rest.is_empty() {
            match follow.feed(rest) {
                Fed::Complete(taken) => {
                    kinds.push(follow.kind().expect("a complete reply has a kind"));
                    rest = &rest[taken..];
                }
                Fed::Partial => break,
                Fed::Malformed => panic!("redis-server speaks RESP"),
            }
        }
    }
    assert!(follow.is_between(), "the server's last reply is complete");
    kinds
}
