//! `reconcile` proves completeness: it finds the events that the ledger lost, that died with their process, or that an
//! endpoint left out, and brings them to the backend.

use super::reconcile::{Fixture, last_line};
use crate::harness::{Backend, Event, Redis, Reply, SECRET, Setup, TestLedger, now, on_each_ledger, until};
use crate::ops::events::call_api;
use crate::tools::have;
use serde_json::{Value, json};

on_each_ledger! {
    inline_event_whose_process_died_is_missing_and_is_imported,
    events_of_a_wiped_ledger_are_found_and_delivered_again,
    events_that_types_left_out_last_week_are_found_once_types_has_them,
    running_event_with_a_lease_is_not_missing,
}

/// Returns the line of an event in the output.
fn line_of<'a>(output: &'a str, id: &str) -> &'a str {
    output.lines().find(|line| line.starts_with(id)).unwrap_or_default()
}

/// Returns an event as Stripe's list has it.
fn value(event: &Event) -> Value {
    serde_json::from_slice(&event.body()).unwrap()
}

async fn inline_event_whose_process_died_is_missing_and_is_imported(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let setup = setup.set("backend.connect_timeout", "500ms").set("backend.response_timeout", "1s");
    let mut fixture = Fixture::with_one_event(setup).await;
    let event = Event::new("invoice.paid");
    fixture.stripe.record(&value(&event), false);
    backend.reply_next(Reply::never());
    fixture.program.connect().await.write(event.signed().bytes()).await;
    backend.await_request(2).await;
    let id = event.id;
    fixture.program.kill9();
    let fixture = fixture.restart_with(|setup| setup).await;

    until("the lease to be over", async || {
        let shown = call_api(&fixture.program, "GET", &format!("/api/events/{id}"), "").await.json();
        let over = shown["lease_ends"].as_str().is_none_or(|ends| {
            let ends = humantime::parse_rfc3339(ends).unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
            i64::try_from(ends.as_secs()).unwrap() < now()
        });
        over.then_some(())
    })
    .await;
    let output = fixture.reconcile(&[]).await;
    let line = line_of(&output.out, &id);
    // The program makes such a record a failed one by itself, sooner or later.
    assert!(output.code == 3 && (line.contains(" abandoned ") || line.contains(" failed ")), "{output:?}");
    let output = fixture.reconcile(&["--apply"]).await;
    assert_eq!((output.code, last_line(&output)), (0, "1 of 1 imported."), "{output:?}");
    let got = backend.await_request(3).await;
    assert_eq!(got.header("idempotency-key"), Some(&*id));
    let output = fixture.reconcile(&[]).await;
    assert!(output.code == 0 && last_line(&output).starts_with("Nothing is missing"), "{output:?}");
}

async fn running_event_with_a_lease_is_not_missing(ledger: TestLedger) {
    let backend = Backend::start().await;
    let fixture = Fixture::with_one_event(ledger.configure(Setup::new(&backend))).await;
    let event = Event::new("invoice.paid");
    fixture.stripe.record(&value(&event), false);
    backend.reply_next(Reply::never());
    fixture.program.connect().await.write(event.signed().bytes()).await;
    backend.await_request(2).await;
    for words in [&[][..], &["--all"]] {
        let output = fixture.reconcile(words).await;
        assert!(output.code == 0 && last_line(&output).starts_with("Nothing is missing"), "{output:?}");
    }
}

