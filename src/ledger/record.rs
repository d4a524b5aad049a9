//! What a ledger keeps of an event, as operators and the worker see it: states, parcels, pages. Pure data.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::EventKey;
use crate::delivery_mode::DeliveryMode;

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Kept, and to be delivered when it is due.
    Pending,
    /// Being delivered, or waiting for the lease of a holder that died.
    Running,
    /// The backend took it.
    Delivered,
    /// It was not taken, and is not kept: Stripe sends it again.
    Failed,
    /// Given up on, and kept for an operator.
    Dead,
}

impl State {
    /// Every state.
    pub const ALL: [State; 5] =
        [State::Pending, State::Running, State::Delivered, State::Failed, State::Dead];

    /// The word for it, in metrics and in the events API.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Running => "running",
            State::Delivered => "delivered",
            State::Failed => "failed",
            State::Dead => "dead",
        }
    }

    /// The state of this text.
    pub fn parse(text: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// All that a later delivery needs: kept with an event's record until it is delivered or forgotten.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredRequest {
    /// Which way it is delivered.
    pub mode: DeliveryMode,
    /// The app's request as far as the original determined it: target and header fields, without what is ours to say.
    pub head: Bytes,
    /// Stripe's own `Stripe-Signature`.
    pub signature: Bytes,
    /// The payload, byte for byte.
    pub body: Bytes,
}

/// Without its content: payloads and signatures are shown to nobody.
impl fmt::Debug for StoredRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredRequest")
            .field("mode", &self.mode)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A record, without its parcel. Times are Unix milliseconds by the ledger's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which event it is.
    pub key: EventKey,
    /// Its `type`.
    pub event_type: Box<str>,
    /// When Stripe made it, in Unix seconds.
    pub created: Option<i64>,
    /// Whether it is of live mode.
    pub livemode: Option<bool>,
    /// The connected account it is of.
    pub account: Option<Box<str>>,
    /// Where it stands.
    pub state: State,
    /// Attempts so far, one under way included.
    pub attempts: u32,
    /// The backend's status at the last attempt that is over, if it answered.
    pub status: Option<u16>,
    /// When it first came.
    pub seen: i64,
    /// PENDING: when it is due. RUNNING: when its lease ends.
    pub due: Option<i64>,
    /// DELIVERED, FAILED, DEAD: since when.
    pub settled: Option<i64>,
}

/// Which records are asked for. Empty lets every one through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordFilter {
    /// Of this endpoint alone.
    pub endpoint: Option<String>,
    /// In this state alone.
    pub state: Option<State>,
    /// Of this type, or of those that begin so if it ends in `*`.
    pub event_type: Option<String>,
    /// With this id, at whatever endpoint and query.
    pub id: Option<String>,
}

impl RecordFilter {
    /// Whether it lets a record through.
    pub fn takes(&self, record: &Record) -> bool {
        let event_type = |wanted: &String| match wanted.strip_suffix('*') {
            Some(stem) => record.event_type.starts_with(stem),
            None => **wanted == *record.event_type,
        };
        self.endpoint.as_deref().is_none_or(|endpoint| endpoint == &*record.key.endpoint)
            && self.state.is_none_or(|state| state == record.state)
            && self.id.as_deref().is_none_or(|id| id == &*record.key.id)
            && self.event_type.as_ref().is_none_or(event_type)
    }
}

/// Some of the records that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In an order of the ledger's own; a page may have fewer than were asked for and not be the last.
    pub records: Vec<Record>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
}

/// What an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperatorAction {
    /// Another delivery, now, and the whole schedule after it.
    Redeliver,
    /// No record of it any more.
    Forget,
}

/// What came of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionResult {
    /// It is done.
    Done,
    /// A delivery is under way; ask again when it is over.
    Running,
    /// Its payload is no longer kept, so it cannot be delivered from here.
    PayloadGone,
    /// There is no such event.
    Unknown,
}

/// How much of an endpoint is not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// The endpoint.
    pub endpoint: Arc<str>,
    /// Events being delivered, kept or not.
    pub running: u64,
    /// Events that wait.
    pub pending: u64,
    /// Events given up on.
    pub dead: u64,
    /// Events that are kept and not dead: those that wait, and of those being delivered the kept ones.
    pub kept: u64,
    /// How long the oldest event that waits has been here.
    pub oldest_pending: Option<Duration>,
    /// How long ago any process last asked what of it is due; `None` if that is not known, or nobody else could.
    pub last_polled_ago: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(event_type: &str, state: State) -> Record {
        Record {
            key: EventKey { endpoint: "shop".into(), query: "".into(), id: "evt_1".into() },
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
    fn words_lead_back_to_what_they_are_for() {
        assert!(State::ALL.iter().all(|state| State::parse(state.as_str()) == Some(*state)));
        assert_eq!(State::parse("lost"), None);
    }

    #[test]
    fn a_filter_takes_what_is_all_that_it_says() {
        let all = RecordFilter::default;
        let shop = Some("shop".to_owned());
        for (filter, taken) in [
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
            assert_eq!(filter.takes(&record("invoice.paid", State::Dead)), taken, "{filter:?}");
        }
    }

    #[test]
    fn a_parcel_shows_nothing_of_what_it_holds() {
        let [head, signature, body] =
            ["POST /secret", "v1=hush", "payload"].map(|text| Bytes::from_static(text.as_bytes()));
        let shown = format!("{:?}", StoredRequest { mode: DeliveryMode::Queued, head, signature, body });
        assert_eq!(shown, "StoredRequest { mode: Queued, bytes: 7, .. }");
    }
}
