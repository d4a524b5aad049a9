//! The locks of a ledger. A process holds [`ProcessLock`] while the ledger is open. In a restart with two processes, the
//! new one waits until the old one has closed the ledger. [`AcceptLock`] says which of the two accepts connections. The
//! kernel releases a lock when its process dies, however it dies.
//!
//! The file of [`ProcessLock`] also holds the marker of the ledger that was opened last. It shows at the next opening
//! whether the ledger was deleted or replaced in between.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::{file_error, io_error};
use crate::ledger::LedgerError;

/// The exclusive lock on a ledger, held until dropped.
#[derive(Debug)]
pub(super) struct ProcessLock {
    file: File,
}

/// The length of a marker: 16 hexadecimal digits.
const MARKER_LENGTH: usize = 16;

impl ProcessLock {
    /// Locks `<path>.lock` for the ledger at `path`, and creates the directory if it is missing.
    ///
    /// # Errors
    /// Another process holds the lock, or the file cannot be created.
    pub(super) fn acquire(path: &Path) -> Result<Self, LedgerError> {
        match try_lock(path, &lock_file(path))? {
            Some(file) => Ok(Self { file }),
            None => {
                Err(file_error(path, "held by another process; waiting until that process has closed it"))
            }
        }
    }

    /// Returns the marker in the lock file; `None` if it holds no whole one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn marker(&self) -> io::Result<Option<String>> {
        let mut bytes = [0; MARKER_LENGTH];
        match self.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(String::from_utf8(bytes.into()).ok()),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes the marker into the lock file, through to the disk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn set_marker(&self, marker: &str) -> io::Result<()> {
        self.file.write_all_at(marker.as_bytes(), 0)?;
        self.file.sync_all()
    }
}

/// The right to accept connections for a ledger from sockets that several processes share. Held until dropped.
#[derive(Debug)]
pub(crate) struct AcceptLock {
    _file: File,
}

impl AcceptLock {
    /// Locks `<path>.accept` for the ledger at `path`. Returns `None` while another process holds it.
    ///
    /// # Errors
    /// The file cannot be created or locked.
    pub(crate) fn try_acquire(path: &Path) -> Result<Option<Self>, LedgerError> {
        Ok(try_lock(path, &with_suffix(path, ".accept"))?.map(|file| Self { _file: file }))
    }
}

/// Locks a file of the ledger at `path`. Returns `None` while another process holds the lock.
fn try_lock(path: &Path, lock_file: &Path) -> Result<Option<File>, LedgerError> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|e| io_error(path, "create its directory", &e))?;
    }
    // The lock file is never deleted: a new file of the same name could be locked by a second process.
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(lock_file)
        .map_err(|e| io_error(path, "open its lock file", &e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(io_error(path, "lock it", &e)),
    }
}

/// The lock file of the ledger at `path`: it is locked while a process has the ledger open.
pub(crate) fn lock_file(path: &Path) -> PathBuf {
    with_suffix(path, ".lock")
}

/// Returns true if a running program holds the lock of the ledger at `path`.
///
/// # Errors
/// The lock file cannot be opened or locked.
pub(crate) fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match File::open(lock_file(path)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // A shared lock: two probes at the same time must not take each other for a running program.
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The path with a suffix appended to its file name: `ledger.db` → `ledger.db.lock`, `ledger.db-wal`.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
