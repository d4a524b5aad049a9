//! Failovers of Redis that lose what it acknowledged: a replica that lagged behind is promoted.

use crate::harness::{Backend, Event, Program, Redis, Setup, until};
use crate::tools::have;
use serde_json::Value;

/// Starts a primary and a replica that has everything.
async fn replicated() -> (Redis, Redis) {
    let (primary, replica) = (Redis::start().await, Redis::start().await);
    let () = replica.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    caught_up(&primary, &replica).await;
    (primary, replica)
}

/// Waits until a replica has everything that its primary has.
async fn caught_up(primary: &Redis, replica: &Redis) {
    until("the replica has everything", async || {
        let linked = replica.ask::<String>("INFO replication").contains("master_link_status:up");
        let confirmed: u32 = primary.ask("WAIT 1 100");
        (linked && confirmed == 1).then_some(())
    })
    .await;
}

/// Cuts a replica off: what the primary acknowledges from now on never reaches it.
fn cut_off(primary: &Redis, replica: &Redis) {
    replica.pause();
    let _: u32 = primary.ask("CLIENT KILL TYPE replica");
}

/// Kills the primary and puts the replica in its place, at its address.
async fn fail_over(mut primary: Redis, replica: &mut Redis) {
    let port = primary.port();
    primary.kill();
    replica.resume();
    let () = replica.ask("REPLICAOF NO ONE");
    replica.move_to(port).await;
}

async fn says_to_reconcile(program: &Program) {
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
    caught_up(&primary, &replica).await;

    cut_off(&primary, &replica);
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
