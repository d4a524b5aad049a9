//! Checkout Sessions as the API makes and shows them. What makes one complete is `pay`'s affair.

use super::door::Caller;
use super::errors::Error;
use super::form::{Node, Tree};
use super::rules::{self, Draft};
use super::shop::{Session, price_object};
use super::state::{Stripe, lock};
use serde_json::{Map, Value, json};

/// Members of a session that are `null` until something gives them a value, and stay so here.
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

/// `POST /v1/checkout/sessions`
pub fn create(stripe: &Stripe, caller: &Caller, params: &Tree) -> Result<Value, Error> {
    if let Some(schema) = &stripe.schema {
        schema.check("/v1/checkout/sessions", params)?;
    }
    let now = stripe.now();
    let mut shop = lock(&stripe.shop);
    let draft = rules::judge(&shop, params, &caller.version, now)?;
    let id = stripe.ids.next(if caller.livemode { "cs_live_a" } else { "cs_test_a" });
    let object = object(stripe, caller, params, &draft, &id, now);
    let session = Session {
        object: object.clone(),
        items: draft.items,
        account: caller.account.clone(),
        version: caller.version.clone(),
        request: (caller.request.clone(), caller.key.clone()),
    };
    let shown = expanded(&session, params);
    shop.sessions.insert(id, session);
    Ok(shown)
}

/// `GET /v1/checkout/sessions/{id}`
pub fn retrieve(stripe: &Stripe, id: &str, params: &Tree) -> Result<Value, Error> {
    let now = stripe.now();
    let mut shop = lock(&stripe.shop);
    let session = shop.session_mut(id)?;
    if session.object["status"] == "open" && session.object["expires_at"].as_u64().is_some_and(|at| at <= now)
    {
        close(session);
    }
    Ok(expanded(session, params))
}

/// `POST /v1/checkout/sessions/{id}/expire`
pub fn expire(stripe: &Stripe, id: &str) -> Result<Value, Error> {
    let mut shop = lock(&stripe.shop);
    let session = shop.session_mut(id)?;
    if session.object["status"] != "open" {
        let message = "Only Checkout Sessions with a status in [\"open\"] can be expired.";
        return Err(Error::invalid("session", message));
    }
    close(session);
    Ok(session.object.clone())
}

/// `GET /v1/checkout/sessions/{id}/line_items`
pub fn line_items(stripe: &Stripe, id: &str) -> Result<Value, Error> {
    Ok(items(lock(&stripe.shop).session_mut(id)?))
}

/// A value as JSON: a tree whose names are indices is a list.
pub fn json(node: &Node) -> Value {
    match node {
        Node::Text(text) => json!(text),
        Node::Tree(tree) => tree_json(tree),
    }
}

fn tree_json(tree: &Tree) -> Value {
    let list = !tree.0.is_empty() && tree.0.iter().enumerate().all(|(at, (name, _))| name.parse() == Ok(at));
    if list {
        return tree.0.iter().map(|(_, node)| json(node)).collect();
    }
    Value::Object(tree.0.iter().map(|(name, node)| (name.clone(), json(node))).collect())
}

fn close(session: &mut Session) {
    session.object["status"] = json!("expired");
    session.object["url"] = Value::Null;
}

fn expanded(session: &Session, params: &Tree) -> Value {
    let mut shown = session.object.clone();
    let wanted = params
        .tree("expand")
        .map(|list| list.0.iter().any(|(_, name)| *name == Node::Text("line_items".into())));
    if wanted == Some(true) {
        shown["line_items"] = items(session);
    }
    shown
}

fn object(stripe: &Stripe, caller: &Caller, params: &Tree, draft: &Draft, id: &str, now: u64) -> Value {
    let text = |name: &str| params.text(&[name]);
    let or_null = |name: &str| text(name).map_or(Value::Null, |text| json!(text));
    let currency = draft.items.first().map(|(price, _)| price.currency.clone());
    let paid = draft.mode != "setup";
    let mut object: Map<String, Value> =
        ALWAYS_NULL.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    // Switches and choices come back as they were given.
    for (name, node) in &params.0 {
        let echoed =
            ["billing_address_collection", "submit_type", "origin_context", "integration_identifier"];
        if echoed.contains(&name.as_str()) {
            object.insert(name.clone(), json(node));
        }
    }
    if let Some(allow) = text("allow_promotion_codes") {
        object.insert("allow_promotion_codes".into(), json!(allow == "true"));
    }
    let tax = params.tree("automatic_tax").and_then(|tax| tax.text(&["enabled"])) == Some("true");
    let metadata = params.tree("metadata").map_or_else(|| json!({}), tree_json);
    let parts = [
        json!({
            "id": id,
            "object": "checkout.session",
            "amount_subtotal": paid.then_some(draft.total),
            "amount_total": paid.then_some(draft.total),
            "automatic_tax": { "enabled": tax, "liability": null, "provider": null, "status": null },
            "cancel_url": or_null("cancel_url"),
            "client_reference_id": or_null("client_reference_id"),
            "client_secret": (!draft.hosted).then(|| format!("{id}_secret_{}", stripe.ids.next("fid"))),
            "created": now,
            "currency": currency.or_else(|| text("currency").map(str::to_owned)),
            "custom_fields": [],
            "custom_text": { "after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null },
            "customer": or_null("customer"),
            "customer_creation": (draft.mode == "payment").then(|| text("customer_creation").unwrap_or("if_required")),
            "customer_email": or_null("customer_email"),
            "expires_at": draft.expires_at,
        }),
        json!({
            "livemode": caller.livemode,
            "locale": or_null("locale"),
            "metadata": metadata,
            "mode": draft.mode,
            "payment_method_collection": if draft.mode == "payment" { "if_required" } else { "always" },
            "payment_method_types": ["card"],
            "payment_status": if paid { "unpaid" } else { "no_payment_required" },
            "phone_number_collection": { "enabled": false },
            "shipping_options": [],
            "status": "open",
            "success_url": or_null("success_url"),
            "total_details": paid.then(|| json!({ "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 })),
            "ui_mode": draft.ui_mode,
            "url": draft.hosted.then(|| format!("{}/c/pay/{id}", stripe.public)),
        }),
    ];
    for part in parts {
        if let Value::Object(members) = part {
            object.extend(members);
        }
    }
    if !draft.hosted {
        object.insert("return_url".into(), or_null("return_url"));
        object.insert(
            "redirect_on_completion".into(),
            json!(text("redirect_on_completion").unwrap_or("always")),
        );
    }
    Value::Object(object)
}

/// The list of what is bought.
fn items(session: &Session) -> Value {
    let id = session.object["id"].as_str().unwrap_or_default();
    let data: Vec<Value> = session
        .items
        .iter()
        .enumerate()
        .map(|(at, (price, quantity))| {
            let amount = price.amount * quantity;
            json!({
                "id": format!("li_{}{at}", id.trim_start_matches("cs_").replace('_', "")),
                "object": "item",
                "amount_discount": 0,
                "amount_subtotal": amount,
                "amount_tax": 0,
                "amount_total": amount,
                "currency": price.currency,
                "description": price.product,
                "price": price_object(price, session.object["livemode"] == true),
                "quantity": quantity,
            })
        })
        .collect();
    json!({ "object": "list", "data": data, "has_more": false, "url": format!("/v1/checkout/sessions/{id}/line_items") })
}
