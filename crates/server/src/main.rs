//! The binary: everything that is not per-request.
//!
//! `argv[0]` or the first word decides who we are: memcached (`personality`), nutcracker
//! (`nutcracker`) or Keyway itself (`cli`). Serving, whoever asks for it, is `control`: one thread
//! that starts workers and talks to them by mail. Nothing here touches a request.

#![forbid(unsafe_code)]

mod admin;
mod bench;
mod cli;
mod console;
mod control;
mod logging;
mod metrics;
mod nutcracker;
mod personality;
mod privileges;
mod report;
mod serve;
mod udp;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

/// Instead of the system's allocator; neither is on the way of a request.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_else(|| "keyway".into());
    if is_memcached(&program) {
        return personality::run(&program.to_string_lossy(), args.collect());
    }
    if is_named(&program, "nutcracker") {
        return nutcracker::run(args.collect());
    }
    let Cli { command, serve } = Cli::parse();
    match command {
        None => serve::run(&serve),
        Some(Command::Serve(serve)) => serve::run(&serve),
        Some(Command::Memcached { args }) => personality::run("memcached", args),
        Some(Command::Check(check)) => cli::check::run(&check),
        Some(Command::Convert(convert)) => cli::convert::run(&convert),
        Some(Command::Explain(explain)) => cli::explain::run(&explain),
        Some(Command::Ctl(ctl)) => cli::ctl::run(&ctl),
        Some(Command::Bench(args)) => bench::run(args),
        Some(Command::Nutcracker { args }) => nutcracker::run(args),
        Some(Command::MomentoProxy(_)) => absent("momento-proxy"),
        Some(Command::Plan(_)) => absent("plan"),
        Some(Command::Top(_)) => absent("top"),
    }
}

/// Whether the program was called by memcached's name, or that of its debug build.
fn is_memcached(program: &OsString) -> bool {
    is_named(program, "memcached") || is_named(program, "memcached-debug")
}

fn is_named(program: &OsString, name: &str) -> bool {
    Path::new(program).file_name().unwrap_or_default() == name
}

/// A command of the product that this version does not have.
fn absent(command: &str) -> ExitCode {
    console::err(format_args!(
        "keyway: `{command}` is not part of version {}; `keyway --help` lists what is",
        env!("CARGO_PKG_VERSION")
    ));
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_by_memcacheds_name_is_memcached() {
        for name in ["memcached", "/usr/bin/memcached", "./memcached-debug"] {
            assert!(is_memcached(&name.into()), "{name}");
        }
        for name in ["keyway", "memcached/keyway", "memcached2", ""] {
            assert!(!is_memcached(&name.into()), "{name}");
        }
    }
}
