//! `ledger`: works on ledgers themselves, not through a running program.
//!
//! - `copy`: copies every event into another ledger
//! - `stats`: counts what a ledger holds
//! - `open`: opens the ledger that an argument names

mod copy;
mod open;
mod stats;

use super::config_arg::{ConfigArg, EnvVars};
use super::error::CliError;
use super::runtime::block_on;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Copy a ledger's events into another ledger, and count what a ledger holds
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: LedgerCommand,
    #[command(flatten)]
    config: ConfigArg,
}

const EXAMPLES: &str = "\
Examples:
  countersign ledger stats                         count the records of the configured ledger
  countersign ledger copy --from sqlite:data/ledger.db --to redis://redis:6379
  countersign ledger copy --from 'redis://:{$REDIS_PASSWORD}@redis:6379' --to sqlite:data/ledger.db
  countersign ledger copy --from redis://redis:6379 --from-prefix shop --to redis://redis:6379 --to-prefix eshop

Stop every Countersign that uses one of the two ledgers before you copy. A copy changes nothing in the old ledger.
If it was interrupted, run it again.

Exit status: 0 success, 1 failure, 2 wrong usage, 78 invalid configuration.";

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    Copy(copy::CopyArgs),
    Stats(stats::StatsArgs),
}

pub(super) fn run(args: Args, mut env: EnvVars) -> Result<ExitCode, CliError> {
    // The commands verify nothing.
    env.entry("STRIPE_WEBHOOK_SECRET".to_owned()).or_insert_with(|| "whsec_not_used_by_ledger".to_owned());
    let config = args.config.load(env.clone())?;
    block_on(async {
        match args.command {
            LedgerCommand::Copy(args) => copy::run(&args, &config.ledger, &env).await,
            LedgerCommand::Stats(args) => stats::run(&args, &config.ledger, &env).await,
        }
    })?
}
