//! One leased event → backend → settled. The dispatcher owns an attempt from its first byte to its record; it never
//! decides whether an event may be delivered, nor what a caller is told.
//!
//! ```text
//!  lease ─▶ time left for a whole attempt? ──no──▶ nothing sent
//!             │ yes
//!             ▼
//!           send ──2xx head──▶ DELIVERED, while the rest of the answer is read
//!             ├────other head──▶ answer read ──┐
//!             └────no head─────────────────────┤  an event that is not kept: FAILED
//!                                              └─ a kept one: PENDING again as its schedule says, or DEAD
//! ```
//!
//! A settlement that the ledger does not take within [`SETTLE_WAIT`] goes on in the background: the backend's 2xx is a
//! fact, and the caller is told it.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::backend::{Backend, BackendError, BackendResponse, RequestHeadBuilder};
use crate::clock;
use crate::delivery::retry_schedule::Next;
use crate::delivery_mode::DeliveryMode;
use crate::endpoint::Endpoint;
use crate::failpoint;
use crate::ledger::{Lease, Ledger, SettleError, Settled, Settlement};
use crate::metrics::{DeliveryResult, Metrics};
use crate::stripe::event::VerifiedEvent;
use crate::stripe::signature;

/// How long a kept event whose backend cannot be reached is put off. Such an attempt does not count.
const UNREACHED: Duration = Duration::from_millis(500);
/// How long an answer waits for its settlement.
pub const SETTLE_WAIT: Duration = Duration::from_secs(1);
/// A lease outlives its attempt by this.
pub const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// An attempt begins only if it would be over this long before its lease: a timer may be late, and then another holder
/// would find the lease over with our request still open.
const SLACK: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Delivers events.
pub struct Dispatcher {
    backend: Backend,
    ledger: Arc<dyn Ledger>,
    metrics: Arc<Metrics>,
    background: TaskTracker,
    /// Deliveries with a 2xx that the ledger has not recorded yet.
    unsettled: Arc<AtomicUsize>,
}

/// An event to deliver.
pub struct Delivery {
    /// The proof that it may be.
    pub event: VerifiedEvent,
    /// Whose it is.
    pub endpoint: Arc<Endpoint>,
    /// What the app gets of the original request: everything but the fields that the dispatcher adds.
    pub head: RequestHeadBuilder,
    /// The original `Stripe-Signature`.
    pub signature: Bytes,
    /// Which way it goes.
    pub mode: DeliveryMode,
    /// Whether Stripe signed it a moment ago, so that its own signature still holds. It is signed anew if not.
    pub fresh: bool,
    /// What it has of `max_concurrent`, if that counts here.
    pub slot: Option<Slot>,
}

/// The place of one delivery among those at once. Given back when our request to the app is over, settled or not.
pub struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    bell: Arc<Notify>,
}

impl Slot {
    /// A place; `bell` is rung when it is free.
    pub fn new(permit: OwnedSemaphorePermit, bell: Arc<Notify>) -> Slot {
        Slot { permit: Some(permit), bell }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.bell.notify_one();
    }
}

