//! Events: made, signed, sent to the webhook and to `stripe listen`, kept and listed. When something happens is not
//! decided here.

use super::door::VERSION;
use super::errors::Error;
use super::form::{Node, Tree};
use super::state::{Stripe, lock};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::sync::Arc;
use std::time::Duration;

/// How long Stripe waits for a webhook's answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// An event that is kept.
#[derive(Debug, Clone)]
pub struct Event {
    /// As the API shows it, and as it is sent.
    pub object: Value,
    /// Whether every webhook took it; until one has, it counts as one that was not delivered.
    pub delivered: bool,
}

/// What an event is to say.
#[derive(Debug, Default)]
pub struct Happening<'a> {
    /// `checkout.session.completed`
    pub kind: &'a str,
    /// What it is about.
    pub object: Value,
    /// The connected account, if it is not the caller's own.
    pub account: Option<String>,
    /// The version whose words the object speaks.
    pub version: Option<String>,
    /// The call that caused it, and its idempotency key.
    pub request: Option<(String, Option<String>)>,
}

/// A `Stripe-Signature` for a payload, at this time in Unix seconds (docs.stripe.com/webhooks/signature).
pub fn sign(secret: &str, timestamp: u64, payload: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(format!("{timestamp}.").as_bytes());
    mac.update(payload);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={timestamp},v1={hex}")
}

/// Makes an event, hands it to `stripe listen`, sends it to the webhook and waits for that. Hands back its id.
pub async fn happens(stripe: &Arc<Stripe>, happening: Happening<'_>) -> String {
    let event = make(stripe, happening);
    let id = keep(stripe, &event, lock(&stripe.webhook).is_none());
    stripe.listeners.tell(&payload(&event), stripe.now());
    send(stripe, &id).await;
    id
}

/// Makes an event that could not be delivered, and hands it back.
pub fn missed(stripe: &Stripe, kind: &str, object: Value) -> Value {
    let event = make(stripe, Happening { kind, object, ..Default::default() });
    keep(stripe, &event, false);
    event
}

