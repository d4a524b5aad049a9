//! How records look as JSON: times as RFC 3339, and nothing of a payload or a signature. Pure.

use serde::Serialize;
use std::time::{Duration, UNIX_EPOCH};

use crate::ledger::{Page, Record, State, StoredRequest};

/// `{"events": […], "next": …}`
#[derive(Serialize)]
pub(super) struct Listed<'a> {
    events: Vec<Shown<'a>>,
    next: Option<&'a str>,
}

/// A record.
#[derive(Serialize)]
struct Shown<'a> {
    key: String,
    id: &'a str,
    endpoint: &'a str,
    query: &'a str,
    r#type: &'a str,
    created: Option<String>,
    livemode: Option<bool>,
    account: Option<&'a str>,
    state: &'static str,
    attempts: u32,
    /// The backend's, at the last attempt that is over.
    status: Option<u16>,
    seen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_ends: Option<String>,
    settled: Option<String>,
}

/// A record, and what is kept of its event.
#[derive(Serialize)]
pub(super) struct Whole<'a> {
    #[serde(flatten)]
    record: Shown<'a>,
    /// `null` where nothing is kept any more.
    payload: Option<Kept>,
}

#[derive(Serialize)]
struct Kept {
    bytes: usize,
    delivery: &'static str,
}

/// A page.
pub(super) fn page(page: &Page) -> Listed<'_> {
    Listed { events: page.records.iter().map(shown).collect(), next: page.next.as_deref() }
}

/// One record.
pub(super) fn whole<'a>(record: &'a Record, parcel: Option<&StoredRequest>) -> Whole<'a> {
    let payload = parcel.map(|parcel| Kept { bytes: parcel.body.len(), delivery: parcel.mode.as_str() });
    Whole { record: shown(record), payload }
}

fn shown(record: &Record) -> Shown<'_> {
    let due = record.due.map(time);
    let (due, lease_ends) = match record.state {
        State::Running => (None, due),
        State::Pending | State::Delivered | State::Failed | State::Dead => (due, None),
    };
    Shown {
        key: record.key.to_string(),
        id: &record.key.id,
        endpoint: &record.key.endpoint,
        query: &record.key.query,
        r#type: &record.event_type,
        created: record.created.and_then(|seconds| seconds.checked_mul(1000)).map(time),
        livemode: record.livemode,
        account: record.account.as_deref(),
        state: record.state.as_str(),
        attempts: record.attempts,
        status: record.status,
        seen: time(record.seen),
        due,
        lease_ends,
        settled: record.settled.map(time),
    }
}

/// Unix milliseconds in RFC 3339, to the millisecond. What cannot be written so (before 1970, after 9999) is brought to
/// the nearest that can.
fn time(millis: i64) -> String {
    const LAST: u64 = 253_402_300_799_999;
    let millis = u64::try_from(millis).unwrap_or_default().min(LAST);
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
            key: EventKey { endpoint: "/w".into(), query: "v=2".into(), id: "evt_1".into() },
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
    fn a_record_shows_what_it_has_in_words_and_times() {
        let pending = record(State::Pending);
        let parcel = StoredRequest {
            mode: DeliveryMode::Hybrid,
            head: "POST /hush".into(),
            signature: "v1=hush".into(),
            body: "{\"hush\"}".into(),
        };
        let shown = serde_json::to_value(whole(&pending, Some(&parcel))).unwrap();
        let expected = json!({
            "key": "evt_1?v=2 /w", "id": "evt_1", "endpoint": "/w", "query": "v=2", "type": "invoice.paid",
            "created": "2026-01-02T03:04:05.000Z", "livemode": false, "account": null, "state": "pending",
            "attempts": 3, "status": 503, "seen": "2026-01-02T03:04:06.007Z", "due": "2026-01-02T03:04:10.000Z",
            "settled": null, "payload": { "bytes": 8, "delivery": "hybrid" },
        });
        assert_eq!(shown, expected);
        assert!(!shown.to_string().contains("hush"));

        let shown = serde_json::to_value(whole(&record(State::Running), None)).unwrap();
        assert_eq!((&shown["lease_ends"], &shown["due"]), (&expected["due"], &Value::Null));
        assert_eq!(shown["payload"], Value::Null);
    }

    #[test]
    fn no_time_is_too_odd_to_be_written() {
        assert_eq!(time(-1), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(i64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
