//! The process of the nutcracker personality: its command line, signals, files and statistics.
//!
//! What is a fact about nutcracker is asked of the installed one too, in the same test; what we do
//! better on purpose is checked for ours alone.

mod command_line;
mod connections;
mod reload;
mod signals;
mod stats;

use std::process::{Command, Output};

use keyway_testkit::process::find;
use keyway_testkit::twemproxy::Program;

const KEYWAY: &str = env!("CARGO_BIN_EXE_keyway");
const OURS: Program = Program::Ours { binary: KEYWAY, compat: "nutcracker" };

/// Both programs.
const BOTH: [Program; 2] = [Program::Reference, OURS];

/// Runs a program to its end.
fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What it says on standard error.
fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A program that may have so few files open.
fn with_files(program: Program, files: u32) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {files}; exec \"$@\""), "sh"]);
    match program {
        Program::Reference => command.arg(find("nutcracker")),
        Program::Ours { binary, compat } => command
            .args([binary, "nutcracker"])
            .env("KEYWAY_COMPAT", compat)
            .env("KEYWAY_WORKERS", "1"),
    };
    command
}
