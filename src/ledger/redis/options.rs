//! The settings of a Redis ledger: which server, which limits, which promises. Pure data.

use std::time::Duration;

use crate::config::{self, Durability, RedisUrl};

/// The settings of a Redis ledger.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// The server, or the sentinels that know the primary.
    pub url: RedisUrl,
    /// The beginning of every key.
    pub prefix: String,
    /// The longest time for a connection, from TCP to its first commands.
    pub connect_timeout: Duration,
    /// The longest time for the reply to one command.
    pub command_timeout: Duration,
    /// How long the record of a settled event is stored.
    pub retention: Duration,
    /// What the server must promise before events are queued on it.
    pub durability: Durability,
    /// Whether any endpoint queues events at the start. If so, a server with too little durability is not ready.
    /// [`RedisLedger::set_queueing_enabled`](super::RedisLedger::set_queueing_enabled) changes it later.
    pub queueing_enabled: bool,
}

impl RedisOptions {
    /// Returns the settings for the server at `url` from `[ledger]`.
    pub fn new(url: &RedisUrl, ledger: &config::LedgerConfig, queueing_enabled: bool) -> Self {
        Self {
            url: url.clone(),
            prefix: ledger.prefix.clone(),
            connect_timeout: ledger.connect_timeout,
            command_timeout: ledger.command_timeout,
            retention: ledger.retention,
            durability: ledger.durability,
            queueing_enabled,
        }
    }
}
