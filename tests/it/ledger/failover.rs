//! Failovers of Redis that lose what it acknowledged: a replica that lagged behind is promoted.

use crate::harness::{Backend, Event, Gate, Program, Redis, Reply, Response, Setup, until};
use crate::ops::events::Operator;
use crate::tools::have;
use futures_util::future::join_all;
use serde_json::Value;

/// Starts a primary and a replica that has everything.
pub async fn replicated() -> (Redis, Redis) {
    let (primary, replica) = (Redis::start().await, Redis::start().await);
    replica.follow(&primary).await;
    (primary, replica)
}

/// Kills the primary and puts the replica in its place, at its address.
async fn fail_over(mut primary: Redis, replica: &mut Redis) {
    let port = primary.port();
    primary.kill();
    replica.promote();
    replica.move_to(port).await;
}

pub async fn says_to_reconcile(program: &Program) {
    program
        .wait_for_log("what to do about lost writes", |line: &Value| {
            let says = |words| line["message"].as_str().is_some_and(|message| message.contains(words));
            line["level"] == "ERROR" && says("lost writes") && says("countersign reconcile --all")
        })
        .await;
}

#[tokio::test]
async fn writes_that_a_failover_lost_are_counted_by_every_program_that_made_them() {
    if !have("redis-server") {
        return;
    }
    let (primary, mut replica) = replicated().await;
    let mut backend = Backend::start().await;
    let setup = Setup::new(&backend).redis(&primary).set("webhook.delivery", "queued");
    let programs = [Program::start(setup.clone()).await, Program::start(setup).await];
    let kept = Event::checkout();
    for (program, outcome) in programs.iter().zip(["queued", "duplicate"]) {
        program.send(&kept.signed()).await.expect_received(outcome);
    }
    backend.await_request(1).await;
    backend.stop().await;
    replica.caught_up(&primary).await;

    replica.cut_off(&primary);
    let lost = [Event::checkout(), Event::checkout()];
    for (program, event) in programs.iter().zip(&lost) {
        program.send(&event.signed()).await.expect_received("queued");
        assert_eq!(program.metric("ledger_resets_total").await, 0.0);
    }
    fail_over(primary, &mut replica).await;
    for program in &programs {
        program.await_metric("ledger_resets_total", 1.0).await;
        says_to_reconcile(program).await;
        program.ready().await;
    }
    // The new primary knows what was replicated, and takes what was lost as new.
    programs[0].send(&kept.signed()).await.expect_received("duplicate");
    for event in &lost {
        programs[0].send(&event.signed()).await.expect_received("queued");
    }
    assert!(programs[0].metric("ledger_resets_total").await < 2.0);
}

