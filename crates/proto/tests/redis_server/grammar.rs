//! What redis-server does with odd input, against what `request::cut` makes of it.
//!
//! One connection gets the input as it is, its twin the requests that were cut, rendered. Both
//! must say the same, but for the protocol error at the end.

use keyway_proto::resp::{Cut, Limits, Progress, request};

use crate::server::Server;
use crate::server_or_return;

const INPUTS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"  \r\nPING\r\n",
    b"*0\r\n*1\r\n$4\r\nPING\r\n",
    b"*-1\r\nPING\r\n",
    b"*-5\r\nPING\r\n",
    b"*01\r\n$4\r\nPING\r\n",
    b"*1\r\n$04\r\nPING\r\n",
    b"*+1\r\n$4\r\nPING\r\n",
    b"*1\r\n$+4\r\nPING\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$-0\r\n\r\n",
    b"*\r\nPING\r\n",
    b"*1\r\n$\r\n",
    b"*1\r\n$0\r\n\r\n",
    b"*2\r\n$0\r\n\r\n$1\r\na\r\n",
    b"*1\r\nPING\r\n",
    b"*1\r\n\r\n",
    b"*1\r\n:4\r\n",
    b"*1\r\n\xff4\r\n",
    b"*a\r\n",
    b"*1 \r\n$4\r\nPING\r\n",
    b"* 1\r\n$4\r\nPING\r\n",
    b"*1\n$4\nPING\n",
    b"*1\rX$4\rXPING\r\n",
    b"*1\rX$4\r\nPINGXY*1\r\n$4\r\nPING\r\n",
    b"*1\r\n$4\r\nPING\rX*1\r\n$4\r\nPING\r\n",
    b"*2\r\n$3\r\nGET\r\n$536870913\r\n",
    b"*2147483648\r\n",
    b"*99999999999999999999\r\n",
    b"*-9223372036854775809\r\n",
    b"*-9223372036854775808\r\nPING\r\n",
    b"*1\r\n$2147483648\r\n",
    b"*1\r\n$99999999999999999999999\r\n",
    b"*-\r\n",
    b"*-0\r\nPING\r\n",
    b"*1\r\n$-\r\n",
    b"PING\n",
    b"PING\r\r\n",
    b"\rPING\r\n",
    b"\x0b\x0cPING\x0b\r\n",
    b"\"PING\r\n",
    b"'PI\\'NG'\r\n",
    b"\"PING\"x\r\n",
    b"ECHO \"\\x41\\n\\r\\t\\a\\b\\\\\\\"\\q\\xzz\\x4\"\r\n",
    b"ECHO 'a\\'b\\n\\\\'\r\n",
    b"ECHO \"\"\r\n",
    b"ECHO a\"b\"\r\n",
    b"ECHO a\"b\"\x0bc\r\n",
    b"ECHO a\"b\"c\r\n",
    b"ECHO \"abc\\\r\n",
    b"ECHO a\\x41\r\n",
    b"ECHO 'a'\tb\r\n",
    b"ECHO a\x00b\r\nPING\r\n",
    b"\"\" x\r\n",
    b"*1\r\n$5\r\nPI\r\nG\r\n",
    b"POST / HTTP/1.1\r\nPING\r\n",
    b"Host: x\r\nPING\r\n",
    b"GET / HTTP/1.1\r\n\r\nPING\r\n",
];

#[test]
fn odd_input_is_understood_as_the_server_understands_it() {
    let server = server_or_return!("odd");
    for input in INPUTS {
        compare(&server, input);
    }
    let long = |first: &[u8], byte: u8, count: usize| [first, &vec![byte; count]].concat();
    let digits = 64 * 1024;
    compare(&server, &long(b"P", b'P', digits));
    compare(&server, &[long(b"", b'P', digits - 1), b"\r\n".to_vec()].concat());
    compare(&server, &long(b"*", b'1', digits));
    compare(&server, &long(b"*1\r\n$", b'1', digits));
}

#[test]
fn random_input_is_understood_as_the_server_understands_it() {
    const PIECES: &[&[u8]] = &[
        b"*1\r\n",
        b"*2\r\n",
        b"*3\r\n",
        b"$4\r\n",
        b"PING\r\n",
        b"$4\r\nPING\r\n",
        b"$1\r\na\r\n",
        b"$0\r\n\r\n",
        b"*0\r\n",
        b"$-1\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\"",
        b"'",
        b"\\",
        b"\\x4",
        b"ECHO",
        b"ping",
        b"a",
        b"0",
        b"1",
        b"-",
        b"\t",
        b"\x0b",
        b"$4\r\nECHO\r\n",
        b"*",
        b"$",
        b"\xff",
        b"\\x41",
        b"\\n",
        b" \"a b\" ",
        b" 'c d' ",
        b"\r\nPING\r\n",
    ];
    let server = server_or_return!("random");
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..1500 {
        let mut input = Vec::new();
        for _ in 0..=state >> 5 & 15 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            input.extend_from_slice(PIECES[(state >> 20) as usize % PIECES.len()]);
        }
        input.extend_from_slice(b"\r\nPING end\r\n");
        compare(&server, &input);
    }
}

fn compare(server: &Server, input: &[u8]) {
    let (understood, error) = understood(input);
    let mut expected = server.connect().exchange(&understood);
    if let Some(error) = error {
        expected.extend_from_slice(&error);
    }
    let shown = String::from_utf8_lossy(&input[..input.len().min(200)]).into_owned();
    let answer = server.connect().exchange(input);
    assert_eq!(
        String::from_utf8_lossy(&answer),
        String::from_utf8_lossy(&expected),
        "{shown:?} was understood as {:?}",
        String::from_utf8_lossy(&understood)
    );
}

/// The requests in normal form, and the protocol error at the end.
fn understood(input: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut requests = Vec::new();
    let mut rest = input;
    loop {
        let bytes = match request::cut(rest, &Limits::REDIS, &mut Progress::default()) {
            Cut::Request(request) => {
                request.render(&mut requests);
                if request.is_http() {
                    return (requests, None);
                }
                request.bytes.len()
            }
            Cut::Inline(inline) => {
                inline.render(&mut requests);
                inline.bytes
            }
            Cut::Nothing { bytes, .. } => bytes,
            Cut::Partial => return (requests, None),
            Cut::Malformed(malformed) => {
                let mut error = Vec::new();
                malformed.render(&mut error);
                return (requests, Some(error));
            }
        };
        rest = &rest[bytes..];
    }
}
