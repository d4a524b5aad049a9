//! The prices that the fake sells. The caller checks a price's parameters before it adds the price.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A price of one product.
#[derive(Debug, Clone)]
pub struct Price {
    /// The id: `price_…`.
    pub id: String,
    /// The amount for one unit, in the currency's smallest unit.
    pub amount: u64,
    /// The currency: three lower-case letters.
    pub currency: String,
    /// The name of the product.
    pub product: String,
    /// Whether the price is paid every month. Otherwise it is paid once.
    pub recurring: bool,
    /// Whether the price is billed by its use. Such a price is recurring.
    pub metered: bool,
    /// The lookup key.
    pub lookup_key: Option<String>,
}

impl Price {
    /// Creates a price in euros that is paid once.
    pub fn once(id: &str, cents: u64, product: &str) -> Self {
        Self {
            id: id.into(),
            amount: cents,
            currency: "eur".into(),
            product: product.into(),
            recurring: false,
            metered: false,
            lookup_key: None,
        }
    }

    /// Creates a price in euros that is paid every month.
    pub fn monthly(id: &str, cents: u64, product: &str) -> Self {
        Self { recurring: true, ..Self::once(id, cents, product) }
    }

    /// Creates a price in euros that is billed every month by its use.
    pub fn metered(id: &str, cents: u64, product: &str) -> Self {
        Self { metered: true, ..Self::monthly(id, cents, product) }
    }

    /// Returns the price as the API shows it.
    pub fn to_json(&self, livemode: bool) -> Value {
        let usage_type = if self.metered { "metered" } else { "licensed" };
        json!({
            "id": self.id,
            "object": "price",
            "active": true,
            "currency": self.currency,
            "livemode": livemode,
            "lookup_key": self.lookup_key,
            "product": format!("prod_{}", self.id.trim_start_matches("price_")),
            "recurring": self.recurring.then(|| json!({ "interval": "month", "interval_count": 1, "usage_type": usage_type })),
            "type": if self.recurring { "recurring" } else { "one_time" },
            "unit_amount": self.amount,
            "unit_amount_decimal": self.amount.to_string(),
        })
    }
}

/// Every price, by id.
#[derive(Debug)]
pub struct Catalog(BTreeMap<String, Price>);

impl Catalog {
    /// Creates a catalog of these prices.
    pub fn new(prices: Vec<Price>) -> Self {
        Self(prices.into_iter().map(|price| (price.id.clone(), price)).collect())
    }

    /// Returns the price with this id.
    pub fn price(&self, id: &str) -> Option<&Price> {
        self.0.get(id)
    }

    /// Returns the prices that have one of these lookup keys, or all prices if there is none.
    pub fn with_lookup_keys(&self, keys: &[&str]) -> Vec<&Price> {
        let has_key = |price: &&Price| price.lookup_key.as_deref().is_some_and(|key| keys.contains(&key));
        self.0.values().filter(|price| keys.is_empty() || has_key(price)).collect()
    }

    /// Moves a lookup key to a price, as Stripe's `transfer_lookup_key` does. `None` leaves it to no price.
    pub fn move_lookup_key(&mut self, key: &str, id: Option<&str>) {
        for price in self.0.values_mut() {
            if Some(price.id.as_str()) == id {
                price.lookup_key = Some(key.to_owned());
            } else if price.lookup_key.as_deref() == Some(key) {
                price.lookup_key = None;
            }
        }
    }

    /// Adds a price.
    pub fn add(&mut self, price: Price) {
        self.0.insert(price.id.clone(), price);
    }
}
