//! An event as it arrives, and its identity. Pure data.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The identity of an event: two arrivals with equal keys are the same event. The query is part of it because Stripe
/// upgrades an API version with a second endpoint on the same URL with another query, which receives every event
/// again under the same id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventKey {
    /// The endpoint's configured name.
    pub endpoint: Arc<str>,
    /// The values of the variable segments in the endpoint's path, separated by `/`; empty if there are none.
    pub segments: Box<str>,
    /// The request's raw query, without `?`; empty if there is none.
    pub query: Box<str>,
    /// Stripe's id, `evt_…`.
    pub id: Box<str>,
}

impl EventKey {
    /// Returns the query and the variable segments as one text, in which a space precedes the segments, if there are any. No
    /// query contains a space.
    pub fn variant(&self) -> Cow<'_, str> {
        if self.segments.is_empty() {
            return Cow::Borrowed(&self.query);
        }
        Cow::Owned(format!("{} {}", self.query, self.segments))
    }

    /// Creates the key with this [`variant`](Self::variant).
    pub fn from_variant(endpoint: Arc<str>, variant: &str, id: Box<str>) -> Self {
        let (query, segments) = variant.split_once(' ').unwrap_or((variant, ""));
        Self { endpoint, segments: segments.into(), query: query.into(), id }
    }
}

/// Writes `ID?QUERY ENDPOINT`, or `ID/SEGMENTS?QUERY ENDPOINT`. An id contains no `/`, neither it nor a segment contains
/// `?`, and a query contains no space, so different keys have different texts.
impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, segments, query, id } = self;
        let separator = if segments.is_empty() { "" } else { "/" };
        write!(f, "{id}{separator}{segments}?{query} {endpoint}")
    }
}

/// Parses `ID?QUERY ENDPOINT` or `ID/SEGMENTS?QUERY ENDPOINT`. The error does not repeat the text.
impl FromStr for EventKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('?').and_then(|(id, rest)| Some((id, rest.split_once(' ')?)));
        let (id, (query, endpoint)) = parts.ok_or("an event is named ID?QUERY ENDPOINT")?;
        let (id, segments) = id.split_once('/').unwrap_or((id, ""));
        Ok(Self { endpoint: endpoint.into(), segments: segments.into(), query: query.into(), id: id.into() })
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
