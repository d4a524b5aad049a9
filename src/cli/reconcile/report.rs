//! What `reconcile` prints on standard output, as lines or as one JSON object, and its exit status. It finds nothing itself.

use super::missing::{ImportCounts, MissingEvent};
use super::stripe_event::rfc3339;
use crate::cli::output::println_ok;
use serde::Serialize;
use std::process::ExitCode;

/// The exit status if events are missing and were not imported. 1 and 2 are failures.
pub(super) const EXIT_MISSING: u8 = 3;

/// The output of one run.
pub(super) struct ReconcileReport<'a> {
    pub(super) json: bool,
    /// The endpoint's name.
    pub(super) endpoint: &'a str,
    /// The time from which on events were compared, in Unix seconds.
    pub(super) since: Option<u64>,
    /// Whether events that Stripe counts as delivered were compared, too.
    pub(super) all: bool,
}

/// The JSON object that is printed with `--json`. `docs/operating.md` describes it.
#[derive(Serialize)]
struct ReconcileReportView<'a> {
    endpoint: &'a str,
    since: Option<String>,
    all: bool,
    missing: Vec<MissingView<'a>>,
    applied: bool,
    imported: usize,
    already_handled: usize,
    rejected: Vec<RejectedView<'a>>,
}

#[derive(Serialize)]
struct MissingView<'a> {
    id: &'a str,
    r#type: &'a str,
    created: String,
    state: &'static str,
    account: Option<&'a str>,
}

#[derive(Serialize)]
struct RejectedView<'a> {
    id: &'a str,
    message: &'a str,
}

impl ReconcileReport<'_> {
    /// Prints that the ledger has no record to begin with.
    pub(super) fn nothing_to_compare(&self) -> ExitCode {
        if self.json {
            self.print_json(&[], None);
        } else {
            println_ok(
                "The ledger has no record of this endpoint yet, so it cannot tell which events are missing.",
            );
            println_ok("To search anyway, say how far back: --since 7d");
        }
        ExitCode::SUCCESS
    }

    /// Prints the missing events, before any is imported. Text only: the JSON object is printed at the end.
    pub(super) fn print_missing(&self, missing: &[MissingEvent]) {
        if self.json {
            return;
        }
        let (endpoint, start) = (self.endpoint, self.since.map(rfc3339).unwrap_or_default());
        missing.iter().for_each(|event| println_ok(&event.line()));
        println_ok(&match missing.len() {
            0 => format!("Nothing is missing at {endpoint} since {start}."),
            1 => format!("1 event is missing at {endpoint} since {start}."),
            count => format!("{count} events are missing at {endpoint} since {start}."),
        });
    }

    /// Prints the end of a run that imported nothing.
    pub(super) fn finish(&self, missing: &[MissingEvent]) -> ExitCode {
        if self.json {
            self.print_json(missing, None);
        } else if !missing.is_empty() {
            println_ok("Run it with --apply to import them; the program then delivers them.");
        }
        if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_MISSING) }
    }

    /// Prints the end of a run that imported the missing events.
    pub(super) fn finish_import(&self, missing: &[MissingEvent], counts: &ImportCounts) -> ExitCode {
        let ImportCounts { imported, handled, rejected } = counts;
        if self.json {
            self.print_json(missing, Some(counts));
        } else {
            rejected.iter().for_each(|(id, message)| eprintln!("{id}: {message}"));
            let mut line = format!("{imported} of {} imported", missing.len());
            if *handled > 0 {
                line += &format!(", {handled} already handled");
            }
            if !rejected.is_empty() {
                line += &format!(", {} rejected", rejected.len());
            }
            println_ok(&(line + "."));
        }
        if rejected.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn print_json(&self, missing: &[MissingEvent], import: Option<&ImportCounts>) {
        let missing = missing.iter().map(|MissingEvent { event, state }| MissingView {
            id: &event.id,
            r#type: &event.event_type,
            created: event.created_rfc3339(),
            state,
            account: event.account.as_deref(),
        });
        let rejected = import.map(|counts| counts.rejected.as_slice()).unwrap_or_default();
        let view = ReconcileReportView {
            endpoint: self.endpoint,
            since: self.since.map(rfc3339),
            all: self.all,
            missing: missing.collect(),
            applied: import.is_some(),
            imported: import.map_or(0, |counts| counts.imported),
            already_handled: import.map_or(0, |counts| counts.handled),
            rejected: rejected.iter().map(|(id, message)| RejectedView { id, message }).collect(),
        };
        println_ok(&serde_json::json!(view).to_string());
    }
}
