//! Steps of the wall clock back, by which times in the file are too late. It runs no statement.

use std::time::Instant;

use super::now::Now;
use crate::ledger::millis::millis;

/// The smallest step that matters, in milliseconds. Less is how a clock is corrected all the time.
const MIN_STEP: i64 = 1000;

/// Finds steps back, by the monotonic clock and, at the start, by what an earlier process has written.
pub(super) struct ClockSteps {
    /// The latest time in the file, until the first observation.
    latest_written: Option<i64>,
    start: Instant,
    /// Wall clock minus monotonic clock at the last observation, in milliseconds.
    offset: Option<i64>,
}

impl ClockSteps {
    /// `latest_written` is the latest time in the file at which something had happened, in Unix milliseconds.
    pub(super) fn new(latest_written: Option<i64>, start: Instant) -> Self {
        Self { latest_written, start, offset: None }
    }

    /// Adds an observation, and returns by how much the wall clock went back since the last one, in milliseconds.
    pub(super) fn observe(&mut self, now: Now) -> Option<i64> {
        let offset = now.unix.saturating_sub(millis(now.instant.saturating_duration_since(self.start)));
        let back = match self.offset.replace(offset) {
            Some(before) => before.saturating_sub(offset),
            None => self.latest_written.take()?.saturating_sub(now.unix),
        };
        (back >= MIN_STEP).then_some(back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_step_back_is_found_by_the_clocks_and_at_the_start_by_what_was_written() {
        let start = crate::clock::instant();
        for (latest_written, first) in
            [(None, None), (Some(100_000), None), (Some(100_400), None), (Some(3_700_000), Some(3_600_000))]
        {
            let mut steps = ClockSteps::new(latest_written, start);
            // Seconds by the monotonic clock, the wall clock in milliseconds, and the step.
            for (elapsed, unix, step) in [
                (0, 100_000, first),
                (10, 110_000, None),
                (20, 119_500, None),
                (30, 3_729_500, None),
                (40, 140_000, Some(3_599_500)),
                (50, 150_000, None),
            ] {
                let now = Now { unix, instant: start + Duration::from_secs(elapsed) };
                assert_eq!(steps.observe(now), step, "{latest_written:?} {elapsed}");
            }
        }
    }
}
