//! `check`: validates the configuration. With `--probe` it also reaches what the configuration names, and with `--live`
//! it asks the running program whether it is alive. It changes nothing, here or at Stripe.
//!
//! - `checkout`: the checkout's line of the summary, and the probe of Stripe's key
//! - `probe`: the probes of the backend and the ledger
//! - `liveness`: the request to `/livez`

mod checkout;
mod liveness;
mod probe;

use super::config_arg::{ConfigArg, EnvVars};
use super::error::CliError;
use super::output::count_of;
use crate::config::{AdminConfig, Config, WebhookConfig};
use crate::guard::Location;
use clap::Parser;
use probe::ProbeResult;
use std::process::ExitCode;

/// Validate the configuration
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Also reach the backend, the ledger and, if checkout is on, Stripe
    #[arg(long)]
    probe: bool,
    /// Ask the running program whether it is alive, as a container's health check; skips the rest unless --probe is given
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    config: ConfigArg,
}

const EXAMPLES: &str = "\
Examples:
  countersign check --config countersign.toml     report all errors of the file at once
  countersign check --probe                       also reach what it names, before a start
  HEALTHCHECK CMD [\"countersign\", \"check\", \"--live\"]";

pub(super) fn run(args: Args, env: EnvVars) -> Result<ExitCode, CliError> {
    let source = args.config.source(env);
    if args.live {
        // A health check must not fail because of a section that the running program has not loaded.
        let admin = source.load_admin().map_err(|errors| CliError::config(errors.to_string()))?;
        println!("{}", liveness::ask(&admin.listen)?);
        if !args.probe {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let config = source.load().map_err(|errors| {
        CliError::config(format!("{errors}\n{}", count_of(errors.count() as u64, "error")))
    })?;
    print!("{}", summary(&source.name(), &config));
    for warning in config.warnings() {
        println!("{:<14} {warning}", "warning");
    }
    Ok(if args.probe { run_probes(&config) } else { ExitCode::SUCCESS })
}

/// Runs every probe, whatever the results of the others, and prints a line for each.
fn run_probes(config: &Config) -> ExitCode {
    let mut probes = vec![
        ("backend", probe::backend(&config.backend)),
        ("ledger", probe::ledger(&config.ledger, config.queues_events())),
    ];
    probes.extend(checkout::probe(config).map(|result| ("stripe", result)));
    let mut code = ExitCode::SUCCESS;
    for (part, result) in probes {
        match result {
            ProbeResult::Ok(detail) => println!("{part:<14} ok: {detail}"),
            ProbeResult::Failed(reason) => {
                println!("{part:<14} FAILED: {reason}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// Summarises the configuration, one line for each part.
fn summary(source: &str, config: &Config) -> String {
    let mut lines = vec![
        ("configuration", source.to_owned()),
        ("server", config.server.listen.to_string()),
        ("admin", admin_summary(&config.admin)),
        ("backend", config.backend.url_list()),
        ("ledger", config.ledger.url.to_string()),
    ];
    lines.extend(config.webhooks.iter().map(|webhook| ("webhook", webhook_summary(webhook))));
    lines.push(("checkout", checkout::summary(config)));
    lines.into_iter().map(|(part, text)| format!("{part:<14} {text}\n")).collect()
}

fn admin_summary(admin: &AdminConfig) -> String {
    let events = if admin.token.is_some() { "with the events API" } else { "without a token: no events API" };
    format!("{}, {events}", admin.listen)
}

fn webhook_summary(webhook: &WebhookConfig) -> String {
    let locations: Vec<String> = webhook.locations.iter().map(Location::as_written).collect();
    let mut text = locations.join(" ");
    if webhook.name != text {
        text += &format!(" ({})", webhook.name);
    }
    text += &format!(", {}", count_of(webhook.secrets.len() as u64, "secret"));
    match webhook.delivery_secrets.len() {
        0 => {}
        1 => text += ", deliveries signed with a secret of their own",
        several => text += &format!(", deliveries signed with {several} secrets of their own"),
    }
    text
}
