//! The one thread that writes: it takes whatever has queued up, commits it as one transaction, and answers after the
//! commit. It owns the file from opening to closing, and opens it again, for as long as it takes, when that fails.
//!
//! ```text
//!  start ─▶ SHUT: lock, open, write a probe ─▶ OPEN: group after group ─▶ closed: checkpoint, unlock
//!             ▲  └──again every [`RETRY`]──┘        │
//!             └─── a group failed, or the file is ──┘
//!                  no longer the one opened
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::LedgerError;
use super::fault::{explain, is_busy, refuse};
use super::granted::Granted;
use super::index::KeyHasher;
use super::keeper::{Keeper, Order};
use super::lock::{LifeLock, beside};
use super::mess::Mess;
use super::queue::{Chore, Job, Queue};
use super::schema;
use super::store::{Claimed, Due, Now, Store};
use crate::clock;
use crate::ledger::{ActionResult, Claim, EnqueueResult, Lease, Settled, Settlement};

/// The most transitions of one transaction: bounds how long the first of them waits for the last.
const GROUP: usize = 256;

/// How long to wait between two tries to open the file, or to see whether an outsider's lock is gone.
const RETRY: Duration = Duration::from_millis(50);

/// What the writer works with.
pub(super) struct Writer {
    pub(super) path: PathBuf,
    pub(super) queue: Arc<Queue>,
    pub(super) keeper: mpsc::Sender<Order>,
    pub(super) hasher: KeyHasher,
    pub(super) mess: Arc<Mess>,
    /// Counts the openings of the file.
    pub(super) epoch: u64,
}

/// Why a file is no longer served.
enum End {
    Closed,
    Broken(LedgerError),
}

impl Writer {
    /// Serves until the queue is closed, and the keeper beside it; then leaves the file checkpointed and unlocked.
    pub(super) fn run(mut self, keeper: Keeper) {
        let last = thread::scope(|scope| {
            scope.spawn(|| keeper.run());
            let last = self.work();
            self.tell(Order::Stop);
            last
        });
        if let Some((_lock, conn)) = last {
            // If this fails, the next opening does it. The connection goes before the lock does.
            let _ = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            drop(conn);
        }
    }

    fn work(&mut self) -> Option<(LifeLock, Connection)> {
        let lock = self.until_open(|writer| LifeLock::take(&writer.path))?;
        // Out here, so that a panic cannot take jobs with it: every job is answered.
        let mut group = Vec::new();
        // And so that leases under way outlive whatever becomes of the file.
        let mut granted = Granted::default();
        loop {
            let conn = self.until_open(Writer::open)?;
            // What a panic leaves behind is dropped with the connection, which rolls it back.
            let end = catch_unwind(AssertUnwindSafe(|| self.serve(&conn, &mut group, &mut granted)));
            granted.rollback();
            match end
                .unwrap_or_else(|_| End::Broken(refuse(&self.path, "a fault in the program; see the log")))
            {
                End::Closed => return Some((lock, conn)),
                End::Broken(reason) => self.turn_away(&mut group, &reason),
            }
            drop(conn);
            let (left, leaves) = mpsc::channel();
            self.tell(Order::Leave(left));
            let _ = leaves.recv(); // ends when the keeper drops its side, having left or being gone
            self.queue.pause(RETRY);
        }
    }

    /// Tries until it works, shut meanwhile. None once the queue is closed.
    fn until_open<T>(&self, open: impl Fn(&Self) -> Result<T, LedgerError>) -> Option<T> {
        while !self.queue.is_closed() {
            match open(self) {
                Ok(opened) => return Some(opened),
                Err(reason) => self.shut(&reason),
            }
            self.queue.pause(RETRY);
        }
        None
    }

    fn open(&self) -> Result<Connection, LedgerError> {
        let conn = schema::open(&self.path)?;
        schema::probe(&conn).map_err(|e| explain(&self.path, &e))?;
        Ok(conn)
    }

