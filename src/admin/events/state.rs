//! [`ApiState`]: the ledger as the handlers of the events API use it, with a deadline for each call, and the log line of an
//! operator's action.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::Response;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::error::EventsApiError;
use crate::endpoint::Endpoints;
use crate::intake::Intake;
use crate::ledger::{EventKey, Ledger, LedgerError, Page, Record, RecordFilter, StoredRequest};

/// The maximum time of one ledger call: a filter that matches little makes the ledger read many records.
const LEDGER_DEADLINE: Duration = Duration::from_secs(10);
/// The page size of a search by id. Stripe sends an event to a handful of endpoints at most.
const MAX_SAME_ID: usize = 100;

/// The parts that every handler of the events API uses.
pub(super) struct ApiState {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) intake: Arc<Intake>,
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) rescan: Arc<Notify>,
}

/// A handler's response, or why it refuses the request.
pub(super) type HandlerResult = Result<Response, EventsApiError>;
/// The `{key}` of a path, if it can be decoded.
pub(super) type KeyPath = Result<Path<String>, PathRejection>;

impl ApiState {
    /// Returns the key of the event that a path names, by key or by id.
    pub(super) async fn key(&self, path: KeyPath) -> Result<EventKey, EventsApiError> {
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

    pub(super) async fn get(
        &self,
        key: &EventKey,
    ) -> Result<(Record, Option<StoredRequest>), EventsApiError> {
        with_deadline(self.ledger.get(key)).await?.ok_or(EventsApiError::Unknown)
    }

    pub(super) async fn page(
        &self,
        filter: &RecordFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, EventsApiError> {
        let page = with_deadline(self.ledger.list(filter, after, limit)).await;
        page.map_err(|error| EventsApiError::from_page_error(error, after, self.ledger.health()))
    }

    /// Returns the names of the configured endpoints if a search found nothing at an endpoint that is none of them: its
    /// name is probably misspelled. An endpoint that left the configuration may still have records.
    pub(super) fn endpoints_to_choose(
        &self,
        filter: &RecordFilter,
        after: Option<&str>,
        page: &Page,
    ) -> Option<Vec<Box<str>>> {
        let name = filter.endpoint.as_ref()?;
        let found_nothing = after.is_none() && page.records.is_empty() && page.next.is_none();
        let names = self.endpoint_names();
        (found_nothing && !names.iter().any(|known| **known == **name)).then_some(names)
    }

    /// Returns the error that names every endpoint of the configuration in force.
    pub(super) fn no_endpoint(&self) -> EventsApiError {
        EventsApiError::NoEndpoint(self.endpoint_names())
    }

    fn endpoint_names(&self) -> Vec<Box<str>> {
        (self.endpoints)().iter().map(|endpoint| (*endpoint.name).into()).collect()
    }
}

/// Bounds a ledger call by [`LEDGER_DEADLINE`].
pub(super) async fn with_deadline<T, E: From<LedgerError>>(
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let timed_out = |_| Err(LedgerError::new("it did not answer in time").into());
    timeout(LEDGER_DEADLINE, call).await.unwrap_or_else(timed_out)
}

/// Writes the log line of an operator's action.
pub(super) fn audit_log(action: &str, key: &EventKey, result: &str) {
    tracing::info!(
        by = "admin",
        action,
        endpoint = &*key.endpoint,
        event.id = &*key.id,
        event.segments = (!key.segments.is_empty()).then_some(&*key.segments),
        event.query = (!key.query.is_empty()).then_some(&*key.query),
        result,
        "operator action on an event"
    );
}
