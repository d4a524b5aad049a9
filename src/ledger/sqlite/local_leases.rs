//! The leases that this process granted and has not settled, by the monotonic clock. They outlive the open file: while
//! a delivery is under way the wall clock may be set or the file replaced, and neither may start a second delivery.
//! A transaction's changes here are undone with it.

use std::collections::HashMap;
use std::time::Instant;

use super::index::KeyHash;

/// The number of leases at which expired ones are first removed. After that it happens when the number has doubled.
const MIN_PURGE: usize = 1024;

/// The unsettled leases of this process.
#[derive(Debug, Default)]
pub(super) struct LocalLeases {
    expires_at: HashMap<KeyHash, Instant>,
    /// The previous values that the current transaction has overwritten; restored from the last to the first.
    undo: Vec<(KeyHash, Option<Instant>)>,
    purge_at: usize,
}

impl LocalLeases {
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
        let (mut leases, now) = (LocalLeases::default(), crate::clock::instant());
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
    fn expired_leases_do_not_accumulate() {
        let (mut leases, now) = (LocalLeases::default(), crate::clock::instant());
        for n in 0..10 * MIN_PURGE {
            leases.grant(KeyHash(n as u128), now);
            leases.commit(now + Duration::from_secs(1));
        }
        assert!(leases.expires_at.len() <= MIN_PURGE, "{}", leases.expires_at.len());
    }
}
