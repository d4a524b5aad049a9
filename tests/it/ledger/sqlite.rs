//! What can happen to a ledger in a file. Every fault is really made: a foreign lock, a second process, a deleted,
//! replaced or damaged file, a full disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countersign::clock;
use countersign::delivery_mode::DeliveryMode;
use countersign::ledger::sqlite::SqliteLedger;
use countersign::ledger::{Claim, Health, Ledger, Settled, State, StoredRequest};
use rusqlite::Connection;
use tempfile::TempDir;

use super::{DOWN, LONG, OK, arrival, at, leased, not_ready, ready, taken_over, until};
use crate::harness::{Disk, at_most};

const RETENTION: Duration = Duration::from_secs(35 * 24 * 60 * 60);

#[tokio::test]
async fn committed_records_and_leases_survive_a_restart() {
    let (dir, ledger) = start().await;
    for (id, settlement) in [("evt_delivered", OK), ("evt_failed", DOWN)] {
        let lease = leased(&ledger, arrival(id), LONG).await;
        ledger.settle(lease, settlement).await.unwrap();
    }
    let held = leased(&ledger, arrival("evt_held"), LONG).await;
    ledger.close();

    let ledger = start_in(&dir).await;
    assert!(matches!(ledger.claim(arrival("evt_delivered"), LONG).await.unwrap(), Claim::Duplicate));
    assert_eq!(leased(&ledger, arrival("evt_failed"), LONG).await.attempt(), 2);
    let Claim::InFlight { retry_after } = ledger.claim(arrival("evt_held"), LONG).await.unwrap() else {
        panic!()
    };
    assert!(retry_after <= LONG && retry_after > LONG / 2, "{retry_after:?}");
    // A holder that outlived its ledger can still settle.
    assert_eq!(ledger.settle(held, DOWN).await.unwrap(), Settled::Recorded);
}

#[tokio::test]
async fn lease_of_an_earlier_process_ends_by_time_and_the_next_attempt_follows() {
    let (dir, ledger) = start().await;
    let short = Duration::from_millis(400);
    let before = clock::instant();
    let lease = leased(&ledger, arrival("evt_1"), short).await;
    drop(lease);
    ledger.close();

    let ledger = start_in(&dir).await;
    let next = until("the lease ends", || async {
        match ledger.claim(arrival("evt_1"), short).await.unwrap() {
            Claim::Leased(lease) => Some(lease),
            Claim::InFlight { .. } => None,
            Claim::Duplicate => panic!("never delivered"),
        }
    })
    .await;
    assert_eq!(next.attempt(), 2);
    // The file stores whole milliseconds.
    assert!(before.elapsed() + Duration::from_millis(1) >= short);
}

#[tokio::test]
async fn closing_finishes_queued_jobs_and_leaves_one_file() {
    let (dir, ledger) = start().await;
    let ledger = Arc::new(ledger);
    let mut claims = tokio::task::JoinSet::new();
    for n in 0..100 {
        let ledger = Arc::clone(&ledger);
        claims.spawn(async move { ledger.claim(arrival(&format!("evt_{n}")), LONG).await });
    }
    tokio::task::yield_now().await;
    ledger.close();
    let granted =
        claims.join_all().await.iter().filter(|claim| matches!(claim, Ok(Claim::Leased(_)))).count();

    let error = ledger.claim(arrival("evt_late"), LONG).await.unwrap_err();
    assert!(error.to_string().contains("shutting down"), "{error}");
    assert!(!beside(&dir, "ledger.db-wal").exists());
    let rows: i64 = outsider(&dir).query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, granted as i64);
}

#[tokio::test]
async fn second_process_is_unready_until_the_first_releases_the_file() {
    let (dir, first) = start().await;
    let lease = leased(&first, arrival("evt_1"), LONG).await;
    let second = SqliteLedger::start(path(&dir), RETENTION, Arc::default());
    let reason = until("it has found the lock", || async {
        let Health::NotReady { reason } = second.health() else { panic!("two hold one file") };
        reason.contains("held by another process").then_some(reason)
    })
    .await;
    let error = at_once(second.claim(arrival("evt_2"), LONG)).await.unwrap_err();
    assert_eq!(error.to_string(), *reason);
    first.settle(lease, OK).await.unwrap();

    first.close();
    ready(&second).await;
    assert!(matches!(second.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate));
}

