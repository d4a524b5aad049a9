//! Settings that are allowed but weaken what the program guarantees. None of them is an error: the program starts.

use super::checkout::CheckoutState;
use super::file::Config;
use super::ledger::{LedgerUrl, OnOutage};
use crate::stripe::retry;
use std::time::Duration;

/// How far back Stripe's dashboard resends an event (<https://docs.stripe.com/webhooks#manual-retries>).
const STRIPE_RESENDS: Duration = Duration::from_secs(30 * 24 * 60 * 60);

impl Config {
    /// Returns one sentence for each setting that weakens a guarantee. No sentence holds a secret.
    pub fn warnings(&self) -> Vec<String> {
        let dry_runs = self.webhooks.iter().filter(|webhook| !webhook.enforce).map(|webhook| {
            format!(
                "webhook \"{}\" is a dry run (enforce = false): events that fail the check reach the backend",
                webhook.name
            )
        });
        let ledger = self.ledger_warnings().into_iter().map(str::to_owned);
        let grace = self.shutdown_warnings().into_iter().map(str::to_owned);
        dry_runs.chain(ledger).chain(grace).collect()
    }

    fn ledger_warnings(&self) -> Vec<&'static str> {
        match self.ledger.url {
            LedgerUrl::None => vec!["ledger.url is none: an event sent twice is delivered twice"],
            LedgerUrl::Sqlite(_) | LedgerUrl::Redis(_) => {
                let mut warnings = Vec::new();
                if self.ledger.retention < STRIPE_RESENDS {
                    warnings.push(
                        "ledger.retention is shorter than the 30 days for which Stripe resends events: a later copy \
                         would be delivered again",
                    );
                }
                if self.ledger.on_outage == OnOutage::Deliver {
                    warnings.push(
                        "ledger.on_outage is deliver: while the ledger is unavailable, an event sent twice is \
                         delivered twice",
                    );
                }
                warnings
            }
        }
    }

    fn shutdown_warnings(&self) -> Vec<&'static str> {
        let grace = self.server.shutdown_grace;
        let mut warnings = Vec::new();
        if grace < self.backend.connect_timeout + self.backend.response_timeout {
            warnings.push(
                "server.shutdown_grace is shorter than backend.connect_timeout and response_timeout together: during \
                 shutdown, new webhooks are refused and a slow delivery may be cut short",
            );
        }
        let checkout_on = self.checkout.state() == CheckoutState::On;
        if checkout_on && grace < retry::max_call_duration(self.checkout.timeout) {
            warnings.push(
                "server.shutdown_grace is shorter than an order can take (three times checkout.timeout, and 1.5s): \
                 new orders are refused during shutdown",
            );
        }
        warnings
    }
}
