//! The RUNNING rows without a payload, in memory: what may turn out to be abandoned. It is bounded by the inline deliveries
//! under way, so that a look for abandoned ones reads no table.

use std::collections::HashMap;
use std::time::Instant;

use rusqlite::{Connection, Result};

use super::local_leases::LocalLeases;
use super::now::Now;

/// The lease of one RUNNING row.
#[derive(Debug, Clone, Copy)]
enum RunLease {
    /// Granted by this process until then.
    Local(Instant),
    /// Granted by an earlier process. The file says that it expires then, in Unix milliseconds.
    Earlier(Option<i64>),
}

/// The rows by `seq`.
#[derive(Debug, Default)]
pub(super) struct InlineRuns(HashMap<i64, RunLease>);

impl InlineRuns {
    /// Reads the rows that an earlier process left behind.
    pub(super) fn read(conn: &Connection) -> Result<Self> {
        let mut runs = conn.prepare(
            "SELECT seq, due FROM events WHERE state = 1 AND seq NOT IN (SELECT seq FROM payloads)",
        )?;
        let runs = runs.query_map([], |row| Ok((row.get(0)?, RunLease::Earlier(row.get(1)?))))?;
        runs.collect::<Result<_>>().map(Self)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds or renews a row, with the end of the lease that this process has granted.
    pub(super) fn insert(&mut self, seq: i64, expires_at: Instant) {
        self.0.insert(seq, RunLease::Local(expires_at));
    }

    /// Removes a row that is not RUNNING any more, or has a payload now.
    pub(super) fn remove(&mut self, seq: i64) {
        self.0.remove(&seq);
    }

    /// Returns the rows whose lease is over.
    pub(super) fn abandoned(&self, leases: &LocalLeases, now: Now) -> Vec<i64> {
        let is_over = |lease: &RunLease| match *lease {
            RunLease::Local(expires_at) => expires_at <= now.instant,
            RunLease::Earlier(due) => leases.earlier_lease_left(due, None, now).is_none(),
        };
        self.0.iter().filter(|(_, lease)| is_over(lease)).map(|(seq, _)| *seq).collect()
    }
}
