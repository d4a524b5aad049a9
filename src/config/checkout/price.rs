//! `[[checkout.price]]`: one price that may be ordered, in which quantities, and who sells it.

use super::params::{self, LINE_ITEM_PARAMS};
use crate::config::checkout::values::{CheckoutMode, MODES};
use crate::config::reader::{InvalidValue, Section, one_of};
use crate::config::stripe::account;
use crate::stripe::form::Params;

/// The largest quantity that Stripe accepts for a line item.
const MAX_QUANTITY: u64 = 999_999;

/// The longest id of a price, in bytes.
const MAX_ID: usize = 255;

/// The longest lookup key of a price, in characters (<https://docs.stripe.com/api/prices/create>).
const MAX_LOOKUP_KEY: usize = 200;

/// The longest name of a price, in bytes.
const MAX_NAME: usize = 100;

/// What the id of a price is expected to be.
const PRICE_ID: &str = "the id of a price in Stripe (price_…)";

/// What a price without an id is expected to have.
const ID_OR_LOOKUP_KEY: &str = "the id of a price in Stripe (price_…), or a lookup_key";

/// One section `[[checkout.price]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceConfig {
    /// How Stripe knows the price. Clients may order by it.
    pub reference: PriceReference,
    /// Another name by which clients may order. May be blank.
    pub name: String,
    /// The session's mode for orders of this price. `None` uses the mode of the checkout.
    pub mode: Option<CheckoutMode>,
    /// Whether Stripe bills the price by its use, so that an order has no quantity of it.
    pub metered: bool,
    /// The connected account that sells the price: its own, or that of `[stripe]`. `None` is the key's own account.
    pub account: Option<String>,
    /// The smallest quantity of an order. Defaults to 1.
    pub min: u64,
    /// The largest quantity of an order. Defaults to `min`.
    pub max: u64,
    /// Further parameters of the price's line item, sent to Stripe as they are.
    pub params: Params,
}

/// How Stripe knows a price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PriceReference {
    /// The id of the price (`price_…`).
    Id(String),
    /// The lookup key of the price. Stripe says which price has it.
    LookupKey(String),
}

impl PriceReference {
    /// Returns the id or the lookup key.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Id(text) | Self::LookupKey(text) => text,
        }
    }
}

impl PriceConfig {
    /// Reads the section. `default_mode` is that of `[checkout]`, or `None` if it has an error.
    pub(super) fn read(section: &mut Section, default_mode: Option<CheckoutMode>) -> Option<Self> {
        let lookup_key = section.text("lookup_key", "", parse_lookup_key);
        let reference = read_reference(section, lookup_key);
        let name = section.text("name", "", parse_name);
        let mode = section.text("mode", "", |text| match text {
            "" => Ok(None),
            mode => one_of(mode, MODES).map(Some),
        });
        let metered = section.bool("metered", false);
        let account = section.text("account", "", account);
        let min = section.integer("min", 1, 1..=MAX_QUANTITY);
        let max = section.integer("max", min.unwrap_or(1).max(1), 1..=MAX_QUANTITY);
        let params = params::read(&section.table("params", "checkout.price.params"), LINE_ITEM_PARAMS);
        let (min, max) = (min?, max?);
        if min > max {
            section.report("max", format!("the number {max}"), format!("at least min, which is {min}"), "");
            return None;
        }
        let metered = metered?;
        if metered && !check_metered(section, mode?.or(default_mode)) {
            return None;
        }
        Some(Self {
            reference: reference?,
            name: name?,
            mode: mode?,
            metered,
            account: account?,
            min,
            max,
            params: params?,
        })
    }

    /// Whether `name`, by which a client orders, is this price's id, lookup key or name.
    pub fn has_name(&self, name: &str) -> bool {
        // A blank name is no name, so a blank text orders nothing.
        !name.is_empty() && (name == self.reference.as_str() || name == self.name)
    }
}

/// Reads `id`, unless the price has a lookup key. `lookup_key` is `None` if that key has an error.
fn read_reference(section: &mut Section, lookup_key: Option<Option<String>>) -> Option<PriceReference> {
    match lookup_key {
        Some(None) => section.required("id", ID_OR_LOOKUP_KEY, parse_id).map(PriceReference::Id),
        Some(Some(lookup_key)) => {
            section.allow_key("id");
            if section.has_key("id") {
                section.report("id", "an id beside a lookup_key", "one of the two", "remove one of them");
                return None;
            }
            Some(PriceReference::LookupKey(lookup_key))
        }
        None => {
            section.allow_key("id");
            None
        }
    }
}

/// Reports what a metered price cannot have. `mode` is that of its orders, or `None` if it has an error.
fn check_metered(section: &Section, mode: Option<CheckoutMode>) -> bool {
    let mut fits = true;
    for key in ["min", "max"] {
        if section.has_key(key) {
            let expected = "no quantity, because metered is true";
            section.report(
                key,
                "a quantity",
                expected,
                "a metered price is billed by its use: remove this key",
            );
            fits = false;
        }
    }
    if mode.is_some_and(|mode| mode != CheckoutMode::Subscription) {
        let help = "Stripe sells metered prices by subscription only: set mode = \"subscription\"";
        section.report("metered", "true", "a price whose mode is \"subscription\"", help);
        fits = false;
    }
    fits
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

/// Parses a lookup key. Returns `None` if the text is blank.
fn parse_lookup_key(text: &str) -> Result<Option<String>, InvalidValue> {
    if text.chars().count() > MAX_LOOKUP_KEY || text.chars().any(char::is_control) {
        return Err(InvalidValue::expected("a lookup key of at most 200 characters"));
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
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
