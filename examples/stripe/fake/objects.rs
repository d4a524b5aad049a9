//! The rest of the API, as far as `stripe trigger` and `stripe checkout sessions create` walk it: products, prices,
//! payment pages. What else is created is kept as it was given.

use super::door::Caller;
use super::errors::Error;
use super::events::{self, Happening};
use super::form::{Node, Tree};
use super::pay;
use super::sessions::json as as_json;
use super::shop::{Price, price_object};
use super::state::{Stripe, lock};
use serde_json::{Value, json};
use std::sync::Arc;

/// Collections whose objects are kept as they were given: what they hold, the prefix of their ids, and the event that
/// tells of a new one.
const COLLECTIONS: &[(&str, &str, &str, &str)] = &[
    ("products", "product", "prod_", "product.created"),
    ("customers", "customer", "cus_", "customer.created"),
    ("payment_methods", "payment_method", "pm_", "payment_method.created"),
    ("payment_intents", "payment_intent", "pi_", "payment_intent.created"),
];

/// Answers a call that no other module knows.
pub async fn serve(
    stripe: &Arc<Stripe>,
    caller: &Caller,
    method: &str,
    segments: &[&str],
    params: &Tree,
) -> Result<Value, Error> {
    match (method, segments) {
        ("POST", ["prices"]) => price(stripe, caller, params),
        ("GET", ["prices", id]) => {
            let shop = lock(&stripe.shop);
            let price = shop.price(id).ok_or_else(|| Error::no_such("price", id, "price").status(404))?;
            Ok(price_object(price, caller.livemode))
        }
        ("POST", ["payment_pages", id, "confirm"]) => {
            pay::pay(stripe, id, "").await?;
            page(stripe, id)
        }
        ("GET", ["payment_pages", id]) | ("POST", ["payment_pages", id, "init"]) => page(stripe, id),
        ("POST", [collection]) => create(stripe, caller, collection, params),
        ("GET", [_, id]) => {
            let shop = lock(&stripe.shop);
            shop.objects.get(*id).cloned().ok_or_else(|| Error::no_such("object", id, "id").status(404))
        }
        _ => Err(unrecognized(method, segments)),
    }
}

fn price(stripe: &Stripe, caller: &Caller, params: &Tree) -> Result<Value, Error> {
    let currency = params.text(&["currency"]).ok_or_else(|| Error::missing("currency"))?;
    let amount = params.text(&["unit_amount"]).ok_or_else(|| Error::missing("unit_amount"))?;
    let invalid =
        |_| Error::coded("unit_amount", "parameter_invalid_integer", &format!("Invalid integer: {amount}"));
    let product = params.text(&["product"]).or_else(|| params.text(&["product_data", "name"]));
    let price = Price {
        id: stripe.ids.next("price_"),
        amount: amount.parse().map_err(invalid)?,
        currency: currency.to_owned(),
        product: product.ok_or_else(|| Error::missing("product"))?.to_owned(),
        recurring: params.node("recurring").is_some(),
    };
    let object = price_object(&price, caller.livemode);
    lock(&stripe.shop).sell(price);
    Ok(object)
}

/// What Stripe's page knows of a session.
fn page(stripe: &Stripe, id: &str) -> Result<Value, Error> {
    let mut shop = lock(&stripe.shop);
    let session = shop.session_mut(id)?;
    Ok(json!({
        "id": session.object["id"],
        "object": "checkout.session",
        "session_id": id,
        "currency": session.object["currency"],
        "line_item_group": { "currency": session.object["currency"], "total": session.object["amount_total"] },
        "mode": session.object["mode"],
        "payment_status": session.object["payment_status"],
        "status": session.object["status"],
    }))
}

fn create(stripe: &Arc<Stripe>, caller: &Caller, collection: &str, params: &Tree) -> Result<Value, Error> {
    let known = COLLECTIONS.iter().find(|(name, ..)| *name == collection);
    let (_, kind, prefix, event) = known.ok_or_else(|| unrecognized("POST", &[collection]))?;
    let mut object = as_json(&Node::Tree(params.clone()));
    if !object.is_object() {
        object = json!({});
    }
    let id = stripe.ids.next(prefix);
    object["id"] = json!(id);
    object["object"] = json!(kind);
    object["created"] = json!(stripe.now());
    object["livemode"] = json!(caller.livemode);
    lock(&stripe.shop).objects.insert(id, object.clone());
    let happening = Happening {
        kind: event,
        object: object.clone(),
        account: caller.account.clone(),
        version: Some(caller.version.clone()),
        request: Some((caller.request.clone(), caller.key.clone())),
    };
    let stripe = stripe.clone();
    tokio::spawn(async move { events::happens(&stripe, happening).await });
    Ok(object)
}

fn unrecognized(method: &str, segments: &[&str]) -> Error {
    let message = format!("Unrecognized request URL ({method}: /v1/{}).", segments.join("/"));
    Error::new(404, "invalid_request_error", "", &message)
}
