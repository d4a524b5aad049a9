//! `[ledger] url = "none"`: stores nothing, so every claim is leased as a first attempt.

use std::time::Duration;

use async_trait::async_trait;

use super::api::Ledger;
use super::arrival::{Arrival, EventKey};
use super::error::{LedgerError, SettleError};
use super::lease::Lease;
use super::record::{ActionResult, Backlog, OperatorAction, Page, Record, RecordFilter, StoredRequest};
use super::types::{Claim, EnqueueResult, Health, Settled, Settlement};
use crate::clock;

/// No ledger and no deduplication: for benchmarks, and for backends that deduplicate themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLedger;

#[async_trait]
impl Ledger for NoLedger {
    async fn claim(&self, arrival: Arrival, lease: Duration) -> Result<Claim, LedgerError> {
        Ok(Claim::Leased(Lease::new(arrival, 1, 0, clock::instant() + lease)))
    }

    async fn settle(&self, _: Lease, _: Settlement) -> Result<Settled, SettleError> {
        Ok(Settled::Recorded)
    }

    fn health(&self) -> Health {
        Health::Ready
    }

    /// Always fails. The configuration refuses queued endpoints without a ledger, so only an operator's import gets here.
    async fn enqueue(
        &self,
        _: Arrival,
        _: StoredRequest,
        _: Option<Duration>,
    ) -> Result<EnqueueResult, LedgerError> {
        Err(LedgerError::unsuitable(
            "events cannot be queued without a ledger: ledger.url is \"none\", set it to a SQLite file or a Redis server",
        ))
    }

    async fn claim_due(
        &self,
        _: &str,
        _: usize,
        _: Duration,
    ) -> Result<Vec<(Lease, StoredRequest)>, LedgerError> {
        Ok(Vec::new())
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, LedgerError> {
        Ok(Vec::new())
    }

    async fn list(&self, _: &RecordFilter, _: Option<&str>, _: usize) -> Result<Page, LedgerError> {
        Ok(Page { records: Vec::new(), next: None })
    }

    async fn get(&self, _: &EventKey) -> Result<Option<(Record, Option<StoredRequest>)>, LedgerError> {
        Ok(None)
    }

    async fn apply(&self, _: &EventKey, _: OperatorAction) -> Result<ActionResult, LedgerError> {
        Ok(ActionResult::Unknown)
    }

    async fn last_arrival(&self, _: &str) -> Result<Option<String>, LedgerError> {
        Ok(None)
    }

    async fn remember_arrival(&self, _: &str, _: &str) -> Result<(), LedgerError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_claim_is_a_first_attempt_with_the_requested_lease() {
        let arrival = Arrival {
            key: EventKey {
                endpoint: "/webhooks/stripe".into(),
                segments: "".into(),
                query: "".into(),
                id: "evt_1".into(),
            },
            event_type: "charge.succeeded".into(),
            created: None,
            livemode: None,
            account: None,
        };
        let before = clock::instant();
        for _ in 0..2 {
            let Ok(Claim::Leased(lease)) = NoLedger.claim(arrival.clone(), Duration::from_secs(30)).await
            else {
                panic!("not leased")
            };
            assert_eq!(lease.attempt(), 1);
            assert!(lease.remaining(before) >= Duration::from_secs(30));
            assert_eq!(lease.remaining(before + Duration::from_secs(3600)), Duration::ZERO);
            let settled = NoLedger.settle(lease, Settlement::Delivered { status: 200 }).await;
            assert_eq!(settled.unwrap(), Settled::Recorded);
        }
        assert_eq!(NoLedger.backlog().await.unwrap(), []);
    }
}
