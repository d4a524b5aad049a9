//! [`App`]: the running program as one value, and its end. It builds nothing and reads no configuration.

use arc_swap::ArcSwap;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::open_ledger::OpenLedger;
use super::signals::Signals;
use crate::admin::Readiness;
use crate::admin::events::CurrentToken;
use crate::checkout::CheckoutResources;
use crate::config::{Config, Source};
use crate::edge::drain::Drain;
use crate::edge::route::Routes;
use crate::metrics::Metrics;

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
    pub(super) accepting: JoinHandle<()>,
    pub(super) admin: JoinHandle<()>,
    /// The token of the events API in force. A reload replaces it.
    pub(super) admin_token: CurrentToken,
    pub(super) admin_shutdown: CancellationToken,
}

impl App {
    /// Stops accepting, waits up to `shutdown_grace` for what is in flight, then closes the ledger and the admin
    /// listener. A second SIGTERM or SIGINT ends the wait.
    pub(super) async fn shut_down(self, signals: &mut Signals) -> ExitCode {
        self.readiness.set_draining();
        self.drain.start();
        tracing::info!(grace = ?self.config.server.shutdown_grace, "shutting down: draining requests in flight");
        let _ = self.accepting.await;
        let drained = tokio::select! {
            drained = drained(&self.drain, &self.connections, &self.background) => drained,
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
}

/// Waits for connections and background tasks. Returns false if the grace expired first.
async fn drained(drain: &Drain, connections: &TaskTracker, background: &TaskTracker) -> bool {
    let Some(deadline) = drain.deadline() else { return true };
    connections.close();
    background.close();
    let all = async {
        connections.wait().await;
        background.wait().await;
    };
    timeout_at(deadline, all).await.is_ok()
}