/// Why an attempt brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The claim took so long that the attempt would not fit into its lease; nothing was sent.
    #[error("the ledger took too long to grant the delivery")]
    LeaseTooShort,
    /// The backend gave none.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl Dispatcher {
    /// A dispatcher to `backend`. What it still has to settle runs on `background`.
    pub fn new(
        backend: Backend,
        ledger: Arc<dyn Ledger>,
        metrics: Arc<Metrics>,
        background: TaskTracker,
    ) -> Dispatcher {
        Dispatcher { backend, ledger, metrics, background, unsettled: Arc::default() }
    }

    /// Whether a 2xx waits for the ledger to record it. Until it has, its event must not be leased anew.
    pub fn is_behind(&self) -> bool {
        self.unsettled.load(Ordering::Acquire) > 0
    }

    /// How long a lease has to be for an attempt to fit in.
    pub fn lease(&self) -> Duration {
        self.backend.attempt_timeout() + LEASE_MARGIN
    }

    /// Makes one attempt and settles it. Without a lease (the ledger is out, and the operator said to deliver all
    /// the same) there is nothing to settle.
    pub async fn deliver(
        &self,
        delivery: Delivery,
        lease: Option<Lease>,
    ) -> Result<BackendResponse, DeliveryError> {
        let attempt = lease.as_ref().map_or(1, Lease::attempt);
        let Delivery { mode, endpoint, .. } = &delivery;
        let (mode, endpoint) = (*mode, endpoint.clone());
        if let Some(held) = &lease
            && !fits(self.backend.attempt_timeout(), held.remaining(clock::instant()))
        {
            self.settle(lease, put_off(mode, Duration::ZERO)).await;
            return Err(DeliveryError::LeaseTooShort);
        }
        let (head, event, slot) = complete(delivery, attempt);
        let started = clock::instant();
        failpoint::hit("send_before");
        match self.backend.send(head, event.body().clone()).await {
            Ok(pending) => {
                let status = pending.head().status;
                let success = pending.head().is_success();
                let answer = if success {
                    let settlement = Settlement::Delivered { status };
                    let finish = async {
                        let answer = pending.finish().await;
                        drop(slot);
                        answer
                    };
                    tokio::join!(finish, self.settle(lease, settlement)).0
                } else {
                    // Only once the answer is read is our request over, and may another attempt begin.
                    let answer = pending.finish().await;
                    drop(slot);
                    let asked = answer.head.retry_after.as_deref().and_then(patience);
                    let settlement = failure(mode, &endpoint, attempt, Some(status), asked);
                    tell_if_dead(&endpoint, &event, attempt, settlement);
                    self.settle(lease, settlement).await;
                    answer
                };
                let result = if success { DeliveryResult::Delivered } else { DeliveryResult::Refused };
                tell(&endpoint, &event, mode, attempt, result, Some(status), started.elapsed());
                Ok(answer)
            }
            Err(error) => {
                drop(slot);
                tell(&endpoint, &event, mode, attempt, result_of(&error), None, started.elapsed());
                let settlement = match error {
                    BackendError::Unreachable(_) => put_off(mode, UNREACHED),
                    BackendError::Timeout | BackendError::Unanswered(_) | BackendError::Invalid(_) => {
                        failure(mode, &endpoint, attempt, None, None)
                    }
                };
                tell_if_dead(&endpoint, &event, attempt, settlement);
                self.settle(lease, settlement).await;
                Err(error.into())
            }
        }
    }

    /// Gives a kept event back that was leased and not tried. Once only: if the ledger does not take it, the lease ends.
    pub async fn hand_back(&self, lease: Lease) {
        let settlement = put_off(DeliveryMode::Queued, Duration::ZERO);
        failpoint::hit("hand_back_before");
        let _ = timeout(SETTLE_WAIT, self.ledger.settle(lease, settlement)).await;
        failpoint::hit("hand_back_after");
    }

    /// Gives up a kept event that can never be delivered.
    pub async fn give_up(&self, lease: Lease) {
        self.settle(Some(lease), Settlement::Dead { status: None }).await;
    }

    /// Sends a request that failed its check as it came: what a dry run does. It touches no ledger and is not an event.
    pub async fn pass_unverified(
        &self,
        head: RequestHeadBuilder,
        body: Bytes,
    ) -> Result<BackendResponse, BackendError> {
        let head = head.finish(body.len());
        Ok(self.backend.send(head, body).await?.finish().await)
    }

    async fn settle(&self, lease: Option<Lease>, settlement: Settlement) {
        let Some(lease) = lease else { return };
        let (ledger, metrics, unsettled) =
            (self.ledger.clone(), self.metrics.clone(), self.unsettled.clone());
        let settling = settle_until_recorded(ledger, metrics, unsettled, lease, settlement);
        let mut settling = Box::pin(settling);
        if timeout(SETTLE_WAIT, &mut settling).await.is_err() {
            self.background.spawn(settling);
        }
    }
}

