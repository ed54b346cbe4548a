//! The YAML that nutcracker takes: what it checks of a file before it looks at any directive.
//!
//! First the documents are counted, then tokens it does not want (flow style, anchors, `---`) are
//! looked for, then the shape is checked: pools, directives, one sequence in each. `scan` and
//! `parse` do what libyaml does, which nutcracker uses, so that both agree on quoting, indentation
//! and folding. What comes out is a flat list of [`Step`]s in the order of the file.

mod parse;
mod scalar;
mod scan;

use std::borrow::Cow;
use std::ops::Range;

use super::Mistakes;
use parse::{Event, Parser, What};
use scan::{READER, Stop};

/// A text of the file and its place, quotes included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) span: Range<usize>,
}

/// What the file says, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A pool begins.
    Pool(Scalar),
    /// A directive with a value; a sequence gives one for each of its elements.
    Directive { key: Scalar, value: Scalar },
    /// An empty text where none may be. nutcracker refuses it without a reason.
    Empty { key: Option<Scalar>, span: Range<usize> },
}

/// The text of a file as libyaml sees it: UTF-8, or UTF-16 with a byte order mark.
///
/// # Errors
/// The part before what is not text.
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, String> {
    let wide = match bytes {
        [0xff, 0xfe, rest @ ..] => Some((rest, u16::from_le_bytes as fn([u8; 2]) -> u16)),
        [0xfe, 0xff, rest @ ..] => Some((rest, u16::from_be_bytes as fn([u8; 2]) -> u16)),
        _ => None,
    };
    let Some((rest, unit)) = wide else {
        let valid_up_to = match std::str::from_utf8(bytes) {
            Ok(text) => return Ok(Cow::Borrowed(text)),
            Err(error) => error.valid_up_to(),
        };
        return Err(String::from_utf8_lossy(&bytes[..valid_up_to]).into_owned());
    };
    let (pairs, odd) = rest.as_chunks::<2>();
    let mut text = String::with_capacity(pairs.len());
    for c in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        match c {
            Ok(c) => text.push(c),
            Err(_) => return Err(text),
        }
    }
    if odd.is_empty() { Ok(Cow::Owned(text)) } else { Err(text) }
}

/// Reads the file's steps; `None` where its grammar or shape is wrong.
pub(super) fn read(name: &str, text: &str, mistakes: &mut Mistakes<'_>) -> Option<Vec<Step>> {
    if text.len() > FILE_BYTES_MAX {
        mistakes.error(0..0, document_reason(READER), "the file is larger than 16 MiB", "");
        return None;
    }
    if let Some((at, c)) = text.char_indices().find(|(_, c)| !is_character(*c)) {
        let message = format!("the character `{}` cannot be in the file", c.escape_debug());
        mistakes.error(at..at + c.len_utf8(), document_reason(READER), message, "remove it");
        return None;
    }
    if !check_documents(name, text, mistakes) {
        return None;
    }
    let mut shape = Shape::default();
    let mut parser = Parser::new(text);
    loop {
        let event = match parser.next() {
            Ok(event) => event,
            // The first pass has seen the same text, but may have been tired of its depth.
            Err(stop) => {
                report(stop, mistakes);
                return None;
            }
        };
        if event.what == What::StreamEnd {
            return Some(shape.steps);
        }
        let span = event.span.clone();
        if let Err(wrong) = shape.take(event) {
            let reason = format!("'{name}' {}", wrong.reason);
            mistakes.error(span, reason, wrong.message, wrong.help);
            return None;
        }
    }
}

