//! The embedded ledger: one SQLite file, one thread that writes it and one that maintains it. This file is the ledger as
//! the rest of the program sees it. `docs/decisions/0001-sqlite-ledger.md` gives the reasons for the design.
//!
//! | file | what it owns |
//! |---|---|
//! | `queue` | the jobs of callers, and whether they are accepted |
//! | `writer`, `writer/group` | the thread that opens the file; one transaction for a group of jobs |
//! | `transitions`, `transitions/{claim_due,settle,operator,import,abandoned,follow_clock,last_arrival}` | the transitions of the state diagram |
//! | `row` | a row of `events` or `archive` as a value |
//! | `rows`, `payloads` | the statements on `events` and `archive`; on `payloads` and `queue` |
//! | `index`, `bloom` | what is held in memory to find an event's row |
//! | `unsettled` | the unsettled rows in memory, for the gauges |
//! | `local_leases`, `inline_runs` | the leases of this process, by the monotonic clock; RUNNING inline events |
//! | `schema` | the tables, their version, and how a connection is set up |
//! | `checkpoint` | checkpoints of the write-ahead log |
//! | `reader` | queries beside the writer: pages, one record |
//! | `now`, `clock_steps` | the time of a transaction; steps of the wall clock back |
//! | `stats` | what a file holds, in numbers |
//! | `transfer` | the copy of events out of a file and into it |
//! | `maintenance` | the thread for retention, archiving and checkpoints |
//! | `lock`, `file_identity` | one process only; files deleted or replaced under us |
//! | `reset` | files deleted or replaced between two openings |
//! | `error` | the texts of SQLite's and the file system's errors |

mod bloom;
mod checkpoint;
mod clock_steps;
mod error;
mod file_identity;
mod index;
mod inline_runs;
mod local_leases;
mod lock;
mod maintenance;
mod now;
mod payloads;
mod queue;
mod reader;
mod reset;
mod row;
mod rows;
mod schema;
mod stats;
mod transfer;
mod transitions;
mod unsettled;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

pub(crate) use self::lock::{AcceptLock, is_locked, lock_file};

use self::error::file_error;
use self::index::KeyHasher;
use self::maintenance::{Command, MaintenanceContext, MaintenanceThread};
use self::queue::{Job, Queue};
use self::writer::Writer;
use crate::clock;
use crate::ledger::usual_lease::UsualLease;
use crate::ledger::{
    ActionResult, Arrival, Backlog, Claim, EnqueueResult, EventKey, Health, Lease, Ledger, LedgerError,
    OperatorAction, Page, Record, RecordFilter, SettleError, Settled, Settlement, StoredRequest,
};
use crate::metrics::Metrics;

/// The time that a call waits for the writer's reply. Longer than any wait for a lock. No longer than the margin that a
/// lease adds to its attempt: after that no attempt could start.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// A ledger in an SQLite file.
pub struct SqliteLedger {
    path: PathBuf,
    queue: Arc<Queue>,
    maintenance: mpsc::Sender<Command>,
    usual_lease: Arc<UsualLease>,
    /// The writer's thread; `None` once it was joined.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteLedger {
    /// Opens the ledger at `path` in the background, and keeps trying until it succeeds. Creates file and directory if
    /// they are missing. Settled events are deleted `retention` after they were settled. A file that was deleted or
    /// replaced is logged, and counted in `metrics`, which also have the size of the write-ahead log and the room on
    /// its disk.
    ///
    /// While the ledger is unavailable, claims fail at once and [`health`](Ledger::health) has the reason.
    pub fn start(path: PathBuf, retention: Duration, metrics: Arc<Metrics>) -> Self {
        let queue = Arc::new(Queue::new(file_error(&path, "it is being opened")));
        let (commands, received) = mpsc::channel();
        let (hasher, pressure) = (KeyHasher::default(), Arc::default());
        let usual_lease = Arc::<UsualLease>::default();
        let context = MaintenanceContext {
            path: path.clone(),
            retention,
            queue: queue.clone(),
            hasher: hasher.clone(),
            metrics: Arc::clone(&metrics),
            pressure: Arc::clone(&pressure),
        };
        let writer = Writer {
            path: path.clone(),
            queue: queue.clone(),
            maintenance: commands.clone(),
            hasher,
            pressure,
            usual_lease: Arc::clone(&usual_lease),
            metrics,
            epoch: 0,
        };
        let maintenance = MaintenanceThread::new(context, received);
        let thread = thread::Builder::new().name("ledger".into()).spawn(move || writer.run(maintenance));
        let thread = thread
            .map_err(|e| queue.suspend(&file_error(&path, &format!("its thread cannot be started: {e}"))))
            .ok();
        Self { path, queue, maintenance: commands, usual_lease, thread: Mutex::new(thread) }
    }

