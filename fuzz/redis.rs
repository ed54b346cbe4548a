//! What the fuzz targets check about the readers of Redis requests and replies.
//!
//! Included by the libFuzzer targets here and by the smoke test of `keyway-proto`, so that both
//! run the same bodies. Each function panics when something that must hold for any input fails.

// Each target uses one of the functions.
#![allow(dead_code)]

use keyway_proto::resp::reply::{self, Fed, Follow};
use keyway_proto::resp::{Cut, Limits, Progress, Request, Version, render, request};

/// Small enough that inputs reach them.
const SMALL: Limits =
    Limits { arguments_max: 5, bulk_bytes_max: 30, line_bytes_max: 40, ..Limits::REDIS };

const UNKNOWN: Limits = Limits { is_authenticated: false, ..Limits::REDIS };

/// Reads `bytes` as a pipeline of requests under several limits and checks every one.
pub fn requests(bytes: &[u8]) {
    for limits in [Limits::REDIS, Limits::NUTCRACKER, SMALL, UNKNOWN] {
        let mut rest = bytes;
        loop {
            let taken = match request_once(rest, &limits) {
                Cut::Request(request) => {
                    check_request(&request, rest);
                    request.bytes.len()
                }
                Cut::Inline(inline) => {
                    let mut rendered = Vec::new();
                    inline.render(&mut rendered);
                    let request = whole(&rendered);
                    assert_eq!(request.arguments, inline.arguments);
                    assert!(inline.line.len() < inline.bytes);
                    inline.bytes
                }
                Cut::Nothing { bytes, .. } => bytes,
                Cut::Partial => break,
                Cut::Malformed(malformed) => {
                    let mut error = Vec::new();
                    malformed.render(&mut error);
                    let fed = Follow::new(Version::Two).feed(&error);
                    assert_eq!(fed, Fed::Complete(error.len()));
                    break;
                }
            };
            assert!(taken > 0);
            rest = &rest[taken..];
        }
    }
}

/// Cuts once, and again in pieces, which has to give the same answer.
fn request_once<'a>(bytes: &'a [u8], limits: &Limits) -> Cut<'a> {
    let whole = request::cut(bytes, limits, &mut Progress::default());
    for step in [1, 2, 7, 31] {
        let mut progress = Progress::default();
        let mut len = 0;
        let stepwise = loop {
            match request::cut(&bytes[..len], limits, &mut progress) {
                Cut::Partial if len < bytes.len() => {
                    assert!(progress.bytes_wanted() >= len.min(1));
                    let _ = progress.peek(&bytes[..len]);
                    len = (len + step).min(bytes.len());
                }
                cut => break cut,
            }
        };
        assert_eq!(stepwise, whole, "any split is read alike");
        assert!(whole == Cut::Partial || progress == Progress::default());
    }
    whole
}

/// The request that is all of `bytes`, in normal form.
fn whole(bytes: &[u8]) -> Request<'_> {
    let limits = Limits { arguments_max: u32::MAX, ..Limits::REDIS };
    match request::cut(bytes, &limits, &mut Progress::default()) {
        Cut::Request(request) => {
            assert_eq!((request.bytes.len(), request.is_normal), (bytes.len(), true));
            request
        }
        other => panic!("what is rendered is a request, not {other:?}"),
    }
}

fn check_request(request: &Request<'_>, bytes: &[u8]) {
    assert!(bytes.starts_with(request.bytes));
    assert_eq!(request.arguments().len(), request.arguments().count());
    assert_eq!(request.arguments().count(), request.arguments as usize);
    assert_eq!(request.argument(0), Some(request.name));
    assert_eq!(request.argument(1).unwrap_or_default(), request.first);
    let mut rendered = Vec::new();
    request.render(&mut rendered);
    assert_eq!(request.is_normal, rendered == request.bytes);
    let again = whole(&rendered);
    assert!(again.arguments().map(|a| a.bytes).eq(request.arguments().map(|a| a.bytes)));
    assert_eq!(again.command, request.command);
    for key in request.keys() {
        assert_eq!(request.argument(key.at), Some(key.bytes));
    }
    if let Some(command) = request.command {
        assert!(command.name.as_bytes().eq_ignore_ascii_case(request.name));
        if command.accepts(request.arguments) {
            assert_eq!(request.first_key(), request.keys().next().map(|key| key.bytes));
        }
    }
    let _ = (request.may_block(), request.subcommand(), request.is_http());
}

/// Follows `bytes` as a sequence of replies in both versions.
pub fn replies(bytes: &[u8]) {
    for version in [Version::Two, Version::Three] {
        let mut rest = bytes;
        loop {
            let mut follow = Follow::new(version);
            let fed = follow.feed(rest);
            for step in [1, 2, 7, 31] {
                assert_eq!(feed_in_steps(rest, step, version), fed, "any split is read alike");
            }
            let Fed::Complete(taken) = fed else { break };
            assert!(taken > 0 && follow.is_between() && follow.kind().is_some());
            check_reply(&rest[..taken], version);
            rest = &rest[taken..];
        }
    }
}

fn feed_in_steps(bytes: &[u8], step: usize, version: Version) -> Fed {
    let mut follow = Follow::new(version);
    let mut at = 0;
    for piece in bytes.chunks(step) {
        match follow.feed(piece) {
            Fed::Complete(taken) => return Fed::Complete(at + taken),
            Fed::Partial => at += piece.len(),
            Fed::Malformed => return Fed::Malformed,
        }
    }
    Fed::Partial
}

fn check_reply(bytes: &[u8], version: Version) {
    assert!(bytes.ends_with(b"\r\n"));
    if let Some(number) = reply::integer(bytes) {
        let mut rendered = Vec::new();
        render::integer(&mut rendered, number);
        assert_eq!(reply::integer(&rendered), Some(number));
    }
    if let Some(text) = reply::text(bytes) {
        assert!(text.len() < bytes.len());
    }
    if let Some(code) = reply::error_code(bytes) {
        assert!(!code.contains(&b' '));
    }
    if let Some(elements) = reply::elements(bytes, version) {
        let (left, parts) = (elements.left(), elements.collect::<Vec<_>>());
        assert_eq!(parts.len() as u64, left);
        assert!(bytes.ends_with(&parts.concat()));
    }
}