/// Counts an attempt. At a kept event it leaves a line in the log as well, since no webhook's line tells of it; one that
/// could not connect does not, or an app that is down would fill the log.
fn tell(
    endpoint: &Endpoint,
    event: &VerifiedEvent,
    mode: DeliveryMode,
    attempt: u32,
    result: DeliveryResult,
    status: Option<u16>,
    took: Duration,
) {
    endpoint.metrics.delivery(mode, result, took);
    if mode == DeliveryMode::Inline || result == DeliveryResult::Unreachable {
        return;
    }
    tracing::info!(
        endpoint = &*endpoint.name,
        event.id = event.id(),
        event.r#type = event.event_type(),
        attempt,
        delivery = mode.as_str(),
        outcome = result.as_str(),
        status,
        duration_ms = took.as_micros() as f64 / 1e3,
        "delivery"
    );
}

fn tell_if_dead(endpoint: &Endpoint, event: &VerifiedEvent, attempt: u32, settlement: Settlement) {
    if let Settlement::Dead { status } = settlement {
        tracing::warn!(
            endpoint = &*endpoint.name,
            event.id = event.id(),
            event.r#type = event.event_type(),
            attempt,
            status,
            "given up: the event is dead, and kept for an operator"
        );
    }
}

/// Whether an attempt may begin with so much left of its lease.
fn fits(attempt: Duration, left: Duration) -> bool {
    left >= attempt + SLACK
}

/// What becomes of an event whose attempt does not count.
fn put_off(mode: DeliveryMode, wait: Duration) -> Settlement {
    match mode {
        DeliveryMode::Inline => Settlement::Failed { status: None },
        DeliveryMode::Queued | DeliveryMode::Hybrid | DeliveryMode::Redelivery => {
            Settlement::Retry { status: None, wait, counts: false }
        }
    }
}

/// What becomes of an event whose attempt failed.
fn failure(
    mode: DeliveryMode,
    endpoint: &Endpoint,
    attempt: u32,
    status: Option<u16>,
    asked: Option<Duration>,
) -> Settlement {
    match mode {
        DeliveryMode::Inline => Settlement::Failed { status },
        DeliveryMode::Queued | DeliveryMode::Hybrid | DeliveryMode::Redelivery => {
            match endpoint.schedule.after(attempt, share(), asked) {
                Next::Wait(wait) => Settlement::Retry { status, wait, counts: true },
                Next::GiveUp => Settlement::Dead { status },
            }
        }
    }
}

/// A random number from 0 to 1; the middle, where the system gives none.
fn share() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

/// What a `Retry-After` asks for (RFC 9110, 10.2.3); `None` if it cannot be read.
fn patience(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            Some(httpdate::parse_http_date(text).ok()?.duration_since(clock::wall()).unwrap_or_default())
        }
    }
}

/// The head that leaves: the original's, and what is ours to say.
fn complete(delivery: Delivery, attempt: u32) -> (Vec<u8>, VerifiedEvent, Option<Slot>) {
    let Delivery { event, endpoint, mut head, signature, mode, fresh, slot } = delivery;
    let now = i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX);
    match &endpoint.delivery_secret {
        Some(secret) => head.add("Stripe-Signature", signature::sign([secret], now, event.body()).as_bytes()),
        // An endpoint that left the configuration has no secret to sign with.
        None if fresh || endpoint.secrets.is_empty() => head.add("Stripe-Signature", &signature),
        None => {
            head.add("Stripe-Signature", signature::sign(&endpoint.secrets, now, event.body()).as_bytes())
        }
    }
    head.add("Idempotency-Key", event.id().as_bytes());
    head.add("Countersign-Event", event.id().as_bytes());
    head.add("Countersign-Type", event.event_type().as_bytes());
    head.add("Countersign-Attempt", attempt.to_string().as_bytes());
    head.add("Countersign-Delivery", mode.as_str().as_bytes());
    (head.finish(event.body().len()), event, slot)
}