    fn serve(&mut self, conn: &Connection, group: &mut Vec<Job>, granted: &mut Granted) -> End {
        let broken = |error: &rusqlite::Error| End::Broken(explain(&self.path, error));
        let mut store = match Store::new(conn, self.hasher.clone()) {
            Ok(store) => store,
            Err(e) => return broken(&e),
        };
        let identity = match Identity::of(&self.path) {
            Ok(identity) => identity,
            Err(reason) => return End::Broken(reason),
        };
        self.epoch += 1;
        self.queue.open();
        tracing::info!(ledger = %self.path.display(), events = store.len(), "ledger ready");
        self.tell(Order::Opened { epoch: self.epoch });

        let mut busy = false;
        loop {
            // Whoever was answered is about to ask for the next thing: where there is no core to spare, letting them
            // makes for fewer and larger groups. Where there is one, this returns at once.
            if busy {
                thread::yield_now();
            }
            if !self.queue.take(group, GROUP) {
                return End::Closed;
            }
            busy = group.len() > 1;
            if let Err(reason) = identity.check(&self.path) {
                return End::Broken(reason);
            }
            match store.begin() {
                Ok(()) => {}
                Err(e) if is_busy(&e) => {
                    self.turn_away(group, &explain(&self.path, &e));
                    match self.sit_out(conn) {
                        Ok(()) => continue,
                        Err(e) => return broken(&e),
                    }
                }
                Err(e) => return broken(&e),
            }
            if let Err(e) = self.transact(&mut store, group, granted) {
                return broken(&e);
            }
        }
    }

    /// Does the group in the transaction that has begun, commits it, and then answers. On an error nothing of it is
    /// kept, and whoever is still in the group has no answer yet.
    fn transact(
        &self,
        store: &mut Store<'_>,
        group: &mut Vec<Job>,
        granted: &mut Granted,
    ) -> rusqlite::Result<()> {
        let unix = i64::try_from(clock::unix().as_millis()).unwrap_or(i64::MAX);
        let now = Now { unix, instant: clock::instant() };
        let (mut rows, mut checkpoint) = (group.len(), false);
        let mut outcomes = Vec::with_capacity(group.len());
        for job in group.iter_mut() {
            outcomes.push(match job {
                Job::Claim { answer, .. } if answer.is_closed() => Outcome::Skipped,
                Job::Claim { arrival, lease, .. } => {
                    Outcome::Claimed(store.claim(arrival, *lease, now, granted)?)
                }
                Job::Settle { lease, settlement, .. } => {
                    Outcome::Settled(store.settle(lease, *settlement, now, granted)?)
                }
                Job::Keep { answer, .. } if answer.is_closed() => Outcome::Skipped,
                Job::Keep { arrival, parcel, lease, .. } => {
                    Outcome::Claimed(store.enqueue(arrival, parcel, *lease, now, granted)?)
                }
                Job::Due { answer, .. } if answer.is_closed() => Outcome::Skipped,
                Job::Due { endpoint, most, lease, .. } => {
                    let due = store.due(endpoint, *most, *lease, now, granted)?;
                    rows += due.len();
                    Outcome::Due(due)
                }
                Job::Act { key, action, .. } => Outcome::ActionResult(store.act(key, *action, now, granted)?),
                Job::Chore { epoch, .. } if *epoch != self.epoch => Outcome::Skipped,
                Job::Chore { chore, .. } => {
                    let touched = store.chore(chore)?;
                    rows += touched as usize;
                    checkpoint |= matches!(chore, Chore::Checkpoint);
                    Outcome::Done(touched)
                }
            });
        }
        store.commit()?;
        granted.commit(now.instant);
        for (job, outcome) in group.drain(..).zip(outcomes) {
            self.answer(job, outcome);
        }
        self.queue.went_on();
        if checkpoint {
            store.checkpoint()?;
        }
        if self.mess.made(rows, store.len()) {
            self.tell(Order::Tidy);
        }
        Ok(())
    }

