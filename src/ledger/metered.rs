//! A ledger around another ledger: measures the calls that a delivery waits for, and changes nothing. It keeps no state;
//! the names of the series belong to `metrics`.

use super::api::Ledger;
use super::arrival::{Arrival, EventKey};
use super::error::{LedgerError, SettleError};
use super::lease::Lease;
use super::record::{ActionResult, Backlog, OperatorAction, Page, Record, RecordFilter, StoredRequest};
use super::types::{Claim, EnqueueResult, Health, Settled, Settlement};
use crate::clock;
use crate::metrics::{LedgerOp, Metrics};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// Measures every call that a delivery waits for: its duration, and whether the inner ledger failed. A call whose future
/// is dropped before it ends is not counted.
pub struct Metered {
    inner: Arc<dyn Ledger>,
    metrics: Arc<Metrics>,
}

impl Metered {
    /// A ledger that passes every call to `inner` and records it in `metrics`.
    pub fn new(inner: Arc<dyn Ledger>, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }
}

#[async_trait]
impl Ledger for Metered {
    async fn claim(&self, arrival: Arrival, lease: Duration) -> Result<Claim, LedgerError> {
        let start = clock::instant();
        let claim = self.inner.claim(arrival, lease).await;
        self.metrics.ledger(LedgerOp::Claim, start.elapsed(), claim.is_ok());
        claim
    }

