//! SIGHUP: what changes in the running program without a new socket. A reload is all or nothing: a configuration with
//! an error changes nothing.

use std::sync::Arc;

use super::running::App;
use super::{announce, build, process_manager};
use crate::clock;
use crate::config::{AdminConfig, Config, ServerConfig};
use crate::descriptors;

impl App {
    /// Reads the configuration again and puts endpoints, secrets and the checkout in force. Requests in flight finish
    /// with what they began with.
    pub(super) async fn reload(&mut self) {
        process_manager::reloading();
        let successful = self.try_reload().await;
        self.metrics.record_reload(successful, clock::unix());
        let status = self.entrance.status();
        if successful {
            process_manager::ready(status);
        } else {
            process_manager::ready(&format!(
                "{status}; the last reload failed, and the old configuration stays in force"
            ));
        }
    }

    /// Returns false, after a log line that says why, if the old configuration stays in force.
    async fn try_reload(&mut self) -> bool {
        let mut config = match self.source.load() {
            Ok(config) => config,
            Err(errors) => {
                tracing::error!(
                    errors = %errors,
                    "configuration not reloaded: it has errors, and the old one stays in force"
                );
                return false;
            }
        };
        // As at the start, so that the section counts as changed only if the file did.
        if let Some(limit) = descriptors::raise_limit() {
            config.server.lower_max_connections(descriptors::max_connections(limit));
        }
        self.warn_of_fixed_sections(&config);
        let before = self.routes.load().endpoints();
        let max_webhooks = self.config.server.max_webhooks;
        match build::routes(&config, max_webhooks, &self.metrics, &mut self.checkout, &before) {
            // One store swaps everything: a request sees the old configuration or the new one, never a mixture.
            Ok(routes) => {
                let routes = Arc::new(routes);
                self.routes.store(Arc::clone(&routes));
                // A new secret must not wait for Stripe. Prices that were known stay known.
                routes.resolve_prices().await;
            }
            Err(message) => {
                tracing::error!(
                    message,
                    "configuration not reloaded: the checkout cannot be opened, and the old one stays in force"
                );
                return false;
            }
        }
        self.ledger.set_queueing_enabled(config.queues_events());
        self.reload_credentials(&config);
        announce::checkout(&config);
        // Series of endpoints that left the configuration would stay at their last value for ever.
        self.metrics.retain(&config.webhooks.iter().map(|w| w.name.as_str()).collect::<Vec<_>>());
        announce::warnings(&config);
        tracing::info!(endpoints = config.webhooks.len(), "configuration reloaded");
        true
    }

    /// Puts the token of the events API in force, and the credentials of the ledger if it is the same one.
    fn reload_credentials(&self, config: &Config) {
        self.admin_token.store(config.admin.token.clone().map(Arc::new));
        if self.config.ledger.url.same_records(&config.ledger.url) {
            self.ledger.set_credentials(&config.ledger.url);
        }
    }

    /// Warns of changes that only a restart puts in force.
    fn warn_of_fixed_sections(&self, config: &Config) {
        let running = &self.config;
        // `trusted_proxies`, the token and the ledger's credentials are the keys of these sections that a reload changes.
        let server =
            ServerConfig { trusted_proxies: config.server.trusted_proxies.clone(), ..running.server.clone() };
        let admin = AdminConfig { token: config.admin.token.clone(), ..running.admin.clone() };
        let mut ledger = running.ledger.clone();
        if ledger.url.same_records(&config.ledger.url) {
            ledger.url = config.ledger.url.clone();
        }
        let fixed = [
            ("server", config.server != server),
            ("admin", config.admin != admin),
            ("log", config.log != running.log),
            ("backend", config.backend != running.backend),
            ("ledger", config.ledger != ledger),
        ];
        for (section, _) in fixed.iter().filter(|(_, changed)| *changed) {
            tracing::warn!(section, "this section changed, but only a restart puts the change in force");
        }
    }
}
