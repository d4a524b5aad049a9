//! The contract: claims that every ledger with a memory has to meet, each run on every kind. A further ledger is a
//! further module in `contract!`.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use countersign::clock;
use countersign::ledger::redis::{RedisLedger, RedisOptions};
use countersign::ledger::sqlite::SqliteLedger;
use countersign::ledger::{Claim, Ledger, Settled};
use countersign::metrics::Metrics;

use super::{DOWN, ENDPOINT, LONG, OK, arrival, at, leased, ready, taken_over};
use crate::front::have;
use crate::harness::Redis as Server;

/// Makes an empty ledger, and makes it forget.
trait Kind: Default {
    /// What has to be installed for it.
    const NEEDS: Option<&str>;
    async fn start(&self, retention: Duration) -> Arc<dyn Ledger>;
    /// Forgets what has expired and says how many that were, where that is ours to do.
    async fn sweep(&self) -> u64;
}

const MONTH: Duration = Duration::from_secs(35 * 24 * 60 * 60);

/// Runs each case on every kind of ledger, with a new one each time.
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
    the_first_claim_is_leased_as_attempt_one(ledger, kind keeps MONTH) {
        let lease = leased(&*ledger, arrival("evt_1"), LONG).await;
        assert_eq!(lease.attempt(), 1);
        assert_eq!(lease.key(), &arrival("evt_1").key);
        let remaining = lease.remaining(clock::instant());
        assert!(remaining <= LONG && remaining > LONG / 2, "{remaining:?}");
    }

    a_copy_is_in_flight_while_the_lease_lasts_and_is_told_how_long(ledger, kind keeps MONTH) {
        let _lease = leased(&*ledger, arrival("evt_1"), LONG).await;
        let Claim::InFlight { retry_after } = ledger.claim(arrival("evt_1"), LONG).await.unwrap() else { panic!() };
        assert!(retry_after <= LONG && retry_after > LONG / 2, "{retry_after:?}");
    }

    a_delivered_event_is_a_duplicate_from_then_on(ledger, kind keeps MONTH) {
        let lease = leased(&*ledger, arrival("evt_1"), LONG).await;
        assert_eq!(ledger.settle(lease, OK).await.unwrap(), Settled::Recorded);
        for _ in 0..3 {
            assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate));
        }
    }

    a_failed_event_is_admitted_again_with_the_next_attempt(ledger, kind keeps MONTH) {
        for attempt in 1..=4 {
            let lease = leased(&*ledger, arrival("evt_1"), LONG).await;
            assert_eq!(lease.attempt(), attempt);
            assert_eq!(ledger.settle(lease, DOWN).await.unwrap(), Settled::Recorded);
        }
        let lease = leased(&*ledger, arrival("evt_1"), LONG).await;
        ledger.settle(lease, OK).await.unwrap();
        assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate));
    }

    an_event_whose_lease_is_over_is_admitted_again_with_the_next_attempt(ledger, kind keeps MONTH) {
        let (late, current) = taken_over(&*ledger, "evt_1").await;
        assert_eq!((late.attempt(), current.attempt()), (1, 2));
        assert_eq!(late.remaining(clock::instant()), Duration::ZERO);
        assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::InFlight { .. }));
    }

    a_late_holders_failure_is_refused_and_changes_nothing(ledger, kind keeps MONTH) {
        let (late, current) = taken_over(&*ledger, "evt_1").await;
        assert_eq!(ledger.settle(late, DOWN).await.unwrap(), Settled::Superseded);
        assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::InFlight { .. }));
        assert_eq!(ledger.settle(current, OK).await.unwrap(), Settled::Recorded);
    }

    a_late_holders_delivery_wins_over_the_current_lease(ledger, kind keeps MONTH) {
        let (late, current) = taken_over(&*ledger, "evt_1").await;
        assert_eq!(ledger.settle(late, OK).await.unwrap(), Settled::Recorded);
        assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate));
        assert_eq!(ledger.settle(current, DOWN).await.unwrap(), Settled::Superseded);
        assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate));
    }

    a_late_holders_delivery_wins_over_a_failure_already_recorded(ledger, kind keeps MONTH) {
        let (late, current) = taken_over(&*ledger, "evt_1").await;
        ledger.settle(current, DOWN).await.unwrap();
        assert_eq!(ledger.settle(late, OK).await.unwrap(), Settled::Recorded);
        assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate));
    }

    two_deliveries_of_one_event_are_both_recorded(ledger, kind keeps MONTH) {
        let (late, current) = taken_over(&*ledger, "evt_1").await;
        assert_eq!(ledger.settle(current, OK).await.unwrap(), Settled::Recorded);
        assert_eq!(ledger.settle(late, OK).await.unwrap(), Settled::Recorded);
        assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate));
    }

    of_sixteen_simultaneous_claims_exactly_one_is_leased(ledger, kind keeps MONTH) {
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

    another_id_query_or_endpoint_is_another_event(ledger, kind keeps MONTH) {
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

    the_running_are_counted_by_endpoint(ledger, kind keeps MONTH) {
        let mut held = Vec::new();
        for n in 0..3 {
            held.push(leased(&*ledger, at("a", "", &format!("evt_{n}")), LONG).await);
        }
        held.push(leased(&*ledger, at("b", "", "evt_1"), LONG).await);
        let mut running = ledger.running().await.unwrap();
        running.sort();
        assert_eq!(running, [("a".into(), 3), ("b".into(), 1)]);
        for lease in held {
            let settlement = if lease.attempt() % 2 == 0 { DOWN } else { OK };
            ledger.settle(lease, settlement).await.unwrap();
        }
        assert_eq!(ledger.running().await.unwrap(), []);
    }

    a_settlement_goes_on_when_its_caller_leaves(ledger, kind keeps MONTH) {
        let lease = leased(&*ledger, arrival("evt_1"), LONG).await;
        let mut settle = std::pin::pin!(ledger.settle(lease, OK));
        // Polled once, so that it is on its way, and dropped.
        let _ = futures_poll(settle.as_mut()).await;
        super::super::until("delivered", || async {
            matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate).then_some(())
        })
        .await;
    }

    retention_forgets_what_was_settled_and_nothing_else(ledger, kind keeps Duration::from_millis(1)) {
        for (id, settlement) in [("evt_delivered", OK), ("evt_failed", DOWN)] {
            let lease = leased(&*ledger, arrival(id), LONG).await;
            ledger.settle(lease, settlement).await.unwrap();
        }
        let held = leased(&*ledger, arrival("evt_held"), LONG).await;
        let (_abandoned, again) = taken_over(&*ledger, "evt_abandoned").await;
        drop(again);
        // It may have been swept by itself before; what counts is that all of it goes.
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

    within_its_retention_nothing_is_forgotten(ledger, kind keeps LONG) {
        let lease = leased(&*ledger, arrival("evt_1"), LONG).await;
        ledger.settle(lease, OK).await.unwrap();
        assert_eq!(kind.sweep().await, 0);
        assert!(matches!(ledger.claim(arrival("evt_1"), LONG).await.unwrap(), Claim::Duplicate));
    }
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
        let ledger = self.ledger.get_or_init(|| Arc::new(SqliteLedger::start(path, retention)));
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

    /// The server does it.
    async fn sweep(&self) -> u64 {
        0
    }
}

/// The ledger at this URL, with everything else as it is by default.
fn options(url: &str, retention: Duration) -> RedisOptions {
    RedisOptions {
        url: url.parse().unwrap(),
        prefix: "countersign".to_owned(),
        connect_timeout: Duration::from_secs(2),
        command_timeout: Duration::from_secs(1),
        retention,
    }
}
