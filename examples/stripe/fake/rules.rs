//! What a new Checkout Session has to be, by rules of the fake's own (docs.stripe.com/api/checkout/sessions/create). Reads
//! parameters; changes nothing.

use super::errors::Error;
use super::form::{Node, Tree};
use super::shop::{Price, Shop};

/// The version that renamed the values of `ui_mode`
/// (docs.stripe.com/changelog/dahlia/2026-03-25/updates-available-checkout-session-ui-modes).
const RENAMED: &str = "2026-03-25";

/// Every parameter that Stripe knows at the top.
const KNOWN: &[&str] = &[
    "adaptive_pricing",
    "after_expiration",
    "allow_promotion_codes",
    "allowed_payment_method_types",
    "automatic_tax",
    "billing_address_collection",
    "branding_settings",
    "cancel_url",
    "client_reference_id",
    "consent_collection",
    "currency",
    "custom_fields",
    "custom_text",
    "customer",
    "customer_account",
    "customer_creation",
    "customer_email",
    "customer_update",
    "discounts",
    "excluded_payment_method_types",
    "expand",
    "expires_at",
    "integration_identifier",
    "invoice_creation",
    "line_items",
    "locale",
    "managed_payments",
    "metadata",
    "mode",
    "name_collection",
    "optional_items",
    "origin_context",
    "payment_intent_data",
    "payment_method_collection",
    "payment_method_configuration",
    "payment_method_data",
    "payment_method_options",
    "payment_method_types",
    "permissions",
    "phone_number_collection",
    "redirect_on_completion",
    "return_url",
    "saved_payment_method_options",
    "setup_intent_data",
    "shipping_address_collection",
    "shipping_options",
    "submit_type",
    "subscription_data",
    "success_url",
    "tax_id_collection",
    "ui_mode",
    "wallet_options",
];

/// A session that may be created.
#[derive(Debug)]
pub struct Draft {
    /// `payment`, `subscription` or `setup`.
    pub mode: String,
    /// In the words of the version that the call speaks.
    pub ui_mode: String,
    /// Whether the buyer pays on a page of Stripe's.
    pub hosted: bool,
    /// What is bought, and how many of each.
    pub items: Vec<(Price, u64)>,
    /// In the currency's smallest unit.
    pub total: u64,
    /// Unix seconds.
    pub expires_at: u64,
}

/// Judges the parameters of a call that speaks this version, at this time in Unix seconds.
pub fn judge(shop: &Shop, params: &Tree, version: &str, now: u64) -> Result<Draft, Error> {
    for (name, _) in &params.0 {
        if !KNOWN.contains(&name.as_str()) {
            return Err(Error::unknown(name));
        }
    }
    let mode = params.text(&["mode"]).ok_or_else(|| Error::missing("mode"))?;
    if !["payment", "subscription", "setup"].contains(&mode) {
        return Err(Error::invalid("mode", "Invalid mode: must be one of payment, setup, or subscription"));
    }
    let (ui_mode, hosted) = ui_mode(params, version)?;
    urls(params, hosted)?;
    people(params)?;
    metadata(params)?;
    let items = items(shop, params, mode)?;
    let total = items.iter().map(|(price, quantity)| price.amount * quantity).sum();
    let expires_at = expiry(params, now)?;
    Ok(Draft { mode: mode.to_owned(), ui_mode: ui_mode.to_owned(), hosted, items, total, expires_at })
}

fn ui_mode<'a>(params: &'a Tree, version: &str) -> Result<(&'a str, bool), Error> {
    let (words, hosted): (&[&'static str], &'static str) =
        if version.get(..10).is_some_and(|date| date >= RENAMED) {
            (&["hosted_page", "embedded_page", "elements", "form"], "hosted_page")
        } else {
            (&["hosted", "embedded", "custom"], "hosted")
        };
    let given = params.text(&["ui_mode"]).unwrap_or(hosted);
    if words.contains(&given) {
        return Ok((given, given == hosted));
    }
    let message = format!("Invalid ui_mode: must be one of {}", words.join(", "));
    Err(Error::invalid("ui_mode", &message))
}

fn urls(params: &Tree, hosted: bool) -> Result<(), Error> {
    let never = params.text(&["redirect_on_completion"]) == Some("never");
    let (needed, forbidden): (&[&str], &[&str]) = match (hosted, never) {
        (true, _) => (&["success_url"], &["return_url", "redirect_on_completion"]),
        (false, false) => (&["return_url"], &["success_url", "cancel_url"]),
        (false, true) => (&[], &["success_url", "cancel_url", "return_url"]),
    };
    for name in forbidden {
        if params.node(name).is_some() {
            return Err(Error::invalid(name, &format!("You can not pass `{name}` in this `ui_mode`.")));
        }
    }
    for name in needed {
        if params.text(&[name]).is_none_or(str::is_empty) {
            return Err(Error::missing(name));
        }
    }
    for name in ["success_url", "cancel_url", "return_url"] {
        let Some(url) = params.text(&[name]) else { continue };
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(Error::coded(name, "url_invalid", "Not a valid URL"));
        }
        if url.len() > 5000 {
            return Err(Error::invalid(name, "Invalid URL: must be at most 5000 characters"));
        }
    }
    Ok(())
}

