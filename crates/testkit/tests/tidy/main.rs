//! The shape of the project, checked: what `CONTRIBUTING.md` promises about layout and documents.
//!
//! Each test collects every violation before it fails, so that one run shows all there is to mend.
//! Limits and tables stand at the top; changing one is a decision and shows in the diff.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use source::{Source, functions, line_of, root, rust_files, walk, words};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;
const NESTING_MAX: usize = 4;
const HEADER_LINES_MAX: usize = 40;

/// Which of our crates each crate may depend on. Leaves never see each other.
const GRAPH: [(&str, &[&str]); 7] = [
    ("proto", &[]),
    ("engine", &[]),
    ("store", &[]),
    ("proxy", &["proto", "engine", "store"]),
    ("config", &["proxy"]),
    ("server", &["proto", "engine", "store", "proxy", "config"]),
    ("testkit", &["proto", "engine", "store", "proxy", "config"]),
];

/// Crates that must not reach the data plane, not even through others.
const NOT_IN_DATA_PLANE: [&str; 9] =
    ["tokio", "serde", "serde_json", "tracing", "log", "anyhow", "toml", "futures", "async-trait"];

const FORBID_UNSAFE: [&str; 4] = [
    "crates/proto/src/lib.rs",
    "crates/proxy/src/lib.rs",
    "crates/config/src/lib.rs",
    "crates/server/src/main.rs",
];

fn assert_clean(violations: Vec<String>) {
    assert!(violations.is_empty(), "{} to mend:\n{}", violations.len(), violations.join("\n"));
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn crates_see_only_what_they_may() {
    let mut wrong = Vec::new();
    for (name, allowed) in GRAPH {
        let manifest = read(&format!("crates/{name}/Cargo.toml"));
        for dependency in normal_dependencies(&manifest) {
            let Some(ours) = dependency.strip_prefix("keyway-") else { continue };
            if !allowed.contains(&ours) {
                wrong.push(format!("crates/{name} must not depend on {ours}"));
            }
        }
    }
    let folders = fs::read_dir(root().join("crates")).unwrap().flatten();
    for folder in folders {
        let name = folder.file_name().into_string().unwrap();
        if !GRAPH.iter().any(|(known, _)| *known == name) {
            wrong.push(format!("crates/{name} is not in the table of the tidy test"));
        }
    }
    assert_clean(wrong);
}

/// Names in `[dependencies]` and its sub-tables; not those for tests and build scripts.
fn normal_dependencies(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            inside = section.trim_end_matches(']').ends_with("dependencies")
                && !section.contains("dev-dependencies")
                && !section.contains("build-dependencies");
            if let Some((_, name)) = section.trim_end_matches(']').split_once("dependencies.") {
                names.insert(name.to_owned());
            }
        } else if inside && let Some((name, _)) = line.split_once(['=', '.']) {
            names.insert(name.trim().to_owned());
        }
    }
    names
}

#[test]
fn data_plane_has_no_runtime_logger_or_serialiser() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-p", "keyway-proxy", "-e", "normal", "--prefix", "none"])
        .current_dir(root())
        .output()
        .expect("cargo runs, it runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(tree.contains("keyway-proto"), "the tree lists what the proxy is made of: {tree}");
    let names: BTreeSet<&str> = tree.lines().filter_map(|l| l.split(' ').next()).collect();
    let wrong = NOT_IN_DATA_PLANE.iter().filter(|n| names.contains(**n));
    assert_clean(wrong.map(|n| format!("keyway-proxy reaches {n}")).collect());
}

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    for file in rust_files() {
        let path = file.path.display();
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{path}: {lines} lines, at most {FILE_LINES_MAX}"));
        }
        for (at, line) in file.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                wrong.push(format!("{path}:{}: {columns} columns", at + 1));
            }
        }
        for f in functions(&file.code) {
            if f.lines > FUNCTION_LINES_MAX {
                wrong.push(format!("{path}:{}: {} has {} lines", f.first_line, f.name, f.lines));
            }
            if f.nesting > NESTING_MAX {
                wrong.push(format!("{path}:{}: {} nests {}", f.first_line, f.name, f.nesting));
            }
        }
    }
    assert_clean(wrong);
}

