//! What operators do to events: ask for one again, for all that a filter lets through, or forget one.

use axum::extract::{RawQuery, State as Shared};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::task::JoinSet;

use super::query::Query;
use super::refusal::Refusal;
use super::{Answer, Desk, Named, in_time, json, note};
use crate::ledger::{ActionResult, EventKey, LedgerError, OperatorAction, State};

/// Actions at once: enough for a ledger to commit many in one go.
const AT_ONCE: usize = 64;

pub(super) async fn redeliver(Shared(desk): Shared<Arc<Desk>>, key: Named) -> Answer {
    let key = desk.key(key).await?;
    match act(&desk, &key, OperatorAction::Redeliver).await? {
        ActionResult::Done => {
            desk.bell.notify_one();
            Ok(json(StatusCode::ACCEPTED, &serde_json::json!({ "redelivering": key.to_string() })))
        }
        ActionResult::Running => Err(Refusal::InFlight(None)),
        ActionResult::PayloadGone => Err(Refusal::PayloadGone),
        ActionResult::Unknown => Err(Refusal::Unknown),
    }
}

pub(super) async fn forget(Shared(desk): Shared<Arc<Desk>>, key: Named) -> Answer {
    let key = desk.key(key).await?;
    match act(&desk, &key, OperatorAction::Delete).await? {
        ActionResult::Done => Ok(StatusCode::NO_CONTENT.into_response()),
        ActionResult::Running => Err(Refusal::InFlight(None)),
        // A payload is not needed to forget it.
        ActionResult::PayloadGone | ActionResult::Unknown => Err(Refusal::Unknown),
    }
}

/// What came of a page of events.
#[derive(Default, Serialize)]
struct Tally {
    /// How many the filter let through.
    matched: usize,
    /// How many are due now.
    redelivered: usize,
    /// How many are being delivered, so that nothing was done.
    in_flight: usize,
    /// How many have no payload any more, or are gone altogether by now.
    payload_gone: usize,
    dry_run: bool,
    /// Where the next page begins: to be asked for with `after` until it is `null`.
    next: Option<String>,
}

/// `state` is `dead` unless it is said: what is delivered has no payload, and what failed comes again by itself.
pub(super) async fn redeliver_many(Shared(desk): Shared<Arc<Desk>>, RawQuery(query): RawQuery) -> Answer {
    let known = ["endpoint", "state", "type", "id", "limit", "after", "dry_run"];
    let query = Query::parse(query.as_deref(), &known)?;
    let (mut filter, dry_run) = (query.filter()?, query.flag("dry_run")?);
    match *filter.state.get_or_insert(State::Dead) {
        State::Dead | State::Pending => {}
        State::Running | State::Delivered | State::Failed => {
            let said = "Only dead and pending events have a payload to deliver: state is dead or pending.";
            return Err(Refusal::Query(said.to_owned()));
        }
    }
    let page = desk.page(&filter, query.one("after"), query.limit()?).await?;
    let keys: HashSet<EventKey> = page.records.into_iter().map(|record| record.key).collect();
    let mut tally = Tally { matched: keys.len(), dry_run, next: page.next, ..Tally::default() };
    if !dry_run {
        let done = each(&desk, keys, &mut tally).await;
        desk.bell.notify_one();
        done?;
    }
    Ok(json(StatusCode::OK, &tally))
}

/// Asks for each again. Stops at the first that the ledger cannot be told of; those before it stay asked for.
async fn each(desk: &Arc<Desk>, keys: HashSet<EventKey>, tally: &mut Tally) -> Result<(), Refusal> {
    let (mut waiting, mut acting) = (keys.into_iter(), JoinSet::new());
    let act_on = |key: EventKey| {
        let desk = desk.clone();
        async move { act(&desk, &key, OperatorAction::Redeliver).await }
    };
    for key in waiting.by_ref().take(AT_ONCE) {
        acting.spawn(act_on(key));
    }
    let mut failed = None;
    while let Some(acted) = acting.join_next().await {
        match acted {
            Ok(Ok(ActionResult::Done)) => tally.redelivered += 1,
            Ok(Ok(ActionResult::Running)) => tally.in_flight += 1,
            Ok(Ok(ActionResult::PayloadGone | ActionResult::Unknown)) => tally.payload_gone += 1,
            Ok(Err(error)) => failed = Some(error),
            Err(_) => failed = Some(LedgerError::new("it panicked")),
        }
        if failed.is_none()
            && let Some(key) = waiting.next()
        {
            acting.spawn(act_on(key));
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Does it, and says so in the log.
async fn act(desk: &Desk, key: &EventKey, action: OperatorAction) -> Result<ActionResult, LedgerError> {
    let acted = in_time(desk.ledger.apply(key, action)).await;
    let word = match action {
        OperatorAction::Redeliver => "redeliver",
        OperatorAction::Delete => "forget",
    };
    let result = match &acted {
        Ok(ActionResult::Done) => "done",
        Ok(ActionResult::Running) => "in_flight",
        Ok(ActionResult::PayloadGone) => "payload_gone",
        Ok(ActionResult::Unknown) => "event_unknown",
        Err(_) => "ledger_unavailable",
    };
    note(word, key, result);
    acted
}
