//! What the maintenance thread and its tasks share for the life of the ledger.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::pressure::MaintenancePressure;
use crate::ledger::sqlite::index::KeyHasher;
use crate::ledger::sqlite::queue::Queue;
use crate::metrics::Metrics;

/// The settings and shared parts that maintenance works with.
pub(in crate::ledger::sqlite) struct MaintenanceContext {
    /// The ledger file.
    pub(in crate::ledger::sqlite) path: PathBuf,
    /// The time after which settled events are deleted, counted from when they were settled.
    pub(in crate::ledger::sqlite) retention: Duration,
    /// The writer's queue, which takes the maintenance operations.
    pub(in crate::ledger::sqlite) queue: Arc<Queue>,
    /// The hasher that the writer's index and Bloom filter use.
    pub(in crate::ledger::sqlite) hasher: KeyHasher,
    /// The gauges of the files.
    pub(in crate::ledger::sqlite) metrics: Arc<Metrics>,
    /// The counters that the writer updates.
    pub(in crate::ledger::sqlite) pressure: Arc<MaintenancePressure>,
}
