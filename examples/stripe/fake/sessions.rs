//! The endpoints of Checkout Sessions: create, retrieve, expire, list line items. `payment` completes a session.

use super::auth::Caller;
use super::errors::Error;
use super::form::Tree;
use super::lock::lock;
use super::session_object;
use super::state::State;
use super::store::Session;
use super::validation;
use serde_json::{Value, json};

/// Handles `POST /v1/checkout/sessions`.
pub fn create(state: &State, caller: &Caller, params: &Tree) -> Result<Value, Error> {
    if let Some(schema) = &state.schema {
        schema.check("/v1/checkout/sessions", params)?;
    }
    let now = state.now();
    let mut store = lock(&state.store);
    let new = validation::validate(&store.catalog, params, &caller.version, now)?;
    let id = state.ids.next(if caller.livemode { "cs_live_a" } else { "cs_test_a" });
    let object = session_object::build(state, caller, params, &new, &id, now);
    let session = Session { object, items: new.items, created_by: caller.clone() };
    let displayed = session_object::expanded(&session, params);
    store.sessions.insert(id, session);
    Ok(displayed)
}

/// Handles `GET /v1/checkout/sessions/{id}`. A session whose time is over expires when it is looked at.
/// A session of another account does not exist for the caller.
pub fn retrieve(state: &State, caller: &Caller, id: &str, params: &Tree) -> Result<Value, Error> {
    let now = state.now();
    let mut store = lock(&state.store);
    let session = store.session_mut(id)?;
    if session.created_by.account != caller.account {
        return Err(Error::not_found("checkout.session", id, "session"));
    }
    let is_over = session.object["expires_at"].as_u64().is_some_and(|time| time <= now);
    if session.object["status"] == "open" && is_over {
        set_expired(session);
    }
    Ok(session_object::expanded(session, params))
}

/// Handles `POST /v1/checkout/sessions/{id}/expire`.
pub fn expire(state: &State, id: &str) -> Result<Value, Error> {
    let mut store = lock(&state.store);
    let session = store.session_mut(id)?;
    if session.object["status"] != "open" {
        return Err(Error::session_not_expirable());
    }
    set_expired(session);
    Ok(session.object.clone())
}

/// Handles `GET /v1/checkout/sessions/{id}/line_items`.
pub fn line_items(state: &State, id: &str) -> Result<Value, Error> {
    Ok(session_object::line_items(lock(&state.store).session_mut(id)?))
}

fn set_expired(session: &mut Session) {
    session.object["status"] = json!("expired");
    session.object["url"] = Value::Null;
}
