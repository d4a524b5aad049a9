//! An index in memory, from an event's key to its row (`seq`) in the table `events`. It is bounded because that table
//! is, and it is built when the file is opened. It never says what state an event is in: that is read from the row.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

/// The keyed 128-bit hash of an event's key. The high half is that of the id alone, so all keys with one id lie together.
/// Collisions are too improbable to handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct KeyHash(pub(super) u128);

/// A hasher of event keys with random seeds. Clones give equal hashes; another process gives different ones.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyHasher {
    high: RandomState,
    low: RandomState,
}

impl KeyHasher {
    /// Hashes the three parts of an [`EventKey`](crate::ledger::EventKey).
    pub(super) fn hash(&self, id: &str, endpoint: &str, query: &str) -> KeyHash {
        KeyHash(self.hash_id(id) | u128::from(self.low.hash_one((id, endpoint, query))))
    }

    /// The hash of an id in the high half, above zeros.
    fn hash_id(&self, id: &str) -> u128 {
        u128::from(self.high.hash_one(id)) << 64
    }
}

/// The index.
#[derive(Debug, Default)]
pub(super) struct Index {
    seqs: BTreeMap<KeyHash, i64>,
    /// The highest `seq` so far. Never reused, even if someone deletes rows by hand: otherwise an event could find
    /// another event's row.
    last_seq: i64,
}

impl Index {
    /// The number of rows in the table `events`.
    pub(super) fn len(&self) -> usize {
        self.seqs.len()
    }

    /// The row of a key, if the table has one.
    pub(super) fn seq(&self, key: KeyHash) -> Option<i64> {
        self.seqs.get(&key).copied()
    }

    /// The rows of all keys with this id, in no particular order.
    pub(super) fn seqs_with_id(&self, id: &str, hasher: &KeyHasher) -> Vec<i64> {
        let first = hasher.hash_id(id);
        let keys = KeyHash(first)..=KeyHash(first | u128::from(u64::MAX));
        self.seqs.range(keys).map(|(_, seq)| *seq).collect()
    }

    /// An unused `seq` for a new row.
    pub(super) fn next_seq(&self) -> i64 {
        self.last_seq + 1
    }

    /// Adds a row.
    pub(super) fn insert(&mut self, key: KeyHash, seq: i64) {
        self.last_seq = self.last_seq.max(seq);
        self.seqs.insert(key, seq);
    }

    /// Removes a row, unless the key has a newer row by now.
    pub(super) fn remove(&mut self, key: KeyHash, seq: i64) {
        if self.seq(key) == Some(seq) {
            self.seqs.remove(&key);
        }
    }
}
