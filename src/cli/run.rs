//! `run`: serve.

use super::Env;
use crate::app;
use crate::config::Source;
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// Serve
///
/// SIGHUP reads the configuration anew, SIGTERM and SIGINT finish what is in progress and stop.
#[derive(Debug, Parser)]
pub(super) struct Args {
    /// The configuration [default: $COUNTERSIGN_CONFIG, else /etc/countersign/countersign.toml, else built in]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: Args, env: Env) -> ExitCode {
    app::run(Source::new(args.config, env))
}