async fn events_of_a_wiped_ledger_are_found_and_delivered_again(ledger: TestLedger) {
    let backend = Backend::start().await;
    let mut fixture = Fixture::start(ledger.configure(Setup::new(&backend)).delivery("queued")).await;
    fixture.stripe.deliver_to(&format!("http://{}/webhooks/stripe", fixture.program.proxy().text()), SECRET);
    let invoice = json!({ "id": "in_1", "object": "invoice" });
    let id = fixture.stripe.emit("invoice.paid", invoice).await;
    backend.await_request(1).await;
    fixture.program.kill9();
    match &ledger {
        TestLedger::Sqlite => {
            let path = fixture.program.ledger();
            for end in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{}{end}", path.display()));
            }
        }
        TestLedger::Redis(redis) => redis.ask("FLUSHALL"),
    }
    let fixture = fixture.restart_with(|setup| setup).await;
    // A record of the new ledger does not bound the search.
    fixture.program.send(&Event::checkout().signed()).await.expect_received("queued");
    backend.await_request(2).await;
    let output = fixture.reconcile(&[]).await;
    assert_eq!(output.code, 0, "Stripe counts it as delivered: {output:?}");
    let output = fixture.reconcile(&["--all"]).await;
    assert!(output.code == 3 && line_of(&output.out, &id).contains(" missing "), "{output:?}");
    let call = fixture.stripe.calls().pop().unwrap();
    assert!(!call.target.contains("delivery_success"), "{call:?}");
    let output = fixture.reconcile(&["--all", "--apply"]).await;
    assert_eq!((output.code, last_line(&output)), (0, "1 of 1 imported."), "{output:?}");
    assert_eq!(backend.await_request(3).await.header("idempotency-key"), Some(&*id));
}

async fn events_that_types_left_out_last_week_are_found_once_types_has_them(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend)).delivery("queued");
    let fixture = Fixture::start(setup.set("webhook.types", vec!["invoice.*"])).await;
    fixture.stripe.deliver_to(&format!("http://{}/webhooks/stripe", fixture.program.proxy().text()), SECRET);
    let charge = json!({ "id": "ch_1", "object": "charge" });
    let id = fixture.stripe.emit("charge.refunded", charge).await;
    let output = fixture.reconcile(&["--all"]).await;
    assert_eq!(output.code, 0, "the endpoint does not want it: {output:?}");
    let wider = |setup: Setup| setup.set("webhook.types", vec!["invoice.*", "charge.*"]);
    let fixture = fixture.restart_with(wider).await;
    let output = fixture.reconcile(&["--all", "--apply"]).await;
    assert!(output.code == 0 && line_of(&output.out, &id).ends_with(" charge.refunded"), "{output:?}");
    assert_eq!(backend.await_request(1).await.header("idempotency-key"), Some(&*id));
}

#[tokio::test]
async fn acknowledged_event_that_a_lagging_replica_lacks_reaches_the_backend() {
    if !have("redis-server") {
        return;
    }
    let mut primary = Redis::start().await;
    let port = primary.port().to_string();
    let replica = Redis::start_with(&["--replicaof", "127.0.0.1", &port]).await;
    let backend = Backend::start().await;
    // While the backend fails, both events wait in the ledger.
    backend.reply_always(Reply::status(503));
    let setup = Setup::new(&backend).redis(&primary).set("webhook.delivery", "queued").retry(&["1h"]);
    let mut fixture = Fixture::start(setup).await;
    let [replicated, lost] = [Event::new("invoice.paid"), Event::new("invoice.paid")];
    for event in [&replicated, &lost] {
        fixture.stripe.record(&value(event), true);
    }
    fixture.program.send(&replicated.signed()).await.expect_received("queued");
    until("the replica to have the first event", async || {
        let keys: Vec<String> = replica.ask("KEYS *");
        keys.iter().any(|key| key.contains(&replicated.id)).then_some(())
    })
    .await;
    // The replica gets nothing more, and the primary goes on acknowledging.
    replica.ask::<()>("REPLICAOF NO ONE");
    fixture.program.send(&lost.signed()).await.expect_received("queued");
    fixture.program.kill9();
    primary.kill();
    backend.reply_always(Reply::ok());

    let fixture = fixture.restart_with(|setup| setup.redis(&replica)).await;
    let output = fixture.reconcile(&["--since", "1h"]).await;
    assert_eq!(output.code, 0, "Stripe counts both as delivered: {output:?}");
    let output = fixture.reconcile(&["--all"]).await;
    assert!(output.code == 3 && output.out.contains("1 event is missing"), "{output:?}");
    let before = backend.count();
    let output = fixture.reconcile(&["--all", "--apply"]).await;
    assert!(output.code == 0 && line_of(&output.out, &lost.id).contains(" missing "), "{output:?}");
    let got = backend.await_request(before + 1).await;
    assert_eq!(got.header("idempotency-key"), Some(&*lost.id));
    let output = fixture.reconcile(&["--all"]).await;
    assert_eq!(output.code, 0, "{output:?}");
}
