//! The checkout's part of `check`: its line of the summary, and a probe of Stripe's key. It creates nothing at Stripe.

use super::probe::ProbeResult;
use crate::checkout::{CheckoutResources, OrderDisposition};
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

/// Asks Stripe for the status of a session that does not exist; `None` if the checkout is off.
pub(super) fn probe(config: &Config) -> Option<ProbeResult> {
    let open = match CheckoutResources::new(Arc::new(Metrics::new())).open(config) {
        Ok(open) => open?,
        Err(reason) => return Some(ProbeResult::Failed(reason)),
    };
    let base = &config.stripe.api_base;
    Some(match block_on(open.status(NONEXISTENT_SESSION)).map(|result| result.disposition) {
        Ok(OrderDisposition::SessionNotFound | OrderDisposition::Status(_)) => {
            ProbeResult::Ok(format!("{base} accepts the key"))
        }
        Ok(OrderDisposition::Failed(error)) => ProbeResult::Failed(format!("{base}: {error}")),
        // Only an order has these results, and this is a request for a status.
        Ok(OrderDisposition::Created(_) | OrderDisposition::Rejected(_)) => {
            ProbeResult::Failed(format!("{base}: unexpected response"))
        }
        Err(error) => ProbeResult::Failed(error.message),
    })
}
