//! The keys of requests against `COMMAND GETKEYSANDFLAGS`.

use keyway_proto::resp::command::{Begin, COMMANDS, Command, Find, KeyFlags};
use keyway_proto::resp::reply::{Kind, text};
use keyway_proto::resp::{Cut, Limits, Progress, Verb, Version, render, request};

use crate::server::{self, Peer, elements};
use crate::server_or_return;

/// Requests whose keys are not simply the first argument.
const REQUESTS: &[&str] = &[
    "SORT k",
    "SORT k STORE d",
    "SORT k BY w GET o GET p LIMIT 0 1 ASC ALPHA STORE d",
    "SORT k BY STORE GET STORE STORE d",
    "SORT k LIMIT STORE STORE STORE d",
    "SORT k STORE a STORE b",
    "SORT k STORE",
    "SORT k store d",
    "SORT_RO k BY w",
    "GEORADIUS k 1 2 3 m",
    "GEORADIUS k 1 2 3 m STORE d",
    "GEORADIUS k 1 2 3 m STOREDIST d",
    "GEORADIUS k 1 2 3 m STOREDIST d STORE e",
    "GEORADIUS k 1 2 3 m STORE STORE e",
    "GEORADIUS k 1 2 3 m STORE",
    "GEORADIUS k 1 2 3 m COUNT 3 STORE d WITHDIST",
    "GEORADIUSBYMEMBER k m 3 m STOREDIST d",
    "GEORADIUSBYMEMBER k m 3 STORE d",
    "GEORADIUSBYMEMBER_RO k m 3 m",
    "GEORADIUS_RO k 1 2 3 m",
    "XREAD STREAMS a 0",
    "XREAD STREAMS a b 0 0",
    "XREAD STREAMS a b c 0 0",
    "XREAD COUNT 2 BLOCK 0 STREAMS a b 0 $",
    "XREAD COUNT STREAMS STREAMS a 0",
    "XREAD count 2 streams a b c 1 2 3",
    "XREADGROUP GROUP g c STREAMS a b > >",
    "XREADGROUP GROUP STREAMS STREAMS STREAMS a >",
    "XREADGROUP GROUP g c NOACK COUNT 1 BLOCK 0 STREAMS a >",
    "MIGRATE h 1 k 0 10",
    "MIGRATE h 1 k 0 10 COPY REPLACE",
    "MIGRATE h 1 \"\" 0 10 KEYS a b",
    "MIGRATE h 1 \"\" 0 10 COPY KEYS a b",
    "MIGRATE h 1 \"\" 0 10 AUTH KEYS KEYS a b",
    "MIGRATE h 1 \"\" 0 10 AUTH2 KEYS KEYS KEYS a b",
    "MIGRATE h 1 \"\" 0 10 KEYS KEYS KEYS",
    "MIGRATE h 1 \"\" 0 10",
    "EVAL s 0",
    "EVAL s 0 a",
    "EVAL s 1 a",
    "EVAL s 2 a b c",
    "EVAL s 3 a b",
    "EVAL s -1 a",
    "EVAL s x a",
    "EVAL s 99999999999999999999 a",
    "EVALSHA s 2 a b",
    "EVALSHA_RO s 2 a b",
    "FCALL f 2 a b c",
    "FCALL_RO f 1 a",
    "ZUNION 2 a b WEIGHTS 1 2",
    "ZUNION 0 a b",
    "ZUNION 3 a b",
    "ZINTER 1 a WITHSCORES",
    "ZDIFF 2 a b",
    "ZINTERCARD 2 a b LIMIT 1",
    "SINTERCARD 2 a b LIMIT 1",
    "ZUNIONSTORE d 2 a b AGGREGATE MAX",
    "ZUNIONSTORE d 3 a b",
    "ZUNIONSTORE d x a b",
    "ZDIFFSTORE d 1 a",
    "ZINTERSTORE d 2 a b",
    "LMPOP 2 a b LEFT",
    "BLMPOP 0 2 a b LEFT",
    "ZMPOP 2 a b MIN",
    "BZMPOP 0 2 a b MIN COUNT 2",
    "BLPOP a b c 0",
    "BRPOP a 0",
    "BZPOPMIN a b 0",
    "BITOP AND d a b",
    "BITOP NOT d a",
    "MSET a 1 b 2 c 3",
    "MSET a 1 b",
    "MSETNX a 1 b 2",
    "MGET a b c",
    "PFMERGE d a b",
    "PFCOUNT a b",
    "SDIFFSTORE d a b",
    "RENAME a b",
    "COPY a b REPLACE",
    "LMOVE a b LEFT RIGHT",
    "SMOVE a b m",
    "RPOPLPUSH a b",
    "LCS a b",
    "ZRANGESTORE d s 0 -1",
    "GEOSEARCHSTORE d s FROMMEMBER m",
    "OBJECT ENCODING k",
    "OBJECT FREQ k",
    "OBJECT HELP",
    "MEMORY USAGE k SAMPLES 3",
    "MEMORY DOCTOR",
    "XGROUP CREATE k g $",
    "XGROUP DESTROY k g",
    "XGROUP NONE k g",
    "XINFO STREAM k FULL",
    "XINFO CONSUMERS k g",
    "XADD k * f v",
    "XAUTOCLAIM k g c 0 0",
    "BITFIELD k GET u8 0",
    "BITFIELD k SET u8 0 1",
    "SET k v GET",
    "WATCH a b",
    "TOUCH a b",
    "EXISTS a b",
    "DEL a b c",
    "UNLINK a",
    "PUBLISH c m",
    "SPUBLISH c m",
    "SSUBSCRIBE c",
    "SUBSCRIBE c",
    "PING",
    "PING a",
    "KEYS p",
    "SCAN 0",
    "CONFIG GET k",
    "SCRIPT LOAD s",
    "GET",
    "GET a b",
    "get a",
    "NONE a",
];

