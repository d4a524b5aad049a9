//! `reconcile`: asks Stripe what it failed to deliver, compares that with the ledger, and has the running program take
//! in what is missing. It changes nothing without `--apply`, and what it does then is deduplicated like any arrival, so
//! it may be run twice, and while the program serves.
//!
//! An event is missing if the ledger has no record of it at the endpoint, or one of a failure: whatever is pending,
//! running, delivered or dead is in good hands. How far back it looks is bounded by what the ledger can know: not
//! beyond its first record unless `--since` says so, and never beyond its retention.

mod history;
mod survey;

use super::admin::{Admin, escaped};
use super::events::{say, word};
use super::{Env, Failure, runtime};
use crate::clock;
use crate::config::{Config, LedgerUrl, Source, WebhookConfig};
use crate::endpoint::EventFilter;
use crate::ledger::EventKey;
use clap::Parser;
use history::{History, Past};
use reqwest::Method;
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};
use survey::Survey;

/// Find events that Stripe could not deliver and the ledger lacks
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// How far back to look [default: to the ledger's first record]; Stripe's list reaches back 30 days
    #[arg(long, value_name = "AGE", value_parser = age)]
    since: Option<Duration>,
    /// Take the missing ones in, to be delivered
    #[arg(long)]
    apply: bool,
    /// The endpoint whose events they are, by its name [default: the only one]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// The query that the endpoint's URL has at Stripe, without ? [default: that of the ledger's records]
    #[arg(long)]
    query: Option<String>,
    /// The configuration [default: $COUNTERSIGN_CONFIG, else /etc/countersign/countersign.toml, else built in]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  countersign reconcile                        what is missing since the ledger's first record
  countersign reconcile --since 7d             of the last week
  countersign reconcile --since 7d --apply     take it in, and have it delivered

Stripe is asked with [checkout] secret_key; a restricted key needs to read events.
The running program is asked where [admin] listen says, with its token.

Exit status: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.";

pub(super) fn run(args: &Args, env: Env) -> Result<ExitCode, Failure> {
    let config = Source::new(args.config.clone(), env).load();
    let config = config.map_err(|faults| Failure::config(faults.to_string()))?;
    if config.ledger.url == LedgerUrl::None {
        return Err(Failure::config("ledger.url is none: without a ledger nothing is known to be missing"));
    }
    let webhook = chosen(&config, args.endpoint.as_deref())?;
    let admin = Admin::new(&config.admin)?;
    let history = History::new(&config.checkout)?;
    runtime()?.block_on(reconcile(args, &config, webhook, &admin, &history))
}

/// The endpoint that is meant. With several, nothing tells for which of them an event at Stripe is.
fn chosen<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c WebhookConfig, Failure> {
    let names = || config.webhooks.iter().map(|webhook| webhook.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, config.webhooks.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => Err(Failure { code: 2, message: format!("say which with --endpoint: {}", names()) }),
        (Some(name), all) => all.iter().find(|webhook| webhook.name == name).ok_or_else(|| Failure {
            code: 2,
            message: format!("there is no endpoint \"{name}\", but: {}", names()),
        }),
    }
}

async fn reconcile(
    args: &Args,
    config: &Config,
    webhook: &WebhookConfig,
    admin: &Admin,
    history: &History,
) -> Result<ExitCode, Failure> {
    let progress = Progress::new();
    let survey = Survey::take(admin, &webhook.name, &progress).await?;
    let now = clock::unix();
    let since = match (args.since, survey.first) {
        (Some(since), _) => now.saturating_sub(since),
        (None, Some(first)) => first,
        (None, None) => {
            progress.clear();
            say("The ledger has no record of this endpoint yet, so nothing can have gone missing from it.");
            say("To look all the same, say how far back: --since 7d");
            return Ok(ExitCode::SUCCESS);
        }
    };
    // What was delivered before that is forgotten, and would look as if it were missing.
    let known = now.saturating_sub(config.ledger.retention);
    if since < known && args.since.is_some() {
        progress.clear();
        let days = humantime::format_duration(config.ledger.retention);
        eprintln!("looking back {days} only: that long the ledger remembers (ledger.retention)");
    }
    let since = since.max(known).as_secs();
    let query = survey.query(args.query.as_deref())?;

    let filter = EventFilter::new(webhook);
    let mut missing = Vec::new();
    history
        .read(since, &webhook.types, &progress, |past| {
            if survey.lacks(&query, &past.id) && past.is_forwarded(&filter) {
                missing.push(past);
            }
        })
        .await?;
    let missing = still(missing, admin, &webhook.name, &query, &progress).await?;
    progress.clear();
    let when = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(since));
    if missing.is_empty() {
        say(&format!("Nothing is missing at {} since {when}.", webhook.name));
        return Ok(ExitCode::SUCCESS);
    }
    for gap in &missing {
        say(&gap.line());
    }
    let count = match missing.len() {
        1 => "1 event is".to_owned(),
        several => format!("{several} events are"),
    };
    say(&format!("{count} missing at {} since {when}.", webhook.name));
    if !args.apply {
        say("--apply takes them in, and the program delivers them.");
        return Ok(ExitCode::SUCCESS);
    }
    apply(missing, admin, &webhook.name, &query, &progress).await
}

