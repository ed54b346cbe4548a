//! `stats` of the text and the binary protocol.
//!
//! Cold: formatting is fine here. Names and order are memcached's; a name whose subject our store
//! does not have (slab pages, LRU segments) is reported with the value that says "nothing
//! happened", because monitoring tools expect to find it.

mod general;
mod settings;
mod sizes;

use super::admin::Words;
use super::conns::ConnState;
use super::output::Output;
use super::{Context, dump};
use keyway_proto::memcached::binary::{Header, Opcode};
use keyway_proto::memcached::text;
use std::fmt::{self, Write as _};

/// Topics of memcached that there is nothing to say about here: no flash tier, no functions.
const NOTHING: [&[u8]; 3] = [b"extstore", b"proxyfuncs", b"proxybe"];

/// How statistics are written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    /// `STAT name value` lines and `END`.
    Text,
    /// One packet each and an empty one.
    Binary {
        /// The request's opaque.
        opaque: u32,
    },
}

/// Statistics being written.
pub(super) struct Rows<'a> {
    out: &'a mut Output,
    format: Format,
    value: String,
}

impl Rows<'_> {
    pub(super) fn new(out: &mut Output, format: Format) -> Rows<'_> {
        Rows { out, format, value: String::new() }
    }

    /// Writes one statistic.
    pub(super) fn put(&mut self, name: &str, value: impl fmt::Display) {
        self.value.clear();
        let _ = write!(self.value, "{value}");
        match self.format {
            Format::Text => {
                self.out.put(b"STAT ");
                self.out.put(name.as_bytes());
                self.out.byte(b' ');
                self.out.put(self.value.as_bytes());
                self.out.put(b"\r\n");
            }
            Format::Binary { opaque } => {
                put_packet(self.out, opaque, name.as_bytes(), self.value.as_bytes());
            }
        }
    }

    /// Writes `yes` or `no`.
    fn yes(&mut self, name: &str, is_so: bool) {
        self.put(name, if is_so { "yes" } else { "no" });
    }

    /// Writes the end.
    pub(super) fn end(self) {
        match self.format {
            Format::Text => self.out.put(text::END),
            Format::Binary { opaque } => put_packet(self.out, opaque, b"", b""),
        }
    }
}

fn put_packet(out: &mut Output, opaque: u32, name: &[u8], value: &[u8]) {
    let header = Header {
        opcode: Opcode::Stat as u8,
        key_bytes: u16::try_from(name.len()).unwrap_or(u16::MAX),
        body_bytes: u32::try_from(name.len() + value.len()).unwrap_or(u32::MAX),
        opaque,
        ..Header::default()
    };
    out.put(&header.render_reply());
    out.put(name);
    out.put(value);
}

/// `stats` of the text protocol.
pub(super) fn execute(ctx: &Context<'_>, words: &Words<'_>, out: &mut Output) {
    let Some(topic) = words.get(1) else {
        let mut rows = Rows::new(out, Format::Text);
        general::write(ctx, &mut rows);
        return rows.end();
    };
    // The order decides what a shortened word means.
    if b"reset".starts_with(topic) {
        ctx.shared.reset_totals();
        out.put(text::RESET);
    } else if b"detail".starts_with(topic) {
        detail(ctx, words, out);
    } else if b"settings".starts_with(topic) {
        let mut rows = Rows::new(out, Format::Text);
        settings::write(ctx, &mut rows);
        rows.end();
    } else if b"cachedump".starts_with(topic) {
        cachedump(ctx, words, out);
    } else if b"conns".starts_with(topic) {
        let mut rows = Rows::new(out, Format::Text);
        conns(ctx, &mut rows);
        rows.end();
    } else if b"proxy".starts_with(topic) {
        let mut rows = Rows::new(out, Format::Text);
        for (name, value) in &ctx.shared.facts().more {
            rows.put(name, value);
        }
        rows.end();
    } else if NOTHING.iter().any(|name| name.starts_with(topic)) {
        out.put(text::END);
    } else if !topic_rows(ctx, topic, Format::Text, out) {
        out.put(text::ERROR);
    }
}

