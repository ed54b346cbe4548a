//! A mistake in a configuration: what is wrong, where, and how to mend it.
//!
//! Front-ends make [`Diagnostic`]s through a `Source`; `keyway check`, `serve` and reload show
//! them, as text with the line and a caret ([`to_text`]) or as JSON ([`to_json`]). A diagnostic
//! carries its place in full, so it can be logged where the text of the file is no longer at hand.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but probably says something other than was meant.
    Warning,
}

/// One finding about one place of one file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong: one sentence without the place.
    pub message: String,
    /// Name of the file, as given to the loader.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// Byte range within the file; always on character boundaries.
    pub span: Range<usize>,
    /// How to mend it; empty when there is nothing to say beyond the message.
    pub help: String,
}

impl fmt::Display for Diagnostic {
    /// One line, for logs: `FILE:LINE:COLUMN: error: MESSAGE (HELP)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}:{}:{}: {severity}: {}", self.file, self.line, self.column, self.message)?;
        if !self.help.is_empty() {
            write!(f, " ({})", self.help)?;
        }
        Ok(())
    }
}

/// All findings as an operator reads them: message, place, the line with a caret, help.
///
/// `text` is the content of the file they are about. `color` adds ANSI colours. Ends with a newline
/// unless there are no findings.
pub fn to_text(text: &str, findings: &[Diagnostic], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for finding in findings {
        let level = match finding.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let (excerpt, line, span) = excerpt(text, finding);
        let snippet = Snippet::source(excerpt)
            .path(finding.file.as_str())
            .line_start(line)
            .annotation(AnnotationKind::Primary.span(span));
        let mut group = Group::with_title(level.primary_title(finding.message.as_str()));
        group = group.element(snippet);
        if !finding.help.is_empty() {
            group = group.element(Level::HELP.message(finding.help.as_str()));
        }
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    if out.ends_with("\n\n") {
        out.pop();
    }
    out
}

/// All findings as a JSON array of objects with the fields of [`Diagnostic`].
pub fn to_json(findings: &[Diagnostic]) -> String {
    serde_json::to_string_pretty(findings).expect("a diagnostic holds only strings and numbers")
}

/// The line of a finding, its number, and the span within it. Only that line is handed to the
/// renderer, so a large file with many mistakes costs no more than its lines.
fn excerpt<'a>(text: &'a str, finding: &Diagnostic) -> (&'a str, usize, Range<usize>) {
    let at = floor_boundary(text, finding.span.start);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    // What stands far behind the place would be cut off by the renderer anyway.
    let end = floor_boundary(text, end.min(at + EXCERPT_BYTES_MAX));
    let stop = floor_boundary(text, finding.span.end).clamp(at, end);
    (&text[start..end], finding.line, at - start..stop - start)
}

/// A file being read: its name, its text, and where its lines start.
pub(crate) struct Source<'a> {
    name: &'a str,
    text: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(name: &'a str, text: &'a str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        Source { name, text, line_starts }
    }

    /// A finding about `span`, which may be out of bounds or off a character boundary.
    pub(crate) fn diagnostic(
        &self,
        severity: Severity,
        span: Range<usize>,
        message: String,
        help: String,
    ) -> Diagnostic {
        let start = floor_boundary(self.text, span.start);
        let end = floor_boundary(self.text, span.end).max(start);
        let line = self.line_starts.partition_point(|at| *at <= start);
        let line_start = self.line_starts[line - 1];
        Diagnostic {
            severity,
            message,
            file: self.name.to_owned(),
            line,
            column: self.text[line_start..start].chars().count() + 1,
            span: start..end,
            help,
        }
    }

    /// Line number of a byte, counted from 1.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at)
    }
}

/// The findings of one load, in the order of their places when [`Findings::finish`]ed.
pub(crate) struct Findings<'a> {
    source: Source<'a>,
    list: Vec<Diagnostic>,
    errors: usize,
    omitted: usize,
}

/// More findings than this are only counted: nobody reads them, and a hostile file must not make
/// its report larger than itself.
const FINDINGS_MAX: usize = 100;

impl<'a> Findings<'a> {
    pub(crate) fn new(source: Source<'a>) -> Self {
        Findings { source, list: Vec::new(), errors: 0, omitted: 0 }
    }

    pub(crate) fn error(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.errors += 1;
        self.push(Severity::Error, span, message.into(), help.into());
    }

    pub(crate) fn warning(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Severity::Warning, span, message.into(), help.into());
    }

    /// Whether errors make the configuration unusable.
    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether more findings would only be counted, so that looking for hints is a waste.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= FINDINGS_MAX
    }

    pub(crate) fn line_of(&self, at: usize) -> usize {
        self.source.line_of(at)
    }

    /// All findings, by place.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.list.sort_by_key(|finding| finding.span.start);
        if self.omitted > 0 {
            let message = format!("{} more findings are not shown", self.omitted);
            let end = self.source.text.len();
            let severity = if self.has_errors() { Severity::Error } else { Severity::Warning };
            let help = "mend those above and check again".to_owned();
            self.list.push(self.source.diagnostic(severity, end..end, message, help));
        }
        self.list
    }

    fn push(&mut self, severity: Severity, span: Range<usize>, message: String, help: String) {
        if self.is_full() {
            self.omitted += 1;
            return;
        }
        self.list.push(self.source.diagnostic(severity, span, message, help));
    }
}

/// Most bytes of a line that are shown behind the place of a finding.
const EXCERPT_BYTES_MAX: usize = 400;

/// The nearest character boundary at or before `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
