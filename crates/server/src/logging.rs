//! Logs of the control side: structured lines on standard error, as text or JSON.
//!
//! Workers never come here: they push fixed-size events (`keyway_proxy::events`) that
//! `report` turns into lines. Levels and formats are chosen once, at start.

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people: time, level, message, fields.
    #[default]
    Text,
    /// For machines: one JSON object on each line.
    Json,
}

/// The least important level that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Level {
    /// What ended something that should have gone on.
    Error,
    /// What an operator should look into.
    Warn,
    /// What changed.
    #[default]
    Info,
    /// Details for finding mistakes.
    Debug,
}

impl Level {
    fn filter(self) -> LevelFilter {
        match self {
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
        }
    }
}

/// Starts logging to standard error. Later calls change nothing.
pub fn start(format: Format, level: Level) {
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level.filter())
        .with_target(false)
        // Complaining about a closed standard error on standard error would end the process.
        .log_internal_errors(false);
    // A second subscriber in one process is refused; the first one stays, which is what we want.
    let _already_started = match format {
        Format::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        Format::Json => builder.json().flatten_event(true).with_ansi(false).try_init(),
    };
}
