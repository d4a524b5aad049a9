//! An event as a list of Stripe's has it: the few fields that are read here, and the whole payload. Pure.

use crate::endpoint::EventFilter;
use crate::stripe::event;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

/// An event of a list.
#[derive(Debug)]
pub(super) struct StripeEvent {
    /// The event's id, `evt_…`.
    pub(super) id: String,
    /// The event's `type`.
    pub(super) event_type: String,
    /// When Stripe created the event, in Unix seconds.
    pub(super) created: u64,
    /// The connected account whose list has the event; `None` for the list of the key's own account.
    pub(super) account: Option<String>,
    /// The whole event, as the endpoint would have received it.
    pub(super) payload: Bytes,
}

/// The fields of an event that are read here.
#[derive(Deserialize)]
struct EventFields {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(default)]
    created: Created,
}

/// A time of creation. Snapshot events have Unix seconds, thin events RFC 3339.
#[derive(Deserialize)]
#[serde(untagged)]
enum Created {
    Unix(u64),
    Text(String),
}

impl Default for Created {
    fn default() -> Self {
        Self::Unix(0)
    }
}

impl Created {
    fn unix(&self) -> u64 {
        let parsed = match self {
            Self::Unix(seconds) => return *seconds,
            Self::Text(text) => humantime::parse_rfc3339_weak(text),
        };
        let since = parsed.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.unwrap_or_default().as_secs()
    }
}

impl StripeEvent {
    /// Parses an event of the list of `account`. The list of a connected account may leave out whose event it is, which a
    /// webhook says; `account_field` is the field that says it.
    ///
    /// # Errors
    /// The value is not an event.
    pub(super) fn parse(
        payload: &RawValue,
        account: Option<&str>,
        account_field: &str,
    ) -> Result<Self, serde_json::Error> {
        let EventFields { id, event_type, created } = serde_json::from_str(payload.get())?;
        let payload = match account {
            Some(account) => with_account(payload.get(), account_field, account)?,
            None => payload.get().to_owned(),
        };
        let account = account.map(str::to_owned);
        Ok(Self { id, event_type, created: created.unix(), account, payload: payload.into() })
    }

    /// Returns true if an endpoint with this filter forwards the event.
    pub(super) fn is_forwarded(&self, filter: &EventFilter) -> bool {
        event::parse_trusted(self.payload.clone()).is_ok_and(|event| filter.matches(&event))
    }

    /// Returns when Stripe created the event, in RFC 3339.
    pub(super) fn created_rfc3339(&self) -> String {
        rfc3339(self.created)
    }
}

/// Formats Unix seconds as RFC 3339.
pub(super) fn rfc3339(seconds: u64) -> String {
    // The year 9999 is the last that can be written so.
    const MAX_SECONDS: u64 = 253_402_300_799;
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds.min(MAX_SECONDS))).to_string()
}

/// Returns the object with the field `name`, added in front if the object has none.
fn with_account(object: &str, name: &str, account: &str) -> Result<String, serde_json::Error> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(object)?;
    let inside = object.trim_start().strip_prefix('{');
    Ok(match inside {
        Some(inside) if !fields.contains_key(name) => {
            format!("{{\"{name}\":{},{inside}", serde_json::Value::from(account))
        }
        _ => object.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, account: Option<&str>, field: &str) -> StripeEvent {
        let raw: Box<RawValue> = serde_json::from_str(text).unwrap();
        StripeEvent::parse(&raw, account, field).unwrap()
    }

    #[test]
    fn the_payload_stays_as_it_is_and_says_whose_event_it_is() {
        let text = r#"{ "id":"evt_1", "type": "a.b",  "created":7, "data":{} }"#;
        let own = parse(text, None, "account");
        assert_eq!((own.id.as_str(), own.event_type.as_str(), own.created), ("evt_1", "a.b", 7));
        assert_eq!(own.payload, text.as_bytes());
        let connected = parse(text, Some("acct_1"), "account");
        let expected = r#"{"account":"acct_1", "id":"evt_1", "type": "a.b",  "created":7, "data":{} }"#;
        assert_eq!(connected.payload, expected.as_bytes());
        let named = r#"{"id":"evt_1","type":"a","account":"acct_1"}"#;
        assert_eq!(parse(named, Some("acct_1"), "account").payload, named.as_bytes());
    }

    #[test]
    fn a_thin_event_was_created_at_its_rfc_3339_time() {
        let text = r#"{"id":"evt_1","type":"v2.x","created":"2026-11-30T09:00:00.250Z"}"#;
        let event = parse(text, None, "context");
        assert_eq!((event.created, &*event.created_rfc3339()), (1_796_029_200, "2026-11-30T09:00:00Z"));
        assert_eq!(parse(r#"{"id":"evt_1","type":"v2.x"}"#, None, "context").created, 0);
    }
}
