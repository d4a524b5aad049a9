//! Everything that the fake remembers: prices, Checkout Sessions, other objects, events. Its callers decide what may change.

use super::auth::Caller;
use super::catalog::{Catalog, Price};
use super::errors::Error;
use super::line_items::LineItem;
use serde_json::Value;
use std::collections::BTreeMap;

/// A Checkout Session.
#[derive(Debug, Clone)]
pub struct Session {
    /// The session as the API shows it.
    pub object: Value,
    /// What is bought.
    pub items: Vec<LineItem>,
    /// The call that created the session. Events about the session name it.
    pub created_by: Caller,
}

/// An event that was emitted.
#[derive(Debug, Clone)]
pub struct Event {
    /// The event as the API shows it, and as it is sent.
    pub object: Value,
    /// Whether the webhook accepted the event. An event without a webhook counts as delivered.
    pub delivered: bool,
}

impl Event {
    /// Returns the connected account whose event it is.
    pub fn account(&self) -> Option<&str> {
        ["account", "context"].iter().find_map(|name| self.object[name].as_str())
    }

    /// Returns the event as a list shows it. The list of a connected account does not repeat whose event it is.
    pub fn in_list(&self) -> Value {
        let mut object = self.object.clone();
        if let Some(fields) = object.as_object_mut() {
            fields.retain(|name, _| !["account", "context"].contains(&name.as_str()));
        }
        object
    }
}

/// The objects of the fake, each in the order of its ids or of its creation.
#[derive(Debug)]
pub struct Store {
    pub(super) catalog: Catalog,
    pub(super) sessions: BTreeMap<String, Session>,
    /// Objects that are neither prices, sessions nor events, by id.
    pub(super) objects: BTreeMap<String, Value>,
    /// The events, oldest first.
    pub(super) events: Vec<Event>,
}

impl Store {
    /// Creates a store that has these prices and nothing else.
    pub fn new(prices: Vec<Price>) -> Self {
        Self {
            catalog: Catalog::new(prices),
            sessions: BTreeMap::new(),
            objects: BTreeMap::new(),
            events: vec![],
        }
    }

    /// Returns the session with this id for a change, or Stripe's 404.
    pub fn session_mut(&mut self, id: &str) -> Result<&mut Session, Error> {
        let missing = || Error::not_found("checkout.session", id, "session");
        self.sessions.get_mut(id).ok_or_else(missing)
    }

    /// Returns the event with this id.
    pub fn event(&self, id: &str) -> Option<&Event> {
        self.events.iter().find(|event| event.object["id"] == id)
    }

    /// Returns the event with this id for a change.
    pub fn event_mut(&mut self, id: &str) -> Option<&mut Event> {
        self.events.iter_mut().find(|event| event.object["id"] == id)
    }
}
