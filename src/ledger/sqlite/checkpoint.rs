//! Checkpoints of the write-ahead log: what one has copied, and how the log is cut once all of it is copied. Nothing here
//! waits for a reader.

use std::time::Duration;

use rusqlite::{Connection, Result};

use super::schema::{BUSY_TIMEOUT, WAL_SIZE_LIMIT};

/// The size of a frame in the log: a page, and a header of 24 bytes.
const FRAME_BYTES: u64 = 4096 + 24;

/// The frames in the log after a checkpoint. Both numbers are 0 while another connection checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CheckpointProgress {
    frames: u64,
    copied: u64,
}

impl CheckpointProgress {
    /// The number of frames that are only in the log. A reader that began before they were written keeps them there.
    pub(super) fn remaining(self) -> u64 {
        self.frames.saturating_sub(self.copied)
    }

    /// The number of frames that the database has too.
    pub(super) fn copied(self) -> u64 {
        self.copied
    }
}

/// Copies what it can to the database, without waiting for readers.
pub(super) fn passive(conn: &Connection) -> Result<CheckpointProgress> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let (frames, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
        let count = |frames| u64::try_from(frames).unwrap_or_default();
        Ok(CheckpointProgress { frames: count(frames), copied: count(copied) })
    })
}

/// Completes a checkpoint on the writer's connection, outside of a transaction. A log that has grown beyond
/// [`WAL_SIZE_LIMIT`] is cut at once, unless a reader still uses it.
pub(super) fn complete(conn: &Connection) -> Result<()> {
    let progress = passive(conn)?;
    if progress.remaining() > 0 || progress.frames * FRAME_BYTES <= WAL_SIZE_LIMIT {
        return Ok(());
    }
    // The busy handler would make every claim wait for a reader.
    conn.busy_timeout(Duration::ZERO)?;
    let cut = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    conn.busy_timeout(BUSY_TIMEOUT)?;
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::sqlite::schema;

    #[test]
    fn a_log_beyond_the_limit_is_cut_once_no_reader_uses_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.db");
        let wal = || std::fs::metadata(dir.path().join("l.db-wal")).unwrap().len();
        let (writer, reader) = (schema::open(&path).unwrap(), schema::open_beside(&path).unwrap());
        writer.execute_batch("CREATE TABLE ballast (bytes BLOB)").unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM ballast").unwrap();
        writer.execute("INSERT INTO ballast VALUES (zeroblob(?1))", [WAL_SIZE_LIMIT as i64 + 1]).unwrap();
        assert!(passive(&writer).unwrap().remaining() > 0);
        complete(&writer).unwrap();
        assert!(wal() > WAL_SIZE_LIMIT, "a reader uses it");

        // A reader that begins now needs every frame. They can be copied, but not cut.
        reader.execute_batch("COMMIT; BEGIN; SELECT count(*) FROM ballast").unwrap();
        complete(&writer).unwrap();
        assert_eq!(passive(&writer).unwrap().remaining(), 0);
        assert!(wal() > WAL_SIZE_LIMIT, "a reader uses it");

        reader.execute_batch("COMMIT").unwrap();
        complete(&writer).unwrap();
        assert_eq!(wal(), 0);
    }
}
