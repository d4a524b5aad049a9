//! [`Lease`]: the right to deliver one event for a limited time. Only a ledger creates one.

use std::fmt;
use std::time::{Duration, Instant};

use super::arrival::{Arrival, EventKey};

/// The right to deliver one event for a limited time. Not `Clone`, and consumed by settling.
#[must_use = "a dropped lease blocks its event until the lease expires"]
pub struct Lease {
    /// The event to deliver.
    pub(super) arrival: Arrival,
    /// The number of this attempt; 1 for the first.
    pub(super) attempt: u32,
    /// The fencing token. Settling compares it with the token in the record.
    pub(super) token: u64,
    /// When the lease expires, by this process's monotonic clock.
    expires_at: Instant,
}

impl Lease {
    /// A lease that a ledger has granted. `token` fences off late holders. `expires_at` is counted from before the
    /// claim was sent, so the holder's view ends no later than the ledger's.
    pub(crate) fn new(arrival: Arrival, attempt: u32, token: u64, expires_at: Instant) -> Self {
        Self { arrival, attempt, token, expires_at }
    }

    /// The key of the leased event.
    pub fn key(&self) -> &EventKey {
        &self.arrival.key
    }

    /// The number of this delivery attempt; 1 for the first.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The time until the lease expires; zero after that.
    pub fn remaining(&self, now: Instant) -> Duration {
        self.expires_at.saturating_duration_since(now)
    }
}

/// Hides the token: anyone with the token could settle the event.
impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("key", self.key())
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
