//! The events that Stripe has and the ledger does not: checks each again, and has the running program import it.

use super::event_list::StripeEvent;
use super::progress::Progress;
use crate::cli::admin::{EventsClient, path_segment};
use crate::cli::error::CliError;
use crate::cli::output::println_ok;
use crate::ledger::EventKey;
use reqwest::Method;
use serde_json::Value;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

/// Where missing events belong: an endpoint of the running program, and the query of its URL.
pub(super) struct ReconcileTarget<'a> {
    pub(super) api: &'a EventsClient,
    /// The endpoint's name.
    pub(super) endpoint: &'a str,
    /// The values of the variable segments in the path; blank if there are none.
    pub(super) segments: &'a str,
    /// The query under which the endpoint's events arrive; blank if there is none.
    pub(super) query: &'a str,
}

/// An event that Stripe has and the ledger lacks.
pub(super) struct MissingEvent {
    event: StripeEvent,
    /// `missing` without a record, `failed` with one of a failed inline delivery.
    state: &'static str,
}

impl MissingEvent {
    /// Returns the line that is printed for it.
    pub(super) fn line(&self) -> String {
        let StripeEvent { id, event_type, created, .. } = &self.event;
        let created = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(*created));
        format!("{id:<30} {created}  {:<8} {event_type}", self.state)
    }
}

/// Returns the events that are still missing, the oldest first. Some may have arrived since the snapshot was read, which
/// can be minutes ago.
pub(super) async fn recheck(
    candidates: Vec<StripeEvent>,
    target: &ReconcileTarget<'_>,
    progress: &Progress,
) -> Result<Vec<MissingEvent>, CliError> {
    let mut missing = Vec::with_capacity(candidates.len());
    let count = candidates.len();
    // Stripe lists the newest first; the oldest is imported first, as it would have arrived.
    for (done, event) in candidates.into_iter().rev().enumerate() {
        progress.show(|| format!("comparing {done} of {count}"));
        let key = EventKey {
            endpoint: target.endpoint.into(),
            segments: target.segments.into(),
            query: target.query.into(),
            id: event.id.as_str().into(),
        };
        let path = format!("/{}", path_segment(&key.to_string()));
        let response = target.api.try_send(Method::GET, &path, &[], Vec::new()).await?;
        match (response.error_code(), response.text("state")) {
            ("event_unknown", _) => missing.push(MissingEvent { event, state: "missing" }),
            ("", Some("failed")) => missing.push(MissingEvent { event, state: "failed" }),
            ("", _) => {}
            _ => return Err(CliError::failed(response.error_message())),
        }
    }
    Ok(missing)
}

/// Imports each event. A rejected event does not stop the others; a failure of the program or its ledger does.
pub(super) async fn import(
    missing: Vec<MissingEvent>,
    target: &ReconcileTarget<'_>,
    progress: &Progress,
) -> Result<ExitCode, CliError> {
    let (count, mut imported, mut handled, mut rejected) = (missing.len(), 0, 0, 0);
    for (done, MissingEvent { event, .. }) in missing.into_iter().enumerate() {
        progress.show(|| format!("importing {done} of {count}"));
        let body = event.payload.get().as_bytes().to_vec();
        let query = [("endpoint", target.endpoint), ("segments", target.segments), ("query", target.query)];
        let response = match target.api.try_send(Method::POST, "", &query, body).await {
            Ok(response) => response,
            Err(CliError { exit_code, message }) => {
                progress.clear();
                let message = format!(
                    "{message}\n{imported} of {count} events were imported; run it again for the others"
                );
                return Err(CliError { exit_code, message });
            }
        };
        match response.error_code() {
            "" if response.body["queued"] == Value::Bool(true) => imported += 1,
            // It has arrived since, is being delivered, or the running program's configuration does not forward it.
            "" | "in_flight" => handled += 1,
            _ => {
                progress.clear();
                eprintln!("{}: {}", event.id, response.error_message());
                rejected += 1;
            }
        }
    }
    progress.clear();
    let mut line = format!("{imported} of {count} imported");
    if handled > 0 {
        line += &format!(", {handled} already handled");
    }
    if rejected > 0 {
        return Err(CliError::failed(format!("{line}, {rejected} rejected")));
    }
    println_ok(&(line + "."));
    Ok(ExitCode::SUCCESS)
}
