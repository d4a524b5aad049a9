//! Errors of SQLite and the file system, as a [`LedgerError`] that names the file and what an operator can do.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

use crate::ledger::LedgerError;

/// The reason why SQLite cannot serve this file.
pub(super) fn sqlite_error(path: &Path, error: &rusqlite::Error) -> LedgerError {
    let what = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program holds its write lock (a backup, a shell)".to_owned()
        }
        Some(ErrorCode::DiskFull) => "its disk is full".to_owned(),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            format!("the file or its directory cannot be written ({error})")
        }
        Some(ErrorCode::CannotOpen) => format!("it cannot be opened ({error})"),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            format!("it is damaged ({error}); restore it, or move it away to start with an empty one")
        }
        Some(ErrorCode::SystemIoFailure) => format!("its disk fails ({error})"),
        _ => error.to_string(),
    };
    file_error(path, &what)
}

/// The reason why the file system cannot serve this ledger. `action` completes "cannot …".
pub(super) fn io_error(path: &Path, action: &str, error: &io::Error) -> LedgerError {
    file_error(path, &format!("cannot {action}: {error}"))
}

/// An error about this ledger file in our own words.
pub(super) fn file_error(path: &Path, what: &str) -> LedgerError {
    LedgerError::new(format!("ledger {}: {what}", path.display()))
}

/// Whether another program's lock is the only cause. The connection stays usable then.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn every_kind_of_failure_names_the_file_and_the_cause() {
        for (code, expected) in [
            (ffi::SQLITE_BUSY, "another program holds its write lock"),
            (ffi::SQLITE_FULL, "disk is full"),
            (ffi::SQLITE_READONLY, "cannot be written"),
            (ffi::SQLITE_CANTOPEN, "cannot be opened"),
            (ffi::SQLITE_CORRUPT, "damaged"),
            (ffi::SQLITE_NOTADB, "damaged"),
            (ffi::SQLITE_IOERR_WRITE, "disk fails"),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let text = sqlite_error(Path::new("data/ledger.db"), &error).to_string();
            assert!(text.starts_with("ledger data/ledger.db: ") && text.contains(expected), "{code}: {text}");
        }
    }
}
