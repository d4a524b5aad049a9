//! Events: created, signed, stored, and sent to the webhook and to `stripe listen`. Callers decide when an event happens.

use super::auth::{Caller, DEFAULT_VERSION};
use super::lock::lock;
use super::signature::sign;
use super::state::State;
use super::store::Event;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long Stripe waits for a webhook's response.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// What an event is about.
#[derive(Debug)]
pub struct NewEvent<'a> {
    /// The type: `checkout.session.completed`.
    pub event_type: &'a str,
    /// The object that the event is about, in the API version of `caused_by`.
    pub object: Value,
    /// The call that caused the event, or `None` if Stripe caused it.
    pub caused_by: Option<Caller>,
}

/// Stores an event and sends it to `stripe listen` and to the webhook. Returns its id when the webhook has answered.
pub async fn emit(state: &Arc<State>, event: NewEvent<'_>) -> String {
    let event = build(state, event);
    let id = store(state, &event, lock(&state.webhook).is_none());
    state.listeners.broadcast(&payload(&event), state.now());
    send(state, &id).await;
    id
}

/// Stores an event that could not be delivered, and returns it.
pub fn emit_undelivered(state: &State, event: NewEvent<'_>) -> Value {
    let event = build(state, event);
    store(state, &event, false);
    event
}

/// Stores an event as it is. `delivered` says whether its webhook has accepted it.
pub fn record(state: &State, event: &Value, delivered: bool) {
    store(state, event, delivered);
}

/// Sends a stored event to the webhook once, and marks it as delivered if the webhook accepts it.
async fn send(state: &State, id: &str) {
    let Some((url, secret)) = lock(&state.webhook).clone() else { return };
    let Some(body) = lock(&state.store).event(id).map(|event| payload(&event.object)) else { return };
    let response = state
        .client
        .post(url)
        .header("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
        .header("Content-Type", "application/json; charset=utf-8")
        .header("Accept", "*/*; q=0.5, application/xml")
        .header("Cache-Control", "no-cache")
        .header("Stripe-Signature", sign(&secret, state.now(), &body))
        .timeout(WEBHOOK_TIMEOUT)
        .body(body)
        .send()
        .await;
    if response.is_ok_and(|response| response.status().is_success())
        && let Some(event) = lock(&state.store).event_mut(id)
    {
        event.delivered = true;
    }
}

fn build(state: &State, new: NewEvent<'_>) -> Value {
    let caller = new.caused_by.as_ref();
    let mut event = json!({
        "id": state.ids.next("evt_"),
        "object": "event",
        "api_version": caller.map_or(DEFAULT_VERSION, |caller| &caller.version),
        "created": state.now(),
        "livemode": new.object["livemode"] == true,
        "data": { "object": new.object },
        "pending_webhooks": 1,
        "request": {
            "id": caller.map(|caller| &caller.request_id),
            "idempotency_key": caller.and_then(|caller| caller.idempotency_key.as_ref()),
        },
        "type": new.event_type,
    });
    if let Some(account) = caller.and_then(|caller| caller.account.as_ref()) {
        event["account"] = json!(account);
    }
    event
}

/// Stores an event and returns its id.
fn store(state: &State, event: &Value, delivered: bool) -> String {
    lock(&state.store).events.push(Event { object: event.clone(), delivered });
    event["id"].as_str().unwrap_or_default().to_owned()
}

/// Returns the bytes that are signed and sent: indented by two spaces, without a newline at the end.
fn payload(event: &Value) -> Vec<u8> {
    format!("{event:#}").into_bytes()
}
