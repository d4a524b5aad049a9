//! The maintenance tasks on one opening of the file: deleting expired events, archiving settled ones, checkpoints. They
//! read through a connection of their own. They change rows only by small operations queued with the writer, one at a
//! time, so a claim waits for at most one of them.

use std::time::Duration;

use rusqlite::{Connection, Params, Row};
use tokio::sync::oneshot;

use super::context::MaintenanceContext;
use super::pressure::ARCHIVE_THRESHOLD;
use super::statements::{ArchiveKey, MaintenanceOp, RowVersion};
use crate::clock;
use crate::ledger::LedgerError;
use crate::ledger::millis::millis;
use crate::ledger::sqlite::bloom::BloomFilter;
use crate::ledger::sqlite::checkpoint;
use crate::ledger::sqlite::error::{file_error, sqlite_error};
use crate::ledger::sqlite::index::KeyHash;
use crate::ledger::sqlite::queue::Job;
use crate::ledger::sqlite::schema;

/// The number of newest rows that stay in `events` when older ones are archived.
const ROWS_AFTER_ARCHIVING: usize = ARCHIVE_THRESHOLD / 3;

/// Rows of `events` in one operation. They lie together, so many cost little.
const LOG_CHUNK: usize = 512;

/// The smallest number of rows of `archive` in one operation. Each may be on a page of its own. The larger `events`
/// has grown, the more, so that archiving keeps up with any rate of arrivals.
const MIN_ARCHIVE_CHUNK: usize = 32;

/// The largest number of rows of `archive` in one operation.
const MAX_ARCHIVE_CHUNK: usize = 1024;

/// The longest time by which the clock may be ahead of the newest settlement. A clock that is wrong for a minute, as
/// after a virtual machine's sleep, must not delete everything.
const MAX_CLOCK_ADVANCE: Duration = Duration::from_secs(24 * 60 * 60);

/// The largest number of frames in the write-ahead log that a checkpoint leaves to the writer: 8 MiB.
const MAX_WRITER_FRAMES: u64 = 2048;

/// The largest number of passes of a checkpoint beside the writer. Each copies what was written during the one before.
const MAX_PASSES: usize = 3;

/// Rows of `archive` read in one statement.
const ARCHIVE_SCAN_ROWS: usize = 4096;

/// The tasks on one opening of the file.
pub(super) struct Tasks<'k> {
    context: &'k MaintenanceContext,
    conn: Connection,
    /// The number of this opening. The writer refuses operations of an earlier one.
    epoch: u64,
    /// When the oldest event of the archive was settled, as of the last scan; `i64::MAX` without events. `None` before the
    /// first scan.
    oldest_archived: Option<i64>,
}

impl<'k> Tasks<'k> {
    /// Opens a connection beside the writer's.
    pub(super) fn open(context: &'k MaintenanceContext, epoch: u64) -> Result<Self, LedgerError> {
        let conn = schema::open_beside(&context.path)?;
        Ok(Self { context, conn, epoch, oldest_archived: None })
    }

    /// Deletes events whose retention has passed, and returns their number. It deletes those that were settled within
    /// `advance` of the oldest one, and none without an `advance`. The first scan of the archive always deletes none.
    pub(super) fn sweep(&mut self, advance: Option<Duration>) -> Result<u64, LedgerError> {
        let now = clock::unix_millis();
        let before = match (advance, self.oldest_archived) {
            (Some(advance), Some(oldest_archived)) => self.expired_before(now, advance, oldest_archived)?,
            (None, _) | (_, None) => i64::MIN,
        };
        Ok(self.sweep_log(before, now)? + self.sweep_archive(before)?)
    }

    /// Returns the time before which settled events are deleted now.
    fn expired_before(&self, now: i64, advance: Duration, oldest_archived: i64) -> Result<i64, LedgerError> {
        let settled = "SELECT min(settled), max(settled) FROM events WHERE state IN (2, 3)";
        let settled = self.conn.query_row(settled, [], |row| Ok((row.get(0)?, row.get(1)?)));
        let (oldest, newest): (Option<i64>, Option<i64>) =
            settled.map_err(|e| sqlite_error(&self.context.path, &e))?;
        let now = newest.map_or(now, |newest| now.min(newest.saturating_add(millis(MAX_CLOCK_ADVANCE))));
        let oldest = oldest.unwrap_or(i64::MAX).min(oldest_archived);
        Ok(now.saturating_sub(millis(self.context.retention)).min(oldest.saturating_add(millis(advance))))
    }

