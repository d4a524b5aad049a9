//! The result of an order or a status request, and the outcome that each error of Stripe stands for. It never decides about
//! responses: that is the response table in `edge`.

use super::error::{OrderError, OrderErrorKind};
use super::session::{CheckoutSession, SessionStatus};
use crate::outcome::checkout::CheckoutOutcome;
use crate::stripe_api::{ApiError, StripeError};

/// The result of an order or a status request.
#[derive(Debug)]
pub struct OrderResult {
    /// The disposition, which decides about the response.
    pub disposition: OrderDisposition,
    /// The number of attempts to call Stripe; 0 if Stripe was not called for this request.
    pub attempts: u32,
    /// Stripe's `Request-Id`, by which its dashboard finds the request.
    pub request_id: Option<String>,
    /// Whether Stripe repeated its response to an earlier order with the same idempotency key.
    pub replayed: bool,
}

impl OrderResult {
    /// Creates the result of a request for which Stripe was not called.
    pub(super) fn without_call(disposition: OrderDisposition) -> Self {
        Self { disposition, attempts: 0, request_id: None, replayed: false }
    }
}

/// The disposition of an order or a status request.
#[derive(Debug, Clone)]
pub enum OrderDisposition {
    /// Stripe created the session.
    Created(CheckoutSession),
    /// Stripe returned the status of the session.
    Status(SessionStatus),
    /// The order is invalid. Stripe was not called.
    Rejected(OrderError),
    /// Stripe has no such session.
    SessionNotFound,
    /// The call to Stripe failed.
    Failed(ApiError),
}

impl OrderDisposition {
    /// Returns the outcome, which is the code in responses, metrics and the log.
    pub fn outcome(&self) -> CheckoutOutcome {
        match self {
            Self::Created(_) => CheckoutOutcome::Created,
            Self::Status(_) => CheckoutOutcome::Status,
            Self::Rejected(error) => outcome_of_order_error(error),
            Self::SessionNotFound => CheckoutOutcome::SessionUnknown,
            Self::Failed(error) => outcome_of_api_error(error),
        }
    }

    /// Returns the detail for the log that the outcome does not tell.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Failed(error) => Some(error.to_string()),
            // The name of a rejected field comes from the client, so it is not logged.
            Self::Created(_) | Self::Status(_) | Self::Rejected(_) | Self::SessionNotFound => None,
        }
    }

    /// Returns the id of the created session.
    pub fn session(&self) -> Option<&str> {
        match self {
            Self::Created(session) => Some(&session.id),
            Self::Status(_) | Self::Rejected(_) | Self::SessionNotFound | Self::Failed(_) => None,
        }
    }

    /// Returns whether an operator must fix the key or the configuration.
    pub fn is_operator_error(&self) -> bool {
        let Self::Failed(ApiError::Rejected(error)) = self else { return false };
        let outcome = self.outcome();
        outcome == CheckoutOutcome::StripeKeyRefused
            || (outcome == CheckoutOutcome::StripeRefused
                && !error.is_key_reuse()
                && !is_client_input_error(error))
    }
}

fn outcome_of_order_error(error: &OrderError) -> CheckoutOutcome {
    match error.kind {
        OrderErrorKind::Malformed => CheckoutOutcome::OrderMalformed,
        OrderErrorKind::FieldUnknown | OrderErrorKind::FieldFromIdentity => CheckoutOutcome::FieldUnknown,
        OrderErrorKind::FieldInvalid => CheckoutOutcome::FieldInvalid,
        OrderErrorKind::FieldMissing => CheckoutOutcome::FieldMissing,
        OrderErrorKind::PriceUnknown => CheckoutOutcome::PriceUnknown,
        OrderErrorKind::PriceUnavailable => CheckoutOutcome::PriceUnavailable,
        OrderErrorKind::QuantityMetered => CheckoutOutcome::QuantityMetered,
        OrderErrorKind::AccountsMixed => CheckoutOutcome::AccountsMixed,
        OrderErrorKind::QuantityOutOfRange => CheckoutOutcome::QuantityOutOfRange,
        OrderErrorKind::ModesMixed => CheckoutOutcome::ModesMixed,
    }
}

