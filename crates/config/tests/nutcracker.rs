//! The real nutcracker and ours, side by side: verdicts, reasons and messages.
//!
//! `nutcracker -t` says whether it takes a file; a start with a file that it does not take leaves
//! its reason in the log and ends. Files are written by hand for every rule, and by the hundred by
//! cutting and pasting good ones. Needs the installed nutcracker 0.5.0; `./test` installs it.

// A failed `unwrap` is a failed test.
#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use keyway_config::nutcracker::argv::{self, Outcome};
use keyway_config::nutcracker::{DIRECTIVES, Options, Refused, load, system_resolver};
use keyway_proxy::config::Compat;
use serde_json::Value;

/// The installed nutcracker, which lives in sbin on some systems.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join("nutcracker"))
        .find(|file| file.is_file())
        .expect("nutcracker is not installed; ./test installs it, or see CONTRIBUTING.md")
}

/// A folder of this test that is gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("keyway-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run(args: &[&str]) -> Output {
    Command::new(program()).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Whether nutcracker takes a file; `None` where it breaks down.
fn verdict(file: &str) -> Option<bool> {
    let output = run(&["-t", "-c", file]);
    let ok = match output.status.code()? {
        0 => true,
        1 => false,
        other => panic!("status {other}"),
    };
    let word = if ok { "ok" } else { "invalid" };
    let line = format!("nutcracker: configuration file '{file}' syntax is {word}\n");
    let times = if ok { 1 } else { 2 };
    assert_eq!(String::from_utf8_lossy(&output.stderr), line.repeat(times));
    Some(ok)
}

