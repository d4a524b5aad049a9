//! What SQLite and the file system report, said so that a person can act on it.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

use super::LedgerError;

/// Why this file cannot serve.
pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> LedgerError {
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
    refuse(path, &what)
}

/// The same for an error of the file system.
pub(super) fn explain_io(path: &Path, doing: &str, error: &io::Error) -> LedgerError {
    refuse(path, &format!("cannot {doing}: {error}"))
}

/// The same for a reason of our own.
pub(super) fn refuse(path: &Path, what: &str) -> LedgerError {
    LedgerError::new(format!("ledger {}: {what}", path.display()))
}

/// Whether an outsider's lock is all there is to it, and the connection stays good.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn every_kind_of_failure_names_the_file_and_what_to_look_at() {
        for (code, says) in [
            (ffi::SQLITE_BUSY, "another program holds its write lock"),
            (ffi::SQLITE_FULL, "disk is full"),
            (ffi::SQLITE_READONLY, "cannot be written"),
            (ffi::SQLITE_CANTOPEN, "cannot be opened"),
            (ffi::SQLITE_CORRUPT, "damaged"),
            (ffi::SQLITE_NOTADB, "damaged"),
            (ffi::SQLITE_IOERR_WRITE, "disk fails"),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let said = explain(Path::new("data/ledger.db"), &error).to_string();
            assert!(said.starts_with("ledger data/ledger.db: ") && said.contains(says), "{code}: {said}");
        }
    }
}
