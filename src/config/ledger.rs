//! `[ledger]`: what remembers which events were seen and applied.

use super::redis_url::RedisUrl;
use super::section::Section;
use super::units;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where the ledger is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerUrl {
    /// `none`: no ledger, no dedup.
    None,
    /// `sqlite:PATH`, relative to the working directory.
    Sqlite(PathBuf),
    /// `redis://…` and its kin.
    Redis(RedisUrl),
}

/// What a webhook gets while the ledger is out of reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOutage {
    /// 503, nothing delivered (default).
    Refuse,
    /// Delivered without dedup, and counted.
    Deliver,
}

/// What a Redis server must promise before events are kept on it: acknowledged and not yet delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// `appendfsync always`: on disk before the answer (default).
    Always,
    /// `appendfsync everysec`: a crash may cost the last second's.
    EverySecond,
    /// Whatever it does.
    None,
}

/// `[ledger]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerConfig {
    /// Where it is. Default `sqlite:data/ledger.db`.
    pub url: LedgerUrl,
    /// What Redis keys begin with. Default `countersign`.
    pub prefix: String,
    /// For a connection to Redis, all its first commands included. Default 2 s.
    pub connect_timeout: Duration,
    /// For the answer to one command of Redis'. Default 1 s.
    pub command_timeout: Duration,
    /// How long settled events are remembered; Stripe resends for 30 days. Default 35 d.
    pub retention: Duration,
    /// Default `refuse`.
    pub on_outage: OnOutage,
    /// Default `always`. SQLite always keeps it.
    pub durability: Durability,
}

impl LedgerConfig {
    pub(super) fn read(section: &mut Section) -> Option<LedgerConfig> {
        let url = section.text("url", "{$LEDGER_URL:sqlite:data/ledger.db}", units::ledger_url);
        let written_out = section.raw("url").filter(|text| RedisUrl::password_written_out(text));
        if written_out.is_some() {
            section.fault(
                "url",
                "a password written out".to_owned(),
                "a placeholder in its place, as in \"redis://:{$REDIS_PASSWORD}@redis:6379\"",
                "a secret does not stand in this file: put it into an environment variable or a file of its own",
            );
        }
        let prefix = section.text("prefix", "countersign", units::key_prefix);
        let connect_timeout = section.text("connect_timeout", "2s", units::timeout);
        let command_timeout = section.text("command_timeout", "1s", units::timeout);
        let retention = section.text("retention", "35d", units::retention);
        let on_outage = section.text("on_outage", "refuse", |text| {
            units::word(text, &[("refuse", OnOutage::Refuse), ("deliver", OnOutage::Deliver)])
        });
        let durability = section.text("durability", "always", |text| {
            let words = [
                ("always", Durability::Always),
                ("everysec", Durability::EverySecond),
                ("none", Durability::None),
            ];
            units::word(text, &words)
        });
        Some(LedgerConfig {
            url: url?,
            prefix: prefix?,
            connect_timeout: connect_timeout?,
            command_timeout: command_timeout?,
            retention: retention?,
            on_outage: on_outage?,
            durability: durability?,
        })
    }
}

/// As it is written in the file; a Redis URL without user and password.
impl fmt::Display for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LedgerUrl::None => f.write_str("none"),
            LedgerUrl::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            LedgerUrl::Redis(url) => url.fmt(f),
        }
    }
}
