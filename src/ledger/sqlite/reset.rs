//! Detects that the ledger was deleted or replaced, while the program ran or between two runs: compares the marker in
//! the file with the one that the lock file has kept.

use std::path::Path;

use rusqlite::Connection;

use super::error::{io_error, sqlite_error};
use super::lock::ProcessLock;
use super::schema;
use crate::ledger::LedgerError;

/// Returns whether the file that was just opened is another one than the last that was opened under this lock, and has
/// the lock file keep its marker from now on. A lock file without a marker is new, as is its ledger then.
///
/// # Errors
/// The marker cannot be read or kept.
pub(super) fn is_another_file(
    path: &Path,
    conn: &Connection,
    lock: &ProcessLock,
) -> Result<bool, LedgerError> {
    let marker = schema::marker(conn).map_err(|e| sqlite_error(path, &e))?;
    let known = lock.marker().map_err(|e| io_error(path, "read its lock file", &e))?;
    if known.as_ref() == Some(&marker) {
        return Ok(false);
    }
    lock.set_marker(&marker).map_err(|e| io_error(path, "write its lock file", &e))?;
    Ok(known.is_some())
}