    /// Makes abandoned events FAILED.
    pub(super) fn fail_abandoned(&self) -> Result<(), LedgerError> {
        if self.context.pressure.has_inline_runs() {
            self.execute(MaintenanceOp::FailAbandoned)?;
        }
        Ok(())
    }

    /// Rows are in the order of arrival. So a row cannot be settled before an earlier row was seen, whatever a wrong clock has
    /// written.
    fn sweep_log(&mut self, before: i64, now: i64) -> Result<u64, LedgerError> {
        let expired = self.row_versions(
            "SELECT seq, state, attempts, id, endpoint, query, 0 FROM events \
             WHERE state IN (2, 3) AND settled < ?1 AND seq < coalesce(\
             (SELECT seq FROM events WHERE seen >= ?1 AND seen <= ?2 ORDER BY seq LIMIT 1), ?3) ORDER BY seq",
            (before, now, i64::MAX),
        )?;
        let mut deleted = 0;
        for rows in expired.chunks(LOG_CHUNK) {
            deleted += self.execute(MaintenanceOp::Expire { rows: rows.to_vec(), before })?;
        }
        Ok(deleted)
    }

    /// Scans the archive in the order of its keys, deletes expired rows, and builds a new Bloom filter on the way.
    fn sweep_archive(&mut self, before: i64) -> Result<u64, LedgerError> {
        let (mut deleted, mut cursor, mut bloom) = (0, ArchiveKey::default(), BloomFilter::new());
        let mut oldest = i64::MAX;
        loop {
            let (scanned, expired) = self.scan_archive(&mut cursor, before, &mut bloom, &mut oldest)?;
            for keys in expired.chunks(MIN_ARCHIVE_CHUNK) {
                deleted += self.execute(MaintenanceOp::ExpireArchived { keys: keys.to_vec(), before })?;
            }
            if scanned < ARCHIVE_SCAN_ROWS {
                break;
            }
        }
        self.execute(MaintenanceOp::SetBloomFilter(Some(bloom)))?;
        self.oldest_archived = Some(oldest);
        Ok(deleted)
    }

    /// Scans the next rows after `cursor`. Returns how many there were, and the keys of those settled before the time. `oldest`
    /// becomes the time of the oldest of the others.
    fn scan_archive(
        &self,
        cursor: &mut ArchiveKey,
        before: i64,
        bloom: &mut BloomFilter,
        oldest: &mut i64,
    ) -> Result<(usize, Vec<ArchiveKey>), LedgerError> {
        let mut scan = || -> rusqlite::Result<(usize, Vec<ArchiveKey>)> {
            let mut statement = self.conn.prepare_cached(
                "SELECT id, endpoint, query, settled FROM archive WHERE (id, endpoint, query) > (?1, ?2, ?3) \
                 ORDER BY id, endpoint, query LIMIT ?4",
            )?;
            let mut rows =
                statement.query((&cursor.id, &cursor.endpoint, &cursor.query, ARCHIVE_SCAN_ROWS as i64))?;
            let (mut scanned, mut expired) = (0, Vec::new());
            while let Some(row) = rows.next()? {
                scanned += 1;
                bloom.insert(self.hash(row, 0)?);
                let settled: i64 = row.get(3)?;
                let is_expired = settled < before;
                if !is_expired {
                    *oldest = settled.min(*oldest);
                }
                if is_expired || scanned == ARCHIVE_SCAN_ROWS {
                    let key = ArchiveKey { id: row.get(0)?, endpoint: row.get(1)?, query: row.get(2)? };
                    if scanned == ARCHIVE_SCAN_ROWS {
                        *cursor = key.clone();
                    }
                    if is_expired {
                        expired.push(key);
                    }
                }
            }
            Ok((scanned, expired))
        };
        scan().map_err(|e| sqlite_error(&self.context.path, &e))
    }

    /// Checkpoints and archives, if there is enough to do.
    pub(super) fn run(&mut self) -> Result<(), LedgerError> {
        self.checkpoint_if_needed()?;
        self.archive()
    }

