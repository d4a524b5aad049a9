//! The transition `settle`: how a delivery ended. Every settlement but `Delivered` needs the current token.

use std::time::Duration;

use rusqlite::Result;

use super::Transitions;
use crate::ledger::millis::millis;
use crate::ledger::sqlite::index::KeyHash;
use crate::ledger::sqlite::local_leases::LocalLeases;
use crate::ledger::sqlite::now::Now;
use crate::ledger::sqlite::row::{ArchivedRow, ExistingRow, NewRow};
use crate::ledger::{Lease, Settled, Settlement, State};

impl Transitions<'_> {
    /// Records how the delivery under this lease ended.
    pub(in crate::ledger::sqlite) fn settle(
        &mut self,
        lease: &Lease,
        settlement: Settlement,
        now: Now,
        leases: &mut LocalLeases,
    ) -> Result<Settled> {
        let hash = self.rows.hash(lease.key());
        let seq = self.rows.seq(hash);
        let recorded = match settlement {
            Settlement::Delivered { status } => {
                self.deliver(seq, lease, hash, status, now)?;
                true
            }
            // A queued event never becomes FAILED, since Stripe does not send it again: it is due at once.
            Settlement::Failed { status } if seq.is_some_and(|seq| self.payloads.contains(seq)) => {
                self.reschedule(seq, lease, status, Duration::ZERO, true, now)?
            }
            Settlement::Failed { status } => match seq {
                Some(seq) => self.rows.fail(seq, &lease.key().endpoint, status, now.unix, lease.token)?,
                None => false,
            },
            Settlement::Retry { status, wait, counts } => {
                self.reschedule(seq, lease, status, wait, counts, now)?
            }
            Settlement::Dead { status } => self.mark_dead(seq, lease, status, now)?,
        };
        if !recorded {
            return Ok(Settled::Superseded);
        }
        if let Some(seq) = seq {
            self.inline_runs.remove(seq);
        }
        leases.release(hash);
        Ok(Settled::Recorded)
    }

    /// Makes the event DELIVERED, from any state, and deletes its payload.
    fn deliver(
        &mut self,
        seq: Option<i64>,
        lease: &Lease,
        hash: KeyHash,
        status: u16,
        now: Now,
    ) -> Result<()> {
        let key = lease.key();
        let mut before = None;
        if let Some(seq) = seq.filter(|seq| self.payloads.contains(*seq)) {
            before = self.rows.read(seq, key)?;
            self.payloads.delete(seq, &key.endpoint, before.as_ref().and_then(|row| row.due))?;
        }
        let has_row = match seq {
            Some(seq) => self.rows.deliver(seq, key, before.as_ref(), status, now.unix)?,
            None => false,
        };
        if !has_row {
            self.deliver_without_row(lease, hash, status, now)?;
        }
        Ok(())
    }

    /// Records a 2xx for an event without a row in `events`: it was archived since, or the file was replaced.
    fn deliver_without_row(&mut self, lease: &Lease, hash: KeyHash, status: u16, now: Now) -> Result<()> {
        let (attempts, seen) = match self.rows.read_archived(lease.key(), hash)? {
            None => (lease.attempt, now.unix),
            Some(ArchivedRow { state: State::Delivered, .. }) => return Ok(()),
            Some(ArchivedRow {
                state: State::Running | State::Failed | State::Pending | State::Dead,
                attempts,
                seen,
            }) => {
                self.rows.delete_archived(lease.key())?;
                (attempts, seen)
            }
        };
        let row = NewRow {
            seen,
            state: State::Delivered,
            attempts,
            status: Some(status),
            token: None,
            due: None,
            settled: Some(now.unix),
        };
        self.rows.append(&lease.arrival, hash, &row).map(drop)
    }

    /// Makes a queued event PENDING again, due after `wait`. False if the lease no longer holds it.
    fn reschedule(
        &mut self,
        seq: Option<i64>,
        lease: &Lease,
        status: Option<u16>,
        wait: Duration,
        counts: bool,
        now: Now,
    ) -> Result<bool> {
        let Some((seq, row)) = self.leased_row(seq, lease)? else { return Ok(false) };
        let due = now.unix.saturating_add(millis(wait));
        let attempts = row.attempts.saturating_sub(u32::from(!counts));
        self.rows.set_state(&row, State::Pending, status, attempts, Some(due), None)?;
        self.payloads.reschedule(seq, &lease.key().endpoint, row.due, Some(due))?;
        Ok(true)
    }

    /// Makes a queued event DEAD and retains its payload. False if the lease no longer holds it.
    fn mark_dead(&mut self, seq: Option<i64>, lease: &Lease, status: Option<u16>, now: Now) -> Result<bool> {
        let Some((seq, row)) = self.leased_row(seq, lease)? else { return Ok(false) };
        self.rows.set_state(&row, State::Dead, status, row.attempts, None, Some(now.unix))?;
        self.payloads.reschedule(seq, &lease.key().endpoint, row.due, None)?;
        Ok(true)
    }

    /// Reads the row of a queued event, if it is RUNNING with this lease's token.
    fn leased_row(&mut self, seq: Option<i64>, lease: &Lease) -> Result<Option<(i64, ExistingRow)>> {
        let Some(seq) = seq.filter(|seq| self.payloads.contains(*seq)) else { return Ok(None) };
        let row = self.rows.read(seq, lease.key())?;
        let is_current =
            |row: &ExistingRow| row.state == State::Running && row.token == Some(lease.token as i64);
        Ok(row.filter(is_current).map(|row| (seq, row)))
    }
}
