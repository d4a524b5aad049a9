//! A webhook from its whole body to its disposition: verify, admit, hand on. What the disposition means to the caller, as a status
//! and a body, is `edge::reply`'s; how the request was read is the edge's.

use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::backend::{BackendError, BackendResponse, RequestHeadBuilder};
use crate::clock;
use crate::config::OnOutage;
use crate::delivery::dispatcher::{Delivery, DeliveryError, Dispatcher, Slot};
use crate::delivery_mode::DeliveryMode;
use crate::endpoint::Endpoint;
use crate::failpoint;
use crate::ledger::{Arrival, Claim, EnqueueResult, EventKey, Ledger, LedgerError, StoredRequest};
use crate::outcome::Outcome;
use crate::stripe::event::{self, EventRejection, VerifiedEvent};

/// Takes webhooks in.
pub struct Intake {
    ledger: Arc<dyn Ledger>,
    dispatcher: Arc<Dispatcher>,
    on_outage: OnOutage,
    /// Rung when an event was kept, so that it is delivered at once.
    bell: Arc<Notify>,
    /// Where deliveries go on that a caller no longer waits for.
    background: TaskTracker,
}

/// A whole request to a webhook path.
pub struct WebhookRequest<'a, S> {
    /// Whose path it is.
    pub endpoint: &'a Arc<Endpoint>,
    /// Its `Stripe-Signature` fields, as many as there are.
    pub signatures: S,
    /// Its raw query, without `?`; empty if there is none.
    pub query: &'a str,
    /// Its body.
    pub body: Bytes,
    /// When its head had arrived.
    pub arrived: Instant,
}

/// What became of a letter.
#[derive(Debug)]
pub struct WebhookResult {
    /// The verified event; `None` if it was refused.
    pub event: Option<VerifiedEvent>,
    /// Which attempt at it this was; `None` if none was made.
    pub attempt: Option<u32>,
    /// How it ended.
    pub disposition: WebhookDisposition,
}

/// How a letter ended.
#[derive(Debug)]
pub enum WebhookDisposition {
    /// The backend answered.
    Delivered(BackendResponse),
    /// It is kept, and reaches the backend later.
    Queued,
    /// It was delivered before, or is kept already.
    Duplicate,
    /// The endpoint does not forward such events.
    Ignored,
    /// Another delivery of it is under way.
    InFlight {
        /// When that one's lease ends, from now.
        retry_after: Duration,
    },
    /// The check failed.
    Refused(EventRejection),
    /// The ledger is out of reach, and nothing was delivered.
    LedgerUnavailable(LedgerError),
    /// An attempt was made, or would have been, and brought no answer.
    DeliveryError(DeliveryError),
}

impl WebhookDisposition {
    /// The word for it.
    pub fn outcome(&self) -> Outcome {
        match self {
            WebhookDisposition::Delivered(answer) => outcome_of_answer(answer),
            WebhookDisposition::Queued => Outcome::Queued,
            WebhookDisposition::Duplicate => Outcome::Duplicate,
            WebhookDisposition::Ignored => Outcome::Ignored,
            WebhookDisposition::InFlight { .. } => Outcome::InFlight,
            WebhookDisposition::Refused(rejection) => rejection.outcome(),
            WebhookDisposition::LedgerUnavailable(_) => Outcome::LedgerUnavailable,
            WebhookDisposition::DeliveryError(DeliveryError::LeaseTooShort) => Outcome::LedgerUnavailable,
            WebhookDisposition::DeliveryError(DeliveryError::Backend(error)) => outcome_of(error),
        }
    }

    /// What an operator should know beyond the word, for the log.
    pub fn reason(&self) -> Option<String> {
        match self {
            WebhookDisposition::Refused(rejection) => Some(rejection.to_string()),
            WebhookDisposition::LedgerUnavailable(error) => Some(error.to_string()),
            WebhookDisposition::DeliveryError(undelivered) => Some(undelivered.to_string()),
            WebhookDisposition::Delivered(_)
            | WebhookDisposition::Queued
            | WebhookDisposition::Duplicate
            | WebhookDisposition::Ignored
            | WebhookDisposition::InFlight { .. } => None,
        }
    }
}

/// The word for a backend's answer.
pub fn outcome_of_answer(answer: &BackendResponse) -> Outcome {
    if answer.head.is_success() { Outcome::Delivered } else { Outcome::BackendRefused }
}

/// The word for a backend that gave no answer.
pub fn outcome_of(error: &BackendError) -> Outcome {
    match error {
        BackendError::Unreachable(_) | BackendError::Unanswered(_) => Outcome::BackendUnreachable,
        BackendError::Timeout => Outcome::BackendTimeout,
        BackendError::Invalid(_) => Outcome::BackendInvalid,
    }
}

