//! The one way in for events: [`Intake::receive`] for webhook requests, [`Intake::import`] for events that an operator
//! brings. Both end in one `enqueue`. Owns verify, filter, claim and hand-over; never decides a status or a body, and
//! never reads a request from the network.
//!
//! Files: `import` (events that an operator brings), `request` (what the intake is given), `incoming` (what is stored and
//! delivered of an event), `result` (what the intake returns).

mod import;
mod incoming;
mod request;
mod result;

pub use request::{ImportTarget, WebhookRequest};
pub use result::{ImportError, ImportResult, WebhookDisposition, WebhookResult, outcome_of_response};

use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use self::incoming::{IncomingEvent, record_id};
use self::result::outcome_of_backend_error;
use crate::backend::{BackendResponse, RequestHeadBuilder};
use crate::clock;
use crate::config::OnOutage;
use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::wakeup::Wakeup;
use crate::delivery_mode::DeliveryMode;
use crate::endpoint::Endpoint;
use crate::failpoint;
use crate::ledger::{Claim, EnqueueResult, Ledger, LedgerError};
use crate::outcome::Outcome;

/// Receives webhooks and imports events.
pub struct Intake {
    ledger: Arc<dyn Ledger>,
    dispatcher: Arc<Dispatcher>,
    on_outage: OnOutage,
    wakeup: Wakeup,
    /// Runs deliveries that outlast their caller.
    background: TaskTracker,
}

/// The disposition of an event, with the number of the attempt that was made.
type AttemptDisposition = (Option<u32>, WebhookDisposition);

