//! A ledger around a ledger: measures what webhooks wait for, and changes nothing.
//! It owns no state; what the series are called is `metrics`'.

use super::{
    Acted, Action, Arrival, Backlog, Claim, EventKey, Filter, Health, Kept, Lease, Ledger, LedgerError, Page,
    Parcel, Record, Settled, Settlement, Unsettled,
};
use crate::clock;
use crate::metrics::{LedgerOp, Metrics};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// Measures every call of the ledger inside that a delivery waits for: how long it took, and whether the ledger failed. A
/// call whose future is dropped before it is over is not counted.
pub struct Metered {
    inner: Arc<dyn Ledger>,
    metrics: Arc<Metrics>,
}

impl Metered {
    /// Measures `inner` in `metrics`.
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

    async fn settle(&self, lease: Lease, settlement: Settlement) -> Result<Settled, Unsettled> {
        let start = clock::instant();
        let settled = self.inner.settle(lease, settlement).await;
        self.metrics.ledger(LedgerOp::Settle, start.elapsed(), settled.is_ok());
        settled
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    async fn keep(
        &self,
        arrival: Arrival,
        parcel: Parcel,
        lease: Option<Duration>,
    ) -> Result<Kept, LedgerError> {
        let start = clock::instant();
        let kept = self.inner.keep(arrival, parcel, lease).await;
        self.metrics.ledger(LedgerOp::Keep, start.elapsed(), kept.is_ok());
        kept
    }

    async fn due(
        &self,
        endpoint: &str,
        most: usize,
        lease: Duration,
    ) -> Result<Vec<(Lease, Parcel)>, LedgerError> {
        let start = clock::instant();
        let due = self.inner.due(endpoint, most, lease).await;
        self.metrics.ledger(LedgerOp::Due, start.elapsed(), due.is_ok());
        due
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, LedgerError> {
        self.inner.backlog().await
    }

    async fn list(&self, filter: &Filter, after: Option<&str>, most: usize) -> Result<Page, LedgerError> {
        self.inner.list(filter, after, most).await
    }

    async fn show(&self, key: &EventKey) -> Result<Option<(Record, Option<Parcel>)>, LedgerError> {
        self.inner.show(key).await
    }

    async fn act(&self, key: &EventKey, action: Action) -> Result<Acted, LedgerError> {
        self.inner.act(key, action).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::Way;
    use super::*;

    /// Grants every claim and then fails, or fails from the start.
    struct Failing {
        claims: bool,
    }

    #[async_trait]
    impl Ledger for Failing {
        async fn claim(&self, arrival: Arrival, lease: Duration) -> Result<Claim, LedgerError> {
            if !self.claims {
                return Err(LedgerError::new("gone"));
            }
            Ok(Claim::Leased(Lease::new(arrival, 1, 0, clock::instant() + lease)))
        }

        async fn settle(&self, lease: Lease, _: Settlement) -> Result<Settled, Unsettled> {
            Err(Unsettled { lease, error: LedgerError::new("gone") })
        }

        fn health(&self) -> Health {
            Health::NotReady { reason: "gone".into() }
        }

        async fn keep(&self, _: Arrival, _: Parcel, _: Option<Duration>) -> Result<Kept, LedgerError> {
            Err(LedgerError::new("gone"))
        }

        async fn due(&self, _: &str, _: usize, _: Duration) -> Result<Vec<(Lease, Parcel)>, LedgerError> {
            Ok(vec![])
        }

        async fn backlog(&self) -> Result<Vec<Backlog>, LedgerError> {
            Ok(vec![backlog()])
        }

        async fn list(&self, _: &Filter, _: Option<&str>, _: usize) -> Result<Page, LedgerError> {
            Ok(Page { records: vec![], next: Some("7".to_owned()) })
        }

        async fn show(&self, _: &EventKey) -> Result<Option<(Record, Option<Parcel>)>, LedgerError> {
            Err(LedgerError::new("gone"))
        }

        async fn act(&self, _: &EventKey, _: Action) -> Result<Acted, LedgerError> {
            Ok(Acted::PayloadGone)
        }
    }

    fn backlog() -> Backlog {
        Backlog {
            endpoint: "a".into(),
            running: 3,
            pending: 2,
            dead: 1,
            kept: 4,
            oldest_pending: None,
            unserved: None,
        }
    }

    fn arrival() -> Arrival {
        Arrival {
            key: EventKey { endpoint: "a".into(), query: "".into(), id: "evt_1".into() },
            kind: "charge.succeeded".into(),
            created: None,
            livemode: None,
            account: None,
        }
    }

    #[tokio::test]
    async fn calls_are_counted_by_kind_and_failures_apart() {
        let metrics = Arc::new(Metrics::new());
        let works = Metered::new(Arc::new(Failing { claims: true }), metrics.clone());
        let Ok(Claim::Leased(lease)) = works.claim(arrival(), Duration::from_secs(9)).await else {
            panic!("not leased");
        };
        works.settle(lease, Settlement::Delivered { status: 200 }).await.unwrap_err();
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
    async fn the_ledger_inside_answers_for_everything_else() {
        let metrics = Arc::new(Metrics::new());
        let ledger = Metered::new(Arc::new(Failing { claims: true }), metrics.clone());
        assert_eq!(ledger.health(), Health::NotReady { reason: "gone".into() });
        assert_eq!(ledger.backlog().await.unwrap(), [backlog()]);
        assert_eq!(ledger.list(&Filter::default(), None, 1).await.unwrap().next, Some("7".to_owned()));
        ledger.show(&arrival().key).await.unwrap_err();
        assert_eq!(ledger.act(&arrival().key, Action::Forget).await.unwrap(), Acted::PayloadGone);
        assert!(ledger.due("a", 1, Duration::ZERO).await.unwrap().is_empty());
        let empty = bytes::Bytes::new();
        let parcel = Parcel { way: Way::Queued, head: empty.clone(), signature: empty.clone(), body: empty };
        ledger.keep(arrival(), parcel, None).await.unwrap_err();
        let text = metrics.render();
        for line in [
            r#"countersign_ledger_seconds_count{op="due"} 1"#,
            r#"countersign_ledger_errors_total{op="due"} 0"#,
            r#"countersign_ledger_errors_total{op="keep"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
