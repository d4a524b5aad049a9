//! The API: authentication, injected faults, idempotency, then the endpoint. This module knows which endpoint has which
//! path, and nothing of what an endpoint does.

use super::auth::{self, Caller};
use super::call::Call;
use super::errors::Error;
use super::fault::{Fault, FaultAction};
use super::form::Tree;
use super::idempotency::KeyClaim;
use super::lock::lock;
use super::response::{Response, ResponseAction};
use super::state::State;
use super::{event_list, objects, payment_page, sessions, thin_event_list};
use std::sync::Arc;

/// Stripe's limit for an idempotency key, in bytes.
const MAX_KEY_LENGTH: usize = 255;

/// Answers a call, or does what its fault says instead.
pub async fn handle(state: &Arc<State>, call: Call, fault: Option<Fault>) -> ResponseAction {
    state.log_call(&call);
    if !call.path().starts_with("/v1/") && !call.path().starts_with("/v2/") {
        return ResponseAction::Send(payment_page::handle(state, &call).await);
    }
    let fault = fault.unwrap_or(Fault::NONE);
    let request_id = state.ids.next("req_");
    let caller = match auth::authenticate(&call, request_id.clone()) {
        Ok(caller) => caller,
        Err(error) => {
            state.requeue_fault(fault);
            return ResponseAction::Send(Response::from(error).header("Request-Id", &request_id));
        }
    };
    match respond(state, &call, &caller, fault).await {
        ResponseAction::Send(response) => ResponseAction::Send(with_call_headers(response, &caller)),
        ResponseAction::SendHalf(response) => ResponseAction::SendHalf(with_call_headers(response, &caller)),
        ResponseAction::HangUp => ResponseAction::HangUp,
    }
}

/// Adds the headers that every API response has.
fn with_call_headers(response: Response, caller: &Caller) -> Response {
    let response =
        response.header("Request-Id", &caller.request_id).header("Stripe-Version", &caller.version);
    match &caller.idempotency_key {
        Some(key) => response.header("Idempotency-Key", key),
        None => response,
    }
}

async fn respond(state: &Arc<State>, call: &Call, caller: &Caller, fault: Fault) -> ResponseAction {
    // Stripe takes the key when the call arrives, so a second call finds it in use during the delay.
    let claimed = claim_key(state, call, caller);
    let Fault { delay, action } = fault;
    delay.wait().await;
    let ClaimedKey { key, replay } = match claimed {
        Ok(claimed) => claimed,
        Err(error) => {
            state.requeue_fault(Fault::immediate(action));
            return ResponseAction::Send(error.into());
        }
    };
    let key = key.as_deref();
    match action {
        FaultAction::Proceed => ResponseAction::Send(replay_or_work(state, call, caller, key, replay).await),
        FaultAction::Truncate => {
            ResponseAction::SendHalf(replay_or_work(state, call, caller, key, replay).await)
        }
        FaultAction::DropAfterWork => {
            replay_or_work(state, call, caller, key, replay).await;
            ResponseAction::HangUp
        }
        FaultAction::Respond { response, stored } => ResponseAction::Send(match replay {
            Some(replay) => {
                state.requeue_fault(Fault::respond(response, stored));
                replay
            }
            None => finish_key(state, key, response, stored),
        }),
        FaultAction::DropUnread | FaultAction::DropRead => {
            if let (Some(key), None) = (key, replay) {
                lock(&state.idempotency_keys).release(key);
            }
            ResponseAction::HangUp
        }
    }
}

/// Returns the stored response, or does the work and stores its response.
async fn replay_or_work(
    state: &Arc<State>,
    call: &Call,
    caller: &Caller,
    key: Option<&str>,
    replay: Option<Response>,
) -> Response {
    match replay {
        Some(response) => response,
        None => match route(state, call, caller).await {
            Ok(response) => finish_key(state, key, response, true),
            // Validation failed before any work, and Stripe does not store such a response.
            Err(error) => finish_key(state, key, error.into(), false),
        },
    }
}

/// The idempotency key of a call, claimed for it.
struct ClaimedKey {
    /// The key, or `None` if the call has none that counts.
    key: Option<String>,
    /// The response that an earlier call with the key got.
    replay: Option<Response>,
}

/// Claims the idempotency key of a call.
fn claim_key(state: &State, call: &Call, caller: &Caller) -> Result<ClaimedKey, Error> {
    // Stripe ignores the key of every method but POST, because the others change nothing.
    let Some(key) = caller.idempotency_key.as_ref().filter(|_| call.method == "POST") else {
        return Ok(ClaimedKey { key: None, replay: None });
    };
    if key.len() > MAX_KEY_LENGTH {
        return Err(Error::idempotency_key_too_long());
    }
    let key = format!("{:?} {} {key}", caller.account, caller.livemode);
    let mut params = call.params();
    params.sort();
    let fingerprint = format!("{} {} {params:?}", call.method, call.target);
    match lock(&state.idempotency_keys).claim(&key, &fingerprint, state.now()) {
        KeyClaim::New => Ok(ClaimedKey { key: Some(key), replay: None }),
        KeyClaim::Replay(response) => {
            Ok(ClaimedKey { key: Some(key), replay: Some(response.header("Idempotent-Replayed", "true")) })
        }
        KeyClaim::InUse => Err(Error::idempotency_key_in_use()),
        KeyClaim::Mismatch => Err(Error::idempotency_params_mismatch()),
    }
}

/// Stores a new response under its key, or releases the key, and returns the response.
fn finish_key(state: &State, key: Option<&str>, response: Response, stored: bool) -> Response {
    if let Some(key) = key {
        let mut keys = lock(&state.idempotency_keys);
        if stored { keys.store(key, &response) } else { keys.release(key) }
    }
    response
}

/// Calls the endpoint. An error means that no work was done.
async fn route(state: &Arc<State>, call: &Call, caller: &Caller) -> Result<Response, Error> {
    let params = Tree::parse(if call.method == "GET" { call.query() } else { &call.body })?;
    let mut segments = call.path().split('/').skip(1);
    let version = segments.next();
    let segments: Vec<&str> = segments.collect();
    if version == Some("v2") {
        return match (call.method.as_str(), segments.as_slice()) {
            ("GET", ["core", "events"]) => {
                Ok(Response::json(200, &thin_event_list::list(state, caller, &params)?))
            }
            _ => Err(Error::new(404, "invalid_request_error", "", "Unrecognized request URL.")),
        };
    }
    let object = match (call.method.as_str(), segments.as_slice()) {
        ("POST", ["checkout", "sessions"]) => sessions::create(state, caller, &params)?,
        ("GET", ["checkout", "sessions", id]) => sessions::retrieve(state, caller, id, &params)?,
        ("GET", ["checkout", "sessions", id, "line_items"]) => sessions::line_items(state, id)?,
        ("POST", ["checkout", "sessions", id, "expire"]) => sessions::expire(state, id)?,
        ("GET", ["events"]) => event_list::list(state, caller, &params)?,
        ("GET", ["events", id]) => event_list::retrieve(state, id)?,
        ("POST", ["stripecli", "sessions"]) => state.listeners.session(&state.address.to_string()),
        _ => objects::handle(state, caller, &call.method, &segments, &params).await?,
    };
    Ok(Response::json(200, &object))
}
