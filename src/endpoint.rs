//! One guarded path at work: its configuration made ready for requests. Replaced as a whole on a reload, so a
//! request sees either the old one or the new.

use secrecy::ExposeSecret;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

use crate::config::{Livemode, WebhookConfig};
use crate::delivery::retry_schedule::Schedule;
use crate::delivery_mode::DeliveryMode;
use crate::metrics::{EndpointMetrics, Metrics};
use crate::stripe::event::VerifiedEvent;
use crate::stripe::signature::Secret;

/// The waits between attempts for an endpoint that is gone, in seconds: those of the default.
const GONE_RETRY: [u64; 9] = [5, 30, 120, 600, 3_600, 10_800, 21_600, 43_200, 86_400];

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
    /// How long Stripe waits for a hybrid delivery, from the request's head.
    pub deadline: Duration,
    /// When a kept event is tried again.
    pub schedule: Schedule,
    /// Deliveries of kept events at once.
    pub max_concurrent: usize,
    /// A permit for each of them.
    pub slots: Arc<Semaphore>,
    /// Where its counters are.
    pub metrics: Arc<EndpointMetrics>,
    delivery: DeliveryMode,
    rules: Vec<(Vec<Pattern>, DeliveryMode)>,
    types: Vec<Pattern>,
    livemode: Livemode,
    accounts: Vec<Pattern>,
}

impl Endpoint {
    /// Makes a configured endpoint ready.
    pub fn new(config: &WebhookConfig, metrics: &Metrics) -> Endpoint {
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
            deadline: config.deadline,
            schedule: Schedule::new(config.retry.clone(), config.jitter),
            max_concurrent: config.max_concurrent,
            slots: Arc::new(Semaphore::new(config.max_concurrent)),
            metrics: counters,
            delivery: config.delivery,
            rules: config.rules.iter().map(|rule| (patterns(&rule.types), rule.delivery)).collect(),
            types: patterns(&config.types),
            livemode: config.livemode,
            accounts: patterns(&config.accounts),
        }
    }

    /// The same with the slots of the one it replaces, if there are to be as many: what that one has under way counts.
    pub fn replacing(mut self, old: &Endpoint) -> Endpoint {
        if old.max_concurrent == self.max_concurrent {
            self.slots = old.slots.clone();
        }
        self
    }

    /// What is left of an endpoint that the configuration does not name any more and that still holds events: they are
    /// delivered one at a time, as Stripe signed them.
    pub fn gone(name: &str, metrics: &Metrics) -> Endpoint {
        Endpoint {
            name: name.into(),
            secrets: Vec::new(),
            delivery_secret: None,
            tolerance: 0,
            max_body: 0,
            body_timeout: Duration::ZERO,
            enforce: true,
            deadline: Duration::ZERO,
            schedule: Schedule::new(GONE_RETRY.map(Duration::from_secs).into(), 0.2),
            max_concurrent: 1,
            slots: Arc::new(Semaphore::new(1)),
            metrics: metrics.endpoint(name, 0),
            delivery: DeliveryMode::Queued,
            rules: Vec::new(),
            types: Vec::new(),
            livemode: Livemode::Any,
            accounts: Vec::new(),
        }
    }

    /// How an event of this type reaches the backend: by the first rule that names it, else as the endpoint says.
    pub fn delivery(&self, event_type: &str) -> DeliveryMode {
        let rule = self.rules.iter().find(|(types, _)| types.iter().any(|p| p.matches(event_type)));
        rule.map_or(self.delivery, |(_, delivery)| *delivery)
    }

    /// Whether events are kept here, for some types at least.
    pub fn keeps(&self) -> bool {
        let keeps = |delivery| matches!(delivery, DeliveryMode::Queued | DeliveryMode::Hybrid);
        keeps(self.delivery) || self.rules.iter().any(|(_, delivery)| keeps(*delivery))
    }

    /// Whether the app wants this event.
    pub fn forwards(&self, event: &VerifiedEvent) -> bool {
        self.wants(event.event_type(), event.livemode(), event.account())
    }

    fn wants(&self, event_type: &str, livemode: Option<bool>, account: Option<&str>) -> bool {
        let mode = match self.livemode {
            Livemode::Any => true,
            Livemode::Live => livemode == Some(true),
            Livemode::Test => livemode == Some(false),
        };
        // An event of one's own account names none: only a pattern that takes everything takes it.
        mode && self.types.iter().any(|p| p.matches(event_type))
            && self.accounts.iter().any(|p| p.matches(account.unwrap_or_default()))
    }
}

fn patterns(texts: &[String]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text)).collect()
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
    use crate::config::DeliveryRule;
    use secrecy::SecretString;

    fn endpoint(types: &[&str], livemode: Livemode, accounts: &[&str]) -> Endpoint {
        let own = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
        let config = WebhookConfig {
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
            delivery: DeliveryMode::Inline,
            deadline: Duration::from_secs(8),
            retry: vec![],
            jitter: 0.0,
            max_concurrent: 8,
            rules: vec![
                DeliveryRule { types: own(&["checkout.session.*"]), delivery: DeliveryMode::Hybrid },
                DeliveryRule { types: own(&["checkout.*", "invoice.paid"]), delivery: DeliveryMode::Queued },
            ],
        };
        Endpoint::new(&config, &Metrics::new())
    }

    #[test]
    fn the_first_rule_for_a_type_says_how_it_is_delivered() {
        let endpoint = endpoint(&["*"], Livemode::Any, &["*"]);
        for (event_type, delivery) in [
            ("checkout.session.completed", DeliveryMode::Hybrid),
            ("checkout.other", DeliveryMode::Queued),
            ("invoice.paid", DeliveryMode::Queued),
            ("invoice.paid.x", DeliveryMode::Inline),
            ("charge.succeeded", DeliveryMode::Inline),
        ] {
            assert_eq!(endpoint.delivery(event_type), delivery, "{event_type}");
        }
        assert!(endpoint.keeps());
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
        for (types, mode, accounts, event_type, livemode, account, wanted) in table {
            let endpoint = endpoint(types, *mode, accounts);
            assert_eq!(
                endpoint.wants(event_type, *livemode, *account),
                *wanted,
                "{types:?} {mode:?} {accounts:?} {event_type}"
            );
        }
    }
}
