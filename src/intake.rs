//! A webhook from its whole body to its fate: verify, admit, hand on. What the fate means to the caller, as a status
//! and a body, is `edge::reply`'s; how the request was read is the edge's.

use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::backend::{Answer, BackendError, RequestHead};
use crate::clock;
use crate::config::{self, OnOutage};
use crate::courier::{Courier, Delivery, Slot, Undelivered};
use crate::crash;
use crate::endpoint::Endpoint;
use crate::ledger::{Arrival, Claim, EventKey, Kept, Ledger, LedgerError, Parcel, Way};
use crate::metrics::Mode;
use crate::outcome::Outcome;
use crate::stripe::event::{self, Rejection, VerifiedEvent};

/// Takes webhooks in.
pub struct Intake {
    ledger: Arc<dyn Ledger>,
    courier: Arc<Courier>,
    on_outage: OnOutage,
    /// Rung when an event was kept, so that it is delivered at once.
    bell: Arc<Notify>,
    /// Where deliveries go on that a caller no longer waits for.
    background: TaskTracker,
}

/// A whole request to a webhook path.
pub struct Letter<'a, S> {
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
pub struct Receipt {
    /// The verified event; `None` if it was refused.
    pub event: Option<VerifiedEvent>,
    /// Which attempt at it this was; `None` if none was made.
    pub attempt: Option<u32>,
    /// How it ended.
    pub fate: Fate,
}

/// How a letter ended.
#[derive(Debug)]
pub enum Fate {
    /// The backend answered.
    Delivered(Answer),
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
    Refused(Rejection),
    /// The ledger is out of reach, and nothing was delivered.
    LedgerUnavailable(LedgerError),
    /// An attempt was made, or would have been, and brought no answer.
    Undelivered(Undelivered),
}

impl Fate {
    /// The word for it.
    pub fn outcome(&self) -> Outcome {
        match self {
            Fate::Delivered(answer) => outcome_of_answer(answer),
            Fate::Queued => Outcome::Queued,
            Fate::Duplicate => Outcome::Duplicate,
            Fate::Ignored => Outcome::Ignored,
            Fate::InFlight { .. } => Outcome::InFlight,
            Fate::Refused(rejection) => rejection.outcome(),
            Fate::LedgerUnavailable(_) => Outcome::LedgerUnavailable,
            Fate::Undelivered(Undelivered::LeaseTooShort) => Outcome::LedgerUnavailable,
            Fate::Undelivered(Undelivered::Backend(error)) => outcome_of(error),
        }
    }

    /// What an operator should know beyond the word, for the log.
    pub fn reason(&self) -> Option<String> {
        match self {
            Fate::Refused(rejection) => Some(rejection.to_string()),
            Fate::LedgerUnavailable(error) => Some(error.to_string()),
            Fate::Undelivered(undelivered) => Some(undelivered.to_string()),
            Fate::Delivered(_) | Fate::Queued | Fate::Duplicate | Fate::Ignored | Fate::InFlight { .. } => {
                None
            }
        }
    }
}

