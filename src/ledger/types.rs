//! The values that go into a ledger and come out of it: claims, settlements, health. Pure data.

use std::sync::Arc;
use std::time::Duration;

use super::lease::Lease;

/// The longest wait that a settlement may ask for: twice 30 days, which is the longest in a retry schedule with the widest
/// jitter. An event that is due further ahead is due now, because a wrong clock has written its time.
pub const MAX_WAIT: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// The result of a claim.
#[derive(Debug)]
#[must_use]
pub enum Claim {
    /// The caller holds the lease and delivers the event.
    Leased(Lease),
    /// Another delivery of the event holds a lease.
    InFlight {
        /// The time until that lease expires; never zero.
        retry_after: Duration,
    },
    /// The event was delivered before, or is queued for delivery.
    Duplicate,
}

/// The result of storing an event for later delivery.
#[derive(Debug)]
#[must_use]
pub enum EnqueueResult {
    /// The event is stored, and the caller holds the lease for its first delivery.
    Leased(Lease),
    /// The event is stored and due.
    Queued,
    /// An inline delivery of the event holds a lease. Nothing was stored.
    InFlight {
        /// The time until that lease expires; never zero.
        retry_after: Duration,
    },
    /// The event is already queued, or was delivered before.
    Duplicate,
}

/// The end of a delivery attempt, as the ledger records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// The backend responded with a 2xx.
    Delivered {
        /// The backend's status.
        status: u16,
    },
    /// An inline delivery failed. The event's next arrival is admitted again.
    Failed {
        /// The backend's status, if it responded.
        status: Option<u16>,
    },
    /// A queued delivery failed, and another attempt is due after `wait`.
    Retry {
        /// The backend's status, if it responded.
        status: Option<u16>,
        /// The time from now until the next attempt is due.
        wait: Duration,
        /// Whether the attempt counts. An attempt that could not connect does not.
        counts: bool,
    },
    /// The last attempt at a queued event failed. The event waits for an operator.
    Dead {
        /// The backend's status, if it responded.
        status: Option<u16>,
    },
}

/// The result of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The settlement is durable.
    Recorded,
    /// The settlement changed nothing because its token is no longer the current one. `Delivered` never gets this.
    Superseded,
}

/// Whether a ledger can take claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Claims succeed.
    Ready,
    /// Claims fail. The ledger keeps trying to recover by itself.
    NotReady {
        /// The cause, in words for an operator.
        reason: Arc<str>,
    },
}
