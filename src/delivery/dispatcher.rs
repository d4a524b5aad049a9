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
//! A settlement that the ledger does not take within `SETTLE_WAIT` continues in the background. The backend's 2xx stands, so the caller gets it at once.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::TaskTracker;

use super::attempt::{Attempt, Delivery, DeliveryError};
use super::settlement::SettlementRecorder;
use crate::backend::{Backend, BackendError, BackendResponse, PendingResponse, RequestHeadBuilder};
use crate::clock;
use crate::failpoint;
use crate::ledger::{Lease, Ledger, Settlement};
use crate::metrics::{DeliveryResult, Metrics};

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

impl Dispatcher {
    /// Builds a dispatcher that delivers to `backend`. Slow settlements continue on `background`.
    pub fn new(
        backend: Backend,
        ledger: Arc<dyn Ledger>,
        metrics: Arc<Metrics>,
        background: TaskTracker,
    ) -> Self {
        Self { backend, recorder: SettlementRecorder::new(ledger, metrics, background) }
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
            Ok(response) => Ok(self.on_rejected_response(attempt, lease, response).await),
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
        attempt.record_lag();
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
    async fn on_rejected_response(
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
