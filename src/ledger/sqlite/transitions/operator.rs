//! The transitions of operators: redeliver and delete. Neither interferes with a delivery under way.

use rusqlite::Result;

use super::Transitions;
use crate::delivery_mode::DeliveryMode;
use crate::ledger::sqlite::local_leases::LocalLeases;
use crate::ledger::sqlite::now::Now;
use crate::ledger::{ActionResult, EventKey, OperatorAction, State};

impl Transitions<'_> {
    /// Applies an operator's action to one event.
    pub(in crate::ledger::sqlite) fn apply(
        &mut self,
        key: &EventKey,
        action: OperatorAction,
        now: Now,
        leases: &LocalLeases,
    ) -> Result<ActionResult> {
        let hash = self.rows.hash(key);
        let seq = self.rows.seq(hash);
        let row = match seq {
            Some(seq) => self.rows.read(seq, key)?,
            None => None,
        };
        let (Some(seq), Some(row)) = (seq, row) else {
            // Archived events have no payload, and no lease.
            return Ok(match (self.rows.read_archived(key, hash)?, action) {
                (None, OperatorAction::Redeliver | OperatorAction::Delete) => ActionResult::Unknown,
                (Some(_), OperatorAction::Redeliver) => ActionResult::PayloadGone,
                (Some(_), OperatorAction::Delete) => {
                    self.rows.delete_archived(key)?;
                    ActionResult::Done
                }
            });
        };
        let is_in_force = || match leases.expires_at(hash) {
            Some(expires_at) => expires_at > now.instant,
            None => leases.earlier_lease_left(row.due, None, now).is_some(),
        };
        if row.state == State::Running && is_in_force() {
            return Ok(ActionResult::Running);
        }
        match action {
            OperatorAction::Redeliver if !self.payloads.contains(seq) => {
                return Ok(ActionResult::PayloadGone);
            }
            OperatorAction::Redeliver => {
                self.rows.set_state(&row, State::Pending, None, 0, Some(now.unix), None)?;
                self.payloads.set_mode(seq, DeliveryMode::Redelivery)?;
                self.payloads.reschedule(seq, &key.endpoint, row.due, Some(now.unix))?;
            }
            OperatorAction::Delete => {
                if self.payloads.contains(seq) {
                    self.payloads.delete(seq, &key.endpoint, row.due)?;
                }
                self.inline_runs.remove(seq);
                self.rows.delete(&row, hash)?;
                // Archiving copies first and deletes later, so there may be a copy.
                self.rows.delete_archived(key)?;
            }
        }
        Ok(ActionResult::Done)
    }
}
