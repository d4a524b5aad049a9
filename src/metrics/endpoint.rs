//! One endpoint's series, looked up once: counting a webhook takes no lock, no hashing and no allocation.
//! It owns no names: those are `families`'.

use super::families::Families;
use super::labels::DeliveryResult;
use crate::delivery_mode::DeliveryMode;
use crate::outcome::Outcome;
use prometheus::{Histogram, IntCounter, IntGauge};
use std::time::Duration;

/// What is counted for one endpoint. From [`Metrics::endpoint`](super::Metrics::endpoint).
pub struct EndpointMetrics {
    /// By [`Outcome`], as it is declared.
    outcomes: [IntCounter; Outcome::ALL.len()],
    webhook_seconds: Histogram,
    /// By the secret's position in the configuration.
    secrets: Vec<IntCounter>,
    /// By [`DeliveryMode`], then [`DeliveryResult`], as they are declared.
    deliveries: [[IntCounter; DeliveryResult::ALL.len()]; DeliveryMode::ALL.len()],
    delivery_seconds: Histogram,
    undeduplicated: IntCounter,
    enforced: IntGauge,
}

impl EndpointMetrics {
    pub(super) fn new(families: &Families, name: &str, secrets: usize) -> Self {
        let secret = |position: usize| {
            families.signature_matches.with_label_values(&[name, position.to_string().as_str()])
        };
        Self {
            outcomes: Outcome::ALL
                .map(|outcome| families.webhook_requests.with_label_values(&[name, outcome.as_str()])),
            webhook_seconds: families.webhook_seconds.with_label_values(&[name]),
            secrets: (0..secrets).map(secret).collect(),
            deliveries: DeliveryMode::ALL.map(|mode| {
                DeliveryResult::ALL.map(|result| {
                    families.deliveries.with_label_values(&[name, mode.as_str(), result.as_str()])
                })
            }),
            delivery_seconds: families.delivery_seconds.with_label_values(&[name]),
            undeduplicated: families.undeduplicated.with_label_values(&[name]),
            enforced: families.webhook_enforced.with_label_values(&[name]),
        }
    }

    /// A request to the endpoint was answered; `took` counts from its head.
    pub fn answered(&self, outcome: Outcome, took: Duration) {
        self.outcomes[outcome as usize].inc();
        self.webhook_seconds.observe(took.as_secs_f64());
    }

    /// A signature held with the secret at this position, counted from 0. A position beyond the secrets that the metrics were
    /// made for counts nowhere.
    pub fn matched(&self, secret: usize) {
        if let Some(matches) = self.secrets.get(secret) {
            matches.inc();
        }
    }

    /// One attempt to hand an event to the backend is over.
    pub fn delivery(&self, mode: DeliveryMode, result: DeliveryResult, took: Duration) {
        self.deliveries[mode as usize][result as usize].inc();
        self.delivery_seconds.observe(took.as_secs_f64());
    }

    /// An event was delivered without dedup because the ledger was out of reach.
    pub fn undeduplicated(&self) {
        self.undeduplicated.inc();
    }

    /// Whether forged webhooks are refused; `false` is a dry run.
    pub fn set_enforced(&self, enforced: bool) {
        self.enforced.set(i64::from(enforced));
    }

    /// How many secrets there are counters for.
    pub(super) fn secrets(&self) -> usize {
        self.secrets.len()
    }
}
