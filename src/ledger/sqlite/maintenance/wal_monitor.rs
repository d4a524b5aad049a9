//! Watches the size of the write-ahead log and the room on its disk, for the metrics. A log that only grows is
//! checkpointed again and again, and the log of the program says once which process prevents it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::lock_holders::{self, LockHolder};
use super::session::MaintenanceSession;
use crate::ledger::LedgerError;
use crate::ledger::sqlite::lock::with_suffix;
use crate::ledger::sqlite::schema::WAL_SIZE_LIMIT;
use crate::metrics::Metrics;

/// The time between two looks at the files.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The size in bytes of a write-ahead log that is worth a warning. `CountersignLedgerWalLarge` has the same.
const MAX_WAL_SIZE: u64 = 256 << 20;

/// The monitor of one ledger's files.
pub(super) struct WalMonitor {
    path: PathBuf,
    wal: PathBuf,
    metrics: Arc<Metrics>,
    /// The warning was logged, and the log has not been cut since.
    warned: bool,
}

impl WalMonitor {
    /// A monitor of the ledger at `path`.
    pub(super) fn new(path: PathBuf, metrics: Arc<Metrics>) -> Self {
        Self { wal: with_suffix(&path, "-wal"), path, metrics, warned: false }
    }

    /// Measures the files, and checkpoints if the write-ahead log is larger than SQLite leaves it by itself.
    pub(super) fn check(&mut self, session: &mut MaintenanceSession<'_>) -> Result<(), LedgerError> {
        let mut size = self.measure();
        if size > WAL_SIZE_LIMIT {
            session.open()?.checkpoint()?;
            size = self.measure();
        }
        if size > MAX_WAL_SIZE && !self.warned {
            self.warned = true;
            self.warn(size);
        }
        if size <= WAL_SIZE_LIMIT && self.warned {
            self.warned = false;
            tracing::info!(
                ledger = %self.path.display(), wal_bytes = size, "write-ahead log of the SQLite ledger is small again"
            );
        }
        Ok(())
    }

    /// Sets the gauges, and returns the size of the write-ahead log in bytes. What cannot be read stays as it was: the
    /// writer reports a missing file.
    fn measure(&self) -> u64 {
        let size = std::fs::metadata(&self.wal).map(|file| file.len());
        if let Ok(size) = size {
            self.metrics.set_ledger_wal(size);
        }
        if let Ok(disk) = rustix::fs::statvfs(&self.path) {
            self.metrics.set_ledger_disk_free(disk.f_bavail * disk.f_frsize);
        }
        size.unwrap_or_default()
    }

    fn warn(&self, wal_bytes: u64) {
        let holders = lock_holders::of_read_locks(&with_suffix(&self.path, "-shm"));
        let ledger = self.path.display();
        if holders.is_empty() {
            tracing::warn!(
                %ledger, wal_bytes,
                "write-ahead log of the SQLite ledger cannot be checkpointed, and grows: a program that cannot be seen \
                 from here holds a read transaction on the file (a backup, an open sqlite3 shell), or the disk is too \
                 slow; end that transaction"
            );
        } else {
            let holders: Vec<_> = holders.iter().map(LockHolder::to_string).collect();
            tracing::warn!(
                %ledger, wal_bytes, holders = holders.join(", "),
                "write-ahead log of the SQLite ledger cannot be checkpointed, and grows: another program holds a read \
                 transaction on the file (a backup, an open sqlite3 shell); end that transaction"
            );
        }
    }
}
