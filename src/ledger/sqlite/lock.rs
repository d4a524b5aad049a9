//! The lock that a process holds on a ledger for its whole life. In a rolling restart on one volume, the new process
//! waits until the old one ends. The kernel releases the lock when the process dies, however it dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::error::{file_error, io_error};
use crate::ledger::LedgerError;

/// The exclusive lock on a ledger, held until dropped.
#[derive(Debug)]
pub(super) struct ProcessLock {
    _file: File,
}

impl ProcessLock {
    /// Locks `<path>.lock` for the ledger at `path`, and creates the directory if it is missing.
    ///
    /// # Errors
    /// Another process holds the lock, or the file cannot be created.
    pub(super) fn acquire(path: &Path) -> Result<Self, LedgerError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|e| io_error(path, "create its directory", &e))?;
        }
        // The lock file is never deleted: a new file of the same name could be locked by a second process.
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(lock_file(path))
            .map_err(|e| io_error(path, "open its lock file", &e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(file_error(path, "held by another process; waiting until that process ends"))
            }
            Err(TryLockError::Error(e)) => Err(io_error(path, "lock it", &e)),
        }
    }
}

/// The lock file of the ledger at `path`: it is locked while a process has the ledger open.
pub(crate) fn lock_file(path: &Path) -> PathBuf {
    with_suffix(path, ".lock")
}

/// The path with a suffix appended to its file name: `ledger.db` → `ledger.db.lock`, `ledger.db-wal`.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
