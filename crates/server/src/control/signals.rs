//! Signals, as values.
//!
//! All are taken on the control thread; workers never see one. What a signal means depends on whose
//! manners the process has, and is decided in `control`.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::Manners;
use crate::nutcracker::signals as nutcracker;

/// A signal that means something to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// TERM or INT.
    Terminate,
    /// USR1.
    Graceful,
    /// HUP.
    HangUp,
    /// Any of nutcracker's, in its manners only.
    Nutcracker(nutcracker::Signal),
}

/// All of them. PIPE is ignored by Rust's runtime.
pub enum Signals {
    /// Taken by tokio.
    Taken(Taken),
    /// Waited for by a thread.
    Awaited(mpsc::UnboundedReceiver<nutcracker::Signal>),
}

/// Signals that tokio takes for us.
pub struct Taken {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
    usr1: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes the signals from now on.
    pub fn new(manners: Manners) -> io::Result<Signals> {
        if manners == Manners::Nutcracker {
            return Ok(Signals::Awaited(nutcracker::wait()?));
        }
        Ok(Signals::Taken(Taken {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            usr1: signal(SignalKind::user_defined1())?,
            hup: signal(SignalKind::hangup())?,
        }))
    }

    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        let taken = match self {
            Signals::Taken(taken) => taken,
            Signals::Awaited(awaited) => match awaited.recv().await {
                Some(signal) => return Signal::Nutcracker(signal),
                None => return std::future::pending().await,
            },
        };
        tokio::select! {
            Some(()) = taken.term.recv() => Signal::Terminate,
            Some(()) = taken.int.recv() => Signal::Terminate,
            Some(()) = taken.usr1.recv() => Signal::Graceful,
            Some(()) = taken.hup.recv() => Signal::HangUp,
            // The streams of signals have no end.
            else => std::future::pending().await,
        }
    }
}
