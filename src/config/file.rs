//! The whole configuration, and how it is read from a parsed file: every section first, then the rules between them.
//! Reading goes on after an error, so that one reading finds them all.

use super::admin::AdminConfig;
use super::backend::BackendConfig;
use super::checkout::{CheckoutConfig, CheckoutState};
use super::cross_section;
use super::ledger::LedgerConfig;
use super::log::LogConfig;
use super::reader::{Diagnostic, Reading, Section};
use super::server::ServerConfig;
use super::stripe::StripeConfig;
use super::webhook::WebhookConfig;
use super::webhook::same_name::merge_same_names;
use super::webhook::unique_locations::UniqueLocations;
use toml::de::{DeTable, DeValue};

/// The whole configuration. A reload replaces it as one value.
#[derive(Debug, Clone)]
pub struct Config {
    /// The section `[server]`: the public listener and its limits.
    pub server: ServerConfig,
    /// The section `[admin]`: the listener for health, metrics and the events API.
    pub admin: AdminConfig,
    /// The section `[log]`: level and format of the log.
    pub log: LogConfig,
    /// The section `[backend]`: the program behind Countersign.
    pub backend: BackendConfig,
    /// The section `[ledger]`: where the state of every event is stored.
    pub ledger: LedgerConfig,
    /// The sections `[[webhook]]`: the guarded paths, in the order of the file. Never empty.
    pub webhooks: Vec<WebhookConfig>,
    /// The section `[stripe]`: how Stripe's API is reached.
    pub stripe: StripeConfig,
    /// The section `[checkout]`: Checkout Sessions. Off without a key and a price.
    pub checkout: CheckoutConfig,
}

impl Config {
    /// Whether any endpoint queues events.
    pub fn queues_events(&self) -> bool {
        self.webhooks.iter().any(WebhookConfig::queues_events)
    }

    /// Returns whether the checkout is on, and if not, why.
    pub fn checkout_state(&self) -> CheckoutState {
        self.checkout.state(&self.stripe)
    }
}

/// A file after TOML parsing.
pub(super) struct ConfigFile<'r, 'a, 'i> {
    reading: &'r Reading<'a>,
    table: &'r DeTable<'i>,
}

impl<'r, 'a, 'i> ConfigFile<'r, 'a, 'i> {
    pub(super) fn new(reading: &'r Reading<'a>, table: &'r DeTable<'i>) -> Self {
        ConfigFile { reading, table }
    }

    /// Reads every section. Returns `None` if a section reported an error; a rule between sections only reports.
    pub(super) fn config(&self) -> Option<Config> {
        self.check_section_names();
        let [mut server_section, mut admin_section, mut log_section, mut backend_section, mut ledger_section] =
            ["server", "admin", "log", "backend", "ledger"].map(|name| self.section(name));
        let server = ServerConfig::read(&mut server_section);
        let admin = AdminConfig::read(&mut admin_section);
        let log = LogConfig::read(&mut log_section);
        let backend = BackendConfig::read(&mut backend_section);
        let ledger = LedgerConfig::read(&mut ledger_section);
        let webhooks = self.webhooks();
        let stripe = self.stripe();
        let mut checkout_section = self.section("checkout");
        let checkout = CheckoutConfig::read(&mut checkout_section, stripe.as_ref());

        if let (Some(server), Some(admin)) = (&server, &admin) {
            cross_section::check_admin_listener(&admin_section, admin, server);
        }
        if let (Some(server), Some(backend)) = (&server, &backend) {
            cross_section::check_backend_url(&backend_section, backend, server);
        }
        if let (Some(checkout), Some(stripe), Some(webhooks)) = (&checkout, &stripe, &webhooks)
            && checkout.state(stripe) == CheckoutState::On
        {
            cross_section::check_checkout_paths(&checkout_section, checkout, webhooks);
        }
        if let (Some(ledger), Some(webhooks)) = (&ledger, &webhooks) {
            cross_section::check_ledger_for_queues(&ledger_section, ledger, webhooks);
        }
        let sections = [server_section, admin_section, log_section, backend_section, ledger_section];
        for section in std::iter::once(checkout_section).chain(sections) {
            section.finish();
        }
        Some(Config {
            server: server?,
            admin: admin?,
            log: log?,
            backend: backend?,
            ledger: ledger?,
            webhooks: webhooks?,
            stripe: stripe?,
            checkout: checkout?,
        })
    }

    /// Reads `[admin]` alone, and reports its errors only.
    pub(super) fn admin(&self) -> Option<AdminConfig> {
        let mut section = self.section("admin");
        let admin = AdminConfig::read(&mut section);
        section.finish();
        admin
    }

    /// Reads `[stripe]`. Its keys are known before `[checkout]` is read, so that one in the wrong section is recognised.
    fn stripe(&self) -> Option<StripeConfig> {
        let mut section = self.section("stripe");
        let stripe = StripeConfig::read(&mut section);
        section.finish();
        stripe
    }

    fn section(&self, name: &'static str) -> Section<'r, 'a, 'i> {
        Section::new(self.reading, name, self.table.get(name))
    }

    fn check_section_names(&self) {
        let mut root = Section::root(self.reading, self.table);
        for name in ["server", "admin", "log", "backend", "ledger", "webhook", "stripe", "checkout"] {
            root.allow_key(name);
        }
        root.finish();
    }

    /// Reads the endpoints: those of the file, or the default one if the file has none.
    fn webhooks(&self) -> Option<Vec<WebhookConfig>> {
        let value = self.table.get("webhook");
        let mut sections: Vec<Section> = match value.map(|value| (value, value.get_ref())) {
            None => vec![self.section("webhook")],
            Some((_, DeValue::Array(list))) if !list.is_empty() => {
                list.iter().map(|value| Section::new(self.reading, "webhook", Some(value))).collect()
            }
            Some((value, other)) => {
                let found = match other {
                    DeValue::Array(_) => "an empty list",
                    DeValue::Table(_) => "a table",
                    DeValue::String(_)
                    | DeValue::Integer(_)
                    | DeValue::Float(_)
                    | DeValue::Boolean(_)
                    | DeValue::Datetime(_) => "a value",
                };
                self.reading.report(Diagnostic {
                    line: Some(self.reading.line_at(value.span().start)),
                    key: "webhook".to_owned(),
                    found: found.to_owned(),
                    expected: "a list of tables".to_owned(),
                    help: "write [[webhook]] for each of them".to_owned(),
                });
                return None;
            }
        };
        let mut unique = UniqueLocations::default();
        let webhooks: Vec<_> =
            sections.iter_mut().map(|section| WebhookConfig::read(section, &mut unique)).collect();
        let webhooks = webhooks.into_iter().collect::<Option<Vec<_>>>();
        let webhooks = webhooks.map(|webhooks| merge_same_names(webhooks, &sections));
        for section in sections {
            section.finish();
        }
        webhooks
    }
}
