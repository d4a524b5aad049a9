//! An event to deliver, and one attempt at it: the headers that the dispatcher adds, what a failure becomes, what is
//! counted and logged. It sends nothing and settles nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::policy::DeliveryPolicy;
use super::slots::Slot;
use crate::backend::{BackendError, RequestHeadBuilder};
use crate::clock;
use crate::delivery_mode::DeliveryMode;
use crate::ledger::Settlement;
use crate::metrics::DeliveryResult;
use crate::random::random_unit;
use crate::stripe::event::VerifiedEvent;

/// The header that an event is signed in.
pub const SIGNATURE_HEADER: &str = "Stripe-Signature";

/// The header with the id of the request that an event came with. Each delivery of the event has it.
pub(super) const REQUEST_ID_HEADER: &str = "X-Request-Id";

/// An event to deliver.
pub struct Delivery {
    /// The verified event; nothing else can be delivered.
    pub event: VerifiedEvent,
    /// How its endpoint's events are signed, counted and retried.
    pub policy: Arc<DeliveryPolicy>,
    /// The request's head as far as the original request determines it, with the original `Stripe-Signature`. The
    /// dispatcher adds the other headers.
    pub head: RequestHeadBuilder,
    /// How the event is delivered.
    pub mode: DeliveryMode,
    /// Whether Stripe's signature was received just now. If not, the delivery is signed again.
    pub signature_is_fresh: bool,
    /// The concurrency slot that the delivery holds; `None` for an inline delivery, which is not limited.
    pub slot: Option<Slot>,
}

/// Why an attempt has no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The ledger took so long to grant the lease that the attempt would outlive it. Nothing was sent.
    #[error("the ledger took too long to grant the delivery; nothing was sent")]
    LeaseTooShort,
    /// The backend could not be reached, or did not answer.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl Delivery {
    /// Begins the attempt of this number. Returns the request's whole head with it.
    pub(super) fn begin(self, number: u32) -> (Vec<u8>, Attempt) {
        let Self { event, policy, mut head, mode, signature_is_fresh, slot } = self;
        if let Some(signature) = policy.new_signature(signature_is_fresh, event.body(), clock::unix_seconds())
        {
            head.set(SIGNATURE_HEADER, signature.as_bytes());
        }
        // The line of an inline attempt is the webhook's own.
        let request_id = (mode != DeliveryMode::Inline).then(|| head.value(REQUEST_ID_HEADER)).flatten();
        let request_id = request_id.and_then(|id| str::from_utf8(id).ok()).map(Box::from);
        let attempt = Attempt { event, policy, mode, number, slot, request_id, started: clock::instant() };
        (attempt.finish_head(head), attempt)
    }
}

/// One attempt under way.
pub(super) struct Attempt {
    pub(super) event: VerifiedEvent,
    policy: Arc<DeliveryPolicy>,
    pub(super) mode: DeliveryMode,
    /// The attempt's number; 1 is the first.
    number: u32,
    /// The concurrency slot, given back when the request to the backend is over.
    pub(super) slot: Option<Slot>,
    /// The id of the request that the event came with, for the log; `None` for an inline attempt.
    request_id: Option<Box<str>>,
    started: Instant,
}

impl Attempt {
    /// Adds to the original request's headers those that the backend learns the delivery from.
    fn finish_head(&self, mut head: RequestHeadBuilder) -> Vec<u8> {
        // The backend would take a second sample event for a copy of the first.
        if self.event.is_identified() {
            head.add("Idempotency-Key", self.event.id().as_bytes());
        }
        head.add("Countersign-Event", self.event.id().as_bytes());
        head.add("Countersign-Type", self.event.event_type().as_bytes());
        head.add("Countersign-Attempt", self.number.to_string().as_bytes());
        head.add("Countersign-Delivery", self.mode.as_str().as_bytes());
        head.finish(self.event.body().len())
    }

    pub(super) fn failure_settlement(
        &self,
        status: Option<u16>,
        retry_after: Option<Duration>,
    ) -> Settlement {
        self.policy.failure_settlement(self.mode, self.number, status, retry_after, random_unit())
    }

    /// Counts the time from the event's creation at Stripe until now. Stripe gives it in whole seconds. A sample event is
    /// left out, because its time is years old, and so is an event without a valid time.
    pub(super) fn record_lag(&self) {
        let created = self.event.created().and_then(|seconds| u64::try_from(seconds).ok());
        if let Some(created) = created.filter(|_| self.event.is_identified()) {
            // Our clock may be behind Stripe's.
            self.policy.metrics.record_lag(clock::unix().saturating_sub(Duration::from_secs(created)));
        }
    }

    /// Counts the attempt, and logs it if it was at a stored event.
    pub(super) fn record_attempt(&self, result: DeliveryResult, status: Option<u16>) {
        let took = self.started.elapsed();
        self.policy.metrics.delivery(self.mode, result, took);
        // The webhook's own log line tells of an inline attempt. Attempts at a backend that is down would fill the log.
        if self.mode == DeliveryMode::Inline || result == DeliveryResult::Unreachable {
            return;
        }
        let message = match result {
            DeliveryResult::Delivered => "stored event delivered",
            DeliveryResult::Refused
            | DeliveryResult::Unreachable
            | DeliveryResult::Timeout
            | DeliveryResult::Invalid => "delivery of stored event failed",
        };
        tracing::info!(
            endpoint = &*self.policy.endpoint,
            event.id = self.event.id(),
            event.r#type = self.event.event_type(),
            request_id = self.request_id.as_deref(),
            attempt = self.number,
            delivery = self.mode.as_str(),
            outcome = result.as_str(),
            status,
            duration_ms = took.as_micros() as f64 / 1e3,
            "{message}"
        );
    }

    pub(super) fn warn_if_dead(&self, settlement: Settlement) {
        if let Settlement::Dead { status } = settlement {
            tracing::warn!(
                endpoint = &*self.policy.endpoint,
                event.id = self.event.id(),
                event.r#type = self.event.event_type(),
                request_id = self.request_id.as_deref(),
                attempt = self.number,
                status,
                "event is dead: its last retry failed; fix the backend, then run `countersign events redeliver`"
            );
        }
    }
}
