//! Events that are kept: acknowledged at once or after a while, delivered until the backend takes them. Each on both
//! ledgers.

use crate::harness::{
    Answer, Backend, Event, Gate, OTHER_SECRET, Program, Received, Redis, SECRET, Setup, sign, until,
};
use crate::tools::have;
use std::time::Duration;
use tokio::time::Instant;
use toml::{Table, Value};

/// The ledgers, each with what keeps it alive.
pub async fn ledgers(backend: &Backend) -> Vec<(Setup, Option<Redis>)> {
    let mut setups = vec![(Setup::new(backend), None)];
    if have("redis-server") {
        let redis = Redis::start().await;
        setups.push((Setup::new(backend).redis(&redis), Some(redis)));
    }
    setups
}

pub fn waits(waits: &[&str]) -> Value {
    Value::Array(waits.iter().map(|&wait| wait.into()).collect())
}

/// An endpoint that keeps its events and tries again soon.
pub fn keeping(setup: Setup, delivery: &str) -> Setup {
    setup
        .set("webhook.delivery", delivery)
        .set("webhook.retry", waits(&["50ms"; 9]))
        .set("webhook.jitter", 0.0)
}

/// Whether an app with these secrets would take it as genuine, as Stripe's SDKs judge it.
fn is_signed(request: &Received, secrets: &[&str]) -> bool {
    let header = request.header("stripe-signature").unwrap();
    let time: i64 = header.split(',').next().unwrap().strip_prefix("t=").unwrap().parse().unwrap();
    let fresh = (crate::harness::now() - time).abs() < 60;
    fresh
        && secrets.iter().all(|secret| {
            let expected = sign(&[secret], time, &request.body.bytes);
            header.contains(expected.split_once(",v1=").unwrap().1)
        })
}

