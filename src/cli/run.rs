//! `run`: serves until a signal ends the program. The work is `app`'s.

use super::config_arg::{ConfigArg, EnvVars};
use crate::app;
use clap::Parser;
use std::process::ExitCode;

/// Run the server
///
/// SIGHUP reloads the configuration. SIGTERM and SIGINT finish the requests in progress, then stop. Listening
/// sockets named "server" and "admin" are taken from systemd (LISTEN_FDS).
#[derive(Debug, Parser)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

pub(super) fn run(args: Args, env: EnvVars) -> ExitCode {
    let socket_names = env.get("LISTEN_FDNAMES").cloned();
    app::run(args.config.source(env), socket_names.as_deref())
}