fn outcome_of_api_error(error: &ApiError) -> CheckoutOutcome {
    match error {
        ApiError::Rejected(error) => match (error.status, error.code.as_deref()) {
            (401 | 403, _) => CheckoutOutcome::StripeKeyRefused,
            (402, _) => CheckoutOutcome::StripeCardRefused,
            (409, _) => CheckoutOutcome::StripeConflict,
            // Stripe uses 429 also for an object that another call has locked. The rate limit is not involved.
            (429, Some("lock_timeout")) => CheckoutOutcome::StripeConflict,
            (429, _) => CheckoutOutcome::StripeRateLimited,
            (400..=499, _) => CheckoutOutcome::StripeRefused,
            _ => CheckoutOutcome::StripeFailed,
        },
        ApiError::Invalid(429) => CheckoutOutcome::StripeRateLimited,
        ApiError::Invalid(_) => CheckoutOutcome::StripeFailed,
        ApiError::Unreachable(_) => CheckoutOutcome::StripeUnreachable,
        ApiError::Timeout => CheckoutOutcome::StripeTimeout,
        ApiError::Busy => CheckoutOutcome::Overloaded,
    }
}

/// Returns whether Stripe rejected a value that the client wrote. Only then may the client see Stripe's message: otherwise
/// the message is about the configuration.
pub fn is_client_input_error(error: &StripeError) -> bool {
    const CLIENT_FIELDS: [&str; 4] = ["customer_email", "client_reference_id", "locale", "metadata"];
    let param = error.param.as_deref().unwrap_or_default();
    let field = param.split('[').next().unwrap_or_default();
    // Without a code, Stripe's error is about the kind of the price: a metered one takes no quantity. That is for the
    // operator to set.
    let is_quantity = field == "line_items" && param.ends_with("[quantity]") && error.code.is_some();
    CLIENT_FIELDS.contains(&field) || is_quantity
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(status: u16, code: Option<&str>, param: Option<&str>) -> ApiError {
        let own = |text: Option<&str>| text.map(str::to_owned);
        ApiError::Rejected(Box::new(StripeError {
            status,
            code: own(code),
            param: own(param),
            ..StripeError::default()
        }))
    }

    #[test]
    fn each_error_of_stripe_has_its_outcome_and_only_some_are_operator_errors() {
        use CheckoutOutcome as O;
        let reused =
            StripeError { status: 400, error_type: "idempotency_error".into(), ..StripeError::default() };
        let reused = ApiError::Rejected(Box::new(reused));
        for (error, outcome, is_operator_error) in [
            (rejected(400, Some("parameter_unknown"), Some("foo")), O::StripeRefused, true),
            (rejected(400, Some("resource_missing"), Some("line_items[0][price]")), O::StripeRefused, true),
            (
                rejected(400, Some("parameter_invalid_integer"), Some("line_items[0][quantity]")),
                O::StripeRefused,
                false,
            ),
            (rejected(400, None, Some("line_items[0][quantity]")), O::StripeRefused, true),
            (rejected(400, Some("email_invalid"), Some("customer_email")), O::StripeRefused, false),
            (rejected(400, None, Some("metadata[size]")), O::StripeRefused, false),
            (reused, O::StripeRefused, false),
            (rejected(401, None, None), O::StripeKeyRefused, true),
            (rejected(403, None, None), O::StripeKeyRefused, true),
            (rejected(402, Some("card_declined"), None), O::StripeCardRefused, false),
            (rejected(409, Some("idempotency_key_in_use"), None), O::StripeConflict, false),
            (rejected(429, Some("lock_timeout"), None), O::StripeConflict, false),
            (rejected(429, Some("rate_limit"), None), O::StripeRateLimited, false),
            (rejected(500, None, None), O::StripeFailed, false),
            (ApiError::Invalid(502), O::StripeFailed, false),
            (ApiError::Invalid(429), O::StripeRateLimited, false),
            (ApiError::Unreachable("refused".into()), O::StripeUnreachable, false),
            (ApiError::Timeout, O::StripeTimeout, false),
            (ApiError::Busy, O::Overloaded, false),
        ] {
            let disposition = OrderDisposition::Failed(error);
            assert_eq!(
                (disposition.outcome(), disposition.is_operator_error()),
                (outcome, is_operator_error),
                "{disposition:?}"
            );
        }
    }
}
