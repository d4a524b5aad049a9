//! The outcome of a request to the checkout, as one enum: the codes of its responses, of the `outcome` label and of its log
//! line. It never decides about statuses, headers and bodies of responses: that is the response table in `edge`.

/// The outcome of a request to a checkout path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckoutOutcome {
    /// Stripe created the session.
    Created,
    /// The response holds the status of a session.
    Status,
    /// The request is a CORS preflight.
    Preflight,
    /// The path does not support the method.
    MethodNotAllowed,
    /// A page of an origin that is not allowed sent the request.
    OriginForbidden,
    /// One buyer or address sent too many requests.
    RateLimited,
    /// The body is neither JSON nor an HTML form.
    ContentTypeUnsupported,
    /// The request has a `Content-Encoding` other than `identity`.
    BodyEncoded,
    /// The body is longer than `max_body`.
    BodyTooLarge,
    /// The body did not arrive in time.
    BodyTooSlow,
    /// The body ended early, or its framing is invalid.
    BodyMalformed,
    /// The request head is malformed.
    RequestMalformed,
    /// An identity header is repeated or invalid.
    IdentityInvalid,
    /// The body is not a valid JSON object or form.
    OrderMalformed,
    /// The order has an unknown field, or a metadata key that is not configured.
    FieldUnknown,
    /// A field has an invalid value or is repeated.
    FieldInvalid,
    /// The order has no price.
    FieldMissing,
    /// The price is not configured.
    PriceUnknown,
    /// The quantity is outside the configured range of its price.
    QuantityOutOfRange,
    /// The order has prices of different modes.
    ModesMixed,
    /// The path holds no valid session id, or Stripe has no such session.
    SessionUnknown,
    /// Stripe rejected a parameter of the order.
    StripeRefused,
    /// Stripe declined the card.
    StripeCardRefused,
    /// Stripe is processing another request with the same idempotency key, or an object is locked.
    StripeConflict,
    /// Stripe's rate limit for this account was reached.
    StripeRateLimited,
    /// Stripe rejected the secret key, or it lacks the permission.
    StripeKeyRefused,
    /// Stripe failed, or its response was invalid.
    StripeFailed,
    /// The connection to Stripe failed.
    StripeUnreachable,
    /// Stripe did not respond in time.
    StripeTimeout,
    /// There are too many orders at once.
    Overloaded,
    /// The program is shutting down.
    ShuttingDown,
}

impl CheckoutOutcome {
    /// Every outcome, in the order of the enum. Metrics index their counters by it.
    pub const ALL: [CheckoutOutcome; 31] = [
        CheckoutOutcome::Created,
        CheckoutOutcome::Status,
        CheckoutOutcome::Preflight,
        CheckoutOutcome::MethodNotAllowed,
        CheckoutOutcome::OriginForbidden,
        CheckoutOutcome::RateLimited,
        CheckoutOutcome::ContentTypeUnsupported,
        CheckoutOutcome::BodyEncoded,
        CheckoutOutcome::BodyTooLarge,
        CheckoutOutcome::BodyTooSlow,
        CheckoutOutcome::BodyMalformed,
        CheckoutOutcome::RequestMalformed,
        CheckoutOutcome::IdentityInvalid,
        CheckoutOutcome::OrderMalformed,
        CheckoutOutcome::FieldUnknown,
        CheckoutOutcome::FieldInvalid,
        CheckoutOutcome::FieldMissing,
        CheckoutOutcome::PriceUnknown,
        CheckoutOutcome::QuantityOutOfRange,
        CheckoutOutcome::ModesMixed,
        CheckoutOutcome::SessionUnknown,
        CheckoutOutcome::StripeRefused,
        CheckoutOutcome::StripeCardRefused,
        CheckoutOutcome::StripeConflict,
        CheckoutOutcome::StripeRateLimited,
        CheckoutOutcome::StripeKeyRefused,
        CheckoutOutcome::StripeFailed,
        CheckoutOutcome::StripeUnreachable,
        CheckoutOutcome::StripeTimeout,
        CheckoutOutcome::Overloaded,
        CheckoutOutcome::ShuttingDown,
    ];

    /// Returns the stable code that stands in `Countersign-Outcome`, the `outcome` label, and `error.code` unless Stripe
    /// gave its own.
    pub const fn as_str(self) -> &'static str {
        match self {
            CheckoutOutcome::Created => "created",
            CheckoutOutcome::Status => "status",
            CheckoutOutcome::Preflight => "preflight",
            CheckoutOutcome::MethodNotAllowed => "method_not_allowed",
            CheckoutOutcome::OriginForbidden => "origin_forbidden",
            CheckoutOutcome::RateLimited => "rate_limited",
            CheckoutOutcome::ContentTypeUnsupported => "content_type_unsupported",
            CheckoutOutcome::BodyEncoded => "body_encoded",
            CheckoutOutcome::BodyTooLarge => "body_too_large",
            CheckoutOutcome::BodyTooSlow => "body_too_slow",
            CheckoutOutcome::BodyMalformed => "body_malformed",
            CheckoutOutcome::RequestMalformed => "request_malformed",
            CheckoutOutcome::IdentityInvalid => "identity_invalid",
            CheckoutOutcome::OrderMalformed => "order_malformed",
            CheckoutOutcome::FieldUnknown => "field_unknown",
            CheckoutOutcome::FieldInvalid => "field_invalid",
            CheckoutOutcome::FieldMissing => "field_missing",
            CheckoutOutcome::PriceUnknown => "price_unknown",
            CheckoutOutcome::QuantityOutOfRange => "quantity_out_of_range",
            CheckoutOutcome::ModesMixed => "modes_mixed",
            CheckoutOutcome::SessionUnknown => "session_unknown",
            CheckoutOutcome::StripeRefused => "stripe_refused",
            CheckoutOutcome::StripeCardRefused => "stripe_card_refused",
            CheckoutOutcome::StripeConflict => "stripe_conflict",
            CheckoutOutcome::StripeRateLimited => "stripe_rate_limited",
            CheckoutOutcome::StripeKeyRefused => "stripe_key_refused",
            CheckoutOutcome::StripeFailed => "stripe_failed",
            CheckoutOutcome::StripeUnreachable => "stripe_unreachable",
            CheckoutOutcome::StripeTimeout => "stripe_timeout",
            CheckoutOutcome::Overloaded => "overloaded",
            CheckoutOutcome::ShuttingDown => "shutting_down",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_in_the_order_of_the_enum_and_every_code_is_unique() {
        let mut codes: Vec<_> = CheckoutOutcome::ALL.map(CheckoutOutcome::as_str).into();
        assert!(CheckoutOutcome::ALL.iter().enumerate().all(|(i, outcome)| *outcome as usize == i));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CheckoutOutcome::ALL.len());
    }
}
