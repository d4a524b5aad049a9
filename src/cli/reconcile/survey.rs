//! What the ledger knows of one endpoint, through the events API: which events, under which queries, since when.

use super::{Failure, Progress, field};
use crate::cli::admin::Admin;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, UNIX_EPOCH};

/// What the ledger knows of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// When its first event came, since the Unix epoch.
    pub(super) first: Option<Duration>,
    /// Of each query, the ids of the events that are in good hands.
    safe: BTreeMap<String, HashSet<String>>,
}

impl Survey {
    /// Reads every record of the endpoint.
    pub(super) async fn take(admin: &Admin, endpoint: &str, progress: &Progress) -> Result<Survey, Failure> {
        let (mut survey, mut after, mut read) = (Survey::default(), String::new(), 0);
        loop {
            progress.say(|| format!("reading the ledger: {read} records"));
            let asked = [("endpoint", endpoint), ("limit", "1000"), ("after", after.as_str())];
            let answer = admin.get("", &asked).await?;
            for record in answer.said["events"].as_array().into_iter().flatten() {
                survey.note(record);
                read += 1;
            }
            match answer.text("next") {
                Some(next) => after = next.to_owned(),
                None => return Ok(survey),
            }
        }
    }

    fn note(&mut self, record: &Value) {
        let safe = self.safe.entry(field(record, "query").to_owned()).or_default();
        if field(record, "state") != "failed" {
            safe.insert(field(record, "id").to_owned());
        }
        let seen = humantime::parse_rfc3339(field(record, "seen")).ok();
        if let Some(seen) = seen.and_then(|seen| seen.duration_since(UNIX_EPOCH).ok()) {
            self.first = Some(self.first.map_or(seen, |first| first.min(seen)));
        }
    }

    /// Whether an event is not in good hands under this query.
    pub(super) fn lacks(&self, query: &str, id: &str) -> bool {
        self.safe.get(query).is_none_or(|safe| !safe.contains(id))
    }

    /// The query under which events come: the one that is `wanted`, else the only one.
    ///
    /// # Errors
    /// They come under several, or never under that one: there everything would look as if it were missing.
    pub(super) fn query(&self, wanted: Option<&str>) -> Result<String, Failure> {
        let mut queries = self.safe.keys();
        match (wanted, queries.next(), queries.next()) {
            (wanted, None, _) => Ok(wanted.unwrap_or_default().to_owned()),
            (None, Some(only), None) => Ok(only.clone()),
            (Some(wanted), Some(_), _) if self.safe.contains_key(wanted) => Ok(wanted.to_owned()),
            (_, Some(_), _) => {
                let all: Vec<_> = self.safe.keys().map(|query| format!("\"{query}\"")).collect();
                let message = format!(
                    "say with --query under which query events are meant: they came under {}",
                    all.join(", ")
                );
                Err(Failure { code: 2, message })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn survey(records: &[(&str, &str, &str, &str)]) -> Survey {
        let mut survey = Survey::default();
        for (id, query, state, seen) in records {
            survey.note(&json!({ "id": id, "query": query, "state": state, "seen": seen }));
        }
        survey
    }

    #[test]
    fn what_failed_is_lacking_and_all_else_is_in_good_hands() {
        let seen = "2026-01-02T03:04:05.678Z";
        let states = ["pending", "running", "delivered", "failed", "dead"];
        let survey = survey(&states.map(|state| (state, "", state, seen)));
        let lacking: Vec<_> = states.into_iter().chain(["new"]).filter(|id| survey.lacks("", id)).collect();
        assert_eq!(lacking, ["failed", "new"]);
        assert!(survey.lacks("version=2", "dead"), "another query is another event");
    }

    #[test]
    fn the_first_record_is_the_earliest_of_all() {
        let of = |times: &[&str]| {
            let records: Vec<_> = times.iter().map(|seen| ("evt_1", "", "dead", *seen)).collect();
            survey(&records).first
        };
        assert_eq!(of(&[]), None);
        let times = ["1970-01-03T00:00:00.000Z", "1970-01-02T00:00:00.500Z", "1970-01-04T00:00:00.000Z"];
        assert_eq!(of(&times), Some(Duration::from_millis(86_400_500)));
    }

    #[test]
    fn events_come_under_one_query_or_somebody_has_to_say() {
        let of = |queries: &[&str], wanted| {
            let records: Vec<_> = queries.iter().map(|query| ("evt_1", *query, "dead", "")).collect();
            survey(&records).query(wanted).map_err(|failure| failure.code)
        };
        let two = &["version=2", ""];
        for (queries, wanted, expected) in [
            (&[][..], None, Ok("")),
            (&[], Some("version=2"), Ok("version=2")),
            (&["version=2", "version=2"], None, Ok("version=2")),
            (&["version=2"], Some("version=3"), Err(2)),
            (two, None, Err(2)),
            (two, Some(""), Ok("")),
            (two, Some("version=2"), Ok("version=2")),
        ] {
            assert_eq!(of(queries, wanted), expected.map(str::to_owned), "{queries:?} {wanted:?}");
        }
    }
}
