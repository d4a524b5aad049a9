//! What an operator is told to do about an event, and that it works: each test brings an event into a state, reads the advice
//! for it, follows it, and sees the event reach the backend.

use super::events::{call_api, in_state, with_events_api};
use crate::harness::{Backend, Event, Gate, Program, Reply, Setup, TestLedger, on_each_ledger, until};
use serde_json::Value;

on_each_ledger! {
    advice_for_a_delivered_event_is_to_delete_it_and_to_resend_it,
    advice_for_an_event_that_failed_inline_is_to_resend_it,
    advice_for_an_inline_event_whose_process_died_is_to_resend_it_after_its_lease,
    advice_for_a_dead_event_is_to_redeliver_it,
    advice_for_a_pending_event_is_to_redeliver_it,
    advice_for_an_event_that_is_being_delivered_is_to_wait_and_then_to_redeliver_it,
    advice_for_an_ignored_event_is_to_resend_it_once_the_endpoint_forwards_it,
    advice_for_a_deleted_event_is_to_resend_it,
}

/// Returns the advice for an event whose payload is not stored. Redelivering it and reading its payload must say the same.
async fn advice(program: &Program, event: &Event) -> String {
    let redelivered = call_api(program, "POST", &format!("/api/events/{}/redeliver", event.id), "").await;
    assert_eq!((redelivered.status, redelivered.code().as_str()), (409, "payload_gone"));
    let read = call_api(program, "GET", &format!("/api/events/{}/payload", event.id), "").await;
    assert_eq!((read.status, read.code().as_str()), (410, "payload_gone"));
    let message = redelivered.json()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(read.json()["error"]["message"], message);
    message
}

/// Checks which of the steps that an operator can take a text names, in their order.
#[track_caller]
fn assert_steps(advice: &str, steps: &[&str]) {
    let known = ["countersign events delete", "its lease has ended", "resend it in Stripe's dashboard"];
    let mut named: Vec<_> = known.iter().filter_map(|step| Some((advice.find(step)?, *step))).collect();
    named.sort_unstable();
    assert_eq!(named.iter().map(|(_, step)| *step).collect::<Vec<_>>(), steps, "{advice}");
}

/// Returns the advice for an event of which the ledger has no record. Every request for it must say the same.
async fn advice_without_a_record(program: &Program, event: &Event) -> String {
    let path = format!("/api/events/{}", event.id);
    let requests = [("GET", ""), ("GET", "/payload"), ("POST", "/redeliver"), ("DELETE", "")];
    let mut messages = Vec::new();
    for (method, action) in requests {
        let response = call_api(program, method, &format!("{path}{action}"), "").await;
        assert_eq!((response.status, response.code().as_str()), (404, "event_unknown"), "{method} {action}");
        messages.push(response.json()["error"]["message"].as_str().unwrap().to_owned());
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "{messages:?}");
    messages.remove(0)
}

async fn advice_for_a_delivered_event_is_to_delete_it_and_to_resend_it(ledger: TestLedger) {
    let backend = Backend::start().await;
    let program = Program::start(with_events_api(ledger.configure(Setup::new(&backend)))).await;
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_delivered(200);
    assert_steps(
        &advice(&program, &event).await,
        &["countersign events delete", "resend it in Stripe's dashboard"],
    );
    program.send(&event.signed()).await.expect_received("duplicate");
    let deleted = call_api(&program, "DELETE", &format!("/api/events/{}", event.id), "").await;
    assert_eq!(deleted.status, 204);
    program.send(&event.signed()).await.expect_delivered(200);
    assert_eq!(backend.count(), 2);
}

async fn advice_for_an_event_that_failed_inline_is_to_resend_it(ledger: TestLedger) {
    let backend = Backend::start().await;
    let program = Program::start(with_events_api(ledger.configure(Setup::new(&backend)))).await;
    let event = Event::checkout();
    backend.reply_always(Reply::status(500));
    program.send(&event.signed()).await.expect_delivered(500);
    in_state(&program, &event.id, "failed").await;
    assert_steps(&advice(&program, &event).await, &["resend it in Stripe's dashboard"]);
    backend.reply_always(Reply::ok());
    program.send(&event.signed()).await.expect_delivered(200);
    assert_eq!(backend.count(), 2);
}

