//! The names of the ledger's keys in Redis, and the event that a record's key names. Pure data: it sends nothing.
//!
//! ```text
//!  PREFIX:{e}:ID?QUERY ENDPOINT   string: an event's record; a settled one is deleted after the retention. Variable segments
//!                                 of the path follow the id, each after a slash: ID/SEGMENT?QUERY ENDPOINT
//!  PREFIX:{e}:/ID?QUERY ENDPOINT  hash: the event's payload, while it may still be needed
//!  PREFIX:{e}:running             sorted set: the keys of RUNNING records by the end of the lease
//!  PREFIX:{e}:due ENDPOINT        sorted set of queued events: PENDING by due time, RUNNING by the end of the lease
//!  PREFIX:{e}:queued ENDPOINT     sorted set of the same events by the time when they were first received
//!  PREFIX:{e}:dead ENDPOINT       sorted set of DEAD events by the time of their last attempt
//!  PREFIX:{e}:settled             list: time and record of each settlement, the oldest first. It tells what to delete
//!  PREFIX:{e}:queued_endpoints    set: the endpoints that have ever queued an event
//!  PREFIX:{e}:variants            set: what has ever followed an id in the key of a record, such as "?QUERY ENDPOINT". A
//!                                 look-up by id reads these keys, and never scans the server
//!  PREFIX:{e}:polled              sorted set of endpoints by the time when a process last asked for due events
//!  PREFIX:{e}:last_arrivals       hash: for each endpoint, part of the head of its last webhook
//!  PREFIX:{e}:clock               hash: when the server was probed last, its clock jumped last, and records were deleted last
//!  PREFIX:{e}:marker              string: identifies the server's data; missing after the server lost its data
//!  PREFIX:{e}:writes PROCESS      string: the number of writes of one process that the server has acknowledged. The
//!                                 number goes back if the server loses some of them
//! ```
//!
//! The hash tag `{e}` keeps all keys on one node of a Redis Cluster, because a script's keys must be together.

use crate::ledger::EventKey;

/// The key names under one configured prefix. The map above says what each key holds.
#[derive(Clone)]
pub(super) struct Keys {
    /// The beginning of every key: `PREFIX:{e}:`.
    pub(super) key_prefix: String,
    pub(super) running: String,
    pub(super) queued_endpoints: String,
    pub(super) polled: String,
    pub(super) variants: String,
    pub(super) last_arrivals: String,
    pub(super) settled: String,
    pub(super) clock: String,
    pub(super) marker: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        // The hash tag `{e}` puts every key on one node of a Redis Cluster.
        let key_prefix = format!("{prefix}:{{e}}:");
        let fixed = |name| format!("{key_prefix}{name}");
        Self {
            running: fixed("running"),
            queued_endpoints: fixed("queued_endpoints"),
            polled: fixed("polled"),
            variants: fixed("variants"),
            last_arrivals: fixed("last_arrivals"),
            settled: fixed("settled"),
            clock: fixed("clock"),
            marker: fixed("marker"),
            key_prefix,
        }
    }

    /// Returns the key of an event's record.
    pub(super) fn record(&self, key: &EventKey) -> String {
        // The same text as `EventKey`'s Display. Joining the parts avoids the cost of formatting on every claim.
        let EventKey { endpoint, segments, query, id } = key;
        let separator = if segments.is_empty() { "" } else { "/" };
        [&self.key_prefix, &**id, separator, segments, "?", query, " ", endpoint].concat()
    }

    /// Returns the key of the record that has this id and a member of `variants`.
    pub(super) fn with_variant(&self, id: &str, variant: &str) -> String {
        [&self.key_prefix, id, variant].concat()
    }

    /// Returns the key of the payload that belongs to a record. It differs from every record's key by its slash,
    /// because no event id begins with one.
    pub(super) fn payload(&self, record: &str) -> String {
        [&self.key_prefix, "/", record.strip_prefix(&self.key_prefix).unwrap_or(record)].concat()
    }

    /// Returns the key of the write counter of a process with this random name.
    pub(super) fn write_counter(&self, process: &str) -> String {
        self.endpoint_key("writes", process)
    }

    /// Returns the key of an endpoint's `due` set.
    pub(super) fn due(&self, endpoint: &str) -> String {
        self.endpoint_key("due", endpoint)
    }

    /// Returns the key of an endpoint's `queued` set.
    pub(super) fn queued(&self, endpoint: &str) -> String {
        self.endpoint_key("queued", endpoint)
    }

    /// Returns the key of an endpoint's `dead` set.
    pub(super) fn dead(&self, endpoint: &str) -> String {
        self.endpoint_key("dead", endpoint)
    }

    fn endpoint_key(&self, set: &str, endpoint: &str) -> String {
        // The space sets these keys apart from records: no event id contains one.
        [&self.key_prefix, set, " ", endpoint].concat()
    }

    /// Returns every key that concerns one queued event, in the order that `reschedule.lua` and `operator.lua` take:
    /// record, `running`, payload, `due`, `queued`, `dead`.
    pub(super) fn event_keys(&self, key: &EventKey) -> [String; 6] {
        let record = self.record(key);
        let payload = self.payload(&record);
        let EventKey { endpoint, .. } = key;
        [
            record,
            self.running.clone(),
            payload,
            self.due(endpoint),
            self.queued(endpoint),
            self.dead(endpoint),
        ]
    }

    /// Returns the event that a record's key names; `None` if the key is not a record's.
    pub(super) fn event(&self, record: &str) -> Option<EventKey> {
        let key: EventKey = record.strip_prefix(&self.key_prefix)?.parse().ok()?;
        let is_id = |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        is_id(&key.id).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(endpoint: &str, query: &str, id: &str) -> EventKey {
        EventKey { endpoint: endpoint.into(), segments: "".into(), query: query.into(), id: id.into() }
    }

    #[test]
    fn the_variable_segments_are_part_of_a_key() {
        let keys = Keys::new("c");
        let event = EventKey { segments: "acme/live".into(), ..key("shop", "v=2", "evt_1") };
        let record = keys.record(&event);
        assert_eq!(record, "c:{e}:evt_1/acme/live?v=2 shop");
        assert_eq!(record, format!("c:{{e}}:{event}"));
        assert_eq!(keys.event(&record), Some(event));
        assert_eq!(keys.event(&keys.payload(&record)), None);
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
            keys.payload(&record),
            keys.due("my shop?a b"),
            keys.running.clone(),
            keys.queued_endpoints.clone(),
            keys.settled.clone(),
            keys.clock.clone(),
            keys.marker.clone(),
            keys.variants.clone(),
            "production:{e}:evt_1? my shop".to_owned(),
        ];
        for other in others {
            assert_eq!(keys.event(&other), None, "{other}");
        }
        assert_eq!(keys.payload(&record), "staging:{e}:/evt_1?version=2 my shop");
    }

    #[test]
    fn no_two_events_share_a_key() {
        let keys = Keys::new("c");
        let events = [
            key("a", "", "evt_1"),
            key("a", "b", "evt_1"),
            key("a b", "", "evt_1"),
            key("a?b", "", "evt_1"),
            key("b", "?a", "evt_1"),
            key("", "", "evt_1"),
            EventKey { segments: "a".into(), ..key("a", "b", "evt_1") },
            EventKey { segments: "a/b".into(), ..key("a", "", "evt_1") },
        ];
        let spelled: std::collections::HashSet<_> = events.iter().map(|key| keys.record(key)).collect();
        assert_eq!(spelled.len(), events.len());
    }
}
