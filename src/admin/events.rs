//! The events API: what operators see of the ledger, and what they ask of it. It requires a bearer token; without one
//! configured it does not exist. Owns paths, parameters and JSON shapes; states and what an action does belong to the
//! ledger.
//!
//! | | |
//! |---|---|
//! | `GET /api/events` | records, by pages: `endpoint state type id limit after` |
//! | `POST /api/events?endpoint=` | imports an event as if it had arrived ([`Intake::import`]) |
//! | `POST /api/events/redeliver` | redelivers what a filter matches, a page at a time |
//! | `GET`, `DELETE /api/events/{key}` | one record; deletes it |
//! | `GET /api/events/{key}/payload` | its payload, byte for byte |
//! | `POST /api/events/{key}/redeliver` | redelivers it |
//!
//! `{key}` is a percent-encoded [`EventKey`](crate::ledger::EventKey), or the id alone where only one event has it. Every action leaves one line in
//! the log. A list never holds a payload or a signature.
//!
//! Files: `query` (parameters), `actions` (redeliver, delete), `import`, `views` (JSON shapes), `error` (statuses and codes),
//! `state` (what the handlers share).

mod actions;
mod error;
mod import;
mod query;
mod state;
mod views;

use arc_swap::ArcSwapOption;
use axum::Router;
use axum::extract::{RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::sync::Arc;
use tokio::sync::Notify;

use self::error::EventsApiError;
use self::query::Query;
use self::state::{ApiState, HandlerResult, KeyPath, audit_log};
use super::response::{json, method_not_allowed, not_found};
use crate::config::Token;
use crate::endpoint::Endpoints;
use crate::intake::Intake;
use crate::ledger::Ledger;

/// The token in force, which a reload replaces. Without one the events API responds as if it did not exist.
pub type CurrentToken = Arc<ArcSwapOption<Token>>;

/// What the events API needs beyond what the admin listener has.
#[derive(Clone)]
pub struct EventsApi {
    /// The bearer token that every request must carry.
    pub token: CurrentToken,
    /// Imports the events that an operator brings.
    pub intake: Arc<Intake>,
    /// Returns the endpoints of the configuration in force.
    pub endpoints: Arc<Endpoints>,
    /// Notified when an operator made events due, so that they are delivered at once.
    pub rescan: Arc<Notify>,
}

/// Returns the routes, each of them behind the token.
pub(super) fn router(api: EventsApi, ledger: Arc<dyn Ledger>) -> Router {
    let EventsApi { token, intake, endpoints, rescan } = api;
    Router::new()
        .route("/api/events", get(list).post(import::import))
        .route("/api/events/redeliver", post(actions::redeliver_many))
        .route("/api/events/{key}", get(show).delete(actions::delete))
        .route("/api/events/{key}/payload", get(payload))
        .route("/api/events/{key}/redeliver", post(actions::redeliver))
        .with_state(Arc::new(ApiState { ledger, intake, endpoints, rescan }))
        .method_not_allowed_fallback(async || method_not_allowed())
        .layer(middleware::from_fn_with_state(token, authorize))
}

/// Passes a request on if it carries the token.
async fn authorize(State(token): State<CurrentToken>, request: Request, next: Next) -> Response {
    let Some(token) = token.load_full() else { return not_found() };
    let mut headers = request.headers().get_all(header::AUTHORIZATION).into_iter();
    let presented = match (headers.next(), headers.next()) {
        (Some(one), None) => bearer(one.as_bytes()),
        _ => None,
    };
    match presented {
        Some(presented) if token.matches(presented) => next.run(request).await,
        Some(_) | None => EventsApiError::Unauthorized.into_response(),
    }
}

/// Returns what follows the scheme `Bearer`, which is case-insensitive (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

async fn list(State(api): State<Arc<ApiState>>, RawQuery(query): RawQuery) -> HandlerResult {
    let query = Query::parse(query.as_deref(), &["endpoint", "state", "type", "id", "limit", "after"])?;
    let (filter, after) = (query.filter()?, query.one("after"));
    let page = api.page(&filter, after, query.limit()?).await?;
    let endpoints = api.endpoints_to_choose(&filter, after, &page);
    Ok(json(StatusCode::OK, &views::ListView::new(&page, endpoints)))
}

async fn show(State(api): State<Arc<ApiState>>, key: KeyPath) -> HandlerResult {
    let (record, stored) = api.get(&api.key(key).await?).await?;
    Ok(json(StatusCode::OK, &views::DetailView::new(&record, stored.as_ref())))
}

async fn payload(State(api): State<Arc<ApiState>>, key: KeyPath) -> HandlerResult {
    let (record, stored) = api.get(&api.key(key).await?).await?;
    // A payload holds customers' data: reading one is an action, too.
    let result = if stored.is_some() { "shown" } else { "payload_gone" };
    audit_log("payload", &record.key, result);
    let body = stored.ok_or(EventsApiError::PayloadGone { reading: true, state: record.state })?.body;
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

#[cfg(test)]
mod tests;
