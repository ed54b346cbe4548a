//! Rust source as the tidy test sees it: comments and literals blanked, functions found by braces.
//!
//! This is not a parser. It knows just enough of the language to count lines of functions, levels
//! of control flow and `unsafe`, on code that rustfmt has laid out.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of the workspace.
pub struct Source {
    /// Relative to the workspace root.
    pub path: PathBuf,
    /// As it is on disk.
    pub text: String,
    /// The same length in lines, with comments, strings and characters replaced by blanks.
    pub code: String,
}

/// A function with its length and its deepest control flow.
pub struct Function {
    pub name: String,
    pub first_line: usize,
    pub lines: usize,
    pub nesting: usize,
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().and_then(Path::parent).expect("testkit lies two levels below").to_path_buf()
}

/// All files under `dir` for which `wanted` holds, except build output and version control.
pub fn walk(dir: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let skipped = ["target", ".git", "artifacts", "coverage"].iter().any(|s| name == *s);
            if path.is_dir() && !skipped {
                dirs.push(path);
            } else if path.is_file() && wanted(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Every Rust file of the workspace and of the fuzz targets.
pub fn rust_files() -> Vec<Source> {
    let root = root();
    let is_rust = |path: &Path| path.extension().is_some_and(|e| e == "rs");
    let mut paths = walk(&root.join("crates"), &is_rust);
    paths.extend(walk(&root.join("fuzz"), &is_rust));
    let load = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("source files are readable text");
        let code = blank(&text);
        let path = path.strip_prefix(&root).expect("walked from the root").to_path_buf();
        Source { path, text, code }
    };
    paths.into_iter().map(load).collect()
}

/// Replaces comments, strings and character literals by blanks, keeping line ends.
pub fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at + 1),
            b'r' if !follows_word(bytes, at) => raw_string_end(bytes, at).unwrap_or(at),
            b'\'' => char_end(bytes, at),
            _ => at,
        };
        if end == at {
            at += 1;
            continue;
        }
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n)
}

fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let close = bytes[at..].windows(2).position(|w| w == b"*/");
    close.map_or(bytes.len(), |n| at + n + 2)
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn follows_word(bytes: &[u8], at: usize) -> bool {
    // `br"…"` is a raw string too; any other letter in front makes the `r` part of a name.
    at > 0 && is_word(bytes[at - 1]) && bytes[at - 1] != b'b'
}

fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    if bytes.get(at + 1 + hashes) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = at + 2 + hashes;
    let found = bytes[body..].windows(close.len()).position(|w| w == close)?;
    Some(body + found + close.len())
}

fn char_end(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at + 1) {
        Some(b'\\') => {
            let close = bytes[at + 3..].iter().position(|b| *b == b'\'');
            close.map_or(bytes.len(), |n| at + 3 + n + 1)
        }
        // A lifetime has no closing quote right behind its first character.
        Some(_) => {
            let close = (2..=5).find(|n| bytes.get(at + n) == Some(&b'\''));
            match close {
                Some(2) => at + 3,
                Some(n) if bytes[at + 1] >= 0x80 => at + n + 1,
                _ => at,
            }
        }
        None => at,
    }
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Words of blanked code with the offset of each.
pub fn words(code: &str) -> Vec<(usize, &str)> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let len = bytes[at..].iter().take_while(|b| is_word(**b)).count();
        if len > 0 {
            found.push((at, &code[at..at + len]));
        }
        at += len.max(1);
    }
    found
}

/// All functions with a body, nested ones included.
pub fn functions(code: &str) -> Vec<Function> {
    let all = words(code);
    let mut found = Vec::new();
    for pair in all.windows(2) {
        let ((at, word), (name_at, name)) = (pair[0], pair[1]);
        let adjacent = code[at + word.len()..name_at].chars().all(char::is_whitespace);
        if word != "fn" || !adjacent {
            continue;
        }
        let Some((open, close)) = body(code.as_bytes(), name_at) else { continue };
        found.push(Function {
            name: name.to_owned(),
            first_line: line_of(code, at),
            lines: line_of(code, close) - line_of(code, at) + 1,
            nesting: nesting(&code[open + 1..close]),
        });
    }
    found
}

pub fn line_of(code: &str, at: usize) -> usize {
    code.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1
}

fn body(bytes: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut parens = 0i32;
    let mut open = None;
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => parens += 1,
            b')' | b']' => parens -= 1,
            b';' if parens == 0 => return None,
            b'{' if parens == 0 => {
                open = Some(at);
                break;
            }
            _ => {}
        }
    }
    let open = open?;
    let mut depth = 0i32;
    for (at, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((open, at));
        }
    }
    None
}

/// Deepest stack of blocks that a control word opened.
fn nesting(body: &str) -> usize {
    let mut stack: Vec<bool> = Vec::new();
    let mut since = 0;
    let mut deepest = 0;
    for (at, byte) in body.bytes().enumerate() {
        match byte {
            b'{' => {
                let is_control = |(_, w): &(usize, &str)| {
                    ["if", "else", "for", "while", "loop", "match"].contains(w)
                };
                stack.push(words(&body[since..at]).iter().any(is_control));
                deepest = deepest.max(stack.iter().filter(|c| **c).count());
                since = at + 1;
            }
            b'}' => {
                stack.pop();
                since = at + 1;
            }
            b';' => since = at + 1,
            _ => {}
        }
    }
    deepest
}
