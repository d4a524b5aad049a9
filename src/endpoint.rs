//! A configured webhook endpoint, ready for requests: how it verifies, what it accepts, which events it forwards and how
//! they are delivered. A reload replaces it as a whole, so a request sees either the old configuration or the new one.
//! It reads no request and delivers nothing.
//!
//! The file `inline_limit` bounds the inline deliveries of each endpoint.

mod inline_limit;

pub use inline_limit::{InlineLimit, InlinePermit};

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{DeliveryRule, Livemode, NO_ACCOUNT, WebhookConfig};
use crate::delivery::policy::DeliveryPolicy;
use crate::delivery_mode::DeliveryMode;
use crate::guard::Location;
use crate::metrics::{EndpointMetrics, Metrics};
use crate::pattern;
use crate::stripe::event::{self, EventRejection, VerifiedEvent};
use crate::stripe::signature::{self, Secret};

/// Returns the endpoints of the configuration that is in force now.
pub type Endpoints = dyn Fn() -> Vec<Arc<Endpoint>> + Send + Sync;

/// A configured webhook endpoint.
pub struct Endpoint {
    /// The endpoint's name: the ledger's key, the metrics' label, the log's field.
    pub name: Arc<str>,
    /// What tells the endpoint's webhooks from other requests. Never empty.
    pub locations: Vec<Location>,
    /// The raw queries that are taken; `*` stands for any.
    pub allowed_queries: Vec<String>,
    /// Whether requests that fail verification are refused. `false` is a dry run.
    pub enforce: bool,
    /// The secrets and the tolerance that signatures are verified with.
    pub verification: Verification,
    /// How large and how slow a body may be.
    pub limits: BodyLimits,
    /// The types, modes and accounts of events that are forwarded.
    pub filter: EventFilter,
    /// How long Stripe waits for a hybrid delivery, counted from the request's head.
    pub hybrid_deadline: Duration,
    /// What a delivery needs: signing secrets, retry schedule, slots.
    pub policy: Arc<DeliveryPolicy>,
    /// How many inline deliveries may be under way at once.
    pub inline_limit: InlineLimit,
    /// The endpoint's counters.
    pub metrics: Arc<EndpointMetrics>,
    /// Whether a path of the endpoint has variable segments.
    pub has_variable_path: bool,
    default_mode: DeliveryMode,
    mode_rules: Vec<DeliveryRule>,
}

impl Endpoint {
    /// Builds an endpoint from its configuration and registers its metrics.
    pub fn new(config: &WebhookConfig, inline_limit: InlineLimit, metrics: &Metrics) -> Self {
        let name: Arc<str> = config.name.as_str().into();
        let counters = metrics.endpoint(&config.name, config.secrets.len());
        counters.set_enforced(config.enforce);
        let verification = Verification::new(config);
        let policy = DeliveryPolicy::new(config, name.clone(), &verification.secrets, counters.clone());
        Self {
            name,
            has_variable_path: config.locations.iter().any(Location::is_variable),
            locations: config.locations.clone(),
            allowed_queries: config.allowed_queries.clone(),
            enforce: config.enforce,
            verification,
            limits: BodyLimits { max_body: config.max_body, body_timeout: config.body_timeout },
            filter: EventFilter::new(config),
            hybrid_deadline: config.deadline,
            policy: Arc::new(policy),
            inline_limit,
            metrics: counters,
            default_mode: config.delivery,
            mode_rules: config.rules.clone(),
        }
    }

    /// Takes over the delivery slots, the inline deliveries and the last webhook of the endpoint that this one replaces, so
    /// that deliveries under way still count.
    pub fn replacing(self, old: &Self) -> Self {
        Self {
            inline_limit: self.inline_limit.sharing_counts(&old.inline_limit),
            policy: Arc::new(self.policy.replacing(&old.policy)),
            ..self
        }
    }

    /// Returns whether the endpoint takes this raw query. Stripe's signature does not cover it.
    pub fn takes_query(&self, query: &[u8]) -> bool {
        self.allowed_queries.iter().any(|allowed| allowed == "*" || allowed.as_bytes() == query)
    }

    /// Returns the target of the endpoint's webhooks with these values of variable segments, separated by `/`, and this raw
    /// query; of several paths `preferred`, if it is one of them. Returns `None` if no path of the endpoint has as many
    /// variable segments, or the query lacks its pairs.
    pub fn target(&self, segments: &str, query: &str, preferred: Option<&str>) -> Option<String> {
        let separator = if query.is_empty() { "" } else { "?" };
        let locations = self.locations.iter().filter(|location| location.is_told_by(query));
        let paths: Vec<String> = locations.filter_map(|location| location.path_with(segments)).collect();
        let path = paths.iter().find(|path| Some(path.as_str()) == preferred).or(paths.first())?;
        Some(format!("{path}{separator}{query}"))
    }

    /// Returns whether a request for this path and raw query is one of the endpoint's webhooks.
    pub fn has_target(&self, path: &str, query: &str) -> bool {
        let is_told = |location: &Location| location.is_path(path.as_bytes()) && location.is_told_by(query);
        self.takes_query(query.as_bytes()) && self.locations.iter().any(is_told)
    }