/// Goes on until the ledger has it. A failure is worth recording only while its lease holds: after that the ledger
/// admits the event again by itself.
async fn settle_until_recorded(
    ledger: Arc<dyn Ledger>,
    metrics: Arc<Metrics>,
    unsettled: Arc<AtomicUsize>,
    mut lease: Lease,
    settlement: Settlement,
) {
    let mut behind = None;
    let mut wait = FIRST_RETRY;
    let mut failures = 0_u32;
    let (before, after) = crash_points(settlement);
    loop {
        failpoint::hit(before);
        match ledger.settle(lease, settlement).await {
            Ok(Settled::Recorded | Settled::Superseded) => {
                failpoint::hit(after);
                if failures > 0 {
                    tracing::info!(failures, "settlement recorded after all");
                }
                return;
            }
            Err(SettleError { lease: back, error }) => {
                if failures == 0 {
                    if matches!(settlement, Settlement::Delivered { .. }) {
                        metrics.settle_failed();
                        behind = Some(Behind::new(&unsettled));
                    }
                    let id = &*back.key().id;
                    tracing::error!(event.id = id, %error, "the ledger did not take a settlement; trying on");
                }
                failures = failures.saturating_add(1);
                // A 2xx stays a fact; anything else is for whoever leases the event next to find out.
                let is_fact = matches!(settlement, Settlement::Delivered { .. });
                if !is_fact && back.remaining(clock::instant()).is_zero() {
                    return;
                }
                lease = back;
            }
        }
        sleep(wait).await;
        // A 2xx is to be recorded before anybody can lease the event again.
        wait = if behind.is_some() { FIRST_RETRY } else { (wait * 2).min(LAST_RETRY) };
    }
}

/// One more 2xx that waits for the ledger, until dropped.
struct Behind(Arc<AtomicUsize>);

impl Behind {
    fn new(unsettled: &Arc<AtomicUsize>) -> Behind {
        unsettled.fetch_add(1, Ordering::AcqRel);
        Behind(unsettled.clone())
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Where a test kills the program before and after a settlement.
fn crash_points(settlement: Settlement) -> (&'static str, &'static str) {
    match settlement {
        Settlement::Delivered { .. } => ("delivered_before", "delivered_after"),
        Settlement::Failed { .. } => ("failed_before", "failed_after"),
        Settlement::Retry { .. } => ("retry_before", "retry_after"),
        Settlement::Dead { .. } => ("dead_before", "dead_after"),
    }
}

fn result_of(error: &BackendError) -> DeliveryResult {
    match error {
        BackendError::Unreachable(_) => DeliveryResult::Unreachable,
        BackendError::Timeout => DeliveryResult::Timeout,
        BackendError::Unanswered(_) | BackendError::Invalid(_) => DeliveryResult::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_would_end_with_its_lease_does_not_begin() {
        let attempt = Duration::from_secs(32);
        assert!(fits(attempt, attempt + LEASE_MARGIN));
        assert!(fits(attempt, attempt + SLACK));
        assert!(!fits(attempt, attempt + SLACK - Duration::from_nanos(1)));
        assert!(!fits(attempt, attempt));
    }

    #[test]
    fn a_retry_after_is_seconds_or_a_date_that_is_still_to_come() {
        assert_eq!(patience(b" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(patience(b"Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        let tomorrow = httpdate::fmt_http_date(clock::wall() + Duration::from_secs(86_400));
        let asked = patience(tomorrow.as_bytes()).unwrap();
        assert!(asked > Duration::from_secs(86_000) && asked <= Duration::from_secs(86_400), "{asked:?}");
        for value in [&b"soon"[..], b"", b"-1", b"\xff"] {
            assert_eq!(patience(value), None, "{value:?}");
        }
    }
}
