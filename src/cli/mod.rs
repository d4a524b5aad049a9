//! The command line: one command per file. A command reads its arguments, does its work and reports the result.
//! Results go to standard output, errors to standard error. `run` and `ledger` alone open a ledger; `check --probe` inspects
//! it.
//!
//! - `run`: serves
//! - `check`: validates the configuration, probes what it names, asks whether the program is alive
//! - `sign`, `send`: sign a payload; send signed test events, which `samples` builds
//! - `events`, `reconcile`: work on the ledger's records through the running program
//! - `ledger`: copies a ledger's events into another one, and counts what a ledger holds
//! - `admin`: the HTTP client of the admin listener
//! - `completions`, `man`: what shells and `man` show of the commands
//! - `config_arg`, `signing_secrets`: where the configuration and the signing secrets come from
//! - `error`, `output`, `progress`, `runtime`: what commands share

mod admin;
mod check;
mod completions;
mod config_arg;
mod error;
mod events;
mod ledger;
mod man;
mod output;
mod progress;
mod reconcile;
mod run;
mod runtime;
mod samples;
mod send;
mod sign;
mod signing_secrets;

use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

use config_arg::EnvVars;
use error::CliError;

/// Verifies Stripe's webhooks between Caddy and your backend, and delivers each event once.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: CliCommand,
}

const EXAMPLES: &str = "\
Examples:
  countersign run                                 serve, configured by environment variables alone
  countersign check --probe                       validate the configuration, reach what it names
  countersign send --type invoice.paid --times 2  send a signed test event and a duplicate of it
  countersign send --forge                        send a forged event, which must be rejected
  countersign events list --state dead            list the events whose attempts are used up

Exit status: 0 success, 1 failure, 2 wrong usage, 78 invalid configuration.";

#[derive(Debug, Subcommand)]
enum CliCommand {
    Run(run::Args),
    Check(check::Args),
    Sign(sign::Args),
    Send(send::Args),
    Events(events::Args),
    Reconcile(reconcile::Args),
    Ledger(ledger::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Runs the command that `arguments` name, and returns the exit status. `arguments` begins with the program's name.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (String, String)>,
) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version arrive here too, with status 0. If the pipe is closed, there is no reader to inform.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let env: EnvVars = env.into_iter().collect();
    let result = match cli.command {
        CliCommand::Run(args) => return run::run(args, env),
        CliCommand::Check(args) => check::run(args, env),
        CliCommand::Sign(args) => sign::run(&args, &env),
        CliCommand::Send(args) => send::run(&args, &env),
        CliCommand::Events(args) => events::run(args, env),
        CliCommand::Reconcile(args) => reconcile::run(args, env),
        CliCommand::Ledger(args) => ledger::run(args, env),
        CliCommand::Completions(args) => Ok(completions::run(&args, Cli::command())),
        CliCommand::Man(args) => man::run(&args, Cli::command()),
    };
    match result {
        Ok(code) => code,
        Err(CliError { exit_code, message }) => {
            eprintln!("{message}");
            ExitCode::from(exit_code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
