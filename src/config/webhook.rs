//! `[[webhook]]`: one guarded path with its secrets.

use secrecy::SecretString;
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

/// One `[[webhook]]`.
#[derive(Debug, Clone)]
pub struct Webhook {
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
}
