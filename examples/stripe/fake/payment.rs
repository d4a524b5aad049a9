//! The payment of a Checkout Session: completes the session and emits `checkout.session.completed`. No money moves.

use super::errors::Error;
use super::events::{self, NewEvent};
use super::lock::lock;
use super::state::State;
use super::store::Session;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long Stripe holds the buyer for the webhook's response (docs.stripe.com/checkout/fulfillment).
const MAX_BUYER_WAIT: Duration = Duration::from_secs(10);

/// The result of a payment.
#[derive(Debug, Clone)]
pub struct Payment {
    /// The URL where the buyer goes next, or `None` if the session names none.
    pub location: Option<String>,
    /// The id of the event, or `None` if the webhook took longer than Stripe waits.
    pub event: Option<String>,
}

/// Completes an open session, emits its event, and waits for the webhook as long as Stripe does.
///
/// # Errors
///
/// Fails if there is no such session, or if it is not open.
pub async fn pay(state: &Arc<State>, id: &str, email: &str) -> Result<Payment, Error> {
    let session = {
        let mut store = lock(&state.store);
        let session = store.session_mut(id)?;
        if session.object["status"] != "open" {
            return Err(Error::session_not_open());
        }
        complete(state, session, email);
        session.clone()
    };
    let location = ["success_url", "return_url"].iter().find_map(|name| session.object[*name].as_str());
    let location = location.map(|url| url.replace("{CHECKOUT_SESSION_ID}", id));
    let delivery = {
        let state = state.clone();
        tokio::spawn(async move {
            let event = NewEvent {
                event_type: "checkout.session.completed",
                object: session.object,
                caused_by: Some(session.created_by),
            };
            events::emit(&state, event).await
        })
    };
    // A timeout drops the handle and not the task, so a slow webhook still gets its event.
    let event = tokio::time::timeout(MAX_BUYER_WAIT, delivery).await.ok().and_then(Result::ok);
    Ok(Payment { location, event })
}

/// Sets the members of a session that a payment sets.
fn complete(state: &State, session: &mut Session, email: &str) {
    let object = &mut session.object;
    let given = object["customer_email"].as_str().or(Some(email).filter(|email| !email.is_empty()));
    let email = given.unwrap_or("buyer@example.com").to_owned();
    let (created, id_prefix, payment_status) = match object["mode"].as_str() {
        Some("subscription") => ("subscription", "sub_", "paid"),
        Some("setup") => ("setup_intent", "seti_", "no_payment_required"),
        _ => ("payment_intent", "pi_", "paid"),
    };
    object[created] = json!(state.ids.next(id_prefix));
    let needs_customer = created == "subscription" || object["customer_creation"] == "always";
    if object["customer"].is_null() && needs_customer {
        object["customer"] = json!(state.ids.next("cus_"));
    }
    object["customer_details"] = json!({
        "address": null, "business_name": null, "email": email, "individual_name": null, "name": null, "phone": null,
        "tax_exempt": "none", "tax_ids": [],
    });
    object["payment_status"] = json!(payment_status);
    object["status"] = json!("complete");
    object["url"] = Value::Null;
}
