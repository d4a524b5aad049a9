//! Why the events API does not do what it is asked, and how it says so: the one table of its statuses and codes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::time::Duration;

use super::super::error;
use crate::ledger::{Health, LedgerError};
use crate::stripe::event::EventRejection;

/// Why not.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No token, or not the one.
    Unauthorized,
    /// A query that says something it may not, and what it may.
    Query(String),
    /// A page that does not begin anywhere.
    After(LedgerError),
    /// No record of such an event.
    Unknown,
    /// Several events have the id; their keys.
    Ambiguous(Vec<String>),
    /// A delivery of it is under way.
    InFlight(Option<Duration>),
    /// To be delivered again it would need its payload, which is no longer kept.
    PayloadGone,
    /// The payload that was asked for is no longer kept.
    NoPayload,
    /// No endpoint was named, or none has that name.
    NoEndpoint,
    /// The payload that was brought is longer than the endpoint takes.
    TooLarge(u64),
    /// The payload that was brought broke off, or took too long.
    Broken,
    /// The payload that was brought is not an event.
    Rejected(EventRejection),
    /// The ledger is out of reach.
    Ledger(LedgerError),
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Refusal {
        Refusal::Ledger(error)
    }
}

impl Refusal {
    /// Why there is no page: a ledger that is well has only `after` to complain about.
    pub(super) fn of_page(error: LedgerError, after: Option<&str>, health: Health) -> Refusal {
        match (after, health) {
            (Some(_), Health::Ready) => Refusal::After(error),
            (_, Health::Ready | Health::NotReady { .. }) => Refusal::Ledger(error),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Refusal::Unauthorized => StatusCode::UNAUTHORIZED,
            Refusal::Query(_) | Refusal::After(_) | Refusal::Rejected(_) | Refusal::Broken => {
                StatusCode::BAD_REQUEST
            }
            Refusal::Unknown | Refusal::NoEndpoint => StatusCode::NOT_FOUND,
            Refusal::Ambiguous(_) | Refusal::InFlight(_) | Refusal::PayloadGone => StatusCode::CONFLICT,
            Refusal::NoPayload => StatusCode::GONE,
            Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Ledger(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The word for it.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Refusal::Unauthorized => "unauthorized",
            Refusal::Query(_) => "query_invalid",
            Refusal::After(_) => "after_invalid",
            Refusal::Unknown => "event_unknown",
            Refusal::Ambiguous(_) => "event_ambiguous",
            Refusal::InFlight(_) => "in_flight",
            Refusal::PayloadGone | Refusal::NoPayload => "payload_gone",
            Refusal::NoEndpoint => "endpoint_unknown",
            Refusal::TooLarge(_) => "body_too_large",
            Refusal::Broken => "body_malformed",
            Refusal::Rejected(rejection) => rejection.outcome().as_str(),
            Refusal::Ledger(_) => "ledger_unavailable",
        }
    }

    /// What to do about it.
    pub(super) fn message(&self) -> String {
        match self {
            Refusal::Unauthorized => {
                "Send the token of [admin] in the configuration: Authorization: Bearer …".to_owned()
            }
            Refusal::Query(said) => said.clone(),
            Refusal::After(error) => format!("after is the next of an earlier page, as it stood there: {error}"),
            Refusal::Unknown => "The ledger has no such event. Name it by its key, percent-encoded, or by its id.".to_owned(),
            Refusal::Ambiguous(keys) => {
                format!("Several events have this id. Name the one by its key, percent-encoded: {}", keys.join(" | "))
            }
            Refusal::InFlight(_) => "A delivery of it is under way. Ask again when it is over.".to_owned(),
            Refusal::PayloadGone => {
                "Its payload is no longer kept, so it cannot be delivered from here. Resend it in Stripe's dashboard."
                    .to_owned()
            }
            Refusal::NoPayload => "Its payload is kept only until it is delivered.".to_owned(),
            Refusal::NoEndpoint => "Say ?endpoint= with the name of a [[webhook]] of the configuration.".to_owned(),
            Refusal::TooLarge(most) => format!("The endpoint's max_body is {most} bytes."),
            Refusal::Broken => "The body broke off before its end, or took longer than the endpoint's body_timeout.".to_owned(),
            Refusal::Rejected(rejection) => format!("The body has to be an event as Stripe sends it: {rejection}"),
            Refusal::Ledger(error) => format!("The ledger is out of reach, or takes nothing now: {error}"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = error(self.status(), self.as_str(), &self.message());
        let headers = response.headers_mut();
        match self {
            Refusal::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Refusal::InFlight(Some(left)) => {
                let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            Refusal::Query(_)
            | Refusal::After(_)
            | Refusal::Unknown
            | Refusal::Ambiguous(_)
            | Refusal::InFlight(None)
            | Refusal::PayloadGone
            | Refusal::NoPayload
            | Refusal::NoEndpoint
            | Refusal::TooLarge(_)
            | Refusal::Broken
            | Refusal::Rejected(_)
            | Refusal::Ledger(_) => {}
        }
        response
    }
}