    /// Tells what is durable now. A lease that nobody takes any more is settled as failed.
    fn answer(&self, job: Job, outcome: Outcome) {
        match (job, outcome) {
            (Job::Claim { arrival, ends, answer, .. }, Outcome::Claimed(claimed)) => {
                let claim = match claimed {
                    Claimed::Leased { attempt, token } => {
                        Claim::Leased(Lease::new(arrival, attempt, token, ends))
                    }
                    Claimed::InFlight { retry_after } => Claim::InFlight { retry_after },
                    Claimed::Duplicate | Claimed::Queued => Claim::Duplicate,
                };
                if let Err(Ok(Claim::Leased(lease))) = answer.send(Ok(claim)) {
                    let (answer, _) = oneshot::channel();
                    self.queue.push(Job::Settle {
                        lease,
                        settlement: Settlement::Failed { status: None },
                        answer,
                    });
                }
            }
            (Job::Keep { arrival, ends, answer, .. }, Outcome::Claimed(claimed)) => {
                let kept = match claimed {
                    Claimed::Leased { attempt, token } => {
                        EnqueueResult::Leased(Lease::new(arrival, attempt, token, ends))
                    }
                    Claimed::Queued => EnqueueResult::Queued,
                    Claimed::InFlight { retry_after } => EnqueueResult::InFlight { retry_after },
                    Claimed::Duplicate => EnqueueResult::Duplicate,
                };
                if let Err(Ok(EnqueueResult::Leased(lease))) = answer.send(Ok(kept)) {
                    self.hand_back(lease);
                }
            }
            (Job::Due { ends, answer, .. }, Outcome::Due(due)) => {
                let leased = due.into_iter().map(|Due { arrival, attempt, token, parcel }| {
                    (Lease::new(arrival, attempt, token, ends), parcel)
                });
                if let Err(Ok(leased)) = answer.send(Ok(leased.collect())) {
                    leased.into_iter().for_each(|(lease, _)| self.hand_back(lease));
                }
            }
            (Job::Act { answer, .. }, Outcome::ActionResult(acted)) => drop(answer.send(Ok(acted))),
            (Job::Settle { answer, .. }, Outcome::Settled(settled)) => drop(answer.send(Ok(settled))),
            (Job::Chore { answer, .. }, Outcome::Done(rows)) => drop(answer.send(Ok(rows))),
            (job, _) => job.fail(refuse(&self.path, "it was opened anew meanwhile")),
        }
    }

    /// A kept event that nobody takes any more is due again.
    fn hand_back(&self, lease: Lease) {
        let (answer, _) = oneshot::channel();
        let settlement = Settlement::Retry { status: None, wait: Duration::ZERO, counts: false };
        self.queue.push(Job::Settle { lease, settlement, answer });
    }

    /// Waits until an outsider's lock is gone.
    fn sit_out(&self, conn: &Connection) -> rusqlite::Result<()> {
        while !self.queue.is_closed() {
            match schema::probe(conn) {
                Ok(()) => {
                    self.queue.open();
                    tracing::info!(ledger = %self.path.display(), "ledger ready again");
                    return Ok(());
                }
                Err(e) if is_busy(&e) => self.queue.pause(RETRY),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn turn_away(&self, group: &mut Vec<Job>, reason: &LedgerError) {
        self.shut(reason);
        group.drain(..).for_each(|job| job.fail(reason.clone()));
        self.queue.went_on();
    }

    fn shut(&self, reason: &LedgerError) {
        if self.queue.shut(reason) {
            tracing::error!(%reason, "ledger not ready");
        }
    }

    fn tell(&self, order: Order) {
        // A keeper that is gone stopped because this thread is stopping.
        let _ = self.keeper.send(order);
    }
}

/// What came of a job, to be told once it is durable.
enum Outcome {
    Claimed(Claimed),
    Due(Vec<Due>),
    Settled(Settled),
    ActionResult(ActionResult),
    Done(u64),
    /// Nobody waits for it any more, or it was for another opening of the file.
    Skipped,
}

/// Which files were opened. SQLite goes on writing to files that were deleted or replaced, and all of it would be
/// gone at the next start.
struct Identity {
    wal: PathBuf,
    files: [Option<(u64, u64)>; 2],
}

impl Identity {
    fn of(path: &Path) -> Result<Self, LedgerError> {
        let wal = beside(path, "-wal");
        let files = [inode(path), inode(&wal)];
        match files {
            [Some(_), Some(_)] => Ok(Self { wal, files }),
            _ => Err(refuse(path, "it was deleted while it was opened")),
        }
    }

    fn check(&self, path: &Path) -> Result<(), LedgerError> {
        if [inode(path), inode(&self.wal)] == self.files {
            return Ok(());
        }
        Err(refuse(path, "it was deleted or replaced while in use, and what it remembered with it"))
    }
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|data| (data.dev(), data.ino()))
}
