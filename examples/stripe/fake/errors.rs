//! Stripe's error responses: every status, type, code, header and common message that the fake sends. Only the texts about
//! one parameter's values stand beside their rules. This module knows no endpoint.

use super::response::Response;
use serde_json::{Map, Value, json};

/// An error response of Stripe's API.
#[derive(Debug, Clone)]
pub struct Error {
    /// The status code.
    pub status: u16,
    /// The members of the object `error` in the body.
    members: Map<String, Value>,
    /// Header names and values that only this error has.
    headers: Vec<(&'static str, &'static str)>,
}

impl Error {
    /// Returns the error that [`NAMED_ERRORS`] lists under this name, or `None` if there is none.
    ///
    /// The names are `resource_missing_price`, `parameter_missing`, `parameter_unknown`, `idempotency_params_mismatch`,
    /// `idempotency_key_in_use`, `bad_key`, `card_declined`, `permission`, `no_such_session`, `rate_limited`,
    /// `lock_timeout` (429), `lock_conflict` (409), `api_error`, `api_error_no_retry`, `api_error_replayed` and
    /// `unavailable`.
    pub fn named(name: &str) -> Option<Self> {
        let found = NAMED_ERRORS.iter().find(|error| error.name == name)?;
        let mut error = Self::new(found.status, found.error_type, found.code, found.message);
        let members = found.members.iter().map(|(member, value)| ((*member).to_owned(), json!(value)));
        error.members.extend(members);
        error.headers.extend(found.headers);
        Some(error)
    }

    /// Creates an error with this status, type, code (or `""`) and message.
    pub fn new(status: u16, error_type: &str, code: &str, message: &str) -> Self {
        let mut members = Map::new();
        members.insert("type".into(), json!(error_type));
        members.insert("message".into(), json!(message));
        if !code.is_empty() {
            members.insert("code".into(), json!(code));
            let page = format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-"));
            members.insert("doc_url".into(), json!(page));
        }
        Self { status, members, headers: vec![] }
    }

    /// Creates a 400 error about a parameter for which Stripe has no error code.
    pub fn invalid(param: &str, message: &str) -> Self {
        Self::coded(param, "", message)
    }

    /// Creates a 400 error about a parameter, with an error code (or `""`).
    pub fn coded(param: &str, code: &str, message: &str) -> Self {
        let mut error = Self::new(400, INVALID_REQUEST, code, message);
        error.members.insert("param".into(), json!(param));
        error
    }

    /// Appends a header.
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// A required parameter is absent.
    pub(super) fn missing(param: &str) -> Self {
        Self::coded(param, "parameter_missing", &format!("Missing required param: {param}."))
    }

    /// Stripe does not know a parameter of this name.
    pub(super) fn unknown(param: &str) -> Self {
        Self::coded(param, "parameter_unknown", &format!("Received unknown parameter: {param}"))
    }

    /// The value of a parameter is not of its scalar type: `integer`, `number` or `boolean`.
    pub(super) fn invalid_scalar(param: &str, scalar_type: &str, value: &str) -> Self {
        let code = if scalar_type == "integer" { "parameter_invalid_integer" } else { "" };
        Self::coded(param, code, &format!("Invalid {scalar_type}: {value}"))
    }

    /// The value of a parameter is not an absolute URL.
    pub(super) fn invalid_url(param: &str) -> Self {
        Self::coded(param, "url_invalid", "Not a valid URL")
    }

    /// The value of a parameter is not an e-mail address.
    pub(super) fn invalid_email(param: &str, email: &str) -> Self {
        Self::coded(param, "email_invalid", &format!("Invalid email address: {email}"))
    }

    /// A parameter names an object that does not exist.
    pub(super) fn no_such(object_type: &str, id: &str, param: &str) -> Self {
        Self::coded(param, "resource_missing", &format!("No such {object_type}: '{id}'"))
    }

    /// The path names an object that does not exist.
    pub(super) fn not_found(object_type: &str, id: &str, param: &str) -> Self {
        Self { status: 404, ..Self::no_such(object_type, id, param) }
    }

    /// No endpoint has this method and path.
    pub(super) fn unrecognized_url(method: &str, segments: &[&str]) -> Self {
        let message = format!("Unrecognized request URL ({method}: /v1/{}).", segments.join("/"));
        Self::new(404, INVALID_REQUEST, "", &message)
    }

    /// The call has no API key.
    pub(super) fn no_api_key() -> Self {
        Self::unauthorized("You did not provide an API key.")
    }

    /// The call's API key is malformed. The message shows its last four characters.
    pub(super) fn invalid_api_key(key: &str) -> Self {
        let end: String = key.chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
        Self::unauthorized(&format!("Invalid API Key provided: ****{end}"))
    }

    /// The idempotency key is too long.
    pub(super) fn idempotency_key_too_long() -> Self {
        Self::new(400, "idempotency_error", "", "An idempotency key has at most 255 characters.")
    }

    /// Another call with the same idempotency key is in progress.
    pub(super) fn idempotency_key_in_use() -> Self {
        Self::named_or_api_error("idempotency_key_in_use")
    }

    /// The idempotency key was first used with other parameters.
    pub(super) fn idempotency_params_mismatch() -> Self {
        Self::named_or_api_error("idempotency_params_mismatch")
    }

