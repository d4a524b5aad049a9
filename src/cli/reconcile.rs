//! `reconcile`: asks Stripe which events it could not deliver, compares them with the ledger, and has the running program
//! import the missing ones. Without `--apply` it changes nothing. Imports are deduplicated like arrivals, so it is safe
//! to run twice, and while the program serves.
//!
//! - `event_list`: Stripe's list of undelivered events
//! - `ledger_snapshot`: the endpoint's records in the ledger
//! - `missing`: the events that are missing; checks them again and imports them
//! - `progress`: the progress line
//!
//! An event is missing if the ledger has no record of it at the endpoint, or one of a failed inline delivery. Every other
//! state means that it is delivered or will be handled here. The search goes back to the ledger's first record, or to
//! `--since`, and never beyond the ledger's retention: older events would all appear to be missing.

mod event_list;
mod ledger_snapshot;
mod missing;
mod progress;

use super::admin::EventsClient;
use super::config_arg::{ConfigArg, EnvVars};
use super::error::CliError;
use super::output::println_ok;
use super::runtime::block_on;
use crate::clock;
use crate::config::{Config, LedgerUrl, WebhookConfig};
use crate::endpoint::EventFilter;
use clap::Parser;
use event_list::EventList;
use ledger_snapshot::LedgerSnapshot;
use missing::{ReconcileTarget, import, recheck};
use progress::Progress;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

/// Find events that Stripe could not deliver and that the ledger does not have
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// How far back to search [default: to the ledger's first record]; Stripe's list reaches back 30 days
    #[arg(long, value_name = "AGE", value_parser = age)]
    since: Option<Duration>,
    /// Import the missing events, and have them delivered
    #[arg(long)]
    apply: bool,
    /// The name of the endpoint that the events are for [default: the only one]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// The query of the endpoint's URL at Stripe, without ? [default: the query of the ledger's records]
    #[arg(long)]
    query: Option<String>,
    /// The values of the variable segments in the endpoint's path, separated by /
    #[arg(long, value_name = "VALUES", default_value = "", hide_default_value = true)]
    segments: String,
    #[command(flatten)]
    config: ConfigArg,
}

const EXAMPLES: &str = "\
Examples:
  countersign reconcile                        list what is missing since the ledger's first record
  countersign reconcile --since 7d             list what is missing in the last week
  countersign reconcile --since 7d --apply     import it, and have it delivered

The command asks Stripe with [stripe] secret_key; a restricted key needs to read events.
It asks the running program at [admin] listen, with its token.

Exit status: 0 success, 1 failure, 2 wrong usage, 78 invalid configuration.";

pub(super) fn run(args: Args, env: EnvVars) -> Result<ExitCode, CliError> {
    let Args { since, apply, endpoint, query, segments, config } = args;
    let config = config.load(env)?;
    if config.ledger.url == LedgerUrl::None {
        return Err(CliError::config(
            "ledger.url is \"none\": without a ledger, missing events cannot be detected",
        ));
    }
    let webhook = find_webhook(&config, endpoint.as_deref())?;
    if !webhook.locations.iter().any(|location| location.path_with(&segments).is_some()) {
        let paths: Vec<&str> = webhook.locations.iter().map(|location| location.path.as_str()).collect();
        return Err(CliError::usage(format!(
            "--segments gives a value for each variable segment of the path, separated by /: {}",
            paths.join(", ")
        )));
    }
    let api = EventsClient::new(&config.admin)?;
    let list = EventList::new(&config.stripe)?;
    let search =
        Search { since, query: query.as_deref(), segments: &segments, apply, config: &config, webhook };
    block_on(reconcile(&search, &api, &list))?
}

/// Finds the endpoint by its name. With several endpoints a name is needed: Stripe's list does not say for which of them
/// an event was.
fn find_webhook<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c WebhookConfig, CliError> {
    let names = || config.webhooks.iter().map(|webhook| webhook.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, config.webhooks.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => Err(CliError::usage(format!(
            "there are several endpoints: name one with --endpoint ({})",
            names()
        ))),
        (Some(name), all) => all.iter().find(|webhook| webhook.name == name).ok_or_else(|| {
            CliError::usage(format!("there is no endpoint \"{name}\"; the configuration has: {}", names()))
        }),
    }
}

/// What to search for, and whether to import it.
struct Search<'a> {
    /// The age of the oldest event, if it was given.
    since: Option<Duration>,
    /// The query of the endpoint's URL, if it was given.
    query: Option<&'a str>,
    /// The values of the variable segments in the path.
    segments: &'a str,
    apply: bool,
    config: &'a Config,
    webhook: &'a WebhookConfig,
}

async fn reconcile(search: &Search<'_>, api: &EventsClient, list: &EventList) -> Result<ExitCode, CliError> {
    let webhook = search.webhook;
    let progress = Progress::new();
    let snapshot = LedgerSnapshot::read(api, &webhook.name, search.segments, &progress).await?;
    let Some(since) = search_start(search, &snapshot, &progress) else {
        progress.clear();
        println_ok(
            "The ledger has no record of this endpoint yet, so it cannot tell which events are missing.",
        );
        println_ok("To search anyway, say how far back: --since 7d");
        return Ok(ExitCode::SUCCESS);
    };
    let query = snapshot.query(search.query)?;

    let filter = EventFilter::new(webhook);
    let mut missing = Vec::new();
    list.read(since, &webhook.types, &progress, |event| {
        if snapshot.is_missing(&query, &event.id) && event.is_forwarded(&filter) {
            missing.push(event);
        }
    })
    .await?;
    let target = ReconcileTarget { api, endpoint: &webhook.name, segments: search.segments, query: &query };
    let missing = recheck(missing, &target, &progress).await?;
    progress.clear();
    let start = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(since));
    if missing.is_empty() {
        println_ok(&format!("Nothing is missing at {} since {start}.", webhook.name));
        return Ok(ExitCode::SUCCESS);
    }
    for event in &missing {
        println_ok(&event.line());
    }
    let count = match missing.len() {
        1 => "1 event is".to_owned(),
        several => format!("{several} events are"),
    };
    println_ok(&format!("{count} missing at {} since {start}.", webhook.name));
    if !search.apply {
        println_ok("Run it with --apply to import them; the program then delivers them.");
        return Ok(ExitCode::SUCCESS);
    }
    import(missing, &target, &progress).await
}

/// Returns the time from which to search, in Unix seconds; `None` if neither the arguments nor the ledger give one.
fn search_start(search: &Search<'_>, snapshot: &LedgerSnapshot, progress: &Progress) -> Option<u64> {
    let now = clock::unix();
    let requested = match (search.since, snapshot.first_seen) {
        (Some(age), _) => now.saturating_sub(age),
        (None, Some(first)) => first,
        (None, None) => return None,
    };
    // Records older than the retention are deleted, so events that were delivered then would appear to be missing.
    let retention = search.config.ledger.retention;
    let oldest = now.saturating_sub(retention);
    if requested < oldest && search.since.is_some() {
        progress.clear();
        let retention = humantime::format_duration(retention);
        eprintln!("searching back {retention} only: the ledger deletes older records (ledger.retention)");
    }
    Some(requested.max(oldest).as_secs())
}

/// Parses how far back to search: a duration, as in the configuration.
fn age(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "expected a duration, such as 7d or 12h".to_owned())
}
