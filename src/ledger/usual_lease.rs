//! The length of the leases that callers request. A record holds the end of its lease, so the length tells when a
//! delivery began. It decides nothing about a lease.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::millis::millis;

/// The length of a lease in milliseconds; 0 until it is set.
#[derive(Debug, Default)]
pub(super) struct UsualLease(AtomicI64);

impl UsualLease {
    pub(super) fn set(&self, lease: Duration) {
        self.0.store(millis(lease), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed).unsigned_abs())
    }
}

/// Returns how long ago a lease of this length was granted that has `left` milliseconds left; negative after its end.
pub(super) fn age(lease: Duration, left: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis(lease).saturating_sub(left)).unwrap_or_default())
}
