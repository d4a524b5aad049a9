//! When the program begins to accept connections. Without inherited sockets that is at once. With them, another process
//! may still accept from the same sockets: this one then stands by until the other drains, and takes over. It gets the
//! ledger later, when the other has finished its deliveries; webhooks wait for that, and other requests pass.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

use super::announce;
use super::old_ledger::warn_of_old_ledgers;
use super::open_ledger::ledger_ready;
use super::process_manager;
use super::running::App;
use super::signals::{Signal, Signals};
use crate::config::LedgerUrl;
use crate::edge::handover::Handover;
use crate::ledger::Ledger;
use crate::ledger::sqlite::AcceptLock;

/// How often a process that stands by looks whether the other one drains.
const STANDBY_INTERVAL: Duration = Duration::from_millis(20);
/// How much longer than its grace period the other process may need to end.
const HANDOVER_MARGIN: Duration = Duration::from_secs(1);

impl App {
    /// Begins to accept connections, after the process before this one has stopped. Returns false if a signal asks for the
    /// end before that.
    pub(super) async fn take_over(&mut self, signals: &mut Signals) -> bool {
        if let (Some(handover), LedgerUrl::Sqlite(path)) =
            (self.entrance.handover.clone(), &self.config.ledger.url)
        {
            let path = path.clone();
            if !self.stand_by(&path, signals).await {
                return false;
            }
            let max_wait = self.config.server.shutdown_grace + HANDOVER_MARGIN;
            tokio::spawn(end_handover(handover, self.ledger.handle(&self.metrics), max_wait));
        }
        self.entrance.opened.cancel();
        self.readiness.set_listening();
        announce::listening(&self.config, &self.entrance.addresses);
        tokio::spawn(warn_of_old_ledgers(self.config.clone(), self.ledger.clone()));
        process_manager::ready(self.entrance.status());
        true
    }

    /// Waits until no other process accepts connections for this ledger, and keeps others from it. Returns false if a
    /// signal asks for the end.
    async fn stand_by(&mut self, path: &Path, signals: &mut Signals) -> bool {
        let mut stands_by = false;
        loop {
            match AcceptLock::try_acquire(path) {
                Ok(Some(lock)) => {
                    self.entrance.lock = Some(lock);
                    return true;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot tell whether another process accepts connections, accepting them");
                    return true;
                }
            }
            if !stands_by {
                stands_by = true;
                tracing::info!(
                    "standing by: another process accepts connections; stop it to let this one take over"
                );
                process_manager::ready(self.entrance.status());
            }
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Reload => self.reload().await,
                    Signal::Shutdown => return false,
                },
                () = sleep(STANDBY_INTERVAL) => {}
            }
        }
    }
}

/// Ends the handover when the ledger takes claims, or has not come in time.
async fn end_handover(handover: Arc<Handover>, ledger: Arc<dyn Ledger>, max_wait: Duration) {
    if timeout(max_wait, ledger_ready(&*ledger)).await.is_err() {
        tracing::error!(
            ?max_wait,
            "the ledger did not become ready in time, and waiting webhooks get 503; does the process before this one hang?"
        );
    }
    handover.end();
}
