//! How keys are spelled, and back.

use crate::ledger::EventKey;

/// The spelling under one prefix.
pub(super) struct Keys {
    /// What every key begins with.
    pub(super) stem: String,
    pub(super) running: String,
    pub(super) endpoints: String,
    pub(super) served: String,
    pub(super) marker: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Keys {
        let stem = format!("{prefix}:{{e}}:");
        let fixed = |name| format!("{stem}{name}");
        Keys {
            running: fixed("running"),
            endpoints: fixed("endpoints"),
            served: fixed("served"),
            marker: fixed("marker"),
            stem,
        }
    }

    /// An event's record.
    pub(super) fn record(&self, key: &EventKey) -> String {
        // As `EventKey` displays itself, without the cost of formatting.
        let EventKey { endpoint, query, id } = key;
        [&self.stem, &**id, "?", query, " ", endpoint].concat()
    }

    /// The parcel that belongs to a record. No id begins with a slash.
    pub(super) fn parcel(&self, record: &str) -> String {
        [&self.stem, "/", record.strip_prefix(&self.stem).unwrap_or(record)].concat()
    }

    /// `due`, `kept` or `dead` of an endpoint. No id has a space.
    pub(super) fn of_endpoint(&self, what: &str, endpoint: &str) -> String {
        [&self.stem, what, " ", endpoint].concat()
    }

    /// The event that a record's key names; `None` for what is no record's.
    pub(super) fn event(&self, record: &str) -> Option<EventKey> {
        let key: EventKey = record.strip_prefix(&self.stem)?.parse().ok()?;
        key.id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_').then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(endpoint: &str, query: &str, id: &str) -> EventKey {
        EventKey { endpoint: endpoint.into(), query: query.into(), id: id.into() }
    }

    #[test]
    fn a_records_key_begins_with_the_prefix_and_names_its_event() {
        let keys = Keys::new("staging");
        let event = key("my shop", "version=2", "evt_1");
        let record = keys.record(&event);
        assert_eq!(record, "staging:{e}:evt_1?version=2 my shop");
        assert_eq!(record, format!("staging:{{e}}:{event}"));
        assert_eq!(keys.event(&record), Some(event));
        let others = [
            keys.parcel(&record),
            keys.of_endpoint("due", "my shop?a b"),
            keys.running.clone(),
            keys.endpoints.clone(),
            keys.marker.clone(),
            "production:{e}:evt_1? my shop".to_owned(),
        ];
        for other in others {
            assert_eq!(keys.event(&other), None, "{other}");
        }
        assert_eq!(keys.parcel(&record), "staging:{e}:/evt_1?version=2 my shop");
    }

    #[test]
    fn no_two_events_share_a_key() {
        let keys = Keys::new("c");
        let others = [
            key("a", "", "evt_1"),
            key("a", "b", "evt_1"),
            key("a b", "", "evt_1"),
            key("a?b", "", "evt_1"),
            key("b", "?a", "evt_1"),
            key("", "", "evt_1"),
        ];
        let spelled: std::collections::HashSet<_> = others.iter().map(|key| keys.record(key)).collect();
        assert_eq!(spelled.len(), others.len());
    }
}
