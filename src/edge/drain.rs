//! The end of the program as the edge sees it: whether it has begun, and how long it may take.

use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Shared by everything that has to know. Begins once.
#[derive(Debug)]
pub struct Drain {
    token: CancellationToken,
    flag: watch::Sender<bool>,
    until: OnceLock<Instant>,
    grace: Duration,
}

impl Drain {
    /// Not begun; when it does, work in flight has `grace`.
    pub fn new(grace: Duration) -> Drain {
        Drain {
            token: CancellationToken::new(),
            flag: watch::Sender::new(false),
            until: OnceLock::new(),
            grace,
        }
    }

    /// Begins: from here on connections end with their request.
    pub fn begin(&self) {
        let _ = self.until.set(Instant::now() + self.grace);
        self.flag.send_replace(true);
        self.token.cancel();
    }

    /// Whether it has begun.
    pub fn begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Whether work that may take `time` can still be begun.
    pub fn has_time_for(&self, time: Duration) -> bool {
        self.until.get().is_none_or(|until| until.saturating_duration_since(Instant::now()) >= time)
    }

    /// When the grace is over; `None` before it began.
    pub fn until(&self) -> Option<Instant> {
        self.until.get().copied()
    }

    /// Resolves when it begins.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// The same as pingora wants it.
    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.flag.subscribe()
    }
}
