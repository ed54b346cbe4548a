//! What the terminal shows while a load runs. Nothing is shown when the error output is no
//! terminal.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Args;

/// Counters that the threads add to once per turn, and their display.
#[derive(Debug)]
pub struct Progress {
    /// Keys written before the load.
    pub filled: AtomicU64,
    /// Requests answered, fill not included.
    pub answered: AtomicU64,
    /// Errors, losses and time-outs.
    pub failed: AtomicU64,
    /// Wrong replies.
    pub wrong: AtomicU64,
    fill_total: u64,
    load: Load,
}

#[derive(Clone, Copy, Debug)]
enum Load {
    Time(Duration),
    Requests(u64),
}

impl Progress {
    /// For the load that `args` describe.
    pub fn new(args: &Args) -> Progress {
        Progress {
            filled: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            fill_total: if args.fill { args.keys } else { 0 },
            load: match args.requests {
                Some(requests) => Load::Requests(requests),
                None => Load::Time(args.warmup + args.measured_time()),
            },
        }
    }

    /// Shows the counters until `is_over`.
    pub fn show(&self, is_over: impl Fn() -> bool) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        self.show_fill(&is_over);
        let started = Instant::now();
        let total = match self.load {
            Load::Requests(requests) => requests,
            Load::Time(time) => time.as_millis() as u64,
        };
        let bar = bar(total, "load {bar:30} {percent:>3} %  {msg}");
        let (mut before, mut then) = (self.answered.load(Ordering::Relaxed), started);
        while !is_over() {
            std::thread::sleep(INTERVAL);
            let (answered, now) = (self.answered.load(Ordering::Relaxed), Instant::now());
            let rate = (answered - before) as f64 / (now - then).as_secs_f64();
            (before, then) = (answered, now);
            bar.set_position(match self.load {
                Load::Requests(_) => answered.min(total),
                Load::Time(_) => (started.elapsed().as_millis() as u64).min(total),
            });
            bar.set_message(format!("{rate:.0} requests/s{}", self.trouble()));
        }
        bar.finish_and_clear();
    }

    fn show_fill(&self, is_over: &impl Fn() -> bool) {
        let bar = bar(self.fill_total, "fill {bar:30} {percent:>3} %  {msg}");
        while !is_over() {
            let filled = self.filled.load(Ordering::Relaxed);
            if filled >= self.fill_total || self.answered.load(Ordering::Relaxed) > 0 {
                break;
            }
            bar.set_position(filled);
            bar.set_message(format!("{filled} keys{}", self.trouble()));
            std::thread::sleep(INTERVAL);
        }
        bar.finish_and_clear();
    }

    fn trouble(&self) -> String {
        let failed = self.failed.load(Ordering::Relaxed);
        let wrong = self.wrong.load(Ordering::Relaxed);
        let mut text = String::new();
        if failed > 0 {
            text.push_str(&format!(", {failed} failed"));
        }
        if wrong > 0 {
            text.push_str(&format!(", {wrong} WRONG"));
        }
        text
    }
}

fn bar(total: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is fixed and valid");
    ProgressBar::new(total).with_style(style)
}

const INTERVAL: Duration = Duration::from_millis(200);
