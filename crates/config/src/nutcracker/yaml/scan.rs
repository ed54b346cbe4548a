//! Text into tokens, as libyaml does where nothing but block style is in use.
//!
//! nutcracker reads its file with libyaml and refuses flow style, anchors, aliases, tags and
//! directives. So they end the scan here ([`Stop`]), and what is left is block structure and three
//! kinds of scalars, for which indentation, folding, escapes and simple keys are libyaml's to the
//! letter. Any text gives an answer; nothing is read twice but a few characters ahead.

use std::collections::VecDeque;
use std::ops::Range;

use super::scalar;

/// A token and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Range<usize>,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    StreamEnd,
    DocumentStart,
    DocumentEnd,
    SequenceStart,
    MappingStart,
    BlockEnd,
    Entry,
    Key,
    Value,
    Scalar(String),
}

/// Why the scan ends before the text does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// libyaml would report this.
    Error { number: u8, message: &'static str, at: usize },
    /// A token that nutcracker refuses: libyaml's name and number.
    Forbidden { kind: &'static str, number: u8, span: Range<usize> },
}

/// libyaml's numbers of its errors.
pub(super) const READER: u8 = 2;
pub(super) const SCANNER: u8 = 3;
pub(super) const PARSER: u8 = 4;
pub(super) const COMPOSER: u8 = 5;

/// A place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Byte.
    pub(super) at: usize,
    /// Character, counted from the beginning.
    pub(super) index: usize,
    pub(super) line: usize,
    /// Character in its line.
    pub(super) column: usize,
}

/// A scalar that may turn out to be a key, once a `:` follows on its line.
#[derive(Clone, Copy)]
struct SimpleKey {
    /// It stands where a key must be.
    is_required: bool,
    /// Number of its token, counted from the beginning.
    token: usize,
    mark: Mark,
}

/// The scanner.
pub(super) struct Scanner<'t> {
    pub(super) text: &'t str,
    pub(super) mark: Mark,
    /// Column of the innermost block; `None` outside of all.
    pub(super) indent: Option<usize>,
    indents: Vec<Option<usize>>,
    tokens: VecDeque<Token>,
    /// How many tokens have been handed out.
    handed_out: usize,
    pub(super) is_key_allowed: bool,
    simple_key: Option<SimpleKey>,
}

