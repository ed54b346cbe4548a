//! The YAML that nutcracker takes: three passes over the file, as it makes them.
//!
//! First the documents are counted, then tokens it does not want (flow style, anchors, `---`) are
//! looked for, then the shape is checked: pools, directives, one sequence in each. The scanner is a
//! port of libyaml, which nutcracker uses, so that both agree on quoting, indentation and folding.
//! What comes out is a flat list of [`Step`]s in the order of the file.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use libyaml_safer::{
    Encoding, Error, ErrorKind, Event, EventData, Mark, Parser, Scanner, Token, TokenData,
};

use super::Mistakes;

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
    let marks = Marks { offset: if text.starts_with(BOM) { BOM.len_utf8() } else { 0 } };
    let body = &text[marks.offset..];
    let is_one = check_documents(name, body, marks, mistakes);
    let are_tokens_good = check_tokens(body, marks, mistakes);
    if !is_one || !are_tokens_good {
        return None;
    }
    let mut shape = Shape::default();
    let mut parser = parser(body);
    loop {
        let event = match parser.parse() {
            Ok(event) => event,
            // The first pass has seen the same bytes.
            Err(error) => {
                report(&error, marks, mistakes);
                return None;
            }
        };
        if matches!(event.data, EventData::StreamEnd) {
            return Some(shape.steps);
        }
        let span = marks.span(event.start_mark, event.end_mark);
        if let Err(wrong) = shape.take(event, span.clone()) {
            let reason = format!("'{name}' {}", wrong.reason);
            mistakes.error(span, reason, wrong.message, wrong.help);
            return None;
        }
    }
}

/// Where marks of the scanner lie in the file.
#[derive(Clone, Copy)]
struct Marks {
    /// Bytes of the byte order mark, which the scanner does not see.
    offset: usize,
}

impl Marks {
    fn at(self, mark: Mark) -> usize {
        usize::try_from(mark.index).unwrap_or(usize::MAX).saturating_add(self.offset)
    }

    fn span(self, start: Mark, end: Mark) -> Range<usize> {
        let start = self.at(start);
        start..self.at(end).max(start)
    }
}

fn parser(body: &str) -> Parser<&[u8]> {
    let mut parser = Parser::new();
    parser.set_encoding(Encoding::Utf8);
    parser.set_input(body.as_bytes());
    parser
}

/// Pass one: the scanner is content, and there is one document.
fn check_documents(name: &str, body: &str, marks: Marks, mistakes: &mut Mistakes<'_>) -> bool {
    let mut parser = parser(body);
    let mut anchors: HashSet<String> = HashSet::new();
    let (mut count, mut depth, mut second) = (0, 0usize, 0..0);
    loop {
        let event = match parser.parse() {
            Ok(event) => event,
            Err(error) => {
                report(&error, marks, mistakes);
                return false;
            }
        };
        let span = marks.span(event.start_mark, event.end_mark);
        let anchor = match event.data {
            EventData::StreamEnd => break,
            EventData::DocumentStart { .. } => {
                anchors.clear();
                count += 1;
                if count == 2 {
                    second = span.clone();
                }
                None
            }
            EventData::Alias { anchor } if !anchors.contains(&anchor) => {
                let message = "this alias has no anchor";
                mistakes.error(span, document_reason(COMPOSER), message, QUOTE_HELP);
                return false;
            }
            EventData::Scalar { anchor, .. } => anchor,
            EventData::SequenceStart { anchor, .. } | EventData::MappingStart { anchor, .. } => {
                depth += 1;
                anchor
            }
            EventData::SequenceEnd | EventData::MappingEnd => {
                depth = depth.saturating_sub(1);
                None
            }
            _ => None,
        };
        if let Some(anchor) = anchor
            && !anchors.insert(anchor)
        {
            let message = "this anchor is there already";
            mistakes.error(span, document_reason(COMPOSER), message, QUOTE_HELP);
            return false;
        }
        // The later passes refuse this soon; going on would cost time in the square of the depth.
        if depth > DEPTH_MAX {
            return true;
        }
    }
    if count != 1 {
        let reason = format!("'{name}' must contain only 1 document; found {count} documents");
        let (message, help) = match count {
            0 => ("the file has no pools", "write `NAME:` and below it, indented, `listen: …`"),
            _ => ("a second YAML document begins here", "put all pools into one document"),
        };
        mistakes.error(second, reason, message, help);
    }
    count == 1
}

