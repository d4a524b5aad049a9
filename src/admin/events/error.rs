//! Why the events API refuses a request, and how it says so: the one table of its statuses and codes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::time::Duration;

use crate::admin::response::error;
use crate::intake::ImportError;
use crate::ledger::{Health, LedgerError, State};
use crate::outcome::outcome_of_rejection;
use crate::stripe::event::EventRejection;

/// Why the events API refuses a request.
#[derive(Debug)]
pub(super) enum EventsApiError {
    /// The request has no token, or not the configured one.
    Unauthorized,
    /// A parameter is unknown or has an invalid value; the message says what is expected.
    Query(String),
    /// `after` is not the `next` of an earlier page.
    After(LedgerError),
    /// The ledger has no record of the event.
    Unknown,
    /// Several events have the id; the keys of all of them.
    Ambiguous(Vec<String>),
    /// A delivery of the event is under way; the time until its lease ends, where it is known.
    InFlight(Option<Duration>),
    /// The payload is not stored, so that it can be neither redelivered nor read; the event's state, which decides what to
    /// do instead.
    PayloadGone {
        /// The request reads the payload: `410 Gone`. Otherwise it redelivers the event: `409 Conflict`.
        reading: bool,
        state: State,
    },
    /// No endpoint was named, or none has that name; the names that there are.
    NoEndpoint(Vec<Box<str>>),
    /// The imported payload is longer than the endpoint's `max_body`, in bytes.
    TooLarge(u64),
    /// The imported payload broke off, or took longer than the endpoint's `body_timeout`.
    Broken,
    /// The imported payload is not an event.
    Rejected(EventRejection),
    /// The ledger is unavailable.
    Ledger(LedgerError),
}

impl From<LedgerError> for EventsApiError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<ImportError> for EventsApiError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Invalid(rejection) => Self::Rejected(rejection),
            ImportError::NoSuchTarget => Self::Query(
                "The endpoint has no such URL. segments has a value for each variable segment of its path, separated by / \
                 (reconcile takes the whole path by --path); query has the pairs that tell its webhook. [[webhook]] url \
                 sets both."
                    .to_owned(),
            ),
            ImportError::Ledger(error) => Self::Ledger(error),
        }
    }
}

impl EventsApiError {
    /// Returns why there is no page. A ledger that is ready fails only on an invalid `after`.
    pub(super) fn from_page_error(error: LedgerError, after: Option<&str>, health: Health) -> Self {
        match (after, health) {
            (Some(_), Health::Ready) => Self::After(error),
            (_, Health::Ready | Health::NotReady { .. }) => Self::Ledger(error),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Query(_) | Self::After(_) | Self::Rejected(_) | Self::Broken => StatusCode::BAD_REQUEST,
            Self::Unknown | Self::NoEndpoint(_) => StatusCode::NOT_FOUND,
            Self::PayloadGone { reading: true, .. } => StatusCode::GONE,
            Self::Ambiguous(_) | Self::InFlight(_) | Self::PayloadGone { .. } => StatusCode::CONFLICT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Ledger(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the `code` of the error's JSON body.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Query(_) => "query_invalid",
            Self::After(_) => "after_invalid",
            Self::Unknown => "event_unknown",
            Self::Ambiguous(_) => "event_ambiguous",
            Self::InFlight(_) => "in_flight",
            Self::PayloadGone { .. } => "payload_gone",
            Self::NoEndpoint(_) => "endpoint_unknown",
            Self::TooLarge(_) => "body_too_large",
            Self::Broken => "body_malformed",
            Self::Rejected(rejection) => outcome_of_rejection(*rejection).as_str(),
            Self::Ledger(_) => "ledger_unavailable",
        }
    }

    /// Returns the `message` of the error's JSON body: what is wrong and what to do.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Unauthorized => {
                "Send the token of [admin] in the configuration: Authorization: Bearer …".to_owned()
            }
            Self::Query(message) => message.clone(),
            Self::After(error) => format!("after must be the next of an earlier page, unchanged: {error}"),
            Self::Unknown => {
                "The ledger has no such event. Name it by its percent-encoded key, or by its id. An event that was ignored or \
                 deleted has no record: resend it in Stripe's dashboard. An endpoint that ignored it has to forward it first \
                 (types, livemode, accounts)."
                    .to_owned()
            }
            Self::Ambiguous(keys) => {
                format!(
                    "Several events have this id. Name one by its percent-encoded key: {}",
                    keys.join(" | ")
                )
            }
            Self::InFlight(_) => {
                "A delivery of the event is under way. Try again when it is over.".to_owned()
            }
            Self::PayloadGone { state, .. } => advice_without_payload(*state).to_owned(),
            Self::NoEndpoint(names) => {
                let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
                format!("No [[webhook]] has this name. The configuration has {}.", names.join(", "))
            }
            Self::TooLarge(max_body) => {
                format!("The body is too long: the endpoint's max_body is {max_body} bytes.")
            }
            Self::Broken => {
                "The body ended early, or took longer than the endpoint's body_timeout.".to_owned()
            }
            Self::Rejected(rejection) => format!("The body must be an event as Stripe sends it: {rejection}"),
            Self::Ledger(error) => format!("The ledger is unavailable: {error}"),
        }
    }
}

/// Returns how an event whose payload is not stored can still be delivered. A copy from Stripe is delivered only if the
/// ledger counts the event neither as delivered nor as queued.
fn advice_without_payload(state: State) -> &'static str {
    match state {
        State::Delivered => {
            "The event is delivered, so its payload is no longer stored. To deliver it again, delete its record \
             (countersign events delete), then resend it in Stripe's dashboard. Without the deletion the copy is a duplicate."
        }
        State::Failed => {
            "The payload of an inline event is not stored. Stripe retries it for three days. To deliver it now, resend it in \
             Stripe's dashboard."
        }
        State::Running => {
            "The payload of an inline event is not stored. Its delivery has not finished. When its lease has ended, the next copy \
             from Stripe is delivered: wait for Stripe's retry, or resend it in Stripe's dashboard."
        }
        // A settlement between two calls of the ledger can show these states.
        State::Pending | State::Dead => {
            "The event has just changed. Look at it again with countersign events show."
        }
    }
}

impl IntoResponse for EventsApiError {
    fn into_response(self) -> Response {
        let mut response = error(self.status(), self.as_str(), &self.message());
        let headers = response.headers_mut();
        match self {
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::InFlight(Some(left)) => {
                let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            Self::Query(_)
            | Self::After(_)
            | Self::Unknown
            | Self::Ambiguous(_)
            | Self::InFlight(None)
            | Self::PayloadGone { .. }
            | Self::NoEndpoint(_)
            | Self::TooLarge(_)
            | Self::Broken
            | Self::Rejected(_)
            | Self::Ledger(_) => {}
        }
        response
    }
}
