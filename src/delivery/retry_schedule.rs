//! When a failed event is tried again, and when it is given up. Pure: an attempt's number in, a wait out.

use std::time::Duration;

/// The maximum that a backend's `Retry-After` counts for: it can ask for more time, not for the event to be dropped.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The waits between the attempts at one event, with their jitter.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    waits: Vec<Duration>,
    jitter: f64,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt after this wait.
    Wait(Duration),
    /// No further attempt: every wait was used.
    GiveUp,
}

impl Schedule {
    /// Builds a schedule; `waits[0]` follows the first attempt. `jitter` is a fraction from 0 to 1: each wait becomes
    /// longer or shorter by up to that much, so that events which failed together are not retried together.
    pub fn new(waits: Vec<Duration>, jitter: f64) -> Self {
        Self { waits, jitter: jitter.clamp(0.0, 1.0) }
    }

    /// Returns what follows the failed attempt of this number (1 is the first). `random` is from 0 to 1. `retry_after` is
    /// what the backend requested: it can make a wait longer, up to a day, and never shorter.
    pub fn after(&self, attempt: u32, random: f64, retry_after: Option<Duration>) -> Next {
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(wait) = self.waits.get(index) else { return Next::GiveUp };
        let with_jitter = wait.mul_f64(1.0 + self.jitter * (2.0 * random.clamp(0.0, 1.0) - 1.0));
        Next::Wait(
            retry_after.map_or(with_jitter, |requested| with_jitter.max(requested.min(MAX_RETRY_AFTER))),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_failed_attempt_gets_the_next_wait_until_none_is_left() {
        let schedule = Schedule::new(vec![5 * SECOND, 30 * SECOND], 0.0);
        assert_eq!(schedule.after(1, 0.5, None), Next::Wait(5 * SECOND));
        assert_eq!(schedule.after(2, 0.5, None), Next::Wait(30 * SECOND));
        assert_eq!(schedule.after(3, 0.5, None), Next::GiveUp);
        assert_eq!(schedule.after(u32::MAX, 0.5, None), Next::GiveUp);
        assert_eq!(Schedule::new(vec![], 0.2).after(1, 0.5, Some(SECOND)), Next::GiveUp);
    }

    #[test]
    fn jitter_changes_a_wait_by_its_fraction_in_both_directions() {
        let schedule = Schedule::new(vec![10 * SECOND], 0.2);
        for (random, expected) in [(0.0, 8), (0.5, 10), (1.0, 12), (7.0, 12), (-1.0, 8)] {
            assert_eq!(schedule.after(1, random, None), Next::Wait(expected * SECOND), "{random}");
        }
        assert_eq!(Schedule::new(vec![10 * SECOND], 9.0).after(1, 0.0, None), Next::Wait(Duration::ZERO));
    }

    #[test]
    fn retry_after_makes_a_wait_longer_up_to_a_day_and_never_shorter() {
        let schedule = Schedule::new(vec![10 * SECOND], 0.0);
        for (retry_after, expected) in [(1, 10), (60, 60), (10_000_000, 86_400)] {
            assert_eq!(
                schedule.after(1, 0.5, Some(retry_after * SECOND)),
                Next::Wait(expected * SECOND),
                "{retry_after}"
            );
        }
    }
}
