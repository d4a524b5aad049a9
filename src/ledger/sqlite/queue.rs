//! The queue between callers and the writer: single jobs in, whole groups out. While the ledger is unavailable, jobs
//! fail at once with the reason. While the writer has stalled, so do all that a caller waits for: nothing piles up behind
//! a disk that does not answer. The queue is therefore also the ledger's health.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::maintenance::statements::MaintenanceOp;
use crate::ledger::transfer::TransferredEvent;
use crate::ledger::{
    ActionResult, Arrival, Backlog, Claim, EnqueueResult, EventKey, Health, Lease, LedgerError,
    OperatorAction, SettleError, Settled, Settlement, StoredRequest,
};

/// A call that the writer serves, and the sender of its reply. `expires_at` is the end of the caller's lease, counted
/// from before the call was sent.
pub(super) enum Job {
    /// Leases an event for an inline delivery.
    Claim {
        arrival: Arrival,
        lease: Duration,
        expires_at: Instant,
        reply_tx: oneshot::Sender<Result<Claim, LedgerError>>,
    },
    /// Records how a delivery ended.
    Settle { lease: Lease, settlement: Settlement, reply_tx: oneshot::Sender<Result<Settled, SettleError>> },
    /// Stores an event for later delivery.
    Enqueue {
        arrival: Arrival,
        request: StoredRequest,
        lease: Option<Duration>,
        expires_at: Instant,
        reply_tx: oneshot::Sender<Result<EnqueueResult, LedgerError>>,
    },
    /// Leases queued events that are due.
    ClaimDue {
        endpoint: Box<str>,
        limit: usize,
        lease: Duration,
        expires_at: Instant,
        reply_tx: oneshot::Sender<Result<Vec<(Lease, StoredRequest)>, LedgerError>>,
    },
    /// Applies an operator's action.
    Apply {
        key: EventKey,
        action: OperatorAction,
        reply_tx: oneshot::Sender<Result<ActionResult, LedgerError>>,
    },
    /// Writes events of another ledger, and counts them.
    Import { events: Vec<TransferredEvent>, reply_tx: oneshot::Sender<Result<u64, LedgerError>> },
    /// Counts the unsettled events, from memory. `lease` is the usual length of a lease.
    Backlog { lease: Duration, reply_tx: oneshot::Sender<Result<Vec<Backlog>, LedgerError>> },
    /// Finds the rows of `events` that have an id, through the index in memory.
    FindId { id: Box<str>, reply_tx: oneshot::Sender<Result<Vec<i64>, LedgerError>> },
    /// Remembers part of the head of an endpoint's last webhook.
    RememberArrival { endpoint: Box<str>, head: Box<str>, reply_tx: oneshot::Sender<Result<(), LedgerError>> },
    /// Runs a maintenance operation that was made for the opening `epoch` of the file.
    Maintain { op: MaintenanceOp, epoch: u64, reply_tx: oneshot::Sender<Result<u64, LedgerError>> },
}

impl Job {
    /// Whether its caller waits for a limited time only. A settlement holds a lease, which only its reply can return, and
    /// maintenance waits for the writer anyway.
    fn has_deadline(&self) -> bool {
        !matches!(self, Self::Settle { .. } | Self::Maintain { .. })
    }

    /// Replies with an error. A caller that stopped waiting does not get it.
    pub(super) fn fail(self, error: LedgerError) {
        match self {
            Self::Claim { reply_tx, .. } => drop(reply_tx.send(Err(error))),
            Self::Settle { lease, reply_tx, .. } => drop(reply_tx.send(Err(SettleError { lease, error }))),
            Self::Enqueue { reply_tx, .. } => drop(reply_tx.send(Err(error))),
            Self::ClaimDue { reply_tx, .. } => drop(reply_tx.send(Err(error))),
            Self::Apply { reply_tx, .. } => drop(reply_tx.send(Err(error))),
            Self::Import { reply_tx, .. } => drop(reply_tx.send(Err(error))),
            Self::Backlog { reply_tx, .. } => drop(reply_tx.send(Err(error))),
            Self::FindId { reply_tx, .. } => drop(reply_tx.send(Err(error))),
            Self::RememberArrival { reply_tx, .. } => drop(reply_tx.send(Err(error))),
            Self::Maintain { reply_tx, .. } => drop(reply_tx.send(Err(error))),
        }
    }
}

/// The queue of jobs.
pub(super) struct Queue {
    state: Mutex<QueueState>,
    /// Wakes the writer: a job was pushed, or the queue was closed.
    wake: Condvar,
}

struct QueueState {
    jobs: Vec<Job>,
    admission: Admission,
    /// The writer waits for `wake`. Pushing notifies only then.
    waiting: bool,
    /// Why jobs fail at once: a caller gave up waiting, and the writer has not asked for jobs since.
    stalled: Option<LedgerError>,
}

