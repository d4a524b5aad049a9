//! The leases that this process has granted and not seen settled, by the monotonic clock. They outlive the file: wall
//! time may be set and a file may be replaced while a delivery is under way, and in neither case may a second one
//! begin. What a transaction changes here is undone with it.

use std::collections::HashMap;
use std::time::Instant;

use super::index::KeyHash;

/// Expired leases are looked for once there are this many, and then whenever their number has doubled.
const FEW: usize = 1024;

/// Those leases.
#[derive(Debug, Default)]
pub(super) struct Granted {
    ends: HashMap<KeyHash, Instant>,
    /// What the transaction under way has overwritten, the last first to be restored.
    undo: Vec<(KeyHash, Option<Instant>)>,
    purge_at: usize,
}

impl Granted {
    /// When the lease on an event ends, if one was granted; it may be over.
    pub(super) fn ends(&self, key: KeyHash) -> Option<Instant> {
        self.ends.get(&key).copied()
    }

    /// A lease was granted.
    pub(super) fn grant(&mut self, key: KeyHash, ends: Instant) {
        let before = self.ends.insert(key, ends);
        self.undo.push((key, before));
    }

    /// Its event is settled.
    pub(super) fn settle(&mut self, key: KeyHash) {
        if let Some(before) = self.ends.remove(&key) {
            self.undo.push((key, Some(before)));
        }
    }

    /// The transaction is durable.
    pub(super) fn commit(&mut self, now: Instant) {
        self.undo.clear();
        if self.ends.len() >= self.purge_at.max(FEW) {
            self.ends.retain(|_, ends| *ends > now);
            self.purge_at = self.ends.len() * 2;
        }
    }

    /// The transaction is gone.
    pub(super) fn rollback(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(ends) => self.ends.insert(key, ends),
                None => self.ends.remove(&key),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_rollback_leaves_what_was_before_the_transaction() {
        let (mut granted, now) = (Granted::default(), crate::clock::instant());
        let [a, b, c] = [1, 2, 3].map(KeyHash);
        granted.grant(a, now);
        granted.grant(b, now);
        granted.commit(now);
        granted.settle(a);
        granted.grant(a, now + Duration::from_secs(1));
        granted.settle(b);
        granted.grant(c, now);
        granted.rollback();
        assert_eq!([a, b, c].map(|key| granted.ends(key)), [Some(now), Some(now), None]);
    }

    #[test]
    fn leases_that_are_over_do_not_pile_up() {
        let (mut granted, now) = (Granted::default(), crate::clock::instant());
        for n in 0..10 * FEW {
            granted.grant(KeyHash(n as u128), now);
            granted.commit(now + Duration::from_secs(1));
        }
        assert!(granted.ends.len() <= FEW, "{}", granted.ends.len());
    }
}
