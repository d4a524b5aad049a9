//! What delivering one endpoint's events needs. The worker knows an endpoint by its policy alone, so events of an endpoint
//! that left the configuration have one, too. It never decides which events are forwarded.

use secrecy::ExposeSecret;
use std::sync::Arc;
use std::time::Duration;

use super::last_arrival::LastArrival;
use super::retry_schedule::Schedule;
use super::slots::Slots;
use crate::config::{DEFAULT_JITTER, DEFAULT_RETRY, PublicUrl, WebhookConfig};
use crate::metrics::{EndpointMetrics, Metrics};
use crate::stripe::signature::{self, Secret};

/// The number of concurrent deliveries of an orphaned endpoint: nothing tells how many its backend can take.
pub const ORPHANED_MAX_CONCURRENT: usize = 1;

/// Returns the policies of the endpoints in the configuration that is in force now.
pub type Policies = dyn Fn() -> Vec<Arc<DeliveryPolicy>> + Send + Sync;

/// What delivering one endpoint's events needs.
#[derive(Clone)]
pub struct DeliveryPolicy {
    /// The endpoint's name: the ledger's key, the metrics' label, the log's field.
    pub endpoint: Arc<str>,
    /// When a stored event is tried again.
    pub schedule: Schedule,
    /// The concurrent deliveries of stored events, in this process.
    pub slots: Slots,
    /// Whether events of any type are stored for later delivery, so that the endpoint needs a queue.
    pub stores_events: bool,
    /// The URL of the endpoint as Stripe knows it, if the configuration has it.
    pub url: Option<PublicUrl>,
    /// What is remembered of the endpoint's last webhook.
    pub last_arrival: Arc<LastArrival>,
    /// The endpoint's counters.
    pub metrics: Arc<EndpointMetrics>,
    signing: Signing,
}

/// How requests to the backend are signed.
#[derive(Clone)]
enum Signing {
    /// With the secrets of `delivery_secret` alone, every delivery.
    Always(Vec<Secret>),
    /// With the endpoint's own secrets, unless Stripe's signature is still fresh.
    WhenStale(Vec<Secret>),
    /// Not at all, since an orphaned endpoint has no secrets. Stripe's signature is sent as it was stored.
    Never,
}

impl DeliveryPolicy {
    /// Builds the policy of a configured endpoint. `secrets` are the endpoint's own.
    pub fn new(
        config: &WebhookConfig,
        endpoint: Arc<str>,
        secrets: &[Secret],
        metrics: Arc<EndpointMetrics>,
    ) -> Self {
        let own: Vec<_> =
            config.delivery_secrets.iter().map(|secret| Secret::new(secret.expose_secret())).collect();
        let signing =
            if own.is_empty() { Signing::WhenStale(secrets.to_vec()) } else { Signing::Always(own) };
        Self {
            endpoint,
            schedule: Schedule::new(config.retry.clone(), config.jitter),
            slots: Slots::new(config.max_concurrent, config.has_hybrid_events()),
            stores_events: config.queues_events(),
            url: config.url.clone(),
            last_arrival: Arc::default(),
            metrics,
            signing,
        }
    }

    /// Builds the policy of an orphaned endpoint: one that the configuration no longer names and that still has events.
    /// It retries by the default schedule and delivers one event at a time.
    pub fn orphaned(endpoint: &str, metrics: &Metrics) -> Self {
        Self {
            endpoint: endpoint.into(),
            schedule: Schedule::new(default_retry(), DEFAULT_JITTER),
            slots: Slots::new(ORPHANED_MAX_CONCURRENT, false),
            stores_events: false,
            url: None,
            last_arrival: Arc::default(),
            metrics: metrics.endpoint(endpoint, 0),
            signing: Signing::Never,
        }
    }

    /// Returns this policy with the deliveries under way and the last webhook of the one that it replaces.
    pub fn replacing(&self, old: &Self) -> Self {
        let last_arrival = old.last_arrival.clone();
        Self { slots: self.slots.sharing_counts(&old.slots), last_arrival, ..self.clone() }
    }

    /// Returns the `Stripe-Signature` that takes the place of Stripe's own in a delivery; `None` if Stripe's own stays.
    /// `is_fresh` says whether Stripe's was received just now, `now` is in Unix seconds.
    pub fn new_signature(&self, is_fresh: bool, body: &[u8], now: i64) -> Option<String> {
        match &self.signing {
            Signing::Always(secrets) => Some(signature::sign(secrets, now, body)),
            // The backend checks the signature's age, so an old one would be refused.
            Signing::WhenStale(secrets) if !is_fresh => Some(signature::sign(secrets, now, body)),
            Signing::WhenStale(_) | Signing::Never => None,
        }
    }
}

fn default_retry() -> Vec<Duration> {
    DEFAULT_RETRY.iter().filter_map(|text| humantime::parse_duration(text).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::retry_schedule::Next;

    #[test]
    fn an_orphaned_endpoint_retries_by_every_default_wait() {
        let policy = DeliveryPolicy::orphaned("gone", &Metrics::new());
        assert_eq!(default_retry().len(), DEFAULT_RETRY.len());
        // Stripe retries for three days in live mode (https://docs.stripe.com/webhooks). Every wait may be shorter by jitter.
        let shortest = default_retry().iter().sum::<Duration>().mul_f64(1.0 - DEFAULT_JITTER);
        assert!(shortest >= Duration::from_secs(72 * 60 * 60), "{shortest:?}");
        assert_eq!(policy.schedule.after(1, 0.5, None), Next::Wait(Duration::from_secs(5)));
        assert_eq!(policy.schedule.after(11, 0.5, None), Next::Wait(Duration::from_secs(86_400)));
        assert_eq!(policy.schedule.after(12, 0.5, None), Next::GiveUp);
    }

    #[test]
    fn a_stale_signature_is_replaced_where_there_is_a_secret() {
        let secrets = || vec![Secret::new("whsec_own")];
        for (signing, fresh, signed_with) in [
            (Signing::Always(vec![Secret::new("whsec_delivery")]), true, Some("whsec_delivery")),
            (Signing::Always(vec![Secret::new("whsec_delivery")]), false, Some("whsec_delivery")),
            (Signing::WhenStale(secrets()), true, None),
            (Signing::WhenStale(secrets()), false, Some("whsec_own")),
            (Signing::Never, true, None),
            (Signing::Never, false, None),
        ] {
            let policy = DeliveryPolicy { signing, ..DeliveryPolicy::orphaned("w", &Metrics::new()) };
            let expected = signed_with.map(|secret| signature::sign([&Secret::new(secret)], 7, b"{}"));
            assert_eq!(policy.new_signature(fresh, b"{}", 7), expected, "{fresh} {signed_with:?}");
        }
    }
}
