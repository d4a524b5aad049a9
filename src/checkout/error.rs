//! The error of an order: what is wrong, and with which field. It never holds a value that the client sent.

/// The reason why an order is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderErrorKind {
    /// The body is not a JSON object.
    Malformed,
    /// The order has a field that does not exist, or a metadata key that is not configured.
    FieldUnknown,
    /// The order has a field that a header of `[checkout.identity]` fills. The body could name somebody else.
    FieldFromIdentity,
    /// The value of the field is invalid, or the field is repeated.
    FieldInvalid,
    /// The price is missing.
    FieldMissing,
    /// The price is not configured.
    PriceUnknown,
    /// Stripe has not said yet which price has the configured lookup key.
    PriceUnavailable,
    /// The order has a quantity of a metered price, which is billed by its use.
    QuantityMetered,
    /// The quantity is outside the configured range of its price.
    QuantityOutOfRange,
    /// The prices have different modes, which one session cannot combine.
    ModesMixed,
    /// The prices are sold by different accounts, which one session cannot combine.
    AccountsMixed,
}

/// An order that is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderError {
    /// The reason.
    pub kind: OrderErrorKind,
    /// The field, written as in a form: `items[0][price]`. `None` if the whole body is wrong.
    pub param: Option<String>,
}

impl OrderError {
    /// Creates an error about one field.
    pub(super) fn new(kind: OrderErrorKind, param: impl Into<String>) -> Self {
        Self { kind, param: Some(param.into()) }
    }
}
