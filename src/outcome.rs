//! What a caller can be told, as one enum: the codes of the answer table, of the `outcome` label and of the logs.
//! It never says how an answer looks: statuses, headers and bodies are `edge::response`'s.

pub mod checkout;

/// What became of a request that this program answered itself or delivered as a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The backend took it with a 2xx; its answer is passed on.
    Delivered,
    /// The backend answered, but with no 2xx; its answer is passed on.
    BackendRefused,
    /// It is kept, and reaches the backend later.
    Queued,
    /// Seen before and not to be delivered again.
    Duplicate,
    /// A type, mode or account that the endpoint does not forward.
    Ignored,
    /// Another delivery of this event holds its lease.
    InFlight,
    /// No `Stripe-Signature` header.
    SignatureMissing,
    /// A header that is not of the scheme, or more than one.
    SignatureMalformed,
    /// A header without a `v1` item.
    SignatureNoV1,
    /// No `v1` matches any of the secrets.
    SignatureMismatch,
    /// Genuine, and older than the tolerance.
    TimestampTooOld,
    /// Genuine, and further in the future than the tolerance.
    TimestampInFuture,
    /// Signed, but not an event.
    PayloadInvalid,
    /// Not a POST.
    MethodNotAllowed,
    /// The body is longer than `max_body`.
    BodyTooLarge,
    /// The body did not arrive within `body_timeout`.
    BodyTooSlow,
    /// The body broke off, or its framing is faulty.
    BodyMalformed,
    /// A `Content-Encoding` other than `identity`.
    BodyEncoded,
    /// The head is faulty: conflicting lengths, bare line feeds, too large.
    RequestMalformed,
    /// The head did not arrive within `header_timeout`.
    HeaderTooSlow,
    /// The head is longer than 64 KiB.
    HeaderTooLarge,
    /// A spelling of a guarded path that is not the path.
    AmbiguousPath,
    /// No connection to the backend, or one that it closed without an answer.
    BackendUnreachable,
    /// The backend did not answer within `response_timeout`.
    BackendTimeout,
    /// The backend answered something that is not HTTP, or broke off before its head was whole.
    BackendInvalid,
    /// The ledger is out of reach, and `on_outage = "refuse"`; or it is not fit for what was asked, or too slow for its
    /// lease.
    LedgerUnavailable,
    /// Too many connections or webhooks at once.
    Overloaded,
    /// The program is draining.
    ShuttingDown,
    /// A fault of ours on a passed-through request's way.
    InternalError,
}

impl Outcome {
    /// Every outcome, in the order of the enum: what metrics are laid out by.
    pub const ALL: [Outcome; 29] = [
        Outcome::Delivered,
        Outcome::BackendRefused,
        Outcome::Queued,
        Outcome::Duplicate,
        Outcome::Ignored,
        Outcome::InFlight,
        Outcome::SignatureMissing,
        Outcome::SignatureMalformed,
        Outcome::SignatureNoV1,
        Outcome::SignatureMismatch,
        Outcome::TimestampTooOld,
        Outcome::TimestampInFuture,
        Outcome::PayloadInvalid,
        Outcome::MethodNotAllowed,
        Outcome::BodyTooLarge,
        Outcome::BodyTooSlow,
        Outcome::BodyMalformed,
        Outcome::BodyEncoded,
        Outcome::RequestMalformed,
        Outcome::HeaderTooSlow,
        Outcome::HeaderTooLarge,
        Outcome::AmbiguousPath,
        Outcome::BackendUnreachable,
        Outcome::BackendTimeout,
        Outcome::BackendInvalid,
        Outcome::LedgerUnavailable,
        Outcome::Overloaded,
        Outcome::ShuttingDown,
        Outcome::InternalError,
    ];

    /// The stable word for it: `Countersign-Outcome`, `error.code`, the `outcome` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::BackendRefused => "backend_refused",
            Outcome::Queued => "queued",
            Outcome::Duplicate => "duplicate",
            Outcome::Ignored => "ignored",
            Outcome::InFlight => "in_flight",
            Outcome::SignatureMissing => "signature_missing",
            Outcome::SignatureMalformed => "signature_malformed",
            Outcome::SignatureNoV1 => "signature_no_v1",
            Outcome::SignatureMismatch => "signature_mismatch",
            Outcome::TimestampTooOld => "timestamp_too_old",
            Outcome::TimestampInFuture => "timestamp_in_future",
            Outcome::PayloadInvalid => "payload_invalid",
            Outcome::MethodNotAllowed => "method_not_allowed",
            Outcome::BodyTooLarge => "body_too_large",
            Outcome::BodyTooSlow => "body_too_slow",
            Outcome::BodyMalformed => "body_malformed",
            Outcome::BodyEncoded => "body_encoded",
            Outcome::RequestMalformed => "request_malformed",
            Outcome::HeaderTooSlow => "header_too_slow",
            Outcome::HeaderTooLarge => "header_too_large",
            Outcome::AmbiguousPath => "ambiguous_path",
            Outcome::BackendUnreachable => "backend_unreachable",
            Outcome::BackendTimeout => "backend_timeout",
            Outcome::BackendInvalid => "backend_invalid",
            Outcome::LedgerUnavailable => "ledger_unavailable",
            Outcome::Overloaded => "overloaded",
            Outcome::ShuttingDown => "shutting_down",
            Outcome::InternalError => "internal_error",
        }
    }
}
