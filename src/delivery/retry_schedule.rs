//! When a queued event is tried again, and when it is given up. Pure: attempts in, waits out.

use std::time::Duration;

/// A backend's `Retry-After` counts up to this much: it may ask for patience, not for the event to be forgotten.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 60 * 60);

/// The waits between attempts, and how much they vary.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    waits: Vec<Duration>,
    jitter: f64,
}

/// What follows an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt, this much later.
    Wait(Duration),
    /// None: every wait was used up.
    GiveUp,
}

impl Schedule {
    /// `waits[0]` follows the first attempt. Each is made longer or shorter by up to `jitter`, a share from 0 to 1, so
    /// that events which failed together do not come back together.
    pub fn new(waits: Vec<Duration>, jitter: f64) -> Schedule {
        Schedule { waits, jitter: jitter.clamp(0.0, 1.0) }
    }

    /// What follows the attempt of this number (1 is the first), which failed. `random` is from 0 to 1. A backend that
    /// asked for more patience (`Retry-After`) gets it, up to a day; for less, it does not.
    pub fn after(&self, attempt: u32, random: f64, asked: Option<Duration>) -> Next {
        let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(wait) = self.waits.get(index) else { return Next::GiveUp };
        let varied = wait.mul_f64(1.0 + self.jitter * (2.0 * random.clamp(0.0, 1.0) - 1.0));
        Next::Wait(asked.map_or(varied, |asked| varied.max(asked.min(LONGEST_ASKED))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_failed_attempt_has_the_next_wait_until_they_are_used_up() {
        let schedule = Schedule::new(vec![5 * SECOND, 30 * SECOND], 0.0);
        assert_eq!(schedule.after(1, 0.5, None), Next::Wait(5 * SECOND));
        assert_eq!(schedule.after(2, 0.5, None), Next::Wait(30 * SECOND));
        assert_eq!(schedule.after(3, 0.5, None), Next::GiveUp);
        assert_eq!(schedule.after(u32::MAX, 0.5, None), Next::GiveUp);
        assert_eq!(Schedule::new(vec![], 0.2).after(1, 0.5, Some(SECOND)), Next::GiveUp);
    }

    #[test]
    fn jitter_moves_a_wait_by_its_share_both_ways() {
        let schedule = Schedule::new(vec![10 * SECOND], 0.2);
        for (random, expected) in [(0.0, 8), (0.5, 10), (1.0, 12), (7.0, 12), (-1.0, 8)] {
            assert_eq!(schedule.after(1, random, None), Next::Wait(expected * SECOND), "{random}");
        }
        assert_eq!(Schedule::new(vec![10 * SECOND], 9.0).after(1, 0.0, None), Next::Wait(Duration::ZERO));
    }

    #[test]
    fn a_backend_may_ask_for_more_patience_but_not_for_less_nor_for_ever() {
        let schedule = Schedule::new(vec![10 * SECOND], 0.0);
        for (asked, expected) in [(1, 10), (60, 60), (10_000_000, 86_400)] {
            assert_eq!(
                schedule.after(1, 0.5, Some(asked * SECOND)),
                Next::Wait(expected * SECOND),
                "{asked}"
            );
        }
    }
}
