//! One leased event → backend → settled. The dispatcher owns an attempt from its first byte to its record. It never
//! decides whether an event may be delivered, nor what a caller is told.
//!
//! ```text
//!  lease ─▶ time left for a whole attempt? ──no──▶ nothing sent
//!             │ yes
//!             ▼
//!           send ──2xx head──▶ DELIVERED, while the rest of the response is read
//!             ├────other head──▶ response read ──┐
//!             └────no head───────────────────────┤  an inline event: FAILED
//!                                                └─ a stored one: PENDING again by its schedule, or DEAD
//! ```
//!
//! A settlement that the ledger does not take within `SETTLE_WAIT` continues in the
//! background. The backend's 2xx stands, so the caller gets it at once.

use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::task::TaskTracker;

use super::policy::{DeliveryPolicy, Slot};
use super::settlement::SettlementRecorder;
use crate::backend::{Backend, BackendError, BackendResponse, PendingResponse, RequestHeadBuilder};
use crate::clock;
use crate::delivery_mode::DeliveryMode;
use crate::failpoint;
use crate::ledger::{Lease, Ledger, Settlement};
use crate::metrics::{DeliveryResult, Metrics};
use crate::random::random_unit;
use crate::stripe::event::VerifiedEvent;

/// How long a stored event is postponed when its backend cannot be reached. Such an attempt does not count.
const UNREACHABLE_DELAY: Duration = Duration::from_millis(500);
/// How much longer a lease is than its attempt can take.
#[cfg(not(feature = "failpoints"))]
pub const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// How much longer a lease is than its attempt can take. Short in builds with failpoints, whose tests wait for many
/// leases to expire. Beyond [`LEASE_SLACK`] it leaves 1.5 s, so that a prefetched event can wait for a slow delivery's slot.
#[cfg(feature = "failpoints")]
pub const LEASE_MARGIN: Duration = Duration::from_millis(2500);
/// The minimum time between an attempt's latest end and its lease's. Timers can be late, and another holder must not
/// lease the event while our request is still open.
const LEASE_SLACK: Duration = Duration::from_secs(1);

/// Makes delivery attempts and records their results.
pub struct Dispatcher {
    backend: Backend,
    recorder: SettlementRecorder,
}

/// An event to deliver.
pub struct Delivery {
    /// The verified event; nothing else can be delivered.
    pub event: VerifiedEvent,
    /// How its endpoint's events are signed, counted and retried.
    pub policy: Arc<DeliveryPolicy>,
    /// The request's head as far as the original request determines it. The dispatcher adds the other headers.
    pub head: RequestHeadBuilder,
    /// The original `Stripe-Signature`.
    pub signature: Bytes,
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

impl Dispatcher {
    /// Builds a dispatcher that delivers to `backend`. Slow settlements continue on `background`.
    pub fn new(
        backend: Backend,
        ledger: Arc<dyn Ledger>,
        metrics: Arc<Metrics>,
        background: TaskTracker,
    ) -> Dispatcher {
        Dispatcher { backend, recorder: SettlementRecorder::new(ledger, metrics, background) }
    }

    /// Returns whether a 2xx response is not recorded yet. Until it is, its event must not be leased again.
    pub fn has_unrecorded(&self) -> bool {
        self.recorder.has_unrecorded()
    }

    /// Returns how long a lease has to be, so that an attempt fits into it.
    pub fn lease(&self) -> Duration {
        self.backend.attempt_timeout() + LEASE_MARGIN
    }

