//! Counters shared by the writer and the maintenance thread that decide when to checkpoint or archive. Relaxed ordering
//! is enough: a stale value only shifts maintenance by one group.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The number of rows in `events` above which settled ones are archived. An index of this size fits in 2 MiB.
pub(super) const ARCHIVE_THRESHOLD: usize = 56 * 1024;

/// The number of rows written since the last checkpoint above which the next one starts: a few MiB.
const CHECKPOINT_THRESHOLD: usize = 8 * 1024;

/// The shared counters.
#[derive(Debug)]
pub(in crate::ledger::sqlite) struct MaintenancePressure {
    /// Rows written since the last checkpoint. The writer adds, a checkpoint resets.
    unwritten: AtomicUsize,
    /// Rows in `events`. The writer sets it after each group.
    log_rows: AtomicUsize,
    /// The number of rows above which archiving starts. Raised where most rows cannot be archived.
    log_limit: AtomicUsize,
    /// RUNNING rows without a payload. The writer sets it after each group.
    inline_runs: AtomicUsize,
    /// The maintenance thread was notified and has not started yet.
    notified: AtomicBool,
}

impl Default for MaintenancePressure {
    fn default() -> Self {
        Self {
            unwritten: 0.into(),
            log_rows: 0.into(),
            log_limit: ARCHIVE_THRESHOLD.into(),
            inline_runs: 0.into(),
            notified: false.into(),
        }
    }
}

impl MaintenancePressure {
    /// Records a group of the writer's: the rows it wrote, and the rows in `events` now. Returns true if the
    /// maintenance thread is to be notified.
    pub(in crate::ledger::sqlite) fn record_writes(&self, rows: usize, log_rows: usize) -> bool {
        self.unwritten.fetch_add(rows, Ordering::Relaxed);
        self.log_rows.store(log_rows, Ordering::Relaxed);
        (self.wants_checkpoint() || self.wants_archiving()) && !self.notified.swap(true, Ordering::Relaxed)
    }

    /// Records how many RUNNING rows have no payload now.
    pub(in crate::ledger::sqlite) fn record_inline_runs(&self, runs: usize) {
        self.inline_runs.store(runs, Ordering::Relaxed);
    }

    /// Whether any event may be abandoned.
    pub(super) fn has_inline_runs(&self) -> bool {
        self.inline_runs.load(Ordering::Relaxed) > 0
    }

    /// Marks that the maintenance thread has started, so that the next notification can be sent.
    pub(super) fn acknowledge(&self) {
        self.notified.store(false, Ordering::Relaxed);
    }

    /// The number of rows in `events`.
    pub(super) fn log_rows(&self) -> usize {
        self.log_rows.load(Ordering::Relaxed)
    }

    /// Whether enough was written for a checkpoint.
    pub(super) fn wants_checkpoint(&self) -> bool {
        self.unwritten.load(Ordering::Relaxed) > CHECKPOINT_THRESHOLD
    }

    /// Starts counting for the next checkpoint.
    pub(super) fn record_checkpoint(&self) {
        self.unwritten.store(0, Ordering::Relaxed);
    }

    /// Whether `events` is large enough to archive from.
    pub(super) fn wants_archiving(&self) -> bool {
        self.log_rows() > self.log_limit.load(Ordering::Relaxed)
    }

    /// Records how many rows were archived. If there were few, most rows are unsettled, and archiving again makes no
    /// sense before the table has grown.
    pub(super) fn record_archived(&self, rows: usize) {
        let limit = if rows >= ARCHIVE_THRESHOLD / 4 {
            ARCHIVE_THRESHOLD
        } else {
            ARCHIVE_THRESHOLD.max(self.log_rows() + ARCHIVE_THRESHOLD / 2)
        };
        self.log_limit.store(limit, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maintenance_thread_is_notified_once_until_it_has_started() {
        let pressure = MaintenancePressure::default();
        assert!(!pressure.record_writes(CHECKPOINT_THRESHOLD, 0));
        assert!(pressure.record_writes(1, 0));
        assert!(!pressure.record_writes(1, 0));
        pressure.acknowledge();
        assert!(pressure.record_writes(1, 0));
        pressure.acknowledge();
        pressure.record_checkpoint();
        assert!(!pressure.record_writes(1, 0));
    }

    #[test]
    fn a_log_without_rows_to_archive_is_left_alone_until_it_has_grown() {
        let pressure = MaintenancePressure::default();
        pressure.record_writes(0, ARCHIVE_THRESHOLD + 1);
        assert!(pressure.wants_archiving());
        pressure.record_archived(0);
        assert!(!pressure.wants_archiving());
        pressure.record_writes(0, 2 * ARCHIVE_THRESHOLD);
        assert!(pressure.wants_archiving());
        pressure.record_archived(ARCHIVE_THRESHOLD);
        pressure.record_writes(0, ARCHIVE_THRESHOLD);
        assert!(!pressure.wants_archiving());
    }
}
