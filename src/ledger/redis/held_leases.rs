//! The leases that this process holds, by the monotonic clock. A failover can lose a lease, and the new primary would grant
//! it again while its delivery is under way. Nothing here decides what the server records.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::ledger::{EventKey, Lease};

/// The number of leases at which expired ones are first removed. After that it happens when the number has doubled.
const MIN_PURGE: usize = 1024;

/// The unsettled leases of this process.
#[derive(Default)]
pub(super) struct HeldLeases(Mutex<LeaseTable>);

#[derive(Default)]
struct LeaseTable {
    expires_at: HashMap<EventKey, Instant>,
    purge_at: usize,
}

impl HeldLeases {
    /// Returns the time until this process's lease on an event expires; `None` if it holds none.
    pub(super) fn remaining(&self, key: &EventKey) -> Option<Duration> {
        let expires_at = *self.lock().expires_at.get(key)?;
        expires_at.checked_duration_since(clock::instant()).filter(|left| !left.is_zero())
    }

    /// Notes a lease that the server granted, and returns it. `None` if this process holds another one on the same event:
    /// the new one expires unused.
    pub(super) fn note(&self, lease: Lease) -> Option<Lease> {
        let now = clock::instant();
        let mut state = self.lock();
        if state.expires_at.get(lease.key()).is_some_and(|expires_at| *expires_at > now) {
            return None;
        }
        if state.expires_at.len() >= state.purge_at.max(MIN_PURGE) {
            state.expires_at.retain(|_, expires_at| *expires_at > now);
            state.purge_at = state.expires_at.len() * 2;
        }
        state.expires_at.insert(lease.key().clone(), now + lease.remaining(now));
        Some(lease)
    }

    /// Removes the lease of a settled event.
    pub(super) fn release(&self, key: &EventKey) {
        self.lock().expires_at.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, LeaseTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
