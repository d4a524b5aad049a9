//! The maintenance operations: small changes that the maintenance thread queues with the writer, and the statements
//! that the writer runs for them. Each leaves alone rows that are not settled, or that changed since they were read.

use rusqlite::{Connection, Result, Statement};

use crate::ledger::State;
use crate::ledger::sqlite::bloom::BloomFilter;
use crate::ledger::sqlite::index::{Index, KeyHash};

/// One small change to the file, run by the writer in one transaction.
pub(in crate::ledger::sqlite) enum MaintenanceOp {
    /// Copies settled events from `events` to `archive`.
    Archive(Vec<RowVersion>),
    /// Deletes archived events from `events`.
    DeleteArchived(Vec<RowVersion>),
    /// Deletes events from `events` that were settled before this time, in Unix milliseconds.
    Expire { rows: Vec<RowVersion>, before: i64 },
    /// Deletes events from `archive` that were settled before this time, in Unix milliseconds.
    ExpireArchived { keys: Vec<ArchiveKey>, before: i64 },
    /// Replaces the Bloom filter by one that holds every key of the archive. `None` after it ran.
    SetBloomFilter(Option<BloomFilter>),
    /// Makes abandoned events FAILED. The writer's transitions do it.
    FailAbandoned,
    /// Completes a checkpoint that the maintenance thread has nearly finished, so that the write-ahead log restarts.
    Checkpoint,
}

/// A row of `events` as it was read. Every transition changes state or attempts, so an operation that finds another
/// version leaves the row alone.
#[derive(Debug, Clone, Copy)]
pub(in crate::ledger::sqlite) struct RowVersion {
    pub(in crate::ledger::sqlite) seq: i64,
    pub(in crate::ledger::sqlite) state: State,
    pub(in crate::ledger::sqlite) attempts: u32,
    pub(in crate::ledger::sqlite) hash: KeyHash,
    /// A time before the settlement, in Unix milliseconds: an earlier row was seen then. Only archiving uses it, against
    /// times that a wrong clock has written.
    pub(in crate::ledger::sqlite) settled_after: i64,
}

/// The primary key of a row in `archive`.
#[derive(Debug, Clone, Default)]
pub(in crate::ledger::sqlite) struct ArchiveKey {
    pub(in crate::ledger::sqlite) id: String,
    pub(in crate::ledger::sqlite) endpoint: String,
    pub(in crate::ledger::sqlite) query: String,
}

/// The prepared statements of every operation.
pub(in crate::ledger::sqlite) struct MaintenanceStatements<'c> {
    archive: Statement<'c>,
    delete_version: Statement<'c>,
    expire: Statement<'c>,
    expire_archived: Statement<'c>,
}

impl<'c> MaintenanceStatements<'c> {
    /// Prepares the statements.
    pub(in crate::ledger::sqlite) fn new(conn: &'c Connection) -> Result<Self> {
        Ok(Self {
            archive: conn.prepare(
                "INSERT OR REPLACE INTO archive SELECT id, endpoint, query, type, created, livemode, account, seen, \
                 state, attempts, status, max(settled, ?4) FROM events WHERE seq = ?1 AND state = ?2 AND attempts = ?3",
            )?,
            delete_version: conn
                .prepare("DELETE FROM events WHERE seq = ?1 AND state = ?2 AND attempts = ?3")?,
            expire: conn.prepare("DELETE FROM events WHERE seq = ?1 AND state IN (2, 3) AND settled < ?2")?,
            expire_archived: conn.prepare(
                "DELETE FROM archive WHERE id = ?1 AND endpoint = ?2 AND query = ?3 AND settled < ?4",
            )?,
        })
    }

    /// Runs an operation inside the writer's transaction and returns the number of rows it changed.
    pub(in crate::ledger::sqlite) fn run(
        &mut self,
        op: &mut MaintenanceOp,
        index: &mut Index,
        bloom: &mut Option<BloomFilter>,
    ) -> Result<u64> {
        let mut changed = 0;
        let mut unindex = |row: &RowVersion, deleted: usize| {
            if deleted > 0 {
                index.remove(row.hash, row.seq);
            }
            deleted
        };
        match op {
            MaintenanceOp::Archive(rows) => {
                for row in rows {
                    changed += self.archive.execute((row.seq, row.state, row.attempts, row.settled_after))?;
                    if let Some(bloom) = bloom {
                        bloom.insert(row.hash);
                    }
                }
            }
            MaintenanceOp::DeleteArchived(rows) => {
                for row in rows {
                    let deleted = self.delete_version.execute((row.seq, row.state, row.attempts))?;
                    changed += unindex(row, deleted);
                }
            }
            MaintenanceOp::Expire { rows, before } => {
                for row in rows {
                    changed += unindex(row, self.expire.execute((row.seq, *before))?);
                }
            }
            MaintenanceOp::ExpireArchived { keys, before } => {
                for key in keys {
                    changed += self.expire_archived.execute((&key.id, &key.endpoint, &key.query, *before))?;
                }
            }
            MaintenanceOp::SetBloomFilter(new) => *bloom = new.take(),
            // A checkpoint cannot run inside a transaction: the writer makes it after the commit. The other is no statement.
            MaintenanceOp::Checkpoint | MaintenanceOp::FailAbandoned => {}
        }
        Ok(changed as u64)
    }
}
