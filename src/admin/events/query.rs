//! What a query of the events API may say, read strictly: a word that is misspelled must not widen a filter. Pure.

use super::refusal::Refusal;
use crate::ledger::{RecordFilter, State};

/// Records of a page, unless it is said.
const LIMIT: usize = 100;
/// The most of one page.
const MOST: usize = 1000;

/// A query's parameters.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Those of a raw query; blank ones are as good as none.
    ///
    /// # Errors
    /// [`Refusal::Query`] for one that is not among `known`, or given twice.
    pub(super) fn parse(raw: Option<&str>, known: &[&str]) -> Result<Query, Refusal> {
        let mut params: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(raw.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                let known = known.join(", ");
                return Err(Refusal::Query(format!("There is no such parameter; there are {known}.")));
            }
            if params.iter().any(|(taken, _)| *taken == name) {
                return Err(Refusal::Query(format!("{name} is given twice.")));
            }
            params.push((name.into_owned(), value.into_owned()));
        }
        Ok(Query(params))
    }

    /// The value of a parameter.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(given, value)| given == name && !value.is_empty())?;
        Some(value)
    }

    /// How many records a page is to have.
    pub(super) fn limit(&self) -> Result<usize, Refusal> {
        let Some(text) = self.one("limit") else { return Ok(LIMIT) };
        let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
        limit.ok_or_else(|| Refusal::Query(format!("limit is a whole number from 1 to {MOST}.")))
    }

    /// Which records are meant.
    pub(super) fn filter(&self) -> Result<RecordFilter, Refusal> {
        let own = |name| self.one(name).map(str::to_owned);
        let state = match self.one("state") {
            None => None,
            Some(word) => Some(State::parse(word).ok_or_else(|| {
                let words = State::ALL.map(State::as_str).join(", ");
                Refusal::Query(format!("state is one of {words}."))
            })?),
        };
        Ok(RecordFilter { endpoint: own("endpoint"), state, event_type: own("type"), id: own("id") })
    }

    /// `true` or `false`; `false` unless it is said.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.one(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refusal::Query(format!("{name} is true or false."))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = ["endpoint", "state", "type", "limit", "dry_run"];

    fn filter(raw: &str) -> Result<RecordFilter, String> {
        let filter = Query::parse(Some(raw), &KNOWN).and_then(|query| query.filter());
        filter.map_err(|refusal| refusal.message())
    }

    #[test]
    fn a_filter_is_what_the_query_says_and_no_wider() {
        let all = RecordFilter::default;
        let own = |text: &str| Some(text.to_owned());
        for (raw, expected) in [
            ("", all()),
            ("state=&type=", all()),
            ("state=dead", RecordFilter { state: Some(State::Dead), ..all() }),
            (
                "type=invoice.%2A&endpoint=%2Fwebhooks%2Fstripe",
                RecordFilter { event_type: own("invoice.*"), endpoint: own("/webhooks/stripe"), ..all() },
            ),
        ] {
            assert_eq!(filter(raw), Ok(expected), "{raw}");
        }
        for (raw, said) in [
            ("stat=dead", "no such parameter"),
            ("state=deed", "pending, running, delivered, failed, dead"),
            ("state=dead&state=pending", "state is given twice"),
        ] {
            assert!(filter(raw).unwrap_err().contains(said), "{raw}");
        }
    }

    #[test]
    fn numbers_and_flags_are_held_to_their_bounds() {
        let query = |raw| Query::parse(Some(raw), &KNOWN).unwrap_or_else(|r| panic!("{}", r.message()));
        for (raw, expected) in [("", 100), ("limit=1", 1), ("limit=1000", 1000)] {
            assert_eq!(query(raw).limit().ok(), Some(expected), "{raw}");
        }
        for raw in ["limit=0", "limit=1001", "limit=-1", "limit=ten"] {
            assert!(query(raw).limit().is_err(), "{raw}");
        }
        for (raw, expected) in [
            ("", Some(false)),
            ("dry_run=true", Some(true)),
            ("dry_run=false", Some(false)),
            ("dry_run=1", None),
        ] {
            assert_eq!(query(raw).flag("dry_run").ok(), expected, "{raw}");
        }
    }
}
