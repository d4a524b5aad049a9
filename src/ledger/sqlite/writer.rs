//! The one thread that writes. It owns the file from opening to closing, and reopens it whenever it fails, for as long
//! as that takes. `group` commits the queued jobs as one transaction and replies after the commit.
//!
//! ```text
//!  start ─▶ SUSPENDED: lock, open, probe ─▶ OPEN: group after group ─▶ CLOSED: checkpoint, unlock
//!             ▲  └─ again every [`RETRY_INTERVAL`] ─┘    │
//!             └─ a group failed, or the file was deleted ┘
//!                or replaced
//! ```

mod group;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use super::error::{file_error, is_busy, sqlite_error};
use super::file_identity::FileIdentity;
use super::index::KeyHasher;
use super::local_leases::LocalLeases;
use super::lock::ProcessLock;
use super::maintenance::{Command, MaintenancePressure, MaintenanceThread};
use super::queue::{Job, Queue};
use super::reset;
use super::schema;
use super::transitions::Transitions;
use crate::clock;
use crate::ledger::LedgerError;
use crate::ledger::usual_lease::UsualLease;
use crate::metrics::Metrics;

/// The largest number of jobs in one transaction: it bounds how long the first of them waits for the last.
const MAX_GROUP: usize = 256;

/// The time between two attempts to open the file, or to see whether another program's lock is gone.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// The writer's thread, before and while it runs.
pub(super) struct Writer {
    /// The ledger file.
    pub(super) path: PathBuf,
    /// The jobs to serve.
    pub(super) queue: Arc<Queue>,
    /// The maintenance thread's commands.
    pub(super) maintenance: mpsc::Sender<Command>,
    /// The hasher of the index and the Bloom filter, shared with the maintenance thread.
    pub(super) hasher: KeyHasher,
    /// The counters that decide when to notify the maintenance thread.
    pub(super) pressure: Arc<MaintenancePressure>,
    /// The length of leases, for those of an earlier process.
    pub(super) usual_lease: Arc<UsualLease>,
    /// The counter of resets.
    pub(super) metrics: Arc<Metrics>,
    /// The number of times the file was opened. The writer adds one each time.
    pub(super) epoch: u64,
}

/// Why the writer stopped serving an open file.
enum ServeEnd {
    /// The queue is closed and empty.
    Closed,
    /// The file failed and must be reopened.
    Failed(LedgerError),
    /// The file or its write-ahead log was deleted or replaced while it was open.
    FilesLost(LedgerError),
}

impl Writer {
    /// Serves until the queue is closed, with the maintenance thread beside it. Leaves the file checkpointed and
    /// unlocked.
    pub(super) fn run(mut self, maintenance: MaintenanceThread) {
        let last = thread::scope(|scope| {
            scope.spawn(|| maintenance.run());
            let last = self.serve_until_closed();
            self.notify_maintenance(Command::Stop);
            last
        });
        if let Some((_lock, conn)) = last {
            // If this fails, the next opening does it. The connection is closed before the lock is released.
            let _ = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            drop(conn);
        }
    }

    fn serve_until_closed(&mut self) -> Option<(ProcessLock, Connection)> {
        let lock = self.retry_until_closed(|writer| ProcessLock::acquire(&writer.path))?;
        // The group is declared out here so that a panic cannot lose jobs: every job gets a reply.
        let mut group = Vec::new();
        // Leases under way must outlive every failure of the file.
        let mut leases = LocalLeases::new(clock::instant(), self.usual_lease.clone());
        let mut files_lost = false;
        loop {
            let conn = self.retry_until_closed(|writer| writer.open(&lock, files_lost))?;
            files_lost = false;
            // A panic leaves nothing behind: dropping the connection rolls its transaction back.
            let end = catch_unwind(AssertUnwindSafe(|| self.serve(&conn, &mut group, &mut leases)));
            leases.rollback();
            let panicked = |_| {
                ServeEnd::Failed(file_error(&self.path, "the writer panicked; see the log for the cause"))
            };
            match end.unwrap_or_else(panicked) {
                ServeEnd::Closed => return Some((lock, conn)),
                ServeEnd::Failed(reason) => self.fail_all(&mut group, &reason),
                ServeEnd::FilesLost(reason) => {
                    files_lost = true;
                    self.fail_all(&mut group, &reason);
                }
            }
            drop(conn);
            let (detached_tx, detached) = mpsc::channel();
            self.notify_maintenance(Command::Detach(detached_tx));
            // Ends when the maintenance thread drops the sender: it has detached, or it no longer runs.
            let _ = detached.recv();
            self.queue.pause(RETRY_INTERVAL);
        }
    }

