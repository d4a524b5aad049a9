//! `[[checkout.price]]`: one price that may be ordered, and in which quantities.

use crate::config::checkout::values::{CheckoutMode, MODES};
use crate::config::reader::{InvalidValue, Section, one_of};

/// The largest quantity that Stripe accepts for a line item.
const MAX_QUANTITY: u64 = 999_999;

/// The longest id of a price, in bytes.
const MAX_ID: usize = 255;

/// The longest name of a price, in bytes.
const MAX_NAME: usize = 100;

/// What the id of a price is expected to be.
const PRICE_ID: &str = "the id of a price in Stripe (price_…)";

/// One section `[[checkout.price]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceConfig {
    /// Stripe's id of the price (`price_…`). Clients may order by it.
    pub id: String,
    /// Another name by which clients may order. May be blank.
    pub name: String,
    /// The session's mode for orders of this price. `None` uses the mode of the checkout.
    pub mode: Option<CheckoutMode>,
    /// The smallest quantity of an order. Defaults to 1.
    pub min: u64,
    /// The largest quantity of an order. Defaults to `min`.
    pub max: u64,
}

impl PriceConfig {
    pub(super) fn read(section: &mut Section) -> Option<Self> {
        let id = section.required("id", PRICE_ID, parse_id);
        let name = section.text("name", "", parse_name);
        let mode = section.text("mode", "", |text| match text {
            "" => Ok(None),
            mode => one_of(mode, MODES).map(Some),
        });
        let min = section.integer("min", 1, 1..=MAX_QUANTITY);
        let max = section.integer("max", min.unwrap_or(1).max(1), 1..=MAX_QUANTITY);
        let (min, max) = (min?, max?);
        if min > max {
            section.report("max", format!("the number {max}"), format!("at least min, which is {min}"), "");
            return None;
        }
        Some(Self { id: id?, name: name?, mode: mode?, min, max })
    }

    /// Whether `name`, by which a client orders, is this price's id or name.
    pub fn has_name(&self, name: &str) -> bool {
        // A blank name is no name, so a blank text orders nothing.
        !name.is_empty() && (name == self.id || name == self.name)
    }
}

fn parse_id(text: &str) -> Result<String, InvalidValue> {
    let invalid = || InvalidValue::expected(PRICE_ID);
    if text.starts_with("prod_") {
        return Err(invalid()
            .help("this is the id of a product: Stripe's dashboard lists its prices on the product's page"));
    }
    // A price created through the API may have an id of any letters
    // (https://docs.stripe.com/upgrades#what-changes-does-stripe-consider-to-be-backwards-compatible).
    if text.is_empty() || text.len() > MAX_ID || !is_plain(text) {
        return Err(invalid());
    }
    Ok(text.to_owned())
}

fn parse_name(text: &str) -> Result<String, InvalidValue> {
    if text.len() > MAX_NAME || !is_plain(text) {
        return Err(InvalidValue::expected("a name of at most 100 letters, digits and -._"));
    }
    Ok(text.to_owned())
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}