/// The word for a backend's answer.
pub fn outcome_of_answer(answer: &Answer) -> Outcome {
    if answer.head.success() { Outcome::Delivered } else { Outcome::BackendRefused }
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
    /// An intake that admits by `ledger` and delivers by `courier`. It rings `bell` when it has kept an event; hybrid
    /// deliveries run on `background`.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        courier: Arc<Courier>,
        on_outage: OnOutage,
        bell: Arc<Notify>,
        background: TaskTracker,
    ) -> Intake {
        Intake { ledger, courier, on_outage, bell, background }
    }

    /// Judges a letter. What it proves to be an event of the endpoint is delivered through `head`, which is asked for
    /// only then: the app's request as far as the original determines it.
    ///
    /// Not to be dropped before its end: the caller is a task that its client's leaving does not cancel, so that a
    /// delivery is never left half done. If that task dies all the same, the event waits its lease out.
    pub async fn receive<'a, S>(&self, letter: Letter<'a, S>, head: impl FnOnce() -> RequestHead) -> Receipt
    where
        S: Iterator<Item = &'a [u8]> + Clone,
    {
        let Letter { endpoint, signatures, query, body, arrived } = letter;
        let now = i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX);
        let event = match event::verify(&endpoint.secrets, signatures.clone(), body, now, endpoint.tolerance)
        {
            Ok(event) => event,
            Err(rejection) => return Receipt { event: None, attempt: None, fate: Fate::Refused(rejection) },
        };
        endpoint.metrics.matched(event.secret());
        if !endpoint.forwards(&event) {
            return Receipt { event: Some(event), attempt: None, fate: Fate::Ignored };
        }
        let way = endpoint.delivery(event.kind());
        let delivery = Delivery {
            event: event.clone(),
            endpoint: endpoint.clone(),
            head: head(),
            // A verified letter has exactly one.
            signature: Bytes::copy_from_slice(signatures.clone().next().unwrap_or_default()),
            mode: match way {
                config::Delivery::Inline => Mode::Inline,
                config::Delivery::Queued => Mode::Queued,
                config::Delivery::Hybrid => Mode::Hybrid,
            },
            fresh: true,
            slot: None,
        };
        // On the heap: a connection needs no room for a delivery while it has none, and a refusal need not move it.
        let (attempt, fate) = match way {
            config::Delivery::Inline => Box::pin(self.carry(delivery, query.into())).await,
            config::Delivery::Queued => Box::pin(self.queue(delivery, query.into())).await,
            config::Delivery::Hybrid => Box::pin(self.wait_a_while(delivery, query.into(), arrived)).await,
        };
        crash::point("answer_before");
        Receipt { event: Some(event), attempt, fate }
    }

    /// See [`Courier::pass_unverified`].
    pub async fn pass_unverified(&self, head: RequestHead, body: Bytes) -> Result<Answer, BackendError> {
        self.courier.pass_unverified(head, body).await
    }

    /// Claim → deliver → settle.
    async fn carry(&self, delivery: Delivery, query: Box<str>) -> (Option<u32>, Fate) {
        let arrival = arrival(&delivery, query);
        crash::point("claim_before");
        let claim = self.ledger.claim(arrival, self.courier.lease()).await;
        crash::point("claim_after");
        let lease = match claim {
            Ok(Claim::Leased(lease)) => Some(lease),
            Ok(Claim::Duplicate) => return (None, Fate::Duplicate),
            Ok(Claim::InFlight { retry_after }) => return (None, Fate::InFlight { retry_after }),
            Err(error) => match self.without_ledger(&delivery, error) {
                Ok(()) => None,
                Err(fate) => return (None, fate),
            },
        };
        let attempt = lease.as_ref().map_or(1, |lease| lease.attempt());
        (Some(attempt), fate(self.courier.deliver(delivery, lease).await))
    }

    /// Keep, and let the worker deliver.
    async fn queue(&self, delivery: Delivery, query: Box<str>) -> (Option<u32>, Fate) {
        match self.keep(&delivery, query, Way::Queued, None).await {
            Ok(Kept::Queued) => {
                self.bell.notify_one();
                (None, Fate::Queued)
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
    ) -> (Option<u32>, Fate) {
        // When its slot is free, the worker may have use for it.
        let slot = delivery.endpoint.slots.clone().try_acquire_owned().ok();
        delivery.slot = slot.map(|permit| Slot::new(permit, self.bell.clone()));
        let lease = delivery.slot.as_ref().map(|_| self.courier.lease());
        let kept = self.keep(&delivery, query, Way::Hybrid, lease).await;
        let lease = match kept {
            Ok(Kept::Leased(lease)) => lease,
            Ok(Kept::Queued) => {
                self.bell.notify_one();
                return (None, Fate::Queued);
            }
            kept => return self.kept_otherwise(delivery, kept).await,
        };
        let attempt = Some(lease.attempt());
        let left = delivery.endpoint.deadline.saturating_sub(clock::instant().duration_since(arrived));
        let (courier, bell) = (self.courier.clone(), self.bell.clone());
        // In a task of its own: it goes on past the deadline, and counts.
        let delivering = self.background.spawn(async move {
            let delivered = courier.deliver(delivery, Some(lease)).await;
            // It may be due again.
            bell.notify_one();
            delivered
        });
        match timeout(left, delivering).await {
            Ok(Ok(Ok(answer))) if answer.head.success() => (attempt, Fate::Delivered(answer)),
            // It was kept before it was tried, so whatever went wrong, it comes again.
            Ok(_) | Err(_) => (attempt, Fate::Queued),
        }
    }

    async fn keep(
        &self,
        delivery: &Delivery,
        query: Box<str>,
        way: Way,
        lease: Option<Duration>,
    ) -> Result<Kept, LedgerError> {
        crash::point("keep_before");
        let kept = self.ledger.keep(arrival(delivery, query), parcel(delivery, way), lease).await;
        crash::point("keep_after");
        kept
    }

    /// What becomes of an event that the ledger did not keep just now.
    async fn kept_otherwise(
        &self,
        mut delivery: Delivery,
        kept: Result<Kept, LedgerError>,
    ) -> (Option<u32>, Fate) {
        match kept {
            Ok(Kept::Queued) => (None, Fate::Queued),
            Ok(Kept::Duplicate) => (None, Fate::Duplicate),
            Ok(Kept::InFlight { retry_after }) => (None, Fate::InFlight { retry_after }),
            // Asked for without a lease, none is given; it would come back when it ends.
            Ok(Kept::Leased(lease)) => (Some(lease.attempt()), Fate::Queued),
            Err(error) => match self.without_ledger(&delivery, error) {
                Ok(()) => {
                    // Nothing here brings it again: if it fails, Stripe has to know.
                    delivery.mode = Mode::Inline;
                    (Some(1), fate(self.courier.deliver(delivery, None).await))
                }
                Err(fate) => (None, fate),
            },
        }
    }

    /// Whether an event is delivered all the same, without dedup, or what its sender is told.
    fn without_ledger(&self, delivery: &Delivery, error: LedgerError) -> Result<(), Fate> {
        match self.on_outage {
            OnOutage::Deliver if error.is_outage() => {
                delivery.endpoint.metrics.undeduplicated();
                Ok(())
            }
            OnOutage::Deliver | OnOutage::Refuse => Err(Fate::LedgerUnavailable(error)),
        }
    }
}

fn fate(delivered: Result<Answer, Undelivered>) -> Fate {
    match delivered {
        Ok(answer) => Fate::Delivered(answer),
        Err(undelivered) => Fate::Undelivered(undelivered),
    }
}

fn parcel(delivery: &Delivery, way: Way) -> Parcel {
    Parcel {
        way,
        head: Bytes::copy_from_slice(delivery.head.so_far()),
        signature: delivery.signature.clone(),
        body: delivery.event.body().clone(),
    }
}

fn arrival(delivery: &Delivery, query: Box<str>) -> Arrival {
    let event = &delivery.event;
    Arrival {
        key: EventKey { endpoint: delivery.endpoint.name.clone(), query, id: event.id().into() },
        kind: event.kind().into(),
        created: event.created(),
        livemode: event.livemode(),
        account: event.account().map(Into::into),
    }
}