async fn events(program: &Program, state: &str) -> f64 {
    program.metric(&format!(r#"events{{endpoint="/webhooks/stripe",state="{state}"}}"#)).await
}

#[tokio::test]
async fn a_queued_event_is_acknowledged_at_once_and_reaches_the_backend_signed_anew() {
    let backend = Backend::start().await;
    for (n, (setup, _ledger)) in ledgers(&backend).await.into_iter().enumerate() {
        let program = Program::start(keeping(setup, "queued").webhook_secrets(&[SECRET, OTHER_SECRET])).await;
        let event = Event::checkout();
        let request =
            event.signed_at(crate::harness::now() - 200, &[SECRET]).target("/webhooks/stripe?version=2");
        program.send(&request.header("X-Forwarded-Host", "shop.example")).await.expect_received("queued");
        let got = backend.await_request(n + 1).await;
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
        assert_eq!(backend.count(), n + 1);
    }
}

#[tokio::test]
async fn events_queued_while_the_backend_is_down_are_delivered_within_a_second_of_its_return() {
    let mut backend = Backend::start().await;
    for (setup, _ledger) in ledgers(&backend).await {
        let program = Program::start(keeping(setup, "queued")).await;
        let before = backend.count();
        backend.stop().await;
        let sent: Vec<Event> = (0..20).map(|_| Event::checkout()).collect();
        for event in &sent {
            program.send(&event.signed()).await.expect_received("queued");
            program.send(&event.signed()).await.expect_received("duplicate");
        }
        // Longer than ten attempts would take: none of them is used up.
        let refused = r#"deliveries_total{endpoint="/webhooks/stripe",mode="queued",result="unreachable"}"#;
        until("attempts", async || (program.metric(refused).await >= 3.0).then_some(())).await;
        // One at a time, and no faster than that.
        let (since, attempts) = (Instant::now(), program.metric(refused).await);
        until("two more attempts", async || (program.metric(refused).await >= attempts + 2.0).then_some(()))
            .await;
        assert!(since.elapsed() > Duration::from_millis(400), "{:?}", since.elapsed());
        assert_eq!(events(&program, "pending").await + events(&program, "running").await, 20.0);
        backend.restart().await;
        let back = Instant::now();
        backend.await_request(before + 1).await;
        assert!(back.elapsed() < Duration::from_secs(1), "{:?}", back.elapsed());
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
}

#[tokio::test]
async fn what_the_backend_refuses_is_tried_as_often_as_the_schedule_says_and_is_dead_then() {
    let backend = Backend::start().await;
    for (setup, _ledger) in ledgers(&backend).await {
        let program =
            Program::start(keeping(setup, "queued").set("webhook.retry", waits(&["20ms", "40ms"]))).await;
        let before = backend.count();
        for _ in 0..3 {
            backend.answers_next(Answer::status(500));
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
}

#[tokio::test]
async fn a_backend_that_asks_for_patience_gets_it() {
    let backend = Backend::start().await;
    for (setup, _ledger) in ledgers(&backend).await {
        let program = Program::start(keeping(setup, "queued")).await;
        let before = backend.count();
        backend.answers_next(Answer::status(503).header("Retry-After", "2"));
        program.send(&Event::checkout().signed()).await.expect_received("queued");
        backend.await_request(before + 1).await;
        let asked = Instant::now();
        backend.await_request(before + 2).await;
        assert!(asked.elapsed() > Duration::from_millis(1_800), "{:?}", asked.elapsed());
    }
}

#[tokio::test]
async fn a_hybrid_delivery_that_is_quick_gives_stripe_the_backends_own_answer() {
    let backend = Backend::start().await;
    for (setup, _ledger) in ledgers(&backend).await {
        let program = Program::start(keeping(setup, "hybrid")).await;
        let before = backend.count();
        backend.answers_next(Answer::json(201, r#"{"granted": true}"#));
        let event = Event::checkout();
        let request = event.signed();
        let answer = program.send(&request).await;
        answer.expect_delivered(201);
        assert_eq!(answer.text(), r#"{"granted": true}"#);
        let got = backend.await_request(before + 1).await;
        assert_eq!(got.header("countersign-delivery"), Some("hybrid"));
        assert_eq!(got.header("stripe-signature"), request.value("stripe-signature"), "it is Stripe's own");
        program.send(&event.signed()).await.expect_received("duplicate");
    }
}

#[tokio::test]
async fn a_hybrid_delivery_that_outlives_the_deadline_goes_on_alone_and_counts() {
    let backend = Backend::start().await;
    for (setup, _ledger) in ledgers(&backend).await {
        let program = Program::start(keeping(setup, "hybrid").set("webhook.deadline", "300ms")).await;
        let (event, gate, before) = (Event::checkout(), Gate::new(), backend.count());
        backend.answers_next(Answer::ok().when(&gate));
        program.send(&event.signed()).await.expect_received("queued");
        assert_eq!(backend.count(), before + 1);
        program.send(&event.signed()).await.expect_received("duplicate");
        gate.open();
        let delivered = r#"deliveries_total{endpoint="/webhooks/stripe",mode="hybrid",result="delivered"}"#;
        program.await_metric(delivered, 1.0).await;
        program.await_metric(r#"events{endpoint="/webhooks/stripe",state="running"}"#, 0.0).await;
        assert_eq!((backend.count(), events(&program, "pending").await), (before + 1, 0.0));
    }
}

#[tokio::test]
async fn a_hybrid_delivery_that_fails_is_a_200_for_stripe_and_tried_again() {
    let mut backend = Backend::start().await;
    for (setup, _ledger) in ledgers(&backend).await {
        let program = Program::start(keeping(setup, "hybrid")).await;
        let before = backend.count();
        backend.answers_next(Answer::status(500));
        program.send(&Event::checkout().signed()).await.expect_received("queued");
        let again = backend.await_request(before + 2).await;
        assert_eq!(again.header("countersign-attempt"), Some("2"));
        assert!(is_signed(&again, &[SECRET]));
        backend.stop().await;
        program.send(&Event::checkout().signed()).await.expect_received("queued");
        backend.restart().await;
        backend.await_request(before + 3).await;
    }
}

#[tokio::test]
async fn a_hybrid_event_for_which_there_is_no_slot_is_queued() {
    let backend = Backend::start().await;
    for (setup, _ledger) in ledgers(&backend).await {
        let program = Program::start(keeping(setup, "hybrid").set("webhook.max_concurrent", 1)).await;
        let (gate, before) = (Gate::new(), backend.count());
        backend.answers_next(Answer::ok().when(&gate));
        let (first, second) = (Event::checkout(), Event::checkout());
        let mut stripe = program.connect().await;
        stripe.write(first.signed().bytes()).await;
        backend.await_request(before + 1).await;
        program.send(&second.signed()).await.expect_received("queued");
        assert_eq!(backend.count(), before + 1, "never more at once than slots");
        gate.open();
        stripe.answer().await.expect_delivered(200);
        let got = backend.await_request(before + 2).await;
        assert_eq!(got.header("idempotency-key"), Some(second.id.as_str()));
    }
}

#[tokio::test]
async fn rules_give_some_types_another_way() {
    let backend = Backend::start().await;
    for (setup, _ledger) in ledgers(&backend).await {
        let rule = |types: &str, delivery: &str| {
            let table: Table = format!("types = ['{types}']\ndelivery = '{delivery}'").parse().unwrap();
            Value::Table(table)
        };
        let rules = Value::Array(vec![rule("checkout.session.*", "hybrid"), rule("invoice.*", "queued")]);
        let program = Program::start(setup.set("webhook.rule", rules)).await;
        for (kind, delivery) in [
            ("checkout.session.completed", "hybrid"),
            ("invoice.paid", "queued"),
            ("charge.succeeded", "inline"),
        ] {
            let before = backend.count();
            program.send(&Event::new(kind).signed()).await;
            let got = backend.await_request(before + 1).await;
            assert_eq!(got.header("countersign-delivery"), Some(delivery), "{kind}");
        }
    }
}

#[tokio::test]
async fn with_a_delivery_secret_every_delivery_is_signed_with_that_alone() {
    let backend = Backend::start().await;
    for (setup, _ledger) in ledgers(&backend).await {
        let setup = setup.set("webhook.delivery_secret", "{$OURS}").env("OURS", "whsec_ours");
        let program = Program::start(keeping(setup, "queued")).await;
        let before = backend.count();
        program.send(&Event::checkout().signed()).await.expect_received("queued");
        let got = backend.await_request(before + 1).await;
        assert!(is_signed(&got, &["whsec_ours"]) && !is_signed(&got, &[SECRET]));
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let mut backend = Backend::start().await;
    for (setup, _ledger) in ledgers(&backend).await {
        let mut program = Program::start(keeping(setup, "queued")).await;
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
}

#[tokio::test]
async fn an_endpoint_that_is_gone_or_inline_now_still_drains() {
    let mut backend = Backend::start().await;
    for (setup, _ledger) in ledgers(&backend).await {
        for after in ["gone", "inline"] {
            let before = backend.count();
            let mut program = Program::start(keeping(setup.clone(), "queued")).await;
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
}

#[tokio::test]
async fn a_redis_that_does_not_sync_before_it_answers_keeps_no_events_unless_that_is_accepted() {
    if !have("redis-server") {
        return;
    }
    let backend = Backend::start().await;
    let redis = Redis::start_with(&["--appendfsync", "everysec"]).await;
    let setup = keeping(Setup::new(&backend).redis(&redis), "queued");
    let program = Program::start_unready(setup.clone()).await;
    let reason = until("the ledger's reason", async || {
        let said = program.not_ready().await["checks"]["ledger"]["reason"].take();
        said.as_str().filter(|why| why.contains("appendfsync always")).map(str::to_owned)
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
async fn a_reload_that_brings_queued_to_a_redis_that_is_not_fit_for_it_shows_in_readiness() {
    if !have("redis-server") {
        return;
    }
    let backend = Backend::start().await;
    let redis = Redis::start_with(&["--appendfsync", "everysec"]).await;
    let inline = Setup::new(&backend).redis(&redis);
    let program = Program::start(inline.clone()).await;
    program.send(&Event::checkout().signed()).await.expect_delivered(200);
    for _ in 0..2 {
        program.reconfigure(&keeping(inline.clone(), "queued"));
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
