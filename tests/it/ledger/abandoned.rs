//! Inline events whose process ended before it recorded a result: they become FAILED after their lease.

use crate::harness::{Backend, Event, Gate, Program, Reply, Setup, TestLedger, on_each_ledger, until};
use crate::ops::events::{Operator, call_api, in_state, with_events_api};
use std::time::Duration;
use tokio::time::Instant;

/// A lease is both timeouts and five seconds.
const LEASE: Duration = Duration::from_secs(6);
const RUNNING: &str = r#"events{endpoint="/webhooks/stripe",state="running"}"#;
const OLDEST_RUNNING: &str = r#"oldest_running_seconds{endpoint="/webhooks/stripe"}"#;

on_each_ledger! {
    inline_event_of_a_killed_process_is_failed_after_its_lease,
    delivery_of_a_process_that_was_paused_past_its_lease_is_failed_and_made_again,
    leases_that_are_in_force_are_left_alone,
}

fn short_leases(ledger: &TestLedger, backend: &Backend) -> Setup {
    let setup = ledger.configure(Setup::new(backend));
    with_events_api(setup).set("backend.connect_timeout", "500ms").set("backend.response_timeout", "500ms")
}

/// Sends an event, and returns once the backend holds it.
async fn hold(program: &Program, backend: &Backend, reply: Reply) -> Event {
    let (event, count) = (Event::new("invoice.paid"), backend.count() + 1);
    backend.reply_next(reply);
    let mut stripe = program.connect().await;
    stripe.write(event.signed().bytes()).await;
    backend.await_request(count).await;
    // The connection stays open: the client waits for the response.
    tokio::spawn(async move { stripe.try_response().await.map(drop) });
    event
}

async fn inline_event_of_a_killed_process_is_failed_after_its_lease(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = short_leases(&ledger, &backend);
    let mut program = Program::start(setup.clone()).await;
    assert_eq!(program.metric(OLDEST_RUNNING).await, 0.0);
    let since = Instant::now();
    let event = hold(&program, &backend, Reply::never()).await;
    until("the gauge to show the delivery", async || {
        (program.metric(OLDEST_RUNNING).await > 0.0).then_some(())
    })
    .await;
    let age = program.metric(OLDEST_RUNNING).await;
    assert!(age <= since.elapsed().as_secs_f64() + 0.01, "{age}");
    program.kill9();

    let program = program.restart().await;
    let shown = call_api(&program, "GET", &format!("/api/events/{}", event.id), "").await.json();
    assert_eq!(shown["state"], "running", "{shown}");
    let record = in_state(&program, &event.id, "failed").await;
    // The ledger counts whole milliseconds.
    assert!(since.elapsed() + Duration::from_millis(2) >= LEASE, "failed after {:?}", since.elapsed());
    assert_eq!((&record["attempts"], &record["status"]), (&1.into(), &serde_json::Value::Null), "{record}");
    assert!(record["settled"].is_string() && record["lease_ends"].is_null(), "{record}");
    program.await_metric(RUNNING, 0.0).await;
    assert_eq!(program.metric(OLDEST_RUNNING).await, 0.0);
    let warned = |line: &serde_json::Value| line["event.id"] == *event.id && line["level"] == "WARN";
    program.wait_for_log("a warning that names the event", warned).await;

    let listed = Operator::new(&program, &setup).run(&["events", "list", "--state", "failed"]).await;
    assert!(listed.code == 0 && listed.out.contains(&event.id), "{listed:?}");
    program.send(&event.signed()).await.expect_delivered(200);
    assert_eq!(backend.await_request(2).await.header("countersign-attempt"), Some("2"));
    program.send(&event.signed()).await.expect_received("duplicate");
}

async fn delivery_of_a_process_that_was_paused_past_its_lease_is_failed_and_made_again(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = short_leases(&ledger, &backend);
    let program = Program::start(setup.clone()).await;
    let other = match &ledger {
        TestLedger::Sqlite => None,
        TestLedger::Redis(_) => Some(Program::start(setup).await),
    };
    let (gate, since) = (Gate::new(), Instant::now());
    let event = hold(&program, &backend, Reply::ok().when(&gate)).await;
    program.pause();
    // The backend accepts the event, and nobody is there to record it.
    gate.open();
    // With Redis, another process finds the event abandoned.
    if let Some(other) = &other {
        in_state(other, &event.id, "failed").await;
    }
    tokio::time::sleep_until(since + LEASE + Duration::from_millis(100)).await;
    program.resume();
    // The program finds the response, or that its time is over: both are possible.
    program.await_metric("inflight", 0.0).await;
    program.await_metric(RUNNING, 0.0).await;
    let shown = call_api(&program, "GET", &format!("/api/events/{}", event.id), "").await.json();
    let copy = program.send(&event.signed()).await;
    if shown["state"] == "delivered" {
        copy.expect_received("duplicate");
        assert_eq!(backend.count(), 1);
    } else {
        copy.expect_delivered(200);
        assert_eq!(backend.await_request(2).await.header("countersign-attempt"), Some("2"));
    }
    program.send(&event.signed()).await.expect_received("duplicate");
}

async fn leases_that_are_in_force_are_left_alone(ledger: TestLedger) {
    let backend = Backend::start().await;
    // The sweep runs every ten seconds, and this lease is longer.
    let setup = short_leases(&ledger, &backend).set("backend.response_timeout", "20s");
    let program = Program::start(setup.clone()).await;
    let (gate, since) = (Gate::new(), Instant::now());
    let held = hold(&program, &backend, Reply::ok().when(&gate)).await;
    // An event whose process is gone shows that the sweep has run.
    let mut other = match &ledger {
        TestLedger::Sqlite => None,
        TestLedger::Redis(_) => Some(Program::start(short_leases(&ledger, &backend)).await),
    };
    if let Some(other) = &mut other {
        let abandoned = hold(other, &backend, Reply::never()).await;
        other.kill9();
        in_state(&program, &abandoned.id, "failed").await;
    } else {
        tokio::time::sleep_until(since + Duration::from_secs(11)).await;
    }
    in_state(&program, &held.id, "running").await;
    program.send(&held.signed()).await.expect_error(409, "in_flight");
    gate.open();
    in_state(&program, &held.id, "delivered").await;
}
