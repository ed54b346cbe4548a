//! Tokens into events, by libyaml's grammar for block style.
//!
//! A stack of states and no recursion: files may nest as deeply as they like.

use std::ops::Range;

use super::scan::{Kind, PARSER, Scanned, Scanner, Stop};

/// What the file consists of, with places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) what: What,
    pub(super) span: Range<usize>,
}

/// What an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    StreamEnd,
    /// `is_explicit`: it begins with `---`.
    DocumentStart {
        is_explicit: bool,
    },
    /// `is_explicit`: it ends with `...`.
    DocumentEnd {
        is_explicit: bool,
    },
    MappingStart,
    MappingEnd,
    SequenceStart,
    SequenceEnd,
    Scalar(String),
}

/// What is expected next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The first document, which may begin without `---`.
    FirstDocument,
    Document,
    DocumentContent,
    DocumentEnd,
    /// A node; below a key it may be a list that is not indented.
    Node,
    Entry,
    FlatEntry,
    Key,
    Value,
    End,
}

/// The parser.
pub(super) struct Parser<'t> {
    scanner: Scanner<'t>,
    state: State,
    states: Vec<State>,
}

impl<'t> Parser<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Parser { scanner: Scanner::new(text), state: State::FirstDocument, states: Vec::new() }
    }

    /// The next event. After the end of the stream, that again.
    pub(super) fn next(&mut self) -> Scanned<Event> {
        match self.state {
            State::FirstDocument => self.document(true),
            State::Document => self.document(false),
            State::DocumentContent => self.document_content(),
            State::DocumentEnd => self.document_end(),
            State::Node => self.node(false),
            State::Entry => self.entry(),
            State::FlatEntry => self.flat_entry(),
            State::Key => self.key(),
            State::Value => self.value(),
            State::End => Ok(Event { what: What::StreamEnd, span: self.place() }),
        }
    }

    fn kind(&mut self) -> Scanned<&Kind> {
        Ok(&self.scanner.peek()?.kind)
    }

    /// Takes a token and makes an event of its place.
    fn event(&mut self, what: What) -> Scanned<Event> {
        let token = self.scanner.take()?;
        Ok(Event { what, span: token.span })
    }

    fn place(&mut self) -> Range<usize> {
        let at = self.scanner.peek().map_or(0, |token| token.span.start);
        at..at
    }

    fn pop(&mut self) -> State {
        self.states.pop().unwrap_or(State::End)
    }

    fn error<T>(&mut self, message: &'static str) -> Scanned<T> {
        let at = self.scanner.peek()?.span.start;
        Err(Stop::Error { number: PARSER, message, at })
    }

    fn document(&mut self, is_first: bool) -> Scanned<Event> {
        while !is_first && *self.kind()? == Kind::DocumentEnd {
            self.scanner.take()?;
        }
        match self.kind()? {
            Kind::StreamEnd => {
                self.state = State::End;
                self.event(What::StreamEnd)
            }
            Kind::DocumentStart => {
                self.states.push(State::DocumentEnd);
                self.state = State::DocumentContent;
                self.event(What::DocumentStart { is_explicit: true })
            }
            _ if is_first => {
                self.states.push(State::DocumentEnd);
                self.state = State::Node;
                let span = self.place();
                Ok(Event { what: What::DocumentStart { is_explicit: false }, span })
            }
            _ => self.error("a further document must begin with `---`"),
        }
    }

    fn document_content(&mut self) -> Scanned<Event> {
        match self.kind()? {
            Kind::DocumentStart | Kind::DocumentEnd | Kind::StreamEnd => {
                self.state = self.pop();
                Ok(self.empty())
            }
            _ => self.node(false),
        }
    }

    fn document_end(&mut self) -> Scanned<Event> {
        self.state = State::Document;
        if *self.kind()? == Kind::DocumentEnd {
            return self.event(What::DocumentEnd { is_explicit: true });
        }
        let span = self.place();
        Ok(Event { what: What::DocumentEnd { is_explicit: false }, span })
    }

    fn node(&mut self, may_be_flat: bool) -> Scanned<Event> {
        match self.kind()? {
            Kind::Entry if may_be_flat => {
                self.state = State::FlatEntry;
                let span = self.place();
                Ok(Event { what: What::SequenceStart, span })
            }
            Kind::Scalar(_) => {
                self.state = self.pop();
                let token = self.scanner.take()?;
                let Kind::Scalar(text) = token.kind else {
                    unreachable!("the token that was shown is the one that is taken")
                };
                Ok(Event { what: What::Scalar(text), span: token.span })
            }
            Kind::SequenceStart => {
                self.state = State::Entry;
                self.event(What::SequenceStart)
            }
            Kind::MappingStart => {
                self.state = State::Key;
                self.event(What::MappingStart)
            }
            _ => self.error("a value is missing here"),
        }
    }

    fn entry(&mut self) -> Scanned<Event> {
        match self.kind()? {
            Kind::Entry => {
                self.scanner.take()?;
                if matches!(self.kind()?, Kind::Entry | Kind::BlockEnd) {
                    return Ok(self.empty());
                }
                self.states.push(State::Entry);
                self.node(false)
            }
            Kind::BlockEnd => {
                self.state = self.pop();
                self.event(What::SequenceEnd)
            }
            _ => self.error("a `- ` is missing here, or the indentation is wrong"),
        }
    }

    fn flat_entry(&mut self) -> Scanned<Event> {
        if *self.kind()? != Kind::Entry {
            self.state = self.pop();
            let span = self.place();
            return Ok(Event { what: What::SequenceEnd, span });
        }
        self.scanner.take()?;
        if matches!(self.kind()?, Kind::Entry | Kind::Key | Kind::Value | Kind::BlockEnd) {
            return Ok(self.empty());
        }
        self.states.push(State::FlatEntry);
        self.node(false)
    }

    fn key(&mut self) -> Scanned<Event> {
        match self.kind()? {
            Kind::Key => {
                self.scanner.take()?;
                if matches!(self.kind()?, Kind::Key | Kind::Value | Kind::BlockEnd) {
                    self.state = State::Value;
                    return Ok(self.empty());
                }
                self.states.push(State::Value);
                self.node(true)
            }
            Kind::BlockEnd => {
                self.state = self.pop();
                self.event(What::MappingEnd)
            }
            _ => self.error("a name with a `:` is missing here, or the indentation is wrong"),
        }
    }

    fn value(&mut self) -> Scanned<Event> {
        self.state = State::Key;
        if *self.kind()? != Kind::Value {
            return Ok(self.empty());
        }
        self.scanner.take()?;
        if matches!(self.kind()?, Kind::Key | Kind::Value | Kind::BlockEnd) {
            return Ok(self.empty());
        }
        self.states.push(State::Key);
        self.node(true)
    }

    /// A scalar that is not written.
    fn empty(&mut self) -> Event {
        Event { what: What::Scalar(String::new()), span: self.place() }
    }
}