#[tokio::test]
async fn foreign_write_lock_fails_claims_within_a_second_and_recovery_is_immediate() {
    let (dir, ledger) = start().await;
    let lease = leased(&ledger, arrival("evt_held"), LONG).await;
    let outsider = outsider(&dir);
    outsider.execute_batch("BEGIN IMMEDIATE").unwrap();

    let before = clock::instant();
    let error = ledger.claim(arrival("evt_1"), LONG).await.unwrap_err();
    assert!(before.elapsed() < at_most(Duration::from_secs(1)), "{:?}", before.elapsed());
    assert!(error.to_string().contains("another program holds its write lock"), "{error}");
    assert_eq!(*not_ready(&ledger).await, error.to_string());
    // Once the lock is known, claims fail at once, and a settlement returns its lease.
    at_once(ledger.claim(arrival("evt_1"), LONG)).await.unwrap_err();
    let unsettled = at_once(ledger.settle(lease, OK)).await.unwrap_err();
    assert!(unsettled.to_string().starts_with("evt_held is not settled: "), "{unsettled}");

    outsider.execute_batch("ROLLBACK").unwrap();
    let freed = clock::instant();
    ready(&ledger).await;
    assert!(freed.elapsed() < at_most(Duration::from_secs(1)), "{:?}", freed.elapsed());
    assert_eq!(ledger.settle(unsettled.lease, OK).await.unwrap(), Settled::Recorded);
    assert_eq!(leased(&ledger, arrival("evt_1"), LONG).await.attempt(), 1, "the failed claim left nothing");
}

#[tokio::test]
async fn short_foreign_lock_is_waited_for() {
    let (dir, ledger) = start().await;
    let outsider = outsider(&dir);
    outsider.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut claim = std::pin::pin!(ledger.claim(arrival("evt_1"), LONG));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut claim).await;
    assert!(early.is_err(), "{early:?}");
    outsider.execute_batch("ROLLBACK").unwrap();
    assert!(matches!(claim.await.unwrap(), Claim::Leased(_)));
}

#[tokio::test]
async fn ledger_unreachable_at_start_gives_a_reason_and_recovers() {
    let dir = TempDir::new().unwrap();
    // A file stands where the directory should be, so neither directory nor ledger can be created.
    let parent = dir.path().join("data");
    std::fs::write(&parent, "in the way").unwrap();
    let ledger = SqliteLedger::start(parent.join("ledger.db"), RETENTION, Arc::default());
    let reason = until("it has tried", || async {
        let reason = not_ready(&ledger).await;
        reason.contains("cannot create its directory").then_some(reason)
    })
    .await;
    assert!(reason.contains("data/ledger.db"), "{reason}");
    at_once(ledger.claim(arrival("evt_1"), LONG)).await.unwrap_err();
    ledger.backlog().await.unwrap_err();
    ledger.sweep_now().await.unwrap_err();

    std::fs::remove_file(&parent).unwrap();
    ready(&ledger).await;
    drop(leased(&ledger, arrival("evt_1"), LONG).await);
}

#[tokio::test]
async fn directory_at_the_files_path_gives_a_reason_and_no_panic() {
    let dir = TempDir::new().unwrap();
    std::fs::create_dir(path(&dir)).unwrap();
    let ledger = SqliteLedger::start(path(&dir), RETENTION, Arc::default());
    until("it has tried", || async { not_ready(&ledger).await.contains("cannot be opened").then_some(()) })
        .await;
    std::fs::remove_dir(path(&dir)).unwrap();
    ready(&ledger).await;
}

#[tokio::test]
async fn damaged_file_is_refused_with_advice_and_not_overwritten() {
    let dir = TempDir::new().unwrap();
    let damage = b"this is no database, whatever its name says".repeat(100);
    std::fs::write(path(&dir), &damage).unwrap();
    let ledger = SqliteLedger::start(path(&dir), RETENTION, Arc::default());
    until("it has tried", || async { not_ready(&ledger).await.contains("move it away").then_some(()) }).await;
    assert_eq!(std::fs::read(path(&dir)).unwrap(), damage);
    std::fs::rename(path(&dir), dir.path().join("damaged")).unwrap();
    ready(&ledger).await;
}

#[tokio::test]
async fn damage_at_run_time_fails_claims_until_it_is_repaired() {
    let (dir, ledger) = start().await;
    ledger.close();
    let ledger = start_in(&dir).await;
    let whole = std::fs::read(path(&dir)).unwrap();
    std::fs::OpenOptions::new().write(true).open(path(&dir)).unwrap().set_len(10).unwrap();
    // SQLite's cache may hide the damage for a while. A reopened file does not.
    let outcome = ledger.claim(arrival("evt_1"), LONG).await;
    assert!(matches!(outcome, Ok(Claim::Leased(_)) | Err(_)), "{outcome:?}");
    std::fs::write(path(&dir), whole).unwrap();
    drop(until("recovered", || async { ledger.claim(arrival("evt_2"), LONG).await.ok() }).await);
}

