//! [`App`]: the running program as one value, and its end. It builds nothing and reads no configuration.

use arc_swap::ArcSwap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::entrance::Entrance;
use super::open_ledger::OpenLedger;
use super::process_manager;
use super::signals::Signals;
use crate::admin::Readiness;
use crate::admin::events::CurrentToken;
use crate::checkout::CheckoutResources;
use crate::config::{Config, Source};
use crate::edge::connection::DRAIN_IDLE_TIMEOUT;
use crate::edge::drain::Drain;
use crate::edge::route::Routes;
use crate::metrics::Metrics;

/// When connections that were idle at the start of a shutdown are closed for certain.
const IDLE_CLOSED_AFTER: Duration = DRAIN_IDLE_TIMEOUT.saturating_add(Duration::from_millis(100));

/// The running program. Everything here lives until shutdown; a reload replaces `routes` and what hangs on them.
pub(super) struct App {
    pub(super) source: Source,
    /// The configuration at start. Sections that only a restart can change are compared with it.
    pub(super) config: Config,
    pub(super) metrics: Arc<Metrics>,
    pub(super) ledger: OpenLedger,
    /// The endpoints and the checkout in force. Requests load them; a reload stores new ones.
    pub(super) routes: Arc<ArcSwap<Routes>>,
    pub(super) checkout: CheckoutResources,
    pub(super) readiness: Arc<Readiness>,
    pub(super) drain: Arc<Drain>,
    /// One task for each connection.
    pub(super) connections: TaskTracker,
    /// The worker, hybrid deliveries and settlements that nobody waits for.
    pub(super) background: TaskTracker,
    /// The listeners' state: how they open, and what they share with another process.
    pub(super) entrance: Entrance,
    pub(super) accepting: JoinHandle<()>,
    pub(super) admin: JoinHandle<()>,
    /// The token of the events API in force. A reload replaces it.
    pub(super) admin_token: CurrentToken,
    pub(super) admin_shutdown: CancellationToken,
}

impl App {
    /// Stops accepting, waits up to `shutdown_grace` for what is in flight, then closes the ledger and the admin
    /// listener. A second SIGTERM or SIGINT ends the wait.
    pub(super) async fn shut_down(mut self, signals: &mut Signals) -> ExitCode {
        process_manager::stopping();
        self.readiness.set_draining();
        self.drain.start();
        tracing::info!(grace = ?self.config.server.shutdown_grace, "shutting down: draining requests in flight");
        // A process that stands by has not opened. The accept loop ends by the drain.
        self.entrance.opened.cancel();
        let _ = (&mut self.accepting).await;
        // From here the next process accepts, on the admin socket as well.
        drop(self.entrance.lock.take());
        if self.entrance.admin_inherited {
            self.admin_shutdown.cancel();
        }
        let drained = tokio::select! {
            drained = self.drained() => drained,
            () = signals.second_shutdown() => false,
        };
        self.ledger.close().await;
        // The admin listener ends last: until here `/readyz` and `/metrics` tell how the drain goes.
        self.admin_shutdown.cancel();
        let _ = self.admin.await;
        if drained {
            tracing::info!("shutdown complete: everything in flight has finished");
            ExitCode::SUCCESS
        } else {
            tracing::warn!(
                connections = self.connections.len(),
                settlements = self.background.len(),
                "shutdown_grace expired, aborting open connections"
            );
            ExitCode::FAILURE
        }
    }

    /// Waits for connections and background tasks. Closes the ledger as soon as no webhook needs it: the next process may
    /// wait for it, and pages may take longer. Returns false if the grace expired first.
    async fn drained(&self) -> bool {
        let Some(deadline) = self.drain.deadline() else { return true };
        self.connections.close();
        self.background.close();
        let all = async {
            // Idle connections still bring requests for a moment.
            let _ = timeout(IDLE_CLOSED_AFTER, self.connections.wait()).await;
            self.drain.webhooks_finished().await;
            self.background.wait().await;
            self.ledger.close().await;
            self.connections.wait().await;
        };
        timeout_at(deadline, all).await.is_ok()
    }
}
