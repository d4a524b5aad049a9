//! `run`: serves until a signal ends the program. The work is `app`'s.

use super::config_arg::{ConfigArg, EnvVars};
use crate::app;
use clap::Parser;
use std::process::ExitCode;

/// Run the server
///
/// SIGHUP reloads the configuration. SIGTERM and SIGINT finish the requests in progress, then stop.
#[derive(Debug, Parser)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

pub(super) fn run(args: Args, env: EnvVars) -> ExitCode {
    app::run(args.config.source(env))
}
