//! Group commit: runs every job of a group in one transaction, commits it, and only then replies.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Writer;
use crate::clock;
use crate::ledger::abandoned::log_abandoned;
use crate::ledger::sqlite::error::file_error;
use crate::ledger::sqlite::local_leases::LocalLeases;
use crate::ledger::sqlite::maintenance::Command;
use crate::ledger::sqlite::maintenance::statements::MaintenanceOp;
use crate::ledger::sqlite::now::Now;
use crate::ledger::sqlite::queue::Job;
use crate::ledger::sqlite::transitions::claim_due::DueEvent;
use crate::ledger::sqlite::transitions::{ClaimOutcome, Transitions};
use crate::ledger::{
    ActionResult, Arrival, Backlog, Claim, EnqueueResult, EventKey, Lease, Settled, Settlement,
};

/// The result of a job, sent to its caller once it is durable.
enum JobOutcome {
    Claimed(ClaimOutcome),
    DueClaimed(Vec<DueEvent>),
    Settled(Settled),
    Applied(ActionResult),
    Imported(u64),
    Backlog(Vec<Backlog>),
    Found(Vec<i64>),
    Remembered,
    Maintained(u64),
    /// These abandoned events became FAILED.
    FailedAbandoned(Vec<EventKey>),
    /// The caller stopped waiting, or the job was made for an earlier opening of the file.
    Skipped,
}

impl Writer {
    /// Runs the group in the transaction that has begun, commits it, and replies. On an error nothing was changed, and
    /// the jobs left in the group have no reply yet.
    pub(super) fn commit_group(
        &self,
        transitions: &mut Transitions<'_>,
        group: &mut Vec<Job>,
        leases: &mut LocalLeases,
    ) -> rusqlite::Result<()> {
        let now = Now { unix: clock::unix_millis(), instant: clock::instant() };
        transitions.follow_clock(now)?;
        let (mut rows, mut checkpoint) = (group.len(), false);
        let mut outcomes = Vec::with_capacity(group.len());
        for job in group.iter_mut() {
            let outcome = self.run_job(job, transitions, now, leases)?;
            match &outcome {
                JobOutcome::DueClaimed(due) => rows += due.len(),
                JobOutcome::Imported(changed) | JobOutcome::Maintained(changed) => rows += *changed as usize,
                JobOutcome::FailedAbandoned(failed) => rows += failed.len(),
                JobOutcome::Claimed(_)
                | JobOutcome::Settled(_)
                | JobOutcome::Applied(_)
                | JobOutcome::Backlog(_)
                | JobOutcome::Found(_)
                | JobOutcome::Remembered
                | JobOutcome::Skipped => {}
            }
            if let (Job::Maintain { op: MaintenanceOp::Checkpoint, .. }, JobOutcome::Maintained(_)) =
                (&*job, &outcome)
            {
                checkpoint = true;
            }
            outcomes.push(outcome);
        }
        transitions.commit()?;
        leases.commit(now.instant);
        for (job, outcome) in group.drain(..).zip(outcomes) {
            self.reply(job, outcome);
        }
        if checkpoint {
            transitions.checkpoint()?;
        }
        self.pressure.record_inline_runs(transitions.inline_runs());
        if self.pressure.record_writes(rows, transitions.len()) {
            self.notify_maintenance(Command::Run);
        }
        Ok(())
    }

    /// Runs one job. A lease that no caller waits for is not granted in the first place.
    fn run_job(
        &self,
        job: &mut Job,
        transitions: &mut Transitions<'_>,
        now: Now,
        leases: &mut LocalLeases,
    ) -> rusqlite::Result<JobOutcome> {
        Ok(match job {
            Job::Claim { reply_tx, .. } if reply_tx.is_closed() => JobOutcome::Skipped,
            Job::Claim { arrival, lease, .. } => {
                JobOutcome::Claimed(transitions.claim(arrival, *lease, now, leases)?)
            }
            Job::Settle { lease, settlement, .. } => {
                JobOutcome::Settled(transitions.settle(lease, *settlement, now, leases)?)
            }
            Job::Enqueue { reply_tx, .. } if reply_tx.is_closed() => JobOutcome::Skipped,
            Job::Enqueue { arrival, request, lease, .. } => {
                JobOutcome::Claimed(transitions.enqueue(arrival, request, *lease, now, leases)?)
            }
            Job::ClaimDue { reply_tx, .. } if reply_tx.is_closed() => JobOutcome::Skipped,
            Job::ClaimDue { endpoint, limit, lease, .. } => {
                JobOutcome::DueClaimed(transitions.claim_due(endpoint, *limit, *lease, now, leases)?)
            }
            Job::Apply { key, action, .. } => {
                JobOutcome::Applied(transitions.apply(key, *action, now, leases)?)
            }
            Job::Import { events, .. } => JobOutcome::Imported(transitions.import(events)?),
            Job::Backlog { lease, .. } => JobOutcome::Backlog(transitions.backlogs(now.unix, *lease)),
            Job::FindId { id, .. } => JobOutcome::Found(transitions.seqs_with_id(id)),
            Job::RememberArrival { endpoint, head, .. } => {
                transitions.remember_arrival(endpoint, head)?;
                JobOutcome::Remembered
            }
            Job::Maintain { epoch, .. } if *epoch != self.epoch => JobOutcome::Skipped,
            Job::Maintain { op: MaintenanceOp::FailAbandoned, .. } => {
                JobOutcome::FailedAbandoned(transitions.fail_abandoned(now, leases)?)
            }
            Job::Maintain { op, .. } => JobOutcome::Maintained(transitions.run_maintenance(op)?),
        })
    }