impl QueueState {
    /// The reason to refuse this job; `None` if it is accepted.
    fn rejection(&self, job: &Job) -> Option<LedgerError> {
        match &self.admission {
            Admission::Open => self.stalled.clone().filter(|_| job.has_deadline()),
            Admission::Suspended(reason) => Some(reason.clone()),
            Admission::Closed => Some(closed()),
        }
    }
}

/// Whether the queue accepts jobs.
enum Admission {
    /// Jobs are accepted.
    Open,
    /// Jobs fail with this error until the ledger is available again.
    Suspended(LedgerError),
    /// Jobs fail for good. Those already queued are finished.
    Closed,
}

impl Queue {
    /// An empty queue that fails jobs with this error until [`resume`](Queue::resume).
    pub(super) fn new(reason: LedgerError) -> Self {
        let admission = Admission::Suspended(reason);
        Self {
            state: Mutex::new(QueueState { jobs: Vec::new(), admission, waiting: false, stalled: None }),
            wake: Condvar::new(),
        }
    }

    /// Queues a job, or fails it at once.
    pub(super) fn push(&self, job: Job) {
        let mut state = self.lock();
        if let Some(reason) = state.rejection(&job) {
            drop(state);
            return job.fail(reason);
        }
        state.jobs.push(job);
        if mem::take(&mut state.waiting) {
            // Unlocked first, so that the writer does not wake up to wait for the lock.
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Waits for jobs and moves up to `limit` of them to `group`, in order. Returns false once the queue is closed and
    /// empty. This call ends a stall.
    pub(super) fn take(&self, group: &mut Vec<Job>, limit: usize) -> bool {
        let mut state = self.lock();
        state.stalled = None;
        while state.jobs.is_empty() {
            if matches!(state.admission, Admission::Closed) {
                return false;
            }
            state.waiting = true;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            // A caller may have given up between the push that woke this thread and now.
            state.stalled = None;
        }
        if group.is_empty() && state.jobs.len() <= limit {
            // The common case swaps the two buffers and allocates nothing.
            mem::swap(&mut state.jobs, group);
        } else {
            let end = state.jobs.len().min(limit);
            group.extend(state.jobs.drain(..end));
        }
        true
    }

    /// Records that a caller got no reply in time, unless the writer waits for jobs. Until it does so again, every job
    /// with a deadline fails with this error: those in the queue now, later ones when they are pushed.
    pub(super) fn mark_stalled(&self, reason: &LedgerError) {
        let mut state = self.lock();
        if state.waiting {
            return;
        }
        state.stalled = Some(reason.clone());
        let (late, others) = mem::take(&mut state.jobs).into_iter().partition(Job::has_deadline);
        state.jobs = others;
        drop(state);
        fail_all(late, reason);
    }

    /// Accepts jobs, unless the queue is closed.
    pub(super) fn resume(&self) {
        let mut state = self.lock();
        match state.admission {
            Admission::Open | Admission::Closed => {}
            Admission::Suspended(_) => state.admission = Admission::Open,
        }
    }

    /// Fails every queued job, and new ones from now on, with this error. Returns true if the reason is new.
    pub(super) fn suspend(&self, reason: &LedgerError) -> bool {
        let mut state = self.lock();
        let jobs = mem::take(&mut state.jobs);
        let is_new = match &state.admission {
            Admission::Open => true,
            Admission::Suspended(before) => before != reason,
            Admission::Closed => false,
        };
        if is_new {
            state.admission = Admission::Suspended(reason.clone());
        }
        drop(state);
        fail_all(jobs, reason);
        is_new
    }

    /// Closes the queue for good. Queued jobs are finished.
    pub(super) fn close(&self) {
        self.lock().admission = Admission::Closed;
        self.wake.notify_one();
    }

    /// Whether the queue is closed.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.lock().admission, Admission::Closed)
    }

    /// Blocks the writer for this long, or until the queue is closed.
    pub(super) fn pause(&self, pause: Duration) {
        let state = self.lock();
        // An early return only means another attempt.
        drop(
            self.wake.wait_timeout_while(state, pause, |state| !matches!(state.admission, Admission::Closed)),
        );
    }

    /// Whether jobs are accepted, and if not, why.
    pub(super) fn health(&self) -> Health {
        let state = self.lock();
        let reason = match &state.admission {
            Admission::Open => state.stalled.as_ref().map(LedgerError::reason),
            Admission::Suspended(reason) => Some(reason.reason()),
            Admission::Closed => Some(closed().reason()),
        };
        reason.map_or(Health::Ready, |reason| Health::NotReady { reason })
    }

    /// Locks the state. A panic under the lock leaves it consistent: every change is one assignment or one push.
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fail_all(jobs: Vec<Job>, reason: &LedgerError) {
    jobs.into_iter().for_each(|job| job.fail(reason.clone()));
}

fn closed() -> LedgerError {
    LedgerError::new("the ledger is closed: the program is shutting down")
}
