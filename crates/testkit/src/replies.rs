//! Replies as lines that can be compared: values whole, CAS numbers and seconds made equal.
//!
//! CAS numbers differ between servers; what was shown for a key is remembered for each, so that
//! later commands can name it.

use std::collections::HashMap;

use crate::commands::Features;

/// CAS numbers that one server has shown, by key.
#[derive(Default)]
pub struct Learned {
    numbers: HashMap<Vec<u8>, Vec<u8>>,
}

const BAD_LINE: &str = "CLIENT_ERROR bad command line format";

/// Stands for the last CAS number that was seen for the key of the line; see [`Learned::fill`].
pub const CAS: &str = "{CAS}";

impl Learned {
    /// The commands of a round in one piece, with this server's CAS numbers put in.
    pub fn fill(&self, round: &[Vec<u8>]) -> Vec<u8> {
        let mut filled = Vec::new();
        for command in round {
            let head = command.iter().position(|&byte| byte == b'\n').unwrap_or(command.len());
            let (head, value) = command.split_at(head);
            match find(head, CAS.as_bytes()) {
                None => filled.extend_from_slice(head),
                Some(at) => {
                    let key = head.split(|&byte| byte == b' ').nth(1).unwrap_or(&[]);
                    filled.extend_from_slice(&head[..at]);
                    filled.extend_from_slice(self.numbers.get(key).map_or(b"1", Vec::as_slice));
                    filled.extend_from_slice(&head[at + CAS.len()..]);
                }
            }
            filled.extend_from_slice(value);
        }
        filled
    }

    fn learn(&mut self, key: &[u8], cas: &[u8]) {
        // Numbers above this were chosen by a request and are no good for comparing ages.
        if cas.len() < 15 {
            self.numbers.insert(key.to_vec(), cas.to_vec());
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Splits replies into lines, each with the value that follows it. With [`Features::Common`] error
/// texts are made equal.
pub fn normal(replies: &[u8], features: Features, learned: &mut Learned) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = replies;
    while !rest.is_empty() {
        let end = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        rest = after;
        // memcached sends an empty line after the error of a retrieval whose key is too long. A
        // client would take it for the answer to its next request: it is not imitated.
        if line == b"\r\n" && lines.last().is_some_and(|last: &String| last.contains(BAD_LINE)) {
            continue;
        }
        let (text, value_bytes) = normal_line(line, features, learned);
        let value = rest.get(..value_bytes).unwrap_or(rest);
        rest = &rest[value.len()..];
        lines.push(if value_bytes == 0 { text } else { format!("{text}{}", value.escape_ascii()) });
    }
    lines
}

/// The line made comparable, and the bytes of the value that follows it with its line end.
fn normal_line(line: &[u8], features: Features, learned: &mut Learned) -> (String, usize) {
    let words: Vec<&[u8]> = line.trim_ascii_end().split(|&byte| byte == b' ').collect();
    let number = |word: Option<&&[u8]>| -> usize {
        word.and_then(|word| std::str::from_utf8(word).ok()?.parse().ok()).unwrap_or(0)
    };
    let text = |words: &[&[u8]]| words.join(&b" "[..]).escape_ascii().to_string();
    match words.as_slice() {
        [b"VALUE", key, flags, bytes, cas @ ..] => {
            if let Some(cas) = cas.first() {
                learned.learn(key, cas);
            }
            let shown = text(&[b"VALUE", key, flags, bytes]);
            let with_cas = if cas.is_empty() { "" } else { " CAS" };
            (format!("{shown}{with_cas}\\r\\n"), number(Some(bytes)) + 2)
        }
        [b"ME", key, facts @ ..] => {
            let plain = |fact: &&[u8]| !fact.starts_with(b"cas=") && !fact.starts_with(b"la=");
            let facts: Vec<&[u8]> = facts.iter().copied().filter(plain).collect();
            let facts: Vec<Vec<u8>> = facts.iter().map(|fact| normal_time(b"exp=", fact)).collect();
            (format!("ME {} {}", key.escape_ascii(), text_of(&facts)), 0)
        }
        [code, flags @ ..] if code.len() == 2 && code.iter().all(u8::is_ascii_uppercase) => {
            let value_bytes = if *code == b"VA" { number(flags.first()) + 2 } else { 0 };
            let flags = normal_flags(flags, learned);
            (format!("{} {}\\r\\n", code.escape_ascii(), text_of(&flags)), value_bytes)
        }
        [code, ..] if features == Features::Common && code.ends_with(b"ERROR") => {
            ("an error".into(), 0)
        }
        _ => (line.escape_ascii().to_string(), 0),
    }
}

/// The flags of a meta reply made comparable.
fn normal_flags(flags: &[&[u8]], learned: &mut Learned) -> Vec<Vec<u8>> {
    let key = flags.iter().find_map(|flag| flag.strip_prefix(b"k"));
    let cas = flags.iter().find_map(|flag| flag.strip_prefix(b"c"));
    if let (Some(key), Some(cas)) = (key, cas) {
        learned.learn(key, cas);
    }
    let normal = |flag: &&[u8]| match flag.first() {
        Some(b'c') => b"cCAS".to_vec(),
        Some(b'l') => b"lTIME".to_vec(),
        Some(b't') => normal_time(b"t", flag),
        _ => flag.to_vec(),
    };
    flags.iter().map(normal).collect()
}

fn text_of(words: &[Vec<u8>]) -> String {
    words.join(&b" "[..]).escape_ascii().to_string()
}

/// Seconds that may differ by a few: the streams use times to live in whole thousands.
fn normal_time(name: &[u8], word: &[u8]) -> Vec<u8> {
    let Some(digits) = word.strip_prefix(name) else { return word.to_vec() };
    let Some(seconds) = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<i64>().ok())
    else {
        return word.to_vec();
    };
    let rough = match seconds {
        -1 => "never".into(),
        ..-1 => "past".into(),
        2_147_483_648.. => "past".into(),
        1_000_000.. => "far".into(),
        _ => format!("{}000", (seconds + 300) / 1000),
    };
    [name, rough.as_bytes()].concat()
}
