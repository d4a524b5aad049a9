//! The lock that a process holds on the ledger for its life, so that in a rolling restart on one volume the new
//! process waits until the old one is gone. The kernel drops it when the process dies, however it dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::LedgerError;
use super::fault::{explain_io, refuse};

/// Held until dropped.
#[derive(Debug)]
pub(super) struct LifeLock {
    _file: File,
}

impl LifeLock {
    /// Takes the lock on the ledger at `path`, which is `<path>.lock`; makes the directory if it is missing.
    ///
    /// # Errors
    /// Another process holds it, or the file cannot be made.
    pub(super) fn take(path: &Path) -> Result<Self, LedgerError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|e| explain_io(path, "create its directory", &e))?;
        }
        // Never removed: whoever deleted it would let two processes lock two files of one name.
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(lock_file(path))
            .map_err(|e| explain_io(path, "open its lock file", &e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(refuse(path, "held by another process; waiting for it to go"))
            }
            Err(TryLockError::Error(e)) => Err(explain_io(path, "lock it", &e)),
        }
    }
}

/// The file whose lock says that the ledger at `path` is open.
pub(crate) fn lock_file(path: &Path) -> PathBuf {
    beside(path, ".lock")
}

/// The file of this name with something appended: `ledger.db` → `ledger.db.lock`, `ledger.db-wal`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
