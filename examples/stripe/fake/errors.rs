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

/// An error that [`Error::named`] knows: its name, status and type, its code (or none), what it says, further members and
/// headers. The cases and their headers are those that Stripe documents (docs.stripe.com/error-codes, /error-low-level,
/// /rate-limits).
struct Known {
    name: &'static str,
    status: u16,
    kind: &'static str,
    code: &'static str,
    message: &'static str,
    members: &'static [(&'static str, &'static str)],
    headers: &'static [(&'static str, &'static str)],
}

const REQUEST: &str = "invalid_request_error";
const RETRY: (&str, &str) = ("Stripe-Should-Retry", "true");
const NO_RETRY: (&str, &str) = ("Stripe-Should-Retry", "false");

#[rustfmt::skip]
const KNOWN: &[Known] = &[
    Known { name: "resource_missing_price", status: 400, kind: REQUEST, code: "resource_missing", message: "No such price: 'price_gone'", members: &[("param", "line_items[0][price]")], headers: &[] },
    Known { name: "parameter_missing", status: 400, kind: REQUEST, code: "parameter_missing", message: "Missing required param: line_items.", members: &[("param", "line_items")], headers: &[] },
    Known { name: "parameter_unknown", status: 400, kind: REQUEST, code: "parameter_unknown", message: "Received unknown parameter: colour", members: &[("param", "colour")], headers: &[] },
    Known { name: "idempotency_params_mismatch", status: 400, kind: "idempotency_error", code: "", message: "This key was first used with other parameters.", members: &[], headers: &[] },
    Known { name: "idempotency_key_in_use", status: 409, kind: "idempotency_error", code: "idempotency_key_in_use", message: "Another request with this key is still in progress.", members: &[], headers: &[RETRY] },
    Known { name: "bad_key", status: 401, kind: REQUEST, code: "", message: "Invalid API Key provided: sk_test_****fake", members: &[], headers: &[("WWW-Authenticate", "Basic realm=\"Stripe\"")] },
    Known { name: "card_declined", status: 402, kind: "card_error", code: "card_declined", message: "Your card has insufficient funds.", members: &[("decline_code", "insufficient_funds"), ("charge", "ch_fake")], headers: &[] },
    Known { name: "permission", status: 403, kind: REQUEST, code: "", message: "The key 'rk_test_****' lacks the permission 'rak_checkout_session_write'.", members: &[], headers: &[] },
    Known { name: "no_such_session", status: 404, kind: REQUEST, code: "resource_missing", message: "No such checkout.session: 'cs_test_gone'", members: &[("param", "session")], headers: &[] },
    Known { name: "rate_limited", status: 429, kind: REQUEST, code: "rate_limit", message: "Request rate limit exceeded.", members: &[], headers: &[("Stripe-Rate-Limited-Reason", "global-rate")] },
    Known { name: "lock_timeout", status: 429, kind: REQUEST, code: "lock_timeout", message: "This object is in use by another request.", members: &[], headers: &[RETRY] },
    Known { name: "lock_conflict", status: 409, kind: REQUEST, code: "lock_timeout", message: "This object is in use by another request.", members: &[], headers: &[] },
    Known { name: "api_error_no_retry", status: 500, kind: "api_error", code: "", message: "An unknown error occurred", members: &[], headers: &[NO_RETRY] },
    Known { name: "api_error_replayed", status: 500, kind: "api_error", code: "", message: "An unknown error occurred", members: &[], headers: &[("Idempotent-Replayed", "true"), NO_RETRY] },
    Known { name: "api_error", status: 500, kind: "api_error", code: "", message: "An unknown error occurred", members: &[], headers: &[] },
    Known { name: "unavailable", status: 503, kind: "api_error", code: "", message: "Stripe is currently unavailable", members: &[], headers: &[RETRY] },
];

impl Error {
    /// One of the errors that a script may ask for: `resource_missing_price`, `parameter_missing`, `parameter_unknown`,
    /// `idempotency_params_mismatch`, `idempotency_key_in_use`, `bad_key`, `card_declined`, `permission`,
    /// `no_such_session`, `rate_limited`, `lock_timeout` (429), `lock_conflict` (409), `api_error`,
    /// `api_error_no_retry`, `api_error_replayed`, `unavailable`.
    pub fn named(name: &str) -> Option<Error> {
        let known = KNOWN.iter().find(|known| known.name == name)?;
        let mut error = Error::new(known.status, known.kind, known.code, known.message);
        error.members.extend(known.members.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
        error.headers = known.headers.to_vec();
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
