//! Maintenance beside the writer: retention, archiving, checkpoints. This file owns the thread, which sweeps on a
//! schedule and runs when the writer notifies it.
//!
//! `tasks` has the work itself; `statements` the operations that the writer runs for it; `pressure` the counters that
//! decide when there is enough to do; `context` what thread and tasks share; `clock_watch` whether the clock has jumped.

mod clock_watch;
mod context;
mod pressure;
pub(super) mod statements;
mod tasks;

use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

use self::clock_watch::ClockWatch;
use self::tasks::Tasks;
use super::error::file_error;
use crate::clock;
use crate::ledger::LedgerError;
use crate::ledger::abandoned::SWEEP_INTERVAL;
use crate::ledger::retention::{MAX_ADVANCE_PERIODS, sweep_period};

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
        let watch = ClockWatch::new(clock::unix_millis(), clock::instant());
        let mut session =
            MaintenanceSession { context: &self.context, period, watch, epoch: None, tasks: None };
        let (mut next_sweep, mut next_look) = (clock::instant() + period, clock::instant() + SWEEP_INTERVAL);
        loop {
            let timeout = next_sweep.min(next_look).saturating_duration_since(clock::instant());
            let result = match self.commands.recv_timeout(timeout) {
                Ok(Command::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Ok(Command::Opened { epoch }) => {
                    // The first sweep follows at once: it also builds the Bloom filter.
                    (session.epoch, next_sweep) = (Some(epoch), clock::instant());
                    Ok(())
                }
                Ok(Command::Detach(detached)) => {
                    (session.epoch, session.tasks) = (None, None);
                    drop(detached);
                    Ok(())
                }
                Ok(Command::Sweep(reply_tx)) => {
                    // The caller may have stopped waiting.
                    let _ = reply_tx.send(session.sweep());
                    Ok(())
                }
                Ok(Command::Run) => {
                    self.context.pressure.acknowledge();
                    session.open().and_then(Tasks::run)
                }
                Err(mpsc::RecvTimeoutError::Timeout) if next_look < next_sweep => {
                    next_look = clock::instant() + SWEEP_INTERVAL;
                    session.watch.observe(clock::unix_millis(), clock::instant());
                    session.fail_abandoned()
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    next_sweep = clock::instant() + period;
                    session.sweep().map(drop)
                }
            };
            if let Err(reason) = result {
                tracing::warn!(%reason, "ledger maintenance failed, retrying later");
            }
        }
    }
}

/// The thread's connection to one opening of the file.
struct MaintenanceSession<'k> {
    context: &'k MaintenanceContext,
    /// The time between two sweeps.
    period: Duration,
    watch: ClockWatch,
    /// The number of the current opening; `None` while the writer has the file closed.
    epoch: Option<u64>,
    /// The tasks on an open connection; `None` until they are first needed.
    tasks: Option<Tasks<'k>>,
}

impl<'k> MaintenanceSession<'k> {
    /// Opens the maintenance connection if needed; a failure is retried on the next command.
    fn open(&mut self) -> Result<&mut Tasks<'k>, LedgerError> {
        let tasks = match (self.tasks.take(), self.epoch) {
            (Some(tasks), _) => tasks,
            (None, Some(epoch)) => Tasks::open(self.context, epoch)?,
            (None, None) => return Err(file_error(&self.context.path, "it is not open")),
        };
        Ok(self.tasks.insert(tasks))
    }

    /// Deletes what has expired, if the clock has run steadily for a whole period, and returns the number of events.
    fn sweep(&mut self) -> Result<u64, LedgerError> {
        let steady = self.watch.observe(clock::unix_millis(), clock::instant());
        let advance = (steady >= self.period).then_some(self.period * MAX_ADVANCE_PERIODS);
        self.open()?.sweep(advance)
    }

    /// Makes abandoned events FAILED, if the file is open.
    fn fail_abandoned(&mut self) -> Result<(), LedgerError> {
        if self.epoch.is_none() {
            return Ok(());
        }
        self.open()?.fail_abandoned()
    }
}