/// The reason in the log of a start with a file that is not taken.
fn reason(folder: &Folder, file: &str) -> Option<String> {
    let (log, pid) = (folder.file("log"), folder.file("pid"));
    let _ = fs::remove_file(&log);
    let output = run(&["-c", file, "-o", &log, "-p", &pid, "-a", "127.0.0.1", "-s", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
    let (_, reason) =
        log.split_once("] nc_conf.c:").map(|(_, rest)| rest.split_once(" conf: "))??;
    // The reason may have several lines; the next line of the log begins with a time.
    let end = reason.find("\n[").unwrap_or(reason.len());
    Some(reason[..end].trim_end_matches('\n').to_owned())
}

fn ours(file: &str, text: &[u8]) -> Result<(), Refused> {
    let options = Options { workers: 1, compat: Compat::Strict, resolver: &system_resolver };
    load(file, text, options).map(|_| ())
}

/// Compares one file; returns whether it is good.
fn compare(folder: &Folder, text: &[u8]) -> bool {
    let file = folder.file("n.yml");
    fs::write(&file, text).unwrap();
    let shown = String::from_utf8_lossy(text);
    let Some(theirs) = verdict(&file) else { return false };
    let ours = ours(&file, text);
    assert_eq!(ours.is_ok(), theirs, "{ours:#?}\n{shown}");
    if let Err(refused) = ours {
        let expected = reason(folder, &file);
        // A line of the log ends at 256 bytes.
        let cut = |text: &str| text.chars().take(120).collect::<String>();
        // We look no further than the first token that cannot be (an alias among them, which is
        // error 5); libyaml may find a mistake behind it.
        let is_token = |it: &String| it.ends_with("is disallowed") || it.contains("(err 5)");
        if refused.reason.as_ref().is_some_and(is_token)
            && expected.as_ref().is_some_and(|it| it.starts_with("failed (err"))
        {
            return false;
        }
        assert_eq!(
            refused.reason.as_deref().map(cut),
            expected.as_deref().map(cut),
            "{refused:#?}\n{shown}"
        );
        assert!(!refused.findings.is_empty(), "{shown}");
    }
    theirs
}

const GOOD: &str = "\
# two pools
alpha:
  listen: 127.0.0.1:22121
  hash: fnv1a_64
  hash_tag: \"{}\"
  distribution: ketama
  timeout: 400
  redis: true
  redis_auth: 'secret'
  redis_db: 3
  preconnect: true
  auto_eject_hosts: true
  server_retry_timeout: 2000
  server_failure_limit: 1
  server_connections: 2
  servers:
   - 127.0.0.1:6379:1 one
   - 127.0.0.1:6380:2 two

beta:
  listen: /tmp/n.sock 0666
  backlog: 1024
  client_connections: 3
  tcpkeepalive: false
  servers:
  - 10.0.0.1:11211:1
  - 10.0.0.2:11212:3
  - /tmp/m.sock:2
";

/// A good pool, with these lines in place of `directive` or behind the rest.
fn pool(lines: &str) -> String {
    format!("p:\n  listen: 127.0.0.1:22121\n{lines}  servers:\n  - 10.0.0.1:1:1\n")
}

fn listen(value: &str) -> String {
    format!("p:\n  listen: {value}\n  servers:\n  - 10.0.0.1:1:1\n")
}

fn server(value: &str) -> String {
    format!("p:\n  listen: 127.0.0.1:22121\n  servers:\n  - {value}\n")
}

/// Files for every rule, the good and the bad.
fn by_hand() -> Vec<Vec<u8>> {
    let mut files: Vec<Vec<u8>> = Vec::new();
    let mut add = |text: String| files.push(text.into_bytes());
    add(GOOD.to_owned());
    add(GOOD.replace('\n', "\r\n"));
    add(GOOD.replace('\n', "\r"));
    add(format!("\u{feff}{GOOD}"));
    list("whole").into_iter().for_each(&mut add);
    for line in &list("lines") {
        add(pool(&format!("  {line}\n")));
    }
    for value in &list("listens") {
        add(listen(value));
    }
    for value in &list("servers") {
        add(server(value));
    }
    for name in &list("names") {
        add(pool("").replacen('p', name, 1));
    }
    for number in &list("numbers") {
        for name in ["timeout", "backlog", "server_connections", "redis_db", "server_retry_timeout"]
        {
            add(pool(&format!("  {name}: {number}\n")));
        }
        add(server(&format!("10.0.0.1:1:{number}")));
        add(server(&format!("10.0.0.1:{number}:1")));
        add(listen(&format!("127.0.0.1:{number}")));
    }
    for word in &list("flags") {
        for name in ["redis", "preconnect", "auto_eject_hosts", "tcpkeepalive"] {
            add(pool(&format!("  {name}: {word}\n")));
        }
    }
    let wide = |unit: fn(u16) -> [u8; 2], text: &str| {
        text.encode_utf16().flat_map(unit).collect::<Vec<u8>>()
    };
    let with_mark = format!("\u{feff}{GOOD}");
    let mut low = wide(u16::to_le_bytes, &with_mark);
    files.push(low.clone());
    files.push(wide(u16::to_be_bytes, &with_mark));
    low.pop();
    files.push(low);
    files.push(b"p:\n  listen: 127.0.0.1:1\n  hash_tag: \xff\xfe\n".to_vec());
    files.push([GOOD.as_bytes(), b"# \xc3"].concat());
    files
}

#[test]
fn verdicts_and_reasons_are_nutcrackers() {
    let folder = Folder::new("by-hand");
    let files = by_hand();
    let good = files.iter().filter(|text| compare(&folder, text)).count();
    assert!(good > 80 && files.len() - good > 150, "{good} of {}", files.len());
}

/// Files, values and command lines: lists of texts by name.
fn list(name: &str) -> Vec<String> {
    let lists: Value = serde_json::from_str(include_str!("nutcracker.json")).unwrap();
    serde_json::from_value(lists[name].clone()).unwrap()
}

/// A small generator of numbers: the same files in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end.max(1)
    }

    fn one<'a>(&mut self, list: &'a [String]) -> &'a str {
        &list[self.below(list.len())]
    }
}

/// What files are edited with.
struct Lists {
    starts: Vec<String>,
    lines: Vec<String>,
    values: Vec<String>,
    pieces: Vec<String>,
}

/// A good file with a few edits.
fn edited(dice: &mut Dice, lists: &Lists) -> Vec<u8> {
    let mut lines: Vec<String> = GOOD.lines().map(str::to_owned).collect();
    for _ in 0..=dice.below(3) {
        let at = dice.below(lines.len());
        match dice.below(8) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[dice.below(lines.len())].clone()),
            2 => lines[at].insert_str(0, dice.one(&lists.starts)),
            3 => lines[at] = lines[at].trim_start().to_owned(),
            4 => lines.insert(at, format!("  {}", dice.one(&lists.lines))),
            5 => {
                let name = lines[at].split(':').next().unwrap_or("").to_owned();
                lines[at] = format!("{name}: {}", dice.one(&lists.values));
            }
            6 => {
                let line = &mut lines[at];
                let mut to = dice.below(line.len() + 1);
                while !line.is_char_boundary(to) {
                    to -= 1;
                }
                line.insert_str(to, dice.one(&lists.pieces));
            }
            _ => {
                let line = &mut lines[at];
                if !line.is_empty() {
                    let mut from = dice.below(line.len());
                    while !line.is_char_boundary(from) {
                        from -= 1;
                    }
                    line.remove(from);
                }
            }
        }
    }
    (lines.join("\n") + "\n").into_bytes()
}

