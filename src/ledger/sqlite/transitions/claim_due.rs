//! The transition `claim_due`: leases queued events whose time has come.

use std::time::Duration;

use rusqlite::Result;

use super::{Transitions, time_left};
use crate::ledger::millis::millis;
use crate::ledger::sqlite::local_leases::LocalLeases;
use crate::ledger::sqlite::now::Now;
use crate::ledger::{Arrival, State, StoredRequest};

/// The payload bytes after which one `claim_due` stops: they stay in memory until they are delivered.
const MAX_DUE_BYTES: usize = 4 << 20;

/// A queued event that was due and is leased now.
pub(in crate::ledger::sqlite) struct DueEvent {
    pub(in crate::ledger::sqlite) arrival: Arrival,
    pub(in crate::ledger::sqlite) attempt: u32,
    pub(in crate::ledger::sqlite) token: u64,
    pub(in crate::ledger::sqlite) request: StoredRequest,
}

impl Transitions<'_> {
    /// Leases up to `limit` queued events of an endpoint that are due.
    pub(in crate::ledger::sqlite) fn claim_due(
        &mut self,
        endpoint: &str,
        limit: usize,
        lease: Duration,
        now: Now,
        leases: &mut LocalLeases,
    ) -> Result<Vec<DueEvent>> {
        let (mut leased, mut bytes) = (Vec::new(), 0);
        for (old_due, seq) in self.payloads.due(endpoint, now.unix, limit)? {
            let stored = self.rows.read_arrival(seq)?.zip(self.payloads.read(seq)?);
            let Some((arrival, request)) = stored else {
                // Someone deleted the row by hand, which leaves its place in the queue behind.
                self.payloads.delete(seq, endpoint, Some(old_due))?;
                self.rows.forget(endpoint, None, seq);
                continue;
            };
            let hash = self.rows.hash(&arrival.key);
            let Some(row) = self.rows.read(seq, &arrival.key)? else {
                self.payloads.delete(seq, endpoint, Some(old_due))?;
                continue;
            };
            let held = match leases.expires_at(hash) {
                Some(expires_at) => time_left(Some(expires_at), now),
                None if row.state == State::Running => leases.earlier_lease_left(row.due, Some(lease), now),
                None => None,
            };
            if let Some(left) = held {
                // The wall clock is wrong, or was. The event is due when its lease is over.
                let due = now.unix.saturating_add(millis(left));
                self.rows.set_state(&row, row.state, None, row.attempts, Some(due), None)?;
                self.payloads.reschedule(seq, endpoint, Some(old_due), Some(due))?;
                continue;
            }
            let due = now.unix.saturating_add(millis(lease));
            let (attempt, token) = (row.attempts.saturating_add(1), self.token()?);
            self.rows.lease(&row, attempt, token, due)?;
            self.payloads.reschedule(seq, endpoint, Some(old_due), Some(due))?;
            leases.grant(hash, now.instant + lease);
            bytes += request.body.len();
            leased.push(DueEvent { arrival, attempt, token, request });
            if bytes > MAX_DUE_BYTES {
                break;
            }
        }
        Ok(leased)
    }
}