#[tokio::test]
async fn deleted_or_replaced_file_is_noticed_by_the_next_claim_and_created_again() {
    for suffix in ["", "-wal"] {
        let (dir, ledger) = start().await;
        let lease = leased(&ledger, arrival("evt_held"), LONG).await;
        std::fs::remove_file(beside(&dir, &format!("ledger.db{suffix}"))).unwrap();

        let error = ledger.claim(arrival("evt_1"), LONG).await.unwrap_err();
        assert!(error.to_string().contains("deleted or replaced"), "{error}");
        ready(&ledger).await;
        // The delivery in flight is still known, so no second one begins beside it.
        let copy = ledger.claim(arrival("evt_held"), LONG).await.unwrap();
        assert!(matches!(copy, Claim::InFlight { .. }), "{copy:?}");
        // The 2xx is recorded even in a file that has no record of the event.
        assert_eq!(ledger.settle(lease, OK).await.unwrap(), Settled::Recorded);
        assert!(matches!(ledger.claim(arrival("evt_held"), LONG).await.unwrap(), Claim::Duplicate));
        // The record is in the file that has this name now.
        ledger.close();
        let ledger = start_in(&dir).await;
        assert!(matches!(ledger.claim(arrival("evt_held"), LONG).await.unwrap(), Claim::Duplicate));
    }
}

