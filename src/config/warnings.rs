//! Settings that are allowed but rarely right. The program starts with them.

use super::webhook::signing_secret::SECRET_PREFIX;
use super::{CheckoutState, Config, Durability, LedgerUrl, OnOutage, WebhookConfig};
use crate::stripe::{event_types, retry};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// How far back Stripe's dashboard resends an event (<https://docs.stripe.com/webhooks#manual-retries>).
const STRIPE_RESEND_WINDOW: Duration = Duration::from_secs(30 * 24 * 60 * 60);

impl Config {
    /// One sentence for each choice that weakens what the program is there for. Without secrets.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for webhook in self.webhooks.iter().filter(|webhook| !webhook.enforce) {
            warnings.push(format!(
                "webhook \"{}\" is a dry run (enforce = false): events that fail the check reach the backend",
                webhook.name
            ));
        }
        for webhook in &self.webhooks {
            warnings.extend(unusual_secrets(webhook).chain(unknown_types(webhook)));
            warnings.extend(self.unusual_limits(webhook));
        }
        match self.ledger.url {
            LedgerUrl::None => {
                warnings.push("ledger.url is none: an event sent twice is delivered twice".to_owned())
            }
            LedgerUrl::Sqlite(_) | LedgerUrl::Redis(_) => {
                if self.ledger.retention < STRIPE_RESEND_WINDOW {
                    warnings.push(
                        "ledger.retention is shorter than the 30 days for which Stripe resends events: a later copy \
                         would be delivered again"
                            .to_owned(),
                    );
                }
                if self.ledger.on_outage == OnOutage::Deliver {
                    warnings.push(
                        "ledger.on_outage is deliver: while the ledger is out of reach, an event sent twice is \
                         delivered twice"
                            .to_owned(),
                    );
                }
            }
        }
        if self.ledger.durability == Durability::Replicated
            && let LedgerUrl::Sqlite(_) = self.ledger.url
        {
            warnings.push(
                "ledger.durability is replicated, but ledger.url is a SQLite file, which has no replica: its events are \
                 as durable as its disk"
                    .to_owned(),
            );
        }
        if self.server.shutdown_grace < self.backend.connect_timeout + self.backend.response_timeout {
            warnings.push(
                "server.shutdown_grace is shorter than backend.connect_timeout and response_timeout together: webhooks \
                 that come while the program stops are refused, and a slow delivery may be cut short"
                    .to_owned(),
            );
        }
        let checkout_on = self.checkout_state() == CheckoutState::On;
        if checkout_on && self.server.shutdown_grace < retry::max_call_duration(self.stripe.timeout) {
            warnings.push(
                "server.shutdown_grace is shorter than an order can take (three times stripe.timeout, and 1.5s): \
                 orders that come while the program stops are refused"
                    .to_owned(),
            );
        }
        warnings.extend(self.checkout.unusable_params());
        warnings
    }
}

impl Config {
    /// Returns a sentence for each limit of an endpoint that does not do what it seems to.
    fn unusual_limits(&self, webhook: &WebhookConfig) -> Vec<String> {
        let mut warnings = Vec::new();
        if webhook.max_inline > self.server.max_webhooks {
            warnings.push(format!(
                "webhook \"{}\": max_inline is {}, but server.max_webhooks allows no more than {} webhooks at once",
                webhook.name, webhook.max_inline, self.server.max_webhooks
            ));
        }
        if webhook.has_hybrid_events() && webhook.max_concurrent == 1 {
            warnings.push(format!(
                "webhook \"{}\": max_concurrent is 1, so no slot is reserved for hybrid events: they wait behind a backlog \
                 of queued ones",
                webhook.name
            ));
        }
        warnings
    }
}

/// Returns a sentence for each secret that does not look like Stripe's. It names the secret by its position.
fn unusual_secrets(webhook: &WebhookConfig) -> impl Iterator<Item = String> {
    let looks_usual = |secret: &SecretString| secret.expose_secret().starts_with(SECRET_PREFIX);
    let numbered = (1..).zip(&webhook.secrets);
    numbered.filter(move |(_, secret)| !looks_usual(secret)).map(|(number, _)| {
        format!(
            "webhook \"{}\": secret {number} of {} does not begin with whsec_, as Stripe's signing secrets do: check \
             that it is the signing secret of the endpoint at Stripe",
            webhook.name,
            webhook.secrets.len()
        )
    })
}

/// Returns a sentence for each event type that Stripe does not have, as far as is known.
fn unknown_types(webhook: &WebhookConfig) -> impl Iterator<Item = String> {
    let rules = webhook.rules.iter().flat_map(|rule| &rule.types);
    webhook.types.iter().chain(rules).filter(|pattern| !event_types::is_known(pattern)).map(|pattern| {
        let advice = match event_types::nearest(pattern) {
            Some(known) => format!("did you mean \"{known}\"?"),
            None => "check its spelling. If it is new at Stripe, this is no mistake".to_owned(),
        };
        format!(
            "webhook \"{}\": types has \"{pattern}\", which this version does not know as an event type of \
             Stripe's: {advice}",
            webhook.name
        )
    })
}
