//! The counts of unsettled events, which SQLite keeps in memory: they equal what the file holds, after any transition.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign::clock;
use countersign::delivery_mode::DeliveryMode;
use countersign::ledger::sqlite::SqliteLedger;
use countersign::ledger::{
    Arrival, Claim, EnqueueResult, Lease, Ledger, OperatorAction, Settlement, StoredRequest,
};
use rusqlite::Connection;

use super::{LONG, at, ready};

/// Pseudo-random numbers that are the same in every run (Knuth's MMIX generator).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Counts of one endpoint: running, pending, dead, queued, and when the oldest pending event was received.
type Counts = (String, [u64; 4], Option<i64>);

/// Counts the unsettled events in the file.
fn counts_of_file(path: &Path) -> Vec<Counts> {
    let sql = "SELECT endpoint, sum(state = 1), sum(state = 4), sum(state = 5),
            sum(state = 4 OR (state = 1 AND seq IN (SELECT seq FROM payloads))), min(CASE WHEN state = 4 THEN seen END)
        FROM events WHERE state IN (1, 4, 5) GROUP BY endpoint ORDER BY endpoint";
    let file = Connection::open(path).unwrap();
    let mut statement = file.prepare(sql).unwrap();
    let count = |row: &rusqlite::Row<'_>, column| row.get::<_, i64>(column).map(i64::unsigned_abs);
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, [count(row, 1)?, count(row, 2)?, count(row, 3)?, count(row, 4)?], row.get(5)?))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Checks that the ledger counts what its file holds. Returns the number of unsettled events.
async fn check(ledger: &SqliteLedger, path: &Path) -> u64 {
    let before = clock::unix_millis();
    let mut backlogs = ledger.backlog().await.unwrap();
    let after = clock::unix_millis();
    backlogs.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
    let expected = counts_of_file(path);
    assert_eq!(backlogs.len(), expected.len(), "{backlogs:?} {expected:?}");
    let mut unsettled = 0;
    for (backlog, (endpoint, counts, oldest)) in backlogs.iter().zip(expected) {
        assert_eq!(*backlog.endpoint, *endpoint);
        assert_eq!([backlog.running, backlog.pending, backlog.dead, backlog.queued], counts, "{endpoint}");
        match (backlog.oldest_pending, oldest) {
            (None, None) => {}
            (Some(age), Some(seen)) => {
                let age = i64::try_from(age.as_millis()).unwrap();
                assert!((before..=after).contains(&(seen + age)), "{endpoint}: {age} {seen}");
            }
            other => panic!("{endpoint}: {other:?}"),
        }
        unsettled += counts[..3].iter().sum::<u64>();
    }
    unsettled
}

fn request() -> StoredRequest {
    StoredRequest {
        mode: DeliveryMode::Queued,
        head: "POST / HTTP/1.1\r\n".into(),
        signature: "t=1,v1=0".into(),
        body: "{}".into(),
    }
}

/// Makes one random transition. Leases that it gets are added to `leases`.
async fn step(ledger: &SqliteLedger, random: &mut Random, leases: &mut Vec<Lease>) {
    let endpoint = ["/a", "/b", "/c"][random.below(3) as usize];
    let arrival: Arrival = at(endpoint, "", &format!("evt_{}", random.below(40)));
    // Some leases are over at once, so that another claim takes the event.
    let lease = if random.below(4) == 0 { Duration::ZERO } else { LONG };
    match random.below(10) {
        0 | 1 => {
            if let Claim::Leased(lease) = ledger.claim(arrival, lease).await.unwrap() {
                leases.push(lease);
            }
        }
        2 | 3 => {
            let lease = (random.below(2) == 0).then_some(lease);
            if let EnqueueResult::Leased(lease) = ledger.enqueue(arrival, request(), lease).await.unwrap() {
                leases.push(lease);
            }
        }
        4 => leases
            .extend(ledger.claim_due(endpoint, 3, lease).await.unwrap().into_iter().map(|(lease, _)| lease)),
        5 => drop(ledger.apply(&arrival.key, OperatorAction::Redeliver).await.unwrap()),
        6 => drop(ledger.apply(&arrival.key, OperatorAction::Delete).await.unwrap()),
        _ if leases.is_empty() => {}
        _ => {
            let lease = leases.swap_remove(random.below(leases.len() as u64) as usize);
            let wait = Duration::from_millis(random.below(20));
            let settlement = match random.below(4) {
                0 => Settlement::Delivered { status: 200 },
                1 => Settlement::Failed { status: Some(500) },
                2 => Settlement::Retry { status: None, wait, counts: random.below(2) == 0 },
                _ => Settlement::Dead { status: Some(503) },
            };
            let _ = ledger.settle(lease, settlement).await.unwrap();
        }
    }
}

#[tokio::test]
async fn counts_in_memory_equal_the_file_after_random_transitions_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.db");
    let (mut random, mut leases, mut most) = (Random(1), Vec::new(), 0);
    for _ in 0..2 {
        let ledger = SqliteLedger::start(path.clone(), Duration::from_secs(3600), Arc::default());
        ready(&ledger).await;
        most = most.max(check(&ledger, &path).await);
        for _ in 0..60 {
            for _ in 0..8 {
                step(&ledger, &mut random, &mut leases).await;
            }
            most = most.max(check(&ledger, &path).await);
        }
        ledger.close();
    }
    assert!(most > 30, "too few events were unsettled at once: {most}");
}
