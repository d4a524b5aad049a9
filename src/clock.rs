//! The only module that reads the system's clocks. Rules take the time as an argument, so that tests can pass another.
//! Deadlines use tokio's clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Returns the time since the Unix epoch by the wall clock; zero for a clock that is set before 1970.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns the Unix time in whole seconds, as Stripe writes it.
pub fn unix_seconds() -> i64 {
    i64::try_from(unix().as_secs()).unwrap_or(i64::MAX)
}

/// Returns the Unix time in whole milliseconds, as the ledgers write it.
pub fn unix_millis() -> i64 {
    i64::try_from(unix().as_millis()).unwrap_or(i64::MAX)
}

/// Returns the wall clock's time, for display and for comparison with HTTP dates.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Returns the monotonic time, for deadlines and for measuring.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
pub fn instant() -> Instant {
    Instant::now()
}
