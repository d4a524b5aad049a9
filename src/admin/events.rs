//! The events API: what operators see of the ledger, and what they ask of it. Behind a bearer token, and not there
//! without one. It owns paths, words and shapes; states and what an action does are the ledger's.
//!
//! | | |
//! |---|---|
//! | `GET /api/events` | records, by pages: `endpoint state type id limit after` |
//! | `POST /api/events?endpoint=` | takes an event in as if it had come ([`Importer`]) |
//! | `POST /api/events/redeliver` | asks again for what a filter lets through, a page at a time |
//! | `GET`, `DELETE /api/events/{key}` | one record; no record of it any more |
//! | `GET /api/events/{key}/payload` | its payload, byte for byte |
//! | `POST /api/events/{key}/redeliver` | asks for it again |
//!
//! `{key}` is a percent-encoded [`EventKey`], or the id alone where one event has it. Every action leaves one line in
//! the log; lists never hold a payload or a signature.

mod act;
mod query;
mod refusal;
mod shape;
mod take;

pub use take::{Importer, Place, Taken};

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

use self::query::Query;
use self::refusal::Refusal;
use super::json;
use crate::config::Token;
use crate::ledger::{EventKey, Ledger, LedgerError, Page, Record, RecordFilter, StoredRequest};

/// How long the ledger may take for one answer: a filter that lets little through makes it look at many records.
const PATIENCE: Duration = Duration::from_secs(10);
/// Records looked for under one id; Stripe sends an event to a handful of endpoints at most.
const ALIKE: usize = 100;

/// What the events API needs beyond what the admin listener has.
#[derive(Clone)]
pub struct Events {
    /// What opens it.
    pub token: Token,
    /// Takes in what an operator brings.
    pub take_in: Arc<Importer>,
    /// Rung when an event is due, so that it is delivered at once.
    pub bell: Arc<Notify>,
}

/// What answers.
struct Desk {
    ledger: Arc<dyn Ledger>,
    take_in: Arc<Importer>,
    bell: Arc<Notify>,
}

type Answer = Result<Response, Refusal>;
type Named = Result<Path<String>, PathRejection>;

/// The routes, none of which can be reached without the token.
pub(super) fn router(events: Events, ledger: Arc<dyn Ledger>) -> Router {
    let Events { token, take_in, bell } = events;
    Router::new()
        .route("/api/events", get(list).post(take::take))
        .route("/api/events/redeliver", post(act::redeliver_many))
        .route("/api/events/{key}", get(show).delete(act::forget))
        .route("/api/events/{key}/payload", get(payload))
        .route("/api/events/{key}/redeliver", post(act::redeliver))
        .with_state(Arc::new(Desk { ledger, take_in, bell }))
        .layer(middleware::from_fn_with_state(token, admit))
}

/// Lets through who has the token.
async fn admit(State(token): State<Token>, request: Request, next: Next) -> Response {
    let mut given = request.headers().get_all(header::AUTHORIZATION).into_iter();
    let bearer = match (given.next(), given.next()) {
        (Some(one), None) => bearer(one.as_bytes()),
        _ => None,
    };
    match bearer {
        Some(given) if token.is(given) => next.run(request).await,
        Some(_) | None => Refusal::Unauthorized.into_response(),
    }
}

/// What follows the word `Bearer`, in whatever case (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

async fn list(State(desk): State<Arc<Desk>>, RawQuery(query): RawQuery) -> Answer {
    let query = Query::parse(query.as_deref(), &["endpoint", "state", "type", "id", "limit", "after"])?;
    let page = desk.page(&query.filter()?, query.one("after"), query.limit()?).await?;
    Ok(json(StatusCode::OK, &shape::page(&page)))
}

async fn show(State(desk): State<Arc<Desk>>, key: Named) -> Answer {
    let (record, parcel) = desk.find(&desk.key(key).await?).await?;
    Ok(json(StatusCode::OK, &shape::whole(&record, parcel.as_ref())))
}

async fn payload(State(desk): State<Arc<Desk>>, key: Named) -> Answer {
    let (record, parcel) = desk.find(&desk.key(key).await?).await?;
    let shown = if parcel.is_some() { "shown" } else { "payload_gone" };
    note("payload", &record.key, shown);
    let body = parcel.ok_or(Refusal::NoPayload)?.body;
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}

impl Desk {
    /// The event that a path names.
    async fn key(&self, named: Named) -> Result<EventKey, Refusal> {
        let Path(text) = named.map_err(|_| Refusal::Unknown)?;
        if let Ok(key) = text.parse() {
            return Ok(key);
        }
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(Refusal::Unknown);
        }
        let found = in_time(self.alike(text)).await?;
        if found.len() > 1 {
            let mut keys: Vec<_> = found.iter().map(EventKey::to_string).collect();
            keys.sort_unstable();
            return Err(Refusal::Ambiguous(keys));
        }
        found.into_iter().next().ok_or(Refusal::Unknown)
    }

    /// The keys of all events that have this id.
    async fn alike(&self, id: String) -> Result<HashSet<EventKey>, Refusal> {
        let filter = RecordFilter { id: Some(id), ..RecordFilter::default() };
        let (mut found, mut after) = (HashSet::new(), None);
        loop {
            let page = self.page(&filter, after.as_deref(), ALIKE).await?;
            found.extend(page.records.into_iter().map(|record| record.key));
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }

    async fn find(&self, key: &EventKey) -> Result<(Record, Option<StoredRequest>), Refusal> {
        in_time(self.ledger.get(key)).await?.ok_or(Refusal::Unknown)
    }

    async fn page(&self, filter: &RecordFilter, after: Option<&str>, most: usize) -> Result<Page, Refusal> {
        let page = in_time(self.ledger.list(filter, after, most)).await;
        page.map_err(|error| Refusal::of_page(error, after, self.ledger.health()))
    }
}

/// What the ledger says, unless it takes too long to.
async fn in_time<T, E: From<LedgerError>>(asked: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let late = |_| Err(LedgerError::new("it did not answer in time").into());
    timeout(PATIENCE, asked).await.unwrap_or_else(late)
}

/// The one line that an operator's action leaves.
fn note(action: &str, key: &EventKey, result: &str) {
    tracing::info!(
        by = "admin",
        action,
        endpoint = &*key.endpoint,
        event.id = &*key.id,
        event.query = (!key.query.is_empty()).then_some(&*key.query),
        result,
        "operator"
    );
}

#[cfg(test)]
mod tests;
