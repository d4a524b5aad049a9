//! The configuration as the rest of the program sees it: parsed once into types that cannot be wrong.
//! Nothing downstream checks again. One section a file, with its keys and their defaults; where the file is and
//! what its sections may not say together is `load`'s.

mod admin;
mod backend;
mod checkout;
mod entry;
mod faults;
mod ledger;
mod load;
mod log;
mod names;
mod placeholder;
mod redis_url;
mod section;
mod server;
mod units;
mod unknown;
mod warnings;
mod webhook;

pub use admin::{AdminConfig, Token};
pub use backend::{BackendConfig, BackendUrl};
pub use checkout::{
    CheckoutConfig, CheckoutMode, CheckoutState, IdentityConfig, PriceConfig, RateConfig, UiMode,
};
pub use faults::{ConfigError, ConfigErrors};
pub use ledger::{Durability, LedgerConfig, LedgerUrl, OnOutage};
pub use load::{BUILT_IN, Source};
pub use log::{LogConfig, LogFormat};
pub use redis_url::{RedisTarget, RedisUrl, SentinelTarget};
pub use server::{Listen, ServerConfig};
pub use webhook::{DEFAULT_JITTER, DEFAULT_RETRY, DeliveryRule, Livemode, WebhookConfig};

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[server]`: the listener that Caddy talks to.
    pub server: ServerConfig,
    /// `[admin]`: health, metrics and the events API.
    pub admin: AdminConfig,
    /// `[log]`.
    pub log: LogConfig,
    /// `[backend]`: the app.
    pub backend: BackendConfig,
    /// `[ledger]`: what remembers events.
    pub ledger: LedgerConfig,
    /// `[[webhook]]`: the guarded paths, in the file's order. Never empty.
    pub webhooks: Vec<WebhookConfig>,
    /// `[checkout]`: what is sold at the edge; off unless there is a key and a price.
    pub checkout: CheckoutConfig,
}

impl Config {
    /// Whether events are kept at any endpoint.
    pub fn keeps(&self) -> bool {
        self.webhooks.iter().any(WebhookConfig::keeps)
    }
}
