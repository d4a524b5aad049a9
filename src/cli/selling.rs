//! The checkout's part of `check`: what it comes to, and whether Stripe takes the key. It creates nothing at Stripe.

use super::probe::Probe;
use crate::checkout::{CheckoutResources, OrderDisposition};
use crate::config::{CheckoutConfig, CheckoutState};
use crate::metrics::Metrics;
use std::sync::Arc;

/// The id of a session that there is not: whoever may ask for it is told so, whoever may not is told that.
const NONE: &str = "cs_test_countersign";

/// In a line, whether it is on.
pub(super) fn summary(checkout: &CheckoutConfig) -> String {
    match checkout.state() {
        CheckoutState::On => {
            let prices = match checkout.prices.len() {
                1 => "1 price".to_owned(),
                several => format!("{several} prices"),
            };
            let key = if checkout.live() { "a live key" } else { "a test key" };
            format!("{}, {prices}, {key}", checkout.paths.join(" "))
        }
        CheckoutState::NoKey => "off: there is no secret_key".to_owned(),
        CheckoutState::NoPrice => "off: there is no [[checkout.price]]".to_owned(),
        CheckoutState::Neither => "off: there is neither a secret_key nor a [[checkout.price]]".to_owned(),
    }
}

/// Asks Stripe something, if the checkout is on.
pub(super) fn probe(checkout: &CheckoutConfig) -> Option<Probe> {
    let open = match CheckoutResources::new(Arc::new(Metrics::new())).open(checkout) {
        Ok(open) => open?,
        Err(why) => return Some(Probe::Failed(why)),
    };
    let asked = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map(|runtime| runtime.block_on(open.status(NONE)).disposition);
    Some(match asked {
        Ok(OrderDisposition::Unknown | OrderDisposition::Told(_)) => {
            Probe::Reached(format!("{}, which takes the key", checkout.api_base))
        }
        Ok(OrderDisposition::Failed(fault)) => Probe::Failed(format!("{}: {fault}", checkout.api_base)),
        // It answers to an order alone.
        Ok(OrderDisposition::Created(_) | OrderDisposition::Refused(_)) => {
            Probe::Failed(format!("{}: a strange answer", checkout.api_base))
        }
        Err(error) => Probe::Failed(error.to_string()),
    })
}