#[test]
fn edited_files_are_judged_alike() {
    let folder = Folder::new("edited");
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let starts = [" ", "  ", "\t", "- ", "? "].map(str::to_owned).to_vec();
    let [lines, values, pieces] = ["lines", "values", "pieces"].map(list);
    let lists = Lists { starts, lines, values, pieces };
    let rounds = std::env::var("NUTCRACKER_FILES").ok().and_then(|it| it.parse().ok());
    let rounds = rounds.unwrap_or(600);
    let good = (0..rounds).filter(|_| compare(&folder, &edited(&mut dice, &lists))).count();
    assert!(good > rounds / 20 && good < rounds, "{good} of {rounds}");
}

#[test]
fn the_table_of_directives_is_complete() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/nutcracker.md");
    let text = fs::read_to_string(path).unwrap();
    for row in &DIRECTIVES {
        let begin = format!("| `{}` |", row.name);
        let line = text.lines().find(|line| line.starts_with(&begin));
        let line = line.unwrap_or_else(|| panic!("`{}` is not in the table", row.name));
        let default = line.split('|').nth(3).unwrap().trim();
        assert_eq!(default.trim_matches('`'), row.default, "{line}");
    }
}

/// What the command line is told, without what only `-h` and `-D` say in their own words.
#[test]
fn command_lines_are_read_alike() {
    let folder = Folder::new("argv");
    let (good, bad) = (folder.file("good.yml"), folder.file("bad.yml"));
    fs::write(&good, GOOD).unwrap();
    fs::write(&bad, "x").unwrap();
    let mut dice = Dice(7);
    let picks = list("command_lines");
    let mut lines: Vec<Vec<String>> = picks.iter().map(|line| words(line, &good, &bad)).collect();
    for _ in 0..300 {
        let picked: Vec<&str> = (0..=dice.below(3)).map(|_| dice.one(&picks)).collect();
        lines.push(words(&picked.join(" "), &good, &bad));
    }
    let mut refused = 0;
    for line in &lines {
        let args: Vec<OsString> = line.iter().map(OsString::from).collect();
        let outcome = argv::parse(args.into_iter().chain(["-t".into()]));
        // `-t` may have become the value of an option, or stand behind `--`: nutcracker would
        // serve, and that does not end by itself.
        if matches!(&outcome, Outcome::Run(arguments) if !arguments.test_conf) {
            continue;
        }
        let with_test: Vec<&str> = line.iter().map(String::as_str).chain(["-t"]).collect();
        let output = run(&with_test);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.stdout.is_empty());
        match outcome {
            Outcome::Print { text, exit } => {
                refused += usize::from(exit == 1);
                assert_eq!(output.status.code(), Some(i32::from(exit)), "{line:?}: {stderr}");
                let text = String::from_utf8_lossy(&text).into_owned();
                assert_eq!(first_line(&text), first_line(&stderr), "{line:?}");
                let has_usage = stderr.contains("Usage: nutcracker");
                assert_eq!(text.contains("Usage: nutcracker"), has_usage, "{line:?}");
                assert_eq!(counters(&text), counters(&stderr), "{line:?}");
            }
            Outcome::Run(arguments) => {
                assert!(stderr.contains("syntax is"), "{line:?}: {stderr}");
                if let Some(file) = &arguments.conf_file {
                    assert!(stderr.contains(&file.display().to_string()), "{line:?}: {stderr}");
                }
            }
        }
    }
    assert!(refused > 60, "{refused}");
}

fn words(line: &str, good: &str, bad: &str) -> Vec<String> {
    line.split(' ')
        .filter(|word| !word.is_empty())
        .map(|word| word.replace("GOOD", good).replace("BAD", bad).replace("EMPTY", ""))
        .collect()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}

/// The names of counters that `-D` lists.
fn counters(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| line.contains(" \"") && line.starts_with("  "));
    lines.filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn every_example_of_a_mistake_has_a_place() {
    for text in by_hand() {
        let Err(refused) = ours("f", &text) else { continue };
        for finding in &refused.findings {
            assert!(finding.line >= 1 && finding.column >= 1, "{finding}");
            assert!(!finding.message.contains('\n'), "{finding}");
        }
    }
    assert!(Path::new(&program()).is_file());
}
