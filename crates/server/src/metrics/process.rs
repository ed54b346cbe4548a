//! What the kernel says about this process.
//!
//! Read from `/proc` and `getrusage` whenever somebody asks: a scrape, `/api/v1/stats`, `stats`.

use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};

/// Numbers about the process; zero where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// Processor time in user mode.
    pub user_time: Duration,
    /// Processor time in the kernel.
    pub system_time: Duration,
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Address space, in bytes.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_files: u64,
    /// Soft limit on file descriptors.
    pub open_files_max: u64,
}

impl Process {
    /// Reads them.
    pub fn read() -> Process {
        let mut process = Process::default();
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            process.user_time = duration(usage.user_time());
            process.system_time = duration(usage.system_time());
        }
        let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let number = value.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
            let number: u64 = number.unwrap_or(0);
            match name {
                "VmRSS" => process.resident_bytes = number << 10,
                "VmSize" => process.virtual_bytes = number << 10,
                "Threads" => process.threads = number,
                _ => {}
            }
        }
        // The listing holds one descriptor itself.
        let listed = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        process.open_files = listed.saturating_sub(1) as u64;
        process.open_files_max = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        process
    }

    /// Processor time in all, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        (self.user_time + self.system_time).as_secs_f64()
    }
}

fn duration(time: TimeVal) -> Duration {
    // The kernel's times are never negative.
    let micros = time.num_microseconds().try_into().unwrap_or(0);
    Duration::from_micros(micros)
}