    /// Sets the lease that callers request. It tells when a running delivery began, and how long to wait for a delivery of an
    /// earlier process.
    pub fn set_usual_lease(&self, lease: Duration) {
        self.usual_lease.set(lease);
    }

    /// Finishes the queued jobs, checkpoints the file and releases its lock. Blocks until that is done. Later calls
    /// fail.
    pub fn close(&self) {
        self.queue.close();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A thread that panicked has closed the file too.
            let _ = thread.join();
        }
    }

    /// Deletes expired events now, and returns their number. This also happens by itself, after each opening and at
    /// least hourly.
    ///
    /// # Errors
    /// The ledger is unavailable.
    pub async fn sweep_now(&self) -> Result<u64, LedgerError> {
        let (reply_tx, swept) = oneshot::channel();
        let stopped = || file_error(&self.path, "its maintenance thread stopped");
        self.maintenance.send(Command::Sweep(reply_tx)).map_err(|_| stopped())?;
        swept.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Sends a job to the writer and waits for the reply, for [`REPLY_TIMEOUT`] at most. After one such wait in vain,
    /// calls fail at once until the writer goes on.
    async fn call<T>(
        &self,
        job: Job,
        mut reply: oneshot::Receiver<Result<T, LedgerError>>,
    ) -> Result<T, LedgerError> {
        self.queue.push(job);
        if let Ok(received) = tokio::time::timeout(REPLY_TIMEOUT, &mut reply).await {
            return received.unwrap_or_else(|_| Err(file_error(&self.path, "its writer stopped")));
        }
        let stalled = self.stalled();
        self.queue.mark_stalled(&stalled);
        // The reply may have come just now, and the job may just have failed with those in the queue.
        reply.try_recv().unwrap_or(Err(stalled))
    }

    fn stalled(&self) -> LedgerError {
        file_error(&self.path, "its disk did not answer in time")
    }

    /// Asks the writer's index for the rows of `events` that may have this id.
    async fn seqs_with_id(&self, id: &str) -> Result<Vec<i64>, LedgerError> {
        let (reply_tx, reply) = oneshot::channel();
        self.call(Job::FindId { id: id.into(), reply_tx }, reply).await
    }

    /// Runs a query beside the writer, on a thread where blocking is allowed.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Path) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        if let Health::NotReady { reason } = self.queue.health() {
            return Err(LedgerError::new(reason));
        }
        let path = self.path.clone();
        let result = tokio::task::spawn_blocking(move || read(&path));
        result.await.unwrap_or_else(|_| Err(file_error(&self.path, "its reader panicked; see the log")))
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn claim(&self, arrival: Arrival, lease: Duration) -> Result<Claim, LedgerError> {
        let expires_at = clock::instant() + lease;
        let (reply_tx, reply) = oneshot::channel();
        self.call(Job::Claim { arrival, lease, expires_at, reply_tx }, reply).await
    }

    async fn settle(&self, lease: Lease, settlement: Settlement) -> Result<Settled, SettleError> {
        let (reply_tx, reply) = oneshot::channel();
        self.queue.push(Job::Settle { lease, settlement, reply_tx });
        // Without a timeout: the lease is with the writer, and only its reply can return it.
        #[expect(
            clippy::expect_used,
            reason = "the writer replies to every job, after a panic too: its group outlives it"
        )]
        reply.await.expect("a job was dropped without a reply")
    }

    fn health(&self) -> Health {
        self.queue.health()
    }

    async fn enqueue(
        &self,
        arrival: Arrival,
        request: StoredRequest,
        lease: Option<Duration>,
    ) -> Result<EnqueueResult, LedgerError> {
        let expires_at = clock::instant() + lease.unwrap_or_default();
        let (reply_tx, reply) = oneshot::channel();
        self.call(Job::Enqueue { arrival, request, lease, expires_at, reply_tx }, reply).await
    }

    async fn claim_due(
        &self,
        endpoint: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<(Lease, StoredRequest)>, LedgerError> {
        let expires_at = clock::instant() + lease;
        let (reply_tx, reply) = oneshot::channel();
        self.call(Job::ClaimDue { endpoint: endpoint.into(), limit, lease, expires_at, reply_tx }, reply)
            .await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, LedgerError> {
        let (reply_tx, reply) = oneshot::channel();
        self.call(Job::Backlog { lease: self.usual_lease.get(), reply_tx }, reply).await
    }

    async fn list(
        &self,
        filter: &RecordFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, LedgerError> {
        let (filter, after) = (filter.clone(), after.map(str::to_owned));
        if let (Some(id), None) = (&filter.id, &after) {
            let seqs = self.seqs_with_id(id).await?;
            return self.read(move |path| reader::find(path, &filter, seqs)).await;
        }
        self.read(move |path| reader::list(path, &filter, after.as_deref(), limit)).await
    }

    async fn get(&self, key: &EventKey) -> Result<Option<(Record, Option<StoredRequest>)>, LedgerError> {
        let (key, seqs) = (key.clone(), self.seqs_with_id(&key.id).await?);
        self.read(move |path| reader::get(path, &key, &seqs)).await
    }

    async fn apply(&self, key: &EventKey, action: OperatorAction) -> Result<ActionResult, LedgerError> {
        let (reply_tx, reply) = oneshot::channel();
        self.call(Job::Apply { key: key.clone(), action, reply_tx }, reply).await
    }

    async fn last_arrival(&self, endpoint: &str) -> Result<Option<String>, LedgerError> {
        let endpoint = endpoint.to_owned();
        self.read(move |path| reader::last_arrival(path, &endpoint)).await
    }

    async fn remember_arrival(&self, endpoint: &str, head: &str) -> Result<(), LedgerError> {
        let (reply_tx, reply) = oneshot::channel();
        let job = Job::RememberArrival { endpoint: endpoint.into(), head: head.into(), reply_tx };
        self.call(job, reply).await
    }
}

/// Stops the threads without waiting for them. Queued jobs are finished.
impl Drop for SqliteLedger {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival() -> Arrival {
        let key =
            EventKey { endpoint: "/w".into(), segments: "".into(), query: "".into(), id: "evt_1".into() };
        Arrival { key, event_type: "invoice.paid".into(), created: None, livemode: None, account: None }
    }

    fn open_queue() -> (Arc<Queue>, SqliteLedger) {
        let queue = Arc::new(Queue::new(LedgerError::new("not open yet")));
        queue.resume();
        let ledger = SqliteLedger {
            path: "ledger.db".into(),
            queue: Arc::clone(&queue),
            maintenance: mpsc::channel().0,
            usual_lease: Arc::default(),
            thread: Mutex::new(None),
        };
        (queue, ledger)
    }

    const LATE: &str = "ledger ledger.db: its disk did not answer in time";

    /// This test stands in for the writer: it takes jobs and does not reply.
    #[tokio::test(start_paused = true)]
    async fn calls_fail_at_once_from_the_first_that_waited_in_vain_until_the_writer_goes_on() {
        let (queue, ledger) = open_queue();
        assert_eq!(ledger.health(), Health::Ready);
        let claim = || ledger.claim(arrival(), Duration::from_secs(37));
        let (first, mut group) = (claim(), Vec::new());
        tokio::pin!(first);
        assert!(futures_util::poll!(&mut first).is_pending());
        assert!(queue.take(&mut group, 9));
        let start = tokio::time::Instant::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        let second = claim();
        tokio::pin!(second);
        assert!(futures_util::poll!(&mut second).is_pending());

        // The first is with the writer; the second waits in the queue and fails with it.
        let (first, second) = tokio::join!(first, second);
        for result in [first, second, claim().await] {
            assert_eq!(result.unwrap_err().to_string(), LATE);
        }
        assert_eq!(start.elapsed(), REPLY_TIMEOUT);
        assert_eq!(ledger.health(), Health::NotReady { reason: LATE.into() });
        ledger.backlog().await.unwrap_err();

        // A settlement waits for the writer, however long that takes.
        let lease = Lease::new(arrival(), 1, 1, clock::instant());
        let settle = ledger.settle(lease, Settlement::Delivered { status: 200 });
        tokio::pin!(settle);
        assert!(futures_util::poll!(&mut settle).is_pending());
        group.clear();
        assert!(queue.take(&mut group, 9));
        assert!(matches!(&group[..], [Job::Settle { .. }]), "the second is not in the queue any more");
        assert_eq!(ledger.health(), Health::Ready);
        group.into_iter().for_each(|job| job.fail(LedgerError::new("over")));
        settle.await.unwrap_err();
    }

    /// This test stands in for the writer: it has replied, and stalls in a checkpoint.
    #[tokio::test(start_paused = true)]
    async fn stall_that_leaves_the_queue_empty_ends_when_the_writer_waits_for_jobs() {
        let (queue, ledger) = open_queue();
        let error = ledger.claim(arrival(), Duration::from_secs(37)).await.unwrap_err();
        assert_eq!(error.to_string(), LATE);
        let writer = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.take(&mut Vec::new(), 9)
        });
        while ledger.health() != Health::Ready {
            std::thread::yield_now();
        }
        queue.close();
        assert!(!writer.join().unwrap());
    }
}
