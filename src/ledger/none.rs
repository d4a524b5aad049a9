//! `[ledger] url = "none"`: remembers nothing, so every claim is leased as the first.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Arrival, Claim, Health, Lease, Ledger, LedgerError, Settled, Settlement, Unsettled};
use crate::clock;

/// No ledger and no dedup: for measuring, and for backends that keep their own.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLedger;

#[async_trait]
impl Ledger for NoLedger {
    async fn claim(&self, arrival: Arrival, lease: Duration) -> Result<Claim, LedgerError> {
        Ok(Claim::Leased(Lease::new(arrival, 1, 0, clock::instant() + lease)))
    }

    async fn settle(&self, _: Lease, _: Settlement) -> Result<Settled, Unsettled> {
        Ok(Settled::Recorded)
    }

    fn health(&self) -> Health {
        Health::Ready
    }

    async fn running(&self) -> Result<Vec<(Arc<str>, u64)>, LedgerError> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::super::EventKey;
    use super::*;

    #[tokio::test]
    async fn every_claim_is_a_first_attempt_that_lasts_as_long_as_asked() {
        let arrival = Arrival {
            key: EventKey { endpoint: "/webhooks/stripe".into(), query: "".into(), id: "evt_1".into() },
            kind: "charge.succeeded".into(),
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
        assert_eq!(NoLedger.running().await.unwrap(), []);
    }
}
