//! Opens the ledger that an argument names, for as long as a command runs.

use crate::cli::error::CliError;
use crate::clock;
use crate::config::{LedgerConfig, LedgerUrl};
use crate::ledger::redis::{RedisLedger, RedisOptions};
use crate::ledger::sqlite::SqliteLedger;
use crate::ledger::transfer::{EventSink, EventSource};
use crate::ledger::{Health, Ledger};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// The longest wait for a ledger to open.
const MAX_OPEN: Duration = Duration::from_secs(10);
/// The shortest time limit for the reply to one command.
const MIN_COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// The time after which a Redis ledger that no process polls counts as unused. A process that delivers queued events polls
/// at least every 5 s.
const UNUSED_AFTER: Duration = Duration::from_secs(6);

/// Names a ledger for a person.
pub(super) fn name(settings: &LedgerConfig) -> String {
    match &settings.url {
        LedgerUrl::Redis(url) => format!("{url} with the prefix {}", settings.prefix),
        LedgerUrl::Sqlite(_) | LedgerUrl::None => settings.url.to_string(),
    }
}

/// A ledger, open.
pub(super) enum CommandLedger {
    /// A file that no other process has open.
    Sqlite(SqliteLedger),
    /// A server.
    Redis(Box<RedisLedger>),
}

impl CommandLedger {
    /// Opens a ledger. Creates the file of one that does not exist.
    ///
    /// # Errors
    /// It is `none`, or it did not open in time, as while another process has it open.
    pub(super) async fn open(settings: &LedgerConfig) -> Result<Self, CliError> {
        let ledger = match &settings.url {
            LedgerUrl::None => return Err(CliError::usage("the ledger \"none\" holds no events")),
            LedgerUrl::Sqlite(path) => {
                Self::Sqlite(SqliteLedger::start(path.clone(), settings.retention, Arc::default()))
            }
            LedgerUrl::Redis(url) => {
                // Nobody waits for a response here, and a server under a copy's load may be slow.
                let command_timeout = settings.command_timeout.max(MIN_COMMAND_TIMEOUT);
                let options = RedisOptions { command_timeout, ..RedisOptions::new(url, settings, false) };
                Self::Redis(Box::new(RedisLedger::start(options, Arc::default())))
            }
        };
        let deadline = clock::instant() + MAX_OPEN;
        while let Health::NotReady { reason } = ledger.as_ledger().health() {
            if clock::instant() > deadline {
                return Err(CliError::failed(format!("cannot open the ledger: {reason}")));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(ledger)
    }

    /// Waits until no process polls a Redis ledger for queued events.
    ///
    /// # Errors
    /// A process still does.
    pub(super) async fn wait_until_unused(&self) -> Result<(), CliError> {
        let Self::Redis(ledger) = self else { return Ok(()) };
        let deadline = clock::instant() + 2 * UNUSED_AFTER;
        loop {
            match ledger.last_polled_ago().await {
                Err(error) => return Err(CliError::failed(error.to_string())),
                Ok(None) => return Ok(()),
                Ok(Some(ago)) if ago > UNUSED_AFTER => return Ok(()),
                Ok(Some(_)) if clock::instant() > deadline => {
                    return Err(CliError::failed(
                        "a running Countersign uses the ledger in Redis: stop every replica first",
                    ));
                }
                Ok(Some(_)) => sleep(Duration::from_millis(200)).await,
            }
        }
    }

    pub(super) fn source(&self) -> &dyn EventSource {
        match self {
            Self::Sqlite(ledger) => ledger,
            Self::Redis(ledger) => &**ledger,
        }
    }

    pub(super) fn sink(&self) -> &dyn EventSink {
        match self {
            Self::Sqlite(ledger) => ledger,
            Self::Redis(ledger) => &**ledger,
        }
    }

    /// Closes the ledger. An SQLite file is written out completely.
    pub(super) fn close(&self) {
        match self {
            Self::Sqlite(ledger) => ledger.close(),
            Self::Redis(ledger) => ledger.close(),
        }
    }

    fn as_ledger(&self) -> &dyn Ledger {
        match self {
            Self::Sqlite(ledger) => ledger,
            Self::Redis(ledger) => &**ledger,
        }
    }
}
