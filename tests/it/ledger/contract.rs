//! The contract: claims that every ledger has to meet, each run on every kind. Another ledger is one more module in
//! `contract!`.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use countersign::clock;
use countersign::config::Durability;
use countersign::delivery_mode::DeliveryMode;
use countersign::ledger::redis::{RedisLedger, RedisOptions};
use countersign::ledger::sqlite::SqliteLedger;
use countersign::ledger::{
    ActionResult, Claim, EnqueueResult, Lease, Ledger, OperatorAction, RecordFilter, Settled, Settlement,
    State, StoredRequest,
};
use countersign::metrics::Metrics;

use super::{DOWN, ENDPOINT, LONG, OK, arrival, at, leased, ready, taken_over};
use crate::harness::Redis as Server;
use crate::tools::have;

/// A kind of ledger: how to start an empty one, and how to expire its records.
trait Kind: Default {
    /// The command that has to be installed, if any.
    const NEEDS: Option<&str>;
    async fn start(&self, retention: Duration) -> Arc<dyn Ledger>;
    /// Deletes expired records and returns how many, if that is the program's task for this kind.
    async fn sweep(&self) -> u64;
}

const MONTH: Duration = Duration::from_secs(35 * 24 * 60 * 60);

/// Runs each case on a new ledger of every kind.
macro_rules! contract {
    ($($(#[$about:meta])* $name:ident($ledger:ident, $kind:ident keeps $retention:expr) $body:block)*) => {
        contract!(@on sqlite Sqlite $($(#[$about])* $name($ledger, $kind, $retention) $body)*);
        contract!(@on redis Redis $($(#[$about])* $name($ledger, $kind, $retention) $body)*);
    };
    (@on $module:ident $Kind:ident $($(#[$about:meta])* $name:ident($ledger:ident, $kind:ident, $retention:expr) $body:block)*) => {
        mod $module {
            use super::*;
            $(
                $(#[$about])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if !$Kind::NEEDS.is_none_or(have) {
                        return;
                    }
                    let $kind = $Kind::default();
                    let $ledger = $kind.start($retention).await;
                    $body
                    drop($kind);
                }
            )*
        }
    };
}

contract! {
    first_claim_is_leased_as_attempt_one(ledger, kind keeps MONTH) {
        let lease = leased(&*ledger, arrival("evt_1"), LONG).await;
        assert_eq!(lease.attempt(), 1);
        assert_eq!(lease.key(), &arrival("evt_1").key);
        let remaining = lease.remaining(clock::instant());
        assert!(remaining <= LONG && remaining > LONG / 2, "{remaining:?}");
    }

    copy_is_in_flight_while_the_lease_lasts_with_the_time_left(ledger, kind keeps MONTH) {
        let _lease = leased(&*ledger, arrival("evt_1"), LONG).await;
        let Claim::InFlight { retry_after } = ledger.claim(arrival("evt_1"), LONG).await.unwrap() else { panic!() };
        assert!(retry_after <= LONG && retry_after > LONG / 2, "{retry_after:?}");
    }

    delivered_event_is_a_duplicate_from_then_on(ledger, kind keeps MONTH) {
        let lease = leased(&*ledger, arrival("evt_1"), LONG).await;
        assert_eq!(ledger.settle(lease, OK).await.unwrap(), Settled::Recorded);
        for _ in 0..3 {
            assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate));
        }
    }

    failed_event_is_leased_again_as_the_next_attempt(ledger, kind keeps MONTH) {
        for attempt in 1..=4 {
            let lease = leased(&*ledger, arrival("evt_1"), LONG).await;
            assert_eq!(lease.attempt(), attempt);
            assert_eq!(ledger.settle(lease, DOWN).await.unwrap(), Settled::Recorded);
        }
        let lease = leased(&*ledger, arrival("evt_1"), LONG).await;
        ledger.settle(lease, OK).await.unwrap();
        assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate));
    }

    event_with_an_expired_lease_is_leased_again_as_the_next_attempt(ledger, kind keeps MONTH) {
        let (late, current) = taken_over(&*ledger, "evt_1").await;
        assert_eq!((late.attempt(), current.attempt()), (1, 2));
        assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::InFlight { .. }));
    }

    lease_expires_for_its_holder_before_another_is_granted(ledger, kind keeps MONTH) {
        for n in 0..16 {
            let event = || arrival(&format!("evt_{n}"));
            let late = leased(&*ledger, event(), Duration::from_millis(5)).await;
            // There is no pause, so that the first moment of the next lease is seen.
            while !matches!(ledger.claim(event(), LONG).await.unwrap(), Claim::Leased(_)) {}
            assert_eq!(late.remaining(clock::instant()), Duration::ZERO, "of event {n}");
        }
    }

    late_holders_failure_is_superseded_and_changes_nothing(ledger, kind keeps MONTH) {
        let (late, current) = taken_over(&*ledger, "evt_1").await;
        assert_eq!(ledger.settle(late, DOWN).await.unwrap(), Settled::Superseded);
        assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::InFlight { .. }));
        assert_eq!(ledger.settle(current, OK).await.unwrap(), Settled::Recorded);
    }

    late_holders_delivery_wins_over_the_current_lease(ledger, kind keeps MONTH) {
        let (late, current) = taken_over(&*ledger, "evt_1").await;
        assert_eq!(ledger.settle(late, OK).await.unwrap(), Settled::Recorded);
        assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate));
        assert_eq!(ledger.settle(current, DOWN).await.unwrap(), Settled::Superseded);
        assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate));
    }

    late_holders_delivery_wins_over_a_recorded_failure(ledger, kind keeps MONTH) {
        let (late, current) = taken_over(&*ledger, "evt_1").await;
        ledger.settle(current, DOWN).await.unwrap();
        assert_eq!(ledger.settle(late, OK).await.unwrap(), Settled::Recorded);
        assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate));
    }

    abandoned_event_becomes_failed_and_a_late_2xx_still_counts(ledger, kind keeps MONTH) {
        let short = Duration::from_millis(40);
        let [delivered, failed] = [leased(&*ledger, arrival("evt_1"), short).await, leased(&*ledger, arrival("evt_2"), short).await];
        let held = leased(&*ledger, arrival("evt_3"), LONG).await;
        for id in ["evt_1", "evt_2"] {
            let record = super::super::until("failed", || async {
                let (record, _) = ledger.get(&arrival(id).key).await.unwrap().unwrap();
                (record.state == State::Failed).then_some(record)
            })
            .await;
            assert_eq!((record.attempts, record.status, record.due), (1, None, None));
            assert!(record.settled.is_some());
        }
        assert_eq!(ledger.settle(delivered, OK).await.unwrap(), Settled::Recorded);
        assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate));
        assert_eq!(ledger.settle(failed, DOWN).await.unwrap(), Settled::Superseded);
        assert_eq!(leased(&*ledger, arrival("evt_2"), LONG).await.attempt(), 2);
        assert_eq!(ledger.settle(held, OK).await.unwrap(), Settled::Recorded);
    }

    two_deliveries_of_one_event_are_both_recorded(ledger, kind keeps MONTH) {
        let (late, current) = taken_over(&*ledger, "evt_1").await;
        assert_eq!(ledger.settle(current, OK).await.unwrap(), Settled::Recorded);
        assert_eq!(ledger.settle(late, OK).await.unwrap(), Settled::Recorded);
        assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate));
    }

    exactly_one_of_sixteen_simultaneous_claims_is_leased(ledger, kind keeps MONTH) {
        for round in 0..20 {
            let start = Arc::new(tokio::sync::Barrier::new(16));
            let mut claims = tokio::task::JoinSet::new();
            for _ in 0..16 {
                let (ledger, start) = (Arc::clone(&ledger), Arc::clone(&start));
                claims.spawn(async move {
                    start.wait().await;
                    ledger.claim(arrival(&format!("evt_{round}")), LONG).await.unwrap()
                });
            }
            let claims = claims.join_all().await;
            let leased = claims.iter().filter(|claim| matches!(claim, Claim::Leased(_))).count();
            let in_flight = claims.iter().filter(|claim| matches!(claim, Claim::InFlight { .. })).count();
            assert_eq!((leased, in_flight), (1, 15));
        }
    }

    different_id_query_or_endpoint_is_a_different_event(ledger, kind keeps MONTH) {
        let keys = [
            (ENDPOINT, "", "evt_1"), (ENDPOINT, "", "evt_2"), (ENDPOINT, "version=2", "evt_1"), ("/other", "", "evt_1"),
            (ENDPOINT, "", "evt_1version=2"), ("", "", "evt_1"), (ENDPOINT, ENDPOINT, "evt_1"),
        ];
        for (endpoint, query, id) in keys {
            let lease = leased(&*ledger, at(endpoint, query, id), LONG).await;
            assert_eq!(lease.attempt(), 1);
            ledger.settle(lease, OK).await.unwrap();
        }
    }

    running_events_are_counted_by_endpoint(ledger, kind keeps MONTH) {
        let mut held = Vec::new();
        for n in 0..3 {
            held.push(leased(&*ledger, at("a", "", &format!("evt_{n}")), LONG).await);
        }
        held.push(leased(&*ledger, at("b", "", "evt_1"), LONG).await);
        let mut running = counts(&*ledger).await;
        running.sort();
        assert_eq!(running, [("a".into(), [3, 0, 0]), ("b".into(), [1, 0, 0])]);
        for lease in held {
            let settlement = if lease.attempt() % 2 == 0 { DOWN } else { OK };
            ledger.settle(lease, settlement).await.unwrap();
        }
        assert_eq!(ledger.backlog().await.unwrap(), []);
    }

    settlement_continues_when_its_caller_is_dropped(ledger, kind keeps MONTH) {
        let lease = leased(&*ledger, arrival("evt_1"), LONG).await;
        let mut settle = std::pin::pin!(ledger.settle(lease, OK));
        // The future is polled once, so that the settlement is in flight, and then dropped.
        let _ = futures_poll(settle.as_mut()).await;
        super::super::until("delivered", || async {
            matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate).then_some(())
        })
        .await;
    }

    queued_event_is_due_at_once_and_returned_whole(ledger, kind keeps MONTH) {
        let queued = arrival("evt_1");
        assert!(matches!(ledger.enqueue(queued.clone(), stored_request("evt_1"), None).await.unwrap(), EnqueueResult::Queued));
        let [(lease, held)] = &claim_due(&*ledger, 9).await[..] else { panic!("not one is due") };
        assert_eq!((lease.key(), lease.attempt(), held), (&queued.key, 1, &stored_request("evt_1")));
        assert!(lease.remaining(clock::instant()) > LONG / 2);
        assert_eq!(claim_due(&*ledger, 9).await.len(), 0, "it is leased");
        let (record, shown) = ledger.get(&queued.key).await.unwrap().unwrap();
        assert_eq!((record.state, record.attempts, shown), (State::Running, 1, Some(stored_request("evt_1"))));
        assert_eq!((record.event_type, record.created, record.livemode), (queued.event_type, queued.created, queued.livemode));
        assert_eq!(record.account, queued.account);
    }

    queued_event_leased_at_once_is_due_when_that_lease_expires(ledger, kind keeps MONTH) {
        let short = Some(Duration::from_millis(40));
        let EnqueueResult::Leased(first) = ledger.enqueue(arrival("evt_1"), stored_request("evt_1"), short).await.unwrap() else { panic!() };
        assert_eq!(first.attempt(), 1);
        let leased = super::super::until("due", || async { claim_due(&*ledger, 9).await.pop() }).await;
        assert_eq!((leased.0.attempt(), leased.1), (2, stored_request("evt_1")));
        // This holder is late: another one has the lease.
        assert_eq!(ledger.settle(first, RETRY).await.unwrap(), Settled::Superseded);
        assert_eq!(ledger.settle(leased.0, OK).await.unwrap(), Settled::Recorded);
    }

    copy_of_a_queued_event_is_a_duplicate_in_every_state(ledger, kind keeps MONTH) {
        for settlement in [None, Some(RETRY), Some(DEAD), Some(OK)] {
            let id = format!("evt_{}", settlement.map_or("queued".to_owned(), |s| format!("{s:?}").len().to_string()));
            let expect_duplicate = async || {
                let claim = ledger.claim(arrival(&id), LONG).await.unwrap();
                assert!(matches!(claim, Claim::Duplicate), "{claim:?}");
                for lease in [None, Some(LONG)] {
                    let copy = ledger.enqueue(arrival(&id), stored_request(&id), lease).await.unwrap();
                    assert!(matches!(copy, EnqueueResult::Duplicate), "{copy:?}");
                }
            };
            assert!(matches!(ledger.enqueue(arrival(&id), stored_request(&id), None).await.unwrap(), EnqueueResult::Queued));
            expect_duplicate().await;
            let (lease, _) = claim_due(&*ledger, 1).await.pop().unwrap();
            expect_duplicate().await;
            if let Some(settlement) = settlement {
                assert_eq!(ledger.settle(lease, settlement).await.unwrap(), Settled::Recorded);
                expect_duplicate().await;
            }
        }
    }

    failed_event_can_be_queued_and_keeps_its_attempts(ledger, kind keeps MONTH) {
        let lease = leased(&*ledger, arrival("evt_1"), LONG).await;
        let EnqueueResult::InFlight { retry_after } = ledger.enqueue(arrival("evt_1"), stored_request("evt_1"), None).await.unwrap() else { panic!() };
        assert!(retry_after <= LONG && retry_after > LONG / 2, "{retry_after:?}");
        ledger.settle(lease, DOWN).await.unwrap();
        assert!(matches!(ledger.enqueue(arrival("evt_1"), stored_request("evt_1"), None).await.unwrap(), EnqueueResult::Queued));
        assert_eq!(claim_due(&*ledger, 1).await[0].0.attempt(), 2);
    }

    retry_is_due_after_its_wait_and_counts_only_if_asked(ledger, kind keeps MONTH) {
        let _ = ledger.enqueue(arrival("evt_1"), stored_request("evt_1"), None).await.unwrap();
        for (counts, attempt) in [(true, 1), (false, 2), (false, 2), (true, 2), (true, 3)] {
            let (lease, held) = super::super::until("due", || async { claim_due(&*ledger, 9).await.pop() }).await;
            assert_eq!((lease.attempt(), held), (attempt, stored_request("evt_1")));
            let settlement = Settlement::Retry { status: Some(503), wait: Duration::from_millis(30), counts };
            assert_eq!(ledger.settle(lease, settlement).await.unwrap(), Settled::Recorded);
        }
        let (lease, _) = super::super::until("due", || async { claim_due(&*ledger, 9).await.pop() }).await;
        ledger.settle(lease, Settlement::Retry { status: None, wait: LONG, counts: true }).await.unwrap();
        assert_eq!(claim_due(&*ledger, 9).await.len(), 0, "its wait is not over");
        let (record, _) = ledger.get(&arrival("evt_1").key).await.unwrap().unwrap();
        assert_eq!((record.state, record.status, record.attempts), (State::Pending, Some(503), 4));
    }

    dead_event_keeps_its_payload_and_is_never_due(ledger, kind keeps MONTH) {
        let _ = ledger.enqueue(arrival("evt_1"), stored_request("evt_1"), None).await.unwrap();
        let (lease, _) = claim_due(&*ledger, 1).await.pop().unwrap();
        assert_eq!(ledger.settle(lease, DEAD).await.unwrap(), Settled::Recorded);
        assert_eq!(claim_due(&*ledger, 9).await.len(), 0);
        let (record, held) = ledger.get(&arrival("evt_1").key).await.unwrap().unwrap();
        assert_eq!((record.state, record.status, held), (State::Dead, Some(500), Some(stored_request("evt_1"))));
        assert!(record.settled.is_some() && record.due.is_none());
    }

    delivery_by_any_holder_drops_the_payload(ledger, kind keeps MONTH) {
        let short = Some(Duration::from_millis(40));
        let EnqueueResult::Leased(late) = ledger.enqueue(arrival("evt_1"), stored_request("evt_1"), short).await.unwrap() else { panic!() };
        let (current, _) = super::super::until("due", || async { claim_due(&*ledger, 9).await.pop() }).await;
        assert_eq!(ledger.settle(late, OK).await.unwrap(), Settled::Recorded);
        let (record, held) = ledger.get(&arrival("evt_1").key).await.unwrap().unwrap();
        assert_eq!((record.state, held), (State::Delivered, None));
        assert_eq!(ledger.settle(current, RETRY).await.unwrap(), Settled::Superseded);
        assert_eq!(claim_due(&*ledger, 9).await.len(), 0);
        assert_eq!(ledger.backlog().await.unwrap(), []);
    }

    late_holder_cannot_undo_a_newer_lease(ledger, kind keeps MONTH) {
        for settlement in [RETRY, DEAD, DOWN] {
            let id = format!("evt_{}", format!("{settlement:?}").len());
            let short = Some(Duration::from_millis(40));
            let EnqueueResult::Leased(late) = ledger.enqueue(arrival(&id), stored_request(&id), short).await.unwrap() else { panic!() };
            let (current, _) = super::super::until("due", || async { claim_due(&*ledger, 9).await.pop() }).await;
            assert_eq!(ledger.settle(late, settlement).await.unwrap(), Settled::Superseded, "{settlement:?}");
            assert_eq!(claim_due(&*ledger, 9).await.len(), 0);
            assert_eq!(ledger.settle(current, OK).await.unwrap(), Settled::Recorded);
        }
    }

    most_overdue_events_come_first_up_to_the_limit(ledger, kind keeps MONTH) {
        for n in 0..6 {
            let id = format!("evt_{n}");
            let _ = ledger.enqueue(arrival(&id), stored_request(&id), None).await.unwrap();
            // Due times are whole milliseconds.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut order = Vec::new();
        for limit in [2, 1, 9] {
            let leased = claim_due(&*ledger, limit).await;
            assert!(leased.len() <= limit);
            order.extend(leased.into_iter().map(|(lease, _)| lease.key().id.to_string()));
        }
        assert_eq!(order, ["evt_0", "evt_1", "evt_2", "evt_3", "evt_4", "evt_5"]);
    }

    last_arrival_is_remembered_for_each_endpoint(ledger, kind keeps MONTH) {
        assert_eq!(ledger.last_arrival("a b").await.unwrap(), None);
        for head in ["Host: one\r\n", "Host: two\r\nUser-Agent: \u{e9}\r\n"] {
            ledger.remember_arrival("a b", head).await.unwrap();
            assert_eq!(ledger.last_arrival("a b").await.unwrap().as_deref(), Some(head));
        }
        assert_eq!(ledger.last_arrival("a").await.unwrap(), None);
        assert!(ledger.list(&RecordFilter::default(), None, 9).await.unwrap().records.is_empty());
    }

    endpoint_gets_only_its_own_events(ledger, kind keeps MONTH) {
        let _ = ledger.enqueue(at("a", "", "evt_1"), stored_request("a"), None).await.unwrap();
        let _ = ledger.enqueue(at("a b", "q=1", "evt_1"), stored_request("b"), None).await.unwrap();
        assert_eq!(ledger.claim_due("b", 9, LONG).await.unwrap().len(), 0);
        let leased = ledger.claim_due("a b", 9, LONG).await.unwrap();
        assert_eq!((leased.len(), &leased[0].1, &*leased[0].0.key().query), (1, &stored_request("b"), "q=1"));
    }

    no_event_is_leased_twice_at_a_time(ledger, kind keeps MONTH) {
        for n in 0..60 {
            let id = format!("evt_{n}");
            let _ = ledger.enqueue(arrival(&id), stored_request(&id), None).await.unwrap();
        }
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let ledger = Arc::clone(&ledger);
            workers.spawn(async move {
                let mut ids = Vec::new();
                loop {
                    let leased = claim_due(&*ledger, 3).await;
                    if leased.is_empty() {
                        return ids;
                    }
                    ids.extend(leased.iter().map(|(lease, _)| lease.key().id.to_string()));
                }
            });
        }
        let mut ids = workers.join_all().await.concat();
        ids.sort();
        let whole = ids.len();
        ids.dedup();
        assert_eq!((ids.len(), whole), (60, 60));
    }

    redelivered_dead_event_starts_its_schedule_again(ledger, kind keeps MONTH) {
        let key = arrival("evt_1").key;
        assert_eq!(ledger.apply(&key, OperatorAction::Redeliver).await.unwrap(), ActionResult::Unknown);
        let _ = ledger.enqueue(arrival("evt_1"), stored_request("evt_1"), None).await.unwrap();
        for _ in 0..2 {
            let (lease, _) = claim_due(&*ledger, 1).await.pop().unwrap();
            assert_eq!(lease.attempt(), 1);
            assert_eq!(ledger.apply(&key, OperatorAction::Redeliver).await.unwrap(), ActionResult::Running);
            ledger.settle(lease, DEAD).await.unwrap();
            assert_eq!(ledger.apply(&key, OperatorAction::Redeliver).await.unwrap(), ActionResult::Done);
        }
        let (lease, held) = claim_due(&*ledger, 1).await.pop().unwrap();
        assert_eq!(held, StoredRequest { mode: DeliveryMode::Redelivery, ..stored_request("evt_1") });
        // A pending event can be made due at once.
        ledger.settle(lease, Settlement::Retry { status: None, wait: LONG, counts: true }).await.unwrap();
        assert_eq!(ledger.apply(&key, OperatorAction::Redeliver).await.unwrap(), ActionResult::Done);
        let (lease, _) = claim_due(&*ledger, 1).await.pop().unwrap();
        ledger.settle(lease, OK).await.unwrap();
        assert_eq!(ledger.apply(&key, OperatorAction::Redeliver).await.unwrap(), ActionResult::PayloadGone);
    }

    deleted_event_is_new_when_it_arrives_again(ledger, kind keeps MONTH) {
        let key = arrival("evt_1").key;
        assert_eq!(ledger.apply(&key, OperatorAction::Delete).await.unwrap(), ActionResult::Unknown);
        for settlement in [None, Some(DEAD), Some(OK)] {
            let _ = ledger.enqueue(arrival("evt_1"), stored_request("evt_1"), None).await.unwrap();
            if let Some(settlement) = settlement {
                let (lease, _) = claim_due(&*ledger, 1).await.pop().unwrap();
                assert_eq!(lease.attempt(), 1);
                assert_eq!(ledger.apply(&key, OperatorAction::Delete).await.unwrap(), ActionResult::Running);
                ledger.settle(lease, settlement).await.unwrap();
            }
            assert_eq!(ledger.apply(&key, OperatorAction::Delete).await.unwrap(), ActionResult::Done);
            assert_eq!(ledger.get(&key).await.unwrap(), None);
            assert_eq!((claim_due(&*ledger, 9).await.len(), ledger.backlog().await.unwrap()), (0, vec![]));
        }
        assert_eq!(leased(&*ledger, arrival("evt_1"), LONG).await.attempt(), 1);
    }

    backlog_is_counted_by_endpoint_and_state(ledger, kind keeps MONTH) {
        for (endpoint, ids) in [("a", 0..5), ("b", 5..6)] {
            for n in ids {
                let _ = ledger.enqueue(at(endpoint, "", &format!("evt_{n}")), stored_request("x"), None).await.unwrap();
            }
        }
        let mut held = ledger.claim_due("a", 3, LONG).await.unwrap();
        ledger.settle(held.pop().unwrap().0, DEAD).await.unwrap();
        let _inline = leased(&*ledger, at("a", "", "evt_inline"), LONG).await;
        let mut counted = counts(&*ledger).await;
        counted.sort();
        assert_eq!(counted, [("a".into(), [3, 2, 1]), ("b".into(), [0, 1, 0])]);
        let backlog = ledger.backlog().await.unwrap();
        let oldest: Vec<_> = backlog.iter().map(|backlog| backlog.oldest_pending.unwrap()).collect();
        assert!(oldest.iter().all(|age| *age < LONG), "{oldest:?}");
    }

    oldest_pending_event_is_one_that_waits_and_not_one_under_way(ledger, kind keeps MONTH) {
        let _ = ledger.enqueue(arrival("evt_running"), stored_request("x"), Some(LONG)).await.unwrap();
        let apart = Duration::from_millis(60);
        tokio::time::sleep(apart).await;
        let before = clock::instant();
        let _ = ledger.enqueue(arrival("evt_pending"), stored_request("x"), None).await.unwrap();
        let oldest = ledger.backlog().await.unwrap()[0].oldest_pending.unwrap();
        // The ledger's clock counts whole milliseconds.
        assert!(oldest <= before.elapsed() + Duration::from_millis(2), "{oldest:?}");
    }

    records_are_listed_by_filter_page_by_page(ledger, kind keeps MONTH) {
        for n in 0..25 {
            let lease = leased(&*ledger, at("a", "", &format!("evt_a{n}")), LONG).await;
            ledger.settle(lease, if n < 20 { OK } else { DOWN }).await.unwrap();
        }
        for n in 0..7 {
            let id = format!("evt_b{n}");
            let _ = ledger.enqueue(at("b", "v=2", &id), stored_request(&id), None).await.unwrap();
        }
        for (lease, _) in ledger.claim_due("b", 3, LONG).await.unwrap() {
            ledger.settle(lease, DEAD).await.unwrap();
        }
        let all = RecordFilter::default;
        for (filter, expected) in [
            (all(), 32),
            (RecordFilter { state: Some(State::Delivered), ..all() }, 20),
            (RecordFilter { state: Some(State::Failed), ..all() }, 5),
            (RecordFilter { state: Some(State::Pending), ..all() }, 4),
            (RecordFilter { state: Some(State::Dead), endpoint: Some("b".to_owned()), ..all() }, 3),
            (RecordFilter { state: Some(State::Dead), endpoint: Some("a".to_owned()), ..all() }, 0),
            (RecordFilter { state: Some(State::Running), ..all() }, 0),
            (RecordFilter { id: Some("evt_b6".to_owned()), ..all() }, 1),
            (RecordFilter { event_type: Some("checkout.*".to_owned()), endpoint: Some("b".to_owned()), ..all() }, 7),
            (RecordFilter { event_type: Some("invoice.*".to_owned()), ..all() }, 0),
        ] {
            let (mut keys, mut after) = (Vec::new(), None);
            loop {
                let page = ledger.list(&filter, after.as_deref(), 4).await.unwrap();
                keys.extend(page.records.into_iter().map(|record| record.key.to_string()));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), expected, "{filter:?}: {keys:?}");
        }
        ledger.list(&all(), Some("nowhere"), 4).await.unwrap_err();
    }

    retention_deletes_settled_events_only(ledger, kind keeps Duration::from_millis(1)) {
        for (id, settlement) in [("evt_delivered", OK), ("evt_failed", DOWN)] {
            let lease = leased(&*ledger, arrival(id), LONG).await;
            ledger.settle(lease, settlement).await.unwrap();
        }
        let held = leased(&*ledger, arrival("evt_held"), LONG).await;
        let (_abandoned, again) = taken_over(&*ledger, "evt_abandoned").await;
        drop(again);
        // The ledger may have swept some records itself. All of them have to go.
        super::super::until("swept", || async {
            kind.sweep().await;
            let claim = ledger.claim(arrival("evt_delivered"), LONG).await.unwrap();
            matches!(claim, Claim::Leased(_)).then_some(())
        })
        .await;
        let failed = leased(&*ledger, arrival("evt_failed"), LONG).await;
        assert_eq!(failed.attempt(), 1, "its attempts were forgotten");
        for id in ["evt_held", "evt_abandoned"] {
            assert!(matches!(ledger.claim(arrival(id), LONG).await.unwrap(), Claim::InFlight { .. }), "{id}");
        }
        assert_eq!(ledger.settle(held, OK).await.unwrap(), Settled::Recorded);
    }

    nothing_is_deleted_within_the_retention(ledger, kind keeps LONG) {
        let lease = leased(&*ledger, arrival("evt_1"), LONG).await;
        ledger.settle(lease, OK).await.unwrap();
        assert_eq!(kind.sweep().await, 0);
        assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate));
    }
}

