//! Monotonic time as one number.
//!
//! A worker reads the clock once per turn and works with that value; nothing here is called per
//! request. The simulated backend never reads this clock, it has its own.

use rustix::time::{ClockId, clock_gettime};

/// A moment or a span, in nanoseconds. Moments count from an arbitrary start (system boot, or zero
/// in a simulated world) and never run backwards; they fit for 584 years.
pub type Nanos = u64;

/// One microsecond in [`Nanos`].
pub const MICROSECOND: Nanos = 1_000;
/// One millisecond in [`Nanos`].
pub const MILLISECOND: Nanos = 1_000_000;
/// One second in [`Nanos`].
pub const SECOND: Nanos = 1_000_000_000;

/// Reads the system's monotonic clock.
pub fn monotonic() -> Nanos {
    let time = clock_gettime(ClockId::Monotonic);
    // The monotonic clock starts at zero when the system boots, so neither part is negative.
    time.tv_sec as u64 * SECOND + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_run_backwards() {
        let first = monotonic();
        let second = monotonic();
        assert!(second >= first && first > 0);
    }
}
