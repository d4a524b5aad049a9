//! The embedded ledger: one SQLite file, one thread that writes it and one that keeps it tidy. This file is what the
//! rest of the program sees; which file does what: `queue` takes jobs from callers, `writer` commits them in groups,
//! `store` has the transitions, `schema` the tables, `index` and `filter` what is kept in memory to find an event
//! fast; `keeper` decides when to keep house, `house` does it (retention, archive, checkpoints) by `chores`; `lock`
//! keeps a second process out.
//! Why it is built so: `docs/decisions/0001-sqlite-ledger.md`.

mod chores;
mod fault;
mod filter;
mod granted;
mod house;
mod index;
mod keeper;
mod kept;
mod lock;
mod mess;
mod queue;
mod reader;
mod schema;
mod store;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

pub(crate) use self::lock::lock_file;

use self::fault::refuse;
use self::index::KeyHasher;
use self::keeper::{Keeper, Order};
use self::queue::{Job, Queue};
use self::writer::Writer;
use super::{
    ActionResult, Arrival, Backlog, Claim, EnqueueResult, EventKey, Health, Lease, Ledger, LedgerError,
    OperatorAction, Page, Record, RecordFilter, SettleError, Settled, Settlement, StoredRequest,
};
use crate::clock;

/// How long a claim waits for a disk that does not answer. Longer than any lock is waited for, and no longer than
/// what a lease adds to its attempt, since later no attempt could begin.
const PATIENCE: Duration = Duration::from_secs(5);

/// A ledger in an SQLite file.
pub struct SqliteLedger {
    path: PathBuf,
    queue: Arc<Queue>,
    orders: mpsc::Sender<Order>,
    /// The writer, until it was waited for.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteLedger {
    /// Opens the ledger at `path` in the background, making file and directory if they are missing, and goes on
    /// trying for as long as it cannot. Settled events are forgotten `retention` later.
    ///
    /// Until it is open, and whenever it is out of reach, claims fail at once and [`health`](Ledger::health) has the
    /// reason.
    pub fn start(path: PathBuf, retention: Duration) -> Self {
        let queue = Arc::new(Queue::new(refuse(&path, "it is being opened")));
        let (orders, received) = mpsc::channel();
        let (hasher, mess) = (KeyHasher::default(), Arc::default());
        let keeper = Keeper {
            path: path.clone(),
            retention,
            queue: queue.clone(),
            orders: received,
            hasher: hasher.clone(),
            mess: Arc::clone(&mess),
        };
        let writer = Writer {
            path: path.clone(),
            queue: queue.clone(),
            keeper: orders.clone(),
            hasher,
            mess,
            epoch: 0,
        };
        let thread = thread::Builder::new().name("ledger".into()).spawn(move || writer.run(keeper));
        let thread = thread.map_err(|e| queue.shut(&refuse(&path, &format!("no thread for it: {e}")))).ok();
        Self { path, queue, orders, thread: Mutex::new(thread) }
    }

