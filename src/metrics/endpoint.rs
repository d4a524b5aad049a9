//! The series of one endpoint. They are looked up once, so counting a webhook takes no lock, no hashing and no allocation.
//! The metric names are in `families`.

use super::families::Families;
use super::labels::DeliveryResult;
use crate::delivery_mode::DeliveryMode;
use crate::outcome::Outcome;
use prometheus::{Histogram, IntCounter, IntGauge};
use std::time::Duration;

/// The metrics of one endpoint; [`Metrics::endpoint`](super::Metrics::endpoint) makes them.
pub struct EndpointMetrics {
    /// One counter for each [`Outcome`], in the order of the enum.
    webhook_requests: [IntCounter; Outcome::ALL.len()],
    webhook_seconds: Histogram,
    /// One counter for each secret, in the order of the configuration.
    signature_matches: Vec<IntCounter>,
    /// One counter for each [`DeliveryMode`] and [`DeliveryResult`], in the order of the enums.
    deliveries: [[IntCounter; DeliveryResult::ALL.len()]; DeliveryMode::ALL.len()],
    delivery_seconds: Histogram,
    event_lag: Histogram,
    undeduplicated: IntCounter,
    enforced: IntGauge,
}

impl EndpointMetrics {
    pub(super) fn new(families: &Families, name: &str, secrets: usize) -> Self {
        let secret = |position: usize| {
            families.signature_matches.with_label_values(&[name, position.to_string().as_str()])
        };
        Self {
            webhook_requests: Outcome::ALL
                .map(|outcome| families.webhook_requests.with_label_values(&[name, outcome.as_str()])),
            webhook_seconds: families.webhook_seconds.with_label_values(&[name]),
            signature_matches: (0..secrets).map(secret).collect(),
            deliveries: DeliveryMode::ALL.map(|mode| {
                DeliveryResult::ALL.map(|result| {
                    families.deliveries.with_label_values(&[name, mode.as_str(), result.as_str()])
                })
            }),
            delivery_seconds: families.delivery_seconds.with_label_values(&[name]),
            event_lag: families.event_lag.with_label_values(&[name]),
            undeduplicated: families.undeduplicated.with_label_values(&[name]),
            enforced: families.webhook_enforced.with_label_values(&[name]),
        }
    }

    /// Counts a request that got its response; `took` is the time since its head.
    pub fn record_response(&self, outcome: Outcome, took: Duration) {
        self.webhook_requests[outcome as usize].inc();
        self.webhook_seconds.observe(took.as_secs_f64());
    }

    /// Counts a valid signature by the position of its secret, from 0. A position beyond the endpoint's secrets is ignored:
    /// a request may end after a reload that removed its secret.
    pub fn record_secret_match(&self, secret: usize) {
        if let Some(matches) = self.signature_matches.get(secret) {
            matches.inc();
        }
    }

    /// Counts a finished attempt to deliver an event to the backend; `took` is the time since its start.
    pub fn delivery(&self, mode: DeliveryMode, result: DeliveryResult, took: Duration) {
        self.deliveries[mode as usize][result as usize].inc();
        self.delivery_seconds.observe(took.as_secs_f64());
    }

    /// Counts an event that the backend accepted; `lag` is the time since its creation at Stripe.
    pub fn record_lag(&self, lag: Duration) {
        self.event_lag.observe(lag.as_secs_f64());
    }

    /// Counts an event that was delivered without deduplication because the ledger was unavailable.
    pub fn record_undeduplicated(&self) {
        self.undeduplicated.inc();
    }

    /// Sets whether forged webhooks are rejected; `false` is a dry run.
    pub fn set_enforced(&self, enforced: bool) {
        self.enforced.set(i64::from(enforced));
    }

    /// Returns how many secrets have a counter.
    pub(super) fn secrets(&self) -> usize {
        self.signature_matches.len()
    }
}
