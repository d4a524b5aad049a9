//! What operators do to events that the ledger has: redeliver one, redeliver what a filter matches, or delete one. What an
//! action does to an event's state belongs to the ledger.

use axum::extract::{RawQuery, State as Shared};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::task::JoinSet;

use super::error::EventsApiError;
use super::query::Query;
use super::state::{ApiState, HandlerResult, KeyPath, audit_log, with_deadline};
use crate::admin::response::json;
use crate::ledger::{ActionResult, EventKey, LedgerError, OperatorAction, State};

/// The number of concurrent actions: enough for a ledger to commit many in one transaction.
const MAX_CONCURRENT: usize = 64;

pub(super) async fn redeliver(Shared(api): Shared<Arc<ApiState>>, key: KeyPath) -> HandlerResult {
    let key = api.key(key).await?;
    match api.apply(&key, OperatorAction::Redeliver).await? {
        ActionResult::Done => {
            api.rescan.notify_one();
            Ok(json(StatusCode::ACCEPTED, &serde_json::json!({ "redelivering": key.to_string() })))
        }
        ActionResult::Running => Err(EventsApiError::InFlight(None)),
        ActionResult::PayloadGone => {
            let (record, _) = api.get(&key).await?;
            Err(EventsApiError::PayloadGone { reading: false, state: record.state })
        }
        ActionResult::Unknown => Err(EventsApiError::Unknown),
    }
}

pub(super) async fn delete(Shared(api): Shared<Arc<ApiState>>, key: KeyPath) -> HandlerResult {
    let key = api.key(key).await?;
    match api.apply(&key, OperatorAction::Delete).await? {
        ActionResult::Done => Ok(StatusCode::NO_CONTENT.into_response()),
        ActionResult::Running => Err(EventsApiError::InFlight(None)),
        // Deleting needs no payload, so the ledger never returns this.
        ActionResult::PayloadGone | ActionResult::Unknown => Err(EventsApiError::Unknown),
    }
}

/// The response to an action on a page of events.
#[derive(Default, Serialize)]
struct BulkResult {
    /// The number of events on the page that the filter matches.
    matched: usize,
    /// The number of events that are due now.
    redelivered: usize,
    /// The number of events that are being delivered; nothing was done to them.
    in_flight: usize,
    /// The number of events whose payload is no longer stored, or that no longer exist.
    payload_gone: usize,
    dry_run: bool,
    /// The start of the next page, to be sent as `after` until it is `null`.
    next: Option<String>,
    /// The endpoints to choose from, if the filter names none of them and finds nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoints: Option<Vec<Box<str>>>,
}

/// Redelivers a page of events. The default of `state` is `dead`: a delivered event has no payload, and a failed one is
/// sent again by Stripe.
pub(super) async fn redeliver_many(
    Shared(api): Shared<Arc<ApiState>>,
    RawQuery(query): RawQuery,
) -> HandlerResult {
    let known = ["endpoint", "state", "type", "id", "limit", "after", "dry_run"];
    let query = Query::parse(query.as_deref(), &known)?;
    let (mut filter, dry_run) = (query.filter()?, query.flag("dry_run")?);
    match *filter.state.get_or_insert(State::Dead) {
        State::Dead | State::Pending => {}
        State::Running | State::Delivered | State::Failed => {
            let message = "Only dead and pending events have a payload to deliver: state is dead or pending.";
            return Err(EventsApiError::Query(message.to_owned()));
        }
    }
    let page = api.page(&filter, query.one("after"), query.limit()?).await?;
    let endpoints = api.endpoints_to_choose(&filter, query.one("after"), &page);
    let keys: HashSet<EventKey> = page.records.into_iter().map(|record| record.key).collect();
    let mut result =
        BulkResult { matched: keys.len(), dry_run, next: page.next, endpoints, ..BulkResult::default() };
    if !dry_run {
        let done = redeliver_each(&api, keys, &mut result).await;
        // Also after an error: the events before it are due.
        api.rescan.notify_one();
        done?;
    }
    Ok(json(StatusCode::OK, &result))
}

/// Redelivers each event. Stops at the first that the ledger cannot record; those before it stay redelivered.
async fn redeliver_each(
    api: &Arc<ApiState>,
    keys: HashSet<EventKey>,
    result: &mut BulkResult,
) -> Result<(), EventsApiError> {
    let (mut waiting, mut acting) = (keys.into_iter(), JoinSet::new());
    let redeliver = |key: EventKey| {
        let api = api.clone();
        async move { api.apply(&key, OperatorAction::Redeliver).await }
    };
    for key in waiting.by_ref().take(MAX_CONCURRENT) {
        acting.spawn(redeliver(key));
    }
    let mut failed = None;
    while let Some(acted) = acting.join_next().await {
        match acted {
            Ok(Ok(ActionResult::Done)) => result.redelivered += 1,
            Ok(Ok(ActionResult::Running)) => result.in_flight += 1,
            Ok(Ok(ActionResult::PayloadGone | ActionResult::Unknown)) => result.payload_gone += 1,
            Ok(Err(error)) => failed = Some(error),
            Err(_) => failed = Some(LedgerError::new("it panicked")),
        }
        if failed.is_none()
            && let Some(key) = waiting.next()
        {
            acting.spawn(redeliver(key));
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

impl ApiState {
    /// Applies an operator's action to one event, and logs it.
    async fn apply(&self, key: &EventKey, action: OperatorAction) -> Result<ActionResult, LedgerError> {
        let applied = with_deadline(self.ledger.apply(key, action)).await;
        let action = match action {
            OperatorAction::Redeliver => "redeliver",
            OperatorAction::Delete => "delete",
        };
        let result = match &applied {
            Ok(ActionResult::Done) => "done",
            Ok(ActionResult::Running) => "in_flight",
            Ok(ActionResult::PayloadGone) => "payload_gone",
            Ok(ActionResult::Unknown) => "event_unknown",
            Err(_) => "ledger_unavailable",
        };
        audit_log(action, key, result);
        applied
    }
}
