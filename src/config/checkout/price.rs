//! `[[checkout.price]]`: one thing that may be bought, and how many of it.

use super::words::{self, CheckoutMode};
use crate::config::section::Section;
use crate::config::units::{self, Wrong};

/// One `[[checkout.price]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceConfig {
    /// Stripe's id of the price (`price_…`), by which clients may call it too.
    pub id: String,
    /// What clients may call it; blank for nothing but the id.
    pub name: String,
    /// The session's mode for orders of this price; `None` for the checkout's own.
    pub mode: Option<CheckoutMode>,
    /// The least that may be ordered at once. Default 1.
    pub min: u64,
    /// The most. Default 1.
    pub max: u64,
}

/// Stripe's own limit of a line item's quantity.
const MOST: u64 = 999_999;

impl PriceConfig {
    pub(super) fn read(section: &mut Section) -> Option<PriceConfig> {
        let id = section.required("id", "the id of a price in Stripe (price_…)", id);
        let name = section.text("name", "", name);
        let mode = section.text("mode", "", |text| match text {
            "" => Ok(None),
            word => units::word(word, words::MODES).map(Some),
        });
        let min = section.whole("min", 1, 1..=MOST);
        let max = section.whole("max", min.unwrap_or(1).max(1), 1..=MOST);
        let (min, max) = (min?, max?);
        if min > max {
            section.fault("max", format!("the number {max}"), &format!("at least min, which is {min}"), "");
            return None;
        }
        Some(PriceConfig { id: id?, name: name?, mode: mode?, min, max })
    }

    /// Whether a client that says this word means this price.
    pub fn is_called(&self, word: &str) -> bool {
        !word.is_empty() && (word == self.id || word == self.name)
    }
}

fn id(text: &str) -> Result<String, Wrong> {
    let wrong = || Wrong::expected("the id of a price in Stripe (price_…)");
    if text.starts_with("prod_") {
        return Err(
            wrong().help("that is a product; Stripe's dashboard shows the ids of its prices below it")
        );
    }
    // Prices made by hand may have ids of any letters (https://docs.stripe.com/upgrades#what-changes-does-stripe-consider-to-be-backwards-compatible).
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if text.is_empty() || text.len() > 255 || !plain { Err(wrong()) } else { Ok(text.to_owned()) }
}

fn name(text: &str) -> Result<String, Wrong> {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if text.len() > 100 || !plain {
        return Err(Wrong::expected("a name of letters, digits and -._, 100 at most"));
    }
    Ok(text.to_owned())
}
