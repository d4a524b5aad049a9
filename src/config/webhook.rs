//! `[[webhook]]`: one guarded path with its secrets, its filter and its way of delivery. The file `values` says how the
//! values are written, `signing_secret` how a secret is, `public_url` how `url` is, `unique_locations` that one path belongs
//! to one endpoint, and `same_name` makes one endpoint of the sections that share a name.

mod public_url;
pub(super) mod same_name;
pub(super) mod signing_secret;
pub(super) mod unique_locations;
pub(super) mod values;

pub use public_url::PublicUrl;
pub use values::NO_ACCOUNT;

use super::reader::{InvalidValue, Section, one_of, timeout};
use crate::delivery_mode::DeliveryMode;
use crate::guard::{Location, Preset};
use secrecy::SecretString;
use std::time::Duration;

use signing_secret::{SIGNING_SECRET, signing_secret};
use unique_locations::UniqueLocations;

/// The default of `retry`: ten attempts over two days.
pub const DEFAULT_RETRY: [&str; 11] =
    ["5s", "30s", "2m", "10m", "1h", "3h", "6h", "12h", "24h", "24h", "24h"];

/// The default of `jitter`, as a fraction of each wait.
pub const DEFAULT_JITTER: f64 = 0.2;

/// The largest `max_body`, in bytes. A body is held in memory as a whole.
const MAX_BODY: u64 = 1 << 30;

/// The largest `max_concurrent`.
const MAX_CONCURRENT: u64 = 1024;

/// The largest `max_inline`.
const MAX_INLINE: u64 = 1_000_000;

/// The modes that the configuration can choose. [`DeliveryMode::Redelivery`] is for operators alone.
const DELIVERIES: &[(&str, DeliveryMode)] =
    &[("inline", DeliveryMode::Inline), ("queued", DeliveryMode::Queued), ("hybrid", DeliveryMode::Hybrid)];

/// The products that `preset` names.
const PRESETS: &[(&str, Option<Preset>)] = &[
    ("", None),
    ("woocommerce", Some(Preset::WooCommerce)),
    ("gravityforms", Some(Preset::GravityForms)),
    ("edd", Some(Preset::Edd)),
    ("joomla", Some(Preset::Joomla)),
];

const LIVEMODES: &[(&str, Livemode)] =
    &[("any", Livemode::Any), ("live", Livemode::Live), ("test", Livemode::Test)];

/// The `livemode` of the events that are forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Livemode {
    /// Events of either mode. This is the default.
    Any,
    /// Events with `livemode: true` only.
    Live,
    /// Events with `livemode: false` only.
    Test,
}

/// One `[[webhook.rule]]`: another delivery for some event types. The first rule that matches an event applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRule {
    /// Event types. A `*` at the end matches any rest. Never empty.
    pub types: Vec<String>,
    /// How events of these types reach the backend.
    pub delivery: DeliveryMode,
}

/// One section `[[webhook]]`.
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    /// What tells the endpoint's webhooks from other requests. Never empty. Defaults to the path `/webhooks/stripe`.
    pub locations: Vec<Location>,
    /// The raw queries that are taken; `*` stands for any. Never empty. Defaults to `["*"]`.
    pub allowed_queries: Vec<String>,
    /// The URL of the endpoint as Stripe knows it. `None` by default: imported events then look like the last webhook.
    pub url: Option<PublicUrl>,
    /// The endpoint's name in ledger, metrics and logs. Defaults to its first location.
    pub name: String,
    /// Stripe's signing secrets, tried in this order. Never empty, and none is blank.
    pub secrets: Vec<SecretString>,
    /// The secrets that sign every delivery again, each with a signature of its own. None forwards Stripe's own signature.
    pub delivery_secrets: Vec<SecretString>,
    /// How far a signature's timestamp may be from now, in either direction. Defaults to 5 minutes, never 0.
    pub tolerance: Duration,
    /// The longest body, in bytes. Defaults to 1 MiB.
    pub max_body: u64,
    /// The time limit for the whole body. Defaults to 10 seconds.
    pub body_timeout: Duration,
    /// Whether invalid webhooks are rejected. `false` is a dry run. Defaults to `true`.
    pub enforce: bool,
    /// Event types that are forwarded. A `*` at the end matches any rest. Defaults to `["*"]`.
    pub types: Vec<String>,
    /// The `livemode` of the events that are forwarded. Defaults to `any`.
    pub livemode: Livemode,
    /// Connected accounts whose events are forwarded. `*` stands for all of them and for events without an account,
    /// [`NO_ACCOUNT`] for the latter alone. Defaults to `["*"]`.
    pub accounts: Vec<String>,
    /// How events reach the backend, unless a rule says otherwise. Defaults to `inline`.
    pub delivery: DeliveryMode,
    /// The time for which Stripe waits for a hybrid delivery, from the request's head. Defaults to 8 seconds.
    pub deadline: Duration,
    /// The delays before the further attempts at a queued event. After the last one fails, the event is dead. Defaults
    /// to nine delays from 5 seconds to 24 hours.
    pub retry: Vec<Duration>,
    /// The part of a delay by which it may vary, from 0 to 1. Defaults to 0.2.
    pub jitter: f64,
    /// The maximum of simultaneous deliveries of queued events in this process. Defaults to 8.
    pub max_concurrent: usize,
    /// The maximum of simultaneous inline deliveries, and 0 by default: all of `max_webhooks` where there is one endpoint,
    /// else three quarters of it.
    pub max_inline: usize,
    /// Other deliveries for some event types, in the order of the file.
    pub rules: Vec<DeliveryRule>,
}

