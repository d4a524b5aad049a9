//! The running program: configuration → `App::build` → announce → serve → drain. This module alone names every
//! concrete part; it holds no rule about webhooks, orders or events.
//!
//! - `build.rs`: builds every part from a configuration, and the routes from its endpoints
//! - `announce.rs`: what the program logs about itself at start and on reload
//! - `reload.rs`: what SIGHUP changes in the running program
//! - `open_ledger.rs`: the configured ledger, open, as the concrete type that has to be closed
//! - `signals.rs`: which Unix signals ask for a reload or a shutdown

mod announce;
mod build;
mod open_ledger;
mod reload;
mod signals;

use arc_swap::ArcSwap;
use std::fmt::Display;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Readiness;
use crate::checkout::CheckoutResources;
use crate::config::{Config, Source};
use crate::edge::drain::Drain;
use crate::edge::listener;
use crate::edge::route::Routes;
use crate::ledger::{Health, Ledger};
use crate::logging;
use crate::metrics::Metrics;
use build::Listeners;
use open_ledger::OpenLedger;
use signals::{Signal, Signals};

/// The exit code for a configuration that cannot be used: `EX_CONFIG` of sysexits.h.
pub const EX_CONFIG: u8 = 78;
/// The longest wait for the ledger to open at start. After it the program serves, unready.
const MAX_LEDGER_OPEN: Duration = Duration::from_secs(1);

/// Serves until a signal ends the program, and returns its exit code. Start-up errors go to standard error.
pub fn run(source: Source) -> ExitCode {
    let config = match source.load() {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(EX_CONFIG);
        }
    };
    logging::init(&config.log, std::io::stderr().is_terminal());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail("cannot start", &error),
    };
    let code = runtime.block_on(serve(source, config));
    // Dropping the runtime would wait for blocking work: a name that does not resolve, a disk that hangs.
    runtime.shutdown_background();
    code
}

fn fail(what: &str, error: &dyn Display) -> ExitCode {
    eprintln!("countersign: {what}: {error}");
    ExitCode::FAILURE
}

async fn serve(source: Source, config: Config) -> ExitCode {
    // The sockets come first: a second instance on the same port fails before it touches the ledger.
    let listeners = match Listeners::bind(&config).await {
        Ok(listeners) => listeners,
        Err(message) => return fail("cannot listen", &message),
    };
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return fail("cannot listen for signals", &error),
    };
    let mut app = match App::build(source, config, listeners).await {
        Ok(app) => app,
        Err(message) => return fail("cannot open the checkout", &message),
    };
    while let Signal::Reload = signals.next().await {
        app.reload();
    }
    app.shut_down(&mut signals).await
}

/// The running program. Everything here lives until shutdown; a reload replaces `routes` and what hangs on them.
struct App {
    source: Source,
    /// The configuration at start. Sections that only a restart can change are compared with it.
    config: Config,
    metrics: Arc<Metrics>,
    ledger: OpenLedger,
    /// The endpoints and the checkout in force. Requests load them; a reload stores new ones.
    routes: Arc<ArcSwap<Routes>>,
    checkout: CheckoutResources,
    readiness: Arc<Readiness>,
    drain: Arc<Drain>,
    /// One task for each connection.
    connections: TaskTracker,
    /// The worker, hybrid deliveries and settlements that nobody waits for.
    background: TaskTracker,
    accepting: JoinHandle<()>,
    admin: JoinHandle<()>,
    admin_shutdown: CancellationToken,
}

impl App {
    /// Stops accepting, waits up to `shutdown_grace` for what is in flight, then closes the ledger and the admin
    /// listener. A second SIGTERM or SIGINT ends the wait.
    async fn shut_down(self, signals: &mut Signals) -> ExitCode {
        tracing::info!(grace = ?self.config.server.shutdown_grace, "shutting down: draining requests in flight");
        self.readiness.set_draining();
        self.drain.start();
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

/// Resolves once the ledger takes claims. Webhooks that arrive right after the start should not find it a moment away
/// from being open.
async fn ledger_ready(ledger: &dyn Ledger) {
    while let Health::NotReady { .. } = ledger.health() {
        sleep(Duration::from_millis(5)).await;
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
