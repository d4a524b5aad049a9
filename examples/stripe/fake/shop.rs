//! The shelf and what the fake keeps: prices, sessions, other objects, events. Who may change what is not decided here.

use super::errors::Error;
use super::events::Event;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Something that is sold.
#[derive(Debug, Clone)]
pub struct Price {
    /// `price_…`
    pub id: String,
    /// In the currency's smallest unit.
    pub amount: u64,
    /// Three lower-case letters.
    pub currency: String,
    /// What it is.
    pub product: String,
    /// Whether it is paid every month, not once.
    pub recurring: bool,
}

impl Price {
    /// Paid once, in euros.
    pub fn once(id: &str, cents: u64, product: &str) -> Price {
        Price {
            id: id.into(),
            amount: cents,
            currency: "eur".into(),
            product: product.into(),
            recurring: false,
        }
    }

    /// Paid every month, in euros.
    pub fn monthly(id: &str, cents: u64, product: &str) -> Price {
        Price { recurring: true, ..Price::once(id, cents, product) }
    }
}

/// A Checkout Session.
#[derive(Debug, Clone)]
pub struct Session {
    /// As the API shows it.
    pub object: Value,
    /// What is bought, and how many of each.
    pub items: Vec<(Price, u64)>,
    /// The account it belongs to, if it is not the caller's own.
    pub account: Option<String>,
    /// The version it was created with.
    pub version: String,
    /// The call that created it, and its key: what an event about it names.
    pub request: (String, Option<String>),
}

/// Everything the fake keeps.
#[derive(Debug)]
pub struct Shop {
    prices: BTreeMap<String, Price>,
    pub(super) sessions: BTreeMap<String, Session>,
    /// Whatever else was created, by id.
    pub(super) objects: BTreeMap<String, Value>,
    /// Oldest first.
    pub(super) events: Vec<Event>,
}

impl Shop {
    /// A shop that sells these.
    pub fn new(prices: Vec<Price>) -> Shop {
        let prices = prices.into_iter().map(|price| (price.id.clone(), price)).collect();
        Shop { prices, sessions: BTreeMap::new(), objects: BTreeMap::new(), events: vec![] }
    }

    /// The price with this id.
    pub fn price(&self, id: &str) -> Option<&Price> {
        self.prices.get(id)
    }

    /// Sells one thing more.
    pub fn sell(&mut self, price: Price) {
        self.prices.insert(price.id.clone(), price);
    }

    /// The session with this id.
    pub fn session(&self, id: &str) -> Option<&Session> {
        self.sessions.get(id)
    }

    /// The same, to change it.
    pub fn session_mut(&mut self, id: &str) -> Result<&mut Session, Error> {
        let missing = || Error::no_such("checkout.session", id, "session").status(404);
        self.sessions.get_mut(id).ok_or_else(missing)
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Every event, oldest first.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }
}

/// A price as the API shows it.
pub fn price_object(price: &Price, livemode: bool) -> Value {
    json!({
        "id": price.id,
        "object": "price",
        "active": true,
        "currency": price.currency,
        "livemode": livemode,
        "product": format!("prod_{}", price.id.trim_start_matches("price_")),
        "recurring": price.recurring.then(|| json!({ "interval": "month", "interval_count": 1, "usage_type": "licensed" })),
        "type": if price.recurring { "recurring" } else { "one_time" },
        "unit_amount": price.amount,
        "unit_amount_decimal": price.amount.to_string(),
    })
}