/// What libyaml takes for a character of a file.
fn is_character(c: char) -> bool {
    matches!(c,
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}'
        | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

/// The first two passes: the file can be scanned to its end and is one document, without tokens
/// that nutcracker does not want.
fn check_documents(name: &str, text: &str, mistakes: &mut Mistakes<'_>) -> bool {
    let mut parser = Parser::new(text);
    let mut documents: Vec<Range<usize>> = Vec::new();
    let mut markers: Vec<Stop> = Vec::new();
    let mut depth = 0usize;
    let stop = loop {
        let event = match parser.next() {
            Ok(event) => event,
            Err(stop) => break Some(stop),
        };
        let span = event.span;
        match event.what {
            What::StreamEnd => break None,
            What::DocumentStart { is_explicit } => {
                documents.push(span.clone());
                if is_explicit && markers.len() < MARKERS_MAX {
                    markers.push(Stop::Forbidden { kind: "document start", number: 5, span });
                }
            }
            What::DocumentEnd { is_explicit: true } if markers.len() < MARKERS_MAX => {
                markers.push(Stop::Forbidden { kind: "document end", number: 6, span });
            }
            What::MappingStart | What::SequenceStart => depth += 1,
            What::MappingEnd | What::SequenceEnd => depth = depth.saturating_sub(1),
            What::DocumentEnd { .. } | What::Scalar(_) => {}
        }
        // The shape will be wrong; there is no need to see all of it.
        if depth > DEPTH_MAX {
            break None;
        }
    };
    let is_whole = match &stop {
        None => documents.len() == 1,
        Some(Stop::Forbidden { .. }) => true,
        Some(error) => {
            report(error.clone(), mistakes);
            true
        }
    };
    if !is_whole {
        let count = documents.len();
        let reason = format!("'{name}' must contain only 1 document; found {count} documents");
        let (message, help) = match count {
            0 => ("the file has no pools", "write `NAME:` and below it, indented, `listen: …`"),
            _ => ("a second YAML document begins here", "put all pools into one document"),
        };
        mistakes.error(documents.get(1).cloned().unwrap_or(0..0), reason, message, help);
    }
    let is_good = is_whole && stop.is_none() && markers.is_empty();
    let forbidden = stop.into_iter().filter(|stop| matches!(stop, Stop::Forbidden { .. }));
    markers.into_iter().chain(forbidden).for_each(|stop| report(stop, mistakes));
    is_good
}

fn report(stop: Stop, mistakes: &mut Mistakes<'_>) {
    match stop {
        Stop::Error { number, message, at } => {
            mistakes.error(at..at, document_reason(number), message, "");
        }
        Stop::Forbidden { kind, number, span } => {
            let reason = format!("{kind} token ({number}) is disallowed");
            let message = format!("nutcracker's YAML has no {kind}");
            let help = match kind {
                "document start" | "document end" => "remove the line",
                "version directive" | "tag directive" => "remove the line",
                "flow mapping start" => "put the value in quotes, such as `hash_tag: \"{}\"`",
                _ => "put the value in quotes",
            };
            mistakes.error(span, reason, message, help);
        }
    }
}

/// What nutcracker says when the file is not text.
pub(super) fn reader_reason() -> String {
    document_reason(READER)
}

/// What nutcracker says when its first pass fails with libyaml's error `number`.
fn document_reason(number: u8) -> String {
    format!("failed (err {number}) to get the next yaml document")
}

/// Why a file has the wrong shape: nutcracker's words behind the file's name, and ours.
struct Misshapen {
    reason: String,
    message: &'static str,
    help: &'static str,
}

/// Pass three: pools with directives, one sequence in each; and the steps.
#[derive(Default)]
struct Shape {
    /// How deep in mappings. 1: names of pools; 2: directives.
    depth: usize,
    /// Texts since the last complete pair, at each depth.
    counts: [usize; 3],
    /// The pool has had its sequence.
    has_sequence: bool,
    in_sequence: bool,
    key: Option<Scalar>,
    steps: Vec<Step>,
}

impl Shape {
    fn take(&mut self, event: Event) -> Result<(), Misshapen> {
        let depth = self.depth;
        match event.what {
            What::MappingStart => self.mapping(depth),
            What::MappingEnd => self.mapping_end(depth),
            What::SequenceStart => self.sequence(depth),
            What::SequenceEnd => {
                self.counts[depth.min(2)] = 0;
                self.in_sequence = false;
                self.key = None;
                Ok(())
            }
            What::Scalar(text) => self.scalar(depth, Scalar { text, span: event.span }),
            _ => Ok(()),
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<(), Misshapen> {
        if depth == 1 && self.counts[1] != 1 {
            return misshapen(
                "has more than one \"key:value\" at depth 1",
                "a pool's name must be a text",
                "write `NAME:` and below it, indented, its directives",
            );
        }
        if depth >= DIRECTIVES_DEPTH {
            return misshapen(
                "has a depth greater than 2",
                "a directive takes a single value, and `servers` a list of texts",
                "write `- host:port:weight name` for each server",
            );
        }
        self.depth += 1;
        Ok(())
    }

    fn mapping_end(&mut self, depth: usize) -> Result<(), Misshapen> {
        if depth == DIRECTIVES_DEPTH && !std::mem::take(&mut self.has_sequence) {
            return misshapen(
                "missing sequence directive at depth 2",
                "the pool before this has no list of servers",
                "add `servers:` and below it `- host:port:weight` for each server",
            );
        }
        self.depth = depth.saturating_sub(1);
        self.counts[self.depth.min(2)] = 0;
        Ok(())
    }

    fn sequence(&mut self, depth: usize) -> Result<(), Misshapen> {
        if self.has_sequence {
            return misshapen(
                "has more than one sequence directive",
                "only `servers` is a list, once in each pool",
                "put all servers into one list",
            );
        }
        if depth != DIRECTIVES_DEPTH {
            return misshapen(
                &format!("has sequence at depth {depth} instead of 2"),
                "a list can only stand below `servers:` in a pool",
                "write `NAME:` and below it, indented, its directives",
            );
        }
        if self.counts[depth] != 1 {
            return misshapen(
                "has invalid \"key:value\" at depth 2",
                "a list cannot be the name of a directive",
                "",
            );
        }
        self.has_sequence = true;
        self.in_sequence = true;
        Ok(())
    }

    fn scalar(&mut self, depth: usize, scalar: Scalar) -> Result<(), Misshapen> {
        if depth == 0 {
            return misshapen(
                "has invalid empty \"key:\" at depth 0",
                "the file must be a list of pools",
                "write `NAME:` and below it, indented, its directives",
            );
        }
        if depth == 1 && self.counts[1] != 0 {
            return misshapen(
                "has invalid mapping \"key:\" at depth 1",
                "a pool needs directives below its name",
                "indent the directives of the pool",
            );
        }
        if depth == DIRECTIVES_DEPTH && self.counts[depth] == 2 {
            self.counts[depth] = 0;
        }
        self.counts[depth] += 1;
        let key = if depth == 1 || self.in_sequence { self.key.clone() } else { self.key.take() };
        let step = match key {
            _ if scalar.text.is_empty() => Step::Empty { key, span: scalar.span },
            _ if depth == 1 => Step::Pool(scalar),
            Some(key) => Step::Directive { key, value: scalar },
            None => {
                self.key = Some(scalar);
                return Ok(());
            }
        };
        self.steps.push(step);
        Ok(())
    }
}

fn misshapen(reason: &str, message: &'static str, help: &'static str) -> Result<(), Misshapen> {
    Err(Misshapen { reason: reason.to_owned(), message, help })
}

/// Depth of directives.
const DIRECTIVES_DEPTH: usize = 2;
/// Deeper nesting than this is not followed.
const DEPTH_MAX: usize = 100;
/// More `---` and `...` than these are not reported.
const MARKERS_MAX: usize = 100;
/// A file larger than this is not a configuration.
const FILE_BYTES_MAX: usize = 16 << 20;
