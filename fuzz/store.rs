//! What the fuzz target `store` checks about the embedded store's commands.
//!
//! Any stream of bytes, text or binary, goes through the same steps as a client's does in a
//! worker. Afterwards the store's books must balance, its memory be within the limit, and every
//! reply be one that our own reader of replies understands.

use std::time::Duration;

use keyway_proto::memcached::binary::{self as packets, BinaryCut, HEADER_BYTES};
use keyway_proto::memcached::{Cut, LineLimits, ReplyCut, ReplyKind, Verb, cut_reply, cut_with};
use keyway_proxy::config::Allow;
use keyway_proxy::local::{
    Admission, Context, Facts, Next, Output, Session, Settings, Shared, admit, binary, execute,
    more,
};
use keyway_store::{Options, Store};

const MEMORY_BYTES_MAX: u64 = 16 << 20;

/// Slices of one dump after which it must have come to its end.
const SLICES_MAX: usize = 10_000;

/// Gives `bytes` to a fresh store as one client's stream; each request comes a second later.
pub fn store(bytes: &[u8]) {
    let store = Store::new(Options { shards: Some(2), ..Options::new(MEMORY_BYTES_MAX) });
    let shared = Shared::new(
        Settings::default(),
        1,
        Duration::from_secs(1_000_000_000),
        Box::new(Facts::default),
    );
    let mut session = Session::new();
    let mut rest = bytes;
    let mut uptime = 0;
    while !rest.is_empty() {
        uptime += 1;
        let ctx = Context {
            store: &store,
            shared: &shared,
            counters: shared.counters(0),
            now: Shared::now(Duration::from_secs(uptime)),
            allow: Allow { flush: true, shutdown: true, ..Allow::default() },
            users: &[],
            cfd: 1,
            is_pipelined: false,
        };
        match request(&ctx, &mut session, rest) {
            Some(used) => rest = rest.get(used..).unwrap_or(&[]),
            None => break,
        }
        store.tick(ctx.now, 100);
    }
    store.check_invariants();
    assert!(store.stats().memory_bytes <= MEMORY_BYTES_MAX, "memory stays within its limit");
}

/// Serves the request at the front; how many bytes it took, or nothing when the client is done.
fn request(ctx: &Context<'_>, session: &mut Session, bytes: &[u8]) -> Option<usize> {
    let mut out = Output::new();
    let head = match cut_with(bytes, &LineLimits::STORE, 0) {
        Cut::Head(head) => head,
        Cut::Binary => return packet(ctx, session, bytes),
        Cut::Partial | Cut::TooLong => return None,
    };
    let there = &bytes[head.line_bytes..];
    let (used, next) = match admit(ctx, session, &head, there.len(), &mut out) {
        Admission::Close => return None,
        Admission::Refuse { swallow } => (swallow, Next::Continue),
        Admission::Read(body) => {
            let value = there.get(..usize::try_from(body).ok()?)?;
            (body, execute(ctx, session, &head, value, &mut out))
        }
    };
    // Administrative commands have lines of their own.
    let is_plain = head.verb.has_key() || head.verb == Verb::Mn;
    let goes_on = drain(ctx, session, next, &mut out, |replies| {
        assert!(!is_plain || are_replies(replies), "{:?}", replies.escape_ascii().to_string());
    });
    goes_on.then_some(head.line_bytes.saturating_add(usize::try_from(used).ok()?))
}

fn packet(ctx: &Context<'_>, session: &mut Session, bytes: &[u8]) -> Option<usize> {
    let mut out = Output::new();
    let BinaryCut::Head(header) = packets::cut_request(bytes) else {
        binary::refuse_malformed(bytes, &mut out);
        assert!(are_packets(&out.bytes));
        return None;
    };
    let there = &bytes[HEADER_BYTES..];
    let (used, next) = match binary::admit(ctx, &header, there, &mut out) {
        Admission::Close => return None,
        Admission::Refuse { swallow } => (swallow, Next::Continue),
        Admission::Read(body) => {
            let body = there.get(..usize::try_from(body).ok()?)?;
            (body.len() as u64, binary::execute(ctx, session, &header, body, &mut out))
        }
    };
    let goes_on = drain(ctx, session, next, &mut out, |replies| assert!(are_packets(replies)));
    goes_on.then_some(HEADER_BYTES.saturating_add(usize::try_from(used).ok()?))
}

/// Takes everything that is to be sent; false when the client is done.
fn drain(
    ctx: &Context<'_>,
    session: &mut Session,
    mut next: Next,
    out: &mut Output,
    check: impl Fn(&[u8]),
) -> bool {
    for _ in 0..SLICES_MAX {
        out.flatten();
        check(&out.bytes);
        out.clear();
        match next {
            Next::Continue => return true,
            Next::More => next = more(ctx, session, out),
            Next::Close | Next::Shutdown { .. } | Next::Watch(_) => return false,
        }
    }
    panic!("a dump comes to its end");
}

/// Whether `bytes` are whole text replies and nothing else.
fn are_replies(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        let ReplyCut::Head(head) = cut_reply(rest) else { return false };
        let body = head.body_bytes() as usize;
        let Some(block) = rest.get(head.line_bytes..head.line_bytes + body) else { return false };
        if !(body == 0 || block.ends_with(b"\r\n")) || head.kind == ReplyKind::OtherMeta {
            return false;
        }
        rest = &rest[head.line_bytes + body..];
    }
    true
}

/// Whether `bytes` are whole binary replies and nothing else.
fn are_packets(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        let BinaryCut::Head(header) = packets::cut_reply(rest) else { return false };
        let Some(after) = rest.get(HEADER_BYTES + header.body_bytes as usize..) else {
            return false;
        };
        rest = after;
    }
    true
}
