//! The maintenance thread's connection to one opening of the file. It is opened when it is first needed, and closed
//! before the writer opens the file again.

use std::time::Duration;

use super::clock_watch::ClockWatch;
use super::context::MaintenanceContext;
use super::tasks::Tasks;
use crate::clock;
use crate::ledger::LedgerError;
use crate::ledger::retention::MAX_ADVANCE_PERIODS;
use crate::ledger::sqlite::error::file_error;

/// The thread's connection to one opening of the file.
pub(super) struct MaintenanceSession<'k> {
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
    /// A session without a file. `period` is the time between two sweeps.
    pub(super) fn new(context: &'k MaintenanceContext, period: Duration) -> Self {
        let watch = ClockWatch::new(clock::unix_millis(), clock::instant());
        Self { context, period, watch, epoch: None, tasks: None }
    }

    /// Uses the opening `epoch` of the file from now on.
    pub(super) fn attach(&mut self, epoch: u64) {
        self.epoch = Some(epoch);
    }

    /// Closes the connection.
    pub(super) fn detach(&mut self) {
        (self.epoch, self.tasks) = (None, None);
    }

    /// Opens the maintenance connection if needed; a failure is retried on the next command.
    pub(super) fn open(&mut self) -> Result<&mut Tasks<'k>, LedgerError> {
        let tasks = match (self.tasks.take(), self.epoch) {
            (Some(tasks), _) => tasks,
            (None, Some(epoch)) => Tasks::open(self.context, epoch)?,
            (None, None) => return Err(file_error(&self.context.path, "it is not open")),
        };
        Ok(self.tasks.insert(tasks))
    }

    /// Deletes what has expired, if the clock has run steadily for a whole period, and returns the number of events.
    pub(super) fn sweep(&mut self) -> Result<u64, LedgerError> {
        let steady = self.watch.observe(clock::unix_millis(), clock::instant());
        let advance = (steady >= self.period).then_some(self.period * MAX_ADVANCE_PERIODS);
        self.open()?.sweep(advance)
    }

    /// Makes abandoned events FAILED, if the file is open. It also looks at the clock.
    pub(super) fn fail_abandoned(&mut self) -> Result<(), LedgerError> {
        self.watch.observe(clock::unix_millis(), clock::instant());
        if self.epoch.is_none() {
            return Ok(());
        }
        self.open()?.fail_abandoned()
    }
}
