//! Checkout Sessions as the API shows them. This module builds JSON and changes no session.

use super::auth::Caller;
use super::form::{Node, Tree};
use super::state::State;
use super::store::Session;
use super::validation::NewSession;
use serde_json::{Map, Value, json};

/// Members of a session that are `null` until something sets them. The fake sets few of them.
const ALWAYS_NULL: &[&str] = &[
    "adaptive_pricing",
    "after_expiration",
    "allow_promotion_codes",
    "billing_address_collection",
    "collected_information",
    "consent",
    "consent_collection",
    "currency_conversion",
    "customer_account",
    "customer_details",
    "discounts",
    "integration_identifier",
    "invoice",
    "invoice_creation",
    "managed_payments",
    "origin_context",
    "payment_intent",
    "payment_link",
    "payment_method_configuration_details",
    "payment_method_options",
    "permissions",
    "recovered_from",
    "saved_payment_method_options",
    "setup_intent",
    "shipping_address_collection",
    "shipping_cost",
    "submit_type",
    "subscription",
    "wallet_options",
];

/// Parameters that the session shows exactly as they were given.
const ECHOED: [&str; 4] =
    ["billing_address_collection", "submit_type", "origin_context", "integration_identifier"];

/// Builds the object of a new session. `now` is in Unix seconds.
pub fn build(state: &State, caller: &Caller, params: &Tree, new: &NewSession, id: &str, now: u64) -> Value {
    let mut object: Map<String, Value> =
        ALWAYS_NULL.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    object.extend(echoed(params));
    object.extend(members(json!({
        "id": id,
        "object": "checkout.session",
        "created": now,
        "expires_at": new.expires_at,
        "livemode": caller.livemode,
        "mode": new.mode,
        "status": "open",
        "ui_mode": new.ui_mode,
    })));
    object.extend(price_members(params, new));
    object.extend(buyer_members(params, new));
    object.extend(url_members(state, params, new, id));
    Value::Object(object)
}

/// Returns a session, with its line items if the call asks for them.
pub fn expanded(session: &Session, params: &Tree) -> Value {
    let mut object = session.object.clone();
    let expands = |list: &Tree| list.0.iter().any(|(_, name)| *name == Node::Text("line_items".into()));
    if params.tree("expand").is_some_and(expands) {
        object["line_items"] = line_items(session);
    }
    object
}

/// Returns the list of the line items of a session.
pub fn line_items(session: &Session) -> Value {
    let id = session.object["id"].as_str().unwrap_or_default();
    let data: Vec<Value> = session
        .items
        .iter()
        .enumerate()
        .map(|(at, item)| {
            let (price, amount) = (&item.price, item.amount());
            json!({
                "id": format!("li_{}{at}", id.trim_start_matches("cs_").replace('_', "")),
                "object": "item",
                "amount_discount": 0,
                "amount_subtotal": amount,
                "amount_tax": 0,
                "amount_total": amount,
                "currency": price.currency,
                "description": price.product,
                "price": price.to_json(session.object["livemode"] == true),
                "quantity": item.quantity,
            })
        })
        .collect();
    json!({ "object": "list", "data": data, "has_more": false, "url": format!("/v1/checkout/sessions/{id}/line_items") })
}

/// Returns the parameters that the session shows as they were given.
fn echoed(params: &Tree) -> Map<String, Value> {
    let given = params.0.iter().filter(|(name, _)| ECHOED.contains(&name.as_str()));
    let mut object: Map<String, Value> = given.map(|(name, node)| (name.clone(), node.to_json())).collect();
    if let Some(allow) = params.text(&["allow_promotion_codes"]) {
        object.insert("allow_promotion_codes".into(), json!(allow == "true"));
    }
    object
}

/// Returns the members about amounts and payment.
fn price_members(params: &Tree, new: &NewSession) -> Map<String, Value> {
    // A session in `setup` mode stores a payment method and charges nothing.
    let paid = new.mode != "setup";
    let currency = new.items.first().map(|item| item.price.currency.as_str());
    let tax = params.text(&["automatic_tax", "enabled"]) == Some("true");
    members(json!({
        "amount_subtotal": paid.then_some(new.total),
        "amount_total": paid.then_some(new.total),
        "automatic_tax": { "enabled": tax, "liability": null, "provider": null, "status": null },
        "currency": currency.or_else(|| params.text(&["currency"])),
        "payment_method_collection": if new.mode == "payment" { "if_required" } else { "always" },
        "payment_method_types": ["card"],
        "payment_status": if paid { "unpaid" } else { "no_payment_required" },
        "shipping_options": [],
        "total_details": paid.then(|| json!({ "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 })),
    }))
}

/// Returns the members about the buyer.
fn buyer_members(params: &Tree, new: &NewSession) -> Map<String, Value> {
    let creation = params.text(&["customer_creation"]).unwrap_or("if_required");
    members(json!({
        "client_reference_id": params.text(&["client_reference_id"]),
        "custom_fields": [],
        "custom_text": { "after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null },
        "customer": params.text(&["customer"]),
        "customer_creation": (new.mode == "payment").then_some(creation),
        "customer_email": params.text(&["customer_email"]),
        "locale": params.text(&["locale"]),
        "metadata": params.tree("metadata").map_or_else(|| json!({}), Tree::to_json),
        "phone_number_collection": { "enabled": false },
    }))
}

/// Returns the members about where the buyer pays and where they go next.
fn url_members(state: &State, params: &Tree, new: &NewSession, id: &str) -> Map<String, Value> {
    let mut object = members(json!({
        "cancel_url": params.text(&["cancel_url"]),
        "client_secret": (!new.hosted).then(|| format!("{id}_secret_{}", state.ids.next("fid"))),
        "success_url": params.text(&["success_url"]),
        "url": new.hosted.then(|| format!("{}/c/pay/{id}", state.public_url)),
    }));
    if !new.hosted {
        let redirect = params.text(&["redirect_on_completion"]).unwrap_or("always");
        object.insert("redirect_on_completion".into(), json!(redirect));
        object.insert("return_url".into(), json!(params.text(&["return_url"])));
    }
    object
}

/// Returns the members of a JSON object.
fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}
