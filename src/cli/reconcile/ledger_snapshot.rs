//! The ledger's records of one endpoint, read through the events API: which events it has, under which queries, and
//! since when. It changes nothing.

use super::list_query::is_thin_type;
use crate::cli::admin::EventsClient;
use crate::cli::error::CliError;
use crate::cli::progress::Progress;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, UNIX_EPOCH};

/// The most records of one page that the API allows.
const PAGE_RECORDS: &str = "1000";

/// The ledger's records of one endpoint at the time of reading.
#[derive(Debug, Default)]
pub(super) struct LedgerSnapshot {
    /// When the oldest record was first seen, or its event was created if it is not settled, since the Unix epoch; `None`
    /// without records.
    pub(super) first_seen: Option<Duration>,
    /// Whether any record is one of a thin event.
    pub(super) has_thin_events: bool,
    /// The ids of the events that need nothing from Stripe, whatever becomes of this process, by the query under which
    /// they arrived.
    accounted_for: BTreeMap<String, HashSet<String>>,
}

impl LedgerSnapshot {
    /// Reads every record of the endpoint whose path had these values in its variable segments.
    pub(super) async fn read(
        api: &EventsClient,
        endpoint: &str,
        segments: &str,
        progress: &Progress,
    ) -> Result<Self, CliError> {
        let (mut snapshot, mut after, mut read) = (Self::default(), String::new(), 0);
        loop {
            progress.show(|| format!("reading the ledger: {read} records"));
            let query = [("endpoint", endpoint), ("limit", PAGE_RECORDS), ("after", after.as_str())];
            let response = api.page(&query).await?;
            for record in response.records() {
                if record["segments"].as_str().unwrap_or_default() == segments {
                    snapshot.add(record);
                }
                read += 1;
            }
            match response.text("next") {
                Some(next) => after = next.to_owned(),
                None => return Ok(snapshot),
            }
        }
    }

    fn add(&mut self, record: &Value) {
        let text = |name: &str| record[name].as_str().unwrap_or_default();
        // Every record adds its query: it shows under which query events arrive.
        let ids = self.accounted_for.entry(text("query").to_owned()).or_default();
        let accounted_for = is_accounted_for(text("state"));
        if accounted_for {
            ids.insert(text("id").to_owned());
        }
        self.has_thin_events |= is_thin_type(text("type"));
        // An event is created before it is seen. Stripe's list has to reach back to the creation of one that may be missing.
        let times = [Some("seen"), (!accounted_for).then_some("created")];
        let times = times
            .into_iter()
            .flatten()
            .filter_map(|name| humantime::parse_rfc3339(text(name)).ok()?.duration_since(UNIX_EPOCH).ok());
        self.first_seen = times.chain(self.first_seen).min();
    }

    /// Returns true if the ledger has no record of the event under this query, or one that does not settle the matter:
    /// that of a failed delivery, or of one under way, whose process may have died.
    pub(super) fn is_missing(&self, query: &str, id: &str) -> bool {
        self.accounted_for.get(query).is_none_or(|ids| !ids.contains(id))
    }

    /// Returns the query under which events arrive: the `requested` one, else the only one in the records.
    ///
    /// # Errors
    /// The records have several queries and none is requested, or none of them has the requested one. With a wrong query
    /// every event would appear to be missing.
    pub(super) fn query(&self, requested: Option<&str>) -> Result<String, CliError> {
        let mut queries = self.accounted_for.keys();
        match (requested, queries.next(), queries.next()) {
            (requested, None, _) => Ok(requested.unwrap_or_default().to_owned()),
            (None, Some(only), None) => Ok(only.clone()),
            (Some(requested), Some(_), _) if self.accounted_for.contains_key(requested) => {
                Ok(requested.to_owned())
            }
            (_, Some(_), _) => {
                let all: Vec<_> = self.accounted_for.keys().map(|query| format!("\"{query}\"")).collect();
                Err(CliError::usage(format!(
                    "choose the query of the endpoint's URL with --query; the ledger's records have: {}",
                    all.join(", ")
                )))
            }
        }
    }
}

/// Whether an event in this state needs nothing from Stripe: it is delivered, or its payload is stored. A running event
/// may be an inline one, which nothing but Stripe can deliver again; `missing` looks at it more closely.
fn is_accounted_for(state: &str) -> bool {
    matches!(state, "pending" | "delivered" | "dead")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn snapshot(records: &[(&str, &str, &str, &str)]) -> LedgerSnapshot {
        let mut snapshot = LedgerSnapshot::default();
        for (id, query, state, seen) in records {
            snapshot.add(&json!({ "id": id, "query": query, "state": state, "seen": seen }));
        }
        snapshot
    }

    #[test]
    fn only_delivered_and_queued_events_are_accounted_for() {
        let seen = "2026-01-02T03:04:05.678Z";
        let states = ["pending", "running", "delivered", "failed", "dead", "ignored"];
        let snapshot = snapshot(&states.map(|state| (state, "", state, seen)));
        let missing: Vec<_> =
            states.into_iter().chain(["new"]).filter(|id| snapshot.is_missing("", id)).collect();
        assert_eq!(missing, ["running", "failed", "ignored", "new"]);
        assert!(snapshot.is_missing("version=2", "dead"), "another query is another event");
    }

    #[test]
    fn the_search_begins_at_the_earliest_record_or_creation_of_an_unsettled_event() {
        let first_seen = |records: &[(&str, &str, &str)]| {
            let mut snapshot = LedgerSnapshot::default();
            for (state, seen, created) in records {
                snapshot.add(&json!({ "id": "evt_1", "state": state, "seen": seen, "created": created }));
            }
            snapshot.first_seen
        };
        assert_eq!(first_seen(&[]), None);
        let [one, two, four] =
            ["1970-01-01T00:00:00.000Z", "1970-01-02T00:00:00.500Z", "1970-01-04T00:00:00.000Z"];
        let records = [("dead", four, one), ("dead", two, one), ("dead", four, one)];
        assert_eq!(first_seen(&records), Some(Duration::from_millis(86_400_500)));
        for state in ["failed", "running"] {
            assert_eq!(first_seen(&[("dead", two, two), (state, four, one)]), Some(Duration::ZERO));
        }
    }

    #[test]
    fn with_several_queries_one_has_to_be_chosen() {
        let query = |queries: &[&str], requested| {
            let records: Vec<_> = queries.iter().map(|q| ("evt_1", *q, "dead", "")).collect();
            snapshot(&records).query(requested).map_err(|error| error.exit_code)
        };
        let two = &["version=2", ""];
        for (queries, requested, expected) in [
            (&[][..], None, Ok("")),
            (&[], Some("version=2"), Ok("version=2")),
            (&["version=2", "version=2"], None, Ok("version=2")),
            (&["version=2"], Some("version=3"), Err(2)),
            (two, None, Err(2)),
            (two, Some(""), Ok("")),
            (two, Some("version=2"), Ok("version=2")),
        ] {
            assert_eq!(query(queries, requested), expected.map(str::to_owned), "{queries:?} {requested:?}");
        }
    }
}
