//! An event as operators and the worker see it: its state, record, stored request, pages and backlog. Pure data.
//! The docs of a [`Record`]'s fields say which transition changes each one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::arrival::EventKey;
use crate::delivery_mode::DeliveryMode;
use crate::pattern;

/// The state of an event. The diagram in [`ledger`](crate::ledger) has every transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Queued: delivered by the worker once it is due. Set by `enqueue`, by a failed attempt with attempts left, and
    /// by an operator's redelivery.
    Pending,
    /// Leased: a delivery is under way, or its holder died and the lease has not been claimed again. Set by `claim`,
    /// `enqueue` with a lease, and `claim_due`.
    Running,
    /// The backend responded with a 2xx. Final, and deleted after `ledger.retention`.
    Delivered,
    /// An inline delivery failed. Stripe sends the event again, and the next arrival is admitted. Deleted after
    /// `ledger.retention`.
    Failed,
    /// Every attempt of the retry schedule failed. Never deleted or retried by itself: an operator redelivers or
    /// deletes it.
    Dead,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Delivered, Self::Failed, Self::Dead];

    /// The state's name in metrics and in the events API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }

    /// Parses a name written by [`as_str`](State::as_str).
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Everything that a later delivery needs. Stored with the event's record by `enqueue`, and deleted when the event is
/// delivered or an operator deletes it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredRequest {
    /// The delivery mode. Set by `enqueue`; an operator's redelivery changes it to `Redelivery`.
    pub mode: DeliveryMode,
    /// The request line and the header lines of the original request that the backend gets, `Authorization` and `Cookie`
    /// included, byte for byte and in their order. The line of `Stripe-Signature` has no value here. Each attempt adds
    /// the headers that Countersign sets itself. Never changed. It is hardly longer than the request's own head, which is
    /// bounded.
    pub head: Bytes,
    /// The value of Stripe's own `Stripe-Signature`. Never changed.
    pub signature: Bytes,
    /// The payload, byte for byte. Never changed.
    pub body: Bytes,
}

/// Hides the content: payloads and signatures never appear in a log.
impl fmt::Debug for StoredRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredRequest")
            .field("mode", &self.mode)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// An event's record, without its stored request. Ledger times are Unix milliseconds: SQLite takes them from this
/// machine's wall clock, Redis from the server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The event's identity. Never changed.
    pub key: EventKey,
    /// Stripe's event type, such as `invoice.paid`. Taken from the first arrival, never changed.
    pub event_type: Box<str>,
    /// When Stripe created the event, in Unix seconds by Stripe's clock. `None` where the payload has no integer
    /// there. Never changed.
    pub created: Option<i64>,
    /// Whether the event is in live mode; `None` where the payload does not say. Never changed.
    pub livemode: Option<bool>,
    /// The connected account that the event belongs to, `acct_…`; `None` for the platform's own events. Never changed.
    pub account: Option<Box<str>>,
    /// The event's state. Changed by every transition.
    pub state: State,
    /// The number of attempts so far, a running one included. Each lease adds one; a `Retry` that does not count
    /// takes it back; an operator's redelivery resets it to 0.
    pub attempts: u32,
    /// The backend's status in the last attempt that ended with a response. `None` until there is one. Each
    /// settlement with a status changes it.
    pub status: Option<u16>,
    /// When the event was first received, in Unix milliseconds by the ledger's clock. Never changed by retries.
    pub seen: i64,
    /// PENDING: when the next attempt is due. RUNNING: when the lease expires. `None` in the other states. Unix
    /// milliseconds by the ledger's clock, set by each transition into those two states.
    pub due: Option<i64>,
    /// DELIVERED, FAILED and DEAD: when the event was settled, in Unix milliseconds by the ledger's clock. `None` in
    /// the other states. Retention of DELIVERED and FAILED counts from it.
    pub settled: Option<i64>,
}

/// The conditions of a listing. Every condition that is set must hold; the default matches every record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordFilter {
    /// The endpoint's configured name.
    pub endpoint: Option<String>,
    /// The event's state.
    pub state: Option<State>,
    /// Stripe's event type; a trailing `*` matches every type with that prefix.
    pub event_type: Option<String>,
    /// Stripe's id, at any endpoint and with any query.
    pub id: Option<String>,
}

