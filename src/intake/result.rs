//! What an intake returns: the results of a received webhook and of an import. Owns no status and no body: how a result looks
//! to the caller is decided by the edge and by the events API.

use std::time::Duration;

use crate::backend::{BackendError, BackendResponse};
use crate::delivery::attempt::DeliveryError;
use crate::ledger::LedgerError;
use crate::outcome::{Outcome, outcome_of_rejection};
use crate::stripe::event::{EventRejection, VerifiedEvent};

/// The result of one webhook request.
#[derive(Debug)]
pub struct WebhookResult {
    /// The verified event; `None` if verification failed.
    pub event: Option<VerifiedEvent>,
    /// The number of the delivery attempt that was made; `None` if none was made.
    pub attempt: Option<u32>,
    /// What became of the event.
    pub disposition: WebhookDisposition,
}

impl WebhookResult {
    /// Returns the result of a request for which no delivery was attempted.
    pub(super) fn without_attempt(event: Option<VerifiedEvent>, disposition: WebhookDisposition) -> Self {
        Self { event, attempt: None, disposition }
    }
}

/// What became of a webhook request.
#[derive(Debug)]
pub enum WebhookDisposition {
    /// The backend responded, with whatever status.
    Delivered(BackendResponse),
    /// The event is stored and reaches the backend later.
    Queued,
    /// The event was delivered before, or is stored already.
    Duplicate,
    /// The endpoint does not forward such events.
    Ignored,
    /// The event is a test of the event destination, which is answered and not forwarded.
    Ping,
    /// Another delivery of the event is under way.
    InFlight {
        /// The time until that delivery's lease ends.
        retry_after: Duration,
    },
    /// So many inline deliveries of the endpoint are under way that another one must not begin.
    Overloaded,
    /// Verification failed.
    Rejected(EventRejection),
    /// The ledger is unavailable, and nothing was delivered.
    LedgerUnavailable(LedgerError),
    /// The delivery has no response: the backend failed, or the lease was too short for an attempt.
    DeliveryError(DeliveryError),
}

impl WebhookDisposition {
    /// Returns the disposition of a finished delivery.
    pub(super) fn from_delivery(delivered: Result<BackendResponse, DeliveryError>) -> Self {
        match delivered {
            Ok(response) => Self::Delivered(response),
            Err(error) => Self::DeliveryError(error),
        }
    }

    /// Returns the outcome that the disposition is counted, logged and answered as.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Delivered(response) => outcome_of_response(response),
            Self::Queued => Outcome::Queued,
            Self::Duplicate => Outcome::Duplicate,
            Self::Ignored => Outcome::Ignored,
            Self::Ping => Outcome::Ping,
            Self::InFlight { .. } => Outcome::InFlight,
            Self::Overloaded => Outcome::Overloaded,
            Self::Rejected(rejection) => outcome_of_rejection(*rejection),
            Self::LedgerUnavailable(_) => Outcome::LedgerUnavailable,
            Self::DeliveryError(DeliveryError::LeaseTooShort) => Outcome::LedgerUnavailable,
            Self::DeliveryError(DeliveryError::Backend(error)) => outcome_of_backend_error(error),
        }
    }

    /// Returns the cause, for the log; `None` where the outcome says everything.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Rejected(rejection) => Some(rejection.to_string()),
            Self::LedgerUnavailable(error) => Some(error.to_string()),
            Self::DeliveryError(error) => Some(error.to_string()),
            Self::Overloaded => Some("max_inline deliveries are under way".to_owned()),
            Self::Delivered(_)
            | Self::Queued
            | Self::Duplicate
            | Self::Ignored
            | Self::Ping
            | Self::InFlight { .. } => None,
        }
    }
}

/// Returns the outcome of a backend's response.
pub fn outcome_of_response(response: &BackendResponse) -> Outcome {
    if response.head.is_success() { Outcome::Delivered } else { Outcome::BackendRefused }
}

/// Returns the outcome of a request to which the backend gave no response.
pub(super) fn outcome_of_backend_error(error: &BackendError) -> Outcome {
    match error {
        BackendError::Unreachable(_) | BackendError::Unanswered(_) => Outcome::BackendUnreachable,
        BackendError::Timeout => Outcome::BackendTimeout,
        BackendError::Invalid(_) => Outcome::BackendInvalid,
    }
}

/// What became of an imported event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportResult {
    /// The event is stored and due.
    Queued,
    /// The event was delivered before, or is stored already.
    Duplicate,
    /// The endpoint does not forward such events.
    Ignored,
    /// An inline delivery of the event is under way.
    InFlight {
        /// The time until that delivery's lease ends.
        retry_after: Duration,
    },
}

impl ImportResult {
    /// Returns the result's name in the events API and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
            Self::InFlight { .. } => "in_flight",
        }
    }
}

/// Why an event was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The body is not an event as Stripe sends it.
    #[error(transparent)]
    Invalid(#[from] EventRejection),
    /// No location of the endpoint has these variable segments and this query.
    #[error("no path of the endpoint has these variable segments and this query")]
    NoSuchTarget,
    /// The ledger is unavailable, or stores nothing.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}