    /// Moves the older settled events to the archive. First copies all of them in the order of their keys, so that rows
    /// on one page of the archive are written together. Then deletes them from `events` in the order of that table.
    fn archive(&mut self) -> Result<(), LedgerError> {
        if !self.context.pressure.wants_archiving() {
            return Ok(());
        }
        let mut settled = self.row_versions(
            "SELECT seq, state, attempts, id, endpoint, query, \
             coalesce(max(seen) FILTER (WHERE seen <= ?2) OVER (ORDER BY seq), 0) FROM events \
             WHERE state IN (2, 3) AND seq <= (SELECT max(seq) FROM events) - ?1 ORDER BY id, endpoint, query",
            (ROWS_AFTER_ARCHIVING as i64, clock::unix_millis()),
        )?;
        let mut rest = &settled[..];
        while !rest.is_empty() {
            let chunk = (self.context.pressure.log_rows() / 1024)
                .clamp(MIN_ARCHIVE_CHUNK, MAX_ARCHIVE_CHUNK)
                .min(rest.len());
            let (rows, others) = rest.split_at(chunk);
            self.execute(MaintenanceOp::Archive(rows.to_vec()))?;
            rest = others;
        }
        settled.sort_unstable_by_key(|row| row.seq);
        for rows in settled.chunks(LOG_CHUNK) {
            self.execute(MaintenanceOp::DeleteArchived(rows.to_vec()))?;
        }
        self.context.pressure.record_archived(settled.len());
        Ok(())
    }

    /// Checkpoints in two steps. This thread copies nearly everything beside the writer; the writer then copies what
    /// was committed since, and its write-ahead log restarts. Without the second step, steady load lets it grow forever.
    /// While a reader holds many frames back, the writer is left alone: it could not copy them either.
    pub(super) fn checkpoint(&self) -> Result<(), LedgerError> {
        self.context.pressure.record_checkpoint();
        let mut before = None;
        for _ in 0..MAX_PASSES {
            let progress =
                checkpoint::passive(&self.conn).map_err(|e| sqlite_error(&self.context.path, &e))?;
            if progress.remaining() <= MAX_WRITER_FRAMES {
                break;
            }
            if before.replace(progress.copied()) == Some(progress.copied()) {
                return Ok(());
            }
        }
        self.send(MaintenanceOp::Checkpoint).map(drop)
    }

    fn checkpoint_if_needed(&self) -> Result<(), LedgerError> {
        if self.context.pressure.wants_checkpoint() { self.checkpoint() } else { Ok(()) }
    }

    /// Has the writer run an operation, then checkpoints if needed: the operations themselves fill the write-ahead log.
    fn execute(&self, op: MaintenanceOp) -> Result<u64, LedgerError> {
        let rows = self.send(op)?;
        self.checkpoint_if_needed()?;
        Ok(rows)
    }

    fn send(&self, op: MaintenanceOp) -> Result<u64, LedgerError> {
        let (reply_tx, reply) = oneshot::channel();
        self.context.queue.push(Job::Maintain { op, epoch: self.epoch, reply_tx });
        reply.blocking_recv().unwrap_or_else(|_| Err(file_error(&self.context.path, "its writer stopped")))
    }

    fn row_versions(&self, sql: &str, parameters: impl Params) -> Result<Vec<RowVersion>, LedgerError> {
        let read = || -> rusqlite::Result<Vec<RowVersion>> {
            let mut statement = self.conn.prepare_cached(sql)?;
            let versions = statement.query_map(parameters, |row| {
                Ok(RowVersion {
                    seq: row.get(0)?,
                    state: row.get(1)?,
                    attempts: row.get(2)?,
                    hash: self.hash(row, 3)?,
                    settled_after: row.get(6)?,
                })
            })?;
            versions.collect()
        };
        read().map_err(|e| sqlite_error(&self.context.path, &e))
    }

    /// Hashes the key in three columns, the first of which is `column`: id, endpoint, query.
    fn hash(&self, row: &Row<'_>, column: usize) -> rusqlite::Result<KeyHash> {
        let text = |column| -> rusqlite::Result<&str> { Ok(row.get_ref(column)?.as_str()?) };
        Ok(self.context.hasher.hash(text(column)?, text(column + 1)?, text(column + 2)?))
    }
}
