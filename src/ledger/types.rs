//! The values that go into a ledger and come out of it: keys, arrivals, claims, settlements, health. Pure data.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::lease::Lease;

/// The identity of an event: two arrivals with equal keys are the same event. The query is part of it because Stripe
/// upgrades an API version with a second endpoint on the same URL with another query, which receives every event
/// again under the same id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventKey {
    /// The endpoint's configured name.
    pub endpoint: Arc<str>,
    /// The request's raw query, without `?`; empty if there is none.
    pub query: Box<str>,
    /// Stripe's id, `evt_…`.
    pub id: Box<str>,
}

/// Writes `ID?QUERY ENDPOINT`. An id contains no `?` and a query no space, so different keys have different texts.
impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EventKey { endpoint, query, id } = self;
        write!(f, "{id}?{query} {endpoint}")
    }
}

/// Parses `ID?QUERY ENDPOINT`. The error does not repeat the text.
impl FromStr for EventKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<EventKey, Self::Err> {
        let parts = text.split_once('?').and_then(|(id, rest)| Some((id, rest.split_once(' ')?)));
        let (id, (query, endpoint)) = parts.ok_or("an event is named ID?QUERY ENDPOINT")?;
        Ok(EventKey { endpoint: endpoint.into(), query: query.into(), id: id.into() })
    }
}

/// A verified event that has just been received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The event's identity.
    pub key: EventKey,
    /// Stripe's event type, such as `checkout.session.completed`.
    pub event_type: Box<str>,
    /// When Stripe created the event, in Unix seconds. `None` where the payload has no integer there (thin events).
    pub created: Option<i64>,
    /// Whether the event is in live mode; `None` where the payload does not say.
    pub livemode: Option<bool>,
    /// The connected account that the event belongs to, `acct_…`; `None` for the platform's own events.
    pub account: Option<Box<str>>,
}

/// The result of a claim.
#[derive(Debug)]
#[must_use]
pub enum Claim {
    /// The caller holds the lease and delivers the event.
    Leased(Lease),
    /// Another delivery of the event holds a lease.
    InFlight {
        /// The time until that lease expires; never zero.
        retry_after: Duration,
    },
    /// The event was delivered before, or is queued for delivery.
    Duplicate,
}

/// The result of storing an event for later delivery.
#[derive(Debug)]
#[must_use]
pub enum EnqueueResult {
    /// The event is stored, and the caller holds the lease for its first delivery.
    Leased(Lease),
    /// The event is stored and due.
    Queued,
    /// An inline delivery of the event holds a lease. Nothing was stored.
    InFlight {
        /// The time until that lease expires; never zero.
        retry_after: Duration,
    },
    /// The event is already queued, or was delivered before.
    Duplicate,
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// The backend responded with a 2xx.
    Delivered {
        /// The backend's status.
        status: u16,
    },
    /// An inline delivery failed. The event's next arrival is admitted again.
    Failed {
        /// The backend's status, if it responded.
        status: Option<u16>,
    },
    /// A queued delivery failed, and another attempt is due after `wait`.
    Retry {
        /// The backend's status, if it responded.
        status: Option<u16>,
        /// The time from now until the next attempt is due.
        wait: Duration,
        /// Whether the attempt counts. An attempt that could not connect does not.
        counts: bool,
    },
    /// The last attempt at a queued event failed. The event waits for an operator.
    Dead {
        /// The backend's status, if it responded.
        status: Option<u16>,
    },
}

/// The result of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The settlement is durable.
    Recorded,
    /// The settlement changed nothing because its token is no longer the current one. `Delivered` never gets this.
    Superseded,
}

/// Whether a ledger can take claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Claims succeed.
    Ready,
    /// Claims fail. The ledger keeps trying to recover by itself.
    NotReady {
        /// The cause, in words for an operator.
        reason: Arc<str>,
    },
}
