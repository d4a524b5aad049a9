//! Durations as the integer milliseconds that ledgers store.

use std::time::Duration;

/// The duration in whole milliseconds, rounded down and at most `i64::MAX`.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
