//! What both ledgers share about abandoned events: inline ones whose process died before it recorded a result. It
//! changes nothing in a ledger.

use std::time::Duration;

use super::arrival::EventKey;

/// The time between two looks for abandoned events. They become FAILED within a minute of the end of their lease.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Logs that an event became FAILED.
pub(super) fn log_abandoned(key: &EventKey) {
    tracing::warn!(
        event.id = &*key.id,
        endpoint = &*key.endpoint,
        "a delivery ended without a result, as when its process dies: the event is failed until Stripe sends it again; \
         if Stripe has given up, countersign reconcile finds it"
    );
}
