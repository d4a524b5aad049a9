//! One leased event → backend → settled. The courier owns an attempt from its first byte to its record; it never
//! decides whether an event may be delivered, nor what a caller is told.
//!
//! ```text
//!  lease ─▶ time left for a whole attempt? ──no──▶ FAILED, nothing sent
//!             │ yes
//!             ▼
//!           send ──2xx head──▶ DELIVERED, while the rest of the answer is read
//!             ├────other head──▶ answer read, then FAILED
//!             └────no head─────▶ FAILED
//! ```
//!
//! A settlement that the ledger does not take within [`SETTLE_WAIT`] goes on in the background: the backend's 2xx is a
//! fact, and the caller is told it.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::backend::{Answer, Backend, BackendError, RequestHead};
use crate::clock;
use crate::endpoint::Endpoint;
use crate::ledger::{Lease, Ledger, Settled, Settlement, Unsettled};
use crate::metrics::{DeliveryResult, Metrics, Mode};
use crate::stripe::event::VerifiedEvent;
use crate::stripe::signature;

/// How long an answer waits for its settlement.
pub const SETTLE_WAIT: Duration = Duration::from_secs(1);
/// A lease outlives its attempt by this.
pub const LEASE_MARGIN: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Delivers events.
pub struct Courier {
    backend: Backend,
    ledger: Arc<dyn Ledger>,
    metrics: Arc<Metrics>,
    background: TaskTracker,
}

/// An event to deliver.
pub struct Delivery {
    /// The proof that it may be.
    pub event: VerifiedEvent,
    /// Whose it is.
    pub endpoint: Arc<Endpoint>,
    /// What the app gets of the original request: everything but the fields that the courier adds.
    pub head: RequestHead,
    /// The original `Stripe-Signature`.
    pub signature: Box<[u8]>,
}

/// Why an attempt brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// The claim took so long that the attempt would not fit into its lease; nothing was sent.
    #[error("the ledger took too long to grant the delivery")]
    LeaseTooShort,
    /// The backend gave none.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl Courier {
    /// A courier to `backend`. What it still has to settle runs on `background`.
    pub fn new(
        backend: Backend,
        ledger: Arc<dyn Ledger>,
        metrics: Arc<Metrics>,
        background: TaskTracker,
    ) -> Courier {
        Courier { backend, ledger, metrics, background }
    }

    /// How long a lease has to be for an attempt to fit in.
    pub fn lease(&self) -> Duration {
        self.backend.attempt_timeout() + LEASE_MARGIN
    }

    /// Makes one attempt and settles it. Without a lease (the ledger is out, and the operator said to deliver all
    /// the same) there is nothing to settle.
    pub async fn deliver(&self, delivery: Delivery, lease: Option<Lease>) -> Result<Answer, Undelivered> {
        if let Some(held) = &lease
            && held.remaining(clock::instant()) < self.backend.attempt_timeout()
        {
            self.settle(lease, Settlement::Failed { status: None }).await;
            return Err(Undelivered::LeaseTooShort);
        }
        let attempt = lease.as_ref().map_or(1, Lease::attempt);
        let metrics = delivery.endpoint.metrics.clone();
        let (head, event) = complete(delivery, attempt);
        let started = clock::instant();
        match self.backend.send(head, event.body().clone()).await {
            Ok(pending) => {
                let status = pending.head().status;
                let success = pending.head().success();
                let answer = if success {
                    let settlement = Settlement::Delivered { status };
                    tokio::join!(pending.finish(), self.settle(lease, settlement)).0
                } else {
                    // Only once the answer is read is our request over, and may another attempt begin.
                    let answer = pending.finish().await;
                    self.settle(lease, Settlement::Failed { status: Some(status) }).await;
                    answer
                };
                let result = if success { DeliveryResult::Delivered } else { DeliveryResult::Refused };
                metrics.delivery(Mode::Inline, result, started.elapsed());
                Ok(answer)
            }
            Err(error) => {
                metrics.delivery(Mode::Inline, result_of(&error), started.elapsed());
                self.settle(lease, Settlement::Failed { status: None }).await;
                Err(error.into())
            }
        }
    }

    /// Sends a request that failed its check as it came: what a dry run does. It touches no ledger and is not an event.
    pub async fn pass_unverified(&self, head: RequestHead, body: Bytes) -> Result<Answer, BackendError> {
        let head = head.finish(body.len());
        Ok(self.backend.send(head, body).await?.finish().await)
    }

    async fn settle(&self, lease: Option<Lease>, settlement: Settlement) {
        let Some(lease) = lease else { return };
        let settling = settle_until_recorded(self.ledger.clone(), self.metrics.clone(), lease, settlement);
        let mut settling = Box::pin(settling);
        if timeout(SETTLE_WAIT, &mut settling).await.is_err() {
            self.background.spawn(settling);
        }
    }
}

/// The head that leaves: the original's, and what is ours to say.
fn complete(delivery: Delivery, attempt: u32) -> (Vec<u8>, VerifiedEvent) {
    let Delivery { event, endpoint, mut head, signature } = delivery;
    match &endpoint.delivery_secret {
        Some(secret) => {
            let now = i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX);
            head.add("Stripe-Signature", signature::sign([secret], now, event.body()).as_bytes());
        }
        None => head.add("Stripe-Signature", &signature),
    }
    head.add("Idempotency-Key", event.id().as_bytes());
    head.add("Countersign-Event", event.id().as_bytes());
    head.add("Countersign-Type", event.kind().as_bytes());
    head.add("Countersign-Attempt", attempt.to_string().as_bytes());
    head.add("Countersign-Delivery", Mode::Inline.label().as_bytes());
    (head.finish(event.body().len()), event)
}

/// Goes on until the ledger has it. A failure is worth recording only while its lease holds: after that the ledger
/// admits the event again by itself.
async fn settle_until_recorded(
    ledger: Arc<dyn Ledger>,
    metrics: Arc<Metrics>,
    mut lease: Lease,
    settlement: Settlement,
) {
    let mut wait = FIRST_RETRY;
    let mut failures = 0_u32;
    loop {
        match ledger.settle(lease, settlement).await {
            Ok(Settled::Recorded | Settled::Superseded) => {
                if failures > 0 {
                    tracing::info!(failures, "settlement recorded after all");
                }
                return;
            }
            Err(Unsettled { lease: back, error }) => {
                if failures == 0 {
                    if matches!(settlement, Settlement::Delivered { .. }) {
                        metrics.settle_failed();
                    }
                    let id = &*back.key().id;
                    tracing::error!(event.id = id, %error, "the ledger did not take a settlement; trying on");
                }
                failures = failures.saturating_add(1);
                let moot = back.remaining(clock::instant()).is_zero();
                match settlement {
                    Settlement::Delivered { .. } => {}
                    Settlement::Failed { .. } | Settlement::Retry { .. } | Settlement::Dead { .. }
                        if moot =>
                    {
                        return;
                    }
                    Settlement::Failed { .. } | Settlement::Retry { .. } | Settlement::Dead { .. } => {}
                }
                lease = back;
            }
        }
        sleep(wait).await;
        wait = (wait * 2).min(LAST_RETRY);
    }
}

fn result_of(error: &BackendError) -> DeliveryResult {
    match error {
        BackendError::Unreachable(_) => DeliveryResult::Unreachable,
        BackendError::Timeout => DeliveryResult::Timeout,
        BackendError::Invalid(_) => DeliveryResult::Invalid,
    }
}