fn people(params: &Tree) -> Result<(), Error> {
    if params.node("customer").is_some() && params.node("customer_email").is_some() {
        let message = "You may only specify one of these parameters: customer, customer_email.";
        return Err(Error::invalid("customer", message));
    }
    if let Some(email) = params.text(&["customer_email"])
        && !email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
    {
        return Err(Error::coded(
            "customer_email",
            "email_invalid",
            &format!("Invalid email address: {email}"),
        ));
    }
    if let Some(id) = params.text(&["customer"])
        && !id.starts_with("cus_")
    {
        return Err(Error::no_such("customer", id, "customer"));
    }
    match params.text(&["client_reference_id"]) {
        Some(id) if id.is_empty() || id.chars().count() > 200 => {
            Err(Error::invalid("client_reference_id", "Invalid string: must be 1 to 200 characters"))
        }
        _ => Ok(()),
    }
}

/// docs.stripe.com/api/metadata
fn metadata(params: &Tree) -> Result<(), Error> {
    let Some(metadata) = params.tree("metadata") else { return Ok(()) };
    if metadata.0.len() > 50 {
        return Err(Error::invalid("metadata", "Metadata can have up to 50 keys"));
    }
    for (key, value) in &metadata.0 {
        let param = format!("metadata[{key}]");
        let Node::Text(value) = value else { return Err(Error::invalid(&param, "Invalid string")) };
        if key.chars().count() > 40 || value.chars().count() > 500 {
            return Err(Error::invalid(&param, "Keys have up to 40 characters, values up to 500"));
        }
    }
    Ok(())
}

fn items(shop: &Shop, params: &Tree, mode: &str) -> Result<Vec<(Price, u64)>, Error> {
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
        let param = |name: &str| format!("line_items[{index}][{name}]");
        let Node::Tree(item) = item else {
            return Err(Error::invalid(&format!("line_items[{index}]"), "Invalid object"));
        };
        if index.parse() != Ok(at) {
            return Err(Error::invalid(
                &format!("line_items[{index}]"),
                "Invalid array: indices go up from 0",
            ));
        }
        for (name, _) in &item.0 {
            let known = [
                "price",
                "quantity",
                "adjustable_quantity",
                "dynamic_tax_rates",
                "tax_rates",
                "metadata",
                "price_data",
            ];
            if !known.contains(&name.as_str()) {
                return Err(Error::unknown(&param(name)));
            }
        }
        let id = item.text(&["price"]).ok_or_else(|| Error::missing(&param("price")))?;
        let price = shop.price(id).ok_or_else(|| Error::no_such("price", id, &param("price")))?;
        if mode == "payment" && price.recurring {
            let message = "You specified `payment` mode but passed a recurring price.";
            return Err(Error::invalid(&param("price"), message));
        }
        let quantity = item.text(&["quantity"]).ok_or_else(|| Error::missing(&param("quantity")))?;
        let quantity: u64 = quantity.parse().map_err(|_| {
            Error::coded(
                &param("quantity"),
                "parameter_invalid_integer",
                &format!("Invalid integer: {quantity}"),
            )
        })?;
        if quantity == 0 || quantity > 999_999 {
            return Err(Error::invalid(&param("quantity"), "This value must be between 1 and 999999."));
        }
        items.push((price.clone(), quantity));
    }
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
        _ => Ok(items),
    }
}

fn expiry(params: &Tree, now: u64) -> Result<u64, Error> {
    const DAY: u64 = 24 * 60 * 60;
    let Some(given) = params.text(&["expires_at"]) else { return Ok(now + DAY) };
    let at: u64 = given.parse().map_err(|_| {
        Error::coded("expires_at", "parameter_invalid_integer", &format!("Invalid integer: {given}"))
    })?;
    if (now + 30 * 60 - 5..=now + DAY + 5).contains(&at) {
        return Ok(at);
    }
    Err(Error::invalid(
        "expires_at",
        "The `expires_at` timestamp must be between 30 minutes and 24 hours from now.",
    ))
}
