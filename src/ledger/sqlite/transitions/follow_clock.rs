//! What a step of the wall clock back does to the queue.

use rusqlite::Result;

use super::Transitions;
use crate::ledger::sqlite::now::Now;

impl Transitions<'_> {
    /// After a step of the wall clock back, makes queued events due earlier by as much: what was written under a clock that
    /// was ahead is too late by the step. What was written before gets its next attempt early, which does no harm.
    pub(in crate::ledger::sqlite) fn follow_clock(&mut self, now: Now) -> Result<()> {
        let Some(step) = self.clock_steps.observe(now) else { return Ok(()) };
        let moved = self.payloads.make_due_earlier(self.conn, step, now.unix)?;
        tracing::warn!(
            step_ms = step,
            events = moved,
            "the clock went back, queued events are due earlier by as much"
        );
        Ok(())
    }
}
