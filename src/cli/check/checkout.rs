//! The checkout's part of `check`: its line of the summary, and a probe of Stripe's key and prices. It creates nothing at Stripe.

use super::probe::ProbeResult;
use crate::checkout::{Checkout, CheckoutResources, OrderDisposition, PriceCheck};
use crate::cli::output::count_of;
use crate::cli::runtime::block_on;
use crate::config::{CheckoutState, Config};
use crate::metrics::Metrics;
use std::sync::Arc;

/// A session id that does not exist: a valid key gets 404, an invalid one 401 or 403.
const NONEXISTENT_SESSION: &str = "cs_test_countersign";

/// Says in one line whether the checkout is on, and with what.
pub(super) fn summary(config: &Config) -> String {
    let checkout = &config.checkout;
    match config.checkout_state() {
        CheckoutState::On => {
            let prices = count_of(checkout.prices.len() as u64, "price");
            let key = if config.stripe.live() { "a live key" } else { "a test key" };
            format!("{}, {prices}, {key}", checkout.paths.join(" "))
        }
        CheckoutState::NoKey => "off: no [stripe] secret_key is set".to_owned(),
        CheckoutState::NoPrice => "off: no [[checkout.price]] is listed".to_owned(),
        CheckoutState::Neither => {
            "off: no [stripe] secret_key is set and no [[checkout.price]] is listed".to_owned()
        }
    }
}

/// Asks Stripe for the status of a session that does not exist, and for every price; `None` if the checkout is off.
pub(super) fn probe(config: &Config) -> Option<ProbeResult> {
    let open = match CheckoutResources::new(Arc::new(Metrics::new())).open(config) {
        Ok(open) => open?,
        Err(reason) => return Some(ProbeResult::Failed(reason)),
    };
    let result = block_on(probe_checkout(&open)).map_err(|error| error.message);
    let base = &config.stripe.api_base;
    Some(match result.flatten() {
        Ok(detail) => ProbeResult::Ok(format!("{base} {detail}")),
        Err(reason) => ProbeResult::Failed(format!("{base}: {reason}")),
    })
}

async fn probe_checkout(checkout: &Checkout) -> Result<String, String> {
    match checkout.status(NONEXISTENT_SESSION).await.disposition {
        OrderDisposition::SessionNotFound | OrderDisposition::Status(_) => {}
        OrderDisposition::Failed(error) => return Err(error.to_string()),
        // Only an order has these results, and this is a request for a status.
        OrderDisposition::Created(_) | OrderDisposition::Rejected(_) => {
            return Err("unexpected response".to_owned());
        }
    }
    checkout.resolve_prices().await;
    let (mut failures, mut permitted) = (Vec::new(), true);
    for price in &checkout.config.prices {
        match checkout.check_price(price).await {
            PriceCheck::Ok => {}
            PriceCheck::NotPermitted => permitted = false,
            PriceCheck::Failed(reason) => {
                failures.push(format!("price \"{}\": {reason}", price.reference.as_str()));
            }
        }
    }
    match (failures.is_empty(), permitted) {
        (false, _) => Err(failures.join("; ")),
        (true, true) => Ok("accepts the key and has every price".to_owned()),
        // Orders need no such permission.
        (true, false) => Ok("accepts the key; it may not read prices, so they were not checked".to_owned()),
    }
}
