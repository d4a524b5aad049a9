//! The rest of the API, as far as `stripe trigger` and `stripe checkout sessions create` use it: products, prices, payment
//! pages. Other objects are stored as they were given.

use super::auth::Caller;
use super::catalog::Price;
use super::errors::Error;
use super::events::{self, NewEvent};
use super::form::Tree;
use super::lock::lock;
use super::payment;
use super::state::State;
use serde_json::{Value, json};
use std::sync::Arc;

/// A collection whose objects are stored as they were given.
struct Collection {
    /// The name in the path.
    path: &'static str,
    /// The value of `object` in each of its objects.
    object_type: &'static str,
    id_prefix: &'static str,
    /// The type of the event about a new object.
    created_event: &'static str,
}

const COLLECTIONS: &[Collection] = &[
    Collection {
        path: "products",
        object_type: "product",
        id_prefix: "prod_",
        created_event: "product.created",
    },
    Collection {
        path: "customers",
        object_type: "customer",
        id_prefix: "cus_",
        created_event: "customer.created",
    },
    Collection {
        path: "payment_methods",
        object_type: "payment_method",
        id_prefix: "pm_",
        created_event: "payment_method.created",
    },
    Collection {
        path: "payment_intents",
        object_type: "payment_intent",
        id_prefix: "pi_",
        created_event: "payment_intent.created",
    },
];

/// The most lookup keys in one call (docs.stripe.com/api/prices/list).
const MAX_LOOKUP_KEYS: usize = 10;

/// Handles a call that no other module handles. `segments` are those of the path after `/v1/`.
pub async fn handle(
    state: &Arc<State>,
    caller: &Caller,
    method: &str,
    segments: &[&str],
    params: &Tree,
) -> Result<Value, Error> {
    match (method, segments) {
        ("POST", ["prices"]) => create_price(state, caller, params),
        ("GET", ["prices"]) => list_prices(state, caller, params),
        ("GET", ["prices", id]) => {
            let store = lock(&state.store);
            let price = store.catalog.price(id).ok_or_else(|| Error::not_found("price", id, "price"))?;
            Ok(price.to_json(caller.livemode))
        }
        ("POST", ["payment_pages", id, "confirm"]) => {
            payment::pay(state, id, "").await?;
            payment_page(state, id)
        }
        ("GET", ["payment_pages", id]) | ("POST", ["payment_pages", id, "init"]) => payment_page(state, id),
        ("POST", [collection]) => create(state, caller, collection, params),
        ("GET", [_, id]) => {
            let store = lock(&state.store);
            store.objects.get(*id).cloned().ok_or_else(|| Error::not_found("object", id, "id"))
        }
        _ => Err(Error::unrecognized_url(method, segments)),
    }
}

fn create_price(state: &State, caller: &Caller, params: &Tree) -> Result<Value, Error> {
    let currency = params.text(&["currency"]).ok_or_else(|| Error::missing("currency"))?;
    let amount = params.text(&["unit_amount"]).ok_or_else(|| Error::missing("unit_amount"))?;
    let product = params.text(&["product"]).or_else(|| params.text(&["product_data", "name"]));
    let price = Price {
        id: state.ids.next("price_"),
        amount: amount.parse().map_err(|_| Error::invalid_scalar("unit_amount", "integer", amount))?,
        currency: currency.to_owned(),
        product: product.ok_or_else(|| Error::missing("product"))?.to_owned(),
        recurring: params.node("recurring").is_some(),
        metered: params.text(&["recurring", "usage_type"]) == Some("metered"),
        lookup_key: params.text(&["lookup_key"]).map(str::to_owned),
    };
    let object = price.to_json(caller.livemode);
    lock(&state.store).catalog.add(price);
    Ok(object)
}

/// Lists prices, by `lookup_keys` if the call has them.
fn list_prices(state: &State, caller: &Caller, params: &Tree) -> Result<Value, Error> {
    let keys: Vec<&str> = match params.tree("lookup_keys") {
        Some(keys) => keys.0.iter().filter_map(|(index, _)| keys.text(&[index])).collect(),
        None => vec![],
    };
    if keys.len() > MAX_LOOKUP_KEYS {
        return Err(Error::invalid("lookup_keys", "You may specify up to 10 lookup_keys."));
    }
    let store = lock(&state.store);
    let prices = store.catalog.with_lookup_keys(&keys);
    let data: Vec<Value> = prices.into_iter().map(|price| price.to_json(caller.livemode)).collect();
    Ok(json!({ "object": "list", "data": data, "has_more": false, "url": "/v1/prices" }))
}

/// Returns what Stripe's payment page knows of a session.
fn payment_page(state: &State, id: &str) -> Result<Value, Error> {
    let mut store = lock(&state.store);
    let session = store.session_mut(id)?;
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

/// Stores an object as it was given, and emits the event about it.
fn create(state: &Arc<State>, caller: &Caller, collection: &str, params: &Tree) -> Result<Value, Error> {
    let found = COLLECTIONS.iter().find(|known| known.path == collection);
    let Collection { object_type, id_prefix, created_event, .. } =
        found.ok_or_else(|| Error::unrecognized_url("POST", &[collection]))?;
    let mut object = params.to_json();
    if !object.is_object() {
        object = json!({});
    }
    let id = state.ids.next(id_prefix);
    object["id"] = json!(id);
    object["object"] = json!(object_type);
    object["created"] = json!(state.now());
    object["livemode"] = json!(caller.livemode);
    lock(&state.store).objects.insert(id, object.clone());
    let event =
        NewEvent { event_type: created_event, object: object.clone(), caused_by: Some(caller.clone()) };
    let state = state.clone();
    // Stripe responds to the call without waiting for the webhook.
    tokio::spawn(async move { events::emit(&state, event).await });
    Ok(object)
}
