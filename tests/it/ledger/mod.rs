//! The ledgers: each through its own interface, and the program while its ledger fails.
//!
//! - `abandoned`: inline events whose process died before it recorded a result
//! - `clocks`: wall clocks that are wrong for a while
//! - `contract`: what every ledger guarantees, on each of them
//! - `sqlite`: what only SQLite can get wrong
//! - `faults`: the program killed, its ledger locked, out of reach or in use by another process
//! - `moving`: events that move to another ledger
//! - `redis_credentials`: a password of Redis that changes while the program runs
//! - `redis_faults`: Redis stopped, killed, paused, emptied, full or misconfigured
//! - `failover`: a replica of Redis that lagged behind is promoted
//! - `gauges`: the counts of unsettled events
//! - `lookup`: look-ups of events by their id
//! - `failover_runbook`: the runbook of a failover that lost events, step by step
//! - `replicas`: several programs on one Redis
//! - `slow_disk`: the disk of the SQLite file does not answer
//! - `wal`: another program reads the SQLite file, so that its write-ahead log grows

mod abandoned;
mod clocks;
mod contract;
mod failover;
mod failover_runbook;
mod faults;
mod gauges;
mod lookup;
mod moving;
mod redis_credentials;
mod redis_faults;
mod replicas;
mod slow_disk;
mod sqlite;
mod wal;

use std::sync::Arc;
use std::time::Duration;

use countersign::clock;
use countersign::ledger::{Arrival, Claim, EventKey, Health, Lease, Ledger};

pub const ENDPOINT: &str = "/webhooks/stripe";
pub const LONG: Duration = Duration::from_secs(60);
pub const OK: countersign::ledger::Settlement = countersign::ledger::Settlement::Delivered { status: 200 };
pub const DOWN: countersign::ledger::Settlement =
    countersign::ledger::Settlement::Failed { status: Some(503) };

pub fn arrival(id: &str) -> Arrival {
    at(ENDPOINT, "", id)
}

pub fn at(endpoint: &str, query: &str, id: &str) -> Arrival {
    Arrival {
        key: EventKey { endpoint: endpoint.into(), segments: "".into(), query: query.into(), id: id.into() },
        event_type: "checkout.session.completed".into(),
        created: Some(1_760_000_000),
        livemode: Some(false),
        account: Some("acct_1".into()),
    }
}

/// Claims an event, and panics unless a lease is granted.
pub async fn leased(ledger: &dyn Ledger, arrival: Arrival, lease: Duration) -> Lease {
    match ledger.claim(arrival, lease).await {
        Ok(Claim::Leased(lease)) => lease,
        other => panic!("not leased: {other:?}"),
    }
}

/// Claims with a short lease, lets it expire as a dead holder does, and claims again. Returns both leases.
pub async fn taken_over(ledger: &dyn Ledger, id: &str) -> (Lease, Lease) {
    let late = leased(ledger, arrival(id), Duration::from_millis(40)).await;
    let current = until("the lease ends", || async {
        match ledger.claim(arrival(id), LONG).await.unwrap() {
            Claim::Leased(lease) => Some(lease),
            Claim::InFlight { .. } => None,
            Claim::Duplicate => panic!("a duplicate of something never delivered"),
        }
    })
    .await;
    (late, current)
}

pub async fn ready(ledger: &dyn Ledger) {
    until("ready", || async { (ledger.health() == Health::Ready).then_some(()) }).await;
}

/// Waits until the ledger is not ready, and returns the reason.
pub async fn not_ready(ledger: &dyn Ledger) -> Arc<str> {
    until("not ready", || async {
        match ledger.health() {
            Health::Ready => None,
            Health::NotReady { reason } => Some(reason),
        }
    })
    .await
}

/// Calls `ask` until it returns a value.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = clock::instant() + Duration::from_secs(20);
    loop {
        if let Some(response) = ask().await {
            return response;
        }
        assert!(clock::instant() < deadline, "not in 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
