//! How other parts wake the worker before its next poll. Owns no event: a lost wake-up only costs a poll interval.

use std::sync::Arc;
use tokio::sync::Notify;

/// Wakes the worker. Cheap to clone; all clones wake the same worker.
#[derive(Debug, Clone, Default)]
pub struct Wakeup {
    /// Notified when an event was queued or a slot became free: every queue polls at once.
    pub wake: Arc<Notify>,
    /// Notified when an endpoint without a queue may have due events, as after an operator's action: the worker also
    /// looks for orphaned endpoints at once.
    pub rescan: Arc<Notify>,
}