    /// Finishes what is queued, copies everything into the file and releases its lock. Blocks until that is done.
    /// Calls after this fail.
    pub fn close(&self) {
        self.queue.close();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A thread that panicked has let go of the file too.
            let _ = thread.join();
        }
    }

    /// Forgets what has expired, now, and returns how many events that were. It is done by itself when the ledger
    /// is opened and at least hourly after that.
    ///
    /// # Errors
    /// The ledger is out of reach.
    pub async fn sweep_now(&self) -> Result<u64, LedgerError> {
        let (answer, swept) = oneshot::channel();
        let stopped = || refuse(&self.path, "its keeper stopped");
        self.orders.send(Order::Sweep(answer)).map_err(|_| stopped())?;
        swept.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Has the writer do a job and waits for its answer, as long as the disk is worth waiting for.
    async fn ask<T>(
        &self,
        job: Job,
        mut answer: oneshot::Receiver<Result<T, LedgerError>>,
    ) -> Result<T, LedgerError> {
        self.queue.push(job);
        if let Ok(answered) = tokio::time::timeout(PATIENCE, &mut answer).await {
            return answered.unwrap_or_else(|_| Err(refuse(&self.path, "its writer stopped")));
        }
        self.queue.waited_in_vain();
        match answer.try_recv() {
            // It came just now, and the writer may have gone on before that was noted.
            Ok(answered) => {
                self.queue.went_on();
                answered
            }
            Err(_) => Err(self.late()),
        }
    }

    fn late(&self) -> LedgerError {
        refuse(&self.path, "its disk did not answer in time")
    }

    /// Reads beside the writer, where blocking is allowed.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Path) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        if let Health::NotReady { reason } = self.queue.health() {
            return Err(LedgerError::new(reason));
        }
        let path = self.path.clone();
        let reading = tokio::task::spawn_blocking(move || read(&path));
        reading.await.unwrap_or_else(|_| Err(refuse(&self.path, "its reader stopped")))
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn claim(&self, arrival: Arrival, lease: Duration) -> Result<Claim, LedgerError> {
        let ends = clock::instant() + lease;
        let (answer, claimed) = oneshot::channel();
        self.ask(Job::Claim { arrival, lease, ends, answer }, claimed).await
    }

    async fn settle(&self, lease: Lease, settlement: Settlement) -> Result<Settled, SettleError> {
        let (answer, settled) = oneshot::channel();
        self.queue.push(Job::Settle { lease, settlement, answer });
        #[expect(
            clippy::expect_used,
            reason = "the writer answers every job, after a panic too: its group outlives it"
        )]
        settled.await.expect("a job was dropped without an answer")
    }

    fn health(&self) -> Health {
        match self.queue.health() {
            Health::Ready if self.queue.is_late() => Health::NotReady { reason: self.late().reason },
            health => health,
        }
    }

    async fn enqueue(
        &self,
        arrival: Arrival,
        parcel: StoredRequest,
        lease: Option<Duration>,
    ) -> Result<EnqueueResult, LedgerError> {
        let ends = clock::instant() + lease.unwrap_or_default();
        let (answer, kept) = oneshot::channel();
        self.ask(Job::Keep { arrival, parcel, lease, ends, answer }, kept).await
    }

    async fn claim_due(
        &self,
        endpoint: &str,
        most: usize,
        lease: Duration,
    ) -> Result<Vec<(Lease, StoredRequest)>, LedgerError> {
        let ends = clock::instant() + lease;
        let (answer, due) = oneshot::channel();
        self.ask(Job::Due { endpoint: endpoint.into(), most, lease, ends, answer }, due).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, LedgerError> {
        let now = i64::try_from(clock::unix().as_millis()).unwrap_or(i64::MAX);
        self.read(move |path| reader::backlog(path, now)).await
    }

    async fn list(
        &self,
        filter: &RecordFilter,
        after: Option<&str>,
        most: usize,
    ) -> Result<Page, LedgerError> {
        let (filter, after) = (filter.clone(), after.map(str::to_owned));
        self.read(move |path| reader::list(path, &filter, after.as_deref(), most)).await
    }

    async fn get(&self, key: &EventKey) -> Result<Option<(Record, Option<StoredRequest>)>, LedgerError> {
        let key = key.clone();
        self.read(move |path| reader::show(path, &key)).await
    }

    async fn apply(&self, key: &EventKey, action: OperatorAction) -> Result<ActionResult, LedgerError> {
        let (answer, acted) = oneshot::channel();
        self.ask(Job::Act { key: key.clone(), action, answer }, acted).await
    }
}

/// Stops the threads without waiting for them; what is queued is finished.
impl Drop for SqliteLedger {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival() -> Arrival {
        let key = EventKey { endpoint: "/w".into(), query: "".into(), id: "evt_1".into() };
        Arrival { key, event_type: "invoice.paid".into(), created: None, livemode: None, account: None }
    }

    /// The writer's part is played here: it takes jobs and does not answer.
    #[tokio::test(start_paused = true)]
    async fn a_disk_that_does_not_answer_is_not_ready_until_it_does() {
        let queue = Arc::new(Queue::new(LedgerError::new("not open yet")));
        queue.open();
        let ledger = SqliteLedger {
            path: "ledger.db".into(),
            queue: Arc::clone(&queue),
            orders: mpsc::channel().0,
            thread: Mutex::new(None),
        };
        assert_eq!(ledger.health(), Health::Ready);
        let error = ledger.claim(arrival(), Duration::from_secs(37)).await.unwrap_err();
        assert_eq!(error.to_string(), "ledger ledger.db: its disk did not answer in time");
        assert_eq!(ledger.health(), Health::NotReady { reason: error.to_string().into() });

        let mut group = Vec::new();
        assert!(queue.take(&mut group, 9));
        group.into_iter().for_each(|job| job.fail(LedgerError::new("nobody hears it")));
        queue.went_on();
        assert_eq!(ledger.health(), Health::Ready);
    }
}
