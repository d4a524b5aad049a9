//! What a file holds, read beside a running program or without one. It never takes the ledger's lock, and changes nothing.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::SqliteLedger;
use super::error::{file_error, sqlite_error};
use super::reader::with_connection;
use super::schema;
use crate::ledger::LedgerError;
use crate::ledger::stats::{LedgerStats, StateStats};

const EVENTS: &str = "
    SELECT endpoint, state, count(*), min(seen), max(seen), coalesce(sum(length(head) + length(body)), 0)
    FROM events LEFT JOIN payloads USING (seq) GROUP BY endpoint, state";
const ARCHIVE: &str =
    "SELECT endpoint, state, count(*), min(seen), max(seen), 0 FROM archive GROUP BY endpoint, state";

impl SqliteLedger {
    /// Counts the records in the file at `path`. Blocks: it reads every record.
    ///
    /// # Errors
    /// There is no such file, or it is no ledger.
    pub fn stats(path: &Path) -> Result<LedgerStats, LedgerError> {
        require_ledger(path)?;
        with_connection(path, |conn| {
            let mut stats = LedgerStats::default();
            for sql in [EVENTS, ARCHIVE] {
                let mut statement = conn.prepare(sql)?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    stats.add(StateStats {
                        endpoint: row.get(0)?,
                        state: row.get(1)?,
                        records: row.get::<_, i64>(2)?.unsigned_abs(),
                        seen: (row.get(3)?, row.get(4)?),
                        stored_bytes: row.get::<_, i64>(5)?.unsigned_abs(),
                    });
                }
            }
            Ok(stats)
        })
    }

    /// Whether the file at `path` is a ledger that holds a record. Blocks.
    ///
    /// # Errors
    /// There is no such file, or it is no ledger.
    pub fn holds_records(path: &Path) -> Result<bool, LedgerError> {
        require_ledger(path)?;
        with_connection(path, |conn: &Connection| {
            let sql = "SELECT EXISTS (SELECT 1 FROM events) OR EXISTS (SELECT 1 FROM archive)";
            conn.query_row(sql, [], |row| row.get(0))
        })
    }
}

/// Checks that a ledger exists, before SQLite would open another program's file.
fn require_ledger(path: &Path) -> Result<(), LedgerError> {
    if !path.exists() {
        return Err(file_error(path, "there is no such file"));
    }
    // A connection of the ledger's own would change the settings of another program's file.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
        .and_then(|conn| schema::is_ledger(&conn))
        .map_err(|error| sqlite_error(path, &error))?
        .then_some(())
        .ok_or_else(|| file_error(path, "it is not a ledger of this version of Countersign"))
}
