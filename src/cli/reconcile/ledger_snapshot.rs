//! The ledger's records of one endpoint, read through the events API: which events it has, under which queries, and
//! since when. It changes nothing.

use super::progress::Progress;
use crate::cli::admin::EventsClient;
use crate::cli::error::CliError;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, UNIX_EPOCH};

/// The most records of one page that the API allows.
const PAGE_RECORDS: &str = "1000";

/// The ledger's records of one endpoint at the time of reading.
#[derive(Debug, Default)]
pub(super) struct LedgerSnapshot {
    /// When the oldest record was first seen, since the Unix epoch; `None` without records.
    pub(super) first_seen: Option<Duration>,
    /// The ids of the events that need nothing from Stripe, by the query under which they arrived.
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
        // A failed event also adds its query: it shows under which query events arrive.
        let ids = self.accounted_for.entry(text("query").to_owned()).or_default();
        if text("state") != "failed" {
            ids.insert(text("id").to_owned());
        }
        let seen = humantime::parse_rfc3339(text("seen")).ok();
        if let Some(seen) = seen.and_then(|seen| seen.duration_since(UNIX_EPOCH).ok()) {
            self.first_seen = Some(self.first_seen.map_or(seen, |first| first.min(seen)));
        }
    }

    /// Returns true if the ledger has no record of the event under this query, or one of a failed delivery.
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
    fn only_failed_and_unknown_events_are_missing() {
        let seen = "2026-01-02T03:04:05.678Z";
        let states = ["pending", "running", "delivered", "failed", "dead"];
        let snapshot = snapshot(&states.map(|state| (state, "", state, seen)));
        let missing: Vec<_> =
            states.into_iter().chain(["new"]).filter(|id| snapshot.is_missing("", id)).collect();
        assert_eq!(missing, ["failed", "new"]);
        assert!(snapshot.is_missing("version=2", "dead"), "another query is another event");
    }

    #[test]
    fn first_seen_is_the_earliest_of_all_records() {
        let first_seen = |times: &[&str]| {
            let records: Vec<_> = times.iter().map(|seen| ("evt_1", "", "dead", *seen)).collect();
            snapshot(&records).first_seen
        };
        assert_eq!(first_seen(&[]), None);
        let times = ["1970-01-03T00:00:00.000Z", "1970-01-02T00:00:00.500Z", "1970-01-04T00:00:00.000Z"];
        assert_eq!(first_seen(&times), Some(Duration::from_millis(86_400_500)));
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
