//! The sizes of an SQLite ledger's files, and the room on its disk. Both gauges are absent on other ledgers.

use prometheus::{IntGaugeVec, Opts, Registry};

use super::families;

/// The gauges. A vector without labels has no series before it is set.
pub(super) struct LedgerFiles {
    wal: IntGaugeVec,
    disk_free: IntGaugeVec,
}

impl LedgerFiles {
    /// Registers both families.
    pub(super) fn new(registry: &Registry) -> Self {
        let gauge = |name, help| families::register(registry, IntGaugeVec::new(Opts::new(name, help), &[]));
        Self {
            wal: gauge("countersign_ledger_wal_bytes", "Size of the SQLite ledger's write-ahead log."),
            disk_free: gauge(
                "countersign_ledger_disk_free_bytes",
                "Free room on the disk of the SQLite ledger, as far as this user may use it.",
            ),
        }
    }

    /// Sets the size of the write-ahead log, in bytes.
    pub(super) fn set_wal(&self, bytes: u64) {
        set(&self.wal, bytes);
    }

    /// Sets the free room on the disk, in bytes.
    pub(super) fn set_disk_free(&self, bytes: u64) {
        set(&self.disk_free, bytes);
    }
}

fn set(gauge: &IntGaugeVec, bytes: u64) {
    gauge.with_label_values::<&str>(&[]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
}
