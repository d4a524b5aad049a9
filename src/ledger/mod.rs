//! The record of every event's state: what was seen, what is being delivered, what the backend has taken.
//! Owns the states, the right to deliver ([`Lease`]) and the trait every ledger keeps; what happens to an event in
//! between is the dispatcher's, and what a caller is told is `edge::reply`'s.
//!
//! ```text
//!  claim ─▶ first seen, FAILED, or RUNNING with its lease over ─▶ RUNNING(lease) ─Delivered─▶ DELIVERED
//!           RUNNING, lease not over ─▶ InFlight                        │
//!           DELIVERED, and whatever is kept ─▶ Duplicate               └─Failed, token current─▶ FAILED
//!
//!  keep ──▶ the same, with a parcel: PENDING, or RUNNING(lease) at once
//!  due ───▶ PENDING whose time has come, or kept RUNNING with its lease over ─▶ RUNNING(lease) ─Delivered─▶ DELIVERED
//!                                           PENDING(due) ◀─Retry, token current─┤        the parcel is dropped
//!                                                   DEAD ◀─Dead, token current──┘        the parcel stays
//!  redeliver: DEAD or PENDING ─▶ PENDING, due now      forget: whatever is not RUNNING ─▶ gone
//! ```
//!
//! `Delivered` records from any state and with any token: the backend's 2xx is a fact. Every other settlement needs the
//! current token, so a holder that comes late cannot undo what another has leased since. DELIVERED and FAILED are
//! forgotten `retention` after they were settled; RUNNING, PENDING and DEAD never.

mod metered;
mod none;
mod record;
pub mod redis;
pub mod sqlite;
mod tokens;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

pub use metered::Metered;
pub use none::NoLedger;
pub use record::{ActionResult, Backlog, OperatorAction, Page, Record, RecordFilter, State, StoredRequest};

/// A record of events. Cheap to call from many tasks at once.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Asks for the right to deliver an event for `lease`, counted from before this call.
    ///
    /// A [`Claim::Leased`] is durable when it is returned. Of simultaneous claims for one key exactly one is leased.
    ///
    /// # Errors
    /// The ledger is out of reach. Nothing was leased, or a lease nobody holds ends by itself.
    async fn claim(&self, arrival: Arrival, lease: Duration) -> Result<Claim, LedgerError>;

    /// Records how the delivery ended. Goes on to the end even if the future is dropped.
    ///
    /// # Errors
    /// The ledger is out of reach; the lease comes back, so that the caller can try again.
    async fn settle(&self, lease: Lease, settlement: Settlement) -> Result<Settled, SettleError>;

    /// Whether it can take claims now. Cheap: tells what the last work came to, does none.
    fn health(&self) -> Health;

    /// Takes an event in with all that its delivery needs, in one step. With a `lease`, counted from before this call,
    /// it is also the caller's to deliver at once; without, it is due at once.
    ///
    /// [`EnqueueResult::Leased`] and [`EnqueueResult::Queued`] are durable when they are returned.
    ///
    /// # Errors
    /// The ledger is out of reach, or keeps nothing. The event may have been kept all the same.
    async fn enqueue(
        &self,
        arrival: Arrival,
        parcel: StoredRequest,
        lease: Option<Duration>,
    ) -> Result<EnqueueResult, LedgerError>;

    /// Leases up to `most` kept events of an endpoint that are due, the most overdue first.
    ///
    /// # Errors
    /// The ledger is out of reach; what was leased all the same comes back when its lease ends.
    async fn claim_due(
        &self,
        endpoint: &str,
        most: usize,
        lease: Duration,
    ) -> Result<Vec<(Lease, StoredRequest)>, LedgerError>;

    /// What is not settled, by endpoint. Endpoints without any may be missing.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn backlog(&self) -> Result<Vec<Backlog>, LedgerError>;

    /// The records that a filter lets through, a page of `most` at a time, from where `after` (a page's `next`) says.
    ///
    /// # Errors
    /// The ledger is out of reach, or `after` is of no page.
    async fn list(
        &self,
        filter: &RecordFilter,
        after: Option<&str>,
        most: usize,
    ) -> Result<Page, LedgerError>;

    /// One record, with its parcel if that is still kept.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn get(&self, key: &EventKey) -> Result<Option<(Record, Option<StoredRequest>)>, LedgerError>;

    /// An operator's action on one event. Durable when it is returned.
    ///
    /// # Errors
    /// The ledger is out of reach.
    async fn apply(&self, key: &EventKey, action: OperatorAction) -> Result<ActionResult, LedgerError>;
}

/// What makes two arrivals the same event. The query belongs to it because Stripe upgrades an API version with a
/// second endpoint on the same URL and another query, which sends every event twice with one id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventKey {
    /// The endpoint's configured name.
    pub endpoint: Arc<str>,
    /// The request's raw query, without `?`; empty if there is none.
    pub query: Box<str>,
    /// Stripe's id, `evt_…`.
    pub id: Box<str>,
}