impl Intake {
    /// Builds an intake that admits events by `ledger` and delivers them by `dispatcher`. Hybrid deliveries that outlast
    /// their deadline run on `background`.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        dispatcher: Arc<Dispatcher>,
        on_outage: OnOutage,
        wakeup: Wakeup,
        background: TaskTracker,
    ) -> Self {
        Self { ledger, dispatcher, on_outage, wakeup, background }
    }

    /// Verifies a webhook request and delivers or stores its event. `head` builds the backend's request as far as the
    /// original determines it; it is called only for an event that the endpoint forwards.
    ///
    /// `on_stored` is called when the event is durable and the caller need not keep a place for it. An inline event never
    /// is: its place is in use until it is delivered.
    ///
    /// The future must run to its end, so the caller is a task that outlives its client: otherwise a delivery could stop
    /// half-way. If the task dies nevertheless, the event is admitted again when its lease has expired.
    pub async fn receive<'a, S>(
        &self,
        request: WebhookRequest<'a, S>,
        head: impl FnOnce() -> RequestHeadBuilder,
        on_stored: impl FnOnce() + Send,
    ) -> WebhookResult
    where
        S: Iterator<Item = &'a [u8]>,
    {
        let WebhookRequest { endpoint, signatures, segments, query, body, arrived } = request;
        let verified = endpoint.verification.verify(signatures, body, clock::unix_seconds());
        let event = match verified.map_err(WebhookDisposition::Rejected) {
            Ok(event) => event,
            Err(rejected) => return WebhookResult::without_attempt(None, rejected),
        };
        endpoint.metrics.record_secret_match(event.secret());
        if event.is_ping() {
            return WebhookResult::without_attempt(Some(event), WebhookDisposition::Ping);
        }
        if !endpoint.filter.matches(&event) {
            return WebhookResult::without_attempt(Some(event), WebhookDisposition::Ignored);
        }
        let mode = endpoint.mode_for(event.event_type());
        let incoming = IncomingEvent {
            record_id: record_id(&event),
            event: event.clone(),
            endpoint: endpoint.clone(),
            segments: segments.into(),
            query: query.into(),
            // It has one `Stripe-Signature`: verification accepts no other number.
            head: head(),
        };
        self.remember(endpoint, &incoming.head);
        // Boxed, so that an idle connection's task does not reserve space for a delivery, and a refusal need not move one.
        let (attempt, disposition) = match mode {
            DeliveryMode::Inline => Box::pin(self.deliver_inline(incoming)).await,
            DeliveryMode::Queued | DeliveryMode::Redelivery => Box::pin(self.queue(incoming)).await,
            DeliveryMode::Hybrid => Box::pin(self.deliver_hybrid(incoming, arrived, on_stored)).await,
        };
        failpoint::hit("respond_before");
        WebhookResult { event: Some(event), attempt, disposition }
    }

    /// Sends a request that failed verification to the backend, for a dry run. It counts as an inline delivery of
    /// `endpoint`. See [`Dispatcher::pass_unverified`].
    ///
    /// # Errors
    /// Returns the outcome if the backend gave no response, or if no further delivery may begin.
    pub async fn pass_unverified(
        &self,
        endpoint: &Endpoint,
        head: RequestHeadBuilder,
        body: Bytes,
    ) -> Result<BackendResponse, Outcome> {
        let _permit = endpoint.inline_limit.try_acquire().ok_or(Outcome::Overloaded)?;
        self.dispatcher.pass_unverified(head, body).await.map_err(|error| outcome_of_backend_error(&error))
    }

    /// Has the ledger remember the head of a verified webhook, if it does not: imported events are delivered by it.
    fn remember(&self, endpoint: &Endpoint, head: &RequestHeadBuilder) {
        let with_target = !endpoint.has_variable_path;
        let last_arrival = &endpoint.policy.last_arrival;
        let Some(arrival) = last_arrival.note(head, with_target, clock::instant()) else { return };
        let (ledger, endpoint) = (self.ledger.clone(), endpoint.name.clone());
        self.background.spawn(async move {
            match ledger.remember_arrival(&endpoint, arrival.as_str()).await {
                Ok(()) => arrival.mark_saved(),
                // The next webhook tries again, and claims fail for the same reason and are reported.
                Err(error) => {
                    tracing::debug!(endpoint = &*endpoint, %error, "failed to remember the last webhook")
                }
            }
        });
    }

    /// Claims the event and delivers it; the caller gets the backend's own response.
    async fn deliver_inline(&self, incoming: IncomingEvent) -> AttemptDisposition {
        let Some(_permit) = incoming.endpoint.inline_limit.try_acquire() else {
            return (None, WebhookDisposition::Overloaded);
        };
        failpoint::hit("claim_before");
        let claim = self.ledger.claim(incoming.arrival(), self.dispatcher.lease()).await;
        failpoint::hit("claim_after");
        let lease = match claim {
            Ok(Claim::Leased(lease)) => Some(lease),
            Ok(Claim::Duplicate) => return (None, WebhookDisposition::Duplicate),
            Ok(Claim::InFlight { retry_after }) => {
                return (None, WebhookDisposition::InFlight { retry_after });
            }
            Err(error) => match self.on_ledger_outage(&incoming, error) {
                Ok(()) => None,
                Err(disposition) => return (None, disposition),
            },
        };
        let attempt = lease.as_ref().map_or(1, |lease| lease.attempt());
        let delivery = incoming.into_delivery(DeliveryMode::Inline, None);
        let delivered = self.dispatcher.deliver(delivery, lease).await;
        (Some(attempt), WebhookDisposition::from_delivery(delivered))
    }

    /// Stores the event for the worker.
    async fn queue(&self, incoming: IncomingEvent) -> AttemptDisposition {
        match self.enqueue(&incoming, DeliveryMode::Queued, None).await {
            Ok(EnqueueResult::Queued) => (None, WebhookDisposition::Queued),
            not_queued => self.on_not_queued(incoming, not_queued).await,
        }
    }

    /// Stores the event and delivers it. The caller gets a 2xx of the backend if it comes before the deadline, and an
    /// acknowledgement otherwise. Without a free slot the event is left to the worker.
    async fn deliver_hybrid(
        &self,
        incoming: IncomingEvent,
        arrived: Instant,
        on_stored: impl FnOnce() + Send,
    ) -> AttemptDisposition {
        // A freed slot wakes the worker, which may have events that wait for it.
        let slot = incoming.endpoint.policy.slots.try_acquire(&self.wakeup.wake);
        let lease = slot.as_ref().map(|_| self.dispatcher.lease());
        let lease = match self.enqueue(&incoming, DeliveryMode::Hybrid, lease).await {
            Ok(EnqueueResult::Leased(lease)) => lease,
            Ok(EnqueueResult::Queued) => return (None, WebhookDisposition::Queued),
            not_queued => return self.on_not_queued(incoming, not_queued).await,
        };
        on_stored();
        let attempt = Some(lease.attempt());
        let deadline = incoming.endpoint.hybrid_deadline;
        let time_left = deadline.saturating_sub(clock::instant().duration_since(arrived));
        let delivery = incoming.into_delivery(DeliveryMode::Hybrid, slot);
        let (dispatcher, wake) = (self.dispatcher.clone(), self.wakeup.wake.clone());
        // A task of its own: the delivery goes on past the deadline, and its result counts.
        let delivering = self.background.spawn(async move {
            let delivered = dispatcher.deliver(delivery, Some(lease)).await;
            // A failed event may be due again at once.
            wake.notify_one();
            delivered
        });
        match timeout(time_left, delivering).await {
            Ok(Ok(Ok(response))) if response.head.is_success() => {
                (attempt, WebhookDisposition::Delivered(response))
            }
            // The event was stored before the attempt, so whatever went wrong, the worker tries again.
            Ok(_) | Err(_) => (attempt, WebhookDisposition::Queued),
        }
    }

    /// Stores an event, leased to the caller if a `lease` is given. Wakes the worker if the event is due at once.
    async fn enqueue(
        &self,
        incoming: &IncomingEvent,
        mode: DeliveryMode,
        lease: Option<Duration>,
    ) -> Result<EnqueueResult, LedgerError> {
        failpoint::hit("enqueue_before");
        let enqueued = self.ledger.enqueue(incoming.arrival(), incoming.stored_request(mode), lease).await;
        failpoint::hit("enqueue_after");
        if let Ok(EnqueueResult::Queued) = enqueued {
            // An endpoint that stores nothing by itself has no queue: only a rescan finds its imported events.
            match incoming.endpoint.policy.stores_events {
                true => self.wakeup.wake.notify_one(),
                false => self.wakeup.rescan.notify_one(),
            }
        }
        enqueued
    }

    /// Returns what becomes of an event that the ledger has not stored just now.
    async fn on_not_queued(
        &self,
        incoming: IncomingEvent,
        enqueued: Result<EnqueueResult, LedgerError>,
    ) -> AttemptDisposition {
        match enqueued {
            Ok(EnqueueResult::Queued) => (None, WebhookDisposition::Queued),
            Ok(EnqueueResult::Duplicate) => (None, WebhookDisposition::Duplicate),
            Ok(EnqueueResult::InFlight { retry_after }) => {
                (None, WebhookDisposition::InFlight { retry_after })
            }
            // Asked for without a lease, none is granted. One would expire by itself, and the event would be due.
            Ok(EnqueueResult::Leased(lease)) => (Some(lease.attempt()), WebhookDisposition::Queued),
            Err(error) => match self.on_ledger_outage(&incoming, error) {
                Ok(()) => {
                    let Some(_permit) = incoming.endpoint.inline_limit.try_acquire() else {
                        return (None, WebhookDisposition::Overloaded);
                    };
                    // Nothing is stored that could be retried, so Stripe has to learn of a failure.
                    let delivery = incoming.into_delivery(DeliveryMode::Inline, None);
                    let delivered = self.dispatcher.deliver(delivery, None).await;
                    (Some(1), WebhookDisposition::from_delivery(delivered))
                }
                Err(disposition) => (None, disposition),
            },
        }
    }

    /// Returns `Ok` if the event is delivered without deduplication, else what its sender is told.
    fn on_ledger_outage(
        &self,
        incoming: &IncomingEvent,
        error: LedgerError,
    ) -> Result<(), WebhookDisposition> {
        match self.on_outage {
            OnOutage::Deliver if error.is_outage() => {
                incoming.endpoint.metrics.record_undeduplicated();
                Ok(())
            }
            OnOutage::Deliver | OnOutage::Refuse => Err(WebhookDisposition::LedgerUnavailable(error)),
        }
    }
}
