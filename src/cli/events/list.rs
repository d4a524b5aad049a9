//! `events list`, and the reading of pages that a dry run shares with it. It changes no event.

use super::args::{ListArgs, QueryParams};
use super::print::RecordPrinter;
use crate::cli::admin::EventsClient;
use crate::cli::error::CliError;
use std::process::ExitCode;

/// The most records of one page; the API allows up to 1000.
pub(super) const MAX_PAGE_RECORDS: usize = 500;

pub(super) async fn list(api: &EventsClient, args: &ListArgs) -> Result<ExitCode, CliError> {
    let limit = if args.all { usize::MAX } else { usize::try_from(args.limit).unwrap_or(usize::MAX) };
    let mut printer = RecordPrinter::new(args.json);
    let has_more = print_matching(api, &args.filter(), limit, &mut printer).await?;
    match (printer.printed(), has_more) {
        (0, _) => eprintln!("no event matches"),
        (_, true) => eprintln!("more events match: raise --limit, or list all with --all"),
        (_, false) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints up to `limit` matching records, page by page. Returns true if there are more.
pub(super) async fn print_matching(
    api: &EventsClient,
    filter: &QueryParams<'_>,
    limit: usize,
    printer: &mut RecordPrinter,
) -> Result<bool, CliError> {
    let mut after = String::new();
    loop {
        let page_limit = MAX_PAGE_RECORDS.min(limit - printer.printed()).to_string();
        let query = [filter, &[("limit", page_limit.as_str()), ("after", after.as_str())]].concat();
        let response = api.page(&query).await?;
        for record in response.records() {
            // On Redis a page may hold more records than its limit.
            if printer.printed() == limit {
                return Ok(true);
            }
            printer.print(record);
        }
        match response.text("next") {
            Some(_) if printer.printed() == limit => return Ok(true),
            Some(next) => after = next.to_owned(),
            None => return Ok(false),
        }
    }
}
