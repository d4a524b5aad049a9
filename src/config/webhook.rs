//! `[[webhook]]`: one guarded path with its secrets.

use super::names;
use super::section::Section;
use super::units::{self, Wrong};
use crate::delivery_mode::DeliveryMode;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::time::Duration;

/// Which mode's events are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Livemode {
    /// Both (default).
    Any,
    /// `livemode: true` only.
    Live,
    /// `livemode: false` only.
    Test,
}

/// One `[[webhook.rule]]`: another way to deliver for some event types. The first that matches counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRule {
    /// Event types; `*` at the end of one matches any rest. Never empty.
    pub types: Vec<String>,
    /// How they reach the backend.
    pub delivery: DeliveryMode,
}

/// One `[[webhook]]`.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// The guarded path, as the backend knows it. Default `/webhooks/stripe`.
    pub path: String,
    /// The endpoint's name: ledger key and metric label. Default: the path.
    pub name: String,
    /// Stripe's signing secrets, tried in order. Never empty, none blank.
    pub secrets: Vec<SecretString>,
    /// With it, every delivery is signed with this alone; `None` if blank.
    pub delivery_secret: Option<SecretString>,
    /// How old, or how far ahead, a signature may be. Default 5 min, never 0.
    pub tolerance: Duration,
    /// The longest body, in bytes. Default 1 MiB.
    pub max_body: u64,
    /// For the whole body. Default 10 s.
    pub body_timeout: Duration,
    /// `false` is a dry run. Default `true`.
    pub enforce: bool,
    /// Event types that are forwarded; `*` at the end of one matches any rest. Default `["*"]`.
    pub types: Vec<String>,
    /// Default `any`.
    pub livemode: Livemode,
    /// Connect accounts that are forwarded, `*` for all and for none. Default `["*"]`.
    pub accounts: Vec<String>,
    /// Default `inline`.
    pub delivery: DeliveryMode,
    /// How long Stripe waits for a hybrid delivery, from the request's head. Default 8 s.
    pub deadline: Duration,
    /// The waits between attempts at a kept event; after the last it is dead. Default 5 s to 24 h.
    pub retry: Vec<Duration>,
    /// By how much of itself a wait may vary, 0 to 1. Default 0.2.
    pub jitter: f64,
    /// Deliveries of kept events at once, in this process. Default 8.
    pub max_concurrent: usize,
    /// Other ways for some types, in the file's order.
    pub rules: Vec<DeliveryRule>,
}

/// The default of `retry`: ten attempts over two days.
pub const DEFAULT_RETRY: [&str; 9] = ["5s", "30s", "2m", "10m", "1h", "3h", "6h", "12h", "24h"];

/// The default of `jitter`, as a fraction of each wait.
pub const DEFAULT_JITTER: f64 = 0.2;

/// The longest body that may be allowed: it is held in memory whole.
const MOST_BODY: u64 = 1 << 30;