/// `ID?QUERY ENDPOINT`: an id has no `?` in it and a query no space, so no two keys are spelled alike.
impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EventKey { endpoint, query, id } = self;
        write!(f, "{id}?{query} {endpoint}")
    }
}

/// The error shows nothing of the text.
impl FromStr for EventKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<EventKey, Self::Err> {
        let parts = text.split_once('?').and_then(|(id, rest)| Some((id, rest.split_once(' ')?)));
        let (id, (query, endpoint)) = parts.ok_or("an event is named ID?QUERY ENDPOINT")?;
        Ok(EventKey { endpoint: endpoint.into(), query: query.into(), id: id.into() })
    }
}

/// A verified event at the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Which event it is.
    pub key: EventKey,
    /// Its `type`, such as `checkout.session.completed`.
    pub event_type: Box<str>,
    /// When Stripe made it, in Unix seconds; absent where the payload has no integer there (thin events).
    pub created: Option<i64>,
    /// Whether it is of live mode.
    pub livemode: Option<bool>,
    /// The connected account it is of.
    pub account: Option<Box<str>>,
}

/// The answer to a claim.
#[derive(Debug)]
#[must_use]
pub enum Claim {
    /// The event is the caller's to deliver.
    Leased(Lease),
    /// Another delivery of it holds a lease.
    InFlight {
        /// When that lease ends, from now; never zero.
        retry_after: Duration,
    },
    /// It was delivered before, or is kept for delivery.
    Duplicate,
}

/// The answer to an event that is to be kept.
#[derive(Debug)]
#[must_use]
pub enum EnqueueResult {
    /// It is kept, and the caller's to deliver.
    Leased(Lease),
    /// It is kept, and due.
    Queued,
    /// A delivery of it, which is not kept, holds a lease.
    InFlight {
        /// When that lease ends, from now; never zero.
        retry_after: Duration,
    },
    /// It is kept already, or was delivered before.
    Duplicate,
}

/// The right to deliver one event for a while. Not `Clone`, and consumed by settling.
#[must_use = "an event whose lease is dropped waits the lease out"]
pub struct Lease {
    arrival: Arrival,
    attempt: u32,
    token: u64,
    ends: Instant,
}

impl Lease {
    /// A lease that a ledger has granted. `token` is what fences off a late holder; `ends` is counted from before
    /// the claim was sent.
    pub(crate) fn new(arrival: Arrival, attempt: u32, token: u64, ends: Instant) -> Self {
        Self { arrival, attempt, token, ends }
    }

    /// The event it is for.
    pub fn key(&self) -> &EventKey {
        &self.arrival.key
    }

    /// Which attempt at the event this is: 1 for the first.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How long it still holds; zero when it is over.
    pub fn remaining(&self, now: Instant) -> Duration {
        self.ends.saturating_duration_since(now)
    }
}

/// Without the token: whoever knows it can settle.
impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("key", self.key())
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// The backend answered with a 2xx.
    Delivered {
        /// That status.
        status: u16,
    },
    /// Anything else, of an event that is not kept: its next arrival is admitted again.
    Failed {
        /// The backend's status, if it answered.
        status: Option<u16>,
    },
    /// Anything else, of a kept one: another attempt is due later.
    Retry {
        /// The backend's status, if it answered.
        status: Option<u16>,
        /// How much later.
        wait: Duration,
        /// Whether the attempt counts: one that could not even connect does not.
        counts: bool,
    },
    /// The last attempt at a kept one failed.
    Dead {
        /// The backend's status, if it answered.
        status: Option<u16>,
    },
}

/// What became of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is durable.
    Recorded,
    /// Anything but `Delivered`, of a holder that came late: its token is no longer the current one, and nothing was changed.
    Superseded,
}

/// Settling failed; the lease can be settled again.
#[derive(Debug, thiserror::Error)]
#[error("{} is not settled: {error}", .lease.key().id)]
pub struct SettleError {
    /// What was to be settled.
    pub lease: Lease,
    /// Why it was not.
    pub error: LedgerError,
}

/// The ledger is out of reach, with a reason that a person can act on. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct LedgerError {
    reason: Arc<str>,
    outage: bool,
}

impl LedgerError {
    /// An error with this reason: what is wrong, and with which file or server.
    pub fn new(reason: impl Into<Arc<str>>) -> Self {
        Self { reason: reason.into(), outage: true }
    }

    /// A ledger that works, and is not fit for what was asked of it.
    pub fn unsuitable(reason: impl Into<Arc<str>>) -> Self {
        Self { reason: reason.into(), outage: false }
    }

    /// Whether it passes by itself: an unsuitable ledger stays so until somebody changes its settings.
    pub fn is_outage(&self) -> bool {
        self.outage
    }
}

/// Whether a ledger can take claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Ready,
    /// It cannot, and goes on trying by itself.
    NotReady {
        /// Why, for a person.
        reason: Arc<str>,
    },
}
