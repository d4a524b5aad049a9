//! `events`: lists, shows, redelivers and deletes the ledger's records. It uses the running program's events API, never
//! the ledger itself, so it is safe at any time.
//!
//! - `args`: the arguments of every subcommand
//! - `list`: reads and prints the records that match a filter, page by page
//! - `act`: redelivers and deletes events
//! - `print`: formats records

mod act;
mod args;
mod list;
mod print;

pub(super) use args::Args;

use super::admin::{EventsClient, path_segment};
use super::config_arg::EnvVars;
use super::error::CliError;
use super::output::println_ok;
use super::runtime::block_on;
use act::{SingleAction, apply_to_each, confirmation_missing, redeliver_matching};
use args::{EventsCommand, ShowArgs};
use list::list;
use print::describe;
use std::io::Write;
use std::process::ExitCode;

pub(super) fn run(args: Args, env: EnvVars) -> Result<ExitCode, CliError> {
    if let EventsCommand::Redeliver(args) = &args.command {
        args.check()?;
    }
    let api = EventsClient::new(&args.config.load_admin(env)?)?;
    block_on(async {
        match args.command {
            EventsCommand::List(args) => list(&api, &args).await,
            EventsCommand::Show(args) => show(&api, &args).await,
            EventsCommand::Redeliver(args) if args.keys.is_empty() => redeliver_matching(&api, &args).await,
            EventsCommand::Redeliver(args) => apply_to_each(&api, &args.keys, SingleAction::Redeliver).await,
            EventsCommand::Delete(args) if args.keys.len() > 1 && !args.yes => {
                Err(confirmation_missing(args.keys.len() as u64, "delete"))
            }
            EventsCommand::Delete(args) => apply_to_each(&api, &args.keys, SingleAction::Delete).await,
        }
    })?
}

async fn show(api: &EventsClient, args: &ShowArgs) -> Result<ExitCode, CliError> {
    if args.payload {
        let payload = api.payload(&args.key).await?;
        // If the pipe is closed, there is no reader to inform.
        let _ = std::io::stdout().write_all(&payload);
        return Ok(ExitCode::SUCCESS);
    }
    let response = api.get(&format!("/{}", path_segment(&args.key)), &[]).await?;
    if args.json {
        println_ok(&format!("{:#}", response.body));
    } else {
        println_ok(&describe(&response.body));
    }
    Ok(ExitCode::SUCCESS)
}
