//! `[ledger] url = "none"`: remembers nothing, so every claim is leased as the first.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    Acted, Action, Arrival, Backlog, Claim, EventKey, Filter, Health, Kept, Lease, Ledger, LedgerError, Page,
    Parcel, Record, Settled, Settlement, Unsettled,
};
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

    /// No endpoint can ask for it, by the configuration; an operator can.
    async fn keep(&self, _: Arrival, _: Parcel, _: Option<Duration>) -> Result<Kept, LedgerError> {
        Err(LedgerError::unfit("without a ledger nothing can be kept: ledger.url is none"))
    }

    async fn due(&self, _: &str, _: usize, _: Duration) -> Result<Vec<(Lease, Parcel)>, LedgerError> {
        Ok(Vec::new())
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, LedgerError> {
        Ok(Vec::new())
    }

    async fn list(&self, _: &Filter, _: Option<&str>, _: usize) -> Result<Page, LedgerError> {
        Ok(Page { records: Vec::new(), next: None })
    }

    async fn show(&self, _: &EventKey) -> Result<Option<(Record, Option<Parcel>)>, LedgerError> {
        Ok(None)
    }

    async fn act(&self, _: &EventKey, _: Action) -> Result<Acted, LedgerError> {
        Ok(Acted::Unknown)
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(NoLedger.backlog().await.unwrap(), []);
    }
}
