//! The transitions of the ledger's state diagram on an open file, inside a transaction of the writer's: claim and
//! enqueue here; `claim_due`, `settle`, `operator`, `import`, `abandoned`, `follow_clock` and `last_arrival` in files of their own.
//! After a failed transaction the whole value must be dropped, because its index may contain rows that were rolled back.

mod abandoned;
pub(super) mod claim_due;
mod follow_clock;
mod import;
mod last_arrival;
mod operator;
mod settle;

use std::time::{Duration, Instant};

use rusqlite::{Connection, Result, Statement};

use super::checkpoint;
use super::clock_steps::ClockSteps;
use super::index::{KeyHash, KeyHasher};
use super::inline_runs::InlineRuns;
use super::local_leases::LocalLeases;
use super::maintenance::statements::MaintenanceOp;
use super::now::Now;
use super::payloads::Payloads;
use super::row::{ArchivedRow, ExistingRow, NewRow};
use super::rows::EventRows;
use crate::clock;
use crate::ledger::millis::millis;
use crate::ledger::tokens::Tokens;
use crate::ledger::{Arrival, Backlog, State, StoredRequest};

/// The result of a claim or an enqueue. Callers get it once it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimOutcome {
    /// The lease is granted.
    Leased { attempt: u32, token: u64 },
    /// The event is stored, and due.
    Queued,
    /// Another delivery holds a lease.
    InFlight { retry_after: Duration },
    /// The event was delivered before, or is already queued.
    Duplicate,
}

/// How a new arrival is to be delivered.
enum ClaimMode<'r> {
    /// Leased for this long, and not stored.
    Inline(Duration),
    /// Stored. With a lease the caller delivers it at once; without one it is due at once.
    Queued(&'r StoredRequest, Option<Duration>),
}

impl ClaimMode<'_> {
    fn lease(&self) -> Option<Duration> {
        match self {
            ClaimMode::Inline(lease) => Some(*lease),
            ClaimMode::Queued(_, lease) => *lease,
        }
    }
}

/// A lease granted in the current transaction.
#[derive(Debug, Clone, Copy)]
struct Grant {
    attempt: u32,
    token: u64,
}

impl Grant {
    /// The outcome of an admitted arrival: leased with a grant, queued without one.
    fn outcome(grant: Option<Self>) -> ClaimOutcome {
        match grant {
            Some(Self { attempt, token }) => ClaimOutcome::Leased { attempt, token },
            None => ClaimOutcome::Queued,
        }
    }
}

/// The transitions on one open file.
pub(super) struct Transitions<'c> {
    conn: &'c Connection,
    begin: Statement<'c>,
    commit: Statement<'c>,
    rows: EventRows<'c>,
    payloads: Payloads<'c>,
    /// The RUNNING rows without a payload. Every transition keeps it up to date.
    inline_runs: InlineRuns,
    tokens: Tokens,
    clock_steps: ClockSteps,
}

impl<'c> Transitions<'c> {
    /// Prepares the statements and reads what is held in memory of the file.
    pub(super) fn new(conn: &'c Connection, hasher: KeyHasher) -> Result<Self> {
        let rows = EventRows::new(conn, hasher)?;
        let clock_steps = ClockSteps::new(rows.latest_seen(), clock::instant());
        Ok(Self {
            conn,
            begin: conn.prepare("BEGIN IMMEDIATE")?,
            commit: conn.prepare("COMMIT")?,
            rows,
            payloads: Payloads::new(conn)?,
            inline_runs: InlineRuns::read(conn)?,
            tokens: Tokens::default(),
            clock_steps,
        })
    }