#[test]
fn tricky_requests_have_the_keys_that_the_server_finds() {
    let server = server_or_return!("tricky");
    let mut peer = server.connect();
    for line in REQUESTS {
        let mut bytes = line.as_bytes().to_vec();
        bytes.extend_from_slice(b"\r\n");
        let mut progress = Progress::default();
        let Cut::Inline(inline) = request::cut(&bytes, &Limits::REDIS, &mut progress) else {
            panic!("{line} is a line of words");
        };
        let mut request = Vec::new();
        inline.render(&mut request);
        compare(&mut peer, &request);
    }
}

#[test]
fn every_command_has_the_keys_that_the_server_finds() {
    let server = server_or_return!("every");
    let mut peer = server.connect();
    let mut compared = 0;
    for command in
        COMMANDS.iter().flat_map(|command| [command].into_iter().chain(command.subcommands))
    {
        for extra in 0..4 {
            let request = invent(command, extra);
            compare(&mut peer, &request);
            compared += 1;
        }
    }
    assert!(compared > 1000);
}

/// A request with `extra` arguments more than necessary and sensible numbers of keys.
fn invent(command: &Command, extra: u32) -> Vec<u8> {
    let count = u32::from(command.arity.unsigned_abs()) + extra;
    let mut words: Vec<String> = command.name.split('|').map(str::to_string).collect();
    for at in words.len() as u32..count {
        words.push(format!("word{at}"));
    }
    for spec in command.keys {
        if let (Find::Keynum { .. }, Begin::Index(at)) = (spec.find, spec.begin)
            && let Some(word) = words.get_mut(at as usize)
        {
            *word = (1 + extra / 2).to_string();
        }
    }
    let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
    let mut request = Vec::new();
    render::request(&mut request, &words);
    request
}

fn compare(peer: &mut Peer, bytes: &[u8]) {
    let Cut::Request(request) = request::cut(bytes, &Limits::REDIS, &mut Progress::default())
    else {
        panic!("the request is complete");
    };
    assert_eq!(request.first_key(), request.keys().next().map(|key| key.bytes));
    let has_right_number =
        request.subcommand().is_none_or(|command| command.accepts(request.arguments));
    if !has_right_number {
        return;
    }
    let mut question: Vec<&[u8]> = vec![b"COMMAND", b"GETKEYSANDFLAGS"];
    question.extend(request.arguments().map(|argument| argument.bytes));
    let reply = peer.ask(&question);
    let shown = String::from_utf8_lossy(bytes).replace("\r\n", " ");
    let answer = String::from_utf8_lossy(&reply);
    if answer.starts_with("-ERR Invalid arguments") {
        // It will refuse the request as well, whichever server it is sent to. Not so
        // `PFMERGE d`, which it executes although it finds no keys.
        assert!(request.keys().all(|key| request.argument(key.at) == Some(key.bytes)));
        assert!(request.verb() != Some(Verb::Pfmerge) || request.first_key().is_some());
        return;
    }
    let is_array = Kind::from_byte(reply[0], Version::Two) == Some(Kind::Array);
    let expected = if is_array { elements(&reply) } else { Vec::new() };
    assert_eq!(request.keys().count(), expected.len(), "{shown} {answer}");
    for (key, expected) in request.keys().zip(expected) {
        let pair = elements(expected);
        assert_eq!(Some(key.bytes), text(pair[0]), "{shown} {answer}");
        if !key.flags.contains(KeyFlags::VARIABLE) {
            let flags: Vec<&str> = elements(pair[1]).into_iter().map(server::text).collect();
            assert_eq!(key.flags.names().collect::<Vec<_>>(), flags, "{shown} {answer}");
        }
    }
    for key in request.keys() {
        assert_eq!(request.argument(key.at), Some(key.bytes), "{shown}");
    }
}