#[test]
fn files_begin_with_a_header() {
    let mut wrong = Vec::new();
    for file in rust_files() {
        let header = file.text.lines().take_while(|l| l.starts_with("//!")).count();
        if header > HEADER_LINES_MAX && !is_crate_root(&file.path) {
            wrong.push(format!("{}: header of {header} lines", file.path.display()));
        }
        if header == 0 {
            wrong.push(format!("{}: no header", file.path.display()));
        }
    }
    assert_clean(wrong);
}

/// The header of a crate is its README and may be longer.
fn is_crate_root(path: &Path) -> bool {
    path.ends_with("src/lib.rs") || path.ends_with("src/main.rs")
}

#[test]
fn no_left_over_markers() {
    // Put together here so that this file does not contain what it looks for.
    let markers = ["TO DO", "FIX ME", "XX X", "HA CK"].map(|m| m.replace(' ', ""));
    let macros = ["todo", "unimplemented", "dbg"];
    let mut wrong = Vec::new();
    for file in rust_files() {
        for (at, line) in file.text.lines().enumerate() {
            if let Some(marker) = markers.iter().find(|m| line.contains(m.as_str())) {
                wrong.push(format!("{}:{}: {marker}", file.path.display(), at + 1));
            }
        }
        for (at, word) in words(&file.code) {
            let is_macro = file.code[at + word.len()..].starts_with('!');
            if is_macro && macros.contains(&word) {
                let line = line_of(&file.code, at);
                wrong.push(format!("{}:{line}: {word}!", file.path.display()));
            }
        }
    }
    assert_clean(wrong);
}

#[test]
fn types_use_the_words_of_the_lexicon() {
    let lexicon = read("docs/lexicon.md");
    let line = lexicon
        .lines()
        .find(|l| l.starts_with("Rejected in the names of types:"))
        .expect("the lexicon lists rejected parts of names in one line");
    let rejected: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
    assert!(rejected.len() > 10, "the list was read: {rejected:?}");
    let mut wrong = Vec::new();
    for file in rust_files() {
        let all = words(&file.code);
        for pair in all.windows(2) {
            let ((at, keyword), (_, name)) = (pair[0], pair[1]);
            if !["struct", "enum", "trait", "type", "union"].contains(&keyword) {
                continue;
            }
            if let Some(part) = parts(name).iter().find(|p| rejected.contains(&p.as_str())) {
                let line = line_of(&file.code, at);
                wrong.push(format!("{}:{line}: {name} has {part}", file.path.display()));
            }
        }
    }
    assert_clean(wrong);
}

/// The words of a CamelCase name.
fn parts(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for c in name.chars() {
        match parts.last_mut() {
            Some(last) if !c.is_uppercase() => last.push(c),
            _ => parts.push(c.to_string()),
        }
    }
    parts
}

#[test]
fn nothing_names_a_machine() {
    let absolute =
        ["/ho me/", "/ro ot/", "/wo rk/", "/Us ers/", "/tmp/k w"].map(|m| m.replace(' ', ""));
    let is_text = |path: &Path| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let known = ["rs", "toml", "md", "sh", "txt", "json", "yml", "lock"];
        let by_extension =
            path.extension().and_then(|e| e.to_str()).is_some_and(|e| known.contains(&e));
        by_extension || ["test", "run"].contains(&name)
    };
    let mut wrong = Vec::new();
    for path in walk(&root(), &is_text) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (at, line) in text.lines().enumerate() {
            if let Some(found) = absolute.iter().find(|a| line.contains(a.as_str())) {
                wrong.push(format!("{}:{}: {found}", path.display(), at + 1));
            }
        }
    }
    assert_clean(wrong);
}

