//! [`AdminState`]: what the handlers of the admin listener respond from.

use std::sync::Arc;

use super::events::EventsApi;
use super::health::Readiness;
use crate::ledger::Ledger;
use crate::metrics::Metrics;

/// What the admin listener responds from.
#[derive(Clone)]
pub struct AdminState {
    /// The metrics that `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// The state that `/readyz` shows.
    pub readiness: Arc<Readiness>,
    /// The ledger, for the backlog and the events API.
    pub ledger: Arc<dyn Ledger>,
    /// The events API; `None` leaves it out, whatever the configuration says.
    pub events: Option<EventsApi>,
}
