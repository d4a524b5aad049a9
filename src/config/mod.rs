//! The configuration as the rest of the program sees it: parsed once into types that cannot be wrong.
//! Nothing downstream checks again. One section a file; how a file becomes these types is `load`'s.

mod admin;
mod backend;
mod ledger;
mod log;
mod server;
mod webhook;

pub use admin::Admin;
pub use backend::{Backend, BackendUrl};
pub use ledger::{Ledger, LedgerUrl, OnOutage};
pub use log::{Log, LogFormat};
pub use server::{Listen, Server};
pub use webhook::{Livemode, Webhook};

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[server]`: the listener that Caddy talks to.
    pub server: Server,
    /// `[admin]`: health and metrics.
    pub admin: Admin,
    /// `[log]`.
    pub log: Log,
    /// `[backend]`: the app.
    pub backend: Backend,
    /// `[ledger]`: what remembers events.
    pub ledger: Ledger,
    /// `[[webhook]]`: the guarded paths, in the file's order. Never empty.
    pub webhooks: Vec<Webhook>,
}
