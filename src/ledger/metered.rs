//! A ledger around a ledger: measures what webhooks wait for, and changes nothing.
//! It owns no state; what the series are called is `metrics`'.

use super::{Arrival, Claim, Health, Lease, Ledger, LedgerError, Settled, Settlement, Unsettled};
use crate::clock;
use crate::metrics::{LedgerOp, Metrics};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// Measures every claim and settlement of the ledger inside: how long it took, and whether the ledger failed. A call whose
/// future is dropped before it is over is not counted.
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

    async fn running(&self) -> Result<Vec<(Arc<str>, u64)>, LedgerError> {
        self.inner.running().await
    }
}

#[cfg(test)]
mod tests {
    use super::super::EventKey;
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

        async fn running(&self) -> Result<Vec<(Arc<str>, u64)>, LedgerError> {
            Ok(vec![("a".into(), 3)])
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
    async fn the_ledger_inside_answers_for_health_and_running() {
        let ledger = Metered::new(Arc::new(Failing { claims: true }), Arc::new(Metrics::new()));
        assert_eq!(ledger.health(), Health::NotReady { reason: "gone".into() });
        assert_eq!(ledger.running().await.unwrap(), [("a".into(), 3)]);
    }
}