/// Sends an event to the webhook, once, and hands back the status of its answer; `None` without a webhook or an answer.
pub async fn send(stripe: &Stripe, id: &str) -> Option<u16> {
    let (url, secret) = lock(&stripe.webhook).clone()?;
    let body = payload(&lock(&stripe.shop).events().find(|event| event.object["id"] == id)?.object);
    let answer = stripe
        .client
        .post(url)
        .header("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
        .header("Content-Type", "application/json; charset=utf-8")
        .header("Accept", "*/*; q=0.5, application/xml")
        .header("Cache-Control", "no-cache")
        .header("Stripe-Signature", sign(&secret, stripe.now(), &body))
        .timeout(PATIENCE)
        .body(body)
        .send()
        .await;
    let status = answer.ok()?.status();
    if status.is_success() {
        let mut shop = lock(&stripe.shop);
        if let Some(event) = shop.events.iter_mut().find(|event| event.object["id"] == id) {
            event.delivered = true;
        }
    }
    Some(status.as_u16())
}

/// `GET /v1/events/{id}`
pub fn retrieve(stripe: &Stripe, id: &str) -> Result<Value, Error> {
    let shop = lock(&stripe.shop);
    let event = shop.events().find(|event| event.object["id"] == id);
    event.map(shown).ok_or_else(|| Error::no_such("event", id, "id").status(404))
}

/// `GET /v1/events`, the newest first (docs.stripe.com/api/events/list).
pub fn list(stripe: &Stripe, params: &Tree) -> Result<Value, Error> {
    for (name, _) in &params.0 {
        let known = [
            "created",
            "delivery_success",
            "ending_before",
            "expand",
            "limit",
            "starting_after",
            "type",
            "types",
        ];
        if !known.contains(&name.as_str()) {
            return Err(Error::unknown(name));
        }
    }
    let limit = match params.text(&["limit"]) {
        None => 10,
        Some(text) => match text.parse() {
            Ok(limit @ 1..=100) => limit,
            _ => return Err(Error::invalid("limit", "Must be between 1 and 100")),
        },
    };
    let shop = lock(&stripe.shop);
    let place = |name: &str| match params.text(&[name]) {
        None => Ok(None),
        Some(id) => match shop.events().position(|event| event.object["id"] == id) {
            Some(at) => Ok(Some(at)),
            None => Err(Error::no_such("event", id, name)),
        },
    };
    let (after, before) = (place("starting_after")?, place("ending_before")?);
    let filter = Filter::read(params)?;
    let fits: Vec<&Event> = shop
        .events()
        .enumerate()
        // Newest first: what comes after an event is older.
        .filter(|(at, _)| after.is_none_or(|after| *at < after) && before.is_none_or(|before| *at > before))
        .map(|(_, event)| event)
        .filter(|event| filter.admits(event))
        .collect();
    let has_more = fits.len() > limit;
    // Paging backwards gives those next to `ending_before`.
    let page: Vec<Value> = match before {
        Some(_) => fits.iter().take(limit).rev().map(|event| shown(event)).collect(),
        None => fits.iter().rev().take(limit).map(|event| shown(event)).collect(),
    };
    Ok(json!({ "object": "list", "data": page, "has_more": has_more, "url": "/v1/events" }))
}

struct Filter {
    delivered: Option<bool>,
    types: Option<Vec<String>>,
    /// Bounds on `created`: name and Unix seconds.
    created: Vec<(String, u64)>,
}

impl Filter {
    fn read(params: &Tree) -> Result<Filter, Error> {
        let delivered = match params.text(&["delivery_success"]) {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) => return Err(Error::invalid("delivery_success", "Invalid boolean")),
        };
        let types = match (params.text(&["type"]), params.tree("types")) {
            (Some(_), Some(_)) => return Err(Error::invalid("type", "Pass either type or types")),
            (Some(kind), None) => Some(vec![kind.to_owned()]),
            (None, Some(list)) if list.0.len() > 20 => {
                return Err(Error::invalid("types", "At most 20 types"));
            }
            (None, Some(list)) => {
                let text = |(_, node): &(String, Node)| match node {
                    Node::Text(kind) => Some(kind.clone()),
                    Node::Tree(_) => None,
                };
                Some(list.0.iter().filter_map(text).collect())
            }
            (None, None) => None,
        };
        let second =
            |param: &str, text: &str| text.parse().map_err(|_| Error::invalid(param, "Invalid integer"));
        let mut created = vec![];
        if let Some(text) = params.text(&["created"]) {
            created.push(("eq".to_owned(), second("created", text)?));
        }
        for (name, node) in params.tree("created").map(|bounds| bounds.0.as_slice()).unwrap_or_default() {
            let param = format!("created[{name}]");
            match node {
                Node::Text(text) if ["gt", "gte", "lt", "lte"].contains(&name.as_str()) => {
                    created.push((name.clone(), second(&param, text)?));
                }
                Node::Text(_) | Node::Tree(_) => return Err(Error::unknown(&param)),
            }
        }
        Ok(Filter { delivered, types, created })
    }

    fn admits(&self, event: &Event) -> bool {
        let kind = event.object["type"].as_str().unwrap_or_default();
        let created = event.object["created"].as_u64().unwrap_or_default();
        // `*` at the end of a type stands for all that begin so.
        let named = |name: &String| match name.strip_suffix('*') {
            Some(start) => kind.starts_with(start),
            None => kind == name,
        };
        self.delivered.is_none_or(|delivered| event.delivered == delivered)
            && self.types.as_ref().is_none_or(|types| types.iter().any(named))
            && self.created.iter().all(|(bound, at)| match bound.as_str() {
                "gt" => created > *at,
                "gte" => created >= *at,
                "lt" => created < *at,
                "lte" => created <= *at,
                _ => created == *at,
            })
    }
}

fn make(stripe: &Stripe, happening: Happening<'_>) -> Value {
    let (request, key) = happening.request.unzip();
    let mut event = json!({
        "id": stripe.ids.next("evt_"),
        "object": "event",
        "api_version": happening.version.as_deref().unwrap_or(VERSION),
        "created": stripe.now(),
        "livemode": happening.object["livemode"] == true,
        "data": { "object": happening.object },
        "pending_webhooks": 1,
        "request": { "id": request, "idempotency_key": key.flatten() },
        "type": happening.kind,
    });
    if let Some(account) = happening.account {
        event["account"] = json!(account);
    }
    event
}

fn keep(stripe: &Stripe, event: &Value, delivered: bool) -> String {
    lock(&stripe.shop).events.push(Event { object: event.clone(), delivered });
    event["id"].as_str().unwrap_or_default().to_owned()
}

fn shown(event: &Event) -> Value {
    let mut object = event.object.clone();
    object["pending_webhooks"] = json!(u8::from(!event.delivered));
    object
}

/// The bytes of the wire: two spaces, no newline at the end.
fn payload(event: &Value) -> Vec<u8> {
    format!("{event:#}").into_bytes()
}
