//! What stands between the callers and the writer: jobs in, whole groups out. While the ledger is out of reach the
//! gate is shut and callers are turned away at once, with the reason; so its health is the gate's state, and whether
//! anybody has waited in vain.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::filter::BloomFilter;
use super::index::KeyHash;
use crate::ledger::{
    ActionResult, Arrival, Claim, EnqueueResult, EventKey, Health, Lease, LedgerError, OperatorAction,
    SettleError, Settled, Settlement, State, StoredRequest,
};

/// One thing for the writer to do, and where to say what came of it.
pub(super) enum Job {
    Claim {
        arrival: Arrival,
        lease: Duration,
        /// When the caller's lease ends: counted from before it was sent.
        ends: Instant,
        answer: oneshot::Sender<Result<Claim, LedgerError>>,
    },
    Settle {
        lease: Lease,
        settlement: Settlement,
        answer: oneshot::Sender<Result<Settled, SettleError>>,
    },
    Keep {
        arrival: Arrival,
        parcel: StoredRequest,
        lease: Option<Duration>,
        ends: Instant,
        answer: oneshot::Sender<Result<EnqueueResult, LedgerError>>,
    },
    Due {
        endpoint: Box<str>,
        most: usize,
        lease: Duration,
        ends: Instant,
        answer: oneshot::Sender<Result<Vec<(Lease, StoredRequest)>, LedgerError>>,
    },
    Act {
        key: EventKey,
        action: OperatorAction,
        answer: oneshot::Sender<Result<ActionResult, LedgerError>>,
    },
    Chore {
        chore: Chore,
        /// The opening of the file that the chore was thought out for.
        epoch: u64,
        answer: oneshot::Sender<Result<u64, LedgerError>>,
    },
}

impl Job {
    /// Turns the caller away.
    pub(super) fn fail(self, error: LedgerError) {
        // Whoever dropped the other end has stopped asking.
        match self {
            Job::Claim { answer, .. } => drop(answer.send(Err(error))),
            Job::Settle { lease, answer, .. } => drop(answer.send(Err(SettleError { lease, error }))),
            Job::Keep { answer, .. } => drop(answer.send(Err(error))),
            Job::Due { answer, .. } => drop(answer.send(Err(error))),
            Job::Act { answer, .. } => drop(answer.send(Err(error))),
            Job::Chore { answer, .. } => drop(answer.send(Err(error))),
        }
    }
}

/// The keeper's work on the file, a small piece at a time.
pub(super) enum Chore {
    /// Copies settled events from the log to the archive.
    Archive(Vec<Version>),
    /// Removes from the log what was archived.
    Prune(Vec<Version>),
    /// Removes from the log what was settled before this time.
    Forget { versions: Vec<Version>, before: i64 },
    /// Removes from the archive what was settled before this time.
    ForgetArchived { keys: Vec<ArchiveKey>, before: i64 },
    /// Asks this filter before the archive from now on. It holds every key that the archive does. Taken when done.
    Filter(Option<BloomFilter>),
    /// Ends a checkpoint that the keeper has done most of, so that the log of writes begins anew.
    Checkpoint,
}

/// An event's row in the log as it was when it was looked at. Every transition changes state or attempts, so a chore
/// that finds another version leaves the row alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Version {
    pub(super) seq: i64,
    pub(super) state: State,
    pub(super) attempts: u32,
    pub(super) hash: KeyHash,
}

/// An event's key in the archive.
#[derive(Debug, Clone, Default)]
pub(super) struct ArchiveKey {
    pub(super) id: String,
    pub(super) endpoint: String,
    pub(super) query: String,
}

/// The queue.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    bell: Condvar,
    /// Somebody has waited in vain, and since then the writer has come to the end of nothing.
    late: AtomicBool,
}

struct Inner {
    jobs: Vec<Job>,
    gate: Gate,
    /// The writer waits for the bell; nobody else rings it in vain.
    waiting: bool,
}

enum Gate {
    Open,
    Shut(LedgerError),
    /// No more comes in, for good; what is queued is finished.
    Closed,
}

impl Queue {
    /// An empty one, shut for this reason.
    pub(super) fn new(reason: LedgerError) -> Self {
        Self {
            inner: Mutex::new(Inner { jobs: Vec::new(), gate: Gate::Shut(reason), waiting: false }),
            bell: Condvar::new(),
            late: AtomicBool::new(false),
        }
    }

    /// Queues a job, or turns it away at once.
    pub(super) fn push(&self, job: Job) {
        let mut inner = self.lock();
        let error = match &inner.gate {
            Gate::Open => {
                inner.jobs.push(job);
                if mem::take(&mut inner.waiting) {
                    drop(inner);
                    self.bell.notify_one();
                }
                return;
            }
            Gate::Shut(reason) => reason.clone(),
            Gate::Closed => closed(),
        };
        drop(inner);
        job.fail(error);
    }

    /// Waits for jobs and moves up to `most` of them to `group`, in order. False when the queue is closed and empty.
    pub(super) fn take(&self, group: &mut Vec<Job>, most: usize) -> bool {
        let mut inner = self.lock();
        while inner.jobs.is_empty() {
            if matches!(inner.gate, Gate::Closed) {
                return false;
            }
            inner.waiting = true;
            inner = self.bell.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if group.is_empty() && inner.jobs.len() <= most {
            mem::swap(&mut inner.jobs, group);
        } else {
            let end = inner.jobs.len().min(most);
            group.extend(inner.jobs.drain(..end));
        }
        true
    }

    /// A job had no answer in time.
    pub(super) fn waited_in_vain(&self) {
        self.late.store(true, Ordering::SeqCst);
    }

    /// A group has its answers, or was turned away.
    pub(super) fn went_on(&self) {
        self.late.store(false, Ordering::SeqCst);
    }

    pub(super) fn is_late(&self) -> bool {
        self.late.load(Ordering::SeqCst)
    }

    pub(super) fn open(&self) {
        let mut inner = self.lock();
        match inner.gate {
            Gate::Open | Gate::Closed => {}
            Gate::Shut(_) => inner.gate = Gate::Open,
        }
    }

    /// Shuts the gate for this reason and turns away whoever is queued. True if it was open, or shut for another.
    pub(super) fn shut(&self, reason: &LedgerError) -> bool {
        let mut inner = self.lock();
        let jobs = mem::take(&mut inner.jobs);
        let news = match &inner.gate {
            Gate::Open => true,
            Gate::Shut(before) => before != reason,
            Gate::Closed => false,
        };
        if news {
            inner.gate = Gate::Shut(reason.clone());
        }
        drop(inner);
        jobs.into_iter().for_each(|job| job.fail(reason.clone()));
        news
    }

    pub(super) fn close(&self) {
        self.lock().gate = Gate::Closed;
        self.bell.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.lock().gate, Gate::Closed)
    }

    /// Waits this long, or until the queue is closed.
    pub(super) fn pause(&self, pause: Duration) {
        let inner = self.lock();
        // Too early a return only means another try.
        drop(self.bell.wait_timeout_while(inner, pause, |inner| !matches!(inner.gate, Gate::Closed)));
    }

    pub(super) fn health(&self) -> Health {
        match &self.lock().gate {
            Gate::Open => Health::Ready,
            Gate::Shut(reason) => Health::NotReady { reason: reason.reason.clone() },
            Gate::Closed => Health::NotReady { reason: closed().reason },
        }
    }

    /// A panic while it was held left nothing half done: every change is one assignment or one push.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> LedgerError {
    LedgerError::new("the ledger is closed: the program is shutting down")
}
