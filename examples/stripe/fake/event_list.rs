//! The API's view of events: one by id, or a page of a filtered list (docs.stripe.com/api/events/list). It changes nothing.

use super::auth::Caller;
use super::errors::Error;
use super::form::{Node, Tree};
use super::lock::lock;
use super::state::State;
use super::store::Event;
use serde_json::{Value, json};

/// The parameters of `GET /v1/events`.
const KNOWN_PARAMS: [&str; 8] =
    ["created", "delivery_success", "ending_before", "expand", "limit", "starting_after", "type", "types"];

/// Stripe's limit for the entries of `types`.
const MAX_TYPES: usize = 20;

/// Handles `GET /v1/events/{id}`.
pub fn retrieve(state: &State, id: &str) -> Result<Value, Error> {
    let store = lock(&state.store);
    store.event(id).map(displayed).ok_or_else(|| Error::not_found("event", id, "id"))
}

/// Handles `GET /v1/events`. The newest event comes first. A connected account has a list of its own.
pub fn list(state: &State, caller: &Caller, params: &Tree) -> Result<Value, Error> {
    if let Some((name, _)) = params.0.iter().find(|(name, _)| !KNOWN_PARAMS.contains(&name.as_str())) {
        return Err(Error::unknown(name));
    }
    let limit = match params.text(&["limit"]) {
        None => 10,
        Some(text) => match text.parse() {
            Ok(limit @ 1..=100) => limit,
            _ => return Err(Error::invalid("limit", "Must be between 1 and 100")),
        },
    };
    let store = lock(&state.store);
    let position = |name: &str| match params.text(&[name]) {
        None => Ok(None),
        Some(id) => match store.events.iter().position(|event| event.object["id"] == id) {
            Some(position) => Ok(Some(position)),
            None => Err(Error::no_such("event", id, name)),
        },
    };
    let (after, before) = (position("starting_after")?, position("ending_before")?);
    let filter = EventFilter::parse(params)?;
    let matching: Vec<&Event> = store
        .events
        .iter()
        .enumerate()
        // The store is oldest first and the list newest first, so what comes after an event there stands before it here.
        .filter(|(at, _)| after.is_none_or(|after| *at < after) && before.is_none_or(|before| *at > before))
        .map(|(_, event)| event)
        .filter(|event| event.object["object"] == "event" && event.account() == caller.account.as_deref())
        .filter(|event| filter.matches(event))
        .collect();
    let has_more = matching.len() > limit;
    // A page backwards holds the events next to `ending_before`, which are the oldest that match.
    let page: Vec<Value> = match before {
        Some(_) => matching.iter().take(limit).rev().map(|event| listed(event)).collect(),
        None => matching.iter().rev().take(limit).map(|event| listed(event)).collect(),
    };
    Ok(json!({ "object": "list", "data": page, "has_more": has_more, "url": "/v1/events" }))
}

/// Returns an event as the API shows it.
fn displayed(event: &Event) -> Value {
    with_pending(event.object.clone(), event.delivered)
}

/// Returns an event as the list shows it.
fn listed(event: &Event) -> Value {
    with_pending(event.in_list(), event.delivered)
}

fn with_pending(mut object: Value, delivered: bool) -> Value {
    object["pending_webhooks"] = json!(u8::from(!delivered));
    object
}

/// The filters of a list. An event must match all of them.
struct EventFilter {
    delivered: Option<bool>,
    types: Option<Vec<String>>,
    /// Bounds on `created`: name of the bound and Unix seconds.
    created: Vec<(String, u64)>,
}

impl EventFilter {
    fn parse(params: &Tree) -> Result<Self, Error> {
        let delivered = match params.text(&["delivery_success"]) {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) => return Err(Error::invalid("delivery_success", "Invalid boolean")),
        };
        Ok(Self { delivered, types: parse_types(params)?, created: parse_created(params)? })
    }

    fn matches(&self, event: &Event) -> bool {
        let event_type = event.object["type"].as_str().unwrap_or_default();
        let created = event.object["created"].as_u64().unwrap_or_default();
        // A `*` at the end of a type matches every type with that prefix.
        let is_type = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => event_type.starts_with(prefix),
            None => event_type == pattern,
        };
        self.delivered.is_none_or(|delivered| event.delivered == delivered)
            && self.types.as_ref().is_none_or(|types| types.iter().any(is_type))
            && self.created.iter().all(|(bound, time)| match bound.as_str() {
                "gt" => created > *time,
                "gte" => created >= *time,
                "lt" => created < *time,
                "lte" => created <= *time,
                _ => created == *time,
            })
    }
}

fn parse_types(params: &Tree) -> Result<Option<Vec<String>>, Error> {
    match (params.text(&["type"]), params.tree("types")) {
        (Some(_), Some(_)) => Err(Error::invalid("type", "Pass either type or types")),
        (Some(event_type), None) => Ok(Some(vec![event_type.to_owned()])),
        (None, Some(list)) if list.0.len() > MAX_TYPES => Err(Error::invalid("types", "At most 20 types")),
        (None, Some(list)) => {
            let text = |(_, node): &(String, Node)| match node {
                Node::Text(event_type) => Some(event_type.clone()),
                Node::Tree(_) => None,
            };
            Ok(Some(list.0.iter().filter_map(text).collect()))
        }
        (None, None) => Ok(None),
    }
}

fn parse_created(params: &Tree) -> Result<Vec<(String, u64)>, Error> {
    let seconds =
        |param: &str, text: &str| text.parse().map_err(|_| Error::invalid(param, "Invalid integer"));
    let mut created = vec![];
    if let Some(text) = params.text(&["created"]) {
        created.push(("eq".to_owned(), seconds("created", text)?));
    }
    for (name, node) in params.tree("created").map(|bounds| bounds.0.as_slice()).unwrap_or_default() {
        let param = format!("created[{name}]");
        match node {
            Node::Text(text) if ["gt", "gte", "lt", "lte"].contains(&name.as_str()) => {
                created.push((name.clone(), seconds(&param, text)?));
            }
            Node::Text(_) | Node::Tree(_) => return Err(Error::unknown(&param)),
        }
    }
    Ok(created)
}
