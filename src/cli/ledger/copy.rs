//! `ledger copy`: copies every event of a ledger into another one, while no program uses either. It can be killed at any
//! time and run again.

use super::open::{CommandLedger, name};
use crate::cli::config_arg::EnvVars;
use crate::cli::error::CliError;
use crate::cli::output::{count_of, println_ok};
use crate::cli::progress::Progress;
use crate::config::{LedgerConfig, LedgerUrl};
use crate::ledger::transfer::{self, TransferCounts};
use clap::Parser;
use std::process::ExitCode;

/// Copy every event into another ledger
#[derive(Debug, Parser)]
pub(super) struct CopyArgs {
    /// The old ledger: sqlite:PATH or a Redis URL; placeholders such as {$REDIS_PASSWORD} are replaced
    #[arg(long, value_name = "URL")]
    from: String,
    /// The new ledger
    #[arg(long, value_name = "URL")]
    to: String,
    /// The prefix of the old ledger's keys in Redis [default: ledger.prefix]
    #[arg(long, value_name = "PREFIX")]
    from_prefix: Option<String>,
    /// The prefix of the new ledger's keys in Redis [default: ledger.prefix]
    #[arg(long, value_name = "PREFIX")]
    to_prefix: Option<String>,
}

pub(super) async fn run(args: &CopyArgs, config: &LedgerConfig, env: &EnvVars) -> Result<ExitCode, CliError> {
    let named = |url: &str, prefix: &Option<String>| {
        config.named_by(Some(url), prefix.as_deref(), env).map_err(CliError::usage)
    };
    let (from, to) = (named(&args.from, &args.from_prefix)?, named(&args.to, &args.to_prefix)?);
    if from.url.same_records(&to.url)
        && (matches!(from.url, LedgerUrl::Sqlite(_)) || from.prefix == to.prefix)
    {
        return Err(CliError::usage("--from and --to name the same ledger"));
    }
    if let LedgerUrl::Sqlite(path) = &from.url
        && !path.exists()
    {
        return Err(CliError::failed(format!("there is no ledger at {}", path.display())));
    }
    let source = CommandLedger::open(&from).await?;
    let target = CommandLedger::open(&to).await?;
    source.wait_until_unused().await?;
    target.wait_until_unused().await?;
    let progress = Progress::new();
    let copied = transfer::copy(source.source(), target.sink(), |counts| {
        progress.show(|| format!("read {}, copied {}", count_of(counts.read, "event"), counts.written));
    })
    .await;
    target.close();
    source.close();
    progress.clear();
    let counts = copied
        .map_err(|error| CliError::failed(format!("{error}; nothing is lost: run the same command again")))?;
    report(&counts, &name(&from), &name(&to));
    Ok(ExitCode::SUCCESS)
}

fn report(counts: &TransferCounts, from: &str, to: &str) {
    let TransferCounts { read, written, queued, dead, incomplete } = *counts;
    println_ok(&format!("copied {} of {} from {from} to {to}", written, count_of(read, "event")));
    println_ok(&format!("  {queued} wait for delivery, {dead} are dead"));
    let others = read.saturating_sub(written + incomplete);
    if others > 0 {
        println_ok(&format!("  {others} are known there already, or their retention has passed"));
    }
    if incomplete > 0 {
        let events = count_of(incomplete, "event");
        eprintln!("{events} cannot be delivered and was not copied: the payload is gone");
    }
    println_ok(
        "Set ledger.url to the new ledger and start Countersign. The old ledger is unchanged: never start with it again.",
    );
}
