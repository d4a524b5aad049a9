//! The query parameters of the events API, parsed strictly: a misspelled parameter must not widen a filter. Pure.

use super::error::EventsApiError;
use crate::ledger::{RecordFilter, State};

/// The default of `limit`, in records.
const DEFAULT_LIMIT: usize = 100;
/// The maximum of `limit`, in records.
const MAX_LIMIT: usize = 1000;

/// The parameters of a query, as names and values.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses a raw query. A parameter with an empty value counts as absent.
    ///
    /// # Errors
    /// [`EventsApiError::Query`] for a parameter that is not among `known`, or is given twice.
    pub(super) fn parse(raw: Option<&str>, known: &[&str]) -> Result<Self, EventsApiError> {
        let mut params: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(raw.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                let known = known.join(", ");
                return Err(EventsApiError::Query(format!("Unknown parameter. The parameters are {known}.")));
            }
            if params.iter().any(|(taken, _)| *taken == name) {
                return Err(EventsApiError::Query(format!("{name} is given twice.")));
            }
            params.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(params))
    }

    /// Returns the value of a parameter.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(given, value)| given == name && !value.is_empty())?;
        Some(value)
    }

    /// Returns the value of a parameter, which may be empty.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Returns the page size that `limit` asks for.
    pub(super) fn limit(&self) -> Result<usize, EventsApiError> {
        let Some(text) = self.one("limit") else { return Ok(DEFAULT_LIMIT) };
        let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit.ok_or_else(|| EventsApiError::Query(format!("limit is a whole number from 1 to {MAX_LIMIT}.")))
    }

    /// Returns which records the parameters select.
    pub(super) fn filter(&self) -> Result<RecordFilter, EventsApiError> {
        let own = |name| self.one(name).map(str::to_owned);
        let state = match self.one("state") {
            None => None,
            Some(text) => Some(State::parse(text).ok_or_else(|| {
                let states = State::ALL.map(State::as_str).join(", ");
                EventsApiError::Query(format!("state is one of {states}."))
            })?),
        };
        Ok(RecordFilter { endpoint: own("endpoint"), state, event_type: own("type"), id: own("id") })
    }

    /// Returns the value of a `true` or `false` parameter; the default is `false`.
    pub(super) fn flag(&self, name: &str) -> Result<bool, EventsApiError> {
        match self.one(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(EventsApiError::Query(format!("{name} is true or false."))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = ["endpoint", "state", "type", "limit", "dry_run"];

    fn filter(raw: &str) -> Result<RecordFilter, String> {
        let filter = Query::parse(Some(raw), &KNOWN).and_then(|query| query.filter());
        filter.map_err(|error| error.message())
    }

    #[test]
    fn a_filter_is_never_wider_than_the_query() {
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
        for (raw, message) in [
            ("stat=dead", "Unknown parameter"),
            ("state=deed", "pending, running, delivered, failed, dead"),
            ("state=dead&state=pending", "state is given twice"),
        ] {
            assert!(filter(raw).unwrap_err().contains(message), "{raw}");
        }
    }

    #[test]
    fn numbers_and_flags_outside_their_bounds_are_refused() {
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