    /// Begins the transaction that the next transitions belong to.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.begin.execute([]).map(drop)
    }

    /// Commits the transaction; its transitions are durable after that.
    pub(super) fn commit(&mut self) -> Result<()> {
        self.commit.execute([]).map(drop)
    }

    /// The number of rows in the table `events`.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows of `events` that may have this id.
    pub(super) fn seqs_with_id(&self, id: &str) -> Vec<i64> {
        self.rows.seqs_with_id(id)
    }

    /// The number of RUNNING events without a payload.
    pub(super) fn inline_runs(&self) -> usize {
        self.inline_runs.len()
    }

    /// The numbers of unsettled events by endpoint. `now` is in Unix milliseconds, `lease` is the usual length of a lease.
    pub(super) fn backlogs(&self, now: i64, lease: Duration) -> Vec<Backlog> {
        self.rows.unsettled().backlogs(now, lease, |seq| self.payloads.contains(seq))
    }

    /// Runs a maintenance operation and returns the number of rows it changed.
    pub(super) fn run_maintenance(&mut self, op: &mut MaintenanceOp) -> Result<u64> {
        self.rows.run_maintenance(op)
    }

    /// Completes a checkpoint without waiting for readers. Must be called outside of a transaction.
    pub(super) fn checkpoint(&self) -> Result<()> {
        checkpoint::complete(self.conn)
    }

    /// Leases an event for an inline delivery.
    pub(super) fn claim(
        &mut self,
        arrival: &Arrival,
        lease: Duration,
        now: Now,
        leases: &mut LocalLeases,
    ) -> Result<ClaimOutcome> {
        self.admit(arrival, &ClaimMode::Inline(lease), now, leases)
    }

    /// Stores an event for later delivery, with a lease if the caller delivers it at once.
    pub(super) fn enqueue(
        &mut self,
        arrival: &Arrival,
        request: &StoredRequest,
        lease: Option<Duration>,
        now: Now,
        leases: &mut LocalLeases,
    ) -> Result<ClaimOutcome> {
        self.admit(arrival, &ClaimMode::Queued(request, lease), now, leases)
    }

    /// Decides on an arrival: finds its row in `events`, then in `archive`, and grants a lease or queues it where the
    /// state diagram admits it.
    fn admit(
        &mut self,
        arrival: &Arrival,
        mode: &ClaimMode<'_>,
        now: Now,
        leases: &mut LocalLeases,
    ) -> Result<ClaimOutcome> {
        let hash = self.rows.hash(&arrival.key);
        let local_lease = leases.expires_at(hash);
        if let Some(seq) = self.rows.seq(hash) {
            if let Some(row) = self.rows.read(seq, &arrival.key)? {
                if self.payloads.contains(seq) {
                    return Ok(ClaimOutcome::Duplicate);
                }
                if let Some(retry_after) = time_left(local_lease, now) {
                    return Ok(ClaimOutcome::InFlight { retry_after });
                }
                if local_lease.is_none()
                    && row.state == State::Running
                    && let Some(retry_after) = leases.earlier_lease_left(row.due, mode.lease(), now)
                {
                    return Ok(ClaimOutcome::InFlight { retry_after });
                }
                let outcome = self.reclaim(seq, &row, arrival, mode, now)?;
                if let ClaimOutcome::Leased { .. } = outcome {
                    leases.grant(hash, now.instant + mode.lease().unwrap_or_default());
                }
                return Ok(outcome);
            }
            // Someone deleted the row by hand; the event is new.
            self.rows.forget(&arrival.key.endpoint, Some(hash), seq);
        }
        // A lease of this process counts even where the file was replaced and knows nothing of the event.
        if let Some(retry_after) = time_left(local_lease, now) {
            return Ok(ClaimOutcome::InFlight { retry_after });
        }
        let (attempts, seen) = match self.rows.read_archived(&arrival.key, hash)? {
            None => (0, now.unix),
            Some(ArchivedRow { state: State::Failed | State::Running, attempts, seen }) => {
                self.rows.delete_archived(&arrival.key)?;
                (attempts, seen)
            }
            Some(ArchivedRow { state: State::Delivered | State::Pending | State::Dead, .. }) => {
                return Ok(ClaimOutcome::Duplicate);
            }
        };
        self.admit_new(arrival, hash, (attempts, seen), mode, now, leases)
    }

    /// Appends a row for an event that has none in `events`. `attempts` and `seen` continue those of the archive.
    fn admit_new(
        &mut self,
        arrival: &Arrival,
        hash: KeyHash,
        (attempts, seen): (u32, i64),
        mode: &ClaimMode<'_>,
        now: Now,
        leases: &mut LocalLeases,
    ) -> Result<ClaimOutcome> {
        let (grant, due) = self.grant(attempts, mode.lease(), now)?;
        let (state, attempts, token) = match grant {
            Some(Grant { attempt, token }) => (State::Running, attempt, Some(token)),
            None => (State::Pending, attempts, None),
        };
        let row = NewRow { seen, state, attempts, status: None, token, due: Some(due), settled: None };
        let seq = self.rows.append(arrival, hash, &row)?;
        self.store(seq, &arrival.key.endpoint, mode, due, now)?;
        if let Some(lease) = mode.lease() {
            leases.grant(hash, now.instant + lease);
        }
        Ok(Grant::outcome(grant))
    }

    /// Decides on an arrival whose event has a row in `events` and no payload. The caller has checked that no lease is in
    /// force.
    fn reclaim(
        &mut self,
        seq: i64,
        row: &ExistingRow,
        arrival: &Arrival,
        mode: &ClaimMode<'_>,
        now: Now,
    ) -> Result<ClaimOutcome> {
        match row.state {
            State::Delivered | State::Pending | State::Dead => return Ok(ClaimOutcome::Duplicate),
            State::Failed | State::Running => {}
        }
        let (grant, due) = self.grant(row.attempts, mode.lease(), now)?;
        match grant {
            Some(Grant { attempt, token }) => self.rows.lease(row, attempt, token, due)?,
            None => self.rows.set_state(row, State::Pending, None, row.attempts, Some(due), None)?,
        }
        self.store(seq, &arrival.key.endpoint, mode, due, now)?;
        Ok(Grant::outcome(grant))
    }

    /// Stores the payload of an event to be queued. An inline event has none, and its run is noted.
    fn store(&mut self, seq: i64, endpoint: &str, mode: &ClaimMode<'_>, due: i64, now: Now) -> Result<()> {
        match mode {
            ClaimMode::Inline(lease) => self.inline_runs.insert(seq, now.instant + *lease),
            ClaimMode::Queued(request, _) => {
                self.inline_runs.remove(seq);
                self.payloads.insert(seq, endpoint, due, request)?;
            }
        }
        Ok(())
    }

    /// Makes a grant if a lease is requested, with the time at which it expires. Without a lease the time is now: the
    /// event is due at once.
    fn grant(&mut self, attempts: u32, lease: Option<Duration>, now: Now) -> Result<(Option<Grant>, i64)> {
        let Some(lease) = lease else { return Ok((None, now.unix)) };
        let grant = Grant { attempt: attempts.saturating_add(1), token: self.token()? };
        Ok((Some(grant), now.unix.saturating_add(millis(lease))))
    }

    fn token(&mut self) -> Result<u64> {
        self.tokens.next().map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    }
}

/// The time until a lease of this process expires; `None` if there is none in force.
fn time_left(local_lease: Option<Instant>, now: Now) -> Option<Duration> {
    local_lease.filter(|expires_at| *expires_at > now.instant).map(|expires_at| expires_at - now.instant)
}
