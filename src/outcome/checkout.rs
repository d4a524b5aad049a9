//! How a request to the checkout ended, as one enum: the codes of its answers, of the `outcome` label and of its log
//! line. It never says how an answer looks: that is `edge::response`'s.

/// What became of a request to a checkout path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckoutOutcome {
    /// Stripe created the session.
    Created,
    /// A session's status was told.
    Status,
    /// A browser asked what it may send.
    Preflight,
    /// A method that the path does not have.
    MethodNotAllowed,
    /// A page of another origin sent it.
    OriginForbidden,
    /// Too many from one customer or address.
    RateLimited,
    /// Neither JSON nor an HTML form.
    ContentTypeUnsupported,
    /// A `Content-Encoding` other than `identity`.
    BodyEncoded,
    /// The body is longer than `max_body`.
    BodyTooLarge,
    /// The body did not arrive in time.
    BodyTooSlow,
    /// The body broke off, or its framing is faulty.
    BodyMalformed,
    /// The head cannot be read.
    RequestMalformed,
    /// An identity header that came twice, or cannot be read.
    IdentityInvalid,
    /// The body is no JSON object and no form.
    OrderMalformed,
    /// A field that no order has, or a metadata key that is not listed.
    FieldUnknown,
    /// A field with a value that it cannot have.
    FieldInvalid,
    /// An order for nothing.
    FieldMissing,
    /// A price that the configuration does not sell.
    PriceUnknown,
    /// More or less of a price than the configuration sells.
    QuantityOutOfRange,
    /// Prices of different modes in one order.
    ModesMixed,
    /// What follows a checkout path is no session's id, or Stripe knows none of it.
    SessionUnknown,
    /// Stripe refused the order as it stands.
    StripeRefused,
    /// Stripe refused the card.
    StripeCardRefused,
    /// Another request with the same idempotency key is under way at Stripe, or an object is locked.
    StripeConflict,
    /// Stripe limits the rate of this account.
    StripeRateLimited,
    /// Stripe does not take the secret key, or not for this.
    StripeKeyRefused,
    /// Stripe failed, or answered something that is none of its answers.
    StripeFailed,
    /// No connection to Stripe.
    StripeUnreachable,
    /// Stripe did not answer in time.
    StripeTimeout,
    /// Too many checkouts at once.
    Overloaded,
    /// The program is draining.
    ShuttingDown,
}

impl CheckoutOutcome {
    /// Every outcome, in the order of the enum: what metrics are laid out by.
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

    /// The stable word for it: `Countersign-Outcome`, `error.code` unless Stripe gave one, the `outcome` label.
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
    fn every_outcome_stands_in_the_order_of_the_enum_under_a_code_of_its_own() {
        let mut codes: Vec<_> = CheckoutOutcome::ALL.map(CheckoutOutcome::as_str).into();
        assert!(CheckoutOutcome::ALL.iter().enumerate().all(|(i, outcome)| *outcome as usize == i));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CheckoutOutcome::ALL.len());
    }
}
