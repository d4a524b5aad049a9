//! The configuration, parsed once into types that cannot be wrong; later code never checks a value again. Each section
//! file holds its keys, their parsers and their defaults. This module never acts on a value.
//!
//! - `load`: where the file is, and how it becomes a [`Config`]
//! - `file`: the [`Config`] as a whole, read from a parsed file
//! - `cross_section`: rules between sections
//! - `warnings`: settings that are allowed but weaken the program
//! - `server`, `admin`, `log`, `backend`, `ledger`, `webhook`, `stripe`, `checkout`: one section each
//! - `ca`, `listen`, `token`, `redis_url`: values that several files use
//! - `reader`: reads keys, replaces placeholders and collects errors; it knows no section

mod admin;
mod backend;
mod ca;
mod checkout;
mod cross_section;
mod file;
mod ledger;
mod listen;
mod load;
mod log;
mod reader;
mod redis_url;
mod server;
mod stripe;
mod token;
mod warnings;
mod webhook;

pub use admin::AdminConfig;
pub use backend::{BackendConfig, BackendUrl};
pub use ca::CaCertificates;
pub use checkout::{
    CheckoutConfig, CheckoutMode, CheckoutState, IdentityConfig, PriceConfig, PriceReference, RateConfig,
    UiMode, takes_param,
};
pub use file::Config;
pub use ledger::{Durability, LedgerConfig, LedgerUrl, OnOutage};
pub use listen::Listen;
pub use load::{BUILT_IN, Source};
pub use log::{LogConfig, LogFormat};
pub use reader::{ConfigError, Diagnostic};
pub use redis_url::{RedisTarget, RedisUrl, SentinelTarget};
pub use server::ServerConfig;
pub use stripe::StripeConfig;
pub use token::Token;
pub use webhook::{
    DEFAULT_JITTER, DEFAULT_RETRY, DeliveryRule, Livemode, NO_ACCOUNT, PublicUrl, WebhookConfig,
};
