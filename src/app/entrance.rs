//! The entrance of the program: how its listeners open and close. It waits for nothing itself.

use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, LedgerUrl};
use crate::edge::handover::Handover;
use crate::ledger::sqlite::AcceptLock;
use crate::socket::Listener;

/// The longest wait for the ledger to open at start, without inherited sockets.
const MAX_LEDGER_OPEN: Duration = Duration::from_secs(1);

/// What has to be known to open the listeners, and to close them again.
pub(super) struct Entrance {
    /// The addresses of the proxy and the admin listener, for the log.
    pub(super) addresses: (String, String),
    /// Whether the process manager keeps the admin listener's socket open.
    pub(super) admin_inherited: bool,
    /// Cancelled when connections are accepted. The listeners' tasks wait for it.
    pub(super) opened: CancellationToken,
    /// What webhooks wait for; `None` without an inherited socket or a ledger of one process.
    pub(super) handover: Option<Arc<Handover>>,
    /// Held while this process accepts from sockets that another one may have, too. Set before it opens.
    pub(super) lock: Option<AcceptLock>,
}

impl Entrance {
    /// Describes how these listeners open.
    pub(super) fn new(config: &Config, proxy: &Listener, admin: &Listener) -> Self {
        // Processes share a Redis ledger, and without a ledger there is nothing to hand over.
        let hands_over = proxy.is_inherited() && matches!(config.ledger.url, LedgerUrl::Sqlite(_));
        Self {
            addresses: (proxy.address(), admin.address()),
            admin_inherited: admin.is_inherited(),
            opened: CancellationToken::new(),
            handover: hands_over.then(Arc::default),
            lock: None,
        }
    }

    /// Returns the longest wait for the ledger to open at start. After it the program serves, unready. The process before
    /// this one may hold the ledger for long, so that nothing waits for it here.
    pub(super) fn max_ledger_wait(&self) -> Duration {
        if self.handover.is_some() { Duration::ZERO } else { MAX_LEDGER_OPEN }
    }

    /// Returns what the program does with connections, as one line for people.
    pub(super) fn status(&self) -> &'static str {
        if self.opened.is_cancelled() {
            "accepting connections"
        } else {
            "standing by for another process to stop"
        }
    }

    /// Returns a task that waits until connections are accepted, if it `waits` at all, and then runs.
    pub(super) fn after_opening<T>(&self, waits: bool, task: T) -> impl Future<Output = ()> + Send + use<T>
    where
        T: Future<Output = ()> + Send,
    {
        let opened = waits.then(|| self.opened.clone());
        async move {
            if let Some(opened) = opened {
                opened.cancelled().await;
            }
            task.await;
        }
    }
}
