//! The command line: one verb a file. A verb reads its arguments, does its work and says how it went; answers go
//! to standard output, what went wrong to standard error.

mod admin;
mod check;
mod events;
mod live;
mod probe;
mod reconcile;
mod run;
mod samples;
mod secrets;
mod selling;
mod send;
mod sign;

use clap::{Parser, Subcommand};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;
use tokio::runtime::{self, Runtime};

use crate::app::EX_CONFIG;

/// The environment, read once by `main.rs`.
type Env = BTreeMap<String, String>;

/// Checks Stripe's webhooks between Caddy and your backend, and hands each on once.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  countersign run                                 serve, configured by the environment alone
  countersign check --probe                       would it start, and reach what it needs?
  countersign send --type invoice.paid --times 2  a signed test event, and its copy
  countersign send --forge                        an event that must be refused
  countersign events list --state dead            what was given up on

Exit status: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.";

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Args),
    Check(check::Args),
    Sign(sign::Args),
    Send(send::Args),
    Events(events::Args),
    Reconcile(reconcile::Args),
}

/// Does what `arguments` ask for. `arguments` begins with the program's name.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (String, String)>,
) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, with status 0. A closed pipe leaves nobody to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let env: Env = env.into_iter().collect();
    let done = match cli.verb {
        Verb::Run(args) => return run::run(args, env),
        Verb::Check(args) => check::run(args, env),
        Verb::Sign(args) => sign::run(&args, &env),
        Verb::Send(args) => send::run(&args, &env),
        Verb::Events(args) => events::run(args, env),
        Verb::Reconcile(args) => reconcile::run(&args, env),
    };
    match done {
        Ok(code) => code,
        Err(Failure { code, message }) => {
            eprintln!("{message}");
            ExitCode::from(code)
        }
    }
}

/// Why a verb could not do its work.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// It was tried and failed.
    fn failed(message: impl Into<String>) -> Failure {
        Failure { code: 1, message: message.into() }
    }

    /// It could not be tried as things are set up.
    fn config(message: impl Into<String>) -> Failure {
        Failure { code: EX_CONFIG, message: message.into() }
    }
}

/// For a verb that waits for somebody else.
fn runtime() -> Result<Runtime, Failure> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed(format!("no runtime: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