/// Pass two: no tokens that nutcracker does not want.
fn check_tokens(body: &str, marks: Marks, mistakes: &mut Mistakes<'_>) -> bool {
    let mut scanner: Scanner<&[u8]> = Scanner::new();
    scanner.set_encoding(Encoding::Utf8);
    scanner.set_input(body.as_bytes());
    let mut forbidden = 0;
    // A scanner error has been reported by the first pass.
    while let Ok(Token { data, start_mark, end_mark, .. }) = Scanner::scan(&mut scanner) {
        if data == TokenData::StreamEnd {
            break;
        }
        let Some((kind, number, help)) = unwanted(&data) else { continue };
        forbidden += 1;
        if forbidden > FORBIDDEN_MAX {
            break;
        }
        let reason = format!("{kind} token ({number}) is disallowed");
        let message = format!("nutcracker's YAML has no {kind}");
        let span = marks.span(start_mark, end_mark);
        // Of a pair only the first half is worth a finding.
        if number == FLOW_SEQUENCE_END || number == FLOW_MAPPING_END {
            mistakes.reason.get_or_insert(Some(reason));
        } else {
            mistakes.error(span, reason, message, help);
        }
    }
    forbidden == 0
}

/// libyaml's name and number of a token that is refused, and what to do about it.
fn unwanted(token: &TokenData) -> Option<(&'static str, u8, &'static str)> {
    let row = match token {
        TokenData::VersionDirective { .. } => ("version directive", 3, "remove the line"),
        TokenData::TagDirective { .. } => ("tag directive", 4, "remove the line"),
        TokenData::DocumentStart => ("document start", 5, "remove the line `---`"),
        TokenData::DocumentEnd => ("document end", 6, "remove the line `...`"),
        TokenData::FlowSequenceStart => ("flow sequence start", 10, QUOTE_HELP),
        TokenData::FlowSequenceEnd => ("flow sequence end", FLOW_SEQUENCE_END, QUOTE_HELP),
        TokenData::FlowMappingStart => {
            ("flow mapping start", 12, "put the value in quotes, such as `hash_tag: \"{}\"`")
        }
        TokenData::FlowMappingEnd => ("flow mapping end", FLOW_MAPPING_END, QUOTE_HELP),
        TokenData::FlowEntry => ("flow entry", 15, QUOTE_HELP),
        TokenData::Alias { .. } => ("alias", 18, QUOTE_HELP),
        TokenData::Anchor { .. } => ("anchor", 19, QUOTE_HELP),
        TokenData::Tag { .. } => ("tag", 20, QUOTE_HELP),
        _ => return None,
    };
    Some(row)
}

/// What nutcracker says when its first pass fails with libyaml's error `number`.
pub(super) fn document_reason(number: u8) -> String {
    format!("failed (err {number}) to get the next yaml document")
}

fn report(error: &Error, marks: Marks, mistakes: &mut Mistakes<'_>) {
    let number = match error.kind() {
        ErrorKind::Scanner => SCANNER,
        ErrorKind::Parser => PARSER,
        ErrorKind::Composer => COMPOSER,
        ErrorKind::Reader | ErrorKind::Emitter | ErrorKind::Io => READER,
    };
    let at = error.problem_mark().map_or(0, |mark| marks.at(mark));
    let problem = error.problem();
    let message = match error.context() {
        Some(context) => format!("{problem} {context}"),
        None => problem.to_owned(),
    };
    let help = match problem {
        "found character that cannot start any token" => {
            "indent with spaces, and put values with special characters in quotes"
        }
        "control characters are not allowed" => "remove them from the file",
        "could not find expected ':'" | "mapping values are not allowed in this context" => {
            "a directive is `name: value`, with a space behind the colon"
        }
        _ => "",
    };
    mistakes.error(at..at, document_reason(number), message, help);
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
    fn take(&mut self, event: Event, span: Range<usize>) -> Result<(), Misshapen> {
        let depth = self.depth;
        match event.data {
            EventData::MappingStart { .. } => self.mapping(depth),
            EventData::MappingEnd => self.mapping_end(depth),
            EventData::SequenceStart { .. } => self.sequence(depth),
            EventData::SequenceEnd => {
                self.counts[depth.min(2)] = 0;
                self.in_sequence = false;
                self.key = None;
                Ok(())
            }
            EventData::Scalar { value, .. } => self.scalar(depth, Scalar { text: value, span }),
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

const QUOTE_HELP: &str = "put the value in quotes";
const BOM: char = '\u{feff}';
/// Depth of directives.
const DIRECTIVES_DEPTH: usize = 2;
/// Deeper nesting than this is not followed.
const DEPTH_MAX: usize = 100;
/// More unwanted tokens than this are not looked for.
const FORBIDDEN_MAX: usize = 100;
/// A file larger than this is not a configuration.
const FILE_BYTES_MAX: usize = 16 << 20;

/// libyaml's error numbers.
pub(super) const READER: u8 = 2;
const SCANNER: u8 = 3;
const PARSER: u8 = 4;
const COMPOSER: u8 = 5;
/// libyaml's token numbers.
const FLOW_SEQUENCE_END: u8 = 11;
const FLOW_MAPPING_END: u8 = 13;
