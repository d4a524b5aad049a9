//! Maintenance beside the writer: retention, archiving, checkpoints. This file owns the thread, which sweeps on a
//! schedule and runs when the writer notifies it.
//!
//! `tasks` has the work itself; `statements` the operations that the writer runs for it; `pressure` the counters that
//! decide when there is enough to do; `context` what thread and tasks share; `session` the connection to one opening of
//! the file; `clock_watch` whether the clock has jumped. `wal_monitor` watches the size of the write-ahead log, and
//! `lock_holders` finds who keeps it from being cut.

mod clock_watch;
mod context;
mod lock_holders;
mod pressure;
mod session;
pub(super) mod statements;
mod tasks;
mod wal_monitor;

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use self::session::MaintenanceSession;
use self::tasks::Tasks;
use self::wal_monitor::{CHECK_INTERVAL, WalMonitor};
use crate::clock;
use crate::ledger::LedgerError;
use crate::ledger::abandoned::SWEEP_INTERVAL;
use crate::ledger::retention::sweep_period;

pub(super) use self::context::MaintenanceContext;
pub(super) use self::pressure::MaintenancePressure;

/// A command to the maintenance thread.
pub(super) enum Command {
    /// The writer opened the file, for the `epoch`th time.
    Opened { epoch: u64 },
    /// Close the connection, then drop the sender: connections to a replaced file must not share memory with new ones.
    Detach(mpsc::Sender<()>),
    /// Delete what has expired now, and reply with the number of deleted events.
    Sweep(oneshot::Sender<Result<u64, LedgerError>>),
    /// Checkpoint and archive, if there is enough to do.
    Run,
    /// End the thread.
    Stop,
}

/// The maintenance thread.
pub(super) struct MaintenanceThread {
    context: MaintenanceContext,
    commands: mpsc::Receiver<Command>,
}

impl MaintenanceThread {
    /// A thread that will take its commands from `commands`.
    pub(super) fn new(context: MaintenanceContext, commands: mpsc::Receiver<Command>) -> Self {
        Self { context, commands }
    }

    /// Runs until [`Command::Stop`], or until no sender is left.
    pub(super) fn run(self) {
        let period = sweep_period(self.context.retention);
        let mut session = MaintenanceSession::new(&self.context, period);
        let mut monitor = WalMonitor::new(self.context.path.clone(), Arc::clone(&self.context.metrics));
        let mut schedule = MaintenanceSchedule::new(period);
        loop {
            let timeout = schedule.next().saturating_duration_since(clock::instant());
            match self.commands.recv_timeout(timeout) {
                Ok(Command::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Ok(Command::Opened { epoch }) => {
                    session.attach(epoch);
                    // The first sweep follows at once: it also builds the Bloom filter.
                    (schedule.sweep, schedule.check) = (clock::instant(), clock::instant());
                }
                Ok(Command::Detach(detached)) => {
                    session.detach();
                    drop(detached);
                }
                Ok(Command::Sweep(reply_tx)) => {
                    // The caller may have stopped waiting.
                    let _ = reply_tx.send(session.sweep());
                }
                Ok(Command::Run) => {
                    self.context.pressure.acknowledge();
                    warn_if_failed(session.open().and_then(Tasks::run));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            // Not only after a timeout: under load one command follows the other.
            schedule.run_due(&mut session, &mut monitor);
        }
    }
}

/// When the next run of each recurring task begins.
struct MaintenanceSchedule {
    /// The time between two sweeps.
    period: Duration,
    sweep: Instant,
    /// The next look for abandoned events.
    look: Instant,
    /// The next look at the sizes of the files.
    check: Instant,
}

impl MaintenanceSchedule {
    fn new(period: Duration) -> Self {
        let now = clock::instant();
        Self { period, sweep: now + period, look: now + SWEEP_INTERVAL, check: now + CHECK_INTERVAL }
    }

    fn next(&self) -> Instant {
        self.sweep.min(self.look).min(self.check)
    }

    /// Runs the tasks that are due, and schedules them again.
    fn run_due(&mut self, session: &mut MaintenanceSession<'_>, monitor: &mut WalMonitor) {
        if clock::instant() >= self.sweep {
            self.sweep = clock::instant() + self.period;
            warn_if_failed(session.sweep().map(drop));
        }
        if clock::instant() >= self.look {
            self.look = clock::instant() + SWEEP_INTERVAL;
            warn_if_failed(session.fail_abandoned());
        }
        if clock::instant() >= self.check {
            self.check = clock::instant() + CHECK_INTERVAL;
            warn_if_failed(monitor.check(session));
        }
    }
}

fn warn_if_failed(result: Result<(), LedgerError>) {
    if let Err(reason) = result {
        tracing::warn!(%reason, "ledger maintenance failed, retrying later");
    }
}
