//! Stripe's ids of the configured prices. A price with a lookup key has an id once Stripe has said which price has the key.
//! It makes no calls: `lookup` does.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::{PriceConfig, PriceReference};

/// A lookup key, and the account in which it is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LookupKey {
    /// The connected account; `None` is the key's own account.
    pub account: Option<String>,
    /// The lookup key.
    pub key: String,
}

/// The result of a lookup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lookup {
    /// The id of the price. It stays while Stripe cannot be asked.
    pub id: Option<Arc<str>>,
    /// The reason why the last lookup failed.
    pub problem: Option<String>,
}

/// The results of all lookups.
#[derive(Debug, Default)]
pub struct PriceIds(RwLock<HashMap<LookupKey, Lookup>>);

impl LookupKey {
    /// Returns the lookup key of a price, or `None` if the price has an id.
    pub(super) fn of_price(price: &PriceConfig) -> Option<Self> {
        match &price.reference {
            PriceReference::Id(_) => None,
            PriceReference::LookupKey(key) => Some(Self { account: price.account.clone(), key: key.clone() }),
        }
    }
}

impl PriceIds {
    /// Returns Stripe's id of a price, or `None` while its lookup key has none.
    pub fn id_of(&self, price: &PriceConfig) -> Option<Arc<str>> {
        match &price.reference {
            PriceReference::Id(id) => Some(id.as_str().into()),
            PriceReference::LookupKey(_) => LookupKey::of_price(price).and_then(|key| self.lookup(&key).id),
        }
    }

    /// Returns the result of the last lookup.
    pub(super) fn lookup(&self, key: &LookupKey) -> Lookup {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned().unwrap_or_default()
    }

    /// Stores the result of a lookup, and returns the one before.
    pub(super) fn store(&self, key: &LookupKey, lookup: Lookup) -> Lookup {
        let mut lookups = self.0.write().unwrap_or_else(PoisonError::into_inner);
        lookups.insert(key.clone(), lookup).unwrap_or_default()
    }
}
