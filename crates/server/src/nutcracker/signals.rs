//! nutcracker's signals: what each says in the log and what is to be done.
//!
//! They are blocked in every thread from before the first one starts, and waited for by a thread of
//! their own, which hands them to control as values. So none is lost while the process starts, and
//! SEGV sent by somebody can be told of before it ends the process.

use std::io;

use nix::sys::signal::{self, SigSet};
use tokio::sync::mpsc;

use super::log;
use crate::control::phase::Input;

/// A signal that nutcracker knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// INT: the end, at once.
    Interrupt,
    /// TERM: the end, once everything owed has been sent.
    Terminate,
    /// HUP: the log is opened anew, and the file is read if it has changed.
    HangUp,
    /// USR1: the file is read again.
    Reload,
    /// USR2: nothing.
    Nothing,
    /// TTIN: more is logged.
    Louder,
    /// TTOU: less is logged.
    Quieter,
}

/// What a signal means for the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heed {
    /// Go on.
    GoOn,
    /// This happens to the process.
    Do(Input),
    /// Read the file if it says something new.
    ReloadIfNews,
}

fn ours() -> SigSet {
    [
        signal::SIGINT,
        signal::SIGTERM,
        signal::SIGHUP,
        signal::SIGUSR1,
        signal::SIGUSR2,
        signal::SIGTTIN,
        signal::SIGTTOU,
        signal::SIGSEGV,
    ]
    .into_iter()
    .collect()
}

/// Holds all of them back from now on, in this thread and those that it starts.
///
/// # Errors
/// Those of the operating system.
pub fn hold() -> io::Result<()> {
    ours().thread_block().map_err(io::Error::from)
}

/// Starts the thread that waits for them.
///
/// # Errors
/// There is no room for a thread.
pub fn wait() -> io::Result<mpsc::UnboundedReceiver<Signal>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = move || {
        while let Ok(taken) = ours().wait() {
            let heard = match taken {
                signal::SIGINT => Signal::Interrupt,
                signal::SIGTERM => Signal::Terminate,
                signal::SIGHUP => Signal::HangUp,
                signal::SIGUSR1 => Signal::Reload,
                signal::SIGUSR2 => Signal::Nothing,
                signal::SIGTTIN => Signal::Louder,
                signal::SIGTTOU => Signal::Quieter,
                _ => return dump_core(),
            };
            if sender.send(heard).is_err() {
                // Control has ended, and so will the process.
                return;
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(waiting)?;
    Ok(receiver)
}

/// Ends the process as SEGV does when nobody takes it.
fn dump_core() {
    log::always("signal 11 (SIGSEGV) received, core dumping");
    let mut segv = SigSet::empty();
    segv.add(signal::SIGSEGV);
    if segv.thread_unblock().is_err() {
        std::process::abort();
    }
    // The first one only ends the runtime's own interest in it, which looks for full stacks.
    for _ in 0..2 {
        let _ends_us = signal::raise(signal::SIGSEGV);
    }
    std::process::abort();
}

/// Writes what nutcracker writes about a signal, and says what to do about it.
pub fn heed(signal: Signal) -> Heed {
    match signal {
        Signal::Interrupt => {
            log::always("signal 2 (SIGINT) received, exiting");
            Heed::Do(Input::StopNow)
        }
        Signal::Terminate => {
            log::always("signal 15 (SIGTERM) received, draining");
            Heed::Do(Input::Stop)
        }
        Signal::HangUp => {
            log::always("signal 1 (SIGHUP) received, reopening log file");
            log::reopen();
            Heed::ReloadIfNews
        }
        Signal::Reload => {
            log::always("signal 10 (SIGUSR1) received");
            Heed::Do(Input::Reload)
        }
        Signal::Nothing => {
            log::always("signal 12 (SIGUSR2) received");
            Heed::GoOn
        }
        Signal::Louder => {
            log::always("signal 21 (SIGTTIN) received, up logging level");
            if let Some(level) = log::louder() {
                log::always(format_args!("up log level to {level}"));
            }
            Heed::GoOn
        }
        Signal::Quieter => {
            log::always("signal 22 (SIGTTOU) received, down logging level");
            if let Some(level) = log::quieter() {
                log::always(format_args!("down log level to {level}"));
            }
            Heed::GoOn
        }
    }
}
