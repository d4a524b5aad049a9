//! Validation of `line_items`: which prices are bought, how many of each, and which mode allows them.

use super::catalog::{Catalog, Price};
use super::errors::Error;
use super::form::{Node, Tree};

/// The parameters of one line item.
const KNOWN_PARAMS: [&str; 7] =
    ["price", "quantity", "adjustable_quantity", "dynamic_tax_rates", "tax_rates", "metadata", "price_data"];

/// The largest quantity that Stripe accepts for one item.
const MAX_QUANTITY: u64 = 999_999;

/// A price that is bought.
#[derive(Debug, Clone)]
pub struct LineItem {
    /// The price.
    pub price: Price,
    /// The number of units. `None` for a metered price, which is billed by its use.
    pub quantity: Option<u64>,
}

impl LineItem {
    /// Returns what the buyer pays now, in the currency's smallest unit.
    pub fn amount(&self) -> u64 {
        self.price.amount * self.quantity.unwrap_or(0)
    }
}

/// Returns what a session in this mode buys.
///
/// # Errors
///
/// Returns the error that Stripe returns for the first item that is missing or invalid.
pub fn validate(catalog: &Catalog, params: &Tree, mode: &str) -> Result<Vec<LineItem>, Error> {
    let Some(list) = params.tree("line_items") else {
        return match mode {
            "setup" if params.node("currency").is_none() => Err(Error::missing("currency")),
            "setup" => Ok(vec![]),
            _ => Err(Error::missing("line_items")),
        };
    };
    if mode == "setup" {
        return Err(Error::invalid("line_items", "You can not pass `line_items` in `setup` mode."));
    }
    let mut items = vec![];
    for (at, (index, item)) in list.0.iter().enumerate() {
        let param = format!("line_items[{index}]");
        let Node::Tree(item) = item else { return Err(Error::invalid(&param, "Invalid object")) };
        if index.parse() != Ok(at) {
            return Err(Error::invalid(&param, "Invalid array: indices go up from 0"));
        }
        items.push(validate_item(catalog, &param, item, mode)?);
    }
    check_counts(&items, mode)?;
    Ok(items)
}

/// Validates one item. `item_param` is its name in errors: `line_items[0]`.
fn validate_item(catalog: &Catalog, item_param: &str, item: &Tree, mode: &str) -> Result<LineItem, Error> {
    let param = |name: &str| format!("{item_param}[{name}]");
    if let Some((name, _)) = item.0.iter().find(|(name, _)| !KNOWN_PARAMS.contains(&name.as_str())) {
        return Err(Error::unknown(&param(name)));
    }
    let id = item.text(&["price"]).ok_or_else(|| Error::missing(&param("price")))?;
    let price = catalog.price(id).ok_or_else(|| Error::no_such("price", id, &param("price")))?;
    if mode == "payment" && price.recurring {
        let message = "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use only one-time prices.";
        return Err(Error::invalid(&param("price"), message));
    }
    let text = match (price.metered, item.text(&["quantity"])) {
        (true, None) => return Ok(LineItem { price: price.clone(), quantity: None }),
        (true, Some(_)) => {
            let message = format!(
                "Quantity should not be specified where usage_type is `metered`. Remove quantity from `{item_param}`"
            );
            return Err(Error::invalid(&param("quantity"), &message));
        }
        (false, None) => {
            let message = format!("Quantity is required. Add `quantity` to `{item_param}`");
            return Err(Error::invalid(item_param, &message));
        }
        (false, Some(text)) => text,
    };
    let quantity: u64 =
        text.parse().map_err(|_| Error::invalid_scalar(&param("quantity"), "integer", text))?;
    if quantity == 0 || quantity > MAX_QUANTITY {
        return Err(Error::invalid(&param("quantity"), "This value must be between 1 and 999999."));
    }
    Ok(LineItem { price: price.clone(), quantity: Some(quantity) })
}

/// Checks how many items of which kind a mode allows.
fn check_counts(items: &[LineItem], mode: &str) -> Result<(), Error> {
    let recurring = items.iter().filter(|item| item.price.recurring).count();
    match mode {
        "subscription" if recurring == 0 => Err(Error::invalid(
            "mode",
            "You must provide at least one recurring price in `subscription` mode when using prices.",
        )),
        "subscription" if recurring > 20 || items.len() - recurring > 20 => {
            Err(Error::invalid("line_items", "At most 20 recurring and 20 one-time prices are allowed."))
        }
        "payment" if items.len() > 100 => {
            Err(Error::invalid("line_items", "At most 100 line items are allowed."))
        }
        _ if items.is_empty() => Err(Error::missing("line_items")),
        _ => Ok(()),
    }
}
