//! `keyway check FILE…`: reads files as `serve` would and reports every finding; changes nothing.
//!
//! The findings are `keyway_config`'s; this file reads, prints and counts. It opens no socket and
//! resolves no name, so it can run anywhere.

use std::io::IsTerminal;
use std::process::ExitCode;

use keyway_config::{Diagnostic, Severity};

use super::{Check, Output};
use crate::console;

/// Checks all files. Status 0: all can be used; 1: one has a mistake or cannot be read.
pub fn run(check: &Check) -> ExitCode {
    let mut failed = false;
    let mut all = Vec::new();
    for path in &check.files {
        let name = path.display().to_string();
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                failed = true;
                match check.format {
                    Output::Text => console::err(format_args!("{name}: cannot be read: {error}")),
                    Output::Json => all.push(unreadable(&name, &error)),
                }
                continue;
            }
        };
        let findings = keyway_config::check(&name, &bytes);
        let errors = findings.iter().filter(|found| found.severity == Severity::Error).count();
        failed |= errors > 0;
        match check.format {
            Output::Text => show(&name, &bytes, &findings, errors),
            Output::Json => all.extend(findings),
        }
    }
    if check.format == Output::Json {
        console::out(keyway_config::to_json(&all));
    }
    ExitCode::from(u8::from(failed))
}

fn show(name: &str, bytes: &[u8], findings: &[Diagnostic], errors: usize) {
    if findings.is_empty() {
        console::out(format_args!("{name}: ok"));
        return;
    }
    let color = std::io::stdout().is_terminal();
    let text = keyway_config::to_text(&String::from_utf8_lossy(bytes), findings, color);
    console::out_text(&text);
    let warnings = findings.len() - errors;
    console::out(format_args!(
        "{name}: {} and {}",
        plural(errors, "error"),
        plural(warnings, "warning")
    ));
}

fn unreadable(name: &str, error: &std::io::Error) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        message: format!("the file cannot be read: {error}"),
        file: name.into(),
        line: 1,
        column: 1,
        span: 0..0,
        help: String::new(),
    }
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
