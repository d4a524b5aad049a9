//! What the program logs about itself at start and on reload: version, endpoints, listeners, the checkout, warnings.

use crate::config::{CheckoutState, Config, Source};
use crate::guard::Location;

/// Logs what runs and what it guards.
pub(super) fn start(config: &Config, source: &Source) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = %source.name(),
        backend = config.backend.url_list(),
        ledger = %config.ledger.url,
        "countersign is starting"
    );
    for webhook in &config.webhooks {
        tracing::info!(
            endpoint = %webhook.name,
            path = %webhook.locations.iter().map(Location::as_written).collect::<Vec<_>>().join(" "),
            secrets = webhook.secrets.len(),
            "guarding a webhook path"
        );
    }
    checkout(config);
    warnings(config);
}

/// Logs that connections are accepted, at the addresses of the proxy and the admin listener.
pub(super) fn listening(config: &Config, (proxy, admin): &(String, String)) {
    tracing::info!(listener = "proxy", address = %proxy, "listening for traffic");
    let events_api = config.admin.token.is_some();
    tracing::info!(listener = "admin", address = %admin, events_api, "listening for the admin API");
}

/// Logs whether orders are taken, and if not, why.
pub(super) fn checkout(config: &Config) {
    let (checkout, stripe) = (&config.checkout, &config.stripe);
    let paths = checkout.paths.join(" ");
    let off = |why: &str| tracing::info!(paths, why, "checkout is off: its paths pass through");
    match config.checkout_state() {
        CheckoutState::On => {
            let (prices, live) = (checkout.prices.len(), stripe.live());
            tracing::info!(paths, prices, live, api_version = %stripe.api_version, "checkout is on");
        }
        CheckoutState::NoKey => off("there are prices but no [stripe] secret_key"),
        CheckoutState::NoPrice => off("there is a [stripe] secret_key but no [[checkout.price]]"),
        CheckoutState::Neither => off("there is neither a [stripe] secret_key nor a [[checkout.price]]"),
    }
}

/// Logs what is valid in the configuration but likely not meant.
pub(super) fn warnings(config: &Config) {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
}
