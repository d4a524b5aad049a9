//! Stripe's errors: how they look on the wire, and the ones a script may ask for by name. Knows no endpoint.

use super::wire::Reply;
use serde_json::{Map, Value, json};

/// An error answer of Stripe's API.
#[derive(Debug, Clone)]
pub struct Error {
    /// The status.
    pub status: u16,
    /// The members of `error`.
    members: Map<String, Value>,
    headers: Vec<(&'static str, &'static str)>,
}

const REQUEST: &str = "invalid_request_error";
const IN_USE: &str = "Another request is using this object, or this key; try again in a moment.";

/// What [`Error::named`] knows: name, status, type, code (or `""`) and what it says. The cases, and the members and headers
/// below, are those that Stripe documents (docs.stripe.com/error-codes, /error-low-level, /rate-limits).
const KNOWN: &[(&str, u16, &str, &str, &str)] = &[
    ("resource_missing_price", 400, REQUEST, "resource_missing", "No such price: 'price_gone'"),
    ("parameter_missing", 400, REQUEST, "parameter_missing", "Missing required param: line_items."),
    ("parameter_unknown", 400, REQUEST, "parameter_unknown", "Received unknown parameter: colour"),
    (
        "idempotency_params_mismatch",
        400,
        "idempotency_error",
        "",
        "This key came first with other parameters.",
    ),
    ("idempotency_key_in_use", 409, "idempotency_error", "idempotency_key_in_use", IN_USE),
    ("bad_key", 401, REQUEST, "", "Invalid API Key provided: sk_test_****fake"),
    ("card_declined", 402, "card_error", "card_declined", "Your card has insufficient funds."),
    ("permission", 403, REQUEST, "", "The key 'rk_test_****' lacks 'rak_checkout_session_write'."),
    ("no_such_session", 404, REQUEST, "resource_missing", "No such checkout.session: 'cs_test_gone'"),
    ("rate_limited", 429, REQUEST, "rate_limit", "Request rate limit exceeded."),
    ("lock_timeout", 429, REQUEST, "lock_timeout", IN_USE),
    ("lock_conflict", 409, REQUEST, "lock_timeout", IN_USE),
    ("api_error", 500, "api_error", "", "An unknown error occurred"),
    ("api_error_no_retry", 500, "api_error", "", "An unknown error occurred"),
    ("api_error_replayed", 500, "api_error", "", "An unknown error occurred"),
    ("unavailable", 503, "api_error", "", "Stripe is currently unavailable"),
];

/// Further members of `error`: the error's name, then theirs and their values.
const MEMBERS: &[(&str, &str, &str)] = &[
    ("resource_missing_price", "param", "line_items[0][price]"),
    ("parameter_missing", "param", "line_items"),
    ("parameter_unknown", "param", "colour"),
    ("card_declined", "decline_code", "insufficient_funds"),
    ("card_declined", "charge", "ch_fake"),
    ("no_such_session", "param", "session"),
];

/// Headers: the error's name, then theirs and their values.
const HEADERS: &[(&str, &str, &str)] = &[
    ("idempotency_key_in_use", "Stripe-Should-Retry", "true"),
    ("bad_key", "WWW-Authenticate", "Basic realm=\"Stripe\""),
    ("rate_limited", "Stripe-Rate-Limited-Reason", "global-rate"),
    ("lock_timeout", "Stripe-Should-Retry", "true"),
    ("api_error_no_retry", "Stripe-Should-Retry", "false"),
    ("api_error_replayed", "Stripe-Should-Retry", "false"),
    ("api_error_replayed", "Idempotent-Replayed", "true"),
    ("unavailable", "Stripe-Should-Retry", "true"),
];

impl Error {
    /// One of the errors that a script may ask for: `resource_missing_price`, `parameter_missing`, `parameter_unknown`,
    /// `idempotency_params_mismatch`, `idempotency_key_in_use`, `bad_key`, `card_declined`, `permission`,
    /// `no_such_session`, `rate_limited`, `lock_timeout` (429), `lock_conflict` (409), `api_error`,
    /// `api_error_no_retry`, `api_error_replayed`, `unavailable`.
    pub fn named(name: &str) -> Option<Error> {
        let (_, status, kind, code, message) = KNOWN.iter().find(|known| known.0 == name)?;
        let mut error = Error::new(*status, kind, code, message);
        let members = MEMBERS.iter().filter(|member| member.0 == name);
        error.members.extend(members.map(|(_, member, value)| ((*member).to_owned(), json!(value))));
        let headers = HEADERS.iter().filter(|header| header.0 == name);
        error.headers.extend(headers.map(|(_, header, value)| (*header, *value)));
        Some(error)
    }

    /// One of those, by a name that stands here.
    pub(super) fn known(name: &str) -> Error {
        Error::named(name).unwrap_or_else(|| Error::new(500, "api_error", "", "The fake Stripe is broken."))
    }

    /// An error with this status, type, code (or `""`) and message.
    pub fn new(status: u16, kind: &str, code: &str, message: &str) -> Error {
        let mut members = Map::new();
        members.insert("type".into(), json!(kind));
        members.insert("message".into(), json!(message));
        if !code.is_empty() {
            members.insert("code".into(), json!(code));
            let page = format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-"));
            members.insert("doc_url".into(), json!(page));
        }
        Error { status, members, headers: vec![] }
    }

    /// A parameter that is wrong in a way that has no code.
    pub fn invalid(param: &str, message: &str) -> Error {
        Error::new(400, REQUEST, "", message).param(param)
    }

    /// A parameter that is wrong in a way that has a code.
    pub fn coded(param: &str, code: &str, message: &str) -> Error {
        Error::new(400, REQUEST, code, message).param(param)
    }

    /// A parameter that has to be there.
    pub fn missing(param: &str) -> Error {
        Error::coded(param, "parameter_missing", &format!("Missing required param: {param}."))
    }

    /// A parameter that Stripe does not know.
    pub fn unknown(param: &str) -> Error {
        Error::coded(param, "parameter_unknown", &format!("Received unknown parameter: {param}"))
    }

    /// An object that a parameter names and that does not exist.
    pub fn no_such(kind: &str, id: &str, param: &str) -> Error {
        Error::coded(param, "resource_missing", &format!("No such {kind}: '{id}'"))
    }

    /// With this status.
    pub fn status(mut self, status: u16) -> Error {
        self.status = status;
        self
    }

    /// With this header.
    pub fn header(mut self, name: &'static str, value: &'static str) -> Error {
        self.headers.push((name, value));
        self
    }

    fn param(mut self, param: &str) -> Error {
        self.members.insert("param".into(), json!(param));
        self
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Reply {
        let headers = error.headers.iter();
        let reply = Reply::json(error.status, &json!({ "error": error.members }));
        headers.fold(reply, |reply, (name, value)| reply.header(name, value))
    }
}
