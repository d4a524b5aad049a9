//! Queued and hybrid delivery: events that are stored, acknowledged, and delivered until the backend accepts them.

use crate::harness::{
    Backend, Event, Gate, OTHER_SECRET, Program, Received, Redis, Reply, SECRET, Setup, TestLedger, at_most,
    now, on_each_ledger, sign, until,
};
use crate::tools::have;
use std::time::Duration;
use tokio::time::Instant;
use toml::{Table, Value};

/// Whether Stripe's SDKs would accept the signature with each of these secrets.
fn is_signed(request: &Received, secrets: &[&str]) -> bool {
    let header = request.header("stripe-signature").unwrap();
    let time: i64 = header.split(',').next().unwrap().strip_prefix("t=").unwrap().parse().unwrap();
    let fresh = (now() - time).abs() < 60;
    fresh
        && secrets.iter().all(|secret| {
            let expected = sign(&[secret], time, &request.body.bytes);
            header.contains(expected.split_once(",v1=").unwrap().1)
        })
}

async fn events(program: &Program, state: &str) -> f64 {
    program.metric(&format!(r#"events{{endpoint="/webhooks/stripe",state="{state}"}}"#)).await
}

on_each_ledger! {
    queued_event_is_acknowledged_at_once_and_delivered_with_a_new_signature,
    events_queued_while_the_backend_is_down_are_delivered_within_a_second_of_its_return,
    refused_event_is_retried_by_the_schedule_and_is_dead_after_it,
    retry_waits_as_long_as_the_backends_retry_after,
    quick_hybrid_delivery_returns_the_backends_response_to_stripe,
    hybrid_delivery_past_the_deadline_is_acknowledged_and_its_result_is_recorded,
    failed_hybrid_delivery_is_acknowledged_and_retried,
    hybrid_event_without_a_free_slot_is_queued,
    rules_choose_the_delivery_mode_by_event_type,
    delivery_secret_replaces_the_webhook_secrets_in_signatures,
    delivery_secret_rolls_by_reloads_while_events_wait,
    acknowledged_events_survive_sigkill,
    events_of_an_endpoint_now_removed_or_inline_are_still_delivered,
}

async fn queued_event_is_acknowledged_at_once_and_delivered_with_a_new_signature(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let program = Program::start(setup.delivery("queued").webhook_secrets(&[SECRET, OTHER_SECRET])).await;
    let event = Event::checkout();
    let request = event.signed_at(now() - 200, &[SECRET]).target("/webhooks/stripe?version=2");
    program.send(&request.header("X-Forwarded-Host", "shop.example")).await.expect_received("queued");
    let got = backend.await_request(1).await;
    assert_eq!((got.target.as_str(), &got.body.bytes), ("/webhooks/stripe?version=2", &event.body()));
    assert!(is_signed(&got, &[SECRET, OTHER_SECRET]), "{got:?}");
    for (name, value) in [
        ("idempotency-key", event.id.as_str()),
        ("countersign-event", &event.id),
        ("countersign-attempt", "1"),
        ("countersign-delivery", "queued"),
        ("content-type", "application/json; charset=utf-8"),
        ("x-forwarded-host", "shop.example"),
    ] {
        assert_eq!(got.header(name), Some(value), "{name}");
    }
    let settled = program.await_metric(
        r#"deliveries_total{endpoint="/webhooks/stripe",mode="queued",result="delivered"}"#,
        1.0,
    );
    settled.await;
    program.send(&event.signed().target("/webhooks/stripe?version=2")).await.expect_received("duplicate");
    assert_eq!(backend.count(), 1);
}

async fn events_queued_while_the_backend_is_down_are_delivered_within_a_second_of_its_return(
    ledger: TestLedger,
) {
    let mut backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let program = Program::start(setup.delivery("queued")).await;
    let before = backend.count();
    backend.stop().await;
    let sent: Vec<Event> = (0..20).map(|_| Event::checkout()).collect();
    for event in &sent {
        program.send(&event.signed()).await.expect_received("queued");
        program.send(&event.signed()).await.expect_received("duplicate");
    }
    // The outage lasts longer than ten attempts would take, and uses up none of them.
    let refused = r#"deliveries_total{endpoint="/webhooks/stripe",mode="queued",result="unreachable"}"#;
    until("attempts", async || (program.metric(refused).await >= 3.0).then_some(())).await;
    // One attempt runs at a time, and no faster than this.
    let (since, attempts) = (Instant::now(), program.metric(refused).await);
    until("two more attempts", async || (program.metric(refused).await >= attempts + 2.0).then_some(()))
        .await;
    assert!(since.elapsed() > Duration::from_millis(400), "{:?}", since.elapsed());
    assert_eq!(events(&program, "pending").await + events(&program, "running").await, 20.0);
    backend.restart().await;
    let back = Instant::now();
    backend.await_request(before + 1).await;
    assert!(back.elapsed() < at_most(Duration::from_secs(1)), "{:?}", back.elapsed());
    backend.await_request(before + 20).await;
    let got = &backend.requests()[before..];
    let mut ids: Vec<_> = got.iter().map(|r| r.header("idempotency-key").unwrap()).collect();
    let mut expected: Vec<_> = sent.iter().map(|event| event.id.as_str()).collect();
    ids.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ids, expected);
    assert!(got.iter().all(|request| request.header("countersign-attempt") == Some("1")));
    program.await_metric(r#"events{endpoint="/webhooks/stripe",state="pending"}"#, 0.0).await;
}

async fn refused_event_is_retried_by_the_schedule_and_is_dead_after_it(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let program = Program::start(setup.delivery("queued").retry(&["20ms", "40ms"])).await;
    let before = backend.count();
    for _ in 0..3 {
        backend.reply_next(Reply::status(500));
    }
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_received("queued");
    program.await_metric(r#"events{endpoint="/webhooks/stripe",state="dead"}"#, 1.0).await;
    let attempts: Vec<_> = backend.requests()[before..]
        .iter()
        .map(|r| r.header("countersign-attempt").unwrap().to_owned())
        .collect();
    assert_eq!(attempts, ["1", "2", "3"]);
    program.send(&event.signed()).await.expect_received("duplicate");
    assert_eq!((backend.count(), events(&program, "pending").await), (before + 3, 0.0));
}

async fn retry_waits_as_long_as_the_backends_retry_after(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let program = Program::start(setup.delivery("queued")).await;
    let before = backend.count();
    backend.reply_next(Reply::status(503).header("Retry-After", "2"));
    program.send(&Event::checkout().signed()).await.expect_received("queued");
    backend.await_request(before + 1).await;
    let started = Instant::now();
    backend.await_request(before + 2).await;
    assert!(started.elapsed() > Duration::from_millis(1_800), "{:?}", started.elapsed());
}

async fn quick_hybrid_delivery_returns_the_backends_response_to_stripe(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let program = Program::start(setup.delivery("hybrid")).await;
    let before = backend.count();
    backend.reply_next(Reply::json(201, r#"{"granted": true}"#));
    let event = Event::checkout();
    let request = event.signed();
    let response = program.send(&request).await;
    response.expect_delivered(201);
    assert_eq!(response.text(), r#"{"granted": true}"#);
    let got = backend.await_request(before + 1).await;
    assert_eq!(got.header("countersign-delivery"), Some("hybrid"));
    assert_eq!(got.header("stripe-signature"), request.value("stripe-signature"), "it is Stripe's own");
    program.send(&event.signed()).await.expect_received("duplicate");
}

async fn hybrid_delivery_past_the_deadline_is_acknowledged_and_its_result_is_recorded(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let program = Program::start(setup.delivery("hybrid").set("webhook.deadline", "300ms")).await;
    let (event, gate, before) = (Event::checkout(), Gate::new(), backend.count());
    backend.reply_next(Reply::ok().when(&gate));
    program.send(&event.signed()).await.expect_received("queued");
    assert_eq!(backend.count(), before + 1);
    program.send(&event.signed()).await.expect_received("duplicate");
    gate.open();
    let delivered = r#"deliveries_total{endpoint="/webhooks/stripe",mode="hybrid",result="delivered"}"#;
    program.await_metric(delivered, 1.0).await;
    program.await_metric(r#"events{endpoint="/webhooks/stripe",state="running"}"#, 0.0).await;
    assert_eq!((backend.count(), events(&program, "pending").await), (before + 1, 0.0));
}

async fn failed_hybrid_delivery_is_acknowledged_and_retried(ledger: TestLedger) {
    let mut backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let program = Program::start(setup.delivery("hybrid")).await;
    let before = backend.count();
    backend.reply_next(Reply::status(500));
    program.send(&Event::checkout().signed()).await.expect_received("queued");
    let again = backend.await_request(before + 2).await;
    assert_eq!(again.header("countersign-attempt"), Some("2"));
    assert!(is_signed(&again, &[SECRET]));
    backend.stop().await;
    program.send(&Event::checkout().signed()).await.expect_received("queued");
    backend.restart().await;
    backend.await_request(before + 3).await;
}

async fn hybrid_event_without_a_free_slot_is_queued(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let program = Program::start(setup.delivery("hybrid").set("webhook.max_concurrent", 1)).await;
    let (gate, before) = (Gate::new(), backend.count());
    backend.reply_next(Reply::ok().when(&gate));
    let (first, second) = (Event::checkout(), Event::checkout());
    let mut stripe = program.connect().await;
    stripe.write(first.signed().bytes()).await;
    backend.await_request(before + 1).await;
    program.send(&second.signed()).await.expect_received("queued");
    assert_eq!(backend.count(), before + 1, "never more at once than slots");
    gate.open();
    stripe.response().await.expect_delivered(200);
    let got = backend.await_request(before + 2).await;
    assert_eq!(got.header("idempotency-key"), Some(second.id.as_str()));
}

async fn rules_choose_the_delivery_mode_by_event_type(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let rule = |types: &str, delivery: &str| {
        let table: Table = format!("types = ['{types}']\ndelivery = '{delivery}'").parse().unwrap();
        Value::Table(table)
    };
    let rules = Value::Array(vec![rule("checkout.session.*", "hybrid"), rule("invoice.*", "queued")]);
    let program = Program::start(setup.set("webhook.rule", rules)).await;
    for (kind, delivery) in
        [("checkout.session.completed", "hybrid"), ("invoice.paid", "queued"), ("charge.succeeded", "inline")]
    {
        let before = backend.count();
        program.send(&Event::new(kind).signed()).await;
        let got = backend.await_request(before + 1).await;
        assert_eq!(got.header("countersign-delivery"), Some(delivery), "{kind}");
    }
}

async fn delivery_secret_replaces_the_webhook_secrets_in_signatures(ledger: TestLedger) {
    let backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let setup = setup.set("webhook.delivery_secret", "{$OURS}").env("OURS", "whsec_ours");
    let program = Program::start(setup.delivery("queued")).await;
    let before = backend.count();
    program.send(&Event::checkout().signed()).await.expect_received("queued");
    let got = backend.await_request(before + 1).await;
    assert!(is_signed(&got, &["whsec_ours"]) && !is_signed(&got, &[SECRET]));
}

async fn delivery_secret_rolls_by_reloads_while_events_wait(ledger: TestLedger) {
    let mut backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let setup = setup.set("webhook.delivery_secret", "{file.own}").file("own", "whsec_old\n");
    let program = Program::start(setup.delivery("queued")).await;
    let reloads = || program.log().iter().filter(|line| line.contains("configuration reloaded")).count();
    for (secrets, signs, signs_not) in [
        ("whsec_new, whsec_old\n", &["whsec_new", "whsec_old"][..], SECRET),
        ("whsec_new\n", &["whsec_new"], "whsec_old"),
    ] {
        // The event is stored before the reload and delivered after it.
        let before = backend.count();
        backend.stop().await;
        program.send(&Event::checkout().signed()).await.expect_received("queued");
        std::fs::write(program.path("own"), secrets).unwrap();
        let reloaded = reloads();
        program.sighup();
        until("a reload", async || (reloads() > reloaded).then_some(())).await;
        backend.restart().await;
        let got = backend.await_request(before + 1).await;
        assert!(is_signed(&got, signs) && !is_signed(&got, &[signs_not]), "{secrets}: {got:?}");
        assert_eq!(got.header("stripe-signature").unwrap().matches("v1=").count(), signs.len());
    }
    std::fs::write(program.path("own"), "whsec_newer,\n").unwrap();
    program.sighup();
    program
        .wait_for_log("the fault", |line| {
            line["errors"]
                .as_str()
                .is_some_and(|text| text.contains("webhook.delivery_secret: found a blank secret"))
        })
        .await;
    let before = backend.count();
    program.send(&Event::checkout().signed()).await.expect_received("queued");
    assert!(
        is_signed(&backend.await_request(before + 1).await, &["whsec_new"]),
        "the old secret stays in force"
    );
}

async fn acknowledged_events_survive_sigkill(ledger: TestLedger) {
    let mut backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    let mut program = Program::start(setup.delivery("queued")).await;
    let before = backend.count();
    backend.stop().await;
    for _ in 0..10 {
        program.send(&Event::checkout().signed()).await.expect_received("queued");
    }
    program.kill9();
    backend.restart().await;
    let _program = program.restart().await;
    backend.await_request(before + 10).await;
}

async fn events_of_an_endpoint_now_removed_or_inline_are_still_delivered(ledger: TestLedger) {
    let mut backend = Backend::start().await;
    let setup = ledger.configure(Setup::new(&backend));
    for after in ["gone", "inline"] {
        let before = backend.count();
        let mut program = Program::start(setup.clone().delivery("queued")).await;
        backend.stop().await;
        program.send(&Event::checkout().signed()).await.expect_received("queued");
        program.sigterm();
        assert_eq!(program.wait_exit().await.code(), Some(0));
        backend.restart().await;
        let setup = match after {
            "gone" => setup.clone().set("webhook.name", "another"),
            _ => setup.clone(),
        };
        let _program = program.restart_with(setup).await;
        let got = backend.await_request(before + 1).await;
        assert_eq!(got.header("countersign-delivery"), Some("queued"), "{after}");
    }
}

#[tokio::test]
async fn redis_without_appendfsync_always_accepts_no_queued_event_unless_configured() {
    if !have("redis-server") {
        return;
    }
    let backend = Backend::start().await;
    let redis = Redis::start_with(&["--appendfsync", "everysec"]).await;
    let setup = Setup::new(&backend).redis(&redis).delivery("queued");
    let program = Program::start_unready(setup.clone()).await;
    let reason = until("the ledger's reason", async || {
        let reason = program.not_ready().await["checks"]["ledger"]["reason"].take();
        reason.as_str().filter(|why| why.contains("appendfsync always")).map(str::to_owned)
    });
    reason.await;
    program.send(&Event::checkout().signed()).await.expect_error(503, "ledger_unavailable");
    program
        .wait_for_log("why", |line| {
            line["outcome"] == "ledger_unavailable"
                && line["reason"].as_str().is_some_and(|why| why.contains("appendfsync always"))
        })
        .await;
    assert_eq!(backend.count(), 0);
    let program = program.restart_with(setup.set("ledger.durability", "everysec")).await;
    program.send(&Event::checkout().signed()).await.expect_received("queued");
    backend.await_request(1).await;
}

#[tokio::test]
async fn reload_to_queued_on_an_unsuitable_redis_makes_the_program_unready() {
    if !have("redis-server") {
        return;
    }
    let backend = Backend::start().await;
    let redis = Redis::start_with(&["--appendfsync", "everysec"]).await;
    let inline = Setup::new(&backend).redis(&redis);
    let program = Program::start(inline.clone()).await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    for _ in 0..2 {
        program.reconfigure(&inline.clone().delivery("queued"));
        program.sighup();
        program
            .wait_for_log("why", |line| {
                line["level"] == "ERROR"
                    && line["message"].as_str().is_some_and(|why| why.contains("appendfsync always"))
            })
            .await;
        program.not_ready().await;
        program.reconfigure(&inline);
        program.sighup();
        program.ready().await;
    }
}
