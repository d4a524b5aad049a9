//! What delivering one endpoint's events needs. The worker knows an endpoint by its policy alone, so events of an endpoint
//! that left the configuration have one, too. It never decides which events are forwarded.

use secrecy::ExposeSecret;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::retry_schedule::Schedule;
use crate::config::{DEFAULT_JITTER, DEFAULT_RETRY, WebhookConfig};
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
    /// The maximum number of concurrent deliveries of stored events, in this process.
    pub max_concurrent: usize,
    /// Whether events of any type are stored for later delivery, so that the endpoint needs a queue.
    pub stores_events: bool,
    /// The endpoint's counters.
    pub metrics: Arc<EndpointMetrics>,
    signing: Signing,
    /// One permit for each concurrent delivery.
    slots: Arc<Semaphore>,
}

/// How requests to the backend are signed.
#[derive(Clone)]
enum Signing {
    /// With `delivery_secret` alone, every delivery.
    Always(Secret),
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
        let signing = match &config.delivery_secret {
            Some(secret) => Signing::Always(Secret::new(secret.expose_secret())),
            None => Signing::WhenStale(secrets.to_vec()),
        };
        Self {
            endpoint,
            schedule: Schedule::new(config.retry.clone(), config.jitter),
            max_concurrent: config.max_concurrent,
            stores_events: config.queues_events(),
            metrics,
            signing,
            slots: Arc::new(Semaphore::new(config.max_concurrent)),
        }
    }

    /// Builds the policy of an orphaned endpoint: one that the configuration no longer names and that still has events.
    /// It retries by the default schedule and delivers one event at a time.
    pub fn orphaned(endpoint: &str, metrics: &Metrics) -> Self {
        Self {
            endpoint: endpoint.into(),
            schedule: Schedule::new(default_retry(), DEFAULT_JITTER),
            max_concurrent: ORPHANED_MAX_CONCURRENT,
            stores_events: false,
            metrics: metrics.endpoint(endpoint, 0),
            signing: Signing::Never,
            slots: Arc::new(Semaphore::new(ORPHANED_MAX_CONCURRENT)),
        }
    }

    /// Returns this policy with the slots of the one that it replaces. Returns `None` if their numbers differ: a
    /// semaphore in use cannot shrink.
    pub fn sharing_slots(&self, old: &Self) -> Option<Self> {
        let same_number = old.max_concurrent == self.max_concurrent;
        same_number.then(|| Self { slots: old.slots.clone(), ..self.clone() })
    }

    /// Takes a slot if one is free. `notify` is notified when it is free again.
    pub fn try_acquire_slot(&self, notify: &Arc<Notify>) -> Option<Slot> {
        let permit = self.slots.clone().try_acquire_owned().ok()?;
        Some(Slot { permit: Some(permit), notify: notify.clone() })
    }

    /// Returns the `Stripe-Signature` that takes the place of Stripe's own in a delivery; `None` if Stripe's own stays.
    /// `is_fresh` says whether Stripe's was received just now, `now` is in Unix seconds.
    pub fn new_signature(&self, is_fresh: bool, body: &[u8], now: i64) -> Option<String> {
        match &self.signing {
            Signing::Always(secret) => Some(signature::sign([secret], now, body)),
            // The backend checks the signature's age, so an old one would be refused.
            Signing::WhenStale(secrets) if !is_fresh => Some(signature::sign(secrets, now, body)),
            Signing::WhenStale(_) | Signing::Never => None,
        }
    }
}

fn default_retry() -> Vec<Duration> {
    DEFAULT_RETRY.iter().filter_map(|text| humantime::parse_duration(text).ok()).collect()
}

/// One of an endpoint's concurrent deliveries. Dropped when the request to the backend is over, settled or not.
pub struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    notify: Arc<Notify>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The permit goes first: a worker that wakes before it is free would find no slot.
        drop(self.permit.take());
        self.notify.notify_one();
    }
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
            (Signing::Always(Secret::new("whsec_delivery")), true, Some("whsec_delivery")),
            (Signing::Always(Secret::new("whsec_delivery")), false, Some("whsec_delivery")),
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

    #[test]
    fn a_slot_is_free_before_its_worker_wakes() {
        let policy = DeliveryPolicy::orphaned("w", &Metrics::new());
        let notify = Arc::new(Notify::new());
        let slot = policy.try_acquire_slot(&notify).unwrap();
        assert!(policy.try_acquire_slot(&notify).is_none());
        let same = policy.sharing_slots(&policy).unwrap();
        assert!(same.try_acquire_slot(&notify).is_none());
        drop(slot);
        assert!(same.try_acquire_slot(&notify).is_some());
    }
}
