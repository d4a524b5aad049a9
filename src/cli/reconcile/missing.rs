//! The events that Stripe has and the ledger does not: checks each again, and has the running program import it.

use super::stripe_event::StripeEvent;
use crate::cli::admin::{EventsClient, EventsResponse, path_segment};
use crate::cli::error::CliError;
use crate::cli::progress::Progress;
use crate::clock;
use crate::ledger::EventKey;
use reqwest::Method;
use serde_json::Value;
use std::time::{Duration, UNIX_EPOCH};

/// The longest time that a lease may have left. A later end was written under a wrong clock and does not count, as in the
/// ledger.
const MAX_LEASE_LEFT: Duration = Duration::from_secs(2 * 3600);

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
    pub(super) event: StripeEvent,
    /// `missing` without a record; `failed` after a failed inline delivery; `abandoned` after one whose process died;
    /// `ignored` where the endpoint did not forward it.
    pub(super) state: &'static str,
}

impl MissingEvent {
    /// Returns the line that is printed for it.
    pub(super) fn line(&self) -> String {
        let StripeEvent { id, event_type, account, .. } = &self.event;
        let account = account.as_deref().map(|account| format!("  {account}")).unwrap_or_default();
        let created = self.event.created_rfc3339();
        format!("{id:<30} {created}  {:<9} {event_type}{account}", self.state)
    }
}

/// Returns the events that are still missing, the oldest first. Some may have arrived since the snapshot was read, which
/// can be minutes ago.
pub(super) async fn recheck(
    mut candidates: Vec<StripeEvent>,
    target: &ReconcileTarget<'_>,
    progress: &Progress,
) -> Result<Vec<MissingEvent>, CliError> {
    // Each list has the newest first; the oldest is imported first, as it would have arrived.
    candidates.reverse();
    candidates.sort_by_key(|event| event.created);
    let mut missing = Vec::with_capacity(candidates.len());
    let count = candidates.len();
    for (done, event) in candidates.into_iter().enumerate() {
        progress.show(|| format!("comparing {done} of {count}"));
        let key = EventKey {
            endpoint: target.endpoint.into(),
            segments: target.segments.into(),
            query: target.query.into(),
            id: event.id.as_str().into(),
        };
        let path = format!("/{}", path_segment(&key.to_string()));
        let response = target.api.try_send(Method::GET, &path, &[], Vec::new()).await?;
        let state = match (response.error_code(), &response.body) {
            ("event_unknown", _) => Some("missing"),
            ("", record) => missing_state(record, clock::unix()),
            _ => return Err(CliError::failed(response.error_message())),
        };
        missing.extend(state.map(|state| MissingEvent { event, state }));
    }
    Ok(missing)
}

/// Returns why the event of this record is missing; `None` if it is not. `now` is since the Unix epoch.
fn missing_state(record: &Value, now: Duration) -> Option<&'static str> {
    match record["state"].as_str().unwrap_or_default() {
        "failed" => Some("failed"),
        "ignored" => Some("ignored"),
        // Without a payload only the process that holds the lease can deliver it.
        "running" if record["payload"].is_null() => {
            let ends = record["lease_ends"].as_str().and_then(|text| humantime::parse_rfc3339(text).ok());
            let ends = ends.and_then(|ends| ends.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
            let holds = ends > now && ends - now <= MAX_LEASE_LEFT;
            (!holds).then_some("abandoned")
        }
        _ => None,
    }
}

/// The result of an import.
#[derive(Default)]
pub(super) struct ImportCounts {
    /// The number of events that the program has stored.
    pub(super) imported: usize,
    /// The number of events that arrived since, or that are being delivered.
    pub(super) handled: usize,
    /// The ids of the events that the program did not take, each with the reason.
    pub(super) rejected: Vec<(String, String)>,
}

impl ImportCounts {
    fn add(&mut self, event: &StripeEvent, response: &EventsResponse) {
        match response.error_code() {
            "" if response.body["queued"] == Value::Bool(true) => self.imported += 1,
            "" if response.body["ignored"] == Value::Bool(true) => {
                let reason =
                    "the running program does not forward it: reload it, its configuration is another";
                self.rejected.push((event.id.clone(), reason.to_owned()));
            }
            // It has arrived since, or is being delivered.
            "" | "in_flight" => self.handled += 1,
            _ => self.rejected.push((event.id.clone(), response.error_message().to_owned())),
        }
    }
}

/// Imports each event. A rejected event does not stop the others; a failure of the program or its ledger does.
pub(super) async fn import(
    missing: &[MissingEvent],
    target: &ReconcileTarget<'_>,
    progress: &Progress,
) -> Result<ImportCounts, CliError> {
    let (count, mut counts) = (missing.len(), ImportCounts::default());
    for (done, MissingEvent { event, .. }) in missing.iter().enumerate() {
        progress.show(|| format!("importing {done} of {count}"));
        let query = [("endpoint", target.endpoint), ("segments", target.segments), ("query", target.query)];
        let sent = target.api.try_send(Method::POST, "", &query, event.payload.to_vec()).await;
        let response = sent.map_err(|CliError { exit_code, message }| {
            let imported = counts.imported;
            let message =
                format!("{message}\n{imported} of {count} events were imported; run it again for the others");
            CliError { exit_code, message }
        });
        match response {
            Ok(response) => counts.add(event, &response),
            Err(error) => {
                progress.clear();
                return Err(error);
            }
        }
    }
    progress.clear();
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_running_event_is_missing_once_its_lease_is_over_unless_its_payload_is_stored() {
        let now = Duration::from_secs(3600);
        let [over, ahead, absurd] =
            ["1970-01-01T01:00:00.000Z", "1970-01-01T01:00:00.001Z", "1970-01-02T00:00:00.000Z"];
        for (record, expected) in [
            (json!({ "state": "running", "lease_ends": over, "payload": null }), Some("abandoned")),
            (json!({ "state": "running", "lease_ends": ahead, "payload": null }), None),
            (json!({ "state": "running", "lease_ends": absurd, "payload": null }), Some("abandoned")),
            (json!({ "state": "running", "lease_ends": over, "payload": { "bytes": 1 } }), None),
            (json!({ "state": "failed", "payload": null }), Some("failed")),
            (json!({ "state": "ignored", "payload": null }), Some("ignored")),
            (json!({ "state": "delivered", "payload": null }), None),
            (json!({ "state": "pending", "payload": { "bytes": 1 } }), None),
        ] {
            assert_eq!(missing_state(&record, now), expected, "{record}");
        }
    }
}
