//! Load on a ledger of whatever event_type, for the benches of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use countersign::ledger::{Arrival, Claim, Ledger, Settlement};

const LEASE: Duration = Duration::from_secs(37);

/// So many tasks, each claiming and settling one new event after the other until there were `most` or `time` is up:
/// how long each claim took.
pub async fn load<L: Ledger>(
    ledger: &Arc<L>,
    arrival: fn() -> Arrival,
    tasks: usize,
    most: usize,
    time: Duration,
) -> Vec<Duration> {
    let (start, left) = (Instant::now(), Arc::new(AtomicUsize::new(most)));
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