impl WebhookConfig {
    pub(super) fn read(section: &mut Section, taken: &mut UniqueNames) -> Option<WebhookConfig> {
        let path = section.text("path", "/webhooks/stripe", names::path);
        let name = section
            .text("name", "", names::endpoint)
            .and_then(|name| if name.is_empty() { path.clone() } else { Some(name) });
        taken.take(section, path.as_deref(), name.as_deref());
        let secrets = section.secrets("secrets", &["{$STRIPE_WEBHOOK_SECRET}"]);
        let delivery_secret = section.secret_or_blank("delivery_secret");
        let tolerance = section.text("tolerance", "5m", units::tolerance);
        let max_body = section.size("max_body", 1 << 20, 1..=MOST_BODY);
        let body_timeout = section.text("body_timeout", "10s", units::timeout);
        let enforce = section.flag("enforce", true);
        let types = section
            .list("types", &["*"], names::type_pattern)
            .and_then(|types| some(section, "types", types, "[\"*\"] forwards every type"));
        let livemode = section.text("livemode", "any", |text| {
            units::word(text, &[("any", Livemode::Any), ("live", Livemode::Live), ("test", Livemode::Test)])
        });
        let accounts = section.list("accounts", &["*"], names::account).and_then(|accounts| {
            some(section, "accounts", accounts, "[\"*\"] forwards every account's events")
        });
        let delivery = section.text("delivery", "inline", way);
        let deadline = section.text("deadline", "8s", units::timeout);
        let retry = section.list("retry", &DEFAULT_RETRY, units::wait);
        let jitter = section.share("jitter", DEFAULT_JITTER);
        let max_concurrent = section.whole("max_concurrent", 8, 1..=1024);
        let rules = section.tables("rule", "webhook.rule").and_then(|tables| {
            let rules: Vec<_> = tables.into_iter().map(DeliveryRule::read).collect();
            rules.into_iter().collect::<Option<Vec<_>>>()
        });
        Some(WebhookConfig {
            path: path?,
            name: name?,
            secrets: secrets?,
            delivery_secret: delivery_secret?,
            tolerance: tolerance?,
            max_body: max_body?,
            body_timeout: body_timeout?,
            enforce: enforce?,
            types: types?,
            livemode: livemode?,
            accounts: accounts?,
            delivery: delivery?,
            deadline: deadline?,
            retry: retry?,
            jitter: jitter?,
            max_concurrent: usize::try_from(max_concurrent?).unwrap_or(usize::MAX),
            rules: rules?,
        })
    }

    /// Whether events are kept here, for some types at least.
    pub fn keeps(&self) -> bool {
        let keeps = |delivery| matches!(delivery, DeliveryMode::Queued | DeliveryMode::Hybrid);
        keeps(self.delivery) || self.rules.iter().any(|rule| keeps(rule.delivery))
    }
}

impl DeliveryRule {
    fn read(mut section: Section) -> Option<DeliveryRule> {
        let types = section.list("types", &[], names::type_pattern);
        let types = types
            .and_then(|types| some(&section, "types", types, "a rule is for some types: [\"invoice.*\"]"));
        let delivery = section.required("delivery", "\"inline\", \"queued\" or \"hybrid\"", way);
        section.finish();
        Some(DeliveryRule { types: types?, delivery: delivery? })
    }
}

fn way(text: &str) -> Result<DeliveryMode, Wrong> {
    let ways = [
        ("inline", DeliveryMode::Inline),
        ("queued", DeliveryMode::Queued),
        ("hybrid", DeliveryMode::Hybrid),
    ];
    units::word(text, &ways)
}

fn some(section: &Section, key: &'static str, list: Vec<String>, help: &str) -> Option<Vec<String>> {
    if list.is_empty() {
        section.fault(key, "an empty list".to_owned(), "one entry at least", help);
        return None;
    }
    Some(list)
}

/// The paths and names that endpoints have so far, each with the line of its endpoint.
#[derive(Default)]
pub(super) struct UniqueNames {
    paths: BTreeMap<String, Option<usize>>,
    names: BTreeMap<String, Option<usize>>,
}

impl UniqueNames {
    /// Takes an endpoint's path and name, and notes where another has them.
    fn take(&mut self, section: &Section, path: Option<&str>, name: Option<&str>) {
        let at = |line: Option<usize>| line.map(|line| format!(" of line {line}")).unwrap_or_default();
        // What a path means to a backend that minds neither case nor a slash at the end.
        let meaning = |path: &str| path.trim_end_matches('/').to_ascii_lowercase();
        if let Some(path) = path
            && let Some(first) = self.paths.insert(meaning(path), section.line())
        {
            let found = format!("the path \"{path}\" a second time");
            let help = format!("give the endpoint{} this one's secrets as well", at(first));
            section.fault("path", found, "one endpoint a path", &help);
            // Its name, the path by default, would only repeat that.
            return;
        }
        if let Some(name) = name
            && let Some(first) = self.names.insert(name.to_owned(), section.line())
        {
            let help = format!("the endpoint{} has this one", at(first));
            section.fault("name", format!("the name \"{name}\" a second time"), "a name of its own", &help);
        }
    }
}
