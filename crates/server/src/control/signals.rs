//! Signals, as values.
//!
//! All are taken on the control thread; workers never see one. What a signal means depends on whose
//! manners the process has, and is decided in `control`.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// A signal that means something to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// TERM or INT.
    Terminate,
    /// USR1.
    Graceful,
    /// HUP.
    HangUp,
}

/// All of them. PIPE is ignored by Rust's runtime.
pub struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
    usr1: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes the signals from now on.
    pub fn new() -> io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            usr1: signal(SignalKind::user_defined1())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.term.recv() => Signal::Terminate,
            Some(()) = self.int.recv() => Signal::Terminate,
            Some(()) = self.usr1.recv() => Signal::Graceful,
            Some(()) = self.hup.recv() => Signal::HangUp,
            // The streams of signals have no end.
            else => std::future::pending().await,
        }
    }
}
