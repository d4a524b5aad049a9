//! `reconcile`: asks Stripe which events there are, compares them with the ledger, and has the running program import the
//! missing ones. Without `--apply` it changes nothing. Imports are deduplicated like arrivals, so it is safe to run twice,
//! and while the program serves.
//!
//! - `list_query`, `event_list`: what is asked of Stripe's lists of events; reading them
//! - `stripe_event`: an event of such a list
//! - `ledger_snapshot`: the endpoint's records in the ledger
//! - `missing`: the events that are missing; checks them again and imports them
//! - `report`: what is printed, and the exit status
//!
//! An event is safe if it is delivered, if its payload is stored, or if its delivery holds a lease. Every other event is
//! missing. Without `--all` only those count that Stripe could not deliver, and the search goes back to the ledger's first
//! record. It never goes beyond the ledger's retention: older events would all appear to be missing.

mod event_list;
mod ledger_snapshot;
mod list_query;
mod missing;
mod report;
mod stripe_event;

use super::admin::EventsClient;
use super::config_arg::{ConfigArg, EnvVars};
use super::error::CliError;
use super::progress::Progress;
use super::runtime::block_on;
use crate::clock;
use crate::config::{Config, LedgerUrl, NO_ACCOUNT, WebhookConfig};
use crate::endpoint::EventFilter;
use crate::guard::Location;
use clap::Parser;
use event_list::EventLists;
use ledger_snapshot::LedgerSnapshot;
use list_query::{EventListKind, ListQuery};
use missing::{ReconcileTarget, import, recheck};
use report::ReconcileReport;
use std::process::ExitCode;
use std::time::Duration;
use stripe_event::StripeEvent;

/// How far back Stripe's lists reach (<https://docs.stripe.com/api/events/list>).
const STRIPE_REACH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Find the events that Stripe has and the ledger lacks, and import them
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// How far back to search [default: to the ledger's first record; with --all 30d, as far as Stripe's list reaches]
    #[arg(long, value_name = "AGE", value_parser = age)]
    since: Option<Duration>,
    /// Also ask for the events that Stripe counts as delivered: what the ledger lost, or what `types` left out before
    #[arg(long)]
    all: bool,
    /// Import the missing events, and have them delivered
    #[arg(long)]
    apply: bool,
    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,
    /// The name of the endpoint that the events are for [default: the only one]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// The connected account whose events to ask for, acct_… [default: each one that the endpoint's `accounts` names]
    #[arg(long, value_name = "ID", value_parser = account)]
    account: Option<String>,
    /// Also ask for thin events, /v2/core/events [default: if `types` or the ledger has such events]
    #[arg(long)]
    thin: bool,
    /// The query of the endpoint's URL at Stripe, without ? [default: that of its `url`, else of the ledger's records]
    #[arg(long)]
    query: Option<String>,
    /// The path of the endpoint's URL at Stripe, if the endpoint's path has variable segments [default: that of its `url`]
    #[arg(long = "path", value_name = "PATH")]
    endpoint_path: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
}

const EXAMPLES: &str = "\
Examples:
  countersign reconcile                        list what Stripe could not deliver since the ledger's first record
  countersign reconcile --since 7d --apply     import what is missing of the last week, and have it delivered
  countersign reconcile --all --since 1d       compare every event of the last day, as after a ledger was lost
  countersign reconcile --json || alert        for a cron job: the exit status is 3 if something is missing

The command asks Stripe with [stripe] secret_key; a restricted key needs to read events.
It asks the running program at [admin] listen, with its token. No signing secret has to be set.

Exit status: 0 nothing is missing, or all of it is imported; 3 something is missing and --apply was not given;
1 failure, 2 wrong usage, 78 invalid configuration.";

pub(super) fn run(args: Args, mut env: EnvVars) -> Result<ExitCode, CliError> {
    // The command signs nothing and verifies nothing: a cron job need not have the secret.
    env.entry("STRIPE_WEBHOOK_SECRET".to_owned()).or_insert_with(|| "whsec_not_used_by_reconcile".to_owned());
    let config = args.config.clone().load(env)?;
    if config.ledger.url == LedgerUrl::None {
        return Err(CliError::config(
            "ledger.url is \"none\": without a ledger, missing events cannot be detected",
        ));
    }
    let webhook = find_webhook(&config, args.endpoint.as_deref())?;
    let segments = segments(args.endpoint_path.as_deref(), webhook)?;
    let accounts = accounts(args.account.as_deref(), webhook)?;
    let api = EventsClient::new(&config.admin)?;
    let lists = EventLists::new(&config.stripe)?;
    let search = Search { args: &args, config: &config, webhook, segments, accounts };
    block_on(search.run(&api, &lists))?
}

/// Returns the values of the variable segments in the `requested` path, else in that of the endpoint's `url`. Blank if no
/// path of the endpoint has such segments.
///
/// # Errors
/// Neither path is known, and nothing else tells whose events are meant; or the endpoint has no such path.
fn segments(requested: Option<&str>, webhook: &WebhookConfig) -> Result<String, CliError> {
    let paths =
        || webhook.locations.iter().map(|location| location.path.as_str()).collect::<Vec<_>>().join(", ");
    let Some(path) = requested.or(webhook.url.as_ref().map(|url| url.path.as_str())) else {
        return match webhook.locations.iter().any(Location::is_variable) {
            false => Ok(String::new()),
            true => Err(CliError::usage(format!(
                "name the path of the URL whose events are meant with --path; the endpoint's path is {}",
                paths()
            ))),
        };
    };
    let location = webhook.locations.iter().find(|location| location.is_path(path.as_bytes()));
    let location = location.ok_or_else(|| {
        CliError::usage(format!("--path is \"{path}\", which is no path of the endpoint: {}", paths()))
    })?;
    Ok(location.segments(path.as_bytes()))
}

