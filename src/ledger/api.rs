//! [`Ledger`], the trait that every backing store implements. The rules are here; how a store keeps them is its own.

use std::time::Duration;

use async_trait::async_trait;

use super::arrival::{Arrival, EventKey};
use super::error::{LedgerError, SettleError};
use super::lease::Lease;
use super::record::{ActionResult, Backlog, OperatorAction, Page, Record, RecordFilter, StoredRequest};
use super::types::{Claim, EnqueueResult, Health, Settled, Settlement};

/// A durable record of events. Cheap to call from many tasks at once.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Requests the right to deliver an event for `lease`, counted from before this call.
    ///
    /// A [`Claim::Leased`] is durable when it is returned. Exactly one of several simultaneous claims for one key is
    /// leased.
    ///
    /// # Errors
    /// The ledger is unavailable. Either nothing was leased, or the lease has no holder and expires by itself.
    async fn claim(&self, arrival: Arrival, lease: Duration) -> Result<Claim, LedgerError>;

    /// Records how a delivery ended. Runs to completion even if the future is dropped.
    ///
    /// # Errors
    /// The ledger is unavailable. The error returns the lease, so that the caller can retry.
    async fn settle(&self, lease: Lease, settlement: Settlement) -> Result<Settled, SettleError>;

    /// Whether the ledger can take claims now. Cheap: reports the result of recent work and does none.
    fn health(&self) -> Health;

    /// Stores an event and its request for later delivery, in one transition.
    ///
    /// With a `lease`, counted from before this call, the caller may also deliver the event at once. Without one the
    /// event is due at once. [`EnqueueResult::Leased`] and [`EnqueueResult::Queued`] are durable when they are
    /// returned.
    ///
    /// # Errors
    /// The ledger is unavailable or cannot store payloads. The event may have been stored in spite of the error.
    async fn enqueue(
        &self,
        arrival: Arrival,
        request: StoredRequest,
        lease: Option<Duration>,
    ) -> Result<EnqueueResult, LedgerError>;

    /// Leases up to `limit` queued events of an endpoint that are due, the most overdue first.
    ///
    /// # Errors
    /// The ledger is unavailable. Events leased in spite of the error are due again when their lease expires.
    async fn claim_due(
        &self,
        endpoint: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<(Lease, StoredRequest)>, LedgerError>;

    /// Returns the number of unsettled events by endpoint. Endpoints without any may be missing.
    ///
    /// # Errors
    /// The ledger is unavailable.
    async fn backlog(&self) -> Result<Vec<Backlog>, LedgerError>;

    /// Returns one page of up to `limit` records that match the filter. `after` is the `next` of the previous page.
    ///
    /// # Errors
    /// The ledger is unavailable, or `after` is not a cursor of this ledger.
    async fn list(
        &self,
        filter: &RecordFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, LedgerError>;

    /// Returns one record, and its stored request while the payload is retained.
    ///
    /// # Errors
    /// The ledger is unavailable.
    async fn get(&self, key: &EventKey) -> Result<Option<(Record, Option<StoredRequest>)>, LedgerError>;

    /// Applies an operator's action to one event. The result is durable when it is returned.
    ///
    /// # Errors
    /// The ledger is unavailable.
    async fn apply(&self, key: &EventKey, action: OperatorAction) -> Result<ActionResult, LedgerError>;

    /// Returns what [`remember_arrival`](Ledger::remember_arrival) was last given for this endpoint, in any process.
    ///
    /// # Errors
    /// The ledger is unavailable.
    async fn last_arrival(&self, endpoint: &str) -> Result<Option<String>, LedgerError>;

    /// Remembers part of the head of an endpoint's last webhook. It does not expire.
    ///
    /// # Errors
    /// The ledger is unavailable.
    async fn remember_arrival(&self, endpoint: &str, head: &str) -> Result<(), LedgerError>;
}
