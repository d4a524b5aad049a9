//! One guarded path at work: its configuration made ready for requests. Replaced as a whole on a reload, so a
//! request sees either the old one or the new.

use secrecy::ExposeSecret;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Livemode, Webhook};
use crate::metrics::{EndpointMetrics, Metrics};
use crate::stripe::event::VerifiedEvent;
use crate::stripe::signature::Secret;

/// A webhook endpoint.
pub struct Endpoint {
    /// Ledger key, metric label, log field.
    pub name: Arc<str>,
    /// Stripe's signing secrets, in the configuration's order.
    pub secrets: Vec<Secret>,
    /// What deliveries are signed with instead, if anything.
    pub delivery_secret: Option<Secret>,
    /// Both ways, in seconds.
    pub tolerance: i64,
    /// In bytes.
    pub max_body: u64,
    /// For the whole body.
    pub body_timeout: Duration,
    /// `false`: a dry run.
    pub enforce: bool,
    /// Where its counters are.
    pub metrics: Arc<EndpointMetrics>,
    types: Vec<Pattern>,
    livemode: Livemode,
    accounts: Vec<Pattern>,
}

impl Endpoint {
    /// Makes a configured endpoint ready.
    pub fn new(config: &Webhook, metrics: &Metrics) -> Endpoint {
        let secret = |text: &secrecy::SecretString| Secret::new(text.expose_secret());
        let counters = metrics.endpoint(&config.name, config.secrets.len());
        counters.set_enforced(config.enforce);
        Endpoint {
            name: config.name.as_str().into(),
            secrets: config.secrets.iter().map(secret).collect(),
            delivery_secret: config.delivery_secret.as_ref().map(secret),
            tolerance: i64::try_from(config.tolerance.as_secs()).unwrap_or(i64::MAX),
            max_body: config.max_body,
            body_timeout: config.body_timeout,
            enforce: config.enforce,
            metrics: counters,
            types: config.types.iter().map(|p| Pattern::new(p)).collect(),
            livemode: config.livemode,
            accounts: config.accounts.iter().map(|p| Pattern::new(p)).collect(),
        }
    }

    /// Whether the app wants this event.
    pub fn forwards(&self, event: &VerifiedEvent) -> bool {
        self.wants(event.kind(), event.livemode(), event.account())
    }

    fn wants(&self, kind: &str, livemode: Option<bool>, account: Option<&str>) -> bool {
        let mode = match self.livemode {
            Livemode::Any => true,
            Livemode::Live => livemode == Some(true),
            Livemode::Test => livemode == Some(false),
        };
        // An event of one's own account names none: only a pattern that takes everything takes it.
        mode && self.types.iter().any(|p| p.matches(kind))
            && self.accounts.iter().any(|p| p.matches(account.unwrap_or_default()))
    }
}

/// `checkout.session.completed`, `checkout.session.*` or `*`.
#[derive(Debug)]
struct Pattern {
    text: String,
    open: bool,
}

impl Pattern {
    fn new(text: &str) -> Pattern {
        match text.strip_suffix('*') {
            Some(prefix) => Pattern { text: prefix.into(), open: true },
            None => Pattern { text: text.into(), open: false },
        }
    }

    fn matches(&self, word: &str) -> bool {
        if self.open { word.starts_with(&self.text) } else { word == self.text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    fn endpoint(types: &[&str], livemode: Livemode, accounts: &[&str]) -> Endpoint {
        let own = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
        let config = Webhook {
            path: "/w".into(),
            name: "w".into(),
            secrets: vec![SecretString::from("whsec_1")],
            delivery_secret: None,
            tolerance: Duration::from_secs(300),
            max_body: 1,
            body_timeout: Duration::from_secs(1),
            enforce: true,
            types: own(types),
            livemode,
            accounts: own(accounts),
        };
        Endpoint::new(&config, &Metrics::new())
    }

    #[test]
    fn events_are_forwarded_by_type_mode_and_account() {
        use Livemode::{Any, Live, Test};
        let all = &["*"][..];
        type Case<'a> =
            (&'a [&'a str], Livemode, &'a [&'a str], &'a str, Option<bool>, Option<&'a str>, bool);
        let table: &[Case<'_>] = &[
            (all, Any, all, "invoice.paid", Some(true), None, true),
            (all, Any, all, "invoice.paid", None, Some("acct_1"), true),
            (&["invoice.*"], Any, all, "invoice.paid", None, None, true),
            (&["invoice.*"], Any, all, "invoices", None, None, false),
            (&["invoice.paid"], Any, all, "invoice.paid", None, None, true),
            (&["invoice.paid"], Any, all, "invoice.paid.x", None, None, false),
            (&["a.b", "c.*"], Any, all, "c.d", None, None, true),
            (all, Live, all, "a", Some(true), None, true),
            (all, Live, all, "a", Some(false), None, false),
            (all, Live, all, "a", None, None, false),
            (all, Test, all, "a", Some(false), None, true),
            (all, Any, &["acct_1"], "a", None, Some("acct_1"), true),
            (all, Any, &["acct_1"], "a", None, Some("acct_2"), false),
            (all, Any, &["acct_1"], "a", None, None, false),
        ];
        for (types, mode, accounts, kind, livemode, account, wanted) in table {
            let endpoint = endpoint(types, *mode, accounts);
            assert_eq!(
                endpoint.wants(kind, *livemode, *account),
                *wanted,
                "{types:?} {mode:?} {accounts:?} {kind}"
            );
        }
    }
}