#[test]
fn unsafe_census() {
    let committed = root().join("docs/unsafe-census.txt");
    let mut counts = BTreeMap::new();
    for file in rust_files() {
        let count = words(&file.code).iter().filter(|(_, w)| *w == "unsafe").count();
        if count > 0 {
            counts.insert(file.path.display().to_string(), count);
        }
    }
    let allowed = ["crates/engine/", "crates/store/", "crates/testkit/"];
    let stray = counts.keys().filter(|p| !allowed.iter().any(|a| p.starts_with(a)));
    assert_clean(stray.map(|p| format!("{p} must not contain unsafe code")).collect());
    for path in FORBID_UNSAFE {
        assert!(read(path).contains("#![forbid(unsafe_code)]"), "{path} must forbid unsafe code");
    }
    let census: String = counts.iter().map(|(path, n)| format!("{n:4} {path}\n")).collect();
    if std::env::var_os("KEYWAY_BLESS").is_some() {
        fs::write(&committed, &census).unwrap();
    }
    let expected = fs::read_to_string(&committed).unwrap_or_default();
    assert_eq!(expected, census, "unsafe code changed; see CONTRIBUTING.md on how to commit that");
}

#[test]
fn every_file_named_in_the_architecture_exists() {
    let text = read("ARCHITECTURE.md");
    let named = text.split('`').skip(1).step_by(2).filter(|t| is_path(t));
    let named: BTreeSet<&str> = named.collect();
    assert!(named.len() > 20, "the document names files in backticks: {named:?}");
    let missing = named.iter().filter(|p| !root().join(p).exists());
    assert_clean(
        missing.map(|p| format!("ARCHITECTURE.md names {p}, which is not there")).collect(),
    );
}

fn is_path(text: &str) -> bool {
    let starts = ["crates/", "docs/", "examples/", "fuzz/", "bench/", ".ci/"];
    starts.iter().any(|s| text.starts_with(s)) && !text.contains(['*', ' ', '<', ':'])
}

#[test]
fn every_test_named_as_proof_exists() {
    let sources: BTreeMap<String, Source> =
        rust_files().into_iter().map(|s| (s.path.display().to_string(), s)).collect();
    let mut wrong = Vec::new();
    let mut named = 0;
    for document in ["docs/reliability.md", "docs/compatibility.md"] {
        let text = read(document);
        for proof in text.split('`').skip(1).step_by(2) {
            let Some((path, name)) = proof.split_once(".rs::") else { continue };
            named += 1;
            let path = format!("{path}.rs");
            let is_test = |s: &Source| s.code.contains(&format!("fn {name}("));
            if !sources.get(&path).is_some_and(is_test) {
                wrong.push(format!("{document}: no test {name} in {path}"));
            }
        }
    }
    assert!(named > 10, "the documents name tests as `path.rs::name`");
    assert_clean(wrong);
}

#[test]
fn every_metric_is_documented() {
    let documents: String =
        walk(&root().join("docs"), &|p| p.extension().is_some_and(|e| e == "md"))
            .iter()
            .map(|p| fs::read_to_string(p).unwrap())
            .collect();
    let documented: BTreeSet<&str> = metric_names(&documents);
    let mut wrong = BTreeSet::new();
    let mut found = 0;
    for file in rust_files() {
        if !file.path.starts_with("crates/server/src") {
            continue;
        }
        for name in metric_names(&file.text) {
            found += 1;
            // A type may add to a name (`_total`, `_bucket`) where it is written or where it is
            // read.
            let is_known = |known: &&&str| known.starts_with(name) || name.starts_with(**known);
            if documented.iter().find(is_known).is_none() {
                wrong.insert(format!("{}: metric {name}", file.path.display()));
            }
        }
    }
    assert!(found > 5, "metrics are written in crates/server/src");
    assert_clean(wrong.into_iter().collect());
}

/// Words that begin like our metrics and are not names of our crates.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let crates = ["keyway_proto", "keyway_engine", "keyway_store", "keyway_proxy", "keyway_config"];
    let is_metric = |w: &&str| {
        w.starts_with("keyway_")
            && !crates.contains(w)
            && !w.starts_with("keyway_testkit")
            && !w.ends_with('_')
            && w.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
    };
    words(text).into_iter().map(|(_, w)| w).filter(is_metric).collect()
}
