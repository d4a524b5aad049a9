//! The one place that asks the system what time it is. Rules are handed a time, so that tests can hand another; deadlines
//! are tokio's.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall time since the Unix epoch; zero for a clock set before 1970.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Wall time, to be shown.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Monotonic time, for deadlines and measuring.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub fn instant() -> Instant {
    Instant::now()
}