/// Writes the statistics that memcached's engine has by exact name; false if there are none.
fn topic_rows(ctx: &Context<'_>, topic: &[u8], format: Format, out: &mut Output) -> bool {
    let write = match topic {
        b"items" => sizes::items,
        b"slabs" => sizes::slabs,
        b"sizes" => sizes::sizes,
        _ => return false,
    };
    let mut rows = Rows::new(out, format);
    write(ctx, &mut rows);
    rows.end();
    true
}

/// Statistics of the binary protocol; false if there are none of that name.
pub(super) fn binary(ctx: &Context<'_>, topic: &[u8], opaque: u32, out: &mut Output) -> bool {
    let format = Format::Binary { opaque };
    if topic.is_empty() {
        let mut rows = Rows::new(out, format);
        general::write(ctx, &mut rows);
        rows.end();
    } else if topic.starts_with(b"reset") {
        ctx.shared.reset_totals();
        Rows::new(out, format).end();
    } else if topic.starts_with(b"settings") {
        let mut rows = Rows::new(out, format);
        settings::write(ctx, &mut rows);
        rows.end();
    } else if let Some(argument) = topic.strip_prefix(b"detail") {
        if !ctx.allow.dump {
            return false;
        }
        if argument.starts_with(b" dump") {
            let mut dump = Output::new();
            ctx.shared.prefixes.dump(&mut dump);
            put_packet(out, opaque, b"detailed", &dump.bytes);
        } else if argument.starts_with(b" on") {
            ctx.shared.prefixes.turn(true);
        } else if argument.starts_with(b" off") {
            ctx.shared.prefixes.turn(false);
        } else {
            return false;
        }
        Rows::new(out, format).end();
    } else {
        return topic_rows(ctx, topic, format, out);
    }
    true
}

fn detail(ctx: &Context<'_>, words: &Words<'_>, out: &mut Output) {
    if !ctx.allow.dump {
        return out.put(b"CLIENT_ERROR stats detail not allowed\r\n");
    }
    let prefixes = &ctx.shared.prefixes;
    match words.get(2) {
        Some(word) if b"on".starts_with(word) => prefixes.turn(true),
        Some(word) if b"off".starts_with(word) => prefixes.turn(false),
        Some(word) if b"dump".starts_with(word) => return prefixes.dump(out),
        _ => return out.put(b"CLIENT_ERROR usage: stats detail on|off|dump\r\n"),
    }
    out.put(text::OK);
}

fn cachedump(ctx: &Context<'_>, words: &Words<'_>, out: &mut Output) {
    const CLASS_COUNT: u32 = 64;
    if !ctx.allow.dump {
        return out.put(b"CLIENT_ERROR stats cachedump not allowed\r\n");
    }
    if words.count() < 4 {
        return out.put(b"CLIENT_ERROR bad command line\r\n");
    }
    match (words.u32(2), words.u32(3)) {
        (Some(CLASS_COUNT..), Some(_)) => out.put(b"CLIENT_ERROR Illegal slab id\r\n"),
        (Some(class), Some(items_max)) => dump::cachedump(ctx, class, items_max, out),
        _ => out.put(text::BAD_LINE_FORMAT),
    }
}

fn conns(ctx: &Context<'_>, rows: &mut Rows<'_>) {
    for entry in ctx.shared.conns.list() {
        let name = |what: &str| format!("{}:{what}", entry.number);
        if entry.is_udp {
            rows.put(&name("UDP"), "UDP");
        }
        rows.put(&name("addr"), &entry.address);
        if !entry.listen_address.is_empty() {
            rows.put(&name("listen_addr"), &entry.listen_address);
        }
        // Whoever asks is in the middle of a command.
        let state =
            if entry.number == ctx.cfd { ConnState::PARSE_NAME } else { entry.state_name() };
        rows.put(&name("state"), state);
        let idle = ctx.now.seconds.saturating_sub(entry.last_command());
        rows.put(&name("secs_since_last_cmd"), idle);
    }
}
