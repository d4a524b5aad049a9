//! The outcome of a request, as one enum: the codes of the response table, of the `outcome` label and of the log. It never
//! decides about statuses, headers and bodies of responses: that is the response table in `edge`.
//!
//! - [`checkout`]: the outcomes of requests to the checkout

pub mod checkout;

use crate::stripe::event::EventRejection;
use crate::stripe::signature::SignatureRejection;

/// The outcome of a webhook, or of any other request that this program answered itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The backend accepted the event with a 2xx. Its response is passed on.
    Delivered,
    /// The backend responded without a 2xx. Its response is passed on.
    BackendRefused,
    /// The event is stored and will be delivered later.
    Queued,
    /// The event was received before and is not delivered again.
    Duplicate,
    /// The endpoint does not forward the event's type, mode or account.
    Ignored,
    /// The event is Stripe's test of the event destination. It is not forwarded.
    Ping,
    /// Another delivery of this event holds its lease.
    InFlight,
    /// The request has no `Stripe-Signature` header.
    SignatureMissing,
    /// The signature header is malformed or repeated.
    SignatureMalformed,
    /// The signature header has no `v1` item.
    SignatureNoV1,
    /// No `v1` matches any of the secrets.
    SignatureMismatch,
    /// The signature is valid, but older than the tolerance.
    TimestampTooOld,
    /// The signature is valid, but further in the future than the tolerance.
    TimestampInFuture,
    /// The signature is valid, but the payload is not an event.
    PayloadInvalid,
    /// The method is not POST.
    MethodNotAllowed,
    /// The raw query is none of `allowed_queries`.
    QueryUnexpected,
    /// The body is longer than `max_body`.
    BodyTooLarge,
    /// The body did not arrive within `body_timeout`.
    BodyTooSlow,
    /// The body ended early, or its framing is invalid.
    BodyMalformed,
    /// The request has a `Content-Encoding` other than `identity`.
    BodyEncoded,
    /// The head is malformed, for example with conflicting lengths or a bare line feed.
    RequestMalformed,
    /// The head did not arrive within `header_timeout`.
    HeaderTooSlow,
    /// The head is longer than 64 KiB.
    HeaderTooLarge,
    /// The path is another spelling of a guarded path.
    AmbiguousPath,
    /// The connection to the backend failed, or the backend closed it without a response.
    BackendUnreachable,
    /// The backend did not respond within `response_timeout`.
    BackendTimeout,
    /// The backend sent something that is not HTTP, or closed the connection within the response head.
    BackendInvalid,
    /// The ledger is unreachable and `on_outage = "refuse"`, or it is unsuitable or too slow for a lease.
    LedgerUnavailable,
    /// There are too many connections or webhooks at once.
    Overloaded,
    /// The program is shutting down.
    ShuttingDown,
    /// An internal error occurred while a request was passed through.
    InternalError,
}

impl Outcome {
    /// Every outcome, in the order of the enum. Metrics index their counters by it.
    pub const ALL: [Self; 31] = [
        Self::Delivered,
        Self::BackendRefused,
        Self::Queued,
        Self::Duplicate,
        Self::Ignored,
        Self::Ping,
        Self::InFlight,
        Self::SignatureMissing,
        Self::SignatureMalformed,
        Self::SignatureNoV1,
        Self::SignatureMismatch,
        Self::TimestampTooOld,
        Self::TimestampInFuture,
        Self::PayloadInvalid,
        Self::MethodNotAllowed,
        Self::QueryUnexpected,
        Self::BodyTooLarge,
        Self::BodyTooSlow,
        Self::BodyMalformed,
        Self::BodyEncoded,
        Self::RequestMalformed,
        Self::HeaderTooSlow,
        Self::HeaderTooLarge,
        Self::AmbiguousPath,
        Self::BackendUnreachable,
        Self::BackendTimeout,
        Self::BackendInvalid,
        Self::LedgerUnavailable,
        Self::Overloaded,
        Self::ShuttingDown,
        Self::InternalError,
    ];

    /// Returns the stable code that stands in `Countersign-Outcome`, `error.code` and the `outcome` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::BackendRefused => "backend_refused",
            Self::Queued => "queued",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
            Self::Ping => "ping",
            Self::InFlight => "in_flight",
            Self::SignatureMissing => "signature_missing",
            Self::SignatureMalformed => "signature_malformed",
            Self::SignatureNoV1 => "signature_no_v1",
            Self::SignatureMismatch => "signature_mismatch",
            Self::TimestampTooOld => "timestamp_too_old",
            Self::TimestampInFuture => "timestamp_in_future",
            Self::PayloadInvalid => "payload_invalid",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::QueryUnexpected => "query_unexpected",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTooSlow => "body_too_slow",
            Self::BodyMalformed => "body_malformed",
            Self::BodyEncoded => "body_encoded",
            Self::RequestMalformed => "request_malformed",
            Self::HeaderTooSlow => "header_too_slow",
            Self::HeaderTooLarge => "header_too_large",
            Self::AmbiguousPath => "ambiguous_path",
            Self::BackendUnreachable => "backend_unreachable",
            Self::BackendTimeout => "backend_timeout",
            Self::BackendInvalid => "backend_invalid",
            Self::LedgerUnavailable => "ledger_unavailable",
            Self::Overloaded => "overloaded",
            Self::ShuttingDown => "shutting_down",
            Self::InternalError => "internal_error",
        }
    }
}

/// Returns the outcome of a webhook that was not verified.
pub fn outcome_of_rejection(rejection: EventRejection) -> Outcome {
    match rejection {
        EventRejection::Signature(SignatureRejection::Missing) => Outcome::SignatureMissing,
        EventRejection::Signature(SignatureRejection::Malformed) => Outcome::SignatureMalformed,
        EventRejection::Signature(SignatureRejection::NoV1) => Outcome::SignatureNoV1,
        EventRejection::Signature(SignatureRejection::Mismatch) => Outcome::SignatureMismatch,
        EventRejection::Signature(SignatureRejection::TooOld) => Outcome::TimestampTooOld,
        EventRejection::Signature(SignatureRejection::InFuture) => Outcome::TimestampInFuture,
        // Only a holder of the secret can cause this, so one code is enough for every defect of a payload.
        EventRejection::Payload(_) => Outcome::PayloadInvalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::event::{JsonError, PayloadError};

    #[test]
    fn each_rejection_has_its_outcome() {
        for (rejection, outcome) in [
            (SignatureRejection::Missing, Outcome::SignatureMissing),
            (SignatureRejection::Malformed, Outcome::SignatureMalformed),
            (SignatureRejection::NoV1, Outcome::SignatureNoV1),
            (SignatureRejection::Mismatch, Outcome::SignatureMismatch),
            (SignatureRejection::TooOld, Outcome::TimestampTooOld),
            (SignatureRejection::InFuture, Outcome::TimestampInFuture),
        ] {
            assert_eq!(outcome_of_rejection(rejection.into()), outcome);
        }
        for error in [
            PayloadError::IdMissing,
            PayloadError::Json(JsonError::NotAnObject),
            PayloadError::Json(JsonError::Truncated),
            PayloadError::NotAnEvent,
        ] {
            assert_eq!(outcome_of_rejection(error.into()), Outcome::PayloadInvalid);
        }
    }
}
