//! The three kinds of scalars: plain, quoted, block. Folding and escapes are libyaml's.

use super::scan::{SCANNER, Scanned, Scanner, Stop, is_blank, is_blankz, is_break, is_breakz};

/// White space between two words of a scalar: what it becomes is known once a word follows.
#[derive(Default)]
struct Gap {
    /// Blanks before a line end, or without one.
    blanks: String,
    has_break: bool,
    /// The first line end.
    first: Option<char>,
    /// The further ones.
    further: String,
}

impl Gap {
    fn is_empty(&self) -> bool {
        !self.has_break && self.blanks.is_empty()
    }

    /// Takes the blank or line end at the scanner's place.
    fn take(&mut self, scanner: &mut Scanner<'_>) {
        if is_blank(scanner.look(0)) {
            let blank = scanner.skip();
            if !self.has_break {
                self.blanks.extend(blank);
            }
            return;
        }
        let line_end = scanner.skip_line();
        if self.has_break {
            self.further.extend(line_end);
        } else {
            self.blanks.clear();
            self.first = line_end;
            self.has_break = true;
        }
    }

    /// Writes what the gap means: one line end is a blank, further ones count.
    fn fold_into(&mut self, text: &mut String) {
        if !self.has_break {
            text.push_str(&self.blanks);
        } else if self.first == Some('\n') {
            text.push_str(if self.further.is_empty() { " " } else { &self.further });
        } else {
            text.extend(self.first);
            text.push_str(&self.further);
        }
        *self = Gap::default();
    }
}

/// A plain scalar; the second value is the byte behind its last word.
pub(super) fn plain(scanner: &mut Scanner<'_>) -> Scanned<(String, usize)> {
    let indent = scanner.indent.map_or(0, |indent| indent + 1);
    let mut text = String::new();
    let mut gap = Gap::default();
    let mut end = scanner.mark.at;
    loop {
        if scanner.is_at_marker() || scanner.look(0) == Some('#') {
            break;
        }
        while !is_blankz(scanner.look(0)) {
            if scanner.look(0) == Some(':') && is_blankz(scanner.look(1)) {
                break;
            }
            if !gap.is_empty() {
                gap.fold_into(&mut text);
            }
            text.extend(scanner.skip());
            end = scanner.mark.at;
        }
        let is_space = |c: char| is_blank(Some(c)) || is_break(c);
        if !scanner.look(0).is_some_and(is_space) {
            break;
        }
        while let Some(c) = scanner.look(0).filter(|c| is_space(*c)) {
            if gap.has_break && scanner.mark.column < indent && c == '\t' {
                return scanner.error("indentation must be spaces, not tabs");
            }
            gap.take(scanner);
        }
        if scanner.mark.column < indent {
            break;
        }
    }
    if gap.has_break {
        scanner.is_key_allowed = true;
    }
    Ok((text, end))
}

/// A scalar in single or double quotes.
pub(super) fn quoted(scanner: &mut Scanner<'_>) -> Scanned<(String, usize)> {
    let start = scanner.mark.at;
    let quote = scanner.skip().expect("a quote stands here");
    let is_single = quote == '\'';
    let mut text = String::new();
    loop {
        if scanner.is_at_marker() {
            return scanner.error("this line cannot be a part of a value in quotes");
        }
        if scanner.look(0).is_none() {
            let message = "this quote is not closed";
            return Err(Stop::Error { number: SCANNER, message, at: start });
        }
        let mut gap = Gap::default();
        while let Some(c) = scanner.look(0).filter(|c| !is_blankz(Some(*c))) {
            let next = scanner.look(1);
            if is_single && c == quote && next == Some(quote) {
                scanner.skip();
                text.extend(scanner.skip());
            } else if c == quote {
                break;
            } else if !is_single && c == '\\' && next.is_some_and(is_break) {
                scanner.skip();
                scanner.skip_line();
                gap.has_break = true;
                break;
            } else if !is_single && c == '\\' {
                text.push(escape(scanner)?);
            } else {
                text.extend(scanner.skip());
            }
        }
        if scanner.look(0) == Some(quote) {
            scanner.skip();
            return Ok((text, scanner.mark.at));
        }
        while is_blank(scanner.look(0)) || scanner.look(0).is_some_and(is_break) {
            gap.take(scanner);
        }
        gap.fold_into(&mut text);
    }
}

