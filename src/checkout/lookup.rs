//! Looks prices up at Stripe: which price has a lookup key, and whether a price fits its configuration. It decides about no
//! order.

use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::Checkout;
use super::price_check::{PriceCheck, PriceList, PriceObject};
use super::price_ids::{Lookup, LookupKey};
use crate::config::PriceConfig;
use crate::stripe::form::{self, Param, Params};
use crate::stripe_api::ApiError;

/// How often lookup keys are looked up again: a key may move to another price.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// The wait after a lookup that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// How long a start or a reload waits for the first lookup.
const MAX_FIRST_LOOKUP: Duration = Duration::from_secs(2);
/// The most lookup keys that Stripe takes in one call (<https://docs.stripe.com/api/prices/list>).
const MAX_LOOKUP_KEYS: usize = 10;
/// The most prices that Stripe returns in one call.
const MAX_LISTED: u64 = 100;
/// The path of prices.
const PATH: &str = "/v1/prices";

impl Checkout {
    /// Looks every lookup key up, and goes on doing so in the background until this checkout is dropped. Returns after the
    /// first lookup, or after two seconds.
    pub async fn keep_prices_resolved(self: &Arc<Self>) {
        if self.lookup_keys().next().is_none() {
            return;
        }
        let (checkout, (done, first)) = (Arc::downgrade(self), oneshot::channel());
        let mut done = Some(done);
        tokio::spawn(repeat_lookup(move || {
            let (checkout, done) = (checkout.clone(), done.take());
            async move {
                let resolved = checkout.upgrade()?.resolve_prices().await;
                // Nobody waits any more if the first lookup was slow.
                let _ = done.map(|done| done.send(()));
                Some(resolved)
            }
        }));
        let _ = timeout(MAX_FIRST_LOOKUP, first).await;
    }

    /// Asks Stripe which prices have the lookup keys. Returns false if any lookup failed.
    pub async fn resolve_prices(&self) -> bool {
        let mut all_resolved = true;
        for (account, _) in &self.apis {
            let keys: Vec<_> = self.lookup_keys().filter(|key| key.account == *account).collect();
            for keys in keys.chunks(MAX_LOOKUP_KEYS) {
                all_resolved &= self.resolve(keys).await;
            }
        }
        all_resolved
    }

    fn lookup_keys(&self) -> impl Iterator<Item = LookupKey> {
        self.config.prices.iter().filter_map(LookupKey::of_price)
    }

    /// Looks up keys of one account, in one call.
    async fn resolve(&self, keys: &[LookupKey]) -> bool {
        let account = keys.first().and_then(|key| key.account.as_deref());
        let path = format!("{PATH}?{}", form::encode(&list_params(keys)));
        let found = match self.api(account).get(&path).await.result {
            Ok(body) => parse_list(&body),
            Err(error) => Err(error),
        };
        let mut all_resolved = true;
        for key in keys {
            let lookup = match &found {
                Ok(prices) => {
                    let price = prices.iter().find(|price| price.lookup_key.as_ref() == Some(&key.key));
                    let id = price.map(|price| Arc::from(price.id.as_str()));
                    let problem =
                        id.is_none().then(|| "no active price at Stripe has this lookup_key".to_owned());
                    Lookup { id, problem }
                }
                // The price is sold by the last id that was found.
                Err(error) => Lookup { id: self.ids.lookup(key).id, problem: Some(error.to_string()) },
            };
            all_resolved &= lookup.problem.is_none();
            let before = self.ids.store(key, lookup.clone());
            log_change(key, &before, &lookup);
        }
        all_resolved
    }

    /// Asks Stripe for a price, and compares it with its configuration.
    pub async fn check_price(&self, price: &PriceConfig) -> PriceCheck {
        let Some(id) = self.ids.id_of(price) else {
            let lookup = LookupKey::of_price(price).map(|key| self.ids.lookup(&key));
            let problem = lookup.and_then(|lookup| lookup.problem);
            return PriceCheck::Failed(problem.unwrap_or_else(|| "it was not looked up".to_owned()));
        };
        let mode = price.mode.unwrap_or(self.config.mode);
        match self.api(price.account.as_deref()).get(&format!("{PATH}/{id}")).await.result {
            Ok(body) => match serde_json::from_slice::<PriceObject>(&body) {
                Ok(object) => object.check(price, mode),
                Err(_) => PriceCheck::Failed(ApiError::Invalid(200).to_string()),
            },
            Err(ApiError::Rejected(error)) if error.status == 403 => PriceCheck::NotPermitted,
            Err(ApiError::Rejected(error)) if error.status == 404 => PriceCheck::Failed(
                "Stripe has no such price; test and live mode have different ones".to_owned(),
            ),
            Err(error) => PriceCheck::Failed(error.to_string()),
        }
    }
}

/// Calls `lookup` again and again until it returns `None`. It returns whether all keys were resolved.
async fn repeat_lookup<F, R>(mut lookup: F)
where
    F: FnMut() -> R,
    R: Future<Output = Option<bool>>,
{
    while let Some(all_resolved) = lookup().await {
        sleep(if all_resolved { REFRESH_INTERVAL } else { RETRY_INTERVAL }).await;
    }
}

fn list_params(keys: &[LookupKey]) -> Params {
    let keys = keys.iter().map(|key| Param::from(key.key.as_str())).collect();
    vec![
        ("active".to_owned(), Param::from("true")),
        ("limit".to_owned(), Param::from(MAX_LISTED)),
        ("lookup_keys".to_owned(), Param::List(keys)),
    ]
}

fn parse_list(body: &Bytes) -> Result<Vec<PriceObject>, ApiError> {
    let list: PriceList = serde_json::from_slice(body).map_err(|_| ApiError::Invalid(200))?;
    // The id becomes part of a path.
    let is_plain = |id: &str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    Ok(list.data.into_iter().filter(|price| price.active && is_plain(&price.id)).collect())
}

/// Logs a lookup whose result differs from the one before.
fn log_change(key: &LookupKey, before: &Lookup, now: &Lookup) {
    let (lookup_key, account) = (&*key.key, key.account.as_deref());
    match (&now.problem, &now.id) {
        (Some(_), _) if before.problem == now.problem => {}
        (Some(problem), None) => tracing::error!(
            lookup_key,
            account,
            reason = problem,
            "failed to look up a price at Stripe: its orders get 503 price_unavailable, and the lookup is repeated every \
             minute"
        ),
        (Some(problem), Some(id)) => tracing::warn!(
            lookup_key,
            account,
            reason = problem,
            price.id = &**id,
            "failed to look up a price at Stripe again: the price found before is sold, and the lookup is repeated every \
             minute"
        ),
        (None, Some(id)) if before.id != now.id || before.problem.is_some() => {
            tracing::info!(lookup_key, account, price.id = &**id, "looked up a price at Stripe");
        }
        (None, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn lookups_are_repeated_every_hour_and_after_a_failure_every_minute() {
        let start = Instant::now();
        let results = RefCell::new(vec![None, Some(true), Some(false), Some(false), Some(true)]);
        let times = RefCell::new(Vec::new());
        repeat_lookup(async || {
            times.borrow_mut().push(start.elapsed().as_secs());
            results.borrow_mut().pop().unwrap()
        })
        .await;
        assert_eq!(times.into_inner(), [0, 3600, 3660, 3720, 7320]);
    }
}
