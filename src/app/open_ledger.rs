//! The configured ledger as its concrete type, which has to be closed at the end. Everyone else sees `dyn Ledger`.

use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

use crate::config::{Config, LedgerUrl};
use crate::delivery::dispatcher::LEASE_MARGIN;
use crate::ledger::redis::{RedisLedger, RedisOptions};
use crate::ledger::sqlite::SqliteLedger;
use crate::ledger::{Health, Ledger, Metered, NoLedger};
use crate::metrics::Metrics;

/// The longest wait for the ledger to close once everything else has ended.
const MAX_CLOSE: Duration = Duration::from_secs(5);

/// The ledger that `[ledger] url` names, started.
#[derive(Clone)]
pub(super) enum OpenLedger {
    /// `none`: nothing is remembered.
    None,
    /// A file of this process alone.
    Sqlite(Arc<SqliteLedger>),
    /// A server that replicas share.
    Redis(Arc<RedisLedger>),
}

impl OpenLedger {
    /// Starts the configured ledger. It opens its file or connects in the background.
    pub(super) fn start(config: &Config, metrics: &Arc<Metrics>) -> Self {
        let lease = config.backend.connect_timeout + config.backend.response_timeout + LEASE_MARGIN;
        match &config.ledger.url {
            LedgerUrl::None => Self::None,
            LedgerUrl::Sqlite(path) => {
                let (path, retention) = (path.clone(), config.ledger.retention);
                let ledger = SqliteLedger::start(path, retention, metrics.clone());
                ledger.set_usual_lease(lease);
                Self::Sqlite(Arc::new(ledger))
            }
            LedgerUrl::Redis(url) => {
                let options = RedisOptions::new(url, &config.ledger, config.queues_events());
                let ledger = RedisLedger::start(options, metrics.clone());
                ledger.set_usual_lease(lease);
                Self::Redis(Arc::new(ledger))
            }
        }
    }

    /// The ledger as every other module knows it. Calls are timed, except where there is no ledger.
    pub(super) fn handle(&self, metrics: &Arc<Metrics>) -> Arc<dyn Ledger> {
        match self {
            Self::None => Arc::new(NoLedger),
            Self::Sqlite(ledger) => Arc::new(Metered::new(ledger.clone(), metrics.clone())),
            Self::Redis(ledger) => Arc::new(Metered::new(ledger.clone(), metrics.clone())),
        }
    }

    /// Says whether events are queued from now on. A Redis that promises too little durability for that becomes unready.
    pub(super) fn set_queueing_enabled(&self, enabled: bool) {
        match self {
            Self::None | Self::Sqlite(_) => {}
            Self::Redis(ledger) => ledger.set_queueing_enabled(enabled),
        }
    }

    /// Takes user and password of a Redis from `url`, which leads to the same records.
    pub(super) fn set_credentials(&self, url: &LedgerUrl) {
        match (self, url) {
            (Self::Redis(ledger), LedgerUrl::Redis(url)) => ledger.set_credentials(url),
            (Self::None | Self::Sqlite(_) | Self::Redis(_), _) => {}
        }
    }

    /// Closes the ledger; later calls of it fail. Bounded in time: a disk that hangs must not keep the program from
    /// ending. Closing it again does nothing.
    pub(super) async fn close(&self) {
        match self {
            Self::None => {}
            Self::Redis(ledger) => ledger.close(),
            Self::Sqlite(ledger) => {
                let ledger = ledger.clone();
                let closing = tokio::task::spawn_blocking(move || ledger.close());
                let _ = timeout(MAX_CLOSE, closing).await;
            }
        }
    }
}

/// Resolves once the ledger takes claims. Webhooks that arrive right after the start should not find it a moment away
/// from being open.
pub(super) async fn ledger_ready(ledger: &dyn Ledger) {
    while let Health::NotReady { .. } = ledger.health() {
        sleep(Duration::from_millis(5)).await;
    }
}
