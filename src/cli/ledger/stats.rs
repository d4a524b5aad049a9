//! `ledger stats`: counts what a ledger holds. It changes nothing, and a running program can go on.

use super::open::CommandLedger;
use crate::cli::config_arg::EnvVars;
use crate::cli::error::CliError;
use crate::cli::output::println_ok;
use crate::config::{LedgerConfig, LedgerUrl};
use crate::ledger::sqlite::SqliteLedger;
use crate::ledger::stats::{LedgerStats, StateStats};
use clap::Parser;
use serde_json::json;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

/// Count the records by endpoint and state
#[derive(Debug, Parser)]
pub(super) struct StatsArgs {
    /// The ledger: sqlite:PATH or a Redis URL [default: ledger.url]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The prefix of the ledger's keys in Redis [default: ledger.prefix]
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    args: &StatsArgs,
    config: &LedgerConfig,
    env: &EnvVars,
) -> Result<ExitCode, CliError> {
    let settings =
        config.named_by(args.url.as_deref(), args.prefix.as_deref(), env).map_err(CliError::usage)?;
    let stats = match &settings.url {
        LedgerUrl::Sqlite(path) => SqliteLedger::stats(path),
        LedgerUrl::Redis(_) | LedgerUrl::None => match CommandLedger::open(&settings).await? {
            CommandLedger::Redis(ledger) => ledger.stats().await,
            CommandLedger::Sqlite(_) => Ok(LedgerStats::default()),
        },
    };
    let stats = stats.map_err(|error| CliError::failed(error.to_string()))?;
    if args.json {
        let states: Vec<_> = stats.states().map(to_json).collect();
        println_ok(&json!({ "states": states }).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    println_ok(&format!(
        "{:<10}{:>12}{:>14}  {:<20}  {:<20}  ENDPOINT",
        "STATE", "RECORDS", "STORED BYTES", "FIRST RECEIVED", "LAST RECEIVED"
    ));
    for StateStats { endpoint, state, records, seen, stored_bytes } in stats.states() {
        let (first, last) = (time(seen.0), time(seen.1));
        let state = state.as_str();
        println_ok(&format!(
            "{state:<10}{records:>12}{stored_bytes:>14}  {first:<20}  {last:<20}  {endpoint}"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn to_json(stats: &StateStats) -> serde_json::Value {
    let StateStats { endpoint, state, records, seen, stored_bytes } = stats;
    json!({
        "endpoint": endpoint,
        "state": state.as_str(),
        "records": records,
        "stored_bytes": stored_bytes,
        "first_received": time(seen.0),
        "last_received": time(seen.1),
    })
}

/// Formats a time in Unix milliseconds as RFC 3339, in whole seconds.
fn time(millis: i64) -> String {
    let since_epoch = Duration::from_millis(u64::try_from(millis).unwrap_or_default());
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since_epoch).to_string()
}
