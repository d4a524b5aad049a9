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
//! `{key}` is a percent-encoded [`EventKey`], or the id alone where only one event has it. Every action leaves one line in
//! the log. A list never holds a payload or a signature.
//!
//! Files: `query` (parameters), `actions` (redeliver, delete), `import`, `views` (JSON shapes), `error` (statuses and codes).

mod actions;
mod error;
mod import;
mod query;
mod views;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

use self::error::EventsApiError;
use self::query::Query;
use super::json;
use crate::config::Token;
use crate::endpoint::Endpoints;
use crate::intake::Intake;
use crate::ledger::{EventKey, Ledger, LedgerError, Page, Record, RecordFilter, StoredRequest};

/// The maximum time of one ledger call: a filter that matches little makes the ledger read many records.
const LEDGER_DEADLINE: Duration = Duration::from_secs(10);
/// The page size of a search by id. Stripe sends an event to a handful of endpoints at most.
const MAX_SAME_ID: usize = 100;

/// What the events API needs beyond what the admin listener has.
#[derive(Clone)]
pub struct EventsApi {
    /// The bearer token that every request must carry.
    pub token: Token,
    /// Imports the events that an operator brings.
    pub intake: Arc<Intake>,
    /// Returns the endpoints of the configuration in force.
    pub endpoints: Arc<Endpoints>,
    /// Notified when an operator made events due, so that they are delivered at once.
    pub rescan: Arc<Notify>,
}

/// What the handlers share.
struct ApiState {
    ledger: Arc<dyn Ledger>,
    intake: Arc<Intake>,
    endpoints: Arc<Endpoints>,
    rescan: Arc<Notify>,
}

type ApiResponse = Result<Response, EventsApiError>;
type KeyPath = Result<Path<String>, PathRejection>;

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
        .layer(middleware::from_fn_with_state(token, authorize))
}

/// Passes a request on if it carries the token.
async fn authorize(State(token): State<Token>, request: Request, next: Next) -> Response {
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

async fn list(State(api): State<Arc<ApiState>>, RawQuery(query): RawQuery) -> ApiResponse {
    let query = Query::parse(query.as_deref(), &["endpoint", "state", "type", "id", "limit", "after"])?;
    let page = api.page(&query.filter()?, query.one("after"), query.limit()?).await?;
    Ok(json(StatusCode::OK, &views::ListView::new(&page)))
}

async fn show(State(api): State<Arc<ApiState>>, key: KeyPath) -> ApiResponse {
    let (record, stored) = api.get(&api.key(key).await?).await?;
    Ok(json(StatusCode::OK, &views::DetailView::new(&record, stored.as_ref())))
}

async fn payload(State(api): State<Arc<ApiState>>, key: KeyPath) -> ApiResponse {
    let (record, stored) = api.get(&api.key(key).await?).await?;
    // A payload holds customers' data: reading one is an action, too.
    let result = if stored.is_some() { "shown" } else { "payload_gone" };
    audit_log("payload", &record.key, result);
    let body = stored.ok_or(EventsApiError::NoPayload)?.body;
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

impl ApiState {
    /// Returns the key of the event that a path names, by key or by id.
    async fn key(&self, path: KeyPath) -> Result<EventKey, EventsApiError> {
        let Path(text) = path.map_err(|_| EventsApiError::Unknown)?;
        if let Ok(key) = text.parse() {
            return Ok(key);
        }
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(EventsApiError::Unknown);
        }
        let found = with_deadline(self.keys_with_id(text)).await?;
        if found.len() > 1 {
            let mut keys: Vec<_> = found.iter().map(EventKey::to_string).collect();
            keys.sort_unstable();
            return Err(EventsApiError::Ambiguous(keys));
        }
        found.into_iter().next().ok_or(EventsApiError::Unknown)
    }

    /// Returns the keys of all events that have this id.
    async fn keys_with_id(&self, id: String) -> Result<HashSet<EventKey>, EventsApiError> {
        let filter = RecordFilter { id: Some(id), ..RecordFilter::default() };
        let (mut found, mut after) = (HashSet::new(), None);
        loop {
            let page = self.page(&filter, after.as_deref(), MAX_SAME_ID).await?;
            found.extend(page.records.into_iter().map(|record| record.key));
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }

    async fn get(&self, key: &EventKey) -> Result<(Record, Option<StoredRequest>), EventsApiError> {
        with_deadline(self.ledger.get(key)).await?.ok_or(EventsApiError::Unknown)
    }

    async fn page(
        &self,
        filter: &RecordFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, EventsApiError> {
        let page = with_deadline(self.ledger.list(filter, after, limit)).await;
        page.map_err(|error| EventsApiError::from_page_error(error, after, self.ledger.health()))
    }
}

/// Bounds a ledger call by [`LEDGER_DEADLINE`].
async fn with_deadline<T, E: From<LedgerError>>(call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let late = |_| Err(LedgerError::new("it did not answer in time").into());
    timeout(LEDGER_DEADLINE, call).await.unwrap_or_else(late)
}

/// Writes the log line of an operator's action.
fn audit_log(action: &str, key: &EventKey, result: &str) {
    tracing::info!(
        by = "admin",
        action,
        endpoint = &*key.endpoint,
        event.id = &*key.id,
        event.query = (!key.query.is_empty()).then_some(&*key.query),
        result,
        "operator action on an event"
    );
}

#[cfg(test)]
mod tests;
