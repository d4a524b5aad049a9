//! The housekeeping in one opening of the file: forgetting what was settled long ago, moving settled events from the
//! log to the archive, checkpoints. It reads through its own connection and changes rows only by small chores that it
//! queues with the writer, one at a time, so that no claim waits for more than one of them.

use std::time::Duration;

use rusqlite::{Connection, Row};
use tokio::sync::oneshot;

use super::LedgerError;
use super::fault::{explain, refuse};
use super::filter::BloomFilter;
use super::index::KeyHash;
use super::keeper::Keeper;
use super::mess::LOG_MOST;
use super::queue::{ArchiveKey, Chore, Job, Version};
use super::schema;
use crate::clock;

/// How many of the newest events stay in the log then.
const LOG_KEEP: usize = LOG_MOST / 3;

/// Rows of the log that a chore works on: they lie together.
const LOG_CHUNK: usize = 512;

/// Rows of the archive that a chore works on: each may lie on a page of its own. The longer the log has grown
/// meanwhile, the more, so that archiving keeps up with whatever comes in.
const ARCHIVE_CHUNK: usize = 32;

/// The most of them.
const ARCHIVE_CHUNK_MOST: usize = 1024;

/// A clock that is further ahead than this of the last settlement is not believed: one that was wrong for a minute, after
/// a virtual machine's sleep say, must not forget everything.
const BELIEVED: Duration = Duration::from_secs(24 * 60 * 60);

/// Rows of the archive looked at in one read.
const WALK: usize = 4096;

/// The keeper in one opening of the file.
pub(super) struct House<'k> {
    keeper: &'k Keeper,
    conn: Connection,
    epoch: u64,
}

impl<'k> House<'k> {
    pub(super) fn enter(keeper: &'k Keeper, epoch: u64) -> Result<Self, LedgerError> {
        Ok(Self { keeper, conn: schema::open_beside(&keeper.path)?, epoch })
    }

    /// Forgets what has expired, and returns how many events that were.
    pub(super) fn sweep(&mut self) -> Result<u64, LedgerError> {
        let now = millis(clock::unix());
        let newest = "SELECT max(settled) FROM events WHERE state IN (2, 3)";
        let newest: rusqlite::Result<Option<i64>> = self.conn.query_row(newest, [], |row| row.get(0));
        let newest = newest.map_err(|e| explain(&self.keeper.path, &e))?;
        let now = newest.map_or(now, |newest| now.min(newest.saturating_add(millis(BELIEVED))));
        let before = now.saturating_sub(millis(self.keeper.retention));
        Ok(self.sweep_log(before)? + self.sweep_archive(before)?)
    }

    fn sweep_log(&mut self, before: i64) -> Result<u64, LedgerError> {
        let expired = self.versions(
            "SELECT seq, state, attempts, id, endpoint, query FROM events \
             WHERE state IN (2, 3) AND settled < ?1 ORDER BY seq",
            before,
        )?;
        let mut swept = 0;
        for versions in expired.chunks(LOG_CHUNK) {
            swept += self.chore(Chore::Forget { versions: versions.to_vec(), before })?;
        }
        Ok(swept)
    }

    /// Walks the archive in the order of its keys, and learns what it holds on the way.
    fn sweep_archive(&mut self, before: i64) -> Result<u64, LedgerError> {
        let (mut swept, mut at, mut filter) = (0, ArchiveKey::default(), BloomFilter::new());
        loop {
            let (read, expired) = self.walk(&mut at, before, &mut filter)?;
            for keys in expired.chunks(ARCHIVE_CHUNK) {
                swept += self.chore(Chore::ForgetArchived { keys: keys.to_vec(), before })?;
            }
            if read < WALK {
                break;
            }
        }
        self.chore(Chore::Filter(Some(filter)))?;
        Ok(swept)
    }

