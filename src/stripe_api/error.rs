//! Errors of calls to Stripe's API, and the reader of the error object in Stripe's responses. Texts and `Debug` output
//! never hold Stripe's message, because it may quote what a buyer sent.

use serde::Deserialize;
use std::fmt;

/// The reason why a call brought no usable response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// Stripe responded with an error object.
    #[error("Stripe answered {} ({}{}{})", .0.status, .0.error_type, suffix(", code ", &.0.code), suffix(", param ", &.0.param))]
    Rejected(Box<StripeError>),
    /// The status or the body is not one of Stripe's API. It holds the status.
    #[error("the response with status {0} is not one of Stripe's API")]
    Invalid(u16),
    /// The connection failed or closed early. It holds the cause.
    #[error("{0}")]
    Unreachable(String),
    /// The last attempt exceeded `timeout`.
    #[error("Stripe did not respond in time")]
    Timeout,
    /// No permit of the concurrency limit became free in time, so Stripe was not called.
    #[error("too many concurrent calls to Stripe")]
    Busy,
}

/// An error object of Stripe's API (<https://docs.stripe.com/api/errors>).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct StripeError {
    /// The HTTP status, 300 to 599.
    pub status: u16,
    /// The member `type`, such as `invalid_request_error`.
    pub error_type: String,
    /// The member `code`, such as `resource_missing`.
    pub code: Option<String>,
    /// The member `param`: the parameter that caused the error.
    pub param: Option<String>,
    /// The member `message`. It may quote what a buyer sent, so it must not be logged.
    pub message: Option<String>,
    /// The value of `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
}

impl StripeError {
    /// Parses the body of an error response. Returns `None` if it is not Stripe's error object.
    pub(super) fn parse(status: u16, retry_after: Option<u64>, body: &[u8]) -> Option<Self> {
        let ErrorBody { error } = serde_json::from_slice(body).ok()?;
        let ErrorObject { error_type, code, param, message } = error;
        Some(Self { status, error_type, code, param, message, retry_after })
    }

    /// Returns whether the idempotency key was used before with other parameters.
    pub fn is_key_reuse(&self) -> bool {
        self.status == 400 && self.error_type == "idempotency_error"
    }
}

/// Leaves out the message.
impl fmt::Debug for StripeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, error_type, code, param, .. } = self;
        f.debug_struct("StripeError")
            .field("status", status)
            .field("error_type", error_type)
            .field("code", code)
            .field("param", param)
            .finish_non_exhaustive()
    }
}

/// The body of an error response: `{"error": {…}}`.
#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorObject,
}

#[derive(Deserialize)]
struct ErrorObject {
    #[serde(rename = "type", default)]
    error_type: String,
    code: Option<String>,
    param: Option<String>,
    message: Option<String>,
}

fn suffix(label: &str, value: &Option<String>) -> String {
    value.as_ref().map(|value| format!("{label}{value}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_status_type_and_code_but_never_stripes_message() {
        let rejection = StripeError {
            status: 400,
            error_type: "card_error".into(),
            code: Some("a".into()),
            message: Some("ada@example.com".into()),
            ..StripeError::default()
        };
        let error = ApiError::Rejected(Box::new(rejection));
        assert_eq!(error.to_string(), "Stripe answered 400 (card_error, code a)");
        assert!(!format!("{error:?}").contains("ada"), "{error:?}");
    }
}