const RETRY: Settlement = Settlement::Retry { status: Some(500), wait: Duration::ZERO, counts: true };
const DEAD: Settlement = Settlement::Dead { status: Some(500) };

/// Builds a stored request that is unlike every other one.
fn stored_request(mark: &str) -> StoredRequest {
    let bytes = |what: &str| bytes::Bytes::from(format!("{what} of {mark} \0\r\n"));
    StoredRequest {
        mode: DeliveryMode::Queued,
        head: bytes("head"),
        signature: bytes("signature"),
        body: bytes("body"),
    }
}

/// Leases the due events of the endpoint.
async fn claim_due(ledger: &dyn Ledger, limit: usize) -> Vec<(Lease, StoredRequest)> {
    ledger.claim_due(ENDPOINT, limit, LONG).await.unwrap()
}

/// Returns the running, pending and dead events by endpoint.
async fn counts(ledger: &dyn Ledger) -> Vec<(Arc<str>, [u64; 3])> {
    let backlog = ledger.backlog().await.unwrap();
    backlog.into_iter().map(|b| (b.endpoint, [b.running, b.pending, b.dead])).collect()
}

/// Polls a future once.
async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context))).await
}

#[derive(Default)]
struct Sqlite {
    dir: OnceLock<tempfile::TempDir>,
    ledger: OnceLock<Arc<SqliteLedger>>,
}

