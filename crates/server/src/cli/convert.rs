//! `keyway convert FILE`: nutcracker's file as a native one, on standard output or in a file.
//!
//! The native file is the work of `keyway_config`; this file reads, writes and says what was odd.
//! Host names to listen on are looked up, since the native file wants addresses.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use keyway_config::nutcracker::{self, Options};
use keyway_config::{Format, format_of};

use super::Convert;
use crate::console;

/// Converts a file. Status 0: done; 1: it cannot be converted, read or written.
pub fn run(convert: &Convert) -> ExitCode {
    let name = convert.file.display().to_string();
    let bytes = match std::fs::read(&convert.file) {
        Ok(bytes) => bytes,
        Err(error) => {
            console::err(format_args!("keyway convert: cannot read {name}: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match format_of(&name, &bytes) {
        Format::Nutcracker => {}
        Format::Native => {
            console::err(format_args!("keyway convert: {name} is a native file already"));
            return ExitCode::FAILURE;
        }
        Format::Foreign(format) => {
            console::err(format_args!(
                "keyway convert: this is {format}, which cannot be read yet"
            ));
            return ExitCode::FAILURE;
        }
    }
    let compat = convert.compat.into();
    let options = Options { workers: 1, compat, resolver: &nutcracker::system_resolver };
    let (toml, findings) = match nutcracker::convert(&name, &bytes, options) {
        Ok(converted) => (Some(converted.toml), converted.warnings),
        Err(refused) => (None, refused.findings),
    };
    let color = std::io::stderr().is_terminal();
    let text = String::from_utf8_lossy(&bytes);
    console::err_text(&keyway_config::to_text(&text, &findings, color));
    let Some(toml) = toml else { return ExitCode::FAILURE };
    match &convert.output {
        None => {
            console::out_text(&toml);
            ExitCode::SUCCESS
        }
        Some(path) => write_new(path, &toml),
    }
}

/// Writes a file that must not be there yet: a configuration is never lost to a slip.
fn write_new(path: &Path, toml: &str) -> ExitCode {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    match file.and_then(|mut file| file.write_all(toml.as_bytes())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let path = path.display();
            console::err(format_args!("keyway convert: cannot write {path}: {error}"));
            ExitCode::FAILURE
        }
    }
}