    /// Makes one attempt and settles it. Without a lease nothing is settled: that is a delivery during a ledger outage
    /// with `on_outage = "deliver"`.
    ///
    /// # Errors
    /// The lease is too short for an attempt, or the backend gave no response.
    pub async fn deliver(
        &self,
        delivery: Delivery,
        lease: Option<Lease>,
    ) -> Result<BackendResponse, DeliveryError> {
        let attempt = lease.as_ref().map_or(1, Lease::attempt);
        if let Some(held) = &lease
            && !fits(self.backend.attempt_timeout(), held.remaining(clock::instant()))
        {
            self.settle(lease, Settlement::postpone(delivery.mode, Duration::ZERO)).await;
            return Err(DeliveryError::LeaseTooShort);
        }
        let (head, attempt) = delivery.begin(attempt);
        failpoint::hit("send_before");
        match self.backend.send(head, attempt.event.body().clone()).await {
            Ok(response) if response.head().is_success() => {
                Ok(self.deliver_2xx(attempt, lease, response).await)
            }
            Ok(response) => Ok(self.deliver_refused(attempt, lease, response).await),
            Err(error) => {
                self.deliver_failed(attempt, lease, &error).await;
                Err(error.into())
            }
        }
    }

    /// Settles an attempt that the backend accepted, while it reads the rest of the response.
    async fn deliver_2xx(
        &self,
        mut attempt: Attempt,
        lease: Option<Lease>,
        response: PendingResponse,
    ) -> BackendResponse {
        let status = response.head().status;
        let slot = attempt.slot.take();
        let finish = async {
            let response = response.finish().await;
            drop(slot);
            response
        };
        // The head decides: the record need not wait for a long body, nor the slot for a slow ledger.
        let (response, ()) = tokio::join!(finish, self.settle(lease, Settlement::Delivered { status }));
        attempt.record_attempt(DeliveryResult::Delivered, Some(status));
        response
    }

    /// Settles an attempt to which the backend responded with another status than 2xx.
    async fn deliver_refused(
        &self,
        mut attempt: Attempt,
        lease: Option<Lease>,
        response: PendingResponse,
    ) -> BackendResponse {
        let status = response.head().status;
        // Our request is over only when the response is read. Another attempt must not begin before that.
        let response = response.finish().await;
        attempt.slot = None;
        let retry_after = response.head.retry_after.as_deref().and_then(parse_retry_after);
        let settlement = attempt.failure_settlement(Some(status), retry_after);
        attempt.warn_if_dead(settlement);
        self.settle(lease, settlement).await;
        attempt.record_attempt(DeliveryResult::Refused, Some(status));
        response
    }

    /// Settles an attempt that has no response.
    async fn deliver_failed(&self, mut attempt: Attempt, lease: Option<Lease>, error: &BackendError) {
        attempt.slot = None;
        let (result, settlement) = match error {
            BackendError::Unreachable(_) => {
                (DeliveryResult::Unreachable, Settlement::postpone(attempt.mode, UNREACHABLE_DELAY))
            }
            BackendError::Timeout => (DeliveryResult::Timeout, attempt.failure_settlement(None, None)),
            BackendError::Unanswered(_) | BackendError::Invalid(_) => {
                (DeliveryResult::Invalid, attempt.failure_settlement(None, None))
            }
        };
        attempt.record_attempt(result, None);
        attempt.warn_if_dead(settlement);
        self.settle(lease, settlement).await;
    }

    /// Makes a stored event due again that was leased and not tried. Tries once: if that fails, the lease expires.
    pub async fn hand_back(&self, lease: Lease) {
        self.recorder.hand_back(lease).await;
    }

    /// Gives up a stored event that can never be delivered.
    pub async fn give_up(&self, lease: Lease) {
        self.recorder.record(lease, Settlement::Dead { status: None }).await;
    }

    /// Sends a request that failed verification as it came, for a dry run. It is not an event and touches no ledger.
    ///
    /// # Errors
    /// The backend gave no response.
    pub async fn pass_unverified(
        &self,
        head: RequestHeadBuilder,
        body: Bytes,
    ) -> Result<BackendResponse, BackendError> {
        let head = head.finish(body.len());
        Ok(self.backend.send(head, body).await?.finish().await)
    }