impl Kind for Sqlite {
    const NEEDS: Option<&str> = None;

    async fn start(&self, retention: Duration) -> Arc<dyn Ledger> {
        let path = self.dir.get_or_init(|| tempfile::tempdir().unwrap()).path().join("ledger.db");
        let ledger =
            self.ledger.get_or_init(|| Arc::new(SqliteLedger::start(path, retention, Arc::default())));
        ready(&**ledger).await;
        ledger.clone()
    }

    async fn sweep(&self) -> u64 {
        self.ledger.get().unwrap().sweep_now().await.unwrap()
    }
}

#[derive(Default)]
struct Redis {
    server: OnceLock<Server>,
}

impl Kind for Redis {
    const NEEDS: Option<&str> = Some("redis-server");

    async fn start(&self, retention: Duration) -> Arc<dyn Ledger> {
        let server = Server::start().await;
        let ledger =
            Arc::new(RedisLedger::start(options(&server.url(), retention), Arc::new(Metrics::new())));
        assert!(self.server.set(server).is_ok(), "started twice");
        ready(&*ledger).await;
        ledger
    }

    /// Redis expires records itself.
    async fn sweep(&self) -> u64 {
        0
    }
}

/// Opens the ledger at this URL with default settings.
fn options(url: &str, retention: Duration) -> RedisOptions {
    RedisOptions {
        url: url.parse().unwrap(),
        prefix: "countersign".to_owned(),
        connect_timeout: Duration::from_secs(2),
        command_timeout: Duration::from_secs(1),
        retention,
        durability: Durability::Always,
        queueing_enabled: false,
    }
}