#[tokio::test]
async fn delivery_under_way_stays_the_only_one_when_a_failover_loses_its_lease() {
    if !have("redis-server") {
        return;
    }
    for mode in ["inline", "queued"] {
        let (primary, mut replica) = replicated().await;
        let (backend, gate) = (Backend::start().await, Gate::new());
        let program =
            Program::start(Setup::new(&backend).redis(&primary).set("webhook.delivery", mode)).await;
        replica.cut_off(&primary);
        backend.reply_next(Reply::ok().when(&gate));
        let event = Event::checkout();
        let signed = event.signed();
        let rest = async {
            backend.await_request(1).await;
            fail_over(primary, &mut replica).await;
            program.ready().await;
            // The new primary has never heard of the event.
            let copy = program.send(&signed).await;
            if mode == "inline" {
                copy.expect_error(409, "in_flight");
            } else {
                copy.expect_received("queued");
                // The worker leased it, and found that its delivery is under way.
                program.await_metric(r#"events{endpoint="/webhooks/stripe",state="running"}"#, 1.0).await;
            }
            assert_eq!(backend.count(), 1, "{mode}");
            gate.open();
        };
        let (response, ()) = tokio::join!(program.send(&signed), rest);
        assert_eq!(response.status, 200, "{mode}: {response:?}");
        program.await_metric(r#"events{endpoint="/webhooks/stripe",state="running"}"#, 0.0).await;
        program.await_metric(r#"events{endpoint="/webhooks/stripe",state="pending"}"#, 0.0).await;
        program.send(&signed).await.expect_received("duplicate");
        assert_eq!(backend.count(), 1, "{mode}");
    }
}

#[tokio::test]
async fn restarts_of_a_durable_redis_and_other_programs_on_it_count_no_reset() {
    if !have("redis-server") {
        return;
    }
    let mut redis = Redis::start().await;
    let backend = Backend::start().await;
    let setup = Setup::new(&backend).redis(&redis);
    let programs =
        [Program::start(setup.clone()).await, Program::start(setup.set("webhook.delivery", "queued")).await];
    for killed in [false, true, false] {
        for program in &programs {
            program.ready().await;
            for _ in 0..5 {
                let response = program.send(&Event::checkout().signed()).await;
                assert_eq!(response.status, 200, "{response:?}");
            }
        }
        if killed {
            redis.kill();
        } else {
            redis.stop().await;
        }
        for program in &programs {
            program.not_ready().await;
        }
        redis.up().await;
    }
    for program in &programs {
        program.ready().await;
        program.send(&Event::checkout().signed()).await;
        assert_eq!(program.metric("ledger_resets_total").await, 0.0);
    }
}

/// A setup that queues events once a replica has them.
fn setup_replicated(backend: &Backend, url: String) -> Setup {
    Setup::new(backend)
        .set("ledger.url", url)
        .set("ledger.durability", "replicated")
        .set("ledger.command_timeout", "300ms")
        .set("webhook.delivery", "queued")
}

/// Sends an event until it is acknowledged. A busy replica may confirm too late at first.
async fn acknowledged(program: &Program, event: &Event) -> Response {
    until("the event is acknowledged", async || {
        let response = program.send(&event.signed()).await;
        (response.status == 200).then_some(response)
    })
    .await
}

/// Waits until `/readyz` says that the ledger has no replica.
async fn lacks_a_replica(program: &Program) {
    until("the missing replica in /readyz", async || {
        let ledger = program.not_ready().await["checks"]["ledger"].take();
        ledger["reason"].as_str().filter(|why| why.contains("need a connected replica")).map(drop)
    })
    .await;
}

#[tokio::test]
async fn with_replicated_durability_an_event_is_acknowledged_once_a_replica_has_it() {
    if !have("redis-server") {
        return;
    }
    let (primary, replica) = replicated().await;
    let mut backend = Backend::start().await;
    backend.stop().await;
    let program = Program::start(setup_replicated(&backend, primary.url())).await;
    let first = Event::checkout();
    program.send(&first.signed()).await.expect_received("queued");
    assert_eq!(replica.ask::<Vec<String>>(&format!("KEYS countersign:{{e}}:{}*", first.id)).len(), 1);

    // The replica hangs. The primary stores the event, but it is not acknowledged, and neither is a copy.
    replica.pause();
    let event = Event::checkout();
    for _ in 0..2 {
        program.send(&event.signed()).await.expect_error(503, "ledger_unavailable");
    }
    assert_eq!(primary.ask::<Vec<String>>(&format!("KEYS countersign:{{e}}:{}*", event.id)).len(), 1);
    program
        .wait_for_log("what did not confirm", |line: &Value| {
            line["reason"]
                .as_str()
                .is_some_and(|why| why.contains("no replica confirmed the event within 300 ms"))
        })
        .await;
    replica.resume();
    program.ready().await;
    program.send(&event.signed()).await.expect_received("duplicate");
    backend.restart().await;
    backend.await_request(2).await;
    program.await_metric(r#"events{endpoint="/webhooks/stripe",state="pending"}"#, 0.0).await;
    program.await_metric(r#"events{endpoint="/webhooks/stripe",state="running"}"#, 0.0).await;
    program.send(&event.signed()).await.expect_received("duplicate");
    assert_eq!(backend.count(), 2, "each was delivered once");
}

#[tokio::test]
async fn lost_writes_are_counted_even_if_new_events_wait_for_the_new_primary() {
    if !have("redis-server") {
        return;
    }
    let (primary, mut replica) = replicated().await;
    let backend = Backend::start().await;
    let setup = setup_replicated(&backend, primary.url())
        .webhook("/inline", &["{$STRIPE_WEBHOOK_SECRET}"])
        .set("webhook.1.delivery", "inline");
    let program = Program::start(setup).await;
    replica.cut_off(&primary);
    let lost = Event::checkout();
    program.send(&lost.signed().target("/inline")).await.expect_delivered(200);
    // Stripe goes on sending. The new primary gets more new events than writes were lost.
    let senders: Vec<_> = (0..8).map(|_| Event::checkout()).collect();
    let sending = senders.iter().map(async |event| {
        acknowledged(&program, event).await;
    });
    let failing = async {
        lacks_a_replica(&program).await;
        fail_over(primary, &mut replica).await;
        let second = Redis::start().await;
        second.follow(&replica).await;
        program.await_metric("ledger_resets_total", 1.0).await;
        second
    };
    let (_, _second) = tokio::join!(join_all(sending), failing);
    assert!(program.metric("ledger_resets_total").await < 2.0);
}

#[tokio::test]
async fn hybrid_event_that_no_replica_confirmed_is_delivered_once_and_its_copy_acknowledged() {
    if !have("redis-server") {
        return;
    }
    let (primary, replica) = replicated().await;
    let backend = Backend::start().await;
    let setup = setup_replicated(&backend, primary.url())
        .set("webhook.delivery", "hybrid")
        .set("backend.connect_timeout", "100ms")
        .set("backend.response_timeout", "1s");
    let program = Program::start(setup).await;
    replica.pause();
    let event = Event::checkout();
    program.send(&event.signed()).await.expect_error(503, "ledger_unavailable");
    replica.resume();
    acknowledged(&program, &event).await.expect_received("duplicate");
    // Nobody holds the lease of the refused attempt. The worker delivers when it has expired.
    backend.await_request(1).await;
    program.await_metric(r#"events{endpoint="/webhooks/stripe",state="running"}"#, 0.0).await;
    program.send(&event.signed()).await.expect_received("duplicate");
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn failover_loses_no_event_that_was_acknowledged_with_replicated_durability() {
    if !have("redis-server") {
        return;
    }
    let (primary, mut replica) = replicated().await;
    let mut backend = Backend::start().await;
    backend.stop().await;
    let program = Program::start(setup_replicated(&backend, primary.url())).await;
    let queued: Vec<_> = (0..5).map(|_| Event::checkout()).collect();
    for event in &queued {
        program.send(&event.signed()).await.expect_received("queued");
    }
    replica.cut_off(&primary);
    let refused = Event::checkout();
    program.send(&refused.signed()).await.expect_error(503, "ledger_unavailable");
    lacks_a_replica(&program).await;
    fail_over(primary, &mut replica).await;

    // The new primary has no replica yet, so it queues nothing.
    lacks_a_replica(&program).await;
    program.send(&refused.signed()).await.expect_error(503, "ledger_unavailable");
    let second = Redis::start().await;
    second.follow(&replica).await;
    acknowledged(&program, &refused).await;
    backend.restart().await;
    backend.await_request(6).await;
    for event in queued.iter().chain([&refused]) {
        program.send(&event.signed()).await.expect_received("duplicate");
    }
    assert_eq!(backend.count(), 6);
}

#[tokio::test]
async fn check_names_a_missing_replica_of_replicated_durability() {
    if !have("redis-server") {
        return;
    }
    let redis = Redis::start().await;
    let backend = Backend::start().await;
    let setup = setup_replicated(&backend, redis.url());
    let program = Program::start_unready(setup.clone()).await;
    lacks_a_replica(&program).await;
    let output = Operator::new(&program, &setup).run(&["check", "--probe"]).await;
    assert_eq!(output.code, 1);
    assert!(output.out.contains("need a connected replica"), "{}", output.out);
}
