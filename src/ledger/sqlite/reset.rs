//! Detects that the ledger was deleted or replaced, while the program ran or between two runs: compares the marker in
//! the file with the one that the lock file has kept.

use std::path::Path;

use super::error::io_error;
use super::lock::ProcessLock;
use crate::ledger::LedgerError;

/// Returns whether the file that was just opened, which has this marker, is another one than the last that was opened
/// under this lock. The lock file keeps the marker from now on. A lock file without a marker is new, as is its ledger then.
///
/// # Errors
/// The lock file cannot be read or written.
pub(super) fn is_another_file(path: &Path, marker: &str, lock: &ProcessLock) -> Result<bool, LedgerError> {
    let known = lock.marker().map_err(|e| io_error(path, "read its lock file", &e))?;
    if known.as_deref() == Some(marker) {
        return Ok(false);
    }
    lock.set_marker(marker).map_err(|e| io_error(path, "write its lock file", &e))?;
    Ok(known.is_some())
}
