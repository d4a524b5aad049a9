//! The errors of every ledger: [`LedgerError`], and [`SettleError`], which returns the lease.

use std::sync::Arc;

use super::lease::Lease;

/// A call that the ledger could not serve, with a reason that an operator can act on. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct LedgerError {
    reason: Arc<str>,
    outage: bool,
}

impl LedgerError {
    /// An outage: the ledger is unavailable until the cause is gone. The reason says what is wrong, and with which
    /// file or server.
    pub fn new(reason: impl Into<Arc<str>>) -> Self {
        Self { reason: reason.into(), outage: true }
    }

    /// A ledger that works but does not meet the requirement of this call, such as durability.
    pub fn unsuitable(reason: impl Into<Arc<str>>) -> Self {
        Self { reason: reason.into(), outage: false }
    }

    /// Whether the error can pass by itself. An unsuitable ledger stays unsuitable until its settings change.
    pub fn is_outage(&self) -> bool {
        self.outage
    }

    /// The reason, shared: [`Health`](super::Health) reports it without a copy.
    pub(super) fn reason(&self) -> Arc<str> {
        Arc::clone(&self.reason)
    }
}

/// A settlement that was not recorded. The lease can be settled again.
#[derive(Debug, thiserror::Error)]
#[error("{} is not settled: {error}", .lease.key().id)]
pub struct SettleError {
    /// The lease that is still to be settled.
    pub lease: Lease,
    /// The reason why the settlement was not recorded.
    pub error: LedgerError,
}