impl RecordFilter {
    /// Whether a record meets every condition.
    pub fn matches(&self, record: &Record) -> bool {
        self.endpoint.as_deref().is_none_or(|endpoint| endpoint == &*record.key.endpoint)
            && self.state.is_none_or(|state| state == record.state)
            && self.id.as_deref().is_none_or(|id| id == &*record.key.id)
            && self.event_type.as_deref().is_none_or(|wanted| pattern::matches(wanted, &record.event_type))
    }
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The records, in an order of the ledger's own. A page may be shorter than the limit without being the last.
    pub records: Vec<Record>,
    /// The cursor of the next page; `None` after the last.
    pub next: Option<String>,
}

/// An operator's action on one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperatorAction {
    /// Delivers the event again: due now, with the whole retry schedule ahead.
    Redeliver,
    /// Deletes the record and the payload. The event's next arrival counts as new.
    Delete,
}

/// The result of an operator's action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionResult {
    /// The action is durable.
    Done,
    /// A delivery of the event is under way, and nothing was changed. The action can be repeated when it is over.
    Running,
    /// The payload is no longer stored, so the event cannot be delivered from here.
    PayloadGone,
    /// The ledger has no such event.
    Unknown,
}

/// The number of unsettled events of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// The endpoint's name in the records. It may no longer be configured.
    pub endpoint: Arc<str>,
    /// RUNNING events, with or without payload.
    pub running: u64,
    /// PENDING events, due or not.
    pub pending: u64,
    /// DEAD events.
    pub dead: u64,
    /// Events that the worker delivers: every PENDING event, and RUNNING events with payload.
    pub queued: u64,
    /// The time since the oldest RUNNING event was leased; `None` without RUNNING events.
    pub oldest_running: Option<Duration>,
    /// The time since the oldest PENDING event was first received; `None` without PENDING events.
    pub oldest_pending: Option<Duration>,
    /// The time since any process last claimed due events of this endpoint. `None` if it is unknown, or if no other
    /// process can share this ledger.
    pub last_polled_ago: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(event_type: &str, state: State) -> Record {
        Record {
            key: EventKey {
                endpoint: "shop".into(),
                segments: "".into(),
                query: "".into(),
                id: "evt_1".into(),
            },
            event_type: event_type.into(),
            created: None,
            livemode: None,
            account: None,
            state,
            attempts: 1,
            status: None,
            seen: 0,
            due: None,
            settled: None,
        }
    }

    #[test]
    fn every_name_of_a_state_parses_to_that_state() {
        assert!(State::ALL.iter().all(|state| State::parse(state.as_str()) == Some(*state)));
        assert_eq!(State::parse("lost"), None);
    }

    #[test]
    fn a_filter_matches_records_that_meet_every_condition() {
        let all = RecordFilter::default;
        let shop = Some("shop".to_owned());
        for (filter, expected) in [
            (all(), true),
            (RecordFilter { endpoint: shop.clone(), ..all() }, true),
            (RecordFilter { endpoint: Some("sho".to_owned()), ..all() }, false),
            (RecordFilter { state: Some(State::Dead), ..all() }, true),
            (RecordFilter { state: Some(State::Pending), endpoint: shop, ..all() }, false),
            (RecordFilter { event_type: Some("invoice.*".to_owned()), ..all() }, true),
            (RecordFilter { event_type: Some("invoice".to_owned()), ..all() }, false),
            (RecordFilter { id: Some("evt_1".to_owned()), ..all() }, true),
            (RecordFilter { id: Some("evt_2".to_owned()), ..all() }, false),
        ] {
            assert_eq!(filter.matches(&record("invoice.paid", State::Dead)), expected, "{filter:?}");
        }
    }

    #[test]
    fn debug_output_of_a_stored_request_hides_its_content() {
        let [head, signature, body] =
            ["POST /secret", "v1=hush", "payload"].map(|text| Bytes::from_static(text.as_bytes()));
        let shown = format!("{:?}", StoredRequest { mode: DeliveryMode::Queued, head, signature, body });
        assert_eq!(shown, "StoredRequest { mode: Queued, bytes: 7, .. }");
    }
}
