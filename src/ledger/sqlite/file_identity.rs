//! Detects that the ledger's files were deleted or replaced while they are open. SQLite would go on writing to the
//! deleted files, and everything written would be lost at the next start.

use std::path::{Path, PathBuf};

use super::error::file_error;
use super::lock::with_suffix;
use crate::ledger::LedgerError;

/// The device and inode of a file; `None` if it does not exist.
type Inode = Option<(u64, u64)>;

/// The inodes of the database and its write-ahead log, as they were when the file was opened.
pub(super) struct FileIdentity {
    wal: PathBuf,
    inodes: [Inode; 2],
}

impl FileIdentity {
    /// Reads the identity of the files just opened.
    ///
    /// # Errors
    /// One of the files no longer exists.
    pub(super) fn read(path: &Path) -> Result<Self, LedgerError> {
        let wal = with_suffix(path, "-wal");
        let inodes = [inode(path), inode(&wal)];
        match inodes {
            [Some(_), Some(_)] => Ok(Self { wal, inodes }),
            [None, _] | [_, None] => Err(file_error(path, "it was deleted while it was opened")),
        }
    }

    /// Checks that the paths still name the files that were opened.
    ///
    /// # Errors
    /// One of the files was deleted or replaced.
    pub(super) fn check(&self, path: &Path) -> Result<(), LedgerError> {
        if [inode(path), inode(&self.wal)] == self.inodes {
            return Ok(());
        }
        Err(file_error(path, "it was deleted or replaced while in use, and its records are lost; reopening"))
    }
}

fn inode(path: &Path) -> Inode {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|data| (data.dev(), data.ino()))
}