    /// Returns the values of the variable segments in a path of the endpoint, separated by `/`.
    pub fn segments(&self, path: &str) -> Option<String> {
        let location = self.locations.iter().find(|location| location.is_path(path.as_bytes()))?;
        Some(location.segments(path.as_bytes()))
    }

    /// Returns how an event of this type reaches the backend: by the first rule that names the type, else by the
    /// endpoint's own mode.
    pub fn mode_for(&self, event_type: &str) -> DeliveryMode {
        let names = |rule: &&DeliveryRule| matches_any(&rule.types, event_type);
        self.mode_rules.iter().find(names).map_or(self.default_mode, |rule| rule.delivery)
    }
}

/// How an endpoint verifies requests.
pub struct Verification {
    /// Stripe's signing secrets, in the configuration's order. Never empty.
    pub secrets: Vec<Secret>,
    /// How far a signature's time may be from now, in either direction, in seconds.
    pub tolerance_s: i64,
}

impl Verification {
    fn new(config: &WebhookConfig) -> Self {
        let secret = |text: &SecretString| Secret::new(text.expose_secret());
        Self {
            secrets: config.secrets.iter().map(secret).collect(),
            tolerance_s: i64::try_from(config.tolerance.as_secs()).unwrap_or(i64::MAX),
        }
    }

    /// Verifies the signature of `body` and parses the event. `signatures` are all `Stripe-Signature` headers, `now` is in
    /// Unix seconds.
    ///
    /// # Errors
    /// The signature is not valid, or the signed body is not an event.
    pub fn verify<'h>(
        &self,
        signatures: impl IntoIterator<Item = &'h [u8]>,
        body: Bytes,
        now: i64,
    ) -> Result<VerifiedEvent, EventRejection> {
        event::verify(&self.secrets, signatures, body, now, self.tolerance_s)
    }

    /// Signs a body as Stripe would: one signature for each secret. `now` is in Unix seconds.
    pub fn sign(&self, body: &[u8], now: i64) -> String {
        signature::sign(&self.secrets, now, body)
    }
}

/// The bounds of a request's body.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// The maximum length, in bytes.
    pub max_body: u64,
    /// The maximum time in which the whole body has to arrive.
    pub body_timeout: Duration,
}

/// Which events an endpoint forwards, by type, mode and account.
pub struct EventFilter {
    types: Vec<String>,
    livemode: Livemode,
    accounts: Vec<String>,
}

impl EventFilter {
    /// Builds the filter of an endpoint's configuration.
    pub fn new(config: &WebhookConfig) -> Self {
        Self { types: config.types.clone(), livemode: config.livemode, accounts: config.accounts.clone() }
    }

    /// Returns whether the endpoint forwards this event.
    pub fn matches(&self, event: &VerifiedEvent) -> bool {
        self.matches_fields(event.event_type(), event.livemode(), event.account())
    }

    fn matches_fields(&self, event_type: &str, livemode: Option<bool>, account: Option<&str>) -> bool {
        let livemode_matches = match self.livemode {
            Livemode::Any => true,
            Livemode::Live => livemode == Some(true),
            Livemode::Test => livemode == Some(false),
        };
        // An event that names no account passes with `*` or with the word for such events.
        livemode_matches
            && matches_any(&self.types, event_type)
            && matches_any(&self.accounts, account.unwrap_or(NO_ACCOUNT))
    }
}

fn matches_any(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern::matches(pattern, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::use_count::UseCount;

    fn config(types: &[&str], livemode: Livemode, accounts: &[&str]) -> WebhookConfig {
        let own = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
        WebhookConfig {
            locations: vec!["/w".into()],
            allowed_queries: own(&["*"]),
            url: None,
            name: "w".into(),
            secrets: vec![SecretString::from("whsec_1")],
            delivery_secrets: vec![],
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
            max_inline: 0,
            rules: vec![
                DeliveryRule { types: own(&["checkout.session.*"]), delivery: DeliveryMode::Hybrid },
                DeliveryRule { types: own(&["checkout.*", "invoice.paid"]), delivery: DeliveryMode::Queued },
            ],
        }
    }

    #[test]
    fn the_first_rule_for_a_type_chooses_its_delivery_mode() {
        let endpoint = Endpoint::new(
            &config(&["*"], Livemode::Any, &["*"]),
            InlineLimit::new(0, 1, 1, UseCount::default()),
            &Metrics::new(),
        );
        for (event_type, delivery) in [
            ("checkout.session.completed", DeliveryMode::Hybrid),
            ("checkout.other", DeliveryMode::Queued),
            ("invoice.paid", DeliveryMode::Queued),
            ("invoice.paid.x", DeliveryMode::Inline),
            ("charge.succeeded", DeliveryMode::Inline),
        ] {
            assert_eq!(endpoint.mode_for(event_type), delivery, "{event_type}");
        }
        assert!(endpoint.policy.stores_events);
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
            (all, Any, &["acct_1", "none"], "a", None, None, true),
            (all, Any, &["none"], "a", None, None, true),
            (all, Any, &["none"], "a", None, Some("acct_1"), false),
        ];
        for (types, mode, accounts, event_type, livemode, account, forwarded) in table {
            let filter = EventFilter::new(&config(types, *mode, accounts));
            assert_eq!(
                filter.matches_fields(event_type, *livemode, *account),
                *forwarded,
                "{types:?} {mode:?} {accounts:?} {event_type}"
            );
        }
    }
}