    /// Sends a durable outcome to its caller. If the caller stopped waiting, its lease is given up.
    fn reply(&self, job: Job, outcome: JobOutcome) {
        match (job, outcome) {
            (Job::Claim { arrival, expires_at, reply_tx, .. }, JobOutcome::Claimed(outcome)) => {
                let claim = inline_claim(outcome, arrival, expires_at);
                if let Err(Ok(Claim::Leased(lease))) = reply_tx.send(Ok(claim)) {
                    // Failed admits the event's next arrival at once.
                    self.give_up(lease, Settlement::Failed { status: None });
                }
            }
            (Job::Enqueue { arrival, expires_at, reply_tx, .. }, JobOutcome::Claimed(outcome)) => {
                let result = enqueue_result(outcome, arrival, expires_at);
                if let Err(Ok(EnqueueResult::Leased(lease))) = reply_tx.send(Ok(result)) {
                    self.give_up(lease, RETRY_NOW);
                }
            }
            (Job::ClaimDue { expires_at, reply_tx, .. }, JobOutcome::DueClaimed(due)) => {
                let leased = due.into_iter().map(|DueEvent { arrival, attempt, token, request }| {
                    (Lease::new(arrival, attempt, token, expires_at), request)
                });
                if let Err(Ok(leased)) = reply_tx.send(Ok(leased.collect())) {
                    leased.into_iter().for_each(|(lease, _)| self.give_up(lease, RETRY_NOW));
                }
            }
            (Job::Apply { reply_tx, .. }, JobOutcome::Applied(result)) => drop(reply_tx.send(Ok(result))),
            (Job::Import { reply_tx, .. }, JobOutcome::Imported(written)) => drop(reply_tx.send(Ok(written))),
            (Job::Backlog { reply_tx, .. }, JobOutcome::Backlog(backlogs)) => {
                drop(reply_tx.send(Ok(backlogs)))
            }
            (Job::FindId { reply_tx, .. }, JobOutcome::Found(seqs)) => drop(reply_tx.send(Ok(seqs))),
            (Job::RememberArrival { reply_tx, .. }, JobOutcome::Remembered) => drop(reply_tx.send(Ok(()))),
            (Job::Settle { reply_tx, .. }, JobOutcome::Settled(settled)) => drop(reply_tx.send(Ok(settled))),
            (Job::Maintain { reply_tx, .. }, JobOutcome::Maintained(rows)) => drop(reply_tx.send(Ok(rows))),
            (Job::Maintain { reply_tx, .. }, JobOutcome::FailedAbandoned(failed)) => {
                failed.iter().for_each(log_abandoned);
                drop(reply_tx.send(Ok(failed.len() as u64)));
            }
            // Only skipped jobs get here: `run_job` makes the outcome that belongs to its job.
            (
                job,
                JobOutcome::Skipped
                | JobOutcome::Claimed(_)
                | JobOutcome::DueClaimed(_)
                | JobOutcome::Settled(_)
                | JobOutcome::Applied(_)
                | JobOutcome::Imported(_)
                | JobOutcome::Backlog(_)
                | JobOutcome::Found(_)
                | JobOutcome::Remembered
                | JobOutcome::Maintained(_)
                | JobOutcome::FailedAbandoned(_),
            ) => job.fail(file_error(&self.path, "it was reopened before the job ran")),
        }
    }

    /// Settles a lease whose caller stopped waiting.
    fn give_up(&self, lease: Lease, settlement: Settlement) {
        let (reply_tx, _) = oneshot::channel();
        self.queue.push(Job::Settle { lease, settlement, reply_tx });
    }
}

/// Converts the outcome of an inline claim, whose lease ends at `expires_at`.
fn inline_claim(outcome: ClaimOutcome, arrival: Arrival, expires_at: Instant) -> Claim {
    match outcome {
        ClaimOutcome::Leased { attempt, token } => {
            Claim::Leased(Lease::new(arrival, attempt, token, expires_at))
        }
        ClaimOutcome::InFlight { retry_after } => Claim::InFlight { retry_after },
        ClaimOutcome::Duplicate | ClaimOutcome::Queued => Claim::Duplicate,
    }
}

fn enqueue_result(outcome: ClaimOutcome, arrival: Arrival, expires_at: Instant) -> EnqueueResult {
    match outcome {
        ClaimOutcome::Leased { attempt, token } => {
            EnqueueResult::Leased(Lease::new(arrival, attempt, token, expires_at))
        }
        ClaimOutcome::Queued => EnqueueResult::Queued,
        ClaimOutcome::InFlight { retry_after } => EnqueueResult::InFlight { retry_after },
        ClaimOutcome::Duplicate => EnqueueResult::Duplicate,
    }
}

/// The settlement of a queued event that nobody tried to deliver: due at once, and the attempt does not count.
const RETRY_NOW: Settlement = Settlement::Retry { status: None, wait: Duration::ZERO, counts: false };
