//! Kills the program at each transition of the protocol, on each ledger and in each delivery mode, and starts it
//! again. Stripe sends the event until it is acknowledged. Then the backend's record is compared with what was
//! acknowledged.

use crate::backend::{App, Deed, overlaps};
use crate::harness::{Event, Program, Setup, TestLedger, on_each_ledger, until};
use crate::sender::until_acknowledged;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, LocalSet, spawn_local};
use toml::Value;

/// How many programs run at once. They mostly wait for leases to expire.
const AT_ONCE: usize = 14;
const ABORTED: Option<i32> = Some(6);
/// How long the backend works on an event: far less than the timeout.
const WORK: Duration = Duration::from_millis(30);

/// How long a slow backend works: within the timeout, and longer than a restart takes.
const SLOW: Duration = Duration::from_millis(600);

/// How the backend treats the event.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Habit {
    Takes,
    /// Fails the first request and accepts the next.
    FailsFirst,
    Refuses,
    /// Accepts the event, but only after the program is back.
    Slow,
}

/// What kills the program.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Death {
    /// Reaching this failpoint.
    At(&'static str),
    /// Reaching this failpoint during a shutdown with prefetched events.
    Draining(&'static str),
    /// SIGKILL while the backend works on the event.
    WhileTheAppWorks,
}

use Death::{At, Draining, WhileTheAppWorks};
use Habit::{FailsFirst, Refuses, Slow, Takes};

const INLINE: &[&str] = &["inline"];
const KEPT: &[&str] = &["queued", "hybrid"];
const ALL: &[&str] = &["inline", "queued", "hybrid"];

/// Every transition, with the backend that causes it and the delivery modes that have it.
const TRANSITIONS: &[(Death, Habit, &[&str])] = &[
    (At("claim_before"), Takes, INLINE),
    (At("claim_after"), Takes, INLINE),
    (At("enqueue_before"), Takes, KEPT),
    (At("enqueue_after"), Takes, KEPT),
    (At("claim_due_after"), Takes, &["queued"]),
    (At("claim_due_after"), FailsFirst, &["hybrid"]),
    (At("send_before"), Takes, ALL),
    (WhileTheAppWorks, Slow, ALL),
    (At("delivered_before"), Takes, ALL),
    (At("delivered_after"), Takes, ALL),
    (At("failed_before"), FailsFirst, INLINE),
    (At("failed_after"), FailsFirst, INLINE),
    (At("retry_before"), FailsFirst, KEPT),
    (At("retry_after"), FailsFirst, KEPT),
    (At("dead_before"), Refuses, KEPT),
    (At("dead_after"), Refuses, KEPT),
    (At("answer_before"), Takes, ALL),
    (Draining("hand_back_before"), Slow, &["hybrid"]),
    (Draining("hand_back_after"), Slow, &["hybrid"]),
];

on_each_ledger! { death_at_any_transition_loses_no_event_and_never_overlaps_two_requests }

async fn death_at_any_transition_loses_no_event_and_never_overlaps_two_requests(ledger: TestLedger) {
    // Each SQLite case has a file of its own. Redis cases share a server, under a prefix each.
    let on_ledger = |setup: Setup, n| match &ledger {
        TestLedger::Sqlite => setup,
        TestLedger::Redis(redis) => setup.redis(redis).set("ledger.prefix", format!("case{n}")),
    };
    LocalSet::new().run_until(die_everywhere(on_ledger)).await;
}

async fn die_everywhere(on_ledger: impl Fn(Setup, usize) -> Setup) {
    let (room, mut dying) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    let cases =
        TRANSITIONS.iter().flat_map(|(death, habit, ways)| ways.iter().map(|way| (*death, *habit, *way)));
    for (n, (death, habit, way)) in cases.enumerate() {
        let app = App::start(move |nth| deed(habit, nth)).await;
        let setup = on_ledger(Setup::to(app.url()), n)
            .set("webhook.delivery", way)
            .set("webhook.retry", Value::Array(vec!["50ms".into()]))
            .set("webhook.jitter", 0.0)
            .set("webhook.max_concurrent", 1)
            .set("backend.connect_timeout", "300ms")
            .set("backend.response_timeout", "1s");
        let room = room.clone();
        dying.spawn_local(async move {
            let _room = room.acquire_owned().await;
            let case = spawn_local(die(app, setup, death, habit, way));
            case.await.err().map(|_| format!("{death:?} {habit:?} {way}"))
        });
    }
    let failed: Vec<_> = dying.join_all().await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Returns how the backend handles the `n`th request for an event.
fn deed(habit: Habit, nth: usize) -> Deed {
    match habit {
        Habit::FailsFirst if nth == 1 => Deed::Answer(WORK, 500),
        Habit::Takes | Habit::FailsFirst => Deed::Answer(WORK, 200),
        Habit::Refuses => Deed::Answer(WORK, 500),
        Habit::Slow => Deed::Answer(SLOW, 200),
    }
}

/// Runs one case.
async fn die(app: App, setup: Setup, death: Death, habit: Habit, way: &str) {
    let armed = match death {
        At(point) | Draining(point) => setup.clone().env("FAILPOINTS", &format!("{point}=1*return")),
        WhileTheAppWorks => setup.clone(),
    };
    let mut program = Program::start(armed).await;
    let (move_to, door) = watch::channel(Some(program.proxy().clone()));
    let mut events = vec![Event::checkout()];
    let mut stripe = JoinSet::new();
    let alone = matches!(death, At("answer_before") | Draining(_));
    let mut send = |event: &Event| {
        // Stripe may send two copies at once. Some cases send one only: where the response to a copy would kill the
        // program while the backend works, or where it matters which copy gets the slot.
        for _ in 0..if alone { 1 } else { 2 } {
            let (event, door) = (event.clone(), door.clone());
            stripe.spawn(async move { until_acknowledged(&event, "/webhooks/stripe", door).await });
        }
    };
    send(&events[0]);
    match death {
        At(point) => assert_eq!(program.wait_exit().await.signal(), ABORTED, "{point}"),
        Draining(point) => {
            // The first event has the only slot. The worker leases another one and cannot start it.
            app.wait_for("the first event at the app", |books| !books.is_empty()).await;
            for n in 1..5 {
                events.push(Event::checkout());
                send(&events[n]);
            }
            let running = r#"events{endpoint="/webhooks/stripe",state="running"}"#;
            until("work in stock", async || (program.metric(running).await >= 2.0).then_some(())).await;
            program.sigterm();
            assert_eq!(program.wait_exit().await.signal(), ABORTED, "{point}");
        }
        WhileTheAppWorks => {
            app.wait_for("the event at the app", |books| !books.is_empty()).await;
            program.kill9();
        }
    }
    move_to.send_replace(None);
    let program = program.restart_with(setup).await;
    move_to.send_replace(Some(program.proxy().clone()));
    stripe.join_all().await;

    let left = async |state: &str| {
        program.metric(&format!(r#"events{{endpoint="/webhooks/stripe",state="{state}"}}"#)).await
    };
    until("an empty ledger", async || (left("pending").await + left("running").await == 0.0).then_some(()))
        .await;
    until_acknowledged(&events[0], "/webhooks/stripe", door).await;
    let (books, dead) = (app.books(), left("dead").await);
    assert_eq!(overlaps(&books), 0, "{books:?}");
    for event in &events {
        let visits = books.get(&event.id).map_or(&[][..], Vec::as_slice);
        let applied = visits.iter().filter(|visit| visit.applied()).count();
        if habit == Refuses {
            assert_eq!((applied, dead), (0, 1.0), "{visits:?}");
            assert!(!visits.is_empty());
            continue;
        }
        // An event is applied twice only if the kill came, or may have come, between the backend's 2xx and its
        // record. No proxy can prevent that.
        let unsure = matches!(death, At("delivered_before") | WhileTheAppWorks | Draining(_))
            || (death, way) == (At("answer_before"), "queued");
        assert!(applied == 1 || unsure && applied == 2, "{} applied {applied} times: {visits:?}", event.id);
        assert_eq!(dead, 0.0);
    }
}
