//! Reading one table of the file against its rows in `key`.
//!
//! A [`Table`] reports unknown keys when it is opened; its getters check kind and limits against
//! the row of the key and write into the model only what is right. Nothing here stops at a mistake.

use std::cell::RefCell;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::{Key, Kind, Section};
use super::scalar::{bytes_from, bytes_text, duration_from, duration_text};
use crate::diagnostic::Findings;
use crate::nearest::hint;

/// A value and where it stands.
pub(super) type Value<'t> = &'t Spanned<DeValue<'t>>;

/// The key and value of one entry.
#[derive(Clone, Copy)]
pub(super) struct Entry<'t> {
    pub(super) name: &'t str,
    pub(super) name_at: (usize, usize),
    pub(super) value: Value<'t>,
}

impl Entry<'_> {
    pub(super) fn name_span(&self) -> Range<usize> {
        self.name_at.0..self.name_at.1
    }
}

/// One table, with the rows it is read against.
pub(super) struct Table<'t, 'f, 's> {
    section: &'static Section,
    /// How messages call it, such as `pools.main`.
    pub(super) path: String,
    /// Where it stands: the key that opened it.
    pub(super) span: Range<usize>,
    entries: Vec<Entry<'t>>,
    /// Whether there were unknown keys: one of them may have been meant for a key that is missing.
    pub(super) has_unknown: bool,
    pub(super) findings: &'f RefCell<Findings<'s>>,
}

/// The entries of a table in the order of the file.
pub(super) fn entries<'t>(table: &'t DeTable<'t>) -> Vec<Entry<'t>> {
    let mut entries: Vec<Entry<'t>> = table
        .iter()
        .map(|(name, value)| Entry {
            name: name.get_ref().as_ref(),
            name_at: (name.span().start, name.span().end),
            value,
        })
        .collect();
    entries.sort_by_key(|entry| entry.name_at);
    entries
}

impl<'t, 'f, 's> Table<'t, 'f, 's> {
    /// Opens `table`, reporting keys that `section` does not have.
    pub(super) fn open(
        section: &'static Section,
        path: String,
        span: Range<usize>,
        table: &'t DeTable<'t>,
        findings: &'f RefCell<Findings<'s>>,
    ) -> Self {
        let (known, unknown): (Vec<_>, Vec<_>) =
            entries(table).into_iter().partition(|entry| section.key(entry.name).is_some());
        let has_unknown = !unknown.is_empty();
        for entry in unknown {
            let mut findings = findings.borrow_mut();
            let help = if findings.is_full() {
                String::new()
            } else {
                let names = section.keys.iter().map(|key| key.name);
                hint(entry.name, names, "the keys here are")
            };
            let place = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
            findings.error(
                entry.name_span(),
                format!("unknown key `{}`{place}", entry.name.escape_debug()),
                help,
            );
        }
        Table { section, path, span, entries: known, has_unknown, findings }
    }

