//! nutcracker's log: one line at a time, with local time and the place in the source, appended to a
//! file that can be opened anew under its name.
//!
//! Lines of `tracing` come here too, as everything in the process that logs uses it; levels are
//! nutcracker's 0 to 11 and can be changed while running. There is one log in a process.

use std::fmt::{Display, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use keyway_config::nutcracker::plain;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// The highest level.
pub const LEVEL_MAX: u32 = 11;

/// Longest line, in bytes. nutcracker cuts at 256, which is too short for reasons with places.
const LINE_BYTES_MAX: usize = 1024;

/// The log of the process.
#[derive(Debug)]
struct Log {
    path: Option<PathBuf>,
    /// `None`: standard error, or nothing when a file could not be opened again.
    file: Mutex<Option<File>>,
    level: AtomicU32,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Opens the log, for appending; without a path it is standard error. Later calls change nothing.
///
/// # Errors
/// The file cannot be opened.
pub fn open(path: Option<&Path>, level: u32) -> io::Result<()> {
    let file = path.map(|path| create(path, true)).transpose()?;
    let log = Log {
        path: path.map(Path::to_path_buf),
        file: Mutex::new(file),
        level: AtomicU32::new(level.min(LEVEL_MAX)),
    };
    if LOG.set(log).is_ok() {
        // A second subscriber in one process is refused; there is none before the log is open.
        let _first = tracing_subscriber::registry().with(Lines).try_init();
    }
    Ok(())
}

/// Opens a file for writing, made if it is missing: readable by all, writable by its owner.
///
/// # Errors
/// Those of the operating system.
pub fn create(path: &Path, append: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o644);
    match append {
        true => options.append(true),
        false => options.write(true).truncate(true),
    };
    options.open(path)
}

/// Opens the file anew under its name: somebody has moved it away. If that fails, standard error is
/// told and logging stops until it works again.
pub fn reopen() {
    let Some(Log { path: Some(path), file, .. }) = LOG.get() else { return };
    let opened = create(path, true).map_err(|error| {
        let (path, reason) = (path.display(), plain(&error));
        crate::console::err(format_args!("reopening log file '{path}' failed, ignored: {reason}"));
    });
    *file.lock().unwrap_or_else(PoisonError::into_inner) = opened.ok();
}

/// One level more: the new one, unless it is the highest already.
pub fn louder() -> Option<u32> {
    change(|level| (level < LEVEL_MAX).then_some(level + 1))
}

/// One level less: the new one, unless it is 0 already.
pub fn quieter() -> Option<u32> {
    change(|level| level.checked_sub(1))
}

fn change(next: impl Fn(u32) -> Option<u32>) -> Option<u32> {
    // Only the control thread changes it.
    let log = LOG.get()?;
    let level = next(log.level.load(Relaxed))?;
    log.level.store(level, Relaxed);
    Some(level)
}

/// Writes a line whatever the level is.
#[track_caller]
pub fn always(text: impl Display) {
    let place = Location::caller();
    line(place.file(), place.line(), &text.to_string());
}

fn line(file: &str, number: u32, text: &str) {
    let Some(log) = LOG.get() else { return };
    let file = file.rsplit('/').next().unwrap_or(file);
    let mut guard = log.file.lock().unwrap_or_else(PoisonError::into_inner);
    for text in text.lines() {
        let time = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S%.3f").to_string();
        let mut line = format!("[{time}] {file}:{number} {text}");
        if line.len() >= LINE_BYTES_MAX {
            let cut = (0..LINE_BYTES_MAX).rev().find(|at| line.is_char_boundary(*at));
            line.truncate(cut.unwrap_or(0));
        }
        line.push('\n');
        // A full disk is no reason to end a proxy, and there is nobody else to tell.
        let _best_effort = match (&mut *guard, &log.path) {
            (Some(file), _) => file.write_all(line.as_bytes()),
            (None, None) => io::stderr().write_all(line.as_bytes()),
            (None, Some(_)) => Ok(()),
        };
    }
}

/// Turns `tracing`'s events into lines.
struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let wanted = LOG.get().map_or(0, |log| log.level.load(Relaxed));
        if needed(*metadata.level()) > wanted {
            return;
        }
        let mut words = Words::default();
        event.record(&mut words);
        words.message.push_str(&words.fields);
        line(metadata.file().unwrap_or("?"), metadata.line().unwrap_or(0), &words.message);
    }
}

/// The level at which lines of this importance appear: ALERT, WARN, NOTICE, INFO, DEBUG.
fn needed(level: Level) -> u32 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 4,
        Level::INFO => 5,
        Level::DEBUG => 6,
        Level::TRACE => 7,
    }
}

/// An event as text: the message, then its fields.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_shown_at_1_and_news_at_the_default() {
        assert!(needed(Level::ERROR) <= 1);
        assert!(needed(Level::WARN) == 4 && needed(Level::INFO) == 5);
        assert!(needed(Level::DEBUG) > 5);
    }
}
