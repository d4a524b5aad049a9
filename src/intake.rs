//! A webhook from its whole body to its fate: verify, admit, hand on. What the fate means to the caller, as a status
//! and a body, is `edge::reply`'s; how the request was read is the edge's.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{Answer, BackendError, RequestHead};
use crate::clock;
use crate::config::OnOutage;
use crate::courier::{Courier, Delivery, Undelivered};
use crate::endpoint::Endpoint;
use crate::ledger::{Arrival, Claim, EventKey, Ledger, LedgerError};
use crate::outcome::Outcome;
use crate::stripe::event::{self, Rejection, VerifiedEvent};

/// Takes webhooks in.
pub struct Intake {
    ledger: Arc<dyn Ledger>,
    courier: Courier,
    on_outage: OnOutage,
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
    /// It was delivered before.
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
            Fate::Delivered(_) | Fate::Duplicate | Fate::Ignored | Fate::InFlight { .. } => None,
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
        BackendError::Unreachable(_) => Outcome::BackendUnreachable,
        BackendError::Timeout => Outcome::BackendTimeout,
        BackendError::Invalid(_) => Outcome::BackendInvalid,
    }
}

impl Intake {
    /// An intake that admits by `ledger` and delivers by `courier`.
    pub fn new(ledger: Arc<dyn Ledger>, courier: Courier, on_outage: OnOutage) -> Intake {
        Intake { ledger, courier, on_outage }
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
        let Letter { endpoint, signatures, query, body } = letter;
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
        let delivery = Delivery {
            event: event.clone(),
            endpoint: endpoint.clone(),
            head: head(),
            // A verified letter has exactly one.
            signature: signatures.clone().next().unwrap_or_default().into(),
        };
        let (attempt, fate) = self.carry(delivery, query.into()).await;
        Receipt { event: Some(event), attempt, fate }
    }

    /// See [`Courier::pass_unverified`].
    pub async fn pass_unverified(&self, head: RequestHead, body: Bytes) -> Result<Answer, BackendError> {
        self.courier.pass_unverified(head, body).await
    }

    /// Claim → deliver → settle.
    async fn carry(&self, delivery: Delivery, query: Box<str>) -> (Option<u32>, Fate) {
        let arrival = arrival(&delivery, query);
        let lease = match self.ledger.claim(arrival, self.courier.lease()).await {
            Ok(Claim::Leased(lease)) => Some(lease),
            Ok(Claim::Duplicate) => return (None, Fate::Duplicate),
            Ok(Claim::InFlight { retry_after }) => return (None, Fate::InFlight { retry_after }),
            Err(error) => match self.on_outage {
                OnOutage::Refuse => return (None, Fate::LedgerUnavailable(error)),
                OnOutage::Deliver => {
                    delivery.endpoint.metrics.undeduplicated();
                    None
                }
            },
        };
        let attempt = lease.as_ref().map_or(1, |lease| lease.attempt());
        let fate = match self.courier.deliver(delivery, lease).await {
            Ok(answer) => Fate::Delivered(answer),
            Err(undelivered) => Fate::Undelivered(undelivered),
        };
        (Some(attempt), fate)
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
