//! Whether the wall clock has run steadily, compared with the monotonic clock. Nothing is deleted on the word of a clock
//! that jumped.

use std::time::{Duration, Instant};

use crate::ledger::millis::millis;

/// The most by which the clocks may drift apart between two observations. More is a jump.
const MAX_DRIFT: Duration = Duration::from_secs(60);

/// The observations so far.
#[derive(Debug)]
pub(super) struct ClockWatch {
    start: Instant,
    /// Wall clock minus monotonic clock at the last observation, in milliseconds.
    offset: i64,
    steady_since: Instant,
}

impl ClockWatch {
    /// The first observation: the wall clock in Unix milliseconds, and the monotonic clock.
    pub(super) fn new(unix: i64, instant: Instant) -> Self {
        Self { start: instant, offset: unix, steady_since: instant }
    }

    /// Adds an observation, and returns how long the wall clock has run steadily.
    pub(super) fn observe(&mut self, unix: i64, instant: Instant) -> Duration {
        let offset = unix.saturating_sub(millis(instant.saturating_duration_since(self.start)));
        if offset.abs_diff(self.offset) > millis(MAX_DRIFT).unsigned_abs() {
            self.steady_since = instant;
        }
        self.offset = offset;
        instant.saturating_duration_since(self.steady_since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_in_either_direction_begins_the_steady_time_again() {
        let start = crate::clock::instant();
        let mut watch = ClockWatch::new(1_000_000_000, start);
        // Seconds by the monotonic clock, how far the wall clock is ahead, and the steady time.
        for (elapsed, ahead, steady) in [
            (10, 0, 10),
            (20, 2, 20),
            (30, 31_536_000, 0),
            (40, 31_536_000, 10),
            (50, 2, 0),
            (60, -31_536_000, 0),
            (70, -31_536_010, 10),
            // A slow drift is none.
            (80, -31_535_960, 20),
            (90, -31_535_910, 30),
        ] {
            let unix = 1_000_000_000 + (elapsed + ahead) * 1000;
            let instant = start + Duration::from_secs(elapsed as u64);
            assert_eq!(watch.observe(unix, instant), Duration::from_secs(steady), "{elapsed}");
        }
    }
}
