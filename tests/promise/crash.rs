//! Kills the program at each transition of the protocol, on each ledger and in each delivery mode, and starts it
//! again. Stripe sends the event until it is acknowledged. Then the backend's record is compared with what was
//! acknowledged.

use crate::backend::{Reaction, RecordingBackend, overlaps};
use crate::harness::{Event, Program, Setup, TestLedger, on_each_ledger, until};
use crate::sender::until_acknowledged;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, LocalSet, spawn_local};
use toml::Value;

/// How many programs run at once. They mostly wait for leases to expire.
const MAX_PARALLEL: usize = 14;
const ABORTED: Option<i32> = Some(6);
/// How long the backend works on an event: far less than the timeout.
const WORK: Duration = Duration::from_millis(30);

/// How long a slow backend works: within the timeout, and longer than a restart takes.
const SLOW: Duration = Duration::from_millis(600);

/// How the backend treats the event.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Behavior {
    Accepts,
    /// Fails the first request and accepts the next.
    FailsFirst,
    Refuses,
    /// Accepts the event, but only after the program is back.
    Slow,
}

/// What kills the program.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kill {
    /// Reaching this failpoint.
    At(&'static str),
    /// Reaching this failpoint during a shutdown with prefetched events.
    Draining(&'static str),
    /// SIGKILL while the backend works on the event.
    WhileBackendWorks,
}

use Behavior::{Accepts, FailsFirst, Refuses, Slow};
use Kill::{At, Draining, WhileBackendWorks};

const INLINE: &[&str] = &["inline"];
const STORED: &[&str] = &["queued", "hybrid"];
const ALL: &[&str] = &["inline", "queued", "hybrid"];

/// Every transition, with the backend that causes it and the delivery modes that have it.
const TRANSITIONS: &[(Kill, Behavior, &[&str])] = &[
    (At("claim_before"), Accepts, INLINE),
    (At("claim_after"), Accepts, INLINE),
    (At("enqueue_before"), Accepts, STORED),
    (At("enqueue_after"), Accepts, STORED),
    (At("claim_due_after"), Accepts, &["queued"]),
    (At("claim_due_after"), FailsFirst, &["hybrid"]),
    (At("send_before"), Accepts, ALL),
    (WhileBackendWorks, Slow, ALL),
    (At("delivered_before"), Accepts, ALL),
    (At("delivered_after"), Accepts, ALL),
    (At("failed_before"), FailsFirst, INLINE),
    (At("failed_after"), FailsFirst, INLINE),
    (At("retry_before"), FailsFirst, STORED),
    (At("retry_after"), FailsFirst, STORED),
    (At("dead_before"), Refuses, STORED),
    (At("dead_after"), Refuses, STORED),
    (At("respond_before"), Accepts, ALL),
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
    LocalSet::new().run_until(run_all_cases(on_ledger)).await;
}

async fn run_all_cases(on_ledger: impl Fn(Setup, usize) -> Setup) {
    let (slots, mut cases_running) = (Arc::new(Semaphore::new(MAX_PARALLEL)), JoinSet::new());
    let cases = TRANSITIONS
        .iter()
        .flat_map(|(kill, behavior, modes)| modes.iter().map(|mode| (*kill, *behavior, *mode)));
    for (n, (kill, behavior, mode)) in cases.enumerate() {
        let backend = RecordingBackend::start(move |nth| reaction(behavior, nth)).await;
        let setup = on_ledger(Setup::to(&format!("http://{}", backend.address())), n)
            .set("webhook.delivery", mode)
            .set("webhook.retry", Value::Array(vec!["50ms".into()]))
            .set("webhook.jitter", 0.0)
            .set("webhook.max_concurrent", 1)
            .set("backend.connect_timeout", "300ms")
            .set("backend.response_timeout", "1s");
        let slots = slots.clone();
        cases_running.spawn_local(async move {
            let _slot = slots.acquire_owned().await;
            let case = spawn_local(run_case(backend, setup, kill, behavior, mode));
            case.await.err().map(|_| format!("{kill:?} {behavior:?} {mode}"))
        });
    }
    let failed: Vec<_> = cases_running.join_all().await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Returns how the backend handles the `n`th request for an event.
fn reaction(behavior: Behavior, nth: usize) -> Reaction {
    match behavior {
        Behavior::FailsFirst if nth == 1 => Reaction::Respond(WORK, 500),
        Behavior::Accepts | Behavior::FailsFirst => Reaction::Respond(WORK, 200),
        Behavior::Refuses => Reaction::Respond(WORK, 500),
        Behavior::Slow => Reaction::Respond(SLOW, 200),
    }
}

/// Runs one case.
async fn run_case(backend: RecordingBackend, setup: Setup, kill: Kill, behavior: Behavior, mode: &str) {
    let armed = match kill {
        At(point) | Draining(point) => setup.clone().env("FAILPOINTS", &format!("{point}=1*return")),
        WhileBackendWorks => setup.clone(),
    };
    let mut program = Program::start(armed).await;
    let (set_address, address) = watch::channel(Some(program.proxy().clone()));
    let mut events = vec![Event::checkout()];
    let mut stripe = JoinSet::new();
    let one_copy = matches!(kill, At("respond_before") | Draining(_));
    let mut send = |event: &Event| {
        // Stripe may send two copies at once. Some cases send one only: where the response to a copy would kill the
        // program while the backend works, or where it matters which copy gets the slot.
        for _ in 0..if one_copy { 1 } else { 2 } {
            let (event, address) = (event.clone(), address.clone());
            stripe.spawn(async move { until_acknowledged(&event, "/webhooks/stripe", address).await });
        }
    };
    send(&events[0]);
    match kill {
        At(point) => assert_eq!(program.wait_exit().await.signal(), ABORTED, "{point}"),
        Draining(point) => {
            // The first event has the only slot. The worker leases another one and cannot start it.
            backend.wait_for("the first event at the backend", |log| !log.is_empty()).await;
            for n in 1..5 {
                events.push(Event::checkout());
                send(&events[n]);
            }
            let running = r#"events{endpoint="/webhooks/stripe",state="running"}"#;
            until("prefetched events", async || (program.metric(running).await >= 2.0).then_some(())).await;
            program.sigterm();
            assert_eq!(program.wait_exit().await.signal(), ABORTED, "{point}");
        }
        WhileBackendWorks => {
            backend.wait_for("the event at the backend", |log| !log.is_empty()).await;
            program.kill9();
        }
    }
    set_address.send_replace(None);
    let program = program.restart_with(setup).await;
    set_address.send_replace(Some(program.proxy().clone()));
    stripe.join_all().await;

    let left = async |state: &str| {
        program.metric(&format!(r#"events{{endpoint="/webhooks/stripe",state="{state}"}}"#)).await
    };
    until("an empty ledger", async || (left("pending").await + left("running").await == 0.0).then_some(()))
        .await;
    until_acknowledged(&events[0], "/webhooks/stripe", address).await;
    let (log, dead) = (backend.log(), left("dead").await);
    assert!(log.values().all(|requests| overlaps(requests) == 0), "{log:?}");
    for event in &events {
        let requests = log.get(&event.id).map_or(&[][..], Vec::as_slice);
        let applied = requests.iter().filter(|request| request.applied()).count();
        if behavior == Refuses {
            assert_eq!((applied, dead), (0, 1.0), "{requests:?}");
            assert!(!requests.is_empty());
            continue;
        }
        // An event is applied twice only if the kill came, or may have come, between the backend's 2xx and its
        // record. No proxy can prevent that.
        let unsure = matches!(kill, At("delivered_before") | WhileBackendWorks | Draining(_))
            || (kill, mode) == (At("respond_before"), "queued");
        assert!(applied == 1 || unsure && applied == 2, "{} applied {applied} times: {requests:?}", event.id);
        assert_eq!(dead, 0.0);
    }
}