    /// Reads on from `at`: how many rows there were, and the keys of those settled before.
    fn walk(
        &self,
        at: &mut ArchiveKey,
        before: i64,
        filter: &mut BloomFilter,
    ) -> Result<(usize, Vec<ArchiveKey>), LedgerError> {
        let mut walk = || -> rusqlite::Result<(usize, Vec<ArchiveKey>)> {
            let mut statement = self.conn.prepare_cached(
                "SELECT id, endpoint, query, settled FROM archive WHERE (id, endpoint, query) > (?1, ?2, ?3) \
                 ORDER BY id, endpoint, query LIMIT ?4",
            )?;
            let mut rows = statement.query((&at.id, &at.endpoint, &at.query, WALK as i64))?;
            let (mut read, mut expired) = (0, Vec::new());
            while let Some(row) = rows.next()? {
                read += 1;
                filter.add(self.hash(row, 0)?);
                let is_expired = row.get::<_, i64>(3)? < before;
                if is_expired || read == WALK {
                    let key = ArchiveKey { id: row.get(0)?, endpoint: row.get(1)?, query: row.get(2)? };
                    if read == WALK {
                        *at = key.clone();
                    }
                    if is_expired {
                        expired.push(key);
                    }
                }
            }
            Ok((read, expired))
        };
        walk().map_err(|e| explain(&self.keeper.path, &e))
    }

    /// Checkpoints and archives, if there is enough to do.
    pub(super) fn tidy(&mut self) -> Result<(), LedgerError> {
        self.checkpoint()?;
        self.archive()
    }

    /// Moves the older settled events of a full log to the archive. First all of them are copied, in the order of
    /// their keys, so that those which fall on one page of the archive are written together; then they are removed
    /// in the order of the log.
    fn archive(&mut self) -> Result<(), LedgerError> {
        if !self.keeper.mess.wants_archiving() {
            return Ok(());
        }
        let mut settled = self.versions(
            "SELECT seq, state, attempts, id, endpoint, query FROM events \
             WHERE state IN (2, 3) AND seq <= (SELECT max(seq) FROM events) - ?1 ORDER BY id, endpoint, query",
            LOG_KEEP as i64,
        )?;
        let mut rest = &settled[..];
        while !rest.is_empty() {
            let chunk =
                (self.keeper.mess.log() / 1024).clamp(ARCHIVE_CHUNK, ARCHIVE_CHUNK_MOST).min(rest.len());
            let (versions, others) = rest.split_at(chunk);
            self.chore(Chore::Archive(versions.to_vec()))?;
            rest = others;
        }
        settled.sort_unstable_by_key(|version| version.seq);
        for versions in settled.chunks(LOG_CHUNK) {
            self.chore(Chore::Prune(versions.to_vec()))?;
        }
        self.keeper.mess.archived(settled.len());
        Ok(())
    }

    /// Copies what was committed into the file proper, beside the writer; the writer then copies the little that
    /// came meanwhile and begins its log of writes anew, which would otherwise grow for as long as claims come in.
    fn checkpoint(&self) -> Result<(), LedgerError> {
        if !self.keeper.mess.wants_checkpoint() {
            return Ok(());
        }
        self.keeper.mess.checkpointed();
        self.conn
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
            .map_err(|e| explain(&self.keeper.path, &e))?;
        self.send(Chore::Checkpoint).map(drop)
    }

    /// Has the writer do it, and keeps the log of writes short meanwhile.
    fn chore(&self, chore: Chore) -> Result<u64, LedgerError> {
        let rows = self.send(chore)?;
        self.checkpoint()?;
        Ok(rows)
    }

    fn send(&self, chore: Chore) -> Result<u64, LedgerError> {
        let (answer, answered) = oneshot::channel();
        self.keeper.queue.push(Job::Chore { chore, epoch: self.epoch, answer });
        answered.blocking_recv().unwrap_or_else(|_| Err(refuse(&self.keeper.path, "its writer stopped")))
    }

    fn versions(&self, sql: &str, parameter: i64) -> Result<Vec<Version>, LedgerError> {
        let read = || -> rusqlite::Result<Vec<Version>> {
            let mut statement = self.conn.prepare_cached(sql)?;
            let versions = statement.query_map([parameter], |row| {
                Ok(Version {
                    seq: row.get(0)?,
                    state: row.get(1)?,
                    attempts: row.get(2)?,
                    hash: self.hash(row, 3)?,
                })
            })?;
            versions.collect()
        };
        read().map_err(|e| explain(&self.keeper.path, &e))
    }

    /// The hash of the key in this column and the two after it.
    fn hash(&self, row: &Row<'_>, column: usize) -> rusqlite::Result<KeyHash> {
        let text = |column| -> rusqlite::Result<&str> { Ok(row.get_ref(column)?.as_str()?) };
        Ok(self.keeper.hasher.hash(text(column)?, text(column + 1)?, text(column + 2)?))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