/// Returns the accounts whose lists are read: the `requested` one, else those that the endpoint's `accounts` names. `None`
/// stands for the key's own account.
///
/// # Errors
/// The endpoint does not forward events of the requested account: whatever is missing, none would be found.
fn accounts<'a>(
    requested: Option<&'a str>,
    webhook: &'a WebhookConfig,
) -> Result<Vec<Option<&'a str>>, CliError> {
    let forwards = |account: &str| webhook.accounts.iter().any(|known| known == "*" || known == account);
    match requested {
        Some(account) if forwards(account) => Ok(vec![Some(account)]),
        Some(account) => Err(CliError::usage(format!(
            "the endpoint {} does not forward events of {account}; its `accounts` are: {}",
            webhook.name,
            webhook.accounts.join(", ")
        ))),
        None => {
            let own = forwards(NO_ACCOUNT).then_some(None);
            let connected = webhook.accounts.iter().filter(|account| account.starts_with("acct_"));
            Ok(own.into_iter().chain(connected.map(|account| Some(account.as_str()))).collect())
        }
    }
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

/// One run of the command: what to search for, and where.
struct Search<'a> {
    args: &'a Args,
    config: &'a Config,
    webhook: &'a WebhookConfig,
    /// The values of the path's variable segments, separated by `/`.
    segments: String,
    /// The accounts whose lists are read; `None` stands for the key's own.
    accounts: Vec<Option<&'a str>>,
}

impl Search<'_> {
    async fn run(&self, api: &EventsClient, lists: &EventLists) -> Result<ExitCode, CliError> {
        let Args { json, all, ref query, apply, .. } = *self.args;
        let (endpoint, segments) = (&self.webhook.name, &self.segments);
        let query = query.as_deref().or(self.webhook.url.as_ref().map(|url| url.query.as_str()));
        let progress = Progress::new();
        let snapshot = LedgerSnapshot::read(api, endpoint, segments, &progress).await?;
        let since = self.start(&snapshot, &progress);
        let report = ReconcileReport { json, endpoint, since, all };
        let Some(since) = since else {
            progress.clear();
            return Ok(report.nothing_to_compare());
        };
        let query = snapshot.query(query)?;
        let candidates = self.candidates(lists, &snapshot, since, &query, &progress).await?;
        let target = ReconcileTarget { api, endpoint, segments, query: &query };
        let missing = recheck(candidates, &target, &progress).await?;
        progress.clear();
        report.print_missing(&missing);
        if missing.is_empty() || !apply {
            return Ok(report.finish(&missing));
        }
        let counts = import(&missing, &target, &progress).await?;
        Ok(report.finish_import(&missing, &counts))
    }

    /// Returns the events of every list that the endpoint forwards and the snapshot does not account for.
    async fn candidates(
        &self,
        lists: &EventLists,
        snapshot: &LedgerSnapshot,
        since: u64,
        query: &str,
        progress: &Progress,
    ) -> Result<Vec<StripeEvent>, CliError> {
        let filter = EventFilter::new(self.webhook);
        let types = &self.webhook.types;
        let mut candidates = Vec::new();
        for kind in EventListKind::of_endpoint(types, self.args.thin || snapshot.has_thin_events) {
            for account in &self.accounts {
                let undelivered_only = !self.args.all;
                let asked = ListQuery { kind, account: *account, since, types, undelivered_only };
                let read = lists.read(&asked, progress, |event| {
                    if snapshot.is_missing(query, &event.id) && event.is_forwarded(&filter) {
                        candidates.push(event);
                    }
                });
                read.await?;
            }
        }
        Ok(candidates)
    }

    /// Returns the time from which to search, in Unix seconds; `None` if neither the arguments nor the ledger give one.
    fn start(&self, snapshot: &LedgerSnapshot, progress: &Progress) -> Option<u64> {
        let now = clock::unix();
        let requested = match (self.args.since, snapshot.first_seen) {
            (Some(age), _) => now.saturating_sub(age),
            // A new ledger does not know since when events arrive.
            (None, _) if self.args.all => now.saturating_sub(STRIPE_REACH),
            (None, Some(first)) => first,
            (None, None) => return None,
        };
        // Records older than the retention are deleted, so events that were delivered then would appear to be missing.
        let retention = self.config.ledger.retention;
        let oldest = now.saturating_sub(retention);
        if requested < oldest && (self.args.since.is_some() || self.args.all) {
            progress.clear();
            let retention = humantime::format_duration(retention);
            eprintln!("searching back {retention} only: the ledger deletes older records (ledger.retention)");
        }
        Some(requested.max(oldest).as_secs())
    }
}

/// Parses how far back to search: a duration, as in the configuration.
fn age(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "expected a duration, such as 7d or 12h".to_owned())
}

/// Parses the id of a connected account.
fn account(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("acct_").filter(|rest| !rest.is_empty());
    match rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        true => Ok(text.to_owned()),
        false => Err("expected the id of a connected account, acct_…".to_owned()),
    }
}