    /// Attempts an action until it succeeds, with the queue suspended between attempts. Returns `None` once the queue
    /// is closed.
    fn retry_until_closed<T>(&self, attempt: impl Fn(&Self) -> Result<T, LedgerError>) -> Option<T> {
        while !self.queue.is_closed() {
            match attempt(self) {
                Ok(value) => return Some(value),
                Err(reason) => self.suspend(&reason),
            }
            self.queue.pause(RETRY_INTERVAL);
        }
        None
    }

    /// Opens the file. Counts a reset if it is another file than before, or if the caller knows that files were lost.
    fn open(&self, lock: &ProcessLock, files_lost: bool) -> Result<Connection, LedgerError> {
        let conn = schema::open(&self.path)?;
        schema::probe(&conn).map_err(|e| sqlite_error(&self.path, &e))?;
        let marker = schema::marker(&conn).map_err(|e| sqlite_error(&self.path, &e))?;
        self.metrics.set_ledger(&marker);
        if reset::is_another_file(&self.path, &marker, lock)? || files_lost {
            self.metrics.ledger_reset();
            tracing::error!(
                ledger = %self.path.display(),
                "the SQLite ledger was deleted or replaced: its events are forgotten, and Stripe's copies of them would \
                 be delivered again; find the events that are missing: countersign reconcile --all"
            );
        }
        Ok(conn)
    }

    /// Serves group after group on an open file.
    fn serve(&mut self, conn: &Connection, group: &mut Vec<Job>, leases: &mut LocalLeases) -> ServeEnd {
        let failed = |error: &rusqlite::Error| ServeEnd::Failed(sqlite_error(&self.path, error));
        let mut transitions = match Transitions::new(conn, self.hasher.clone()) {
            Ok(transitions) => transitions,
            Err(e) => return failed(&e),
        };
        let identity = match FileIdentity::read(&self.path) {
            Ok(identity) => identity,
            Err(reason) => return ServeEnd::Failed(reason),
        };
        self.epoch += 1;
        self.pressure.record_inline_runs(transitions.inline_runs());
        self.queue.resume();
        tracing::info!(ledger = %self.path.display(), events = transitions.len(), "SQLite ledger ready");
        self.notify_maintenance(Command::Opened { epoch: self.epoch });

        let mut busy = false;
        loop {
            // Callers that just got a reply are about to send their next job. Without a free core, yielding to them
            // makes groups fewer and larger; with one, this returns at once.
            if busy {
                thread::yield_now();
            }
            if !self.queue.take(group, MAX_GROUP) {
                return ServeEnd::Closed;
            }
            busy = group.len() > 1;
            if let Err(reason) = identity.check(&self.path) {
                return ServeEnd::FilesLost(reason);
            }
            match transitions.begin() {
                Ok(()) => {}
                Err(e) if is_busy(&e) => {
                    self.fail_all(group, &sqlite_error(&self.path, &e));
                    match self.wait_for_unlock(conn) {
                        Ok(()) => continue,
                        Err(e) => return failed(&e),
                    }
                }
                Err(e) => return failed(&e),
            }
            if let Err(e) = self.commit_group(&mut transitions, group, leases) {
                return failed(&e);
            }
        }
    }

    /// Waits until another program's lock is gone, or the queue is closed.
    fn wait_for_unlock(&self, conn: &Connection) -> rusqlite::Result<()> {
        while !self.queue.is_closed() {
            match schema::probe(conn) {
                Ok(()) => {
                    self.queue.resume();
                    tracing::info!(ledger = %self.path.display(), "SQLite ledger ready again");
                    return Ok(());
                }
                Err(e) if is_busy(&e) => self.queue.pause(RETRY_INTERVAL),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Suspends the queue and fails every job of the group.
    fn fail_all(&self, group: &mut Vec<Job>, reason: &LedgerError) {
        self.suspend(reason);
        group.drain(..).for_each(|job| job.fail(reason.clone()));
    }

    fn suspend(&self, reason: &LedgerError) {
        // Logged once for each reason, not at every attempt.
        if self.queue.suspend(reason) {
            tracing::error!(%reason, "SQLite ledger unavailable, retrying until it recovers");
        }
    }

    fn notify_maintenance(&self, command: Command) {
        // Sending fails only if the maintenance thread has ended, and it ends with this one.
        let _ = self.maintenance.send(command);
    }
}