impl Intake {
    /// An intake that admits by `ledger` and delivers by `dispatcher`. It rings `bell` when it has kept an event; hybrid
    /// deliveries run on `background`.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        dispatcher: Arc<Dispatcher>,
        on_outage: OnOutage,
        bell: Arc<Notify>,
        background: TaskTracker,
    ) -> Intake {
        Intake { ledger, dispatcher, on_outage, bell, background }
    }

    /// Judges a letter. What it proves to be an event of the endpoint is delivered through `head`, which is asked for
    /// only then: the app's request as far as the original determines it.
    ///
    /// Not to be dropped before its end: the caller is a task that its client's leaving does not cancel, so that a
    /// delivery is never left half done. If that task dies all the same, the event waits its lease out.
    pub async fn receive<'a, S>(
        &self,
        letter: WebhookRequest<'a, S>,
        head: impl FnOnce() -> RequestHeadBuilder,
    ) -> WebhookResult
    where
        S: Iterator<Item = &'a [u8]> + Clone,
    {
        let WebhookRequest { endpoint, signatures, query, body, arrived } = letter;
        let now = i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX);
        let event = match event::verify(&endpoint.secrets, signatures.clone(), body, now, endpoint.tolerance)
        {
            Ok(event) => event,
            Err(rejection) => {
                return WebhookResult {
                    event: None,
                    attempt: None,
                    disposition: WebhookDisposition::Refused(rejection),
                };
            }
        };
        endpoint.metrics.matched(event.secret());
        if !endpoint.forwards(&event) {
            return WebhookResult {
                event: Some(event),
                attempt: None,
                disposition: WebhookDisposition::Ignored,
            };
        }
        let mode = endpoint.delivery(event.event_type());
        let delivery = Delivery {
            event: event.clone(),
            endpoint: endpoint.clone(),
            head: head(),
            // A verified letter has exactly one.
            signature: Bytes::copy_from_slice(signatures.clone().next().unwrap_or_default()),
            mode,
            fresh: true,
            slot: None,
        };
        // On the heap: a connection needs no room for a delivery while it has none, and a refusal need not move it.
        let (attempt, disposition) = match mode {
            DeliveryMode::Inline => Box::pin(self.carry(delivery, query.into())).await,
            DeliveryMode::Queued | DeliveryMode::Redelivery => {
                Box::pin(self.queue(delivery, query.into())).await
            }
            DeliveryMode::Hybrid => Box::pin(self.wait_a_while(delivery, query.into(), arrived)).await,
        };
        failpoint::hit("answer_before");
        WebhookResult { event: Some(event), attempt, disposition }
    }

    /// See [`Dispatcher::pass_unverified`].
    pub async fn pass_unverified(
        &self,
        head: RequestHeadBuilder,
        body: Bytes,
    ) -> Result<BackendResponse, BackendError> {
        self.dispatcher.pass_unverified(head, body).await
    }

    /// Claim → deliver → settle.
    async fn carry(&self, delivery: Delivery, query: Box<str>) -> (Option<u32>, WebhookDisposition) {
        let arrival = arrival(&delivery, query);
        failpoint::hit("claim_before");
        let claim = self.ledger.claim(arrival, self.dispatcher.lease()).await;
        failpoint::hit("claim_after");
        let lease = match claim {
            Ok(Claim::Leased(lease)) => Some(lease),
            Ok(Claim::Duplicate) => return (None, WebhookDisposition::Duplicate),
            Ok(Claim::InFlight { retry_after }) => {
                return (None, WebhookDisposition::InFlight { retry_after });
            }
            Err(error) => match self.without_ledger(&delivery, error) {
                Ok(()) => None,
                Err(disposition) => return (None, disposition),
            },
        };
        let attempt = lease.as_ref().map_or(1, |lease| lease.attempt());
        (Some(attempt), disposition(self.dispatcher.deliver(delivery, lease).await))
    }

    /// Keep, and let the worker deliver.
    async fn queue(&self, delivery: Delivery, query: Box<str>) -> (Option<u32>, WebhookDisposition) {
        match self.keep(&delivery, query, DeliveryMode::Queued, None).await {
            Ok(EnqueueResult::Queued) => {
                self.bell.notify_one();
                (None, WebhookDisposition::Queued)
            }
            kept => self.kept_otherwise(delivery, kept).await,
        }
    }

    /// Keep, deliver, and tell the caller what comes of it until the deadline; that it is kept, after that. A delivery
    /// for which there is no slot is the worker's at once.
    async fn wait_a_while(
        &self,
        mut delivery: Delivery,
        query: Box<str>,
        arrived: Instant,
    ) -> (Option<u32>, WebhookDisposition) {
        // When its slot is free, the worker may have use for it.
        let slot = delivery.endpoint.slots.clone().try_acquire_owned().ok();
        delivery.slot = slot.map(|permit| Slot::new(permit, self.bell.clone()));
        let lease = delivery.slot.as_ref().map(|_| self.dispatcher.lease());
        let kept = self.keep(&delivery, query, DeliveryMode::Hybrid, lease).await;
        let lease = match kept {
            Ok(EnqueueResult::Leased(lease)) => lease,
            Ok(EnqueueResult::Queued) => {
                self.bell.notify_one();
                return (None, WebhookDisposition::Queued);
            }
            kept => return self.kept_otherwise(delivery, kept).await,
        };
        let attempt = Some(lease.attempt());
        let left = delivery.endpoint.deadline.saturating_sub(clock::instant().duration_since(arrived));
        let (dispatcher, bell) = (self.dispatcher.clone(), self.bell.clone());
        // In a task of its own: it goes on past the deadline, and counts.
        let delivering = self.background.spawn(async move {
            let delivered = dispatcher.deliver(delivery, Some(lease)).await;
            // It may be due again.
            bell.notify_one();
            delivered
        });
        match timeout(left, delivering).await {
            Ok(Ok(Ok(answer))) if answer.head.is_success() => {
                (attempt, WebhookDisposition::Delivered(answer))
            }
            // It was kept before it was tried, so whatever went wrong, it comes again.
            Ok(_) | Err(_) => (attempt, WebhookDisposition::Queued),
        }
    }

    async fn keep(
        &self,
        delivery: &Delivery,
        query: Box<str>,
        mode: DeliveryMode,
        lease: Option<Duration>,
    ) -> Result<EnqueueResult, LedgerError> {
        failpoint::hit("enqueue_before");
        let kept = self.ledger.enqueue(arrival(delivery, query), parcel(delivery, mode), lease).await;
        failpoint::hit("enqueue_after");
        kept
    }

    /// What becomes of an event that the ledger did not keep just now.
    async fn kept_otherwise(
        &self,
        mut delivery: Delivery,
        kept: Result<EnqueueResult, LedgerError>,
    ) -> (Option<u32>, WebhookDisposition) {
        match kept {
            Ok(EnqueueResult::Queued) => (None, WebhookDisposition::Queued),
            Ok(EnqueueResult::Duplicate) => (None, WebhookDisposition::Duplicate),
            Ok(EnqueueResult::InFlight { retry_after }) => {
                (None, WebhookDisposition::InFlight { retry_after })
            }
            // Asked for without a lease, none is given; it would come back when it ends.
            Ok(EnqueueResult::Leased(lease)) => (Some(lease.attempt()), WebhookDisposition::Queued),
            Err(error) => match self.without_ledger(&delivery, error) {
                Ok(()) => {
                    // Nothing here brings it again: if it fails, Stripe has to know.
                    delivery.mode = DeliveryMode::Inline;
                    (Some(1), disposition(self.dispatcher.deliver(delivery, None).await))
                }
                Err(disposition) => (None, disposition),
            },
        }
    }

    /// Whether an event is delivered all the same, without dedup, or what its sender is told.
    fn without_ledger(&self, delivery: &Delivery, error: LedgerError) -> Result<(), WebhookDisposition> {
        match self.on_outage {
            OnOutage::Deliver if error.is_outage() => {
                delivery.endpoint.metrics.undeduplicated();
                Ok(())
            }
            OnOutage::Deliver | OnOutage::Refuse => Err(WebhookDisposition::LedgerUnavailable(error)),
        }
    }
}

fn disposition(delivered: Result<BackendResponse, DeliveryError>) -> WebhookDisposition {
    match delivered {
        Ok(answer) => WebhookDisposition::Delivered(answer),
        Err(undelivered) => WebhookDisposition::DeliveryError(undelivered),
    }
}

fn parcel(delivery: &Delivery, mode: DeliveryMode) -> StoredRequest {
    StoredRequest {
        mode,
        head: Bytes::copy_from_slice(delivery.head.as_bytes()),
        signature: delivery.signature.clone(),
        body: delivery.event.body().clone(),
    }
}

fn arrival(delivery: &Delivery, query: Box<str>) -> Arrival {
    let event = &delivery.event;
    Arrival {
        key: EventKey { endpoint: delivery.endpoint.name.clone(), query, id: event.id().into() },
        event_type: event.event_type().into(),
        created: event.created(),
        livemode: event.livemode(),
        account: event.account().map(Into::into),
    }
}
