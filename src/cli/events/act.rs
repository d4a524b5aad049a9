//! `events redeliver` and `events delete`: one request for each named event, or one for each page of matching events.

use super::args::{QueryParams, RedeliverArgs};
use super::list::{MAX_PAGE_RECORDS, print_matching};
use super::print::RecordPrinter;
use crate::cli::admin::{EventsClient, path_segment};
use crate::cli::error::CliError;
use crate::cli::output::{count_of, println_ok};
use reqwest::Method;
use std::process::ExitCode;

/// An action on one named event.
#[derive(Debug, Clone, Copy)]
pub(super) enum SingleAction {
    /// Deliver the event again, now.
    Redeliver,
    /// Delete the record and the payload.
    Delete,
}

impl SingleAction {
    fn method(self) -> Method {
        match self {
            Self::Redeliver => Method::POST,
            Self::Delete => Method::DELETE,
        }
    }

    /// Returns what follows the event in the path of the API.
    fn path_suffix(self) -> &'static str {
        match self {
            Self::Redeliver => "/redeliver",
            Self::Delete => "",
        }
    }

    /// Describes an event after the action, for messages.
    fn past_participle(self) -> &'static str {
        match self {
            Self::Redeliver => "scheduled for redelivery",
            Self::Delete => "deleted",
        }
    }
}

/// Applies an action to each named event. A failure for one event does not stop the others.
pub(super) async fn apply_to_each(
    api: &EventsClient,
    keys: &[String],
    action: SingleAction,
) -> Result<ExitCode, CliError> {
    let mut failed = 0;
    for key in keys {
        let path = format!("/{}{}", path_segment(key), action.path_suffix());
        let response = api.try_send(action.method(), &path, &[], Vec::new()).await?;
        if response.status < 400 {
            println_ok(&format!("{key} {}", action.past_participle()));
        } else {
            eprintln!("{key}: {}", response.error_message());
            failed += 1;
        }
    }
    if failed == 0 {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(CliError::failed(format!("{failed} of {} not {}", keys.len(), action.past_participle())))
    }
}

/// Redelivers every event that matches the filter, or lists them in a dry run.
pub(super) async fn redeliver_matching(
    api: &EventsClient,
    args: &RedeliverArgs,
) -> Result<ExitCode, CliError> {
    let filter = args.filter();
    if args.dry_run {
        let mut printer = RecordPrinter::new(false);
        print_matching(api, &filter, usize::MAX, &mut printer).await?;
        eprintln!("{} would be redelivered", count_of(printer.printed() as u64, "event"));
        return Ok(ExitCode::SUCCESS);
    }
    // Counts first: without --yes, nothing is changed if several match.
    let matched = redeliver_pages(api, &filter, true).await?.matched;
    if matched > 1 && !args.yes {
        return Err(confirmation_missing(matched, "redeliver"));
    }
    let totals = redeliver_pages(api, &filter, false).await?;
    let mut line = format!("{} scheduled for redelivery", count_of(totals.redelivered, "event"));
    for (count, reason) in
        [(totals.in_flight, "already being delivered"), (totals.payload_gone, "without a stored payload")]
    {
        if count > 0 {
            line += &format!(", {count} {reason}");
        }
    }
    println_ok(&line);
    Ok(ExitCode::SUCCESS)
}

/// The totals of a bulk redelivery, summed over its pages.
#[derive(Default)]
struct BulkTotals {
    /// Events that match the filter.
    matched: u64,
    /// Events that are now due; 0 in a dry run.
    redelivered: u64,
    /// Events that were skipped because an attempt is in progress.
    in_flight: u64,
    /// Events that were skipped because their payload is no longer stored.
    payload_gone: u64,
}

/// Sends the request for every page of a bulk redelivery.
async fn redeliver_pages(
    api: &EventsClient,
    filter: &QueryParams<'_>,
    dry_run: bool,
) -> Result<BulkTotals, CliError> {
    let (mut totals, mut after, limit) = (BulkTotals::default(), String::new(), MAX_PAGE_RECORDS.to_string());
    let dry_run = if dry_run { "true" } else { "" };
    loop {
        let query =
            [filter, &[("dry_run", dry_run), ("limit", limit.as_str()), ("after", after.as_str())]].concat();
        let response = api.post("/redeliver", &query).await?;
        totals.matched += response.number("matched");
        totals.redelivered += response.number("redelivered");
        totals.in_flight += response.number("in_flight");
        totals.payload_gone += response.number("payload_gone");
        match response.text("next") {
            Some(next) => after = next.to_owned(),
            None => return Ok(totals),
        }
    }
}

/// The error for more than one event without `--yes`.
pub(super) fn confirmation_missing(count: u64, verb: &str) -> CliError {
    CliError::usage(format!("{} match; add --yes to {verb} all of them", count_of(count, "event")))
}