pub(super) type Scanned<T> = Result<T, Stop>;

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Scanner {
            text,
            mark: Mark { at: 0, index: 0, line: 0, column: 0 },
            indent: None,
            indents: Vec::new(),
            tokens: VecDeque::new(),
            handed_out: 0,
            is_key_allowed: true,
            simple_key: None,
        }
    }

    /// The next token, which stays.
    pub(super) fn peek(&mut self) -> Scanned<&Token> {
        loop {
            self.drop_stale_key()?;
            let awaited = self.simple_key.is_some_and(|key| key.token == self.handed_out);
            if !self.tokens.is_empty() && !awaited {
                break;
            }
            self.fetch()?;
        }
        Ok(self.tokens.front().expect("a token was fetched"))
    }

    /// Takes the token that [`Scanner::peek`] shows.
    pub(super) fn take(&mut self) -> Scanned<Token> {
        self.peek()?;
        self.handed_out += 1;
        Ok(self.tokens.pop_front().expect("a token was fetched"))
    }

    /// The character `ahead` of the place; `None` behind the end.
    pub(super) fn look(&self, ahead: usize) -> Option<char> {
        self.text[self.mark.at..].chars().nth(ahead)
    }

    /// Goes over a character that is no line end.
    pub(super) fn skip(&mut self) -> Option<char> {
        let c = self.look(0)?;
        self.mark.at += c.len_utf8();
        self.mark.index += 1;
        self.mark.column += 1;
        Some(c)
    }

    /// Goes over characters that are no line ends.
    pub(super) fn skip_many(&mut self, count: usize) {
        for _ in 0..count {
            self.skip();
        }
    }

    /// Goes over a line end and returns what it becomes in a scalar.
    pub(super) fn skip_line(&mut self) -> Option<char> {
        let c = self.look(0).filter(|c| is_break(*c))?;
        let count = if c == '\r' && self.look(1) == Some('\n') { 2 } else { 1 };
        self.mark.at += if count == 2 { 2 } else { c.len_utf8() };
        self.mark.index += count;
        self.mark.column = 0;
        self.mark.line += 1;
        Some(if matches!(c, '\u{2028}' | '\u{2029}') { c } else { '\n' })
    }

    /// Whether `---` or `...` stands here at the beginning of a line.
    pub(super) fn is_at_marker(&self) -> bool {
        let rest = &self.text[self.mark.at..];
        let is_marker = rest.starts_with("---") || rest.starts_with("...");
        self.mark.column == 0 && is_marker && is_blankz(self.look(3))
    }

    pub(super) fn error<T>(&self, message: &'static str) -> Scanned<T> {
        Err(Stop::Error { number: SCANNER, message, at: self.mark.at })
    }

    fn fetch(&mut self) -> Scanned<()> {
        self.skip_to_token();
        self.drop_stale_key()?;
        self.unroll(Some(self.mark.column));
        let Some(c) = self.look(0) else {
            self.unroll(None);
            self.remove_key()?;
            self.is_key_allowed = false;
            self.push(Kind::StreamEnd, self.mark);
            return Ok(());
        };
        if self.mark.column == 0 && c == '%' {
            return self.directive();
        }
        if self.is_at_marker() {
            self.unroll(None);
            self.remove_key()?;
            self.is_key_allowed = false;
            let start = self.mark;
            self.skip_many(3);
            let kind = if c == '-' { Kind::DocumentStart } else { Kind::DocumentEnd };
            self.push(kind, start);
            return Ok(());
        }
        let is_alone = is_blankz(self.look(1));
        match c {
            '[' | '{' | ']' | '}' | ',' | '*' | '&' | '!' => self.forbidden(c),
            '-' if is_alone => self.entry(),
            '?' if is_alone => self.key(),
            ':' if is_alone => self.value(),
            '|' | '>' => {
                self.remove_key()?;
                self.is_key_allowed = true;
                let start = self.mark;
                let text = scalar::block(self)?;
                self.push(Kind::Scalar(text), start);
                Ok(())
            }
            '\'' | '"' => self.scalar(scalar::quoted),
            '%' | '@' | '`' | '\t' => self.error("a value cannot begin with this character"),
            _ => self.scalar(scalar::plain),
        }
    }

    /// Goes over blanks, comments and line ends.
    fn skip_to_token(&mut self) {
        loop {
            if self.mark.column == 0 && self.look(0) == Some('\u{feff}') {
                self.skip();
            }
            // A tab is no indentation, but separates words.
            while matches!(self.look(0), Some(' '))
                || self.look(0) == Some('\t') && !self.is_key_allowed
            {
                self.skip();
            }
            if self.look(0) == Some('#') {
                while !is_breakz(self.look(0)) {
                    self.skip();
                }
            }
            if self.skip_line().is_none() {
                break;
            }
            self.is_key_allowed = true;
        }
    }

    fn directive(&mut self) -> Scanned<()> {
        let name = self.text[self.mark.at + 1..].split(|c: char| !is_alpha(c)).next();
        let (kind, number) = match name {
            Some("YAML") => ("version directive", 3),
            Some("TAG") => ("tag directive", 4),
            _ => return self.error("this is no directive of YAML"),
        };
        let end = self.mark.at + 1 + name.map_or(0, str::len);
        Err(Stop::Forbidden { kind, number, span: self.mark.at..end })
    }

    /// A token of flow style, an anchor, an alias or a tag.
    fn forbidden(&mut self, c: char) -> Scanned<()> {
        let named = self.look(1).is_some_and(is_alpha);
        let error = |number, message| Stop::Error { number, message, at: self.mark.at };
        let (kind, number) = match c {
            '[' => ("flow sequence start", 10),
            '{' => ("flow mapping start", 12),
            '!' => ("tag", 20),
            '&' if named => ("anchor", 19),
            '&' | '*' if !named => return self.error("a name is missing behind this"),
            // Anchors end the scan, so this one cannot have been there.
            '*' => return Err(error(COMPOSER, "this alias has no anchor")),
            _ => return Err(error(PARSER, "nothing was opened that this could close")),
        };
        let end = self.mark.at + c.len_utf8();
        Err(Stop::Forbidden { kind, number, span: self.mark.at..end })
    }

    fn entry(&mut self) -> Scanned<()> {
        if !self.is_key_allowed {
            return self.error("a list cannot begin here");
        }
        self.roll(self.mark.column, None, Kind::SequenceStart, self.mark);
        self.remove_key()?;
        self.is_key_allowed = true;
        self.indicator(Kind::Entry);
        Ok(())
    }

    fn key(&mut self) -> Scanned<()> {
        if !self.is_key_allowed {
            return self.error("a key cannot begin here");
        }
        self.roll(self.mark.column, None, Kind::MappingStart, self.mark);
        self.remove_key()?;
        self.is_key_allowed = true;
        self.indicator(Kind::Key);
        Ok(())
    }

    fn value(&mut self) -> Scanned<()> {
        if let Some(key) = self.simple_key.take() {
            let place = key.token - self.handed_out;
            let span = key.mark.at..key.mark.at;
            self.tokens.insert(place, Token { kind: Kind::Key, span });
            self.roll(key.mark.column, Some(place), Kind::MappingStart, key.mark);
            self.is_key_allowed = false;
        } else {
            if !self.is_key_allowed {
                return self.error("a second `: ` in one line must stand in quotes");
            }
            self.roll(self.mark.column, None, Kind::MappingStart, self.mark);
            self.is_key_allowed = true;
        }
        self.indicator(Kind::Value);
        Ok(())
    }

    fn scalar(&mut self, read: fn(&mut Self) -> Scanned<(String, usize)>) -> Scanned<()> {
        self.save_key()?;
        self.is_key_allowed = false;
        let start = self.mark.at;
        let (text, end) = read(self)?;
        self.tokens.push_back(Token { kind: Kind::Scalar(text), span: start..end });
        Ok(())
    }

    fn indicator(&mut self, kind: Kind) {
        let start = self.mark;
        self.skip();
        self.push(kind, start);
    }

    fn push(&mut self, kind: Kind, start: Mark) {
        self.tokens.push_back(Token { kind, span: start.at..self.mark.at });
    }

    /// Opens a block at `column` if that is further in; its token goes to `place` in the queue.
    fn roll(&mut self, column: usize, place: Option<usize>, kind: Kind, mark: Mark) {
        if self.indent.is_some_and(|indent| indent >= column) {
            return;
        }
        self.indents.push(self.indent);
        self.indent = Some(column);
        let place = place.unwrap_or(self.tokens.len());
        self.tokens.insert(place, Token { kind, span: mark.at..mark.at });
    }

    /// Closes blocks that are further in than `column`; without one, all.
    fn unroll(&mut self, column: Option<usize>) {
        while self.indent > column {
            self.push(Kind::BlockEnd, self.mark);
            self.indent = self.indents.pop().flatten();
        }
    }

    fn save_key(&mut self) -> Scanned<()> {
        if !self.is_key_allowed {
            return Ok(());
        }
        self.remove_key()?;
        self.simple_key = Some(SimpleKey {
            is_required: self.indent == Some(self.mark.column),
            token: self.handed_out + self.tokens.len(),
            mark: self.mark,
        });
        Ok(())
    }

    fn remove_key(&mut self) -> Scanned<()> {
        match self.simple_key.take() {
            Some(key) if key.is_required => {
                let message = "there is no `:` behind this name";
                Err(Stop::Error { number: SCANNER, message, at: key.mark.at })
            }
            _ => Ok(()),
        }
    }

    /// A simple key is on one line and not long.
    fn drop_stale_key(&mut self) -> Scanned<()> {
        let Some(key) = self.simple_key else { return Ok(()) };
        let is_stale =
            key.mark.line < self.mark.line || key.mark.index + KEY_CHARS_MAX < self.mark.index;
        if is_stale { self.remove_key() } else { Ok(()) }
    }
}

pub(super) fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

pub(super) fn is_blank(c: Option<char>) -> bool {
    matches!(c, Some(' ' | '\t'))
}

pub(super) fn is_breakz(c: Option<char>) -> bool {
    c.is_none_or(is_break)
}

pub(super) fn is_blankz(c: Option<char>) -> bool {
    is_blank(c) || is_breakz(c)
}

fn is_alpha(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// Longest distance from a key's beginning to its `:`.
const KEY_CHARS_MAX: usize = 1024;