#[tokio::test]
async fn full_disk_fails_claims_with_a_reason_until_there_is_room() {
    let Some(disk) = Disk::mount("2m") else { return };
    let ledger = SqliteLedger::start(disk.path().join("ledger.db"), RETENTION, Arc::default());
    ready(&ledger).await;
    let lease = leased(&ledger, arrival("evt_held"), LONG).await;
    disk.fill();

    let (mut n, mut granted) = (0, Vec::new());
    let error = loop {
        n += 1;
        assert!(n < 5_000, "the disk is full, and yet it writes");
        match ledger.claim(arrival(&format!("evt_{n}")), LONG).await {
            Ok(Claim::Leased(lease)) => granted.push(lease),
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("its disk"), "{error}");
    disk.empty();
    ready(&ledger).await;
    assert_eq!(ledger.settle(lease, OK).await.unwrap(), Settled::Recorded);
    for lease in granted {
        assert_eq!(ledger.settle(lease, DOWN).await.unwrap(), Settled::Recorded, "what was granted was kept");
    }
    ledger.close();
}

#[tokio::test]
async fn read_only_disk_gives_a_reason_until_it_is_writable() {
    let Some(disk) = Disk::mount("4m") else { return };
    let path = disk.path().join("ledger.db");
    let ledger = SqliteLedger::start(path.clone(), RETENTION, Arc::default());
    ready(&ledger).await;
    ledger.close();
    disk.remount("ro");
    let ledger = SqliteLedger::start(path, RETENTION, Arc::default());
    until("it has tried", || async { not_ready(&ledger).await.contains("ead-only").then_some(()) }).await;
    at_once(ledger.claim(arrival("evt_1"), LONG)).await.unwrap_err();
    disk.remount("rw");
    ready(&ledger).await;
    drop(leased(&ledger, arrival("evt_1"), LONG).await);
    ledger.close();
}

/// The schema of version 2, which a program before the tables were renamed has written.
const VERSION_2: &str = "
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY, id TEXT NOT NULL, endpoint TEXT NOT NULL, query TEXT NOT NULL, type TEXT NOT NULL,
        created INTEGER, livemode INTEGER, account TEXT, seen INTEGER NOT NULL, state INTEGER NOT NULL,
        attempts INTEGER NOT NULL, status INTEGER, token INTEGER, due INTEGER, settled INTEGER
    ) STRICT;
    CREATE TABLE archive (
        id TEXT NOT NULL, endpoint TEXT NOT NULL, query TEXT NOT NULL, type TEXT NOT NULL, created INTEGER,
        livemode INTEGER, account TEXT, seen INTEGER NOT NULL, state INTEGER NOT NULL, attempts INTEGER NOT NULL,
        status INTEGER, settled INTEGER NOT NULL, PRIMARY KEY (id, endpoint, query)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE parcels (
        seq INTEGER PRIMARY KEY, way INTEGER NOT NULL, head BLOB NOT NULL, signature BLOB NOT NULL, body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE queue (
        endpoint TEXT NOT NULL, due INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (endpoint, due, seq)
    ) STRICT, WITHOUT ROWID;
    PRAGMA application_id = 0x4374536e;
    PRAGMA user_version = 2;
";

#[tokio::test]
async fn a_file_of_version_2_is_migrated_and_its_queued_events_are_delivered() {
    let dir = TempDir::new().unwrap();
    let old = outsider(&dir);
    old.pragma_update(None, "journal_mode", "wal").unwrap();
    old.execute_batch(VERSION_2).unwrap();
    old.execute_batch(
        "INSERT INTO events VALUES (7, 'evt_pending', 'shop', 'v=2', 'invoice.paid', 1, 1, 'acct_1', 1000, 4, 3, 503, \
         NULL, 2000, NULL);
         INSERT INTO parcels VALUES (7, 2, x'50', CAST('v1=aa' AS BLOB), CAST('{}' AS BLOB));
         INSERT INTO queue VALUES ('shop', 2000, 7);
         INSERT INTO events VALUES (8, 'evt_dead', 'shop', '', 'invoice.paid', 1, 1, NULL, 1000, 5, 9, 500, NULL, NULL, \
         3000);
         INSERT INTO parcels VALUES (8, 1, x'50', CAST('v1=bb' AS BLOB), CAST('[]' AS BLOB));",
    )
    .unwrap();
    let now = clock::unix().as_millis() as i64;
    old.execute(
        "INSERT INTO archive VALUES ('evt_old', 'shop', '', 't', 1, 1, NULL, 1, 2, 1, 200, ?1)",
        [now],
    )
    .unwrap();
    drop(old);

    let ledger = start_in(&dir).await;
    let due = ledger.claim_due("shop", 9, LONG).await.unwrap();
    let [(lease, request)] = &due[..] else { panic!("one event is due: {due:?}") };
    assert_eq!((lease.key(), lease.attempt()), (&at("shop", "v=2", "evt_pending").key, 4));
    let bytes = |text: &'static str| text.as_bytes().into();
    let stored = |mode, signature, body| StoredRequest { mode, head: bytes("P"), signature, body };
    assert_eq!(*request, stored(DeliveryMode::Hybrid, bytes("v1=aa"), bytes("{}")));
    let (record, payload) = ledger.get(&at("shop", "", "evt_dead").key).await.unwrap().unwrap();
    assert_eq!((record.state, record.attempts), (State::Dead, 9));
    assert_eq!(payload, Some(stored(DeliveryMode::Queued, bytes("v1=bb"), bytes("[]"))));
    assert!(matches!(ledger.claim(at("shop", "", "evt_old"), LONG).await.unwrap(), Claim::Duplicate));

    let (lease, _) = due.into_iter().next().unwrap();
    assert_eq!(ledger.settle(lease, OK).await.unwrap(), Settled::Recorded);
    ledger.close();
    let version: i64 = outsider(&dir).pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 4);
    // A second opening finds nothing to migrate.
    let ledger = start_in(&dir).await;
    assert_eq!(ledger.claim_due("shop", 9, LONG).await.unwrap().len(), 0);
}

#[tokio::test]
async fn file_of_a_newer_version_is_not_changed() {
    let (dir, ledger) = start().await;
    ledger.close();
    outsider(&dir).pragma_update(None, "user_version", 99).unwrap();
    let ledger = SqliteLedger::start(path(&dir), RETENTION, Arc::default());
    until("it has looked", || async { not_ready(&ledger).await.contains("schema 99").then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archived_event_is_still_a_duplicate_and_a_failed_one_keeps_its_attempts() {
    let (dir, ledger) = start().await;
    let ledger = Arc::new(ledger);
    let (late, current) = taken_over(&*ledger, "evt_late").await;
    ledger.settle(current, DOWN).await.unwrap();
    for (id, settlement) in [("evt_delivered", OK), ("evt_failed", DOWN)] {
        let lease = leased(&*ledger, arrival(id), LONG).await;
        ledger.settle(lease, settlement).await.unwrap();
    }
    let held = leased(&*ledger, arrival("evt_held"), LONG).await;
    flood(&ledger, 60_000).await;
    let reader = outsider(&dir);
    let count = |table| {
        reader.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap()
    };
    until("the log is short again, none is lost, and none is left in both", || async {
        let (log, archive) = (count("events"), count("archive"));
        (log < 25_000 && log + archive == 60_004).then_some(())
    })
    .await;

    assert!(matches!(ledger.claim(arrival("evt_delivered"), LONG).await.unwrap(), Claim::Duplicate));
    assert_eq!(leased(&*ledger, arrival("evt_failed"), LONG).await.attempt(), 2);
    assert!(matches!(ledger.claim(arrival("evt_held"), LONG).await.unwrap(), Claim::InFlight { .. }));
    assert_eq!(ledger.settle(held, OK).await.unwrap(), Settled::Recorded);
    // The event was archived as failed in between, and the 2xx still counts.
    assert_eq!(ledger.settle(late, OK).await.unwrap(), Settled::Recorded);
    assert!(matches!(ledger.claim(arrival("evt_late"), LONG).await.unwrap(), Claim::Duplicate));

    // The same holds in another process, which builds its filter and index from the file.
    ledger.close();
    let ledger = start_in(&dir).await;
    for _ in 0..2 {
        for n in (0..60_000).step_by(997) {
            let claim = ledger.claim(at("flood", "", &format!("evt_{n}")), LONG).await.unwrap();
            assert!(matches!(claim, Claim::Duplicate), "evt_{n}: {claim:?}");
        }
        assert!(matches!(ledger.claim(arrival("evt_late"), LONG).await.unwrap(), Claim::Duplicate));
        ledger.sweep_now().await.unwrap();
    }
    ledger.close();

    let ledger = SqliteLedger::start(path(&dir), Duration::ZERO, Arc::default());
    ready(&ledger).await;
    until("all that is settled is gone", || async {
        ledger.sweep_now().await.unwrap();
        (count("events") == 1 && count("archive") == 0).then_some(())
    })
    .await;
    assert_eq!(leased(&ledger, arrival("evt_delivered"), LONG).await.attempt(), 1);
    assert!(matches!(ledger.claim(arrival("evt_failed"), LONG).await.unwrap(), Claim::InFlight { .. }));
}

#[tokio::test]
async fn lease_of_days_lasts_for_days() {
    let (_dir, ledger) = start().await;
    let days = Duration::from_secs(3 * 24 * 60 * 60);
    let _held = leased(&ledger, arrival("evt_1"), days).await;
    let copy = ledger.claim(arrival("evt_1"), days).await.unwrap();
    assert!(matches!(copy, Claim::InFlight { retry_after } if retry_after > days / 2), "{copy:?}");
}

#[tokio::test]
async fn row_deleted_by_hand_makes_only_its_own_event_new() {
    let (dir, ledger) = start().await;
    let lease = leased(&ledger, arrival("evt_gone"), LONG).await;
    ledger.settle(lease, OK).await.unwrap();
    outsider(&dir).execute("DELETE FROM events WHERE id = 'evt_gone'", []).unwrap();

    let lease = leased(&ledger, arrival("evt_other"), LONG).await;
    ledger.settle(lease, OK).await.unwrap();
    drop(leased(&ledger, arrival("evt_gone"), LONG).await);
    assert!(matches!(ledger.claim(arrival("evt_other"), LONG).await.unwrap(), Claim::Duplicate));
}

/// Delivers this many events.
async fn flood(ledger: &Arc<SqliteLedger>, events: usize) {
    let mut set = tokio::task::JoinSet::new();
    for task in 0..200 {
        let ledger = Arc::clone(ledger);
        set.spawn(async move {
            for n in (task..events).step_by(200) {
                let lease = leased(&*ledger, at("flood", "", &format!("evt_{n}")), LONG).await;
                ledger.settle(lease, OK).await.unwrap();
            }
        });
    }
    set.join_all().await;
}

async fn start() -> (TempDir, SqliteLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = start_in(&dir).await;
    (dir, ledger)
}

async fn start_in(dir: &TempDir) -> SqliteLedger {
    let ledger = SqliteLedger::start(path(dir), RETENTION, Arc::default());
    ready(&ledger).await;
    ledger
}

/// Panics unless the result comes without waiting.
async fn at_once<T>(response: impl Future<Output = T>) -> T {
    tokio::time::timeout(at_most(Duration::from_millis(300)), response).await.expect("an answer at once")
}

fn path(dir: &TempDir) -> PathBuf {
    beside(dir, "ledger.db")
}

fn beside(dir: &TempDir, name: &str) -> PathBuf {
    dir.path().join(name)
}

/// Opens a second connection to the file, as a backup tool or a shell does.
fn outsider(dir: &TempDir) -> Connection {
    let conn = Connection::open(path(dir)).unwrap();
    conn.busy_timeout(Duration::from_secs(10)).unwrap();
    conn
}
