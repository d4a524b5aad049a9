//! The JSON shapes of the events API: times in RFC 3339, and never a payload or a signature. Pure.

use serde::Serialize;
use std::time::{Duration, UNIX_EPOCH};

use crate::ledger::{Page, Record, State, StoredRequest};

/// A page of records: `{"events": […], "next": …}`, with the `endpoints` to choose from if the filter names none of them
/// and finds nothing.
#[derive(Serialize)]
pub(super) struct ListView<'a> {
    events: Vec<RecordView<'a>>,
    next: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoints: Option<Vec<Box<str>>>,
}

/// One record of a list.
#[derive(Serialize)]
struct RecordView<'a> {
    key: String,
    id: &'a str,
    endpoint: &'a str,
    /// The values of the path's variable segments, separated by `/`.
    #[serde(skip_serializing_if = "str::is_empty")]
    segments: &'a str,
    query: &'a str,
    r#type: &'a str,
    created: Option<String>,
    livemode: Option<bool>,
    account: Option<&'a str>,
    state: &'static str,
    attempts: u32,
    /// The backend's status at the last finished attempt.
    status: Option<u16>,
    seen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_ends: Option<String>,
    settled: Option<String>,
}

/// One record, with the size and the mode of its stored payload.
#[derive(Serialize)]
pub(super) struct DetailView<'a> {
    #[serde(flatten)]
    record: RecordView<'a>,
    /// `null` where the payload is no longer stored.
    payload: Option<PayloadView>,
}

#[derive(Serialize)]
struct PayloadView {
    bytes: usize,
    delivery: &'static str,
}

impl ListView<'_> {
    /// Returns the JSON shape of a page.
    pub(super) fn new(page: &Page, endpoints: Option<Vec<Box<str>>>) -> ListView<'_> {
        let events = page.records.iter().map(RecordView::new).collect();
        ListView { events, next: page.next.as_deref(), endpoints }
    }
}

impl DetailView<'_> {
    /// Returns the JSON shape of one record; `stored` is its payload, if that is still stored.
    pub(super) fn new<'a>(record: &'a Record, stored: Option<&StoredRequest>) -> DetailView<'a> {
        let payload =
            |stored: &StoredRequest| PayloadView { bytes: stored.body.len(), delivery: stored.mode.as_str() };
        DetailView { record: RecordView::new(record), payload: stored.map(payload) }
    }
}

impl RecordView<'_> {
    fn new(record: &Record) -> RecordView<'_> {
        let due = record.due.map(rfc3339);
        // The ledger stores a lease's end in the same field.
        let (due, lease_ends) = match record.state {
            State::Running => (None, due),
            State::Pending | State::Delivered | State::Failed | State::Dead => (due, None),
        };
        RecordView {
            key: record.key.to_string(),
            id: &record.key.id,
            endpoint: &record.key.endpoint,
            segments: &record.key.segments,
            query: &record.key.query,
            r#type: &record.event_type,
            created: record.created.and_then(|seconds| seconds.checked_mul(1000)).map(rfc3339),
            livemode: record.livemode,
            account: record.account.as_deref(),
            state: record.state.as_str(),
            attempts: record.attempts,
            status: record.status,
            seen: rfc3339(record.seen),
            due,
            lease_ends,
            settled: record.settled.map(rfc3339),
        }
    }
}

/// Formats Unix milliseconds as RFC 3339, to the millisecond. Times before 1970 or after 9999 cannot be written so and become
/// the nearest that can.
fn rfc3339(millis: i64) -> String {
    const MAX_MILLIS: u64 = 253_402_300_799_999;
    let millis = u64::try_from(millis).unwrap_or_default().min(MAX_MILLIS);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(millis)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery_mode::DeliveryMode;
    use crate::ledger::EventKey;
    use serde_json::{Value, json};

    fn record(state: State) -> Record {
        Record {
            key: EventKey {
                endpoint: "/w".into(),
                segments: "".into(),
                query: "v=2".into(),
                id: "evt_1".into(),
            },
            event_type: "invoice.paid".into(),
            created: Some(1_767_323_045),
            livemode: Some(false),
            account: None,
            state,
            attempts: 3,
            status: Some(503),
            seen: 1_767_323_046_007,
            due: Some(1_767_323_050_000),
            settled: None,
        }
    }

    #[test]
    fn a_record_is_shown_without_payload_and_signature() {
        let pending = record(State::Pending);
        let stored = StoredRequest {
            mode: DeliveryMode::Hybrid,
            head: "POST /hush".into(),
            signature: "v1=hush".into(),
            body: "{\"hush\"}".into(),
        };
        let shown = serde_json::to_value(DetailView::new(&pending, Some(&stored))).unwrap();
        let expected = json!({
            "key": "evt_1?v=2 /w", "id": "evt_1", "endpoint": "/w", "query": "v=2", "type": "invoice.paid",
            "created": "2026-01-02T03:04:05.000Z", "livemode": false, "account": null, "state": "pending",
            "attempts": 3, "status": 503, "seen": "2026-01-02T03:04:06.007Z", "due": "2026-01-02T03:04:10.000Z",
            "settled": null, "payload": { "bytes": 8, "delivery": "hybrid" },
        });
        assert_eq!(shown, expected);
        assert!(!shown.to_string().contains("hush"));

        let shown = serde_json::to_value(DetailView::new(&record(State::Running), None)).unwrap();
        assert_eq!((&shown["lease_ends"], &shown["due"]), (&expected["due"], &Value::Null));
        assert_eq!(shown["payload"], Value::Null);
    }

    #[test]
    fn a_time_out_of_range_is_shown_as_the_nearest_in_range() {
        assert_eq!(rfc3339(-1), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(i64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
