//! `GET /v2/core/events`: thin events, by page (<https://docs.stripe.com/api/v2/core/events/list>). Unlike `/v1/events` it
//! does not know which of them were delivered. It changes nothing.

use super::auth::Caller;
use super::errors::Error;
use super::form::{Node, Tree};
use super::lock::lock;
use super::state::State;
use super::store::Event;
use serde_json::{Value, json};

/// The `object` of a thin event.
pub const THIN_EVENT: &str = "v2.core.event";

/// The parameters of the call.
const KNOWN_PARAMS: [&str; 5] = ["created", "limit", "object_id", "page", "types"];

/// Handles the call. The newest event comes first.
pub fn list(state: &State, caller: &Caller, params: &Tree) -> Result<Value, Error> {
    if let Some((name, _)) = params.0.iter().find(|(name, _)| !KNOWN_PARAMS.contains(&name.as_str())) {
        return Err(Error::unknown(name));
    }
    let Ok(limit @ 1..=100) = params.text(&["limit"]).unwrap_or("20").parse() else {
        return Err(Error::invalid("limit", "Must be between 1 and 100"));
    };
    let types: Option<Vec<&str>> = params.tree("types").map(|types| {
        let texts = types.0.iter().filter_map(|(_, node)| match node {
            Node::Text(text) => Some(text.as_str()),
            Node::Tree(_) => None,
        });
        texts.collect()
    });
    let since = params.text(&["created", "gte"]).unwrap_or_default();
    if !since.is_empty() && humantime::parse_rfc3339_weak(since).is_err() {
        return Err(Error::invalid("created[gte]", "Must be a timestamp in RFC 3339"));
    }
    let store = lock(&state.store);
    let matches = |event: &&Event| {
        let object = &event.object;
        let text = |name: &str| object[name].as_str().unwrap_or_default();
        // Both times are RFC 3339 in UTC, to the second or finer, so that their texts have the order of the times.
        text("object") == THIN_EVENT
            && text("created").get(..19) >= since.get(..19)
            && types.as_ref().is_none_or(|types| types.contains(&text("type")))
            && params.text(&["object_id"]).is_none_or(|id| object["related_object"]["id"] == id)
            && event.account() == caller.context.as_deref()
    };
    let from: usize = params.text(&["page"]).and_then(|page| page.parse().ok()).unwrap_or_default();
    let matching: Vec<&Event> = store.events.iter().rev().filter(matches).collect();
    let page: Vec<Value> = matching.iter().skip(from).take(limit).map(|event| event.in_list()).collect();
    let more = matching.len() > from + limit;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("page", &(from + limit).to_string()).append_pair("limit", &limit.to_string());
    if !since.is_empty() {
        query.append_pair("created[gte]", since);
    }
    let next = more.then(|| format!("/v2/core/events?{}", query.finish()));
    Ok(json!({ "data": page, "next_page_url": next, "previous_page_url": null }))
}
