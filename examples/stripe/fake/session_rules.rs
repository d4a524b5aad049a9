//! Stripe's rules for parameters that depend on the mode, on the customer, on each other or on the time
//! (docs.stripe.com/api/checkout/sessions/create), in the words of Stripe's errors. It reads parameters and changes nothing.

use super::errors::Error;
use super::form::Tree;

/// The parameters that a mode refuses.
const REFUSED: [(&str, &[&str]); 3] = [
    ("payment", &["subscription_data", "payment_method_collection", "setup_intent_data"]),
    (
        "subscription",
        &["payment_intent_data", "invoice_creation", "customer_creation", "submit_type", "setup_intent_data"],
    ),
    (
        "setup",
        &[
            "subscription_data",
            "payment_method_collection",
            "payment_intent_data",
            "invoice_creation",
            "submit_type",
            "saved_payment_method_options",
            "optional_items",
        ],
    ),
];

/// Pairs of parameters of which a session has at most one.
const EXCLUSIVE: [(&str, &str); 3] = [
    ("customer", "customer_email"),
    ("customer", "customer_creation"),
    ("allow_promotion_codes", "discounts"),
];

/// The locales of Stripe's page.
const LOCALES: [&str; 42] = [
    "auto", "bg", "cs", "da", "de", "el", "en", "en-GB", "es", "es-419", "et", "fi", "fil", "fr", "fr-CA",
    "hi-IN", "hr", "hu", "id", "it", "ja", "ko", "lt", "lv", "ms", "mt", "nb", "nl", "pl", "pt", "pt-BR",
    "ro", "ru", "sk", "sl", "sv", "th", "tr", "vi", "zh", "zh-HK", "zh-TW",
];

/// Checks which parameters stand together. `now` is in Unix seconds.
///
/// # Errors
///
/// Returns the error that Stripe returns for the first parameter that does not belong to such a session.
pub fn check(params: &Tree, mode: &str) -> Result<(), Error> {
    let has = |name: &str| params.node(name).is_some();
    let refused = REFUSED.iter().find(|(name, _)| *name == mode).map(|(_, refused)| *refused);
    if let Some(name) = refused.unwrap_or_default().iter().find(|name| has(name)) {
        return Err(Error::invalid(name, &format!("You can not pass `{name}` in `{mode}` mode.")));
    }
    if has("customer_update") && !has("customer") {
        let message = "`customer_update` can only be used with `customer`.";
        return Err(Error::invalid("customer_update", message));
    }
    if let Some((one, other)) = EXCLUSIVE.iter().find(|(one, other)| has(one) && has(other)) {
        let message = format!("You may only specify one of these parameters: {one}, {other}.");
        return Err(Error::invalid(one, &message));
    }
    match params.text(&["locale"]) {
        Some(locale) if !locale.is_empty() && !LOCALES.contains(&locale) => {
            let message = format!("Invalid locale: must be one of {}", LOCALES.join(", "));
            Err(Error::invalid("locale", &message))
        }
        _ => Ok(()),
    }
}

/// Returns the time at which the session expires: as given, or after a day.
///
/// # Errors
///
/// Returns Stripe's error for a time that is not from 30 minutes to 24 hours after `now` (Unix seconds).
pub fn expires_at(params: &Tree, now: u64) -> Result<u64, Error> {
    const DAY: u64 = 24 * 60 * 60;
    const HALF_HOUR: u64 = 30 * 60;
    let Some(given) = params.text(&["expires_at"]) else { return Ok(now + DAY) };
    let time: u64 = given.parse().map_err(|_| Error::invalid_scalar("expires_at", "integer", given))?;
    let refuse = |bound: &str| {
        let message = format!("The `expires_at` timestamp must be {bound} from Checkout Session creation.");
        Err(Error::invalid("expires_at", &message))
    };
    if time < now + HALF_HOUR {
        return refuse("at least 30 minutes");
    }
    if time > now + DAY {
        return refuse("less than 24 hours");
    }
    Ok(time)
}