/// An event that Stripe has and the ledger lacks.
struct Gap {
    past: Past,
    /// What the ledger says of it: nothing, or that it failed.
    state: String,
}

impl Gap {
    fn line(&self) -> String {
        let Past { id, kind, created, .. } = &self.past;
        let created = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(*created));
        format!("{id:<30} {created}  {:<8} {kind}", self.state)
    }
}

/// Which of these are missing now, the oldest first: some may have come since the survey.
async fn still(
    missing: Vec<Past>,
    admin: &Admin,
    endpoint: &str,
    query: &str,
    progress: &Progress,
) -> Result<Vec<Gap>, Failure> {
    let mut gaps = Vec::with_capacity(missing.len());
    let count = missing.len();
    for (done, past) in missing.into_iter().rev().enumerate() {
        progress.say(|| format!("comparing {done} of {count}"));
        let key = EventKey { endpoint: endpoint.into(), query: query.into(), id: past.id.as_str().into() };
        let key = escaped(&key.to_string());
        let answer = admin.try_send(Method::GET, &format!("/{key}"), &[], Vec::new()).await?;
        match (answer.code(), answer.text("state")) {
            ("event_unknown", _) => gaps.push(Gap { past, state: "missing".to_owned() }),
            ("", Some("failed")) => gaps.push(Gap { past, state: "failed".to_owned() }),
            ("", _) => {}
            _ => return Err(Failure::failed(answer.message().to_owned())),
        }
    }
    Ok(gaps)
}

/// Has each taken in, whatever comes of the others.
async fn apply(
    gaps: Vec<Gap>,
    admin: &Admin,
    endpoint: &str,
    query: &str,
    progress: &Progress,
) -> Result<ExitCode, Failure> {
    let (count, mut taken, mut known, mut refused) = (gaps.len(), 0, 0, 0);
    for (done, Gap { past, .. }) in gaps.into_iter().enumerate() {
        progress.say(|| format!("taking in {done} of {count}"));
        let body = past.payload.get().as_bytes().to_vec();
        let asked = [("endpoint", endpoint), ("query", query)];
        let answer = match admin.try_send(Method::POST, "", &asked, body).await {
            Ok(answer) => answer,
            Err(Failure { code, message }) => {
                progress.clear();
                let message =
                    format!("{message}\n{taken} of {count} were taken in; run it again for the others");
                return Err(Failure { code, message });
            }
        };
        match answer.code() {
            "" if answer.said["queued"] == Value::Bool(true) => taken += 1,
            // It came meanwhile, is being delivered, or the running program's configuration does not forward it.
            "" | "in_flight" => known += 1,
            _ => {
                progress.clear();
                eprintln!("{}: {}", past.id, answer.message());
                refused += 1;
            }
        }
    }
    progress.clear();
    let mut said = format!("{taken} of {count} taken in");
    if known > 0 {
        said += &format!(", {known} in good hands meanwhile");
    }
    if refused > 0 {
        return Err(Failure::failed(format!("{said}, {refused} refused")));
    }
    say(&(said + "."));
    Ok(ExitCode::SUCCESS)
}

/// Says on a terminal how far it is; elsewhere nothing.
struct Progress {
    terminal: bool,
}

impl Progress {
    fn new() -> Progress {
        Progress { terminal: std::io::stderr().is_terminal() }
    }

    /// In place of what was said before.
    fn say(&self, what: impl FnOnce() -> String) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K{}", what());
        }
    }

    /// Before anything else is said.
    fn clear(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// A record's field as text.
fn field<'a>(record: &'a Value, name: &str) -> &'a str {
    record[name].as_str().unwrap_or_default()
}

/// How far back: a duration, as the configuration writes them.
fn age(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write how far back, as in 7d or 12h".to_owned())
}