    async fn settle(&self, lease: Option<Lease>, settlement: Settlement) {
        if let Some(lease) = lease {
            self.recorder.record(lease, settlement).await;
        }
    }
}

impl Delivery {
    /// Begins the attempt of this number. Returns the request's whole head with it.
    fn begin(self, number: u32) -> (Vec<u8>, Attempt) {
        let Delivery { event, policy, head, signature, mode, signature_is_fresh, slot } = self;
        let signature = policy.signature(&signature, signature_is_fresh, event.body(), clock::unix_seconds());
        let attempt = Attempt { event, policy, mode, number, slot, started: clock::instant() };
        (attempt.finish_head(head, &signature), attempt)
    }
}

/// One attempt under way.
struct Attempt {
    event: VerifiedEvent,
    policy: Arc<DeliveryPolicy>,
    mode: DeliveryMode,
    /// The attempt's number; 1 is the first.
    number: u32,
    slot: Option<Slot>,
    started: Instant,
}

impl Attempt {
    /// Adds to the original request's headers those that the backend learns the delivery from.
    fn finish_head(&self, mut head: RequestHeadBuilder, signature: &[u8]) -> Vec<u8> {
        head.add("Stripe-Signature", signature);
        head.add("Idempotency-Key", self.event.id().as_bytes());
        head.add("Countersign-Event", self.event.id().as_bytes());
        head.add("Countersign-Type", self.event.event_type().as_bytes());
        head.add("Countersign-Attempt", self.number.to_string().as_bytes());
        head.add("Countersign-Delivery", self.mode.as_str().as_bytes());
        head.finish(self.event.body().len())
    }

    fn failure_settlement(&self, status: Option<u16>, retry_after: Option<Duration>) -> Settlement {
        self.policy.failure_settlement(self.mode, self.number, status, retry_after, random_unit())
    }

    /// Counts the attempt, and logs it if it was at a stored event.
    fn record_attempt(&self, result: DeliveryResult, status: Option<u16>) {
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
            attempt = self.number,
            delivery = self.mode.as_str(),
            outcome = result.as_str(),
            status,
            duration_ms = took.as_micros() as f64 / 1e3,
            "{message}"
        );
    }

    fn warn_if_dead(&self, settlement: Settlement) {
        if let Settlement::Dead { status } = settlement {
            tracing::warn!(
                endpoint = &*self.policy.endpoint,
                event.id = self.event.id(),
                event.r#type = self.event.event_type(),
                attempt = self.number,
                status,
                "event is dead: its last retry failed; fix the backend, then run `countersign events redeliver`"
            );
        }
    }
}

/// Returns whether an attempt may begin with this much left of its lease.
fn fits(attempt_timeout: Duration, lease_left: Duration) -> bool {
    lease_left >= attempt_timeout + LEASE_SLACK
}

/// Parses a `Retry-After` header (RFC 9110, 10.2.3): seconds or an HTTP date. Returns `None` if it is neither.
fn parse_retry_after(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            Some(httpdate::parse_http_date(text).ok()?.duration_since(clock::wall()).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_could_outlive_its_lease_does_not_begin() {
        let attempt = Duration::from_secs(32);
        assert!(fits(attempt, attempt + LEASE_MARGIN));
        assert!(fits(attempt, attempt + LEASE_SLACK));
        assert!(!fits(attempt, attempt + LEASE_SLACK - Duration::from_nanos(1)));
        assert!(!fits(attempt, attempt));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_in_the_future() {
        assert_eq!(parse_retry_after(b" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(parse_retry_after(b"Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        let tomorrow = httpdate::fmt_http_date(clock::wall() + Duration::from_secs(86_400));
        let asked = parse_retry_after(tomorrow.as_bytes()).unwrap();
        assert!(asked > Duration::from_secs(86_000) && asked <= Duration::from_secs(86_400), "{asked:?}");
        for value in [&b"soon"[..], b"", b"-1", b"\xff"] {
            assert_eq!(parse_retry_after(value), None, "{value:?}");
        }
    }
}
