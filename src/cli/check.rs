//! `check`: would it start (`check`), does it reach what it needs (`--probe`), is it running (`--live`)?

use super::live;
use super::probe::{self, Probe};
use super::selling;
use super::{Env, Failure};
use crate::app::EX_CONFIG;
use crate::config::{AdminConfig, Config, Source, WebhookConfig};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// Judge the configuration, and what it points to
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Also reach the backend, the ledger and, where something is sold, Stripe
    #[arg(long)]
    probe: bool,
    /// Ask the running program whether it lives; without --probe nothing else: a container's health check
    #[arg(long)]
    live: bool,
    /// The configuration [default: $COUNTERSIGN_CONFIG, else /etc/countersign/countersign.toml, else built in]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  countersign check --config countersign.toml     every fault of the file at once
  countersign check --probe                       before a start
  HEALTHCHECK CMD [\"countersign\", \"check\", \"--live\"]";

pub(super) fn run(args: Args, env: Env) -> Result<ExitCode, Failure> {
    let source = Source::new(args.config, env);
    if args.live {
        let admin = source.load_admin().map_err(|faults| Failure::config(faults.to_string()))?;
        println!("{}", live::ask(&admin.listen).map_err(Failure::failed)?);
        if !args.probe {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let config = match source.load() {
        Ok(config) => config,
        Err(faults) => {
            let count = match faults.count() {
                1 => "1 fault".to_owned(),
                several => format!("{several} faults"),
            };
            return Err(Failure { code: EX_CONFIG, message: format!("{faults}\n{count}") });
        }
    };
    print!("{}", summary(&source.name(), &config));
    for warning in config.warnings() {
        println!("{:<14} {warning}", "warning");
    }
    if !args.probe {
        return Ok(ExitCode::SUCCESS);
    }
    let mut probes = vec![
        ("backend", probe::backend(&config.backend)),
        ("ledger", probe::ledger(&config.ledger, config.keeps())),
    ];
    probes.extend(selling::probe(&config.checkout).map(|probe| ("stripe", probe)));
    let mut code = ExitCode::SUCCESS;
    for (what, probe) in probes {
        match probe {
            Probe::Reached(how) => println!("{:<14} reached: {how}", what),
            Probe::Failed(why) => {
                println!("{:<14} FAILED: {why}", what);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// What the configuration comes to, a line each.
fn summary(name: &str, config: &Config) -> String {
    let mut lines = vec![
        ("configuration", name.to_owned()),
        ("server", config.server.listen.to_string()),
        ("admin", admin(&config.admin)),
        ("backend", config.backend.url.to_string()),
        ("ledger", config.ledger.url.to_string()),
    ];
    lines.extend(config.webhooks.iter().map(|webhook| ("webhook", endpoint(webhook))));
    lines.push(("checkout", selling::summary(&config.checkout)));
    lines.into_iter().map(|(what, is)| format!("{what:<14} {is}\n")).collect()
}

fn admin(admin: &AdminConfig) -> String {
    let events = if admin.token.is_some() { "with the events API" } else { "without a token: no events API" };
    format!("{}, {events}", admin.listen)
}

fn endpoint(webhook: &WebhookConfig) -> String {
    let mut text = webhook.path.clone();
    if webhook.name != webhook.path {
        text += &format!(" ({})", webhook.name);
    }
    text += &match webhook.secrets.len() {
        1 => ", 1 secret".to_owned(),
        several => format!(", {several} secrets"),
    };
    if webhook.delivery_secret.is_some() {
        text += ", deliveries signed with a secret of their own";
    }
    text
}
