//! [`DeliveryMode`]: the one enum for how an event reaches the backend. The configuration chooses it, the ledger stores
//! it, metrics and the `Countersign-Delivery` header show it. Pure data.

/// How an event is delivered: the configuration's `delivery`, the metrics' label `mode`, the header
/// `Countersign-Delivery`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryMode {
    /// Stripe waits for the backend's own response. Nothing is stored for a later attempt.
    Inline,
    /// Stripe is acknowledged once the event is durable. The worker delivers it.
    Queued,
    /// The event is durable before the first attempt. Stripe waits for that attempt until a deadline.
    Hybrid,
    /// An operator asked for another delivery. No configuration chooses this mode.
    Redelivery,
}

impl DeliveryMode {
    /// Every mode, in the order of the enum: metrics lay out their arrays by it.
    pub const ALL: [Self; 4] = [Self::Inline, Self::Queued, Self::Hybrid, Self::Redelivery];

    /// The mode's name in configuration, metrics, headers and the events API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Queued => "queued",
            Self::Hybrid => "hybrid",
            Self::Redelivery => "redelivery",
        }
    }

    /// Whether an event of this mode is stored, so that the worker can deliver it later.
    pub const fn is_stored(self) -> bool {
        match self {
            Self::Inline => false,
            Self::Queued | Self::Hybrid | Self::Redelivery => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_in_the_order_of_the_enum() {
        assert!(DeliveryMode::ALL.iter().enumerate().all(|(i, mode)| *mode as usize == i));
    }

    #[test]
    fn only_inline_events_are_not_stored() {
        let stored: Vec<_> = DeliveryMode::ALL.into_iter().filter(|mode| mode.is_stored()).collect();
        assert_eq!(stored, [DeliveryMode::Queued, DeliveryMode::Hybrid, DeliveryMode::Redelivery]);
    }
}
