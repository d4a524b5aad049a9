//! Validation of `line_items`: which prices are bought, how many of each, and which mode allows them.

use super::catalog::{Catalog, Price};
use super::errors::Error;
use super::form::{Node, Tree};

/// The parameters of one line item.
const KNOWN_PARAMS: [&str; 7] =
    ["price", "quantity", "adjustable_quantity", "dynamic_tax_rates", "tax_rates", "metadata", "price_data"];

/// The largest quantity that Stripe accepts for one item.
const MAX_QUANTITY: u64 = 999_999;

/// Returns the prices that a session in this mode buys, each with its quantity.
///
/// # Errors
///
/// Returns the error that Stripe returns for the first item that is missing or invalid.
pub fn validate(catalog: &Catalog, params: &Tree, mode: &str) -> Result<Vec<(Price, u64)>, Error> {
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
fn validate_item(
    catalog: &Catalog,
    item_param: &str,
    item: &Tree,
    mode: &str,
) -> Result<(Price, u64), Error> {
    let param = |name: &str| format!("{item_param}[{name}]");
    if let Some((name, _)) = item.0.iter().find(|(name, _)| !KNOWN_PARAMS.contains(&name.as_str())) {
        return Err(Error::unknown(&param(name)));
    }
    let id = item.text(&["price"]).ok_or_else(|| Error::missing(&param("price")))?;
    let price = catalog.price(id).ok_or_else(|| Error::no_such("price", id, &param("price")))?;
    if mode == "payment" && price.recurring {
        let message = "You specified `payment` mode but passed a recurring price.";
        return Err(Error::invalid(&param("price"), message));
    }
    let text = item.text(&["quantity"]).ok_or_else(|| Error::missing(&param("quantity")))?;
    let quantity: u64 =
        text.parse().map_err(|_| Error::invalid_scalar(&param("quantity"), "integer", text))?;
    if quantity == 0 || quantity > MAX_QUANTITY {
        return Err(Error::invalid(&param("quantity"), "This value must be between 1 and 999999."));
    }
    Ok((price.clone(), quantity))
}

/// Checks how many items of which kind a mode allows.
fn check_counts(items: &[(Price, u64)], mode: &str) -> Result<(), Error> {
    let recurring = items.iter().filter(|(price, _)| price.recurring).count();
    match mode {
        "subscription" if recurring == 0 => Err(Error::invalid(
            "mode",
            "You must provide at least one recurring price in `subscription` mode.",
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
