//! Load on any ledger, for the benches of both.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use countersign::ledger::{Arrival, Claim, Ledger, Settlement};

const LEASE: Duration = Duration::from_secs(37);

/// Runs tasks that claim and settle new events, until there were `max_events` or `time` has passed. Returns how long each
/// claim took.
pub async fn load<L: Ledger>(
    ledger: &Arc<L>,
    arrival: fn() -> Arrival,
    tasks: usize,
    max_events: usize,
    time: Duration,
) -> Vec<Duration> {
    let (start, left) = (Instant::now(), Arc::new(AtomicUsize::new(max_events)));
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let (ledger, left) = (Arc::clone(ledger), Arc::clone(&left));
        set.spawn(async move {
            let mut claims = Vec::new();
            let next = |left: usize| left.checked_sub(1);
            while start.elapsed() < time
                && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
            {
                let sent = Instant::now();
                let Claim::Leased(lease) = ledger.claim(arrival(), LEASE).await.unwrap() else { panic!() };
                claims.push(sent.elapsed());
                ledger.settle(lease, Settlement::Delivered { status: 200 }).await.unwrap();
            }
            claims
        });
    }
    set.join_all().await.concat()
}
