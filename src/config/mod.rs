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

pub use admin::{Admin, Token};
pub use backend::{Backend, BackendUrl};
pub use checkout::{Checkout, Identity, Mode, Price, Rate, State, UiMode};
pub use faults::{Fault, Faults};
pub use ledger::{Durability, Ledger, LedgerUrl, OnOutage};
pub use load::{BUILT_IN, Source};
pub use log::{Log, LogFormat};
pub use redis_url::{RedisTarget, RedisUrl, SentinelTarget};
pub use server::{Listen, Server};
pub use webhook::{Delivery, Livemode, Rule, Webhook};

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[server]`: the listener that Caddy talks to.
    pub server: Server,
    /// `[admin]`: health, metrics and the events API.
    pub admin: Admin,
    /// `[log]`.
    pub log: Log,
    /// `[backend]`: the app.
    pub backend: Backend,
    /// `[ledger]`: what remembers events.
    pub ledger: Ledger,
    /// `[[webhook]]`: the guarded paths, in the file's order. Never empty.
    pub webhooks: Vec<Webhook>,
    /// `[checkout]`: what is sold at the edge; off unless there is a key and a price.
    pub checkout: Checkout,
}

impl Config {
    /// Whether events are kept at any endpoint.
    pub fn keeps(&self) -> bool {
        self.webhooks.iter().any(Webhook::keeps)
    }
}
