//! How much there is to tidy, by counters that writer and keeper share. Relaxed all of them: a number that is a moment
//! old only makes the keeper come a group earlier or later.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Events in the log from which on the older of them are archived. The index of so many fits in 2 MiB.
pub(super) const LOG_MOST: usize = 56 * 1024;

/// Rows written since the last checkpoint from which on there is another: a few MiB.
const CHECKPOINT_AFTER: usize = 8 * 1024;

#[derive(Debug)]
pub(super) struct Mess {
    /// Rows written since the last checkpoint.
    unwritten: AtomicUsize,
    /// Events in the log.
    log: AtomicUsize,
    /// Events in the log from which on it is to be archived. More than usual where most of it cannot be.
    log_limit: AtomicUsize,
    /// The keeper was told and has not begun yet.
    told: AtomicBool,
}

impl Default for Mess {
    fn default() -> Self {
        Self { unwritten: 0.into(), log: 0.into(), log_limit: LOG_MOST.into(), told: false.into() }
    }
}

impl Mess {
    /// The writer has written so many rows, and the log holds so many events. True if the keeper is to be told.
    pub(super) fn made(&self, rows: usize, log: usize) -> bool {
        self.unwritten.fetch_add(rows, Ordering::Relaxed);
        self.log.store(log, Ordering::Relaxed);
        (self.wants_checkpoint() || self.wants_archiving()) && !self.told.swap(true, Ordering::Relaxed)
    }

    /// The keeper begins, and may be told again.
    pub(super) fn seen_to(&self) {
        self.told.store(false, Ordering::Relaxed);
    }

    pub(super) fn log(&self) -> usize {
        self.log.load(Ordering::Relaxed)
    }

    pub(super) fn wants_checkpoint(&self) -> bool {
        self.unwritten.load(Ordering::Relaxed) > CHECKPOINT_AFTER
    }

    pub(super) fn checkpointed(&self) {
        self.unwritten.store(0, Ordering::Relaxed);
    }

    pub(super) fn wants_archiving(&self) -> bool {
        self.log() > self.log_limit.load(Ordering::Relaxed)
    }

    /// So many events were taken out of the log. Where little could be, much is not settled, and there is no use in
    /// coming back before the log has grown.
    pub(super) fn archived(&self, events: usize) {
        let limit = if events >= LOG_MOST / 4 { LOG_MOST } else { LOG_MOST.max(self.log() + LOG_MOST / 2) };
        self.log_limit.store(limit, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keeper_is_told_once_until_it_has_begun() {
        let mess = Mess::default();
        assert!(!mess.made(CHECKPOINT_AFTER, 0));
        assert!(mess.made(1, 0));
        assert!(!mess.made(1, 0));
        mess.seen_to();
        assert!(mess.made(1, 0));
        mess.seen_to();
        mess.checkpointed();
        assert!(!mess.made(1, 0));
    }

    #[test]
    fn a_log_that_cannot_be_archived_is_left_in_peace_until_it_has_grown() {
        let mess = Mess::default();
        mess.made(0, LOG_MOST + 1);
        assert!(mess.wants_archiving());
        mess.archived(0);
        assert!(!mess.wants_archiving());
        mess.made(0, 2 * LOG_MOST);
        assert!(mess.wants_archiving());
        mess.archived(LOG_MOST);
        mess.made(0, LOG_MOST);
        assert!(!mess.wants_archiving());
    }
}
