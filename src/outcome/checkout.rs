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
    /// The price's lookup key has not been found at Stripe.
    PriceUnavailable,
    /// The order has a quantity of a metered price.
    QuantityMetered,
    /// The quantity is outside the configured range of its price.
    QuantityOutOfRange,
    /// The order has prices of different modes.
    ModesMixed,
    /// The order has prices that different accounts sell.
    AccountsMixed,
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
    pub const ALL: [Self; 34] = [
        Self::Created,
        Self::Status,
        Self::Preflight,
        Self::MethodNotAllowed,
        Self::OriginForbidden,
        Self::RateLimited,
        Self::ContentTypeUnsupported,
        Self::BodyEncoded,
        Self::BodyTooLarge,
        Self::BodyTooSlow,
        Self::BodyMalformed,
        Self::RequestMalformed,
        Self::IdentityInvalid,
        Self::OrderMalformed,
        Self::FieldUnknown,
        Self::FieldInvalid,
        Self::FieldMissing,
        Self::PriceUnknown,
        Self::PriceUnavailable,
        Self::QuantityMetered,
        Self::QuantityOutOfRange,
        Self::ModesMixed,
        Self::AccountsMixed,
        Self::SessionUnknown,
        Self::StripeRefused,
        Self::StripeCardRefused,
        Self::StripeConflict,
        Self::StripeRateLimited,
        Self::StripeKeyRefused,
        Self::StripeFailed,
        Self::StripeUnreachable,
        Self::StripeTimeout,
        Self::Overloaded,
        Self::ShuttingDown,
    ];

    /// Returns the stable code that stands in `Countersign-Outcome`, the `outcome` label, and `error.code` unless Stripe
    /// gave its own.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Status => "status",
            Self::Preflight => "preflight",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::OriginForbidden => "origin_forbidden",
            Self::RateLimited => "rate_limited",
            Self::ContentTypeUnsupported => "content_type_unsupported",
            Self::BodyEncoded => "body_encoded",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTooSlow => "body_too_slow",
            Self::BodyMalformed => "body_malformed",
            Self::RequestMalformed => "request_malformed",
            Self::IdentityInvalid => "identity_invalid",
            Self::OrderMalformed => "order_malformed",
            Self::FieldUnknown => "field_unknown",
            Self::FieldInvalid => "field_invalid",
            Self::FieldMissing => "field_missing",
            Self::PriceUnknown => "price_unknown",
            Self::PriceUnavailable => "price_unavailable",
            Self::QuantityMetered => "quantity_metered",
            Self::AccountsMixed => "accounts_mixed",
            Self::QuantityOutOfRange => "quantity_out_of_range",
            Self::ModesMixed => "modes_mixed",
            Self::SessionUnknown => "session_unknown",
            Self::StripeRefused => "stripe_refused",
            Self::StripeCardRefused => "stripe_card_refused",
            Self::StripeConflict => "stripe_conflict",
            Self::StripeRateLimited => "stripe_rate_limited",
            Self::StripeKeyRefused => "stripe_key_refused",
            Self::StripeFailed => "stripe_failed",
            Self::StripeUnreachable => "stripe_unreachable",
            Self::StripeTimeout => "stripe_timeout",
            Self::Overloaded => "overloaded",
            Self::ShuttingDown => "shutting_down",
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
