//! Stripe's price object, and whether it fits the configured price. Pure: `lookup` makes the calls.

use serde::Deserialize;

use crate::config::{CheckoutMode, PriceConfig};

/// The members of Stripe's price object that are used.
#[derive(Deserialize)]
pub(super) struct PriceObject {
    pub(super) id: String,
    pub(super) active: bool,
    pub(super) lookup_key: Option<String>,
    recurring: Option<RecurringObject>,
}

#[derive(Deserialize)]
struct RecurringObject {
    usage_type: Option<String>,
}

/// A page of Stripe's list of prices.
#[derive(Deserialize)]
pub(super) struct PriceList {
    pub(super) data: Vec<PriceObject>,
}

/// What Stripe says of a configured price.
#[derive(Debug, PartialEq, Eq)]
pub enum PriceCheck {
    /// Stripe has the price, and it fits its configuration.
    Ok,
    /// The key may not read prices, so nothing is known.
    NotPermitted,
    /// The price cannot be sold; the text says why.
    Failed(String),
}

impl PriceObject {
    /// Compares Stripe's price with the configured one, whose orders have this mode.
    pub(super) fn check(&self, price: &PriceConfig, mode: CheckoutMode) -> PriceCheck {
        let usage = self.recurring.as_ref().and_then(|recurring| recurring.usage_type.as_deref());
        let is_metered = usage == Some("metered");
        let misfit = if !self.active {
            "it is archived at Stripe (active is false)"
        } else if mode == CheckoutMode::Payment && self.recurring.is_some() {
            "it is recurring, which needs mode = \"subscription\""
        } else if is_metered && !price.metered {
            "it is metered, which needs metered = true"
        } else if price.metered && !is_metered {
            "it is not metered: remove metered = true"
        } else {
            return PriceCheck::Ok;
        };
        PriceCheck::Failed(misfit.to_owned())
    }
}
