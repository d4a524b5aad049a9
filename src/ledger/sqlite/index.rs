//! Where in the log an event stands: from its key to its `seq`, in memory, for the bounded number of events that the
//! log holds. Built when the file is opened. Never the truth about an event's state: that is read from its row.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

/// A key, hashed. 128 bits under a key of this process's own: two events do not share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct KeyHash(pub(super) u128);

/// What hashes keys. Clones hash alike; hashes mean nothing in another process.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyHasher {
    high: RandomState,
    low: RandomState,
}

impl KeyHasher {
    pub(super) fn hash(&self, id: &str, endpoint: &str, query: &str) -> KeyHash {
        let key = (id, endpoint, query);
        KeyHash(u128::from(self.high.hash_one(key)) << 64 | u128::from(self.low.hash_one(key)))
    }
}

/// The index itself.
#[derive(Debug, Default)]
pub(super) struct Index {
    seqs: HashMap<KeyHash, i64>,
    /// When the leases that this process granted end, by the monotonic clock: wall time may be set, and then two
    /// deliveries of one event would overlap.
    leases: HashMap<i64, Instant>,
    /// The highest there has been. Never given twice, even if someone deletes rows by hand: an event's row must not
    /// become another's.
    last_seq: i64,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.seqs.len()
    }

    pub(super) fn seq(&self, key: KeyHash) -> Option<i64> {
        self.seqs.get(&key).copied()
    }

    /// A `seq` for a new row.
    pub(super) fn next_seq(&self) -> i64 {
        self.last_seq + 1
    }

    pub(super) fn insert(&mut self, key: KeyHash, seq: i64) {
        self.last_seq = self.last_seq.max(seq);
        self.seqs.insert(key, seq);
    }

    /// The row is gone from the log.
    pub(super) fn remove(&mut self, key: KeyHash, seq: i64) {
        if self.seq(key) == Some(seq) {
            self.seqs.remove(&key);
        }
        self.leases.remove(&seq);
    }

    pub(super) fn lease_ends(&self, seq: i64) -> Option<Instant> {
        self.leases.get(&seq).copied()
    }

    pub(super) fn lease_granted(&mut self, seq: i64, ends: Instant) {
        self.leases.insert(seq, ends);
    }

    pub(super) fn lease_over(&mut self, seq: i64) {
        self.leases.remove(&seq);
    }
}
