//! The transition of abandoned events: inline ones whose lease ended without a settlement, as when their process dies.

use rusqlite::Result;

use super::Transitions;
use crate::ledger::sqlite::local_leases::LocalLeases;
use crate::ledger::sqlite::now::Now;
use crate::ledger::{EventKey, State};

impl Transitions<'_> {
    /// Makes RUNNING events without a payload FAILED whose lease is over, and returns them. A late failure of their holder
    /// changes nothing then; its 2xx still counts.
    pub(in crate::ledger::sqlite) fn fail_abandoned(
        &mut self,
        now: Now,
        leases: &LocalLeases,
    ) -> Result<Vec<EventKey>> {
        let mut failed = Vec::new();
        for seq in self.inline_runs.abandoned(leases, now) {
            self.inline_runs.remove(seq);
            // Someone may have deleted the row by hand.
            let Some(arrival) = self.rows.read_arrival(seq)? else { continue };
            let Some(row) = self.rows.read(seq, &arrival.key)? else { continue };
            if row.state == State::Running {
                self.rows.set_state(&row, State::Failed, None, row.attempts, None, Some(now.unix))?;
                failed.push(arrival.key);
            }
        }
        Ok(failed)
    }
}