    /// Whether the file says anything about this key.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The entry of a key.
    pub(super) fn get(&self, name: &str) -> Option<Entry<'t>> {
        debug_assert!(self.section.key(name).is_some(), "`{name}` is not a row");
        self.entries.iter().find(|entry| entry.name == name).copied()
    }

    /// The value of a key, which must be there.
    pub(super) fn require(&self, name: &str, example: &str) -> Option<Value<'t>> {
        let entry = self.get(name);
        if entry.is_none() && !self.has_unknown {
            let message = format!("`{}` has no `{name}`", self.path);
            self.error(self.span.clone(), message, format!("add `{name} = {example}`"));
        }
        Some(entry?.value)
    }

    pub(super) fn error(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.findings.borrow_mut().error(span, message, help);
    }

    /// Reads a duration into `into`, if the key is there.
    pub(super) fn time(&self, name: &str, into: &mut Duration) {
        let Some((entry, row)) = self.row(name) else { return };
        if let Some(duration) = self.time_of(entry, row.kind) {
            *into = duration;
        }
    }

    /// Reads the duration of an entry whose kind is given (for rows with further forms).
    pub(super) fn time_of(&self, entry: Entry<'t>, kind: Kind) -> Option<Duration> {
        let Kind::Time { min, max, zero } = kind else {
            unreachable!("only rows of kind Time are read as durations");
        };
        let span = entry.value.span();
        let duration = match entry.value.get_ref() {
            DeValue::String(text) => duration_from(text),
            DeValue::Integer(number) if integer(number) == Some(0) => Some(Duration::ZERO),
            DeValue::Integer(number) => {
                let help = format!("write the unit: `\"{number}s\"` or `\"{number}ms\"`");
                self.error(span, format!("`{}` needs a unit", entry.name), help);
                return None;
            }
            other => {
                self.wrong_kind(entry, other, "a duration such as `\"250ms\"` or `\"3s\"`");
                return None;
            }
        };
        let Some(duration) = duration else {
            let message = format!("`{}` is not a duration", entry.name);
            self.error(span, message, "write a whole number and us, ms, s, m, h or d: `\"3s\"`");
            return None;
        };
        if (zero && duration.is_zero()) || (min..=max).contains(&duration) {
            return Some(duration);
        }
        let (low, high) = (duration_text(min), duration_text(max));
        let off = if zero { ", or 0" } else { "" };
        let message = format!("`{}` must be from {low} to {high}{off}", entry.name);
        self.error(span, message, "");
        None
    }

    /// Reads a number of bytes into `into`, if the key is there.
    pub(super) fn bytes(&self, name: &str, into: &mut u64) {
        let Some((entry, row)) = self.row(name) else { return };
        let Kind::Bytes { min, max } = row.kind else {
            unreachable!("only rows of kind Bytes are read as sizes");
        };
        let span = entry.value.span();
        let bytes = match entry.value.get_ref() {
            DeValue::String(text) => bytes_from(text),
            DeValue::Integer(number) => integer(number),
            other => return self.wrong_kind(entry, other, "a size such as `\"64MiB\"`"),
        };
        match bytes {
            Some(bytes) if (min..=max).contains(&bytes) => *into = bytes,
            Some(_) => {
                let (low, high) = (bytes_text(min), bytes_text(max));
                self.error(span, format!("`{name}` must be from {low} to {high}"), "");
            }
            None => {
                let help = "write a whole number of bytes, or one with a unit: `\"64MiB\"`";
                self.error(span, format!("`{name}` is not a size"), help);
            }
        }
    }

    /// As [`Table::bytes`], into a `usize`.
    pub(super) fn bytes_usize(&self, name: &str, into: &mut usize) {
        let mut wide = *into as u64;
        self.bytes(name, &mut wide);
        *into = usize::try_from(wide).unwrap_or(usize::MAX);
    }

    /// Reads a whole number, if the key is there.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        let (entry, row) = self.row(name)?;
        let Kind::Count { min, max } = row.kind else {
            unreachable!("only rows of kind Count are read as numbers");
        };
        let number = match entry.value.get_ref() {
            DeValue::Integer(number) => integer(number),
            other => {
                self.wrong_kind(entry, other, "a whole number");
                return None;
            }
        };
        if let Some(number) = number
            && (min..=max).contains(&number)
        {
            return Some(number);
        }
        let message = format!("`{name}` must be from {min} to {max}");
        self.error(entry.value.span(), message, "");
        None
    }

    /// Reads a whole number into `into`, if the key is there.
    pub(super) fn count_usize(&self, name: &str, into: &mut usize) {
        if let Some(number) = self.count(name) {
            *into = usize::try_from(number).unwrap_or(usize::MAX);
        }
    }

    /// Reads a whole number into `into`, if the key is there. The limits of its row must fit.
    pub(super) fn count_u32(&self, name: &str, into: &mut u32) {
        if let Some(number) = self.count(name) {
            *into = u32::try_from(number).unwrap_or(u32::MAX);
        }
    }

    /// Reads `true` or `false` into `into`, if the key is there.
    pub(super) fn flag(&self, name: &str, into: &mut bool) {
        let Some(entry) = self.get(name) else { return };
        match entry.value.get_ref() {
            DeValue::Boolean(flag) => *into = *flag,
            other => self.wrong_kind(entry, other, "`true` or `false`"),
        }
    }

    /// Reads a string, if the key is there.
    pub(super) fn text(&self, name: &str) -> Option<(&'t str, Range<usize>)> {
        let entry = self.get(name)?;
        match entry.value.get_ref() {
            DeValue::String(text) => Some((text.as_ref(), entry.value.span())),
            other => {
                self.wrong_kind(entry, other, "a string");
                None
            }
        }
    }

    /// Reads one of the words of the row, if the key is there.
    pub(super) fn choice(&self, name: &str) -> Option<&'static str> {
        let (entry, row) = self.row(name)?;
        let Kind::Choice(words) = row.kind else {
            unreachable!("only rows of kind Choice are read as words");
        };
        self.word(entry, entry.value, words)
    }

    /// Reads a list of words of the row, if the key is there. Each may occur once.
    pub(super) fn words(&self, name: &str) -> Option<Vec<&'static str>> {
        let (entry, row) = self.row(name)?;
        let Kind::Words(words) = row.kind else {
            unreachable!("only rows of kind Words are read as lists of words");
        };
        let DeValue::Array(list) = entry.value.get_ref() else {
            let expected = format!("a list such as `[\"{}\"]`", words[0]);
            self.wrong_kind(entry, entry.value.get_ref(), &expected);
            return None;
        };
        let mut chosen = Vec::new();
        for value in list.iter() {
            let Some(word) = self.word(entry, value, words) else { continue };
            if chosen.contains(&word) {
                self.error(value.span(), format!("`{word}` is given twice"), "remove one");
            } else {
                chosen.push(word);
            }
        }
        Some(chosen)
    }

    /// Reports that a value is of the wrong kind.
    pub(super) fn wrong_kind(&self, entry: Entry<'t>, found: &DeValue<'_>, expected: &str) {
        let message = format!("`{}` must be {expected}", entry.name.escape_debug());
        self.error(entry.value.span(), message, format!("this is {}", article(found)));
    }

    fn word(
        &self,
        entry: Entry<'t>,
        value: Value<'t>,
        words: &'static [&'static str],
    ) -> Option<&'static str> {
        let DeValue::String(text) = value.get_ref() else {
            let message = format!("`{}` takes words in quotes", entry.name);
            let help = hint("", words.iter().copied(), "the choice is");
            self.error(value.span(), message, help);
            return None;
        };
        let word = words.iter().find(|word| **word == text.as_ref()).copied();
        if word.is_none() {
            let message = format!("`{}` cannot be `{}`", entry.name, text.escape_debug());
            let help = hint(text, words.iter().copied(), "the choice is");
            self.error(value.span(), message, help);
        }
        word
    }

    fn row(&self, name: &str) -> Option<(Entry<'t>, &'static Key)> {
        let entry = self.get(name)?;
        Some((entry, self.section.key(name)?))
    }
}

/// A non-negative whole number; `None` where it is negative or too large.
pub(super) fn integer(number: &toml::de::DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// The kind of a value, in words.
pub(super) fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