    async fn settle(&self, lease: Lease, settlement: Settlement) -> Result<Settled, SettleError> {
        let start = clock::instant();
        let settled = self.inner.settle(lease, settlement).await;
        self.metrics.ledger(LedgerOp::Settle, start.elapsed(), settled.is_ok());
        settled
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    async fn enqueue(
        &self,
        arrival: Arrival,
        request: StoredRequest,
        lease: Option<Duration>,
    ) -> Result<EnqueueResult, LedgerError> {
        let start = clock::instant();
        let queued = self.inner.enqueue(arrival, request, lease).await;
        self.metrics.ledger(LedgerOp::Enqueue, start.elapsed(), queued.is_ok());
        queued
    }

    async fn claim_due(
        &self,
        endpoint: &str,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<(Lease, StoredRequest)>, LedgerError> {
        let start = clock::instant();
        let due = self.inner.claim_due(endpoint, limit, lease).await;
        self.metrics.ledger(LedgerOp::ClaimDue, start.elapsed(), due.is_ok());
        due
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, LedgerError> {
        self.inner.backlog().await
    }

    async fn list(
        &self,
        filter: &RecordFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, LedgerError> {
        self.inner.list(filter, after, limit).await
    }

    async fn get(&self, key: &EventKey) -> Result<Option<(Record, Option<StoredRequest>)>, LedgerError> {
        self.inner.get(key).await
    }

    async fn apply(&self, key: &EventKey, action: OperatorAction) -> Result<ActionResult, LedgerError> {
        self.inner.apply(key, action).await
    }

    async fn last_arrival(&self, endpoint: &str) -> Result<Option<String>, LedgerError> {
        self.inner.last_arrival(endpoint).await
    }

    async fn remember_arrival(&self, endpoint: &str, head: &str) -> Result<(), LedgerError> {
        self.inner.remember_arrival(endpoint, head).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery_mode::DeliveryMode;

    /// A ledger that fails every call except, with `claims`, a claim.
    struct Failing {
        claims: bool,
    }

    #[async_trait]
    impl Ledger for Failing {
        async fn claim(&self, arrival: Arrival, lease: Duration) -> Result<Claim, LedgerError> {
            if !self.claims {
                return Err(LedgerError::new("unavailable"));
            }
            Ok(Claim::Leased(Lease::new(arrival, 1, 0, clock::instant() + lease)))
        }

        async fn settle(&self, lease: Lease, _: Settlement) -> Result<Settled, SettleError> {
            Err(SettleError { lease, error: LedgerError::new("unavailable") })
        }

        fn health(&self) -> Health {
            Health::NotReady { reason: "unavailable".into() }
        }

        async fn enqueue(
            &self,
            _: Arrival,
            _: StoredRequest,
            _: Option<Duration>,
        ) -> Result<EnqueueResult, LedgerError> {
            Err(LedgerError::new("unavailable"))
        }

        async fn claim_due(
            &self,
            _: &str,
            _: usize,
            _: Duration,
        ) -> Result<Vec<(Lease, StoredRequest)>, LedgerError> {
            Ok(vec![])
        }

        async fn backlog(&self) -> Result<Vec<Backlog>, LedgerError> {
            Ok(vec![backlog()])
        }

        async fn list(&self, _: &RecordFilter, _: Option<&str>, _: usize) -> Result<Page, LedgerError> {
            Ok(Page { records: vec![], next: Some("7".to_owned()) })
        }

        async fn get(&self, _: &EventKey) -> Result<Option<(Record, Option<StoredRequest>)>, LedgerError> {
            Err(LedgerError::new("unavailable"))
        }

        async fn apply(&self, _: &EventKey, _: OperatorAction) -> Result<ActionResult, LedgerError> {
            Ok(ActionResult::PayloadGone)
        }

        async fn last_arrival(&self, endpoint: &str) -> Result<Option<String>, LedgerError> {
            Ok(Some(format!("of {endpoint}")))
        }

        async fn remember_arrival(&self, _: &str, _: &str) -> Result<(), LedgerError> {
            Err(LedgerError::new("unavailable"))
        }
    }

    fn backlog() -> Backlog {
        Backlog {
            endpoint: "a".into(),
            running: 3,
            pending: 2,
            dead: 1,
            queued: 4,
            oldest_running: None,
            oldest_pending: None,
            last_polled_ago: None,
        }
    }

    fn arrival() -> Arrival {
        Arrival {
            key: EventKey { endpoint: "a".into(), segments: "".into(), query: "".into(), id: "evt_1".into() },
            event_type: "charge.succeeded".into(),
            created: None,
            livemode: None,
            account: None,
        }
    }

    #[tokio::test]
    async fn calls_and_failures_are_counted_by_operation() {
        let metrics = Arc::new(Metrics::new());
        let working = Metered::new(Arc::new(Failing { claims: true }), metrics.clone());
        let Ok(Claim::Leased(lease)) = working.claim(arrival(), Duration::from_secs(9)).await else {
            panic!("not leased");
        };
        working.settle(lease, Settlement::Delivered { status: 200 }).await.unwrap_err();
        let broken = Metered::new(Arc::new(Failing { claims: false }), metrics.clone());
        broken.claim(arrival(), Duration::from_secs(9)).await.unwrap_err();

        let text = metrics.render();
        for line in [
            r#"countersign_ledger_seconds_count{op="claim"} 2"#,
            r#"countersign_ledger_seconds_count{op="settle"} 1"#,
            r#"countersign_ledger_errors_total{op="claim"} 1"#,
            r#"countersign_ledger_errors_total{op="settle"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[tokio::test]
    async fn every_other_call_goes_to_the_inner_ledger() {
        let metrics = Arc::new(Metrics::new());
        let ledger = Metered::new(Arc::new(Failing { claims: true }), metrics.clone());
        assert_eq!(ledger.health(), Health::NotReady { reason: "unavailable".into() });
        assert_eq!(ledger.backlog().await.unwrap(), [backlog()]);
        assert_eq!(ledger.list(&RecordFilter::default(), None, 1).await.unwrap().next, Some("7".to_owned()));
        ledger.get(&arrival().key).await.unwrap_err();
        assert_eq!(
            ledger.apply(&arrival().key, OperatorAction::Delete).await.unwrap(),
            ActionResult::PayloadGone
        );
        assert_eq!(ledger.last_arrival("a").await.unwrap().as_deref(), Some("of a"));
        ledger.remember_arrival("a", "").await.unwrap_err();
        assert!(ledger.claim_due("a", 1, Duration::ZERO).await.unwrap().is_empty());
        let empty = bytes::Bytes::new();
        let request = StoredRequest {
            mode: DeliveryMode::Queued,
            head: empty.clone(),
            signature: empty.clone(),
            body: empty,
        };
        ledger.enqueue(arrival(), request, None).await.unwrap_err();
        let text = metrics.render();
        for line in [
            r#"countersign_ledger_seconds_count{op="claim_due"} 1"#,
            r#"countersign_ledger_errors_total{op="claim_due"} 0"#,
            r#"countersign_ledger_errors_total{op="enqueue"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
