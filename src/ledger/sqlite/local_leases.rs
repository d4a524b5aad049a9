//! The leases that this process granted and has not settled, by the monotonic clock. They outlive the open file: while
//! a delivery is under way the wall clock may be set or the file replaced, and neither may start a second delivery.
//! A transaction's changes here are undone with it. This file also judges the leases that an earlier process granted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::index::KeyHash;
use super::now::Now;
use crate::ledger::usual_lease::UsualLease;

/// The number of leases at which expired ones are first removed. After that it happens when the number has doubled.
const MIN_PURGE: usize = 1024;

/// The longest that a lease in the file may outlast one granted now. A later end was written under a wrong clock, and
/// does not count.
const MAX_LEASE_DRIFT: Duration = Duration::from_secs(60 * 60);

/// The unsettled leases of this process.
#[derive(Debug)]
pub(super) struct LocalLeases {
    /// When this process got the file for itself. No lease of an earlier process began after that.
    exclusive_since: Instant,
    usual_lease: Arc<UsualLease>,
    expires_at: HashMap<KeyHash, Instant>,
    /// The previous values that the current transaction has overwritten; restored from the last to the first.
    undo: Vec<(KeyHash, Option<Instant>)>,
    purge_at: usize,
}

impl LocalLeases {
    /// No leases, in a process that has had the file for itself since this time.
    pub(super) fn new(exclusive_since: Instant, usual_lease: Arc<UsualLease>) -> Self {
        Self { exclusive_since, usual_lease, expires_at: HashMap::new(), undo: Vec::new(), purge_at: 0 }
    }

    /// The time until a lease of an earlier process is over, which the file says to expire at `due` in Unix milliseconds;
    /// `None` if it is over. `requested` is the lease that a caller requests now.
    ///
    /// Both clocks must say so. The wall clock may be wrong, so a whole lease has to pass by the monotonic clock. The earlier
    /// process may have granted longer leases, so the time in the file has to pass, too, unless it was written under a wrong
    /// clock.
    pub(super) fn earlier_lease_left(
        &self,
        due: Option<i64>,
        requested: Option<Duration>,
        now: Now,
    ) -> Option<Duration> {
        let lease = requested.unwrap_or_default().max(self.usual_lease.get());
        let by_wall_clock = due.unwrap_or_default().saturating_sub(now.unix);
        let by_wall_clock = Duration::from_millis(u64::try_from(by_wall_clock).unwrap_or_default());
        let plausible =
            Some(by_wall_clock).filter(|left| *left < lease + MAX_LEASE_DRIFT).unwrap_or_default();
        let monotonic = (self.exclusive_since + lease).saturating_duration_since(now.instant);
        Some(plausible.max(monotonic)).filter(|left| !left.is_zero())
    }

    /// When this process's lease on an event expires; `None` if there is no such lease. The time may have passed.
    pub(super) fn expires_at(&self, key: KeyHash) -> Option<Instant> {
        self.expires_at.get(&key).copied()
    }

    /// Adds or replaces the lease on an event.
    pub(super) fn grant(&mut self, key: KeyHash, expires_at: Instant) {
        let before = self.expires_at.insert(key, expires_at);
        self.undo.push((key, before));
    }

    /// Removes the lease of a settled event.
    pub(super) fn release(&mut self, key: KeyHash) {
        if let Some(before) = self.expires_at.remove(&key) {
            self.undo.push((key, Some(before)));
        }
    }

    /// Makes the changes of the current transaction final. Removes expired leases once there are many.
    pub(super) fn commit(&mut self, now: Instant) {
        self.undo.clear();
        if self.expires_at.len() >= self.purge_at.max(MIN_PURGE) {
            self.expires_at.retain(|_, expires_at| *expires_at > now);
            self.purge_at = self.expires_at.len() * 2;
        }
    }

    /// Undoes the changes of the current transaction.
    pub(super) fn rollback(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(expires_at) => self.expires_at.insert(key, expires_at),
                None => self.expires_at.remove(&key),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_rollback_restores_the_leases_before_the_transaction() {
        let now = crate::clock::instant();
        let mut leases = LocalLeases::new(now, Arc::default());
        let [a, b, c] = [1, 2, 3].map(KeyHash);
        leases.grant(a, now);
        leases.grant(b, now);
        leases.commit(now);
        leases.release(a);
        leases.grant(a, now + Duration::from_secs(1));
        leases.release(b);
        leases.grant(c, now);
        leases.rollback();
        assert_eq!([a, b, c].map(|key| leases.expires_at(key)), [Some(now), Some(now), None]);
    }

    #[test]
    fn a_lease_of_an_earlier_process_is_over_when_both_clocks_say_so() {
        let start = crate::clock::instant();
        let leases = LocalLeases::new(start, Arc::default());
        let lease = Duration::from_secs(37);
        let year = 365 * 24 * 3600;
        for (due, elapsed, left) in [
            (-5, 0, Some(37)),
            (20, 0, Some(37)),
            (50, 0, Some(50)),
            // The earlier process had longer leases.
            (600, 40, Some(560)),
            (600, 601, None),
            (30, 37, None),
            // A wrong clock, then or now.
            (year, 0, Some(37)),
            (year, 36, Some(1)),
            (year, 37, None),
            (-year, 36, Some(1)),
        ] {
            let now = Now {
                unix: 1_000_000 + elapsed * 1000,
                instant: start + Duration::from_secs(elapsed as u64),
            };
            let found = leases.earlier_lease_left(Some(1_000_000 + due * 1000), Some(lease), now);
            assert_eq!(found, left.map(Duration::from_secs), "{due} {elapsed}");
        }
    }

    #[test]
    fn expired_leases_do_not_accumulate() {
        let now = crate::clock::instant();
        let mut leases = LocalLeases::new(now, Arc::default());
        for n in 0..10 * MIN_PURGE {
            leases.grant(KeyHash(n as u128), now);
            leases.commit(now + Duration::from_secs(1));
        }
        assert!(leases.expires_at.len() <= MIN_PURGE, "{}", leases.expires_at.len());
    }
}