    /// The session to pay for was paid or has expired.
    pub(super) fn session_not_open() -> Self {
        Self::invalid("session", "This Checkout Session is no longer open.")
    }

    /// The session to expire was paid or has expired.
    pub(super) fn session_not_expirable() -> Self {
        Self::invalid("session", "Only Checkout Sessions with a status in [\"open\"] can be expired.")
    }

    fn unauthorized(message: &str) -> Self {
        Self::new(401, INVALID_REQUEST, "", message).header("WWW-Authenticate", AUTHENTICATE)
    }

    fn named_or_api_error(name: &str) -> Self {
        Self::named(name).unwrap_or_else(|| Self::new(500, "api_error", "", "The fake Stripe is broken."))
    }
}

impl From<Error> for Response {
    fn from(error: Error) -> Self {
        let headers = error.headers.iter();
        let response = Self::json(error.status, &json!({ "error": error.members }));
        headers.fold(response, |response, (name, value)| response.header(name, value))
    }
}

/// An error that a test can ask for by name.
struct NamedError {
    name: &'static str,
    status: u16,
    error_type: &'static str,
    /// Stripe's error code, or `""`.
    code: &'static str,
    message: &'static str,
    /// Further members of `error`: names and values.
    members: &'static [(&'static str, &'static str)],
    /// Header names and values.
    headers: &'static [(&'static str, &'static str)],
}

impl NamedError {
    const fn new(
        name: &'static str,
        status: u16,
        error_type: &'static str,
        code: &'static str,
        message: &'static str,
    ) -> Self {
        Self { name, status, error_type, code, message, members: &[], headers: &[] }
    }

    const fn members(self, members: &'static [(&'static str, &'static str)]) -> Self {
        Self { members, ..self }
    }

    const fn headers(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }
}

const INVALID_REQUEST: &str = "invalid_request_error";
const LOCKED: &str = "Another request is using this object, or this key; try again in a moment.";
const UNKNOWN: &str = "An unknown error occurred";
const AUTHENTICATE: &str = "Basic realm=\"Stripe\"";
const RETRY: (&str, &str) = ("Stripe-Should-Retry", "true");
const NO_RETRY: (&str, &str) = ("Stripe-Should-Retry", "false");

/// The errors of [`Error::named`]. Stripe documents these cases, their members and their headers
/// (docs.stripe.com/error-codes, /error-low-level, /rate-limits).
const NAMED_ERRORS: &[NamedError] = &[
    NamedError::new(
        "resource_missing_price",
        400,
        INVALID_REQUEST,
        "resource_missing",
        "No such price: 'price_gone'",
    )
    .members(&[("param", "line_items[0][price]")]),
    NamedError::new(
        "parameter_missing",
        400,
        INVALID_REQUEST,
        "parameter_missing",
        "Missing required param: line_items.",
    )
    .members(&[("param", "line_items")]),
    NamedError::new(
        "parameter_unknown",
        400,
        INVALID_REQUEST,
        "parameter_unknown",
        "Received unknown parameter: colour",
    )
    .members(&[("param", "colour")]),
    NamedError::new(
        "idempotency_params_mismatch",
        400,
        "idempotency_error",
        "",
        "This key came first with other parameters.",
    ),
    NamedError::new("idempotency_key_in_use", 409, "idempotency_error", "idempotency_key_in_use", LOCKED)
        .headers(&[RETRY]),
    NamedError::new("bad_key", 401, INVALID_REQUEST, "", "Invalid API Key provided: sk_test_****fake")
        .headers(&[("WWW-Authenticate", AUTHENTICATE)]),
    NamedError::new("card_declined", 402, "card_error", "card_declined", "Your card has insufficient funds.")
        .members(&[("decline_code", "insufficient_funds"), ("charge", "ch_fake")]),
    NamedError::new(
        "permission",
        403,
        INVALID_REQUEST,
        "",
        "The key 'rk_test_****' lacks 'rak_checkout_session_write'.",
    ),
    NamedError::new(
        "no_such_session",
        404,
        INVALID_REQUEST,
        "resource_missing",
        "No such checkout.session: 'cs_test_gone'",
    )
    .members(&[("param", "session")]),
    NamedError::new("rate_limited", 429, INVALID_REQUEST, "rate_limit", "Request rate limit exceeded.")
        .headers(&[("Stripe-Rate-Limited-Reason", "global-rate")]),
    NamedError::new("lock_timeout", 429, INVALID_REQUEST, "lock_timeout", LOCKED).headers(&[RETRY]),
    NamedError::new("lock_conflict", 409, INVALID_REQUEST, "lock_timeout", LOCKED),
    NamedError::new("api_error", 500, "api_error", "", UNKNOWN),
    NamedError::new("api_error_no_retry", 500, "api_error", "", UNKNOWN).headers(&[NO_RETRY]),
    NamedError::new("api_error_replayed", 500, "api_error", "", UNKNOWN)
        .headers(&[NO_RETRY, ("Idempotent-Replayed", "true")]),
    NamedError::new("unavailable", 503, "api_error", "", "Stripe is currently unavailable").headers(&[RETRY]),
];
