//! Counters by key prefix: `stats detail on|off|dump`.
//!
//! Off by default, and then one relaxed load is all it costs. On, every key that has the delimiter
//! takes a lock: the feature is for looking into a server for a while, as it is in memcached.

use super::output::Output;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Most prefixes counted; keys with further ones are not.
const PREFIX_COUNT_MAX: usize = 256;

/// What was done with keys of one prefix.
#[derive(Clone, Copy, Debug, Default)]
struct Uses {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

/// What is counted for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A retrieval, and whether it found the item.
    Get(bool),
    /// A store command.
    Set,
    /// A delete.
    Delete,
}

/// Counters of all prefixes.
#[derive(Debug)]
pub struct Prefixes {
    is_on: AtomicBool,
    delimiter: u8,
    uses: Mutex<HashMap<Vec<u8>, Uses>>,
}

impl Prefixes {
    /// No counters; a prefix is what stands before the first `delimiter`.
    pub(super) fn new(delimiter: u8) -> Prefixes {
        Prefixes { is_on: AtomicBool::new(false), delimiter, uses: Mutex::default() }
    }

    /// Whether uses are counted.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    pub fn turn(&self, on: bool) {
        self.is_on.store(on, Relaxed);
    }

    pub(super) fn clear(&self) {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Counts a use of `key`, if counting is on and the key has a prefix.
    #[inline]
    pub(super) fn note(&self, key: &[u8], what: Use) {
        if self.is_on() {
            self.count(key, what);
        }
    }

    #[cold]
    fn count(&self, key: &[u8], what: Use) {
        let stop = key.iter().position(|&byte| byte == self.delimiter || byte == 0);
        let Some(at) = stop.filter(|&at| key[at] == self.delimiter) else { return };
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if !uses.contains_key(&key[..at]) {
            if uses.len() >= PREFIX_COUNT_MAX {
                return;
            }
            uses.insert(key[..at].to_vec(), Uses::default());
        }
        let Some(entry) = uses.get_mut(&key[..at]) else { return };
        match what {
            Use::Get(found) => {
                entry.gets += 1;
                entry.hits += u64::from(found);
            }
            Use::Set => entry.sets += 1,
            Use::Delete => entry.deletes += 1,
        }
    }

    /// Appends a line for each prefix, in the order of the prefixes, and `END`.
    pub(super) fn dump(&self, out: &mut Output) {
        let uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows: Vec<(&Vec<u8>, &Uses)> = uses.iter().collect();
        rows.sort_by_key(|(prefix, _)| *prefix);
        for (prefix, uses) in rows {
            out.put(b"PREFIX ");
            out.put(prefix);
            let parts: [(&[u8], u64); 4] = [
                (b" get ", uses.gets),
                (b" hit ", uses.hits),
                (b" set ", uses.sets),
                (b" del ", uses.deletes),
            ];
            for (word, number) in parts {
                out.put(word);
                out.number(number);
            }
            out.put(b"\r\n");
        }
        out.put(b"END\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_stands_before_the_delimiter_and_only_while_on() {
        let prefixes = Prefixes::new(b':');
        prefixes.note(b"a:1", Use::Set);
        prefixes.turn(true);
        prefixes.note(b"b:1", Use::Set);
        prefixes.note(b"b:2", Use::Get(true));
        prefixes.note(b"b:3", Use::Get(false));
        prefixes.note(b"a:1", Use::Delete);
        prefixes.note(b"none", Use::Set);
        let mut out = Output::new();
        prefixes.dump(&mut out);
        let text = String::from_utf8(out.bytes).unwrap();
        assert_eq!(
            text,
            "PREFIX a get 0 hit 0 set 0 del 1\r\nPREFIX b get 2 hit 1 set 1 del 0\r\nEND\r\n"
        );
    }

    #[test]
    fn the_number_of_prefixes_is_bounded() {
        let prefixes = Prefixes::new(b':');
        prefixes.turn(true);
        for number in 0..2 * PREFIX_COUNT_MAX {
            prefixes.note(format!("{number}:x").as_bytes(), Use::Set);
        }
        assert_eq!(prefixes.uses.lock().unwrap().len(), PREFIX_COUNT_MAX);
    }
}
