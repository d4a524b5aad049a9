//! How both ledgers delete settled events after their retention. A clock may be wrong for a while, so a sweep needs one that
//! has run steadily for a whole period, and deletes only a few periods' worth of events at once.

use std::time::Duration;

/// A sweep deletes at most what this many periods have settled. A clock that is wrong for hours, as long as it runs steadily,
/// costs a few hours of the oldest records.
pub(super) const MAX_ADVANCE_PERIODS: u32 = 4;

/// Returns the time between two sweeps: often enough that an event outlives its retention by a small part of it only.
pub(super) fn sweep_period(retention: Duration) -> Duration {
    (retention / 16).clamp(Duration::from_secs(1), Duration::from_secs(60 * 60))
}