async fn advice_for_an_inline_event_whose_process_died_is_to_resend_it_after_its_lease(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup =
        Setup::new(&backend).set("backend.connect_timeout", "500ms").set("backend.response_timeout", "1s");
    let mut program = Program::start(with_events_api(ledger.configure(setup))).await;
    let event = Event::checkout();
    backend.reply_next(Reply::never());
    program.connect().await.write(event.signed().bytes()).await;
    backend.await_request(1).await;
    let busy = call_api(&program, "POST", &format!("/api/events/{}/redeliver", event.id), "").await;
    assert_eq!((busy.status, busy.code().as_str()), (409, "in_flight"));
    program.kill9();
    let program = program.restart().await;
    // Until the lease ends, the backend may still be working on the event.
    until("the lease to end", async || {
        let response = call_api(&program, "POST", &format!("/api/events/{}/redeliver", event.id), "").await;
        (response.code() == "payload_gone").then_some(())
    })
    .await;
    assert_steps(
        &advice(&program, &event).await,
        &["its lease has ended", "resend it in Stripe's dashboard"],
    );
    program.send(&event.signed()).await.expect_delivered(200);
    assert_eq!(backend.count(), 2);
}

async fn advice_for_a_dead_event_is_to_redeliver_it(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend)).delivery("queued").retry(&[]);
    let program = Program::start(with_events_api(setup)).await;
    let event = Event::checkout();
    backend.reply_always(Reply::status(500));
    program.send(&event.signed()).await.expect_received("queued");
    in_state(&program, &event.id, "dead").await;
    let advises =
        |line: &Value| line["message"].as_str().is_some_and(|m| m.contains("countersign events redeliver"));
    program.wait_for_log("the advice for a dead event", advises).await;
    program.send(&event.signed()).await.expect_received("duplicate");
    backend.reply_always(Reply::ok());
    let redelivered = call_api(&program, "POST", &format!("/api/events/{}/redeliver", event.id), "").await;
    assert_eq!(redelivered.status, 202);
    in_state(&program, &event.id, "delivered").await;
    assert_eq!(backend.count(), 2);
}

async fn advice_for_a_pending_event_is_to_redeliver_it(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend)).delivery("queued").retry(&["1h"]);
    let program = Program::start(with_events_api(setup)).await;
    let event = Event::checkout();
    backend.reply_next(Reply::status(500));
    program.send(&event.signed()).await.expect_received("queued");
    backend.await_request(1).await;
    in_state(&program, &event.id, "pending").await;
    program.send(&event.signed()).await.expect_received("duplicate");
    let redelivered = call_api(&program, "POST", &format!("/api/events/{}/redeliver", event.id), "").await;
    assert_eq!(redelivered.status, 202);
    in_state(&program, &event.id, "delivered").await;
    assert_eq!(backend.count(), 2);
}

async fn advice_for_an_event_that_is_being_delivered_is_to_wait_and_then_to_redeliver_it(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend)).delivery("queued").retry(&["1h"]);
    let program = Program::start(with_events_api(setup)).await;
    let (event, gate) = (Event::checkout(), Gate::new());
    backend.reply_next(Reply::status(500).when(&gate));
    program.send(&event.signed()).await.expect_received("queued");
    backend.await_request(1).await;
    let redeliver = format!("/api/events/{}/redeliver", event.id);
    let busy = call_api(&program, "POST", &redeliver, "").await;
    assert_eq!((busy.status, busy.code().as_str()), (409, "in_flight"));
    assert!(busy.text().contains("Try again when it is over"), "{}", busy.text());
    program.send(&event.signed()).await.expect_received("duplicate");
    gate.open();
    in_state(&program, &event.id, "pending").await;
    assert_eq!(call_api(&program, "POST", &redeliver, "").await.status, 202);
    in_state(&program, &event.id, "delivered").await;
    assert_eq!(backend.count(), 2);
}

async fn advice_for_an_ignored_event_is_to_resend_it_once_the_endpoint_forwards_it(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = with_events_api(ledger.configure(Setup::new(&backend)));
    let program = Program::start(setup.clone().set("webhook.types", vec!["invoice.*"])).await;
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_received("ignored");
    let advice = advice_without_a_record(&program, &event).await;
    assert_steps(&advice, &["resend it in Stripe's dashboard"]);
    assert!(advice.contains("has to forward it first (types,"), "{advice}");
    program.reconfigure(&setup);
    program.sighup();
    let reloaded = |line: &Value| line["message"] == "configuration reloaded";
    program.wait_for_log("the reload", reloaded).await;
    program.send(&event.signed()).await.expect_delivered(200);
    assert_eq!(backend.count(), 1);
}

async fn advice_for_a_deleted_event_is_to_resend_it(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend)).delivery("queued").retry(&["1h"]);
    let program = Program::start(with_events_api(setup)).await;
    let event = Event::checkout();
    backend.reply_next(Reply::status(500));
    program.send(&event.signed()).await.expect_received("queued");
    in_state(&program, &event.id, "pending").await;
    assert_eq!(call_api(&program, "DELETE", &format!("/api/events/{}", event.id), "").await.status, 204);
    assert_steps(&advice_without_a_record(&program, &event).await, &["resend it in Stripe's dashboard"]);
    program.send(&event.signed()).await.expect_received("queued");
    in_state(&program, &event.id, "delivered").await;
    assert_eq!(backend.count(), 2);
}
