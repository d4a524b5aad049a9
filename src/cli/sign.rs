//! `sign`: prints the `Stripe-Signature` header of a payload. It sends nothing.

use super::config_arg::EnvVars;
use super::error::CliError;
use super::signing_secrets;
use crate::clock;
use crate::stripe::signature;
use clap::Parser;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Print the Stripe-Signature of a payload
///
/// The header has one v1 for each secret. The payload is signed byte for byte, a newline at its end included.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The file with the payload [default: -, which is standard input]
    #[arg(value_name = "FILE")]
    payload: Option<PathBuf>,
    /// The time to sign for, in Unix seconds [default: now]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(0..))]
    timestamp: Option<i64>,
    /// A file with the signing secret [default: $STRIPE_WEBHOOK_SECRET]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Example:
  curl --data-binary @event.json -H 'Content-Type: application/json' \\
    -H \"Stripe-Signature: $(countersign sign event.json)\" http://localhost:5000/webhooks/stripe";

pub(super) fn run(args: &Args, env: &EnvVars) -> Result<ExitCode, CliError> {
    let secrets = signing_secrets::read(args.secret_file.as_deref(), env)?;
    let payload = read_payload(args.payload.as_deref())?;
    let timestamp = args.timestamp.unwrap_or_else(unix_now);
    println!("{}", signature::sign(&secrets, timestamp, &payload));
    Ok(ExitCode::SUCCESS)
}

/// Returns the current time in Unix seconds.
pub(super) fn unix_now() -> i64 {
    clock::unix_seconds()
}

/// Reads a payload's bytes from a file; `-` or no path means standard input.
pub(super) fn read_payload(path: Option<&Path>) -> Result<Vec<u8>, CliError> {
    match path {
        Some(path) if path != Path::new("-") => fs::read(path)
            .map_err(|error| CliError::failed(format!("cannot read {}: {error}", path.display()))),
        _ => {
            let mut bytes = Vec::new();
            io::stdin()
                .read_to_end(&mut bytes)
                .map_err(|error| CliError::failed(format!("cannot read standard input: {error}")))?;
            Ok(bytes)
        }
    }
}
