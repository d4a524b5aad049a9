//! Validation of the parameters of a new Checkout Session, by rules of the fake's own
//! (docs.stripe.com/api/checkout/sessions/create). It reads parameters and changes nothing. `line_items` checks what is
//! bought, and `session_rules` which parameters stand together.

use super::catalog::Catalog;
use super::errors::Error;
use super::form::{Node, Tree};
use super::line_items::{self, LineItem};
use super::session_rules;

/// The API version that renamed the values of `ui_mode`
/// (docs.stripe.com/changelog/dahlia/2026-03-25/updates-available-checkout-session-ui-modes).
const UI_MODES_RENAMED: &str = "2026-03-25";

/// The longest URL that Stripe accepts, in bytes.
const MAX_URL_LENGTH: usize = 5000;

/// The parameters that Stripe knows at the top level.
const KNOWN_PARAMS: &[&str] = &[
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

/// A valid session that does not exist yet.
#[derive(Debug)]
pub struct NewSession {
    /// The mode: `payment`, `subscription` or `setup`.
    pub mode: String,
    /// The UI mode, by the name that the call's API version has for it.
    pub ui_mode: String,
    /// Whether the buyer pays on a page of Stripe's.
    pub hosted: bool,
    /// What is bought.
    pub items: Vec<LineItem>,
    /// The sum of all items, in the currency's smallest unit.
    pub total: u64,
    /// The time at which the session expires, in Unix seconds.
    pub expires_at: u64,
}

/// Validates the parameters of a call with this API version. `now` is in Unix seconds.
///
/// # Errors
///
/// Returns the error that Stripe returns for the first parameter that is missing, unknown or invalid.
pub fn validate(catalog: &Catalog, params: &Tree, version: &str, now: u64) -> Result<NewSession, Error> {
    if let Some((name, _)) = params.0.iter().find(|(name, _)| !KNOWN_PARAMS.contains(&name.as_str())) {
        return Err(Error::unknown(name));
    }
    let mode = params.text(&["mode"]).ok_or_else(|| Error::missing("mode"))?;
    if !["payment", "subscription", "setup"].contains(&mode) {
        return Err(Error::invalid("mode", "Invalid mode: must be one of payment, setup, or subscription"));
    }
    let (ui_mode, hosted) = ui_mode(params, version)?;
    check_urls(params, hosted)?;
    session_rules::check(params, mode)?;
    check_customer(params)?;
    check_metadata(params)?;
    let items = line_items::validate(catalog, params, mode)?;
    let total = items.iter().map(LineItem::amount).sum();
    let expires_at = session_rules::expires_at(params, now)?;
    Ok(NewSession { mode: mode.to_owned(), ui_mode: ui_mode.to_owned(), hosted, items, total, expires_at })
}

/// Returns the UI mode, and whether it is the hosted page.
fn ui_mode<'a>(params: &'a Tree, version: &str) -> Result<(&'a str, bool), Error> {
    let (modes, hosted): (&[&'static str], &'static str) =
        if version.get(..10).is_some_and(|date| date >= UI_MODES_RENAMED) {
            (&["hosted_page", "embedded_page", "elements", "form"], "hosted_page")
        } else {
            (&["hosted", "embedded", "custom"], "hosted")
        };
    let given = params.text(&["ui_mode"]).unwrap_or(hosted);
    if modes.contains(&given) {
        return Ok((given, given == hosted));
    }
    let message = format!("Invalid ui_mode: must be one of {}", modes.join(", "));
    Err(Error::invalid("ui_mode", &message))
}

fn check_urls(params: &Tree, hosted: bool) -> Result<(), Error> {
    let never = params.text(&["redirect_on_completion"]) == Some("never");
    let (required, forbidden): (&[&str], &[&str]) = match (hosted, never) {
        (true, _) => (&["success_url"], &["return_url", "redirect_on_completion"]),
        (false, false) => (&["return_url"], &["success_url", "cancel_url"]),
        (false, true) => (&[], &["success_url", "cancel_url", "return_url"]),
    };
    for name in forbidden {
        if params.node(name).is_some() {
            return Err(Error::invalid(name, &format!("You can not pass `{name}` in this `ui_mode`.")));
        }
    }
    for name in required {
        if params.text(&[name]).is_none_or(str::is_empty) {
            return Err(Error::missing(name));
        }
    }
    for name in ["success_url", "cancel_url", "return_url"] {
        let Some(url) = params.text(&[name]) else { continue };
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(Error::invalid_url(name));
        }
        if url.len() > MAX_URL_LENGTH {
            return Err(Error::invalid(name, "Invalid URL: must be at most 5000 characters"));
        }
    }
    Ok(())
}

fn check_customer(params: &Tree) -> Result<(), Error> {
    if let Some(email) = params.text(&["customer_email"])
        && !email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
    {
        return Err(Error::invalid_email("customer_email", email));
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

/// Checks the limits of docs.stripe.com/api/metadata.
fn check_metadata(params: &Tree) -> Result<(), Error> {
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
