//! `sign`: the `Stripe-Signature` of a payload.

use super::{Env, Failure, secrets};
use crate::clock;
use crate::stripe::signature;
use clap::Parser;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Print the Stripe-Signature of a payload
///
/// One v1 for each secret. The payload is taken byte for byte, a newline at its end included.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The payload; - or nothing reads standard input
    #[arg(value_name = "FILE")]
    payload: Option<PathBuf>,
    /// Unix time in seconds to sign for [default: now]
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

pub(super) fn run(args: &Args, env: &Env) -> Result<ExitCode, Failure> {
    let secrets = secrets::signing(args.secret_file.as_deref(), env)?;
    let payload = payload(args.payload.as_deref())?;
    let timestamp = args.timestamp.unwrap_or_else(clock::unix_seconds);
    println!("{}", signature::sign(&secrets, timestamp, &payload));
    Ok(ExitCode::SUCCESS)
}

/// A payload's bytes, from a file or from standard input.
pub(super) fn payload(path: Option<&Path>) -> Result<Vec<u8>, Failure> {
    match path {
        Some(path) if path != Path::new("-") => fs::read(path)
            .map_err(|error| Failure::failed(format!("{} cannot be read: {error}", path.display()))),
        _ => {
            let mut bytes = Vec::new();
            io::stdin()
                .read_to_end(&mut bytes)
                .map_err(|error| Failure::failed(format!("standard input cannot be read: {error}")))?;
            Ok(bytes)
        }
    }
}
