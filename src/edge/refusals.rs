//! Counts the connections and requests that a limit of `[server]` refuses, and says so in the log once a minute. It decides
//! nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::metrics::{Metrics, RefusalReason};

/// How often the log says that a limit is reached.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Counts and reports refusals, each reason by itself.
pub(super) struct Refusals {
    metrics: Arc<Metrics>,
    /// One entry for each [`RefusalReason`], in the order of the enum.
    unreported: [Mutex<Unreported>; RefusalReason::ALL.len()],
}

/// The refusals of one reason since the last warning.
#[derive(Debug, Default)]
struct Unreported {
    count: u64,
    warned: Option<Instant>,
}

impl Refusals {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, unreported: Default::default() }
    }

    /// Counts one. At most once a minute a warning tells how many there were since the last.
    pub(super) fn record(&self, reason: RefusalReason) {
        self.metrics.connection_refused(reason);
        let mut unreported = self.unreported[reason as usize].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = unreported.add(clock::instant()) {
            tracing::warn!(
                count,
                reason = reason.as_str(),
                "clients were refused because server.{} is reached; raise it, or find out what holds so many open",
                reason.as_str()
            );
        }
    }
}

impl Unreported {
    /// Adds one. Returns the number to report, if it is time for a warning.
    fn add(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        if self.warned.is_some_and(|at| now.saturating_duration_since(at) < WARNING_INTERVAL) {
            return None;
        }
        self.warned = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_comes_once_a_minute_and_tells_how_many_were_refused() {
        let (mut unreported, start) = (Unreported::default(), clock::instant());
        let reported = [0, 1, 59, 60, 61, 119, 120].map(|s| unreported.add(start + Duration::from_secs(s)));
        assert_eq!(reported, [Some(1), None, None, Some(3), None, None, Some(3)]);
    }
}