/// The character that an escape stands for.
fn escape(scanner: &mut Scanner<'_>) -> Scanned<char> {
    let digits = match scanner.look(1) {
        Some('x') => 2,
        Some('u') => 4,
        Some('U') => 8,
        letter => {
            let c = match letter {
                Some('0') => '\0',
                Some('a') => '\x07',
                Some('b') => '\x08',
                Some('t' | '\t') => '\t',
                Some('n') => '\n',
                Some('v') => '\x0b',
                Some('f') => '\x0c',
                Some('r') => '\r',
                Some('e') => '\x1b',
                Some(c @ (' ' | '"' | '/' | '\\')) => c,
                Some('N') => '\u{85}',
                Some('_') => '\u{a0}',
                Some('L') => '\u{2028}',
                Some('P') => '\u{2029}',
                _ => return scanner.error("there is no such escape; write `\\\\` for a backslash"),
            };
            scanner.skip_many(2);
            return Ok(c);
        }
    };
    let mut value = 0u32;
    for at in 0..digits {
        let Some(digit) = scanner.look(2 + at).and_then(|c| c.to_digit(16)) else {
            return scanner.error("this escape has too few hexadecimal digits");
        };
        value = value << 4 | digit;
    }
    let Some(c) = char::from_u32(value) else {
        return scanner.error("there is no character with this number");
    };
    scanner.skip_many(2 + digits);
    Ok(c)
}

/// How line ends at the end of a block scalar are treated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chomp {
    Strip,
    Clip,
    Keep,
}

/// A literal (`|`) or folded (`>`) scalar.
pub(super) fn block(scanner: &mut Scanner<'_>) -> Scanned<String> {
    let is_literal = scanner.skip() == Some('|');
    let (chomp, increment) = header(scanner)?;
    // An indentation that is said counts from that of the block around.
    let mut indent = increment.map(|add| scanner.indent.unwrap_or(0) + add);
    let (mut text, mut breaks) = (String::new(), String::new());
    let mut line_end: Option<char> = None;
    let mut begins_blank = false;
    let column = block_breaks(scanner, &mut indent, &mut breaks)?;
    while scanner.mark.column == column && scanner.look(0).is_some() {
        let is_blank_here = is_blank(scanner.look(0));
        if !is_literal && line_end == Some('\n') && !begins_blank && !is_blank_here {
            if breaks.is_empty() {
                text.push(' ');
            }
        } else {
            text.extend(line_end);
        }
        text.push_str(&breaks);
        breaks.clear();
        begins_blank = is_blank_here;
        while !is_breakz(scanner.look(0)) {
            text.extend(scanner.skip());
        }
        line_end = scanner.skip_line();
        block_breaks(scanner, &mut indent, &mut breaks)?;
    }
    if chomp != Chomp::Strip {
        text.extend(line_end);
    }
    if chomp == Chomp::Keep {
        text.push_str(&breaks);
    }
    Ok(text)
}

/// The rest of the line that a block scalar begins on.
fn header(scanner: &mut Scanner<'_>) -> Scanned<(Chomp, Option<usize>)> {
    let (mut chomp, mut increment) = (None, None);
    for _ in 0..2 {
        match scanner.look(0) {
            Some(sign @ ('+' | '-')) if chomp.is_none() => {
                chomp = Some(if sign == '+' { Chomp::Keep } else { Chomp::Strip });
            }
            Some('0') if increment.is_none() => {
                return scanner.error("an indentation of 0 cannot be");
            }
            Some(digit @ '1'..='9') if increment.is_none() => {
                increment = Some(usize::from(digit as u8 - b'0'));
            }
            _ => break,
        }
        scanner.skip();
    }
    while is_blank(scanner.look(0)) {
        scanner.skip();
    }
    if scanner.look(0) == Some('#') {
        while !is_breakz(scanner.look(0)) {
            scanner.skip();
        }
    }
    if !is_breakz(scanner.look(0)) {
        return scanner.error("only a comment can stand here");
    }
    scanner.skip_line();
    Ok((chomp.unwrap_or(Chomp::Clip), increment))
}

/// Goes over indentation and empty lines; finds the indentation where it is not known yet.
fn block_breaks(
    scanner: &mut Scanner<'_>,
    indent: &mut Option<usize>,
    breaks: &mut String,
) -> Scanned<usize> {
    let mut deepest = 0;
    loop {
        let is_before =
            |column: usize, indent: Option<usize>| indent.is_none_or(|indent| column < indent);
        while is_before(scanner.mark.column, *indent) && scanner.look(0) == Some(' ') {
            scanner.skip();
        }
        deepest = deepest.max(scanner.mark.column);
        if is_before(scanner.mark.column, *indent) && scanner.look(0) == Some('\t') {
            return scanner.error("indentation must be spaces, not tabs");
        }
        match scanner.skip_line() {
            Some(line_end) => breaks.push(line_end),
            None => break,
        }
    }
    let least = scanner.indent.map_or(0, |indent| indent + 1).max(1);
    Ok(*indent.get_or_insert(deepest.max(least)))
}