impl WebhookConfig {
    pub(super) fn read(section: &mut Section, unique: &mut UniqueLocations) -> Option<Self> {
        let locations = read_locations(section);
        let allowed_queries =
            section.list("allowed_queries", &["*"], values::allowed_query).and_then(|queries| {
                let help = "[\"*\"] takes every query, and [\"\"] only requests without one";
                section.non_empty("allowed_queries", queries, "at least one entry", help)
            });
        let url = public_url::read(section, locations.as_deref(), allowed_queries.as_deref());
        let name = section.text("name", "", values::endpoint_name).and_then(|name| match name.is_empty() {
            true => Some(locations.as_ref()?.first()?.as_written()),
            false => Some(name),
        });
        if let (Some(locations), Some(name)) = (&locations, &name) {
            unique.insert(section, locations, name);
        }
        let secrets = read_secrets(section);
        let delivery_secrets =
            section.secrets_or_blank("delivery_secret", "", SIGNING_SECRET, signing_secret);
        let tolerance = section.text("tolerance", "5m", values::tolerance);
        let max_body = section.size("max_body", 1 << 20, 1..=MAX_BODY);
        let body_timeout = section.text("body_timeout", "10s", timeout);
        let enforce = section.bool("enforce", true);
        let types = section.list("types", &["*"], values::type_pattern).and_then(|types| {
            section.non_empty("types", types, "at least one entry", "[\"*\"] forwards every type")
        });
        let livemode = section.text("livemode", "any", |text| one_of(text, LIVEMODES));
        let accounts = section.list("accounts", &["*"], values::account).and_then(|accounts| {
            let help = "[\"*\"] forwards every account's events";
            section.non_empty("accounts", accounts, "at least one entry", help)
        });
        let delivery = section.text("delivery", "inline", parse_delivery);
        let deadline = section.text("deadline", "8s", timeout);
        let retry = section.list("retry", &DEFAULT_RETRY, values::retry_delay);
        let jitter = section.ratio("jitter", DEFAULT_JITTER);
        let max_concurrent = section.integer("max_concurrent", 8, 1..=MAX_CONCURRENT);
        let max_inline = section.integer("max_inline", 0, 0..=MAX_INLINE);
        let rules = read_rules(section);
        Some(Self {
            locations: locations?,
            allowed_queries: allowed_queries?,
            url: url?,
            name: name?,
            secrets: secrets?,
            delivery_secrets: delivery_secrets?,
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
            max_inline: usize::try_from(max_inline?).unwrap_or(usize::MAX),
            rules: rules?,
        })
    }

    /// Whether events of some types, at least, are delivered as hybrid.
    pub fn has_hybrid_events(&self) -> bool {
        self.delivery == DeliveryMode::Hybrid
            || self.rules.iter().any(|rule| rule.delivery == DeliveryMode::Hybrid)
    }

    /// Whether events of some types, at least, are queued here.
    pub fn queues_events(&self) -> bool {
        self.delivery.is_stored() || self.rules.iter().any(|rule| rule.delivery.is_stored())
    }
}

/// Reads `path`, `query` and `preset`: one location for each spelling of the path.
fn read_locations(section: &mut Section) -> Option<Vec<Location>> {
    let preset = section.text("preset", "", |text| one_of(text, PRESETS));
    let known = preset.flatten();
    let paths =
        section.patterns("path", known.map_or("/webhooks/stripe", Preset::path), values::location_path);
    let paths = paths.and_then(|paths| {
        section.non_empty("path", paths, "at least one path", "omit the key for \"/webhooks/stripe\"")
    });
    // A product's webhook may have a path of its own beside the front controller.
    let told_by_path =
        section.has_key("path") && !paths.as_ref().is_some_and(|paths| paths.iter().any(|p| p == "/"));
    let default = if told_by_path { None } else { known.and_then(Preset::query) };
    let query = section.text("query", default.unwrap_or_default(), values::query)?;
    let (preset, paths) = (preset?, paths?);
    if known == Some(Preset::Joomla) && query.is_empty() {
        let help = "the component's webhook is told by them, as in \"option=com_shop&task=stripe.webhook\"";
        section.report("query", "no pairs", "the pairs that tell the webhook", help);
        return None;
    }
    if query.is_empty() && paths.iter().any(|path| path == "/") {
        let help = "the whole site cannot be one webhook, unless the key query says which requests are";
        section.report("path", "\"/\"", "a path such as \"/webhooks/stripe\"", help);
        return None;
    }
    Some(paths.into_iter().map(|path| Location { path, query: query.clone(), preset }).collect())
}

fn read_rules(section: &mut Section) -> Option<Vec<DeliveryRule>> {
    // Every rule is read before the first error returns, so that all errors are reported at once.
    let rules: Vec<_> = section.tables("rule", "webhook.rule")?.into_iter().map(DeliveryRule::read).collect();
    rules.into_iter().collect()
}

fn read_secrets(section: &mut Section) -> Option<Vec<SecretString>> {
    let default = &["{$STRIPE_WEBHOOK_SECRET}"];
    let secrets = section.secret_list("secrets", default, SIGNING_SECRET, signing_secret)?;
    let help = "without a secret no webhook can be verified; omit the key to use {$STRIPE_WEBHOOK_SECRET}";
    section.non_empty("secrets", secrets, "at least one secret", help)
}

impl DeliveryRule {
    fn read(mut section: Section) -> Option<Self> {
        let types = section.list("types", &[], values::type_pattern).and_then(|types| {
            let help = "list the event types of this rule, as in [\"invoice.*\"]";
            section.non_empty("types", types, "at least one entry", help)
        });
        let delivery = section.required("delivery", "\"inline\", \"queued\" or \"hybrid\"", parse_delivery);
        section.finish();
        Some(Self { types: types?, delivery: delivery? })
    }
}

fn parse_delivery(text: &str) -> Result<DeliveryMode, InvalidValue> {
    one_of(text, DELIVERIES)
}
