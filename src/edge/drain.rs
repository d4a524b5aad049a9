//! The shutdown as the edge sees it: whether draining has started, and the deadline for work in flight. It ends no work.

use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The state of the shutdown, shared by everything that has to know it. Draining starts once and never stops.
#[derive(Debug)]
pub struct Drain {
    /// Cancelled when draining starts.
    token: CancellationToken,
    /// Set to `true` when draining starts, for pingora.
    draining: watch::Sender<bool>,
    /// When the grace period ends; set when draining starts.
    deadline: OnceLock<Instant>,
    /// How long work in flight may take after draining starts.
    grace: Duration,
    /// The webhooks being handled. They need the ledger; other requests do not.
    webhooks: TaskTracker,
}

impl Drain {
    /// Creates the state of a program that serves. Work in flight gets `grace` once draining starts.
    pub fn new(grace: Duration) -> Self {
        Self {
            token: CancellationToken::new(),
            draining: watch::Sender::new(false),
            deadline: OnceLock::new(),
            grace,
            webhooks: TaskTracker::new(),
        }
    }

    /// Starts draining: each connection closes after the request that it is serving.
    pub fn start(&self) {
        // The deadline comes first, so that code woken by the token finds it.
        let _ = self.deadline.set(Instant::now() + self.grace);
        self.draining.send_replace(true);
        self.token.cancel();
    }

    /// Returns whether draining has started.
    pub fn is_draining(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Returns whether work that may take `time` would end before the deadline.
    pub fn has_time_for(&self, time: Duration) -> bool {
        self.deadline.get().is_none_or(|deadline| deadline.saturating_duration_since(Instant::now()) >= time)
    }

    /// Returns when the grace period ends, or `None` before draining starts.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get().copied()
    }

    /// Returns the token that is cancelled when draining starts.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Counts a webhook as being handled until the token is dropped.
    pub(super) fn begin_webhook(&self) -> TaskTrackerToken {
        self.webhooks.token()
    }

    /// Waits until no webhook is being handled. Connections that were idle when draining started must have been closed
    /// before.
    pub async fn webhooks_finished(&self) {
        self.webhooks.close();
        self.webhooks.wait().await;
    }

    /// Returns a receiver that turns `true` when draining starts, the signal that pingora takes.
    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }
}
