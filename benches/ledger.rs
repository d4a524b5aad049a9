//! Speed of the SQLite ledger, which `docs/decisions/0001-sqlite-ledger.md` promises. It measures how many events a second
//! are claimed and settled, alone and 64 at once, against a loop that commits each transition by itself. It also measures
//! how long a claim takes with a thousand records and with a million. One run measures everything, because a machine's
//! speed changes by the hour.
//!
//! `cargo bench --bench ledger` runs it; `-- --quick` takes a short look. `LEDGER_BENCH_DIR` names the folder for its files,
//! by default the system's temporary folder. The folder must be on a disk, and the machine must be otherwise idle.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a bench measures time, and stops when it cannot"
)]

mod load;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::ledger::sqlite::SqliteLedger;
use countersign::ledger::{Arrival, EventKey, Health, Ledger};
use load::load;
use tokio::runtime::Runtime;

const RETENTION: Duration = Duration::from_secs(35 * 24 * 60 * 60);

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let dir = match std::env::var_os("LEDGER_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let dir = dir.path();
    let (rounds, time) = if quick { (1, Duration::from_millis(500)) } else { (3, Duration::from_secs(2)) };

    measure_rates(&runtime, dir, rounds, time);
    measure_claims(&runtime, dir, quick);
}

/// Prints how many events a second are claimed and settled, and the ratio to a commit for each transition.
fn measure_rates(runtime: &Runtime, dir: &Path, rounds: u32, time: Duration) {
    let mut rates: Vec<(&str, Vec<f64>)> =
        ["naive loop, a commit for each transition", "ledger, alone", "ledger, 64 at once"]
            .map(|name| (name, Vec::new()))
            .into();
    for round in 0..rounds {
        // The rows are interleaved, so that a slow moment of the disk affects all of them.
        rates[0].1.push(naive(&dir.join(format!("naive-{round}.db")), time));
        for (row, tasks) in [(1, 1), (2, 64)] {
            let ledger = open(runtime, &dir.join(format!("rate-{round}-{tasks}.db")));
            let claims = runtime.block_on(load(&ledger, arrival, tasks, usize::MAX, time));
            rates[row].1.push(claims.len() as f64 / time.as_secs_f64());
            ledger.close();
        }
    }
    let naive = median(&rates[0].1);
    println!("{:<44}{:>12}{:>10}", "claimed and settled", "events/s", "x naive");
    for (name, samples) in &rates {
        let rate = median(samples);
        println!("{name:<44}{rate:>12.0}{:>10.1}", rate / naive);
    }
}

/// Prints how long a claim takes in a small ledger and in a large one.
fn measure_claims(runtime: &Runtime, dir: &Path, quick: bool) {
    let (small, large) = (1_000, if quick { 100_000 } else { 1_000_000 });
    let ledger = open(runtime, &dir.join("large.db"));
    runtime.block_on(fill(&ledger, large));
    println!("\n{:<40}{small:>10}{large:>12} records{:>9}", "time of a claim, µs", "growth");
    let measures = [
        ("alone", 1, 300, if quick { 3 } else { 8 }),
        ("64 at once", 64, 4_000, if quick { 3 } else { 8 }),
        // With this many events, the ledger must archive the older ones while new ones arrive.
        ("64 at once, archiving", 64, 120_000, if quick { 1 } else { 2 }),
    ];
    for (name, tasks, events, turns) in measures {
        let mut times = [Vec::new(), Vec::new()];
        for turn in 0..turns {
            // Each turn needs a new small ledger, because the load makes it large.
            let fresh = open(runtime, &dir.join(format!("{name}-{turn}.db")));
            runtime.block_on(fill(&fresh, small));
            for (ledger, times) in [&fresh, &ledger].into_iter().zip(&mut times) {
                runtime.block_on(settle_down(ledger));
                times.extend(runtime.block_on(load(ledger, arrival, tasks, events, Duration::MAX)));
            }
            fresh.close();
        }
        times.iter_mut().for_each(|times| times.sort_unstable());
        for (what, share) in [("p50", 0.5), ("p99", 0.99)] {
            let [a, b] = [0, 1].map(|i| {
                let at = (times[i].len() as f64 * share) as usize;
                times[i][at].as_secs_f64() * 1e6
            });
            println!("{:<40}{a:>10.0}{b:>12.0}{:>16.0}%", format!("{name}, {what}"), (b / a - 1.0) * 100.0);
        }
    }
    ledger.close();
}

/// Waits until the ledger has no maintenance left. The sweep runs after the archiving that is due.
async fn settle_down(ledger: &Arc<SqliteLedger>) {
    drop(load(ledger, arrival, 1, 1, Duration::MAX).await);
    ledger.sweep_now().await.unwrap();
}

/// Returns events a second for the same two writes, each in a transaction of its own.
fn naive(path: &Path, time: Duration) -> f64 {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE events (id TEXT PRIMARY KEY, state INTEGER, at INTEGER) WITHOUT ROWID",
    )
    .unwrap();
    let mut claim = conn.prepare("INSERT OR IGNORE INTO events VALUES (?1, 1, unixepoch())").unwrap();
    let mut settle = conn.prepare("UPDATE events SET state = 2, at = unixepoch() WHERE id = ?1").unwrap();
    let (start, mut events) = (Instant::now(), 0);
    while start.elapsed() < time {
        let id = id();
        claim.execute([&id]).unwrap();
        settle.execute([&id]).unwrap();
        events += 1;
    }
    f64::from(events) / start.elapsed().as_secs_f64()
}

/// Claims and settles this many events through the ledger's normal interface.
async fn fill(ledger: &Arc<SqliteLedger>, records: usize) {
    drop(load(ledger, arrival, 256, records, Duration::MAX).await);
}

fn open(runtime: &Runtime, path: &Path) -> Arc<SqliteLedger> {
    let ledger = Arc::new(SqliteLedger::start(path.to_owned(), RETENTION, Arc::default()));
    runtime.block_on(async {
        while ledger.health() != Health::Ready {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    ledger
}

fn arrival() -> Arrival {
    Arrival {
        key: EventKey {
            endpoint: "/webhooks/stripe".into(),
            segments: "".into(),
            query: "".into(),
            id: id().into(),
        },
        event_type: "checkout.session.completed".into(),
        created: Some(1_760_000_000),
        livemode: Some(true),
        account: None,
    }
}

/// Returns an id that is as long as Stripe's. It is random from its first character, the worst order for an index.
fn id() -> String {
    let (a, b) = (getrandom::u64().unwrap(), getrandom::u64().unwrap());
    format!("evt_{a:016x}{:08x}", b as u32)
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
